"""What a receiver believes at the end: of a server its current state, of a stream what its last words leave.

A stream (HL7 v2, CSV, JSON, raw copies) is read as a laboratory system reads it: a result of the same number and test,
and of no other patient, takes the place of one before it, if it says that it corrects, if that one was not finished, or
if both were measured at the same time; else it stands beside it.
"""

import csv
import io
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.histories.history import Json
from tests.histories.look import value_of

WORDS = {"F": "final", "C": "corrected", "P": "preliminary", "D": "entered-in-error", "W": "entered-in-error"}
GONE = frozenset({"entered-in-error", "cancelled"})
REPLACES = frozenset({"corrected", "amended", "entered-in-error", "appended"})
OPEN = frozenset({"preliminary", "registered", "partial"})
Named = tuple[str, Json]  # how others refer to it, its body


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A result that a receiver has.

    Attributes:
        numbers: of orders and tubes that it is said to be of.
        at: when it was measured, as YYYYMMDDHHMMSS. issued: when its report was made, likewise.
        past: values that stood in its place before.
    """

    patient: str
    numbers: frozenset[str]
    code: str
    value: str
    status: str
    at: str
    past: tuple[str, ...] = ()
    issued: str = ""

    @property
    def live(self) -> bool:
        return self.status not in GONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A report: its status, and the results that it lists."""

    status: str
    results: tuple[Held, ...]

    @property
    def live(self) -> bool:
        return self.status not in GONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    results: tuple[Held, ...] = ()
    papers: tuple[Paper, ...] = field(default=())


def in_folder(output: str, folder: Path) -> Believed:
    """Files in the order in which they came."""
    files = sorted(folder.glob("*"), key=lambda one: (one.stat().st_mtime_ns, one.name))
    texts = [one.read_text(encoding="utf-8") for one in files]
    if output == "abdm":
        return _documents([json.loads(text) for text in texts])
    read = {"csv": _csv, "json": _json}.get(output, _records)
    return Believed(results=tuple(standing(row for text in texts for row in read(text))))


def standing(rows: Iterable[Held]) -> Iterator[Held]:
    by_place: dict[tuple[frozenset[str], str], list[Held]] = defaultdict(list)
    for row in rows:
        place = by_place[row.numbers, row.code]
        over = [one for one in place if _may_be_one(one, row) and _is_over(one, row)]
        past = tuple(value for one in over for value in (*one.past, one.value))
        place[:] = [one for one in place if one not in over] + [replace(row, past=past)]
    for place in by_place.values():
        yield from place


def _may_be_one(before: Held, after: Held) -> bool:
    """Whether both are of one patient, as far as they name one."""
    return before.patient == after.patient or not (before.patient and after.patient)


def _is_over(before: Held, after: Held) -> bool:
    return after.status in REPLACES or before.status in OPEN or before.at == after.at


def _csv(text: str) -> Iterator[Held]:
    for row in csv.DictReader(io.StringIO(text)):
        yield Held(
            patient=row["patient"], numbers=frozenset({row["specimen"]} - {""}), code=row["test"],
            value=row["value"], status=row["status"], at=stamp(row["measured"]),
        )  # fmt: skip


def _json(text: str) -> Iterator[Held]:
    for person in json.loads(text)["patients"]:
        for order in person["orders"]:
            numbers = frozenset(order.get(name) for name in ("specimen", "placer", "filler")) - {None}
            for row in order["results"]:
                yield Held(
                    patient=person.get("id", ""), numbers=numbers, code=row["test"],
                    value=str(row.get("text", row.get("value", ""))), status=row["status"],
                    at=stamp(row.get("measured", "")),
                )  # fmt: skip


def _records(text: str) -> Iterator[Held]:
    """HL7 v2 or ASTM."""
    rows = [[*row.split("|"), *[""] * 30] for row in text.replace("\n", "\r").split("\r") if row]
    patient, numbers = "", frozenset[str]()
    for row in rows:
        match row[0]:
            case "PID" | "P":
                patient = row[3].partition("^")[0]
            case "OBR":
                numbers = frozenset({row[2], row[3]}) - {""}
            case "O":
                numbers = frozenset({row[2]})
            case "OBX" | "R":
                code, value, status, at = (3, 5, 11, 14) if row[0] == "OBX" else (2, 3, 8, 12)
                yield Held(
                    patient=patient, numbers=numbers, code=row[code].strip("^").partition("^")[0],
                    value=row[value], status=WORDS.get(row[status], row[status]), at=row[at][:14],
                )  # fmt: skip


