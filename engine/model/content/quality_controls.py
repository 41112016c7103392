"""Results of the quality controls in a message, and who is no patient. Pure.

What a control says is in the facts of its message, on whatever route that goes. Its codes are those that the same
result of a patient has; its material is known by the number of the tube, else of the order. Whether it failed: the
analyzer's own flag counts first: a flag other than N is a failure, N is none. Without a flag, the range sent with the
result decides. A result that has neither, or is no number, counts as not judged.

A control, a calibrator, a blank or a pool is known by its role, its number or its order:

    role      SPM-11 of HL7 table 0369 and O-12 ``Q``, in upper or lower case; where SPM-11 is not ``P`` (a patient),
              OBR-15.7 as well, in upper case and without ``L`` and ``R``: there these are sides of a body
    number    of the specimen or the order: the word for a blank count, or lot and level between two signs (Snibe:
              ``#49324031Q2#``), for every analyzer; and by the patterns that a channel lists (`control_numbers`)
    order     the code of the order, by the patterns that a channel or its pack lists (`control_orders`)

A number that only a pattern makes a control's is a patient's where the message names one, or says so in SPM-11 (``P``)
(`doubts`): people decide then. So is one that has an open order (`engine.store.operations.record_outcome`).

Beside these the mapping's filter `qc` decides. MSH-11 and H-12 ``Q``, and modes in MSH-11.2 that a channel lists
(`control_modes`), say it of a whole message, where a Mindray BC has
the lot in PID-3 and the level in a result; MSH-16 ``2`` of a Mindray BS, whose values are in OBR.

In a pattern ``*`` is any text, and every other character is itself, in upper or lower case as it is written.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from engine.model.content.facts import LEFT_OUT, Facts, Measure, Order, Person, Result, Sample
from engine.model.message import Parsed, Segment
from engine.model.tables import table_lines

MAX_CODE = 60  # characters of a code that are kept
MAX_TEXT = 60  # ... of another text
_RANGE = re.compile(r"\s*(-?\d{1,20}(?:\.\d{1,20})?)\s*(?:-|to|\.\.)\s*(-?\d{1,20}(?:\.\d{1,20})?)\s*", re.ASCII)
_NUMBER = re.compile(r"\s*([+-]?\d{1,20}(?:\.\d{1,20})?)\s*", re.ASCII)
_DILUTED = re.compile(r"[0-9]{1,9}/")
_NORMAL = "N"
OTHER = "other role"  # a proficiency test, a replicate, an electronic check ...: of no material with a target
_NOT_OBTAINED = "X"  # HL7 table 0085, and E1394 9.4.9: no result could be obtained
_NOW_FINAL = "U"  # 0085: the status of a result changes, which is not sent again
_OFF_SCALE = ("<", ">")  # table 0078: the number is a bound. H, L and A are about a range, also that of patients
_FAILURE = re.compile(r"QCF|ERR|Err|(?i:error|fail|invalid|reject)")  # table 0078, and words of analyzers
_OUTSIDE = frozenset(" ".join(table_lines(__file__, "control_flags.txt")).split())
_LOT_AND_LEVEL = re.compile(r"#([0-9]+)(q[0-9])#", re.IGNORECASE | re.ASCII)
_LEVEL = "05001"  # of a Mindray BC: a result that says the level of the control
_NOT_OF_CONTROLS = frozenset("CLG")  # calibrators and pools are no patient's, and no control's
_OF_MINDRAY_BS = "2"  # MSH-16: 0 is a patient's sample, 1 a calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlResult:
    """One result of a control material; no patient's result.

    Attributes:
        test: as sent. codes: as sent, and as meant: those that the same result of a patient has.
        number: of the specimen or order; distinguishes levels and lots.
        value, unit: as sent; a number that is flagged as off the scale is a bound.
        at_us: when it was measured; 0: the message does not say.
        failed: outside of its limits, by the analyzer's own flag or the range that it sent; None: it sent neither.
        invalid: none was obtained, it was withdrawn, or the analyzer says that it failed.
        module: the part of the analyzer that measured it, where the message names one.
        level, lot, expires: of the material, where the message says them.
        mean, sd: its target, likewise.
        place: of the result in the message, from 1.
        mark: what shows that it is a control's: ``processing``, ``role``, ``number``, ``order``, ``filter``,
            ``list``: a pattern of `control_numbers` alone, or `OTHER`: a role that is not ``Q``.
    """

    test: str
    codes: tuple[str, ...] = ()
    number: str = ""
    value: str = ""
    unit: str = ""
    at_us: int = 0
    failed: bool | None = None
    invalid: bool = False
    module: str = ""
    level: str = ""
    lot: str = ""
    expires: str = ""
    mean: str = ""
    sd: str = ""
    place: int = 1
    mark: str = "filter"


def control_results(
    facts: Facts | None,
    parsed: Parsed,
    at: Callable[[str | None], int],
    apart: Collection[int] = (),
    *,
    numbers: Sequence[str] = (),
    orders: Sequence[str] = (),
) -> tuple[ControlResult, ...]:
    """The results of controls in a message, in its order.

    Args:
        facts: None: no result of it is read.
        at: reads a time of the facts: microseconds since 1970; 0: it is none.
        apart: places of results that a filter has taken out as controls.
        numbers, orders: patterns of numbers and of order codes of controls (settings of the channel).
    """
    if facts is None:
        return tuple(_of_mindray_bs(parsed, at))
    is_hl7 = parsed.format == "hl7v2"
    known = of_patients(facts, is_hl7=is_hl7, numbers=numbers, orders=orders)
    patients = {result.place for _, _, result in known} - set(apart)
    return tuple(
        _control(facts, person, order, result, at, is_hl7, _mark(facts, order, result, is_hl7, numbers, orders))
        for person, order, result in facts.results()
        if result.place not in patients and _is_measured(result) and not (is_hl7 and _is_calibrator(order, result))
    )


def listed(settings: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The patterns of a setting."""
    if not (found := settings.get(name)):
        return ()
    return tuple(str(one) for one in (found if isinstance(found, (list, tuple)) else (found,)))


