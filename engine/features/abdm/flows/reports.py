"""From a delivered document to a care context: each issue of a report becomes its first, its next version, or nothing.

`engine.features.abdm.rules.care_contexts` decides, by what the journal has at that moment; the row, its patient and the
next call to the gateway are written in the same transaction. Where a report may be another patient's, neither goes out,
and a person looks (`engine.features.todo.rules`).

Scan and share: a patient scans the code of a counter, and his app sends his profile there.

    POST /v3/hip/patient/share                       intent, counter, profile
    POST /api/hiecm/patient-share/v3/on-share        our answer: the number of his token, or why there is none

The profile is the network's own: the patient is kept as verified, and reports that named this ABHA and waited are
linked to him. No report is given to him by name, mobile or a number of the laboratory: several people may share these.
The laboratory system hears of him by a message. Nothing else of the profile is kept.

A scan while a token is in force has the same token, whichever REQUEST-ID it has.

All of this follows once the gateway has taken our answer: any party that has seen a token of the gateway can make a
callback, and the gateway refuses an answer to nothing.

Sources: NHA's OpenAPI documents of 2026-09-16 (patient share); the code on the wall as published programs make it.

Channels of kind ``abdm-share`` get a message for each patient. The token is given in the transaction that folds the
callback. Then it becomes a message of the journal, which is handed to intake as a received one is: with a lane, retries
and an explanation. Where it cannot be stored now, it is tried again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from engine.config import registry
from engine.config.channel import ChannelConfig
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.config.together import share_of
from engine.features.abdm.flows import inviting, issues, linking
from engine.features.abdm.flows.flow import CallKind, Flow
from engine.features.abdm.rows import callbacks, calls, contexts, invitations, patients, shares
from engine.features.abdm.rows.contexts import Context, NewReport
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rows.shares import Listener, announce, has_shares
from engine.features.abdm.rules import care_contexts
from engine.features.abdm.rules import shares as model
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import ENDS, Claim, Gone, Hold, Known, Report, Step, Wait
from engine.features.abdm.rules.links import Held, held, may_be
from engine.features.abdm.rules.network import Call, Callback, ContextState, GatewayAnswer, PatientState, TokenState
from engine.features.abdm.rules.shares import COUNTER, Profile, Shared
from engine.model.errors import ContentError, RefusedDeliveryError
from engine.model.message import Delivery, Received, Stored
from engine.model.process.clock import from_us, to_us
from engine.model.texts.reasons import ReasonCode
from engine.model.values import changed
from engine.receiving import made_here
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal

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
    row = contexts.of_report(batch, came.facility, report.document)
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


SHARE, ON_SHARE = "/v3/hip/patient/share", "on-share"
PROFILE_SHARE = "PROFILE_SHARE"
INTENT, OTHER_FACILITY, NO_COUNTER, FULL, SAME_TOKEN = "intent", "other-facility", "no-counter", "full", "same-token"
MOST_LOOKED_AT = 1_000  # reports that wait for a patient, the newest first
MOST_PENDING = 100  # answers under way that are looked at
UNSUPPORTED, WRONG_FACILITY, NOT_NOW = "ABDM-1149", "ABDM-1035", "ABDM-9999"
WAITS = frozenset({"", "left", Wait.NO_ABHA, Wait.NO_NAME, Wait.NO_BIRTH_YEAR})  # reasons that a scan may answer


def _share(batch: Batch, ours: AbdmDestination, callback: Callback) -> str:
    body = callback.body
    place = _object(body.get("metaData"))
    profile = model.read(_object(body.get("profile")).get("patient"), ours.environment)
    counter = place.get("context")
    if body.get("intent") != PROFILE_SHARE:
        return _refused(batch, callback, INTENT, UNSUPPORTED, "This intent is not supported")
    if place.get("hipId") not in (None, callback.facility):
        return _refused(batch, callback, OTHER_FACILITY, WRONG_FACILITY, "Invalid HIP ID")
    if not isinstance(counter, str) or not COUNTER.fullmatch(counter):
        return _refused(batch, callback, NO_COUNTER, NOT_NOW, "The counter is not known")
    if isinstance(profile, str):
        return _refused(batch, callback, profile, NOT_NOW, "The profile is incomplete")
    known = patients.by_address(batch, callback.facility, profile.address)
    pending = _pending(batch, callback.facility, counter, profile.address)
    number = known.number if known is not None else 0
    token = shares.take(batch, callback.facility, counter, number, pending)
    if token is None:
        return _refused(batch, callback, FULL, NOT_NOW, "No more tokens today", counts=True)
    left_s = max((token.until_us - batch.now_us) // 1_000_000, 1)
    given = {"context": counter, "tokenNumber": str(token.token), "expiry": str(left_s)}
    said = {"status": "SUCCESS", "abhaAddress": profile.address, "profile": given}
    _answer(batch, callback, {"acknowledgement": said}, share=token.number, counts=True, ends_us=token.until_us)
    return "" if token.is_new else SAME_TOKEN


def _pending(batch: Batch, facility: str, counter: str, address: str) -> int:
    """The token of a scan of which the gateway has not taken our answer yet; 0: there is none."""
    for call in calls.under_way(batch, ON_SHARE, MOST_PENDING):
        said = _object(_object(call.body).get("acknowledgement"))
        same_place = call.facility == facility and _object(said.get("profile")).get("context") == counter
        if call.subject and same_place and said.get("abhaAddress") == address:
            return call.subject
    return 0


def _answered(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    """The patient is known by the network's word once the gateway has taken our answer."""
    if not call.was_taken(answer) or not call.about.get("callback"):
        return
    body = callbacks.body(batch, call.about["callback"])
    profile = model.read(_object(body.get("profile")).get("patient"), ours.environment)
    if isinstance(profile, str):  # it was erased meanwhile
        return
    known = patients.by_address(batch, call.facility, profile.address)
    if patients.notice_of(batch, call.facility, profile.address, profile.number) > call.about["callback"]:
        return  # the notice that he has left came after the scan
    if known is not None and known.state is PatientState.DROPPED:
        invitations.returned(batch, known.number)
    own = known.person.patient if known is not None and known.person is not None else ""
    patient = patients.put(batch, call.facility, linking.reference(), _person(profile, own))
    shares.count(batch, call.subject, patient, profile)
    _link(batch, ours, call.facility, patient, profile)