def stamp(time: str) -> str:
    """2026-03-01T10:15:31+05:30, in the time of the site."""
    return "".join(letter for letter in time[:19] if letter.isdigit())


# -- FHIR --------------------------------------------------------------------------------------------------------------


def on_server(folder: Path, idents: frozenset[str]) -> Believed:
    """``idents``: of resources that are of this history."""
    database = sqlite3.connect(folder / "sandbox.sqlite3")
    try:
        rows = database.execute(
            "SELECT r.type, r.id, h.body FROM resource r JOIN history h ON h.number = r.number"
            " WHERE h.method != 'DELETE' ORDER BY r.number, h.version"
        )
        kept = [(kind, ident, json.loads(body)) for kind, ident, body in rows]
    finally:
        database.close()
    return _resources([(f"{kind}/{ident}", body) for kind, ident, body in kept if kind == "Patient" or ident in idents])


def _documents(bundles: list[Json]) -> Believed:
    """Of each report the newest document counts, for it replaces those before."""
    by_report: dict[str, list[Json]] = defaultdict(list)
    for bundle in bundles:
        by_report[bundle["entry"][0]["resource"]["identifier"]["value"]].append(bundle)
    found = [_resources([row for bundle in some for row in _entries(bundle)], some[-1]) for some in by_report.values()]
    return Believed(
        results=tuple(one for said in found for one in said.results),
        papers=tuple(one for said in found for one in said.papers),
    )


def _entries(bundle: Json) -> Iterator[Named]:
    for entry in bundle["entry"]:
        yield entry["fullUrl"], entry["resource"]


def _resources(rows: list[Named], last: Json | None = None) -> Believed:
    """Versions in their order. ``last``: of a document, what is not in it does not stand any more."""
    versions: dict[str, list[Json]] = defaultdict(list)
    for name, body in rows:
        versions[name].append(body)
    stays = versions.keys() if last is None else {name for name, _ in _entries(last)}
    now = {name: some[-1] for name, some in versions.items() if name in stays}
    kinds = {name: body["resourceType"] for name, body in now.items()}

    def identifiers(references: Iterable[Json]) -> set[str]:
        """Of what is referred to, or is named in place of a reference."""
        found = set()
        for each in references:
            named = (
                [each["identifier"]] if "identifier" in each else now.get(each["reference"], {}).get("identifier", ())
            )
            found |= {one["value"] for one in named}
        return found

    def held(name: str) -> Held:
        body = now[name]
        reports = [one for one in now.values() if name in _listed(one)]
        numbers = identifiers([*body.get("basedOn", ()), *_specimens(body)])
        for report in reports:
            numbers |= identifiers(report.get("basedOn", ()))
            numbers |= {one["value"] for one in report.get("identifier", ())}
        return Held(
            patient=min(identifiers([body["subject"]] if "subject" in body else []), default=""),
            numbers=frozenset(numbers), code=body["code"].get("text", ""), value=value_of(body), status=body["status"],
            at=stamp(body.get("effectiveDateTime", "")), past=tuple(value_of(one) for one in versions[name][:-1]),
            issued=stamp(body.get("issued", "")),
        )  # fmt: skip

    results = {name: held(name) for name in now if kinds[name] == "Observation"}
    composed = [body["status"] for name, body in now.items() if kinds[name] == "Composition"]
    return Believed(
        results=tuple(results.values()),
        papers=tuple(
            Paper(status=(composed or [body["status"]])[0], results=tuple(results[one] for one in _listed(body)))
            for body in now.values()
            if body["resourceType"] == "DiagnosticReport"
        ),
    )


def _listed(body: Json) -> list[str]:
    return [one["reference"] for one in body.get("result", ())] if body["resourceType"] == "DiagnosticReport" else []


def _specimens(body: Json) -> list[Json]:
    return [body["specimen"]] if "specimen" in body else []