def spellings(code: str) -> tuple[str, ...]:
    """A code of a test; of a Roche cobas also without the dilution behind it: ``717/10`` is the test of ``717/``."""
    found = _DILUTED.match(code)
    return (code,) if found is None else (code, found[0])


def may_have_controls(parsed: Parsed, *, numbers: Sequence[str] = (), orders: Sequence[str] = ()) -> bool:
    """Whether the facts of a message are worth a look for controls: false is certain. It is asked of every message."""
    component = parsed.delimiters.component or "^"
    for segment in parsed.segments:
        said = _SAYS.get(segment.name)
        if said is None:
            continue
        says_so, number_fields, code_field = said
        if says_so is not None and says_so(segment, component):
            return True
        fields = segment.fields
        for at in number_fields:
            if len(fields) > at and fields[at] and _is_near(fields[at], numbers):
                return True
        if orders and code_field and _is_near(segment.get(code_field), orders):
            return True
    return False


def _is_near(text: str, patterns: Sequence[str]) -> bool:
    """Whether a part of a field is a number of a control; or may be, where it has escapes or more parts in it."""
    if not patterns and "#" not in text and "ACKGROUND" not in text.upper():
        return False
    return any(is_control_number(part, patterns) for part in (text, *re.split(r"[\\&~^]", text)) if part)


def _said_by_header(segment: Segment, component: str) -> bool:
    if segment.name == "H":
        return segment.get(12).strip().upper().startswith(ASTM_ROLE)
    processing = segment.get(11).strip()
    is_told = processing.upper().startswith(ASTM_ROLE) or component in processing  # its mode: `control_modes`
    return is_told or segment.get(16).strip() == _OF_MINDRAY_BS


_SAYS: dict[str, tuple[Callable[[Segment, str], bool] | None, tuple[int, ...], int]] = {
    "H": (_said_by_header, (), 0),
    "MSH": (_said_by_header, (), 0),
    "O": (lambda one, component: "Q" in one.get(12).upper(), (3, 4), 5),
    "OBR": (lambda one, component: len(one.get(15).split(component)) > 6, (2, 3), 4),
    "ORC": (None, (2, 3), 0),
    "SPM": (lambda one, component: one.get(11).strip()[:1] not in ("", "P"), (2, 30), 0),
    "SAC": (None, (3, 4), 0),
}
"""What says that an order is of a control: a function of the segment; fields with numbers, and with the code."""
_NOTHING: tuple[None, tuple[int, ...], int] = (None, (), 0)


