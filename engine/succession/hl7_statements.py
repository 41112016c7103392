"""The results of an HL7 v2 message that a mapping wrote, and the message as it goes out once they are judged. Pure.

A result is an OBX. What it is of: patient (PID-3.1), order (OBR-2, OBR-3), test (OBX-3), sub-id (OBX-4); without a
patient number its time, too.

    OBX-11  table 0085    I < R P S < F U V < A B < C; D, W: withdrawn; X: no result can be obtained
    OBX-14                when it was measured; without an offset in the site's zone

A final result that changes a final one goes out with ``C``: table 0085 has no other code for it before v2.8, and ``C``
says what a receiver must do, "record coming over is a correction and thus replaces a final result". OBR-25 says ``C``
(table 0123, correction to results) where it said ``F``.

Source: HL7 v2.5.1, 7.4.1.25 (OBR-25), 7.4.2.11 (OBX-11), tables 0085 and 0123.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from hashlib import blake2b
from typing import NamedTuple

from engine.model.journal.document_facts import DocumentFacts
from engine.succession.statements import Resource

MEDIA_TYPE = "x-application/hl7-v2+er7"

STATUS_OF = {  # OBX-11 -> Observation.status
    "I": "registered",
    **dict.fromkeys("RPS", "preliminary"),
    **dict.fromkeys("FUV", "final"),
    "A": "amended",
    "B": "appended",
    "C": "corrected",
    **dict.fromkeys("DW", "entered-in-error"),
    "X": "cancelled",
}
CODE_OF = {
    "registered": "I",
    "preliminary": "P",
    "partial": "P",
    "final": "F",
    "cancelled": "X",
    "entered-in-error": "W",
}
_NO_RESULT_YET = frozenset("IPX")
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?(?:\.\d+)?)?([+-]\d{4})?")
_CODE, _SUB_ID, _VALUE, _STATUS_AT, _TIME_AT = 3, 4, 5, 11, 14
_ORDER_STATUS_AT = 25
_MEANING = slice(_VALUE, 9)  # value, unit, range, flags


class _Line(NamedTuple):
    """A segment: its fields, ``[0]`` its name; of an OBX ``result``, its name, and ``of``: what it is of."""

    fields: list[str]
    result: str
    of: str


def results_in(body: bytes, zone: tzinfo, names: Mapping[str, str] | None = None) -> list[Resource]:
    """The results of a message, in its order.

    Args:
        zone: of times without an offset.
        names: of results, by the number of their OBX; else by what they are of.

    Raises:
        ValueError: it is no HL7 v2 message.
    """
    component = body[4:5].decode("latin-1")
    return [_result(one, component, zone) for one in _lines(body, names) if one.result]


def as_sent(body: bytes, facts: DocumentFacts, names: Mapping[str, str] | None = None) -> bytes:
    """The message as it goes out under ``facts``: without what is left out, and with the statuses of these."""
    field = body[3:4].decode("latin-1")
    out: list[str] = []
    for group in _groups(list(_lines(body, names))):
        had = any(one.result for one in group)
        waits = any(one.result in facts.waits for one in group)
        kept = [*_without(group, facts.echoes | facts.waits)]
        if had and not any(one.result for one in kept):
            continue
        order = "A" if waits else ""  # some, but not all, results are available
        for one in kept:
            if one.result in facts.statuses:
                one.fields.extend([""] * (_STATUS_AT + 1 - len(one.fields)))
                one.fields[_STATUS_AT] = code = CODE_OF.get(facts.statuses[one.result], "C")
                order = order or "A" if code in _NO_RESULT_YET else "C"
        for one in kept:
            if order and one.fields[0] == "OBR" and _at(one.fields, _ORDER_STATUS_AT) == "F":
                one.fields[_ORDER_STATUS_AT] = order
        out += [field.join(one.fields) for one in kept]
    return "\r".join([*out, ""]).encode("latin-1")


def _without(group: list[_Line], echoes: frozenset[str]) -> Iterator[_Line]:
    """The segments of an order without these results, and without the notes behind them."""
    inside = False
    for one in group:
        inside = one.result in echoes if one.fields[0] != "NTE" else inside
        if not inside:
            yield one


def _groups(lines: list[_Line]) -> Iterator[list[_Line]]:
    """Orders: from ORC, or from an OBR without one, up to the next; lines before the first are a group of their own."""
    group: list[_Line] = []
    for one in lines:
        name = one.fields[0]
        if group and (name in ("PID", "ORC") or (name == "OBR" and not _has_its_orc_alone(group))):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _has_its_orc_alone(group: list[_Line]) -> bool:
    """Whether a group has its ORC, and not its OBR yet."""
    names = [one.fields[0] for one in group]
    return "ORC" in names and "OBR" not in names


def _lines(body: bytes, names: Mapping[str, str] | None = None) -> Iterator[_Line]:
    if not body.startswith(b"MSH") or len(body) < 9:
        raise ValueError("no HL7 v2 message")
    text = body.decode("latin-1")  # bytes of any character set stay as they are
    field, component, repetition = text[3], text[4], text[5]
    patient, order, seen, number = "", [""], dict[str, int](), 0
    for segment in text.split("\r"):
        if not segment:
            continue
        fields = segment.split(field)
        result = of = ""
        match fields[0]:
            case "PID":
                patient, order = _at(fields, 3).split(repetition)[0].split(component)[0], [""]
            case "OBR":
                order = [_at(fields, 2), _at(fields, 3)]
            case "OBX":
                number += 1
                time = "" if patient else _at(fields, _TIME_AT)
                key = [patient, *order, _at(fields, _CODE), _at(fields, _SUB_ID), time]
                of = blake2b(field.join(key).encode("latin-1"), digest_size=16).hexdigest()
                seen[of] = seen.get(of, 0) + 1
                of += f".{seen[of]}" if seen[of] > 1 else ""
                result = f"Observation/{of}" if not names else names.get(str(number), "")
        yield _Line(fields, result, of)


def _result(one: _Line, component: str, zone: tzinfo) -> Resource:
    fields = one.fields
    status = STATUS_OF.get(_at(fields, _STATUS_AT), "unknown")
    return Resource(
        name=one.result,
        status=status,
        said=status,
        whole=b"",
        subject=one.of,
        meaning=blake2b("\x1f".join(fields[_MEANING]).encode("latin-1"), digest_size=16).digest(),
        time=time_of(_at(fields, _TIME_AT), zone),
        codes=frozenset({f"|{_at(fields, _CODE).split(component)[0]}"}),
    )


def time_of(text: str, zone: tzinfo) -> str:
    """A time (OBX-14) to the minute as FHIR writes it; a day alone stays a day; other text gives none."""
    found = _TIME.match(text)
    if found is None:
        return ""
    year, month, day, hour, minute, _, offset = found.groups()
    if hour is None:
        return f"{year}-{month}-{day}"
    try:
        if offset:
            return f"{year}-{month}-{day}T{hour}:{minute}:00{offset[:3]}:{offset[3:]}"
        return datetime(int(year), int(month), int(day), int(hour), int(minute), tzinfo=zone).isoformat()
    except ValueError:
        return ""


def _at(fields: list[str], place: int) -> str:
    return fields[place] if len(fields) > place else ""
