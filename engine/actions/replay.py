"""Replay actions: choose the documents to send again, and where; `engine.actions.replay_messages` sends them."""

import asyncio
from typing import Any

from engine.actions.replay_messages import Order
from engine.actions.selection import PAGE, REPLAY_STATES, Replayable, Selection, chunks, replay_states, replayable
from engine.actions.underway import ANSWER_WITHIN_S, DEFAULT_RATE, Acts, answer
from engine.config.load import Site
from engine.mapping.targets import MEDIA_TYPES
from engine.model.errors import LabRelayError, RefusedError
from engine.store.operations import replays
from engine.store.queries.messages import sent_among
from engine.store.queries.replays import unfinished_replay

MOST_BY_NUMBER = 2000  # messages of a replay that was selected by a number: its audit row lists them


async def replay_documents(
    acts: Acts,
    selection: Selection,
    *,
    actor: str,
    reason: str = "",
    to: str = "",
    takes: str = "",
    rate: float = DEFAULT_RATE,
    dry_run: bool = False,
    within_s: float = ANSWER_WITHIN_S,
) -> dict[str, Any]:
    """Send stored documents of messages again, and with them the newer messages of the same reports.

    ``count`` is the number of selected messages, ``newer`` the number that go along, ``act`` the replay's own.

    Args:
        selection: its destination and state are those of their deliveries.
        reason: required where the newer ones at least double the number.
        to: another destination; empty: the original ones.
        takes: the media type that ``to`` takes, or empty.
        within_s: how long to wait for its end; after that it continues.

    Raises:
        RefusedError: a required reason is missing.
    """
    found = await asyncio.to_thread(replayable, acts.journal, selection)
    chosen, count = found.all, len(found.selected)
    details = {"newer": len(found.newer)}
    if to:
        sent = [len(await asyncio.to_thread(sent_among, acts.journal, part, REPLAY_STATES, to))
                for part in chunks(chosen, PAGE)]  # fmt: skip
        details["new"] = len(chosen) - sum(sent)
    if dry_run or not chosen:
        return {**answer(count, None, {}), **details, "needs_reason": found.needs_reason}
    if found.needs_reason and not reason.strip():
        raise RefusedError(
            f"{len(found.newer)} newer messages of the same reports go along; a reason is needed, for they at "
            "least double what was selected"
        )
    kept = selection.without_numbers(found.selected)
    if len(kept.ids) > max(MOST_BY_NUMBER, len(selection.ids)):
        raise RefusedError(f"more than {MOST_BY_NUMBER} messages bear that number; narrow it by time or channel")
    order = _order(selection, found, to, takes, rate)
    what = {"selection": kept.to_json(), "count": count, "to": to, "takes": takes, "rate": rate}
    what |= {name: said for name, said in (("newer", len(found.newer)), ("reason", reason.strip())) if said}
    number = await acts.replays.start(chosen, order, actor=actor, what=what)
    return {**await _so_far(acts, number, count, within_s), **details}


async def resume_replay(
    acts: Acts, number: int, *, actor: str, rate: float | None = None, within_s: float = ANSWER_WITHIN_S
) -> dict[str, Any]:
    """Resume a replay at its position; one that is under way is only waited for."""
    if acts.replays.is_running(number):
        return await _so_far(acts, number, acts.replays.progress(number)["total"], within_s)
    found = await asyncio.to_thread(unfinished_replay, acts.journal, number)
    if found is None:
        raise LabRelayError(f"replay {number} is not unfinished; `labrelay replay --unfinished` lists those")
    selection = Selection.from_json(found.what.get("selection"))
    about = await asyncio.to_thread(replayable, acts.journal, selection)
    chosen = [message for message in about.all if found.position < message <= found.last]
    what = found.what
    order = _order(selection, about, what["to"], what["takes"], rate or what["rate"])
    await acts.replays.resume(number, chosen, order, actor=actor)
    return await _so_far(acts, number, found.total, within_s)


async def forget_replay(acts: Acts, number: int, *, actor: str) -> dict[str, Any]:
    """Give a replay up for good."""
    if acts.replays.is_running(number):
        await acts.replays.halt(number)
    if await asyncio.to_thread(unfinished_replay, acts.journal, number) is None:
        raise LabRelayError(f"replay {number} is not unfinished")
    await acts.journal.run(replays.give_up, number, actor=actor)
    return {}


async def _so_far(acts: Acts, number: int, count: int, within_s: float) -> dict[str, Any]:
    ended = await acts.replays.wait(number, within_s)
    progress = acts.replays.progress(number)
    return answer(count, number, progress["outcome"] if ended else {}, going_on=not ended)


def media_type_of(site: Site, destination: str) -> str:
    """The media type that a destination of the site takes, or empty: anything.

    Raises:
        LabRelayError: no destination has that name.
    """
    config = site.config.destinations.get(destination)
    if config is None:
        raise LabRelayError(f"there is no destination {destination}; known: {', '.join(site.config.destinations)}")
    return MEDIA_TYPES.get(config.takes, "")


def _order(selection: Selection, found: Replayable, to: str, takes: str, rate: float) -> Order:
    only = None if selection.destination is None else frozenset({selection.destination})
    states = replay_states(selection)
    return Order(destinations=only, to=to, takes=takes, states=states, newer=found.newer, rate=rate)
