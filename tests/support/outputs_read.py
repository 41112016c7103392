"""The results that a document holds, read anew from each form that the shipped mappings make: FHIR, HL7 v2, CSV, JSON.

One message made into several forms must say the same of each result: whose it is, of which specimen, what was measured,
its status and its value. Nothing here is of the product, so that one mistake cannot be in both.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.support.read_back import Hl7, decoded

Json = dict[str, Any]

LOINC = "http://loinc.org"
OWN_SYSTEM = "urn:labrelay:id"  # of an identifier that no sender gave
STATUSES = {"F": "final", "P": "preliminary", "S": "preliminary", "C": "corrected", "X": "cancelled", "I": "registered"}
STATUSES |= {"O": "registered", "R": "unknown", "D": "entered-in-error", "W": "entered-in-error"}
"""Of table 0085, as `astm-to-hl7` writes them."""
_NUMBER = re.compile(r"(<=|>=|<|>)? ?([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)")


@dataclass(frozen=True)
class Read:
    """One result, as a reader of the document sees it.

    Attributes:
        patients: the numbers of the person, without hyphens; empty where the document has none.
        specimens: the numbers of the specimen that was measured.
        tests: the codes and names of what was measured.
        loinc: its LOINC code.
        number: with its comparator and all digits, a range as ``1-5``, a ratio as ``1:128``; empty: there is none.
        words: the value as text, in each form that the document has of it; without one the notes.
        calls: words beside the value.
        unit: as it was sent.
        orders: the numbers of its order.
        none: why there is no value, where the document says that there is none.
    """

    patients: frozenset[str]
    specimens: frozenset[str]
    tests: frozenset[str]
    loinc: str
    status: str
    number: str
    words: frozenset[str]
    unit: str = ""
    calls: frozenset[str] = frozenset()
    none: str = ""
    orders: frozenset[str] = frozenset()


def plain(text: str) -> str:
    return " ".join(text.split())


def texts(*given: str | None) -> frozenset[str]:
    return frozenset(plain(one) for one in given if one and plain(one))


def number_of(text: str) -> str:
    """The number that a text is, in one spelling; empty where it is none."""
    found = _NUMBER.fullmatch(text.strip())
    return f"{found[1] or ''}{spelled(found[2])}" if found else ""


def spelled(number: str) -> str:
    return format(Decimal(number), "f")


def _numbers(parts: Mapping[str, Any]) -> str:
    """Of the members that documents have for a number."""
    if "value" in parts:
        return f"{parts.get('comparator', '')}{spelled(str(parts['value']))}"
    if "low" in parts or "high" in parts:
        return "-".join(spelled(str(parts[one])) if one in parts else "" for one in ("low", "high"))
    return ""


# -- FHIR --------------------------------------------------------------------------------------------------------------


def fhir_results(body: bytes) -> list[Read]:
    """The results that a report lists, in the order of the document."""
    bundle = json.loads(body, parse_float=str, parse_int=str)
    inside: dict[str, Json] = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    reports = [one for one in inside.values() if one["resourceType"] == "DiagnosticReport"]
    listed = {ref["reference"]: report for report in reports for ref in report.get("result", ())}
    return [_of_observation(one, inside, listed[at]) for at, one in inside.items() if at in listed]


def _of_observation(one: Json, inside: Mapping[str, Json], report: Json) -> Read:
    codings = one["code"].get("coding", [])
    none = one.get("dataAbsentReason", {}).get("coding", [{}])[0].get("code", "")
    notes = [line for note in one.get("note", ()) for line in (note["text"], *note["text"].split("\n"))]
    return Read(
        patients=frozenset(one.replace("-", "") for one in _numbers_of(inside, one.get("subject"))),
        specimens=_numbers_of(inside, one.get("specimen")),
        tests=texts(one["code"].get("text"), *(c.get(name) for c in codings for name in ("code", "display"))),
        loinc=next((c["code"] for c in codings if c.get("system") == LOINC), ""),
        status=one["status"],
        number=_number_of_observation(one),
        words=texts(*(notes if none else _words(one))),
        calls=texts(*(flag.get("text") for flag in one.get("interpretation", ()))),
        none=none,
        orders=texts(*(one.get("value") for one in report.get("identifier", ()))),
    )


def _numbers_of(inside: Mapping[str, Json], reference: Json | None) -> frozenset[str]:
    found = inside[reference["reference"]] if reference else {}
    return texts(*(one.get("value") for one in found.get("identifier", ()) if one.get("system") != OWN_SYSTEM))


def _number_of_observation(one: Json) -> str:
    if "valueQuantity" in one:
        return _numbers(one["valueQuantity"])
    if "valueRange" in one:
        return _numbers({name: limit["value"] for name, limit in one["valueRange"].items()})
    if "valueRatio" in one:
        return ":".join(spelled(str(one["valueRatio"][name]["value"])) for name in ("numerator", "denominator"))
    return ""


def _words(one: Json) -> Iterator[str]:
    for name in ("valueString", "valueDateTime", "valueTime"):
        if name in one:
            yield one[name]
    concepts = [one["valueCodeableConcept"]] if "valueCodeableConcept" in one else []
    for part in one.get("component", ()):
        yield part.get("valueString", "")
        concepts += [part["valueCodeableConcept"]] if "valueCodeableConcept" in part else []
    for concept in concepts:
        yield concept.get("text", "")
        for coding in concept.get("coding", ()):
            yield from (coding.get("code", ""), coding.get("display", ""))
    if "valuePeriod" in one:
        yield from one["valuePeriod"].values()


# -- lists -------------------------------------------------------------------------------------------------------------


def json_results(body: bytes) -> list[Read]:
    document = json.loads(body, parse_float=str, parse_int=str)
    return [
        Read(
            patients=texts(patient.get("id", "").replace("-", "")),
            specimens=texts(order.get("specimen")),
            tests=texts(one["test"], one.get("name")),
            loinc=one.get("loinc", ""),
            status=one["status"],
            number=_numbers(one),
            words=texts(one.get("text")),
            unit=one.get("unit", ""),
        )
        for patient in document.get("patients", ())
        for order in patient.get("orders", ())
        for one in order.get("results", ())
    ]


def csv_results(body: bytes) -> list[Read]:
    """Of a list with its header, made with ``csv_guard: no``."""
    return [
        Read(
            patients=texts(row["patient"].replace("-", "")),
            specimens=texts(row["specimen"]),
            tests=texts(row["test"], row["name"]),
            loinc=row["loinc"],
            status=row["status"],
            number=number_of(row["value"]),
            words=texts(row["value"]),
            unit=row["unit"],
        )
        for row in csv.DictReader(io.StringIO(body.decode(), newline=""))
    ]


# -- HL7 v2 ------------------------------------------------------------------------------------------------------------


def hl7_results(body: bytes) -> list[Read]:
    """Of an ORU^R01 that `astm-to-hl7` made: a word beside a number (OBX-4 is 1 and 2) is one result with it.

    Without SPM the order has the number of the specimen.
    """
    message = Hl7(decoded(body))
    found: list[Read] = []
    person: frozenset[str] = frozenset()
    of_order: list[list[str]] = []
    order_no: list[str] = []

    def close(numbers: Iterable[str]) -> None:
        found.extend(_of_obx(message, row, person, texts(*numbers) or texts(*order_no)) for row in of_order)
        of_order.clear()

    for row in message.segments():
        if row[0] == "PID":
            close(())
            person = texts(*(message.parts(one)[0].replace("-", "") for one in _at(row, 3).split(message.repeat)))
        elif row[0] == "OBR":
            close(())
            order_no = [_at(row, 2), _at(row, 3)]
        elif row[0] == "OBX":
            if _at(row, 4) == "2" and of_order:
                row = [*row[:5], _at(of_order.pop(), 5) + message.repeat + _at(row, 5), *row[6:]]
            of_order.append(row)
        elif row[0] == "SPM":
            close(message.parts(_at(row, 2)))
    close(())
    return found


def _at(row: list[str], number: int) -> str:
    return row[number] if len(row) > number else ""


def _of_obx(message: Hl7, row: list[str], person: frozenset[str], specimens: frozenset[str]) -> Read:
    codes = [*message.parts(_at(row, 3)), "", "", "", "", "", ""]
    parts = [*message.parts(_at(row, 5).split(message.repeat)[-1]), "", "", ""]
    if _at(row, 2) == "SN":
        value = f"{parts[1]}{parts[2]}{parts[3]}" if parts[3] else f"{parts[0]}{parts[1]}"
        number = value if parts[3] else number_of(value)
    else:
        value = message.text(_at(row, 5).replace(message.repeat, " "))
        number = number_of(parts[0]) if _at(row, 2) == "NM" else ""
    return Read(
        patients=person,
        specimens=specimens,
        tests=texts(codes[0], codes[1]),
        loinc=codes[3] if codes[5] == "LN" else "",
        status=STATUSES[_at(row, 11)],
        number=number,
        words=texts(value),
        unit=message.text(_at(row, 6)),
    )
