"""How far behind a spare is that follows this machine's copies, as it notes in their folder
(`engine.store.recovery.backups.following`); and the proof that the journal goes on here, and not there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from engine.model.errors import OvertakenError, StoreError
from engine.model.process.clock import Clock
from engine.model.texts.phrases import Said
from engine.store.journal import Journal
from engine.store.operations import incarnation
from engine.store.operations.incarnation import Incarnation
from engine.store.queries.extent import received_behind
from engine.store.recovery.backups.catalog import SPARE_NAME, Shelf, read_json

LATE_S = 60.0  # beyond the time between two pieces
PROVEN_S = 3.0  # from the begin of a look; a take-over waits longer (`following.STOPS_WITHIN_S`)
LOOK_S = 5.0  # a delivery waits for the folder's answer no longer
BLIND_S = 30.0  # and the next one waits after this time


class SpareWatch:
    """Attributes:
    own: the incarnation of the journal. later: the one that goes on with it elsewhere, as the last look has found it.
    machine: with a spare; empty: there is none. behind_s: since when it lacks a row, or has said nothing.
    """

    def __init__(self, journal: Journal, clock: Clock, shelf: Callable[[], Shelf | None]) -> None:
        """``shelf``: the copies of the journal; None where the site has no folder for them."""
        self._journal, self._clock, self._shelf = journal, clock, shelf
        self._heard: tuple[object, float] = (None, 0.0)  # its note, and when, monotonic: clocks of two machines differ
        self.machine, self.behind_s = "", 0.0
        with journal.snapshot() as execute:
            self.own = incarnation.of(execute)
        self.later: Incarnation | None = None
        self._looking: asyncio.Task[None] | None = None
        self._proof = (0.0, 0, -1.0)  # monotonic, wall time in microseconds, and for how many seconds

    # -- the proof -----------------------------------------------------------------------------------------------------

    def unproven(self) -> Awaitable[None] | None:
        """Right before a delivery is sent: None where a look of the last `PROVEN_S` has shown that the journal goes on
        here; else one to wait for, which raises OvertakenError where it goes on elsewhere.

        So a machine that was frozen, or asleep, while a spare took over sends no request that it had not begun. A
        folder that cannot be read, or does not answer, stops no result.
        """
        return None if self._is_proven() or self._shelf() is None else self._prove()

    def _is_proven(self) -> bool:
        """By both clocks: one stops while the machine sleeps, the other may be set."""
        at, at_us, lasts_s = self._proof
        aged_s = max(self._clock.monotonic() - at, abs(self._clock.now_us() - at_us) / 1e6)
        return self.later is None and aged_s <= lasts_s

    async def _prove(self) -> None:
        until = self._clock.monotonic() + LOOK_S
        while not self._is_proven():
            done, _ = await asyncio.wait({self.look()}, timeout=max(0.0, until - self._clock.monotonic()))
            if self.later is not None:
                raise OvertakenError(str(self.later))
            if not done or done.pop().exception() is not None:
                self._proof = (self._clock.monotonic(), self._clock.now_us(), BLIND_S)

    def look(self) -> asyncio.Task[None]:
        """The look that is under way, or a new one."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
        return self._looking

    def _look(self) -> None:
        """A folder that cannot be read is said elsewhere."""
        if (shelf := self._shelf()) is None:
            return
        at, claimed = (self._clock.monotonic(), self._clock.now_us()), None
        with suppress(StoreError):
            claimed = shelf.claimed_by()
        self.later = self.own.overtaken_by([claimed] if claimed is not None else [])
        self._proof = (*at, PROVEN_S)
        with suppress(StoreError):
            self._follow(shelf)

    # -- how far it is -------------------------------------------------------------------------------------------------

    def _follow(self, shelf: Shelf) -> None:
        """Read its note; there may be none."""
        said, now = read_json(shelf.path / SPARE_NAME), self._clock.monotonic()
        if said.get("journal") != self._journal.journal_id.hex() or not isinstance(said.get("row"), int):
            self.machine = ""
            return
        if said != self._heard[0]:
            self._heard = (said, now)
        with self._journal.snapshot() as execute:
            lacks = received_behind(execute, said["row"])
        lacks_s = (self._clock.now_us() - lacks) / 1e6 if lacks is not None else 0.0
        self.machine, self.behind_s = str(said.get("machine"))[:64], max(lacks_s, now - self._heard[1])

    def alarms(self, rows_s: float) -> list[str]:
        """``rows_s``: the time between two pieces."""
        if not self.machine or self.behind_s <= LATE_S + rows_s:
            return []
        minutes = max(1, round(self.behind_s / 60))
        return [Said("The spare machine {name} is behind by {n} minutes", name=self.machine, n=minutes)]