def _control(
    facts: Facts, person: Person, order: Order, result: Result, at: Callable[[str | None], int], is_hl7: bool, mark: str
) -> ControlResult:
    measure, value = result.measure, result.value
    number = _number_of(order, result)
    level = lot = expires = ""
    if (said := _LOT_AND_LEVEL.fullmatch(number)) is not None:
        lot, level = said[1], said[2].upper()
    elif is_hl7 and (facts.processing or "").upper().startswith(ASTM_ROLE):
        lot, expires, level = person.number or "", person.born or "", _level_of(order)
    bound = value.comparator or next((flag for flag in result.sent_flags if flag in _OFF_SCALE), "")
    sent = f"{bound}{value.number}" if value.number else value.sent or ""
    return ControlResult(
        test=(measure.test or "")[:MAX_CODE],
        codes=tuple(_codes(measure)),
        number=number[:MAX_TEXT],
        value=sent[:MAX_TEXT],
        unit=(value.unit or measure.unit or "")[:MAX_TEXT],
        at_us=at(result.at),
        failed=_failed(result),
        invalid=_is_invalid(result),
        module=(result.device or "")[:MAX_TEXT],
        level=level[:MAX_TEXT],
        lot=lot[:MAX_TEXT],
        expires=expires[:MAX_TEXT],
        place=result.place,
        mark=mark,
    )


def _is_measured(result: Result) -> bool:
    """Whether it is a result, and no head of others; nor one that is still to come, nor a word about one before it."""
    if result.value.sent is None and (result.measure.state == "registered" or result.measure.status == _NOW_FINAL):
        return False
    return not result.kind and (result.value.sent is not None or result.value.missing is not None)


def _number_of(order: Order, result: Result) -> str:
    return next(iter(_numbers_of(order, result)), "")


def _level_of(order: Order) -> str:
    said = (one.value.sent for one in order.results if one.kind == LEFT_OUT and one.measure.test == _LEVEL)
    return next(filter(None, said), "")


def _is_calibrator(order: Order, result: Result) -> bool:
    own = order.role if order.role in ROLES else ""
    roles = {_role(one, order, is_hl7=True) or own for one in _samples_of(order, result)}
    return bool(roles) and roles <= _NOT_OF_CONTROLS


def _mark(
    facts: Facts, order: Order, result: Result, is_hl7: bool, numbers: Sequence[str], orders: Sequence[str]
) -> str:
    if (facts.processing or "").upper().startswith(ASTM_ROLE):
        return "processing"
    samples = _samples_of(order, result)
    if _is_by_role(order, samples, is_hl7):
        roles = {order.role, *(_role(sample, order, is_hl7) for sample in samples)}
        return "role" if not is_hl7 or "Q" in roles else OTHER
    if is_control_number(_number_of(order, result)):
        return "number"
    if orders and _is_of_controls(order, is_hl7, orders):
        return "order"
    return "list" if _listed(order, result, numbers) else "filter"


def _numbers_of(order: Order, result: Result) -> list[str]:
    numbers = (result.tube, *(one.number or one.counted for one in order.samples), order.filler, order.placer)
    return [one.strip() for one in numbers if one]


def _listed(order: Order, result: Result, numbers: Sequence[str]) -> set[str]:
    return {one for one in _numbers_of(order, result) if is_control_number(one, numbers)}


def doubts(
    facts: Facts | None, found: Iterable[ControlResult], numbers: Sequence[str], parsed: Parsed
) -> Iterator[tuple[set[str], bool]]:
    """Of each control that a pattern of the site alone makes one: its numbers, and whether the message says that it is
    a patient's. A name or number of a person that fits a pattern, too, is no patient's.

    A filter also knows numbers that the facts have not, as that of the order beside that of the tube.
    """
    places = {one.place for one in found if one.mark in ("list", "filter")}
    if facts is None or not places:
        return
    known = {number for _, order, result in facts.results() for number in _listed(order, result, numbers)}
    others = {one for one in _told(parsed) if is_control_number(one, numbers)} - known
    for person, order, result in facts.results():
        mine = (_listed(order, result, numbers) or others) if result.place in places else set()
        if mine:
            who = [one for one in (person.number, person.name) if one and not is_control_number(one, numbers)]
            yield mine, bool(who) or any((one.role or "").upper() == PATIENT for one in order.samples)


