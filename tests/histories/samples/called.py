"""The site of histories of samples in the checker's process, without sockets and alerts (`tests.histories.called`)."""

from pathlib import Path

from tests.histories.called import SERVER, CalledProduct
from tests.histories.samples.facts import History
from tests.histories.samples.site import Site, channel, folder


class CalledSite(CalledProduct, Site):
    """Its channels are called, and its folders are written to by the delivery itself."""

    _places: dict[str, int]  # of channels whose results go into the folder of their history

    def write(self, histories: tuple[History, ...], server: str, ward: str) -> None:
        super().write(histories, server, ward)
        self._places = {
            channel(place, number): place
            for place, history in enumerate(histories)
            for number in range(len(history.protocols))
            if history.output != "fhir"
        }

    def _to(self, name: str) -> str:
        place = self._places.get(name)
        return SERVER if place is None else f"out{place}"

    def _is_taken(self, name: str, body: bytes) -> bool:
        place = self._places.get(name)
        if place is None:
            return super()._is_taken(name, body)
        into = Path(self.folder, folder(place))
        into.mkdir(parents=True, exist_ok=True)
        into.joinpath(f"{len([*into.iterdir()]):06}").write_bytes(body)
        return True
