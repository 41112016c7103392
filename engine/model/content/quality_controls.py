"""Results of the quality controls in a message: for rules that hold results back after a failed control. Pure.

The mapping's filter `qc` decides which results are controls; they are not part of the FHIR document. What a control
says is in the facts of its message. The analyzer's own flag counts first: a flag other than N is a failure, N is none.
Without a flag, the range sent with the result decides. A result that has neither, or is no number, counts as not
judged. Its codes are those that the same result of a patient has; its material is known by the number of the tube, else
of the order.

Who is no patient: a control, a calibrator, a blank or a pool, known by its role, its number or its order. Pure.

    role      SPM-11 of HL7 table 0369 and O-12 ``Q``, in upper or lower case; where SPM-11 is not ``P`` (a patient),
              OBR-15.7 as well, in upper case and without ``L`` and ``R``: there these are sides of a body
    number    of the specimen or the order: the word for a blank count, or lot and level between two signs (Snibe:
              ``#49324031Q2#``), for every analyzer; and by the patterns that a channel lists (`control_numbers`)
    order     the code of the order, by the patterns that a channel or its pack lists (`control_orders`)

In a pattern ``*`` is any text, and every other character is itself, in upper or lower case as it is written.
"""

import re
from collections.abc import Collection, Iterable
from decimal import Decimal

from engine.model.content.facts import Facts, Measure, Result
from engine.model.message import ControlRun

MOST = 500  # runs of one message
MAX_CODE = 60  # characters of a code that are kept
_RANGE = re.compile(r"\s*(-?\d{1,20}(?:\.\d{1,20})?)\s*(?:-|to|\.\.)\s*(-?\d{1,20}(?:\.\d{1,20})?)\s*", re.ASCII)
_NUMBER = re.compile(r"\s*([+-]?\d{1,20}(?:\.\d{1,20})?)\s*", re.ASCII)
_NORMAL = "N"
_NOT_OBTAINED = "X"  # HL7 table 0085, and E1394 9.4.9: no result could be obtained


def controls_in(facts: Facts, places: Collection[int]) -> tuple[ControlRun, ...]:
    """The controls that were judged, in the order of the facts.

    Args:
        places: of the results that a filter has taken out as controls.
    """
    found: list[ControlRun] = []
    for _, order, result in facts.results():
        failed = _failed(result) if result.place in places else None
        if failed is not None:
            numbers = (result.tube, *(one.number or one.counted for one in order.samples), order.filler, order.placer)
            material = next(filter(None, numbers), "")
            found += [ControlRun(code=code, material=material, failed=failed) for code in _codes(result.measure)]
    return tuple(found[:MOST])


def _failed(result: Result) -> bool | None:
    measure, value = result.measure, result.value
    if measure.status == _NOT_OBTAINED:
        return True
    if measure.flags:
        return any(flag.upper() != _NORMAL for flag in measure.flags)
    number = _NUMBER.fullmatch(value.sent or "")
    limits = _RANGE.fullmatch((result.range or "").partition("^")[0])  # behind it words may say of what it is
    if number is None or limits is None:
        return None
    return not Decimal(limits[1]) <= Decimal(number[1]) <= Decimal(limits[2])


def _codes(measure: Measure) -> dict[str, None]:
    """As sent, and as meant."""
    codes = (measure.test or "", *(code.partition("|")[2] for code in measure.codes or ()))
    return dict.fromkeys(code[:MAX_CODE] for code in codes if code)


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
