"""How far behind a spare is that follows this machine's copies, as it notes in their folder
(`engine.store.recovery.backups.following`).
"""

from typing import NamedTuple

from engine.model.process.clock import Clock
from engine.model.texts.phrases import Said
from engine.store.journal import Journal
from engine.store.queries.extent import received_behind
from engine.store.recovery.backups.catalog import SPARE_NAME, Shelf, read_json

LATE_S = 60.0  # beyond the time between two pieces


class Spare(NamedTuple):
    """``behind_s``: since when it lacks a row of the journal, or has said nothing."""

    machine: str
    behind_s: float


class SpareWatch:
    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal, self._clock = journal, clock
        self._said: object = None
        self._heard = 0.0  # monotonic: the clocks of two machines differ
        self.spare: Spare | None = None

    def look(self, shelf: Shelf) -> None:
        """Read its note; there may be none."""
        said, now = read_json(shelf.path / SPARE_NAME), self._clock.monotonic()
        if said.get("journal_id") != self._journal.journal_id.hex() or not isinstance(said.get("row"), int):
            self.spare = None
            return
        if said != self._said:
            self._said, self._heard = said, now
        with self._journal.snapshot() as execute:
            lacks = received_behind(execute, said["row"])
        lacks_s = (self._clock.now_us() - lacks) / 1e6 if lacks is not None else 0.0
        self.spare = Spare(str(said.get("machine"))[:64], max(lacks_s, now - self._heard))

    def alarms(self, rows_s: float) -> list[str]:
        """``rows_s``: the time between two pieces."""
        if self.spare is None or self.spare.behind_s <= LATE_S + rows_s:
            return []
        name, behind_s = self.spare
        return [Said("The spare machine {name} is behind by {n} minutes", name=name, n=max(1, round(behind_s / 60)))]
