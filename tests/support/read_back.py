"""What a report's document says of each result, and what its HL7 v2 message said: both read anew, to be compared.

Written from HL7 v2.5.1 chapters 2 and 7 and FHIR R4 alone: nothing here is of the product, so one mistake cannot be in
both. A `Said` is one result in the words of its sender.

    value    a number with all its digits, comparator and unit; else the words
    range    as text; low and high where it is two numbers
    flags    codes of table 0078
    at       digits of the local time; ``zone`` where the sender said it
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.shipped import RECEIVED

Json = dict[str, Any]
STATUSES = {"F": "final", "P": "preliminary", "C": "corrected", "X": "cancelled"}
"""Of table 0085, those that say one thing."""
_NUMBER = re.compile(r"([<>]=?)?\s*([+-]?[0-9]+(?:\.[0-9]+)?|[+-]?\.[0-9]+)")
_RANGE = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*-\s*([0-9]+(?:\.[0-9]+)?)")


@dataclass(frozen=True)
class Said:
    """One result."""

    test: frozenset[str]
    words: frozenset[str]
    number: str = ""
    comparator: str = ""
    unit: frozenset[str] = frozenset()
    range_text: str = ""
    low: str = ""
    high: str = ""
    flags: frozenset[str] = frozenset()
    at: str = ""
    zone: str = ""
    status: str = ""
    absent: bool = False


# -- the message -------------------------------------------------------------------------------------------------------


class Hl7:
    """A message, cut at its own delimiters."""

    def __init__(self, text: str) -> None:
        self.rows = [row for row in re.split(r"[\r\n]+", text) if row]
        self.field_mark = self.rows[0][3]
        marks = self.rows[0][4:8]
        self.component, self.repeat, self.escape, self.sub = marks[0], marks[1], marks[2], marks[3]

    def segments(self) -> Iterator[list[str]]:
        for row in self.rows:
            fields = row.split(self.field_mark)
            yield [fields[0], self.field_mark, *fields[1:]] if fields[0] == "MSH" else fields

    def text(self, raw: str) -> str:
        """Without escapes (2.7), and with one blank for several, or for the end of a line."""
        named = {"F": self.field_mark, "S": self.component, "T": self.sub, "R": self.repeat, "E": self.escape}
        named |= {"H": "", "N": "", ".br": "\n"}

        def one(found: re.Match[str]) -> str:
            said = found[1]
            return bytes.fromhex(said[1:]).decode("latin-1") if said[0] == "X" else named[said]

        mark = re.escape(self.escape)
        return _plain(re.sub(rf"{mark}(X(?:[0-9A-F]{{2}})+|[FSTREHN]|\.br){mark}", one, raw))

    def parts(self, raw: str) -> list[str]:
        return [self.text(part) for part in raw.split(self.component)]


def _plain(text: str) -> str:
    return " ".join(text.split())


def decoded(payload: bytes) -> str:
    """The text of a message, in the character set of MSH-18."""
    sets = {b"GB 18030-2000": "gb18030", b"8859/1": "latin-1", b"8859/5": "iso8859-5"}
    header = re.split(rb"[\r\n]", payload.lstrip(), maxsplit=1)[0].split(payload.lstrip()[3:4])
    named = header[17].split(b"~")[0] if len(header) > 17 else b""
    try:
        return payload.decode(sets.get(named, "utf-8"))
    except UnicodeDecodeError:
        return payload.decode("latin-1")


def _get(row: list[str], at: int) -> str:
    said = row[at] if len(row) > at else ""
    return "" if said == '""' else said


def results_of_message(text: str) -> list[Said]:
    """The results of an ORU^R01 in order: no pictures, documents, answers at order entry, facts of the specimen."""
    message = Hl7(text)
    found: list[Said] = []
    order: list[str] = []
    specimens: dict[int, list[str]] = {}
    of_specimen = False
    rows = list(message.segments())
    for number, row in enumerate(rows):
        if row[0] == "OBR":
            order, of_specimen = row, False
            specimens[id(order)] = _specimen_of(rows[number + 1 :])
        elif row[0] == "SPM":
            of_specimen = True
        elif row[0] == "OBX" and not of_specimen and _get(row, 2) not in ("ED", "RP") and _get(row, 29) == "":
            found.append(_of_obx(message, row, order, specimens.get(id(order), [])))
    return found


def _specimen_of(rows: list[list[str]]) -> list[str]:
    """The SPM of an order, which follows its results."""
    for row in rows:
        if row[0] == "OBR":
            break
        if row[0] == "SPM":
            return row
    return []


def _of_obx(message: Hl7, row: list[str], order: list[str], specimen: list[str]) -> Said:
    raw = _get(row, 5)
    words = frozenset(part for one in raw.split(message.repeat) for part in [*message.parts(one), message.text(one)])
    value = message.text(raw)
    kind = _get(row, 2)
    comparator = number = ""
    if kind == "SN":
        parts = [*message.parts(raw), "", "", "", ""]
        if not parts[2] and not parts[3] and parts[0] in ("", "<", ">", "<=", ">=", "="):
            comparator, number = parts[0].replace("=", "") if parts[0] == "=" else parts[0], parts[1]
    elif kind in ("NM", "") and (match := _NUMBER.fullmatch(value)):
        comparator, number = match[1] or "", match[2]
    # Many write 10^9/L as it stands, though ^ parts components.
    unit = frozenset([*message.parts(_get(row, 6)), message.text(_get(row, 6))]) - {""}
    if not number:  # words and a unit are one text
        words |= {f"{word} {one}" for word in words for one in unit}
    others = [_get(order, 7), _get(specimen, 17), _get(order, 8)]
    if re.match("[0-9]{4}", _get(row, 14)) and not _time(_get(row, 14))[0]:
        others = []  # of a run whose time cannot be, no time of its specimen is the one
    at = _time(_get(row, 14), *others, _get(row, 19))
    limits = message.text(_get(row, 7).split(message.repeat)[0].split(message.component)[0])
    match = _RANGE.fullmatch(limits)
    return Said(
        test=frozenset(part for part in message.parts(_get(row, 3)) if part),
        words=words - {""},
        number=number,
        comparator=comparator,
        unit=unit,
        range_text=limits,
        low=match[1] if match else "",
        high=match[2] if match else "",
        flags=frozenset(message.parts(one)[0] for one in _get(row, 8).split(message.repeat) if message.parts(one)[0]),
        at=at[0],
        zone=at[1],
        status=STATUSES.get(_get(row, 11), ""),
        absent=not value,
    )


def _time(*raw: str) -> tuple[str, str]:
    """The first of these times of a year that can be: digits to the second, or to the day; and its zone."""
    for one in raw:
        found = re.match(r"([0-9]{8})([0-9]{2,6})?[0-9.]*([+-][0-9]{4})?", one)
        if found and 1980 <= int(one[:4]) <= RECEIVED.year:
            return found[1] + (found[2].ljust(6, "0") if found[2] else ""), found[3] or ""
    return "", ""


# -- the document ------------------------------------------------------------------------------------------------------


def results_of_document(bundle: Json) -> list[Said]:
    """The results that the report lists, in its order. Numbers are texts: read the JSON with ``parse_float=str``."""
    inside = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    reports = [one for one in inside.values() if one["resourceType"] == "DiagnosticReport"]
    return [_of_observation(inside[ref["reference"]]) for report in reports for ref in report["result"]]


def _of_observation(one: Json) -> Said:
    quantity = one.get("valueQuantity", {})
    limits = (one.get("referenceRange") or [{}])[0]
    codings = one["code"].get("coding", [])
    effective = one.get("effectiveDateTime", "")
    return Said(
        test=frozenset([one["code"].get("text", ""), *(c[k] for c in codings for k in ("code", "display") if k in c)]),
        words=frozenset(map(_plain, _words(one))),
        number=str(quantity.get("value", "")),
        comparator=quantity.get("comparator", ""),
        unit=frozenset(filter(None, (quantity.get("unit"), quantity.get("code")))),
        range_text=limits.get("text", ""),
        low=str(limits.get("low", {}).get("value", "")),
        high=str(limits.get("high", {}).get("value", "")),
        flags=frozenset(
            said
            for flag in one.get("interpretation", [])
            for said in [*(c["code"] for c in flag.get("coding", []) if "code" in c), flag.get("text", "")]
            if said
        ),
        at=re.sub(r"[^0-9]", "", effective[:19]),
        zone=re.sub(r"\.[0-9]+|Z|:", "", effective[19:]) if "T" in effective else "",
        status=one["status"],
        absent="dataAbsentReason" in one,
    )


def _words(one: Json) -> Iterator[str]:
    """All texts of the value."""
    concept = one.get("valueCodeableConcept", {})
    yield one.get("valueString", "")
    yield re.sub(r"[-:]", "", one.get("valueDateTime", "")[:10])
    yield one.get("valueTime", "").replace(":", "")
    yield concept.get("text", "")
    for coding in concept.get("coding", []):
        yield coding.get("code", "")
        yield coding.get("display", "")
    for component in one.get("component", []):
        yield from _words(component)


# -- both --------------------------------------------------------------------------------------------------------------


def differences(sent: Said, shown: Said) -> list[str]:
    """What a reader of the document would take for another than was sent."""
    holds = {
        "test": bool(sent.test & shown.test),
        "number": sent.number == shown.number,
        "comparator": sent.comparator == shown.comparator,
        "unit": not sent.number or sent.unit >= shown.unit or bool(sent.unit & shown.unit),
        "words": bool(sent.number or shown.absent or sent.words & shown.words),
        "range": (sent.range_text, sent.low, sent.high) == (shown.range_text, shown.low, shown.high),
        "flags": sent.flags == shown.flags,
        "at": sent.at == shown.at,
        "zone": not sent.zone or sent.zone == shown.zone,
        "status": not sent.status or sent.status == shown.status,
        "absent": sent.absent == shown.absent,
    }
    return [name for name, is_so in holds.items() if not is_so]


def compared(message: str, bundle: Json) -> list[str]:
    """What differs between a message and its document, result by result; empty: a reader sees what was measured."""
    sent, shown = results_of_message(message), results_of_document(bundle)
    if len(sent) != len(shown):
        return [f"{len(sent)} results were sent, {len(shown)} are shown"]
    pairs = enumerate(zip(sent, shown, strict=True), 1)
    return [f"result {number}: {name}" for number, pair in pairs for name in differences(*pair)]
