"""From a delivered document to a care context: each issue of a report becomes its first, its next version, or nothing.

`engine.features.abdm.rules.care_contexts` decides, by what the journal has at that moment; the row, its patient and the
next call to the gateway are written in the same transaction. Where a report may be another patient's, neither goes out,
and a person looks (`engine.features.todo.rules`).
"""

from dataclasses import dataclass

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import inviting, issues, linking
from engine.features.abdm.rows import contexts, patients
from engine.features.abdm.rows.contexts import Context, NewReport
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rules import care_contexts
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import ENDS, Claim, Gone, Hold, Known, Report, Step, Wait
from engine.features.abdm.rules.links import Held, may_be
from engine.features.abdm.rules.network import ContextState, TokenState
from engine.model.errors import ContentError, RefusedDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import to_us
from engine.model.texts.reasons import ReasonCode
from engine.model.values import changed
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

MOST_OF_NUMBER = 50  # the newest reports with one number that a new one is compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Where an issue came from. Later messages have higher numbers, later documents of one message, too."""

    facility: str
    channel: str
    message_id: int
    document_id: int


def read(body: bytes) -> Report:
    """Read a document (FHIR R4, a Bundle with a Composition).

    Raises:
        RefusedDeliveryError: it is none that a care context can be made of.
    """
    try:
        report: Report = registry.load(ABDM, "documents").read_report(body)
    except ContentError as error:
        raise RefusedDeliveryError(ReasonCode.REFUSED, f"the document is no report for ABDM: {error}") from None
    return report


@operation(priority=Priority.SETTLE)
def take(batch: Batch, ours: AbdmDestination, delivery_id: int, facility: str, channel: str, report: Report) -> int:
    """Keep a delivered report as a care context, and begin to link it; return its number."""
    message_id, document_id = contexts.of_delivery(batch, delivery_id)
    came = Arrival(facility=facility, channel=channel, message_id=message_id, document_id=document_id)
    number = keep(batch, ours, came, report)
    inviting.invite(batch, ours, number)
    return number


def facility_of(ours: AbdmDestination, delivery: Delivery) -> str:
    """
    Raises:
        RefusedDeliveryError: the channel is of no facility.
    """
    facility = ours.facility_of(delivery.channel)
    if not facility:
        words = f"no facility has channel {delivery.channel}; add it to facilities: channels of the destination"
        raise RefusedDeliveryError(ReasonCode.REFUSED, words)
    return facility


@operation(priority=Priority.SETTLE)
def keep(batch: Batch, ours: AbdmDestination, came: Arrival, report: Report) -> int:
    """Keep an issue of a report, and begin what follows on it; return the number of its context."""
    row = contexts.of_report(batch, came.facility, came.channel, report.document)
    known = _known(batch, row)
    if row is not None and known is None:  # nothing is left of it
        return row.number
    came_later = row is None or (came.message_id, came.document_id) > (row.message_id, row.document_id)
    step = care_contexts.step(known, report, came_later=came_later)
    if row is not None and step in (Step.REPEATED, Step.OLDER):
        return row.number
    if row is not None and known is not None and step is Step.AMENDED and not _comes_back(row):
        return _amend(batch, ours, came, report, row, known)
    claims = _claims(batch, came, report, row, step)
    if row is not None and step is Step.OTHER_PATIENT:
        contexts.release(batch, row.number)
        kept = _put(batch, ours, came, report, _after_another(known, report, came.facility))
    else:
        kept = _put(batch, ours, came, report, care_contexts.followed(known, report, came.facility))
    for other, claim in claims:
        if other.state is ContextState.DROPPED:  # its patient has left the network
            continue
        if claim is Claim.MOVED:
            contexts.withdraw(batch, other.number, Gone.MOVED)
        elif claim is Claim.DOUBT:
            contexts.hold(batch, other.number, Hold.SAME_NUMBER)
    is_withdrawn = row is not None and step is Step.OTHER_PATIENT and row.reason == Gone.WITHDRAWN
    if is_withdrawn or any(claim in (Claim.DOUBT, Claim.LATE) for _, claim in claims):
        contexts.hold(batch, kept, Hold.SAME_NUMBER)
    else:
        _place(batch, ours, kept, report)
    return kept


def person_of(found: care_contexts.Person, report: Report) -> Person:
    """A patient of a report, for his row."""
    return Person(
        address=found.address.text,
        number=found.number.digits if found.number else "",
        name=found.name,
        gender=found.gender,
        year=found.birth_year,
        mobile=min(report.mobiles, default=""),
        patient=report.own_number,
    )


def _known(batch: Batch, row: Context | None) -> Known | None:
    """What is known of a context, with the number that the network knows its patient by."""
    known = issues.known_of(row)
    if row is None or known is None or known.numbers or not row.patient:
        return known
    patient = patients.by_number(batch, row.patient)
    person = patient.person if patient is not None else None
    if person is None:
        return known
    addresses = known.addresses | {AbhaAddress(person.address)}
    numbers = frozenset({AbhaNumber(person.number)} if person.number else ())
    return changed(known, addresses=addresses, numbers=numbers - known.overruled)


def _comes_back(row: Context) -> bool:
    """Whether an issue of a report has come that was another patient's by the newest word of the laboratory."""
    return row.state is ContextState.DROPPED and row.reason == Gone.MOVED


