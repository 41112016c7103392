"""What a FHIR server pays for a message of 20 results, measured by leaving out one thing at a time.

Documents are those of the shipped mapping, and go out through the destination's own adapter. Each *case* is a change to
them, or to the server's settings; cases run in turns on one server, each with documents of its own, so that what the
server learns and how busy the machine is touch all alike. Every patient, orderer, organisation and device is there
before: a conditional create finds its resource, as for all but the first message of a patient.
"""

import asyncio
import itertools
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.config import registry
from engine.config.destinations.destination import FhirDestination
from engine.config.site import mapping_path
from engine.mapping import load
from engine.model.message import Delivery, FormatOptions
from engine.model.process.clock import SystemClock
from workbench.bench.box import is_noisy, report, spread
from workbench.bench.fhir_server import FhirServer, Spent
from workbench.bench.mapping_case import CONTEXT
from workbench.bench.messages import PATIENTS, oru

Bundle = dict[str, Any]
Known = dict[str, str]  # fullUrl -> Type/id
CLASSPATH = "LABRELAY_HAPI"  # names a file with the server's
WARM_UP = 500
SLICE = 40  # messages of one case, before the next one has its turn
SLICES = 5  # in a round: 200 messages
UNCOUNTED = 2  # slices of each case at first, while Java still compiles
AT_ONCE = 4


def left_out(*kinds: str) -> Callable[[Bundle, Known], Bundle]:
    """Without the entries of these types; references name the server's own resources."""

    def change(bundle: Bundle, known: Known) -> Bundle:
        gone = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] in kinds]
        kept = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] not in kinds]
        text = json.dumps({**bundle, "entry": kept})
        for entry in gone:
            kind, full_url = entry["resource"]["resourceType"], entry["fullUrl"]
            text = text.replace(full_url, known.get(full_url) or known.get(kind, full_url))
        changed: Bundle = json.loads(text)
        return changed

    return change


def contained(bundle: Bundle, _known: Known) -> Bundle:
    """The results within their report."""
    entries = {entry["fullUrl"]: entry for entry in bundle["entry"]}
    results = {url: entry for url, entry in entries.items() if entry["resource"]["resourceType"] == "Observation"}
    for entry in entries.values():
        if entry["resource"]["resourceType"] == "DiagnosticReport":
            entry["resource"]["contained"] = [one["resource"] for one in results.values()]
            for one in entry["resource"]["result"]:
                one["reference"] = "#" + results[one["reference"]]["resource"]["id"]
    return {**bundle, "entry": [entry for url, entry in entries.items() if url not in results]}


def unnamed(bundle: Bundle, _known: Known) -> Bundle:
    """Results whose codes have no ``display``."""
    for entry in bundle["entry"]:
        if entry["resource"]["resourceType"] == "Observation":
            for concept in (entry["resource"]["code"], *entry["resource"]["category"]):
                for coding in concept["coding"]:
                    coding.pop("display", None)
    return bundle


def some_results(count: int) -> Callable[[Bundle, Known], Bundle]:
    def change(bundle: Bundle, _known: Known) -> Bundle:
        results = [one for one in bundle["entry"] if one["resource"]["resourceType"] == "Observation"]
        gone = {one["fullUrl"] for one in results[count:]}
        for entry in bundle["entry"]:
            if entry["resource"]["resourceType"] == "DiagnosticReport":
                entry["resource"]["result"] = [
                    one for one in entry["resource"]["result"] if one["reference"] not in gone
                ]
        return {**bundle, "entry": [entry for entry in bundle["entry"] if entry["fullUrl"] not in gone]}

    return change


def same(bundle: Bundle, _known: Known) -> Bundle:
    return bundle


LASTING = replace(CONTEXT, patient_numbers="lasting")  # numbers of an authority, so a patient comes again
CONDITIONAL = ("Patient", "Practitioner", "Organization", "Device")


@dataclass(frozen=True, slots=True)
class Case:
    """
    Attributes:
        settings: of the server.
        together: messages in one transaction.
        at_once: requests under way.
    """

    name: str
    change: Callable[[Bundle, Known], Bundle] = same
    settings: dict[str, str] = field(default_factory=dict)
    together: int = 1
    at_once: int = AT_ONCE