def _told(parsed: Parsed) -> Iterator[str]:
    """All numbers of specimens and orders, as sent."""
    for segment in parsed.segments:
        for at in _SAYS.get(segment.name, _NOTHING)[1]:
            yield from (part.strip() for part in re.split(r"[\\&~^]", segment.get(at)) if part.strip())


def _of_mindray_bs(parsed: Parsed, at: Callable[[str | None], int]) -> Iterator[ControlResult]:
    """A control whose values are in OBR: 2 test, 3 its name; 13 name of the control, 14 lot, 15 expiry, 17 level, 18
    mean, 19 SD, 20 value, 21 unit."""
    head = parsed.segments[0] if parsed.segments else None
    if head is None or head.name != "MSH" or head.get(16).strip() != _OF_MINDRAY_BS:
        return
    orders = [one for one in parsed.names.get("OBR", []) if one.get(20).strip()]
    for place, one in enumerate(orders, start=1):
        text = _texts_of(one)
        yield ControlResult(
            test=text(2) or text(3), codes=tuple(filter(None, (text(2), text(3)))), number=text(13), lot=text(14),
            expires=text(15), level=text(17), mean=text(18), sd=text(19), value=text(20), unit=text(21),
            at_us=at(text(7) or text(6)), place=place, mark="processing",
        )  # fmt: skip


def _texts_of(segment: Segment) -> Callable[[int], str]:
    return lambda field: segment.get(field).strip()[:MAX_TEXT]


def _is_invalid(result: Result) -> bool:
    measure = result.measure
    if measure.state in ("cancelled", "entered-in-error"):
        return True
    words = (*result.sent_flags, result.value.words or "")
    flags = {"".join(filter(str.isalnum, flag)).upper() for flag in result.sent_flags}
    return not flags.isdisjoint(_OUTSIDE) or any(map(_FAILURE.search, words))


def _failed(result: Result) -> bool | None:
    measure, value = result.measure, result.value
    if measure.status == _NOT_OBTAINED:
        return True
    if flags := result.sent_flags:
        return any(flag.upper() != _NORMAL for flag in flags)
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
PATIENTS = "\0"  # before a number, among patterns
ASTM_ROLE = "Q"
_BLANK = re.compile(r"background(?: ?check)?|#[0-9]+q[0-9]#", re.IGNORECASE | re.ASCII)


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether a number or a code is one of these patterns."""
    text = text.strip()
    return any(_fits(text, pattern) for pattern in patterns)


def is_control_number(number: str, listed: Collection[str] = ()) -> bool:
    """Whether a number of a specimen or an order is that of a control; ``listed``: patterns of the site, and with
    `PATIENTS` before them numbers that are a patient's all the same."""
    if not listed and number.isalnum() and number[0] not in "bB":  # of nearly each number
        return False
    if _BLANK.fullmatch(number.strip()) is not None:
        return True
    return matches(number, listed) and f"{PATIENTS}{number.strip()}" not in listed


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
                    known[tube] = _is_control(order, _samples_of(order, result), is_hl7, numbers, orders)
                if not known[tube]:
                    yield person, order, result


def _samples_of(order: Order, result: Result) -> Sequence[Sample]:
    """Those that a result may be of."""
    own = [one for one in order.samples if one.number == result.tube] if result.tube else []
    return own or order.samples


def _is_control(
    order: Order, samples: Sequence[Sample], is_hl7: bool, numbers: Sequence[str], orders: Sequence[str]
) -> bool:
    """As the function `is_control` of mappings; where a result may be of several specimens, all have to be one."""
    if _is_by_role(order, samples, is_hl7):
        return True
    is_patients = is_hl7 and any((one.role or "").upper() == PATIENT for one in samples)
    tubes = [one.number for one in samples if one.number]
    told = [*tubes, *_own_numbers(order, bool(tubes), is_patients)]
    if any(is_control_number(number, numbers) for number in told):
        return True
    return bool(orders) and _is_of_controls(order, is_hl7, orders)


def _is_by_role(order: Order, samples: Sequence[Sample], is_hl7: bool) -> bool:
    roles = [_role(one, order, is_hl7) for one in samples]
    if roles and all(role in (_POOLED if is_hl7 else (ASTM_ROLE,)) for role in roles):
        return True
    return is_hl7 and PATIENT not in roles and order.role in ROLES


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