def _claims(
    batch: Batch, came: Arrival, report: Report, row: Context | None, step: Step
) -> list[tuple[Context, Claim]]:
    """The other contexts with the number of a report, and what it is to each.

    Args:
        row: the context of its document. Where it is another patient's it is one of them, also without a number.
    """
    found = {
        one.number: one
        for one in contexts.of_tube(batch, came.facility, came.channel, report.accession, MOST_OF_NUMBER)
    }
    if row is not None and step is not Step.OTHER_PATIENT:
        found.pop(row.number, None)
    elif row is not None and row.state is not ContextState.DROPPED:
        found[row.number] = row
    return [
        (one, care_contexts.claim(known, report)) for one in found.values() if (known := _known(batch, one)) is not None
    ]


def _after_another(known: Known | None, report: Report, facility: str) -> Known:
    """A context of a document that was another patient's before: the issues of that one are remembered."""
    made = care_contexts.followed(None, report, facility)
    if known is None:
        return made
    return changed(
        made,
        issue=max(known.issue, made.issue),
        issued=max(known.issued, made.issued),
        seen=(*known.seen, known.digest)[-care_contexts.MOST_SEEN :],
    )


def _put(batch: Batch, ours: AbdmDestination, came: Arrival, report: Report, known: Known) -> int:
    new = NewReport(
        facility=came.facility,
        reference=linking.reference(),
        channel=came.channel,
        report=report.document,
        accession=report.accession,
        patient=0,
        message_id=came.message_id,
        document_id=came.document_id,
        issued_us=to_us(report.issued),
        content=issues.content_of(report, known, _whose(ours, came.facility, report)),
    )
    return contexts.put(batch, new)


def _amend(batch: Batch, ours: AbdmDestination, came: Arrival, report: Report, row: Context, known: Known) -> int:
    """The next version of a context, whose patient stays."""
    _put(batch, ours, came, report, care_contexts.followed(known, report, came.facility))
    if row.state is ContextState.DROPPED:
        return row.number
    if row.state is ContextState.WAITING:
        if row.reason != Hold.SAME_NUMBER:  # else a person decides
            _place(batch, ours, row.number, report)
        return row.number
    found = _whose(ours, came.facility, report)
    if isinstance(found, Wait):
        if found in ENDS:
            contexts.hold(batch, row.number, found, patient=0)
            return row.number
    elif not known.is_by_hand and _names_another(batch, row.facility, found, report):
        contexts.hold(batch, row.number, Hold.OTHER_NAME)
        return row.number
    elif row.state is ContextState.FAILED and _is_news(batch, row, found):
        _place(batch, ours, row.number, report)
        return row.number
    else:
        _tell_news(batch, row, found, report)
    _go_on(batch, ours, row.number)
    return row.number


def _is_news(batch: Batch, row: Context, found: care_contexts.Person) -> bool:
    """Whether a report says of its patient what the network was not asked about: only then it is asked again."""
    patient = patients.by_number(batch, row.patient)
    if patient is None or patient.person is None or patient.person.verified:
        return False
    one = patient.person
    asked = (one.address, one.name, one.gender, one.year)
    return asked != (found.address.text, found.name, found.gender, found.birth_year)


def _tell_news(batch: Batch, row: Context, found: care_contexts.Person, report: Report) -> None:
    """A later issue may spell its patient better."""
    patient = patients.by_number(batch, row.patient)
    if patient is not None and patient.person is not None and patient.person.address == found.address.text:
        patients.put(batch, row.facility, patient.reference, person_of(found, report))


def _place(batch: Batch, ours: AbdmDestination, number: int, report: Report) -> None:
    """Have a report linked with its patient; or let it wait, and say why."""
    context = contexts.by_number(batch, number)
    assert context is not None
    found = _whose(ours, context.facility, report)
    if isinstance(found, Wait):
        contexts.hold(batch, number, found)
        return
    if _names_another(batch, context.facility, found, report):
        contexts.hold(batch, number, Hold.OTHER_NAME)
        return
    person = person_of(found, report)
    if patients.has_left(batch, context.facility, person):
        contexts.hold(batch, number, Hold.LEFT)
        return
    patient = patients.put(batch, context.facility, linking.reference(), person)
    if context.patient not in (0, patient):  # the network may know the reference as that patient's
        contexts.withdraw(batch, number, Gone.MOVED)
        number = contexts.give_twin(batch, number, linking.reference())
    contexts.assign(batch, number, patient)
    _go_on(batch, ours, number)


def _names_another(batch: Batch, facility: str, found: care_contexts.Person, report: Report) -> bool:
    """Whether the ABHA of a report is that of a patient of another name: a slip of the file. No one else compares them,
    once the network has given a token for him or was asked for one.

    Under a number of the laboratory that is not known to be his, name, year and gender must all fit: namesakes."""
    number = found.number.digits if found.number else ""
    known = [*patients.by_abha(batch, facility, number), patients.by_address(batch, facility, found.address.text)]
    own = frozenset(number for _, number in report.own_numbers)
    said = Held(own=own, name=found.name, gender=found.gender, year=found.birth_year)
    return any(
        one is not None
        and one.person is not None
        and (one.person.verified or _has_token(batch, one.number))
        and not may_be(said, one.person.name, one.person.gender, one.person.year, own=one.person.patient)
        for one in known
    )


def _has_token(batch: Batch, patient: int) -> bool:
    token = patients.link_token(batch, patient)
    return token is not None and token.state in (TokenState.ASKED, TokenState.HELD)


def _whose(ours: AbdmDestination, facility: str, report: Report) -> care_contexts.Person | Wait:
    hfr = ours.facilities[facility].hfr or facility
    return care_contexts.whose(report, (facility, hfr), ours.environment)


def _go_on(batch: Batch, ours: AbdmDestination, number: int) -> None:
    context = contexts.by_number(batch, number)
    assert context is not None
    if context.state is ContextState.LINKED:
        linking.tell(batch, ours, context)
    elif context.patient:
        linking.go_on(batch, ours, context.patient)
