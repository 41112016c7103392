"""The program under test: for each history its analyzers, and where its results go; for all of them the alerts."""

import json
from collections.abc import Iterable
from datetime import datetime

import yaml

from tests.histories.history import Json, ordered_as
from tests.histories.product import FIRST_PORT, REASON, Product
from tests.histories.samples.duties import LEVELLED, LISTED, LOT, MEAN, SD
from tests.histories.samples.facts import History

PEOPLE = "urn:test:people"
MARKER = "marker"  # a channel whose alert comes when all others have been sent
MAPPINGS = {
    ("fhir", "hl7"): "hl7-results", ("fhir", "astm"): "astm-results",
    ("csv", "hl7"): "hl7-to-csv", ("csv", "astm"): "astm-to-csv",
    ("json", "hl7"): "hl7-to-json", ("json", "astm"): "astm-to-json",
    ("hl7", "astm"): "astm-to-hl7", ("abdm", "hl7"): "abdm-report",
}  # fmt: skip
ABDM = {
    "lab": "Test Lab",
    "hfr_id": "IN1",
    "hfr_system": "urn:test:hfr",
    "abha_system": "urn:test:abha",
    "abha": "later",
}
HOLD = "=qc_failed('24h')"
TESTS = ("GLU", "UREA")
MOST = 1000  # targets in one command


def channel(place: int, number: int) -> str:
    return f"h{place}c{number}"


def orders_channel(place: int) -> str:
    return f"h{place}orders"


def destination(place: int, output: str) -> str:
    return "server" if output == "fhir" else f"out{place}{output}"


def output_of(destination: str) -> str:
    return "fhir" if destination == "server" else destination.removeprefix("out").lstrip("0123456789")


def folder(place: int, output: str) -> str:
    """Of all outputs but FHIR: a folder of the history's own."""
    return f"var/out/h{place}{output}"


class Site(Product):
    """A site with a history at each place."""

    def write(self, histories: tuple[History, ...], server: str, ward: str) -> None:
        """``ward``: where alerts go."""
        (self.folder / "config").mkdir(parents=True)
        (self.folder / "channels").mkdir()
        quick = {"retry": {"first": "20ms", "max": "200ms"}, "breaker": {"probe_after": "50ms"}}
        told = '{"key": "{key}", "state": "{state}", "text": "{text}"}'
        site = {
            "site": {"name": "Test Lab", "timezone": "Asia/Kolkata"},
            "web": {"enabled": False},
            "patient_numbers": "lasting",
            "alerts": {"group": "0s", "sinks": {"ward": {"kind": "http", "url": ward, "body": told}}},
            "destinations": {
                "server": {"kind": "fhir", "url": server, **quick},
                "nowhere": {"kind": "file", "folder": "var/out/marker"},
                **{
                    destination(place, output): {"kind": "file", "folder": folder(place, output)}
                    for place, history in enumerate(histories)
                    for output in history.outputs
                    if output != "fhir"
                },
            },
        }
        (self.folder / "config" / "labrelay.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
        for place, history in enumerate(histories):
            for number, protocol in enumerate(history.protocols):
                self._add(channel(place, number), protocol, self._analyzer(history, place, protocol))
            if history.has_orders:
                self._add(orders_channel(place), "hl7", _laboratory(place))
        self._add(MARKER, "hl7", {"routes": [{"mapping": "hl7-results", "to": "server"}]})

    async def look_for_alerts(self) -> None:
        """Now, and not in its own time: it looks once a silence is over."""
        silence = ("alert", "silence", "none/*", "--for", "1h", "--reason", REASON, "-o", "json")
        number = json.loads((await self.command(*silence))["out"])["silence"]
        await self.command("alert", "unsilence", str(number))

    async def set_targets(self, histories: tuple[History, ...], begins: datetime) -> None:
        """Put the lots and targets of all controls in force, since then."""
        lots, targets = tables(histories)
        if len(targets) == 1:
            return
        for name, rows in (("lots.csv", lots), ("targets.csv", targets)):
            path = self.folder / name
            path.write_text("\n".join(rows), encoding="utf-8")
            await self.command("quality", "load", str(path), "--reason", REASON)
        numbers = [str(number) for number in range(1, len(targets))]
        for at in range(0, len(numbers), MOST):
            since = ("--from", f"{begins:%Y-%m-%d %H:%M:%S%z}")
            await self.command("quality", "accept", *numbers[at : at + MOST], *since, "--reason", REASON)

    async def take_alerts(self, messages: Iterable[int]) -> None:
        """A person takes the alerts of these messages."""
        for number in messages:
            await self.command("alert", "acknowledge", f"critical/{number}")

    async def close_failures(self, name: str) -> None:
        """A person closes the failures of a channel whose repeat was accepted."""
        for one in json.loads((await self.command("quality", "failures", "-o", "json"))["out"])["failures"]:
            if one["channel"] == name:
                said = ("--cause", REASON, "--action", REASON, "--reason", REASON)
                await self.command("quality", "close", str(one["failure"]), *said)

    async def alarms(self) -> dict[int, bool]:
        """Messages with a critical value that no person has taken: whether it is critical still."""
        return {int(number): is_open for number, is_open in (await self._ask(do="critical"))["critical"].items()}

    def _add(self, name: str, protocol: str, rest: Json) -> None:
        self.ports[name] = FIRST_PORT + len(self.ports)
        kind = "mllp" if protocol == "hl7" else "astm"
        source = {"kind": kind, "listen": f"{self.host}:{self.ports[name]}"}
        self._write({"channel": name, "source": source, **rest})

    def _analyzer(self, history: History, place: int, protocol: str) -> Json:
        routes: list[Json] = []
        for output in history.outputs:
            route: Json = {"to": destination(place, output)}
            if output != "raw":
                route["mapping"] = MAPPINGS[output, protocol]
            if history.holds:
                route["hold"] = HOLD
            routes.append(route)
        settings = {"patient_system": PEOPLE, "head_codes": ["ORG"], **dict(history.settings)}
        if protocol == "astm":
            settings["patient_system_lab"] = PEOPLE
        content: Json = {"routes": routes, "settings": settings | (ABDM if "abdm" in history.outputs else {})}
        if history.joined:
            content["results_of"] = "site"
        if history.has_orders:
            content["orders"] = {"answer": "query", "codes": {ordered_as(test): test for test in TESTS}}
        return content


def tables(histories: tuple[History, ...]) -> tuple[list[str], list[str]]:
    """Lines of the list of controls, and of their targets."""
    lots = ["analyzer,number,material,level,lot,expires", f"*,{LISTED},M,L1,{LOT},", f"*,{LEVELLED},M,L2,{LOT},"]
    targets = [
        f"{channel(place, number)},,{test},L1,{LOT},mmol/L,{MEAN},{SD},lab"
        for place, history in enumerate(histories)
        for number in range(len(history.protocols))
        for test in history.targets
    ]
    return lots, ["analyzer,module,test,level,lot,unit,mean,sd,source", *targets]


def _laboratory(place: int) -> Json:
    return {
        "role": "orders",
        "routes": [{"mapping": "orders-hl7"}],
        "settings": {"order_specimen": "OBR-3", "patient_system": PEOPLE},
        "lis": {"targets": [channel(place, 0)]},
    }
