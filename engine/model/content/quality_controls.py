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

The results of a message that are a patient's, by its facts: not of controls, calibrators, blanks, pools. Pure.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal

from engine.model.content.facts import Facts, Measure, Order, Person, Result, Sample
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


_POOLED = SPECIMEN_ROLES | {"G"}  # a group, as other makers say for a pool


def of_patients(
    facts: Facts, *, is_hl7: bool, numbers: Sequence[str] = (), orders: Sequence[str] = ()
) -> Iterator[tuple[Person, Order, Result]]:
    """The results that are a patient's.

    Args:
        numbers, orders: patterns of numbers and of order codes of controls (settings of the channel).
    """
    if (facts.processing or "").upper().startswith(ASTM_ROLE):
        return
    for person in facts.people:
        for order in person.orders:
            known: dict[str | None, bool] = {}  # of most orders all results have one answer
            for result in order.results:
                if (tube := result.tube) not in known:
                    samples = [one for one in order.samples if one.number == tube] if tube else []
                    known[tube] = _is_control(order, samples or order.samples, is_hl7, numbers, orders)
                if not known[tube]:
                    yield person, order, result


def _is_control(
    order: Order, samples: Sequence[Sample], is_hl7: bool, numbers: Sequence[str], orders: Sequence[str]
) -> bool:
    """As the function `is_control` of mappings; where a result may be of several specimens, all have to be one."""
    roles = [_role(one, order, is_hl7) for one in samples]
    if roles and all(role in (_POOLED if is_hl7 else (ASTM_ROLE,)) for role in roles):
        return True
    is_patients = is_hl7 and PATIENT in roles
    if is_hl7 and not is_patients and order.role in ROLES:
        return True
    tubes = [one.number for one in samples if one.number]
    told = [*tubes, *_own_numbers(order, bool(tubes), is_patients)]
    if any(is_control_number(number, numbers) for number in told):
        return True
    return bool(orders) and _is_of_controls(order, is_hl7, orders)


def _is_of_controls(order: Order, is_hl7: bool, orders: Sequence[str]) -> bool:
    """By its code; of several tests (ASTM) each has to be one."""
    if is_hl7:
        return any(matches(code, orders) for code in (order.code, order.name) if code)
    tests = (order.code or "").split()
    return bool(tests) and all(matches(test, orders) for test in tests)


def _role(sample: Sample, order: Order, is_hl7: bool) -> str:
    """Of the specimen itself: in OBR-15.7, ``L`` and ``R`` are sides of a body."""
    if is_hl7 and sample.role == order.role and sample.role not in ROLES:
        return ""
    return (sample.role or "").upper()


def _own_numbers(order: Order, has_tube: bool, is_patients: bool) -> list[str]:
    found = [order.filler] if order.filler else []
    if has_tube and is_patients:
        return [number for number in found if not number.strip().isdigit()]
    return [*found, order.placer] if order.placer and not (has_tube or is_patients) else found
