"""The site of histories of samples in the checker's process, without sockets and alerts (`tests.histories.called`)."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from engine.features.alerts.rows.changes import take_critical
from engine.features.quality_control.rows import deciding
from engine.features.quality_control.rows.reading import list_failures
from engine.features.quality_control.rules.lots import IN_FORCE
from engine.features.quality_control.rules.tables import read
from engine.model.errors import RefusedError
from engine.model.process.clock import to_us
from tests.histories import hand
from tests.histories.called import CalledProduct
from tests.histories.product import REASON
from tests.histories.samples.facts import History
from tests.histories.samples.site import Site, channel, destination, folder, tables

PERSON = {"actor": "A", "reason": REASON}


class CalledSite(CalledProduct, Site):
    """Its channels are called, and its folders are written to by the delivery itself."""

    _lanes: dict[str, tuple[str, ...]]
    _folders: dict[str, Path]  # by destination

    def write(self, histories: tuple[History, ...], server: str, ward: str) -> None:
        super().write(histories, server, ward)
        self._lanes = {
            channel(place, number): tuple(destination(place, output) for output in history.outputs)
            for place, history in enumerate(histories)
            for number in range(len(history.protocols))
        }
        self._folders = {
            destination(place, output): Path(self.folder, folder(place, output))
            for place, history in enumerate(histories)
            for output in history.outputs
            if output != "fhir"
        }

    async def start(self) -> None:
        await super().start()
        self._journal.upkeep.notes_critical = True

    def set_clock(self, at: datetime) -> None:
        """No earlier than it is."""
        self._clock.at = max(self._clock.at, at)

    def begin(self, at: datetime) -> None:
        self._clock.at = at

    async def set_targets(self, histories: tuple[History, ...], begins: datetime) -> None:
        lots, targets = tables(histories)
        if len(targets) == 1:
            return
        for name, rows in (("lots.csv", lots), ("targets.csv", targets)):
            found = read("\n".join(rows), name)
            self._journal.run_alone(deciding.load, found.lots, found.targets, file=name, **PERSON)
        self._journal.run_alone(deciding.accept, range(1, len(targets)), IN_FORCE, to_us(begins), **PERSON)

    async def take_alerts(self, messages: Iterable[int]) -> None:
        for number in messages:
            with suppress(RefusedError):
                self._journal.run_alone(take_critical, number, "A", REASON)

    async def close_failures(self, name: str) -> None:
        for one in list_failures(self._journal):
            if one.channel == name and one.repeat and not one.until_us:
                self._journal.run_alone(deciding.open_test, one.id, cause=REASON, action=REASON, **PERSON)

    async def alarms(self) -> dict[int, bool]:
        return hand.critical_of(self._journal)

    def _to(self, name: str) -> tuple[str, ...]:
        return self._lanes.get(name) or super()._to(name)

    def _is_taken(self, destination: str, body: bytes) -> bool:
        into = self._folders.get(destination)
        if into is None:
            return super()._is_taken(destination, body)
        into.mkdir(parents=True, exist_ok=True)
        into.joinpath(f"{len([*into.iterdir()]):06}").write_bytes(body)
        return True
