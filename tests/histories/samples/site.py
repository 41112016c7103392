"""The program under test: for each history its analyzers, and where its results go; for all of them the alerts."""

import json

import yaml

from tests.histories.history import Json, ordered_as
from tests.histories.product import FIRST_PORT, REASON, Product
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


def channel(place: int, number: int) -> str:
    return f"h{place}c{number}"


def orders_channel(place: int) -> str:
    return f"h{place}orders"


def folder(place: int) -> str:
    """Of all outputs but FHIR: a folder of the history's own."""
    return f"var/out/h{place}"


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
                **{f"out{place}": {"kind": "file", "folder": folder(place)} for place in range(len(histories))},
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

    def _add(self, name: str, protocol: str, rest: Json) -> None:
        self.ports[name] = FIRST_PORT + len(self.ports)
        kind = "mllp" if protocol == "hl7" else "astm"
        source = {"kind": kind, "listen": f"{self.host}:{self.ports[name]}"}
        self._write({"channel": name, "source": source, **rest})

    def _analyzer(self, history: History, place: int, protocol: str) -> Json:
        route: Json = {"to": "server" if history.output == "fhir" else f"out{place}"}
        if history.output != "raw":
            route["mapping"] = MAPPINGS[history.output, protocol]
        if history.holds:
            route["hold"] = HOLD
        settings = {"patient_system": PEOPLE, "head_codes": ["ORG"]}
        if protocol == "astm":
            settings["patient_system_lab"] = PEOPLE
        content: Json = {"routes": [route], "settings": settings | (ABDM if history.output == "abdm" else {})}
        if history.joined:
            content["results_of"] = "site"
        if history.has_orders:
            content["orders"] = {"answer": "query", "codes": {ordered_as(test): test for test in TESTS}}
        return content


def _laboratory(place: int) -> Json:
    return {
        "role": "orders",
        "routes": [{"mapping": "orders-hl7"}],
        "settings": {"order_specimen": "OBR-3", "patient_system": PEOPLE},
        "lis": {"targets": [channel(place, 0)]},
    }
