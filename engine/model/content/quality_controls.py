"""Results of the quality controls in a message: for rules that hold results back after a failed control. Pure.

The mapping's filter `qc` decides which results are controls; they are not part of the FHIR document. The analyzer's own
flag counts first: a flag other than N is a failure, N is none. Without a flag, the range sent with the result decides.
A result that has neither, or is no number, counts as not judged.

    HL7 v2      code OBX-3, value OBX-5, range OBX-7, flags OBX-8, status OBX-11; material SPM-2, else OBR-3, else OBR-2
    E1394       code R-3, value R-4, range R-6, flags R-7, status R-9; material O-3, else O-4

Who is no patient: a control, a calibrator, a blank or a pool, known by its role, its number or its order. Pure.

    role      SPM-11 of HL7 table 0369 and O-12 ``Q``, in upper or lower case; where SPM-11 is not ``P`` (a patient),
              OBR-15.7 as well, in upper case and without ``L`` and ``R``: there these are sides of a body
    number    of the specimen or the order: the word for a blank count, or lot and level between two signs (Snibe:
              ``#49324031Q2#``), for every analyzer; and by the patterns that a channel lists (`control_numbers`)
    order     the code of the order, by the patterns that a channel or its pack lists (`control_orders`)

In a pattern ``*`` is any text, and every other character is itself, in upper or lower case as it is written.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from engine.model.content.reagents import split
from engine.model.message import ControlRun, Delimiters, Parsed, Segment

MOST = 500  # runs of one message
MAX_CODE = 60  # characters of a code that are kept
_RANGE = re.compile(r"\s*(-?\d{1,20}(?:\.\d{1,20})?)\s*(?:-|to|\.\.)\s*(-?\d{1,20}(?:\.\d{1,20})?)\s*", re.ASCII)
_NUMBER = re.compile(r"\s*([+-]?\d{1,20}(?:\.\d{1,20})?)\s*", re.ASCII)
_NORMAL = "N"
_NOT_OBTAINED = "X"  # HL7 table 0085, and E1394 9.4.9: no result could be obtained


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a format has what is read, by field number."""

    result: str
    code: int
    value: int
    range: int
    flags: int
    status: int
    materials: tuple[tuple[str, tuple[int, ...]], ...]


_PLACES = {
    "hl7v2": _Places("OBX", 3, 5, 7, 8, 11, (("SPM", (2,)), ("OBR", (3, 2)))),
    "astm": _Places("R", 3, 4, 6, 7, 9, (("O", (3, 4)),)),
}


def controls_in(parsed: Parsed, positions: Iterable[int]) -> tuple[ControlRun, ...]:
    """The controls that were judged, in the order of the message.

    Args:
        positions: of the result segments that a filter has taken out as controls.
    """
    places, wanted, cut = _PLACES.get(parsed.format), frozenset(positions), parsed.delimiters
    if places is None or not wanted:
        return ()
    found: list[ControlRun] = []
    materials: dict[str, str] = {}
    numbers = dict(places.materials)
    for segment in parsed.segments:
        if segment.name in numbers:
            if segment.name == "OBR":
                materials.clear()  # the specimen of the order before it is another one
            texts = (segment.get(number).strip() for number in numbers[segment.name])
            materials[segment.name] = next(filter(None, texts), "")
        elif segment.name == places.result and segment.position in wanted and len(found) < MOST:
            failed = _failed(segment, places, cut)
            if failed is not None:
                material = next((materials[name] for name in numbers if materials.get(name)), "")
                found += [
                    ControlRun(code=code, material=material, failed=failed) for code in _codes(segment, places, cut)
                ]
    return tuple(found)


def _failed(segment: Segment, places: _Places, cut: Delimiters) -> bool | None:
    if segment.get(places.status).strip().upper() == _NOT_OBTAINED:
        return True
    flags = [flag.strip().upper() for part in split(segment.get(places.flags).strip(), cut.repetition)
             for flag in split(part, cut.component)[:1]]  # fmt: skip
    told = [flag for flag in flags if flag and flag != '""']
    if told:
        return any(flag != _NORMAL for flag in told)
    value = _NUMBER.fullmatch(segment.get(places.value).strip())
    limits = _RANGE.fullmatch(split(segment.get(places.range).strip(), cut.component)[0])
    if value is None or limits is None:
        return None
    return not Decimal(limits[1]) <= Decimal(value[1]) <= Decimal(limits[2])


def _codes(segment: Segment, places: _Places, cut: Delimiters) -> list[str]:
    """Identifier and alternate identifier of OBX-3; of R-3 the first code only, for the rest may be anything."""
    parts = split(split(segment.get(places.code).strip(), cut.repetition)[0], cut.component)
    wanted = (parts[0:1] + parts[3:4]) if places.result == "OBX" else parts
    codes = [part.strip()[:MAX_CODE] for part in wanted]
    return [code for code in dict.fromkeys(codes) if code and code != '""']


ROLES = frozenset("QCBEFOV")  # HL7 table 0369: controls, calibrators, proficiency tests ...
SPECIMEN_ROLES = ROLES | {"R", "L"}  # a replicate as a control; a pool of several patients' specimens
PATIENT = "P"  # of table 0369
ASTM_ROLE = "Q"
_BLANK = re.compile(r"background(?: ?check)?|#[0-9]+q[0-9]#", re.IGNORECASE | re.ASCII)


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether a number or a code is one of these patterns."""
    text = text.strip()
    return any(_fits(text, pattern) for pattern in patterns)


def is_control_number(number: str, listed: Iterable[str] = ()) -> bool:
    """Whether a number of a specimen or an order is that of a control; ``listed``: patterns of the site."""
    return _BLANK.fullmatch(number.strip()) is not None or matches(number, listed)


def _fits(text: str, pattern: str) -> bool:
    first, *inner = pattern.split("*")
    if not inner:
        return text == pattern
    last = inner.pop()
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in inner:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
