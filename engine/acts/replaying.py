"""Replays as acts: which documents go out again, and where; how they do is in `engine.replaying`."""

import asyncio
from typing import Any

from engine.acts.selection import PAGE, REPLAY_STATES, Selection, chunks, replay_states, replayable
from engine.acts.underway import ANSWER_WITHIN_S, DEFAULT_RATE, UnderWay, answer
from engine.config import Site
from engine.control import RefusedError
from engine.errors import LabRelayError
from engine.formats import MEDIA_TYPES
from engine.replaying import Order

MOST_BY_NUMBER = 2000  # messages of a replay that was selected by a number: its act lists them
FHIR = "application/fhir+json"


class Replaying(UnderWay):
    """Stored documents go out again."""

    async def replay(
        self,
        selection: Selection,
        *,
        actor: str,
        to: str = "",
        takes: str = "",
        rate: float = DEFAULT_RATE,
        dry_run: bool = False,
        within_s: float = ANSWER_WITHIN_S,
    ) -> dict[str, Any]:
        """Send stored documents of messages again; ``count`` is the number of messages, ``act`` the replay's own.

        Args:
            selection: its destination is one that they went to, its state how they stand there.
            to: another destination for them; empty: where they went.
            takes: the media type that ``to`` takes, or empty.
            within_s: wait so long for its end; after that it goes on.
        """
        chosen = await asyncio.to_thread(replayable, self._journal, selection)
        new = len(chosen)
        if to:
            for part in chunks(chosen, PAGE):
                new -= len(await asyncio.to_thread(self._journal.sent, part, REPLAY_STATES, to))
        told = {"new": new} if to else {}
        if dry_run or not chosen:
            return {**answer(len(chosen), None, {}), **told}
        kept = selection.without_numbers(chosen)
        if len(kept.ids) > max(MOST_BY_NUMBER, len(selection.ids)):
            raise RefusedError(f"more than {MOST_BY_NUMBER} messages bear that number; narrow it by time or channel")
        order = _order(selection, to, takes, rate)
        what = {"selection": kept.to_json(), "count": len(chosen), "to": to, "takes": takes, "rate": rate}
        number = await self.replays.start(chosen, order, actor=actor, what=what)
        return {**await self._so_far(number, len(chosen), within_s), **told}

    async def resume(
        self, number: int, *, actor: str, rate: float | None = None, within_s: float = ANSWER_WITHIN_S
    ) -> dict[str, Any]:
        """Take up a replay again where it was; one that is under way is only waited for."""
        if self.replays.is_running(number):
            return await self._so_far(number, self.replays.progress(number)["total"], within_s)
        found = await asyncio.to_thread(self._journal.unfinished_replay, number)
        if found is None:
            raise LabRelayError(f"replay {number} is not unfinished; `labrelay replay --unfinished` lists those")
        selection = Selection.from_json(found.what.get("selection"))
        chosen = [
            message
            for message in await asyncio.to_thread(replayable, self._journal, selection)
            if found.position < message <= found.last
        ]
        what = found.what
        order = _order(selection, what["to"], what["takes"], rate or what["rate"])
        await self.replays.resume(number, chosen, order, actor=actor)
        return await self._so_far(number, found.total, within_s)

    async def forget_replay(self, number: int, *, actor: str) -> dict[str, Any]:
        """Nobody takes it up again."""
        if self.replays.is_running(number):
            await self.replays.halt(number)
        if await asyncio.to_thread(self._journal.unfinished_replay, number) is None:
            raise LabRelayError(f"replay {number} is not unfinished")
        await self._journal.replay_forget(number, actor=actor)
        return {}

    async def _so_far(self, number: int, count: int, within_s: float) -> dict[str, Any]:
        ended = await self.replays.wait(number, within_s)
        progress = self.replays.progress(number)
        return answer(count, number, progress["outcome"] if ended else {}, going_on=not ended)


def media_type_of(site: Site, destination: str) -> str:
    """What a destination of the site takes, or empty: anything.

    Raises:
        LabRelayError: there is none of that name.
    """
    config = site.config.destinations.get(destination)
    if config is None:
        raise LabRelayError(f"there is no destination {destination}; known: {', '.join(site.config.destinations)}")
    return {"fhir": FHIR, "mllp": MEDIA_TYPES["hl7v2"]}.get(config.kind, "")


def _order(selection: Selection, to: str, takes: str, rate: float) -> Order:
    only = None if selection.destination is None else frozenset({selection.destination})
    return Order(destinations=only, to=to, takes=takes, states=replay_states(selection), rate=rate)