CASES = (
    Case("all of it"),
    Case("without the create of a patient", left_out("Patient")),
    Case("without that of the orderer", left_out("Practitioner")),
    Case("without that of the organisation", left_out("Organization")),
    Case("without that of the device", left_out("Device")),
    Case("without the specimen", left_out("Specimen")),
    Case("without the order", left_out("ServiceRequest")),
    Case("without Provenance", left_out("Provenance")),
    Case("without all four creates", left_out(*CONDITIONAL)),
    Case("without them, specimen and order", left_out(*CONDITIONAL, "Specimen", "ServiceRequest")),
    Case("results within the report", contained),
    Case("results without display of their codes", unnamed),
    Case("one result", some_results(1)),
    Case("server: no history", settings={"history": "no"}),
    Case("server: references are not checked", settings={"references": "no"}),
    Case("server: remembers matches", settings={"match": "yes"}),
    Case("server: for mass ingestion", settings={"mass": "yes"}),
    Case("one at a time", at_once=1),
    Case("one at a time, without all four creates", left_out(*CONDITIONAL), at_once=1),
    Case("2 together", together=2),
    Case("5 together", together=5),
    Case("20 together", together=20),
    Case("20 together, without all four creates", left_out(*CONDITIONAL), together=20),
)

LAST = Case("server: finds by id and identifier alone")


def joined(bundles: list[Bundle]) -> Bundle:
    """One transaction of several; what has the same fullUrl is there once."""
    entries = {entry["fullUrl"]: entry for bundle in bundles for entry in bundle["entry"]}
    return {**bundles[0], "entry": list(entries.values())}


class Feed:
    """Documents without end, none twice.

    Attributes:
        known: once this is filled, documents name nothing else that a create is conditional for.
    """

    def __init__(self) -> None:
        self._program = load("hl7-results", mapping_path(None))
        self._codec = registry.load(registry.FORMATS, "hl7v2")
        self._numbers = itertools.count()
        self.known: Known = {}

    def _documents(self) -> Iterator[Bundle]:
        for number in self._numbers:
            parsed = self._codec.parse(oru(number % 32, number, random.Random(number)), FormatOptions())
            (document,) = self._program.apply(parsed, LASTING).documents
            bundle: Bundle = json.loads(document.body)
            if not self.known or all(one["fullUrl"] in self.known for one in shared(bundle)):
                yield bundle

    def take(self, count: int) -> list[Bundle]:
        return list(itertools.islice(self._documents(), count))


def shared(bundle: Bundle) -> list[dict[str, Any]]:
    """The entries that are conditional creates."""
    return [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] in CONDITIONAL]


class Sender:
    """Sends bundles through the destination's adapter."""

    def __init__(self, url: str) -> None:
        self._to = FhirDestination(kind="fhir", url=url).build("fhir", SystemClock())
        self._sent = 0

    async def start(self) -> None:
        await self._to.start()

    async def close(self) -> None:
        await self._to.close()

    async def send(self, bundles: Iterable[Bundle], at_once: int = 1) -> None:
        left = iter([json.dumps(bundle, separators=(",", ":")).encode() for bundle in bundles])

        async def some() -> None:
            for body in left:
                self._sent += 1
                await self._to.deliver(delivery(self._sent, body))

        await asyncio.gather(*(some() for _ in range(at_once)))


def delivery(number: int, body: bytes) -> Delivery:
    return Delivery(
        id=number, message_id=number, channel="bench", destination="fhir", seq=number, key=f"{number:032x}", body=body,
        media_type="application/fhir+json", received_us=0,
    )  # fmt: skip


