"""The results of a message that are a patient's, by its facts: not of controls, calibrators, blanks, pools. Pure."""

from collections.abc import Iterator, Sequence

from engine.model.content.facts import Facts, Order, Person, Result, Sample
from engine.model.content.quality_controls import ASTM_ROLE, PATIENT, ROLES, SPECIMEN_ROLES, is_control_number, matches

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
    before: Order | None = None
    tube: str | None = None
    is_control = False  # of most orders all results have one answer
    for person, order, result in facts.results():
        if order is not before or result.tube != tube:
            before, tube = order, result.tube
            samples = [one for one in order.samples if one.number == tube] if tube else []
            is_control = _is_control(order, samples or order.samples, is_hl7, numbers, orders)
        if not is_control:
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