def _person(profile: Profile, own: str) -> Person:
    """``own``: the laboratory's number of him, where a report has said it."""
    return Person(
        address=profile.address,
        number=profile.number,
        name=profile.name,
        gender=profile.gender,
        year=profile.year,
        mobile=profile.mobile,
        patient=own,
        verified=True,
    )


def _link(batch: Batch, ours: AbdmDestination, facility: str, patient: int, profile: Profile) -> None:
    """Give him the reports that wait and name his ABHA."""
    waiting = shares.waiting(batch, facility, WAITS, MOST_LOOKED_AT)
    if his := [one.number for one in waiting if _names(one, profile)]:
        shares.give(batch, his, patient)
    linking.come_back(batch, ours, patient)


def _names(context: Context, profile: Profile) -> bool:
    """Whether a report names this ABHA and no other one, and nothing else of it contradicts."""
    of = held(context.content)
    if of.addresses - {profile.address} or (profile.number and of.numbers - {profile.number}):
        return False
    if not of.addresses and not (of.numbers and profile.number):
        return False
    agrees = of.year in (0, profile.year) and of.gender in ("", "U", profile.gender)
    return agrees and may_be(of, profile.name, profile.gender, profile.year)


def _refused(batch: Batch, callback: Callback, reason: str, code: str, words: str, *, counts: bool = False) -> str:
    _answer(batch, callback, {"error": {"code": code, "message": words}}, counts=counts)
    return reason


def _answer(
    batch: Batch, callback: Callback, body: Mapping[str, Any], *, share: int = 0, counts: bool = False, ends_us: int = 0
) -> None:
    """``counts``: the profile does, once the gateway has taken this answer."""
    said = {**body, "response": {"requestId": callback.request_id}}
    about = {"callback": callback.number} if counts else None
    calls.queue(batch, callback.facility, ON_SHARE, share, said, about=about, ends_us=ends_us)


def _object(said: object) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


FLOW = Flow(
    callbacks={SHARE: _share},
    calls=(CallKind(name=ON_SHARE, path="/api/hiecm/patient-share/v3/on-share", ended=_answered),),
)


def listeners(channels: Mapping[str, ChannelConfig]) -> list[Listener]:
    """The channels that want such messages."""
    return [
        Listener(channel=one.channel, facilities=source.facilities, write=partial(_written, one))
        for one in channels.values()
        if (source := share_of(one)) is not None and one.enabled
    ]


async def run(
    journal: Journal, channels: Callable[[], Mapping[str, ChannelConfig]], stored: Callable[[Stored], None]
) -> None:
    """Until cancelled.

    Args:
        channels: of the configuration in force.
        stored: as of `engine.receiving.channel.Channel`.
    """
    await made_here.run(journal, has_shares, lambda: journal.run(announce, listeners(channels())), stored)


def _written(channel: ChannelConfig, shared: Shared) -> Received:
    """The message of a token, as if it had come over the channel."""
    codec = registry.load(ABDM, "shared_profile")
    at = from_us(shared.at_us).astimezone(ZoneInfo(channel.timezone)).strftime("%Y%m%d%H%M%S%z")
    return Received(
        channel=channel.channel,
        payload=codec.message(shared, at=at, settings=channel.settings),
        received_us=shared.at_us,
        control_id=codec.control_id(shared),
        message_type=codec.TYPE,
        sent=at,
    )
