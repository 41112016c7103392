"""Critical values, which a person must learn of at once. Pure.

The sender's flag decides: HL7 table 0078 (FHIR R4, ObservationInterpretation) ``HH``, ``LL``, ``AA``. Values are not
judged here. It is read from the facts of a message, whatever goes out of it. A result that is withdrawn is none, nor
is that of a control, a calibrator, a blank or a pool, an answer at order entry, or what the code table leaves out.

A message that no reader takes (JSON; of HL7 v2 all but results) shows it by the documents that are made of it.
"""

from collections.abc import Iterator, Sequence

from engine.model.content.facts import ANSWER, LEFT_OUT, Facts, Order, Person, Result, Sample
from engine.model.content.quality_controls import ASTM_ROLE, PATIENT, ROLES, SPECIMEN_ROLES, is_control_number, matches
from engine.model.content.results import WITHDRAWN, results_of
from engine.model.errors import UnreadableResultsError
from engine.model.message import Document
from engine.model.packing import unpack

CRITICAL = frozenset({"HH", "LL", "AA"})
_POOLED = SPECIMEN_ROLES | {"G"}  # a group, as other makers say for a pool
_IN_JSON = tuple(f'"{flag}"'.encode() for flag in sorted(CRITICAL))
_FLAGS, _STATUS = 8, 11  # of OBX
_WITHDRAWN = (b"D", b"W")


def is_critical(result: Result) -> bool:
    """Whether it has such a flag, and is not withdrawn."""
    measure = result.measure
    return not (
        CRITICAL.isdisjoint(measure.meant or ()) or measure.state in WITHDRAWN or result.kind in (ANSWER, LEFT_OUT)
    )


def of_patients(
    facts: Facts, *, is_hl7: bool, numbers: Sequence[str] = (), orders: Sequence[str] = ()
) -> Iterator[tuple[Person, Order, Result]]:
    """The results that are a patient's.

    Args:
        numbers, orders: patterns of numbers and of order codes of controls (settings of the channel).
    """
    if (facts.processing or "").upper().startswith(ASTM_ROLE):
        return
    for person, order, result in facts.results():
        samples = [one for one in order.samples if one.number == result.tube] if result.tube else []
        if not _is_control(order, samples or order.samples, is_hl7, numbers, orders):
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
    return bool(orders) and any(matches(code, orders) for code in (order.code, order.name) if code)


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


# -- documents ---------------------------------------------------------------------------------------------------------


def tells_critical(document: Document) -> bool:
    """Whether a result in it has such a flag; not, where it cannot be read."""
    try:
        body = unpack(document.body) if document.packed else document.body
        if body.startswith(b"MSH"):
            return any(line.startswith(b"OBX") and _has_flag(line) for line in body.split(b"\r"))
        return any(flag in body for flag in _IN_JSON) and any(
            not CRITICAL.isdisjoint(result.flags) and result.status not in WITHDRAWN for result in results_of(body)
        )
    except (ValueError, UnreadableResultsError):
        return False


def _has_flag(line: bytes) -> bool:
    """Whether an OBX segment has such a flag; a mapping writes it with the usual delimiters."""
    fields = line.split(b"|")
    if len(fields) > _STATUS and fields[_STATUS] in _WITHDRAWN:
        return False
    said = fields[_FLAGS].split(b"~") if len(fields) > _FLAGS else []
    return any(one.partition(b"^")[0].decode("ascii", "replace") in CRITICAL for one in said)
