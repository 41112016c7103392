"""The results of an HL7 v2 message that a mapping wrote, as they are compared with those of other messages. Pure.

A result is an OBX. OBX segments of two messages are the same result where the patient (PID-3.1), the order (OBR-2,
OBR-3), the test (OBX-3) and the sub-id (OBX-4) are equal; without a patient number the time must be equal, too.

    OBX-11  table 0085    I < R P S < F U V < A B < C; D, W: withdrawn; X: no result can be obtained
    OBX-14                when it was measured; without an offset in the site's zone

A final result that changes a final one goes out with ``C``: table 0085 has no other code for it before v2.8, and ``C``
says what a receiver must do, "record coming over is a correction and thus replaces a final result". OBR-25 says ``C``
(table 0123, correction to results) where it said ``F``.

Source: HL7 v2.5.1, 7.4.1.25 (OBR-25), 7.4.2.11 (OBX-11), tables 0085 and 0123.
"""

import re
from collections.abc import Iterator
from datetime import datetime, tzinfo
from hashlib import blake2b
from typing import NamedTuple

from engine.model.journal.document_facts import DocumentFacts
from engine.succession.statements import NO_VALUE, Resource

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
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?(?:\.\d+)?)?([+-]\d{4})?")
_CODE, _SUB_ID, _VALUE, _STATUS_AT, _TIME_AT = 3, 4, 5, 11, 14
_ORDER_STATUS_AT = 25
_MEANING = slice(_VALUE, 9)  # value, unit, range, flags


class _Line(NamedTuple):
    """A segment: its fields, ``[0]`` its name; ``result``: the name of the result, of an OBX below an OBR."""

    fields: list[str]
    result: str = ""


def results_in(body: bytes, zone: tzinfo) -> list[Resource]:
    """The results of a message, in its order.

    Args:
        zone: of times without an offset.

    Raises:
        ValueError: it is no HL7 v2 message.
    """
    component = body[4:5].decode("latin-1")
    return [_result(one, component, zone) for one in _lines(body) if one.result]


def as_sent(body: bytes, facts: DocumentFacts) -> bytes:
    """The message as it goes out under ``facts``: without what is left out, and with the statuses of these."""
    field = body[3:4].decode("latin-1")
    out: list[str] = []
    for group in _groups(list(_lines(body))):
        had = any(one.result for one in group)
        waits = any(one.result in facts.waits for one in group)
        kept = [*_without(group, facts.echoes | facts.waits)]
        if had and not any(one.result for one in kept):
            continue
        changed = False
        for one in kept:
            if one.result in facts.statuses:
                one.fields[_STATUS_AT] = "C"
                changed = True
        for one in kept:
            if (changed or waits) and one.fields[0] == "OBR" and _at(one.fields, _ORDER_STATUS_AT) == "F":
                one.fields[_ORDER_STATUS_AT] = "C" if changed else "A"  # some, but not all, results are available
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


def _lines(body: bytes) -> Iterator[_Line]:
    if not body.startswith(b"MSH") or len(body) < 9:
        raise ValueError("no HL7 v2 message")
    text = body.decode("latin-1")  # bytes of any character set stay as they are
    field, component, repetition = text[3], text[4], text[5]
    patient, order, seen = "", [""], dict[str, int]()
    for segment in text.split("\r"):
        if not segment:
            continue
        fields = segment.split(field)
        result = ""
        match fields[0]:
            case "PID":
                patient, order = _at(fields, 3).split(repetition)[0].split(component)[0], [""]
            case "OBR":
                order = [_at(fields, 2), _at(fields, 3)]
            case "OBX" if len(fields) > _STATUS_AT:
                key = [patient, *order, fields[_CODE], fields[_SUB_ID], "" if patient else _at(fields, _TIME_AT)]
                name = blake2b(field.join(key).encode("latin-1"), digest_size=16).hexdigest()
                seen[name] = seen.get(name, 0) + 1
                result = f"Observation/{name}" + (f".{seen[name]}" if seen[name] > 1 else "")
        yield _Line(fields, result)


def _result(one: _Line, component: str, zone: tzinfo) -> Resource:
    fields = one.fields
    status = STATUS_OF.get(fields[_STATUS_AT], "unknown")
    time = time_of(_at(fields, _TIME_AT), zone)
    said = "\x1f".join([*fields[2:9], time])
    return Resource(
        name=one.result,
        status=status,
        said=status,
        whole=blake2b(said.encode("latin-1"), digest_size=16).digest(),
        meaning=blake2b("\x1f".join(fields[_MEANING]).encode("latin-1"), digest_size=16).digest(),
        time=time,
        has_value=bool(fields[_VALUE]) and NO_VALUE.fullmatch(fields[_VALUE]) is None,
        codes=frozenset({f"|{fields[_CODE].split(component)[0]}"}),
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
