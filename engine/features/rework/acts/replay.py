"""Replay: choose the documents to send again, and where; they are queued behind all new work, as an operation."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from engine.actions.operations import BulkAct, Slice
from engine.actions.selection import MOST_BY_NUMBER, PAGE, REPLAY_STATES, Selection, chunks, replay_states, replayable
from engine.actions.underway import ANSWER_WITHIN_S, DEFAULT_RATE, Acts, answer, begin_operation
from engine.config.load import Site
from engine.features.rework.rows import letter_steps
from engine.features.rework.rows.letter_steps import ALONG
from engine.mapping.targets import MEDIA_TYPES
from engine.model.errors import LabRelayError, RefusedError
from engine.store.operations.bulk import Member, Operation
from engine.store.queries.messages import lanes_of, sent_among


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

    ``count`` is the number of selected messages, ``newer`` the number that go along. ``last`` and ``counted_us`` of a
    dry run belong in the selection of the replay that follows.

    Args:
        selection: its destination and state are those of their deliveries.
        reason: required where the newer ones at least double the number.
        to: another destination; empty: the original ones.
        takes: the media type that ``to`` takes, or empty.
        rate: messages per second, at most.
        within_s: how long to wait for its end; after that it continues.

    Raises:
        RefusedError: a required reason is missing.
    """
    last, now_us = acts.journal.last_id if selection.last is None else selection.last, acts.now_us()
    found = await asyncio.to_thread(replayable, acts.journal, selection)
    count = len(found.selected)
    counted_us = max(now_us, found.newest_us) if selection.counted_us is None else selection.counted_us
    details = {"newer": len(found.newer)}
    if to:
        sent = [len(await asyncio.to_thread(sent_among, acts.journal, part, REPLAY_STATES, to))
                for part in chunks(found.all, PAGE)]  # fmt: skip
        details["new"] = len(found.all) - sum(sent)
    if dry_run:
        said = {"needs_reason": found.needs_reason, "last": last, "counted_us": counted_us}
        return {**answer(count, None, {}), **details, **said}
    if found.needs_reason and not reason.strip():
        raise RefusedError(
            f"{len(found.newer)} newer messages of the same reports go along; a reason is needed, for they at "
            "least double what was selected"
        )
    kept = selection.without_numbers(found.selected)
    if len(kept.ids) > max(MOST_BY_NUMBER, len(selection.ids)):
        raise RefusedError(f"more than {MOST_BY_NUMBER} messages bear that number; narrow it by time or channel")
    what = {"selection": kept.to_json(), "count": count, "to": to, "takes": takes, "rate": rate}
    what |= {name: said for name, said in (("newer", len(found.newer)), ("reason", reason.strip())) if said}
    members = sorted([*map(Member, found.selected), *(Member(one, ALONG) for one in found.newer)])
    begun = await begin_operation(
        acts, replaying(acts), "replay", members, last=last, counted_us=counted_us, actor=actor, what=what,
        within_s=within_s,
    )  # fmt: skip
    return {**begun, "count": count, **details}


def replaying(acts: Acts) -> BulkAct:
    """The slices of a replay: one message, once its lanes are free; all that there are where this process sends
    nothing.
    """

    async def next_slice(order: Operation, members: Sequence[Member]) -> Slice:
        selection, to = Selection.from_json(order.what["selection"]), order.what["to"]
        only = None if selection.destination is None else frozenset({selection.destination})
        if acts.yielding is not None:
            members = members[:1]
            lanes = await asyncio.to_thread(lanes_of, acts.journal, members[0].message_id)
            if to:
                lanes = {(channel, to) for channel, _ in lanes}
            elif only is not None:
                lanes = {lane for lane in lanes if lane[1] in only}
            await acts.yielding.turn(order.number, lanes)
        work = partial(
            letter_steps.replay,
            members=members,
            operation=order.number,
            destinations=only,
            to=to,
            takes=order.what["takes"],
            states=replay_states(selection),
        )
        return Slice(len(members), work, pause_s=1.0 / order.what["rate"])

    return next_slice


def media_type_of(site: Site, destination: str) -> str:
    """The media type that a destination of the site takes, or empty: anything.

    Raises:
        LabRelayError: no destination has that name.
    """
    config = site.config.destinations.get(destination)
    if config is None:
        raise LabRelayError(f"there is no destination {destination}; known: {', '.join(site.config.destinations)}")
    return MEDIA_TYPES.get(config.takes, "")