async def seed(server: FhirServer, feed: Feed, sender: Sender) -> None:
    """Have the server know most patients and all others; remember how it names them."""
    found = {entry["fullUrl"]: entry for bundle in feed.take(PATIENTS) for entry in shared(bundle)}
    everyone = list(found.values())
    for part in (everyone[first : first + 100] for first in range(0, len(everyone), 100)):
        answers = server.take({"resourceType": "Bundle", "type": "transaction", "entry": part})
        for entry, answer in zip(part, answers, strict=True):
            feed.known[entry["fullUrl"]] = "/".join(answer["location"].split("/")[-4:-2])
    (one,) = feed.take(1)
    await sender.send([one])
    feed.known |= {
        entry["resource"]["resourceType"]: entry["request"]["url"]
        for entry in one["entry"]
        if entry["request"]["method"] == "PUT"
    }


async def turn(case: Case, server: FhirServer, feed: Feed, sender: Sender) -> Spent:
    """One `SLICE` of a case."""
    server.set(case.settings)
    bundles = [case.change(bundle, feed.known) for bundle in feed.take(SLICE)]
    bundles = [joined(bundles[first : first + case.together]) for first in range(0, SLICE, case.together)]
    before = server.spent()
    await sender.send(bundles, case.at_once)
    return server.spent().since(before)


async def measure(server: FhirServer, *, rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Slices of all cases in turn; then of a server that keeps no index for a search."""
    feed, sender = Feed(), Sender(server.url)
    found: dict[str, list[Spent]] = {case.name: [] for case in (*CASES, LAST)}
    await sender.start()
    try:
        await seed(server, feed, sender)
        say("warm-up")
        await sender.send(feed.take(WARM_UP), AT_ONCE)
        for index in range(-UNCOUNTED, rounds * SLICES):
            for case in CASES:
                spent = await turn(case, server, feed, sender)
                if index >= 0:
                    found[case.name].append(spent)
                say(f"{index + 1} {case.name}: {told(spent)}")
        server.forget_searches()
        for index in range(-UNCOUNTED, rounds * SLICES):
            spent = await turn(LAST, server, feed, sender)
            if index >= 0:
                found[LAST.name].append(spent)
    finally:
        await sender.close()
    return [line(case, found[case.name], found[CASES[0].name]) for case in (*CASES, LAST)]


def told(spent: Spent) -> str:
    return (
        f"{spent.java_s / SLICE * 1000:.1f} + {spent.database_s / SLICE * 1000:.1f} ms, "
        f"{spent.statements / SLICE:.0f} statements, {spent.size / SLICE / 1000:.0f} kB"
    )


def line(case: Case, slices: list[Spent], whole: list[Spent]) -> dict[str, Any]:
    """One line of the table. ``whole``: the slices of the first case, in the same rounds."""

    def cpu_s(spent: Spent) -> float:
        return spent.java_s + spent.database_s

    def middle(of: Callable[[Spent], float]) -> dict[str, float]:
        return spread((of(one) / SLICE for one in slices), 1)

    ratio = spread((cpu_s(one) / cpu_s(other) for one, other in zip(slices, whole, strict=True)), 2)
    return {
        "scenario": "fhir",
        "case": case.name,
        "messages": len(slices) * SLICE,
        "cpu_ms": middle(lambda one: cpu_s(one) * 1000),
        "java_ms": middle(lambda one: one.java_s * 1000),
        "database_ms": middle(lambda one: one.database_s * 1000),
        "ratio": ratio,
        "statements": middle(lambda one: one.statements),
        "allocated_mb": middle(lambda one: one.allocated / 1e6),
        "kb": middle(lambda one: one.size / 1000),
        "log_kb": middle(lambda one: one.log / 1000),
        "noisy": is_noisy(ratio),
    }


def run(folder: Path, *, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report.

    Args:
        folder: on the disk whose sync time is reported; the server's data are there, too.
    """
    if (classpath := os.environ.get(CLASSPATH)) is None:
        raise RuntimeError("run this with: make bench-hapi")
    folder.chmod(0o711)  # of a bench alone; started by root, the server's data are another user's
    with tempfile.TemporaryDirectory(dir=folder) as place:
        server = FhirServer(Path(place), Path(classpath))
        try:
            cases = asyncio.run(measure(server, rounds=rounds, say=say))
        finally:
            server.stop()
    return report(folder, cases)
