"""Consents of patients: each word of the consent manager on one is kept, and asked before anything goes out.

    notice      POST /v3/consent/request/hip/notify; state and artefact in one transaction, and the answer to it
    may_go      before a request is acknowledged, and before each page of it
    keep_time   a consent ends at its ``dataEraseAt`` by our own clock, with no notice of it

A grant is kept as it came, with its signature. NHA has not published the bytes that are signed, so it is verified only
where the configuration wants that: then nothing goes out under a consent unless the listener has proven its signature.
A notice that ends a consent needs no signature.

A grant counts once the gateway has taken our answer to it: any party may have seen a token of the gateway, and made the
grant itself. Until then it is doubtful: a request under it is looked at, and no page goes. Where the gateway refuses
our answer it stays so until another grant comes, which takes its place, or a person resumes it. An answer counts for
the grants after which the consent is doubtful, and for none before.

A grant that cannot be ours is kept with the reason, answered with an error, and lets nothing out. So is a consent of
which two different grants came. A notice that cannot be read ends a consent all the same where its bytes name the
consent and, as its state, an end. Where they name the consent and no state, it is suspended until its grant comes again
or a person resumes it.

Where the journal goes on from an earlier state, as after a restore, a consent may have been revoked since. Those in
force are suspended. A grant that was made before, or that is repeated with a token that has ended, puts none in force:
neither a suspended one, nor one with another reason, nor one that is not known here.
"""

import asyncio
import json
import logging
import re
from contextlib import suppress
from datetime import datetime
from typing import Any

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows.flow import CallKind, Flow
from engine.features.abdm.rows import callbacks, calls, consents, contexts, patients, transfers
from engine.features.abdm.rows import reading as queries
from engine.features.abdm.rows.consents import BAD_SIGNATURE, DISPUTED, DOUBTFUL, ENDED, SUSPENDED, KeptConsent
from engine.features.abdm.rules import consents as consent_rules
from engine.features.abdm.rules.consents import (
    Artefact,
    ConsentState,
    DataRequest,
    Holding,
    Notice,
    Refusal,
    Standing,
    Unfit,
)
from engine.features.abdm.rules.network import CONSENT_NOTICE, Call, Callback, GatewayAnswer, PatientState
from engine.model.errors import CallbackBodyError, ContentError, RefusedError, StoreError
from engine.model.process.clock import Clock, from_us, to_us
from engine.model.texts.phrases import R_, Said
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.operations import audit

NOTICE = CONSENT_NOTICE
ANSWER = "consent-on-notify"
ANSWER_US = 86_400_000_000  # an answer that could not be given for so long helps no more
TOKEN_US = 86_400_000_000  # longer than any token of the gateway lasts: those that were seen last 20 minutes
UNREADABLE = "unreadable"
AT_ONCE = 100  # consents that end in one transaction
IDLE_S = 30.0
AGAIN_S = 1.0  # where a consent that is due could not be ended yet
MOST_NAMED = 20  # consents that one notice that cannot be read may end

ERRORS = {
    Unfit.OTHER_FACILITY: ("ABDM-1112", "The consent is for another facility"),
    Unfit.NO_CONTEXT: ("ABDM-1057", "The consent has no care context"),
    Unfit.UNKNOWN_CONTEXT: ("ABDM-1057", "No care context of it is known here"),
    Unfit.OTHER_PATIENT: ("ABDM-1057", "A care context is not of this patient"),
    BAD_SIGNATURE: ("ABDM-1112", "The signature of the consent is not valid"),
    DISPUTED: ("ABDM-1112", "Another grant with this id has another content"),
    UNREADABLE: ("ABDM-1010", "The notice cannot be read"),
}
"""Code and words of the answer. NHA's list names no code for the last one, nor for a signature."""

_STATE = re.compile(rb'"status"\s*:\s*\[?\s*"(REQUESTED|GRANTED|EXPIRED|DENIED|REVOKED)"', re.IGNORECASE)
_STATES = frozenset(ConsentState)
_NAMED = re.compile(rb'"(?:consentId|consentArtefactId|consentArtifactId)"\s*:\s*"([^"\\]{1,128})"', re.IGNORECASE)
_UUID = re.compile(rb"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)

logger = logging.getLogger("labrelay.abdm")


# -- what may go -----------------------------------------------------------------------------------------------------


def artefact(kept: KeptConsent) -> Artefact | None:
    """Its grant, in any state; None: none came, or none that can be read."""
    return next(consents.artefacts(kept), None)


def _standing(rows: Rows, ours: AbdmDestination, kept: KeptConsent) -> Standing:
    """A consent as records may go out under it: one that is not ours to serve, is not proven, or is suspended, is not
    granted, and so is that of a patient who has left the network, or may have. One whose answer is under way is
    (`is_awaited`).

    Raises:
        IntegrityError: the patient's row is not what was sealed.
    """
    so_far = _so_far(kept)
    if kept.state is not ConsentState.GRANTED or kept.reason == DISPUTED:
        return so_far
    patient = patients.by_number(rows, kept.patient) if kept.patient else None
    is_kept_back = bool(kept.reason) and not is_awaited(rows, kept)
    if is_kept_back or not _is_proven(ours, kept.signed) or patient is None or patient.state is not PatientState.KNOWN:
        return Standing(state=ConsentState.REQUESTED, artefact=so_far.artefact)
    return so_far


def _replaces(rows: Rows, notice: Notice, kept: KeptConsent) -> bool:
    """Whether a grant takes the place of one of which the gateway has taken no answer, and none is under way."""
    is_open = kept.reason != DOUBTFUL or calls.is_open(rows, ANSWER, kept.number)
    return not is_open and notice.artefact not in (None, artefact(kept))


def is_awaited(rows: Rows, kept: KeptConsent | None) -> bool:
    """Whether the gateway is still to take our answer to the grant: until then pages wait."""
    return kept is not None and kept.reason == DOUBTFUL and calls.is_open(rows, ANSWER, kept.number)


def may_go(
    rows: Rows, ours: AbdmDestination, kept: KeptConsent | None, request: DataRequest, facility: str, now: datetime
) -> Artefact | Refusal:
    """The grant under which records may go out for a request, now; or why none may. Asked before each page anew.

    Args:
        kept: the consent, as the journal has it now; None: unknown.
        facility: that the request was sent to.
    """
    if kept is None or kept.consent_id != request.consent_id:
        return Refusal.UNKNOWN
    if facility not in ours.facilities or kept.reason == Unfit.OTHER_FACILITY:
        return Refusal.OTHER_FACILITY
    served = [from_us(one) for one in transfers.earlier_us(rows, kept.number, request.transaction_id)]
    found = _standing(rows, ours, kept)
    refused = consent_rules.refusal(found, request, facility=facility, now=now, served=served)
    if refused is not None:
        return refused
    assert found.artefact is not None, "without a grant it is refused"
    return found.artefact


@operation(priority=Priority.SETTLE)
def resume(batch: Batch, number: int, reason: str, *, who: str, looked: bool) -> None:
    """A person resumes a suspended or doubtful consent.

    Args:
        looked: the person has looked at the network's own list of consents, and it has this one as granted.
        reason: the person's own words.

    Raises:
        RefusedError: it stays as it is, and why.
    """
    kept = consents.by_number(batch, number)
    if kept is None:
        raise RefusedError(Said("there is no consent {n}", n=number))
    if kept.state in ENDED:
        raise RefusedError(R_("the consent has ended: only another grant of the patient counts"))
    if kept.reason not in ("", SUSPENDED, DOUBTFUL):
        raise RefusedError(Said("nothing may ever go out under this consent: {reason}", reason=kept.reason))
    if kept.state is not ConsentState.GRANTED:
        raise RefusedError(R_("no grant of the consent has come: the network has to send it"))
    if not kept.reason:
        raise RefusedError(R_("the consent is in force"))
    if kept.ends_us <= batch.now_us:
        raise RefusedError(R_("the time of the consent is over"))
    if not looked:
        raise RefusedError(
            R_(
                "a revocation may have been missed: look whether the network's own list has this consent as granted, "
                "then say that you have looked"
            )
        )
    if not reason.strip():
        raise RefusedError(R_("say why"))
    consents.lift(batch, number, SUSPENDED, DOUBTFUL)
    what = {"number": number, "consent": kept.consent_id, "looked": True, "reason": reason}
    audit.note(batch, who, "abdm-consent-resumed", what)


# -- notices ---------------------------------------------------------------------------------------------------------


def _notice(batch: Batch, ours: AbdmDestination, callback: Callback) -> str:
    try:
        notice: Notice = registry.load(ABDM, "consents").read_notice(callback.raw)
    except ContentError:
        raise CallbackBodyError(UNREADABLE) from None
    kept = consents.by_id(batch, notice.consent_id)
    is_replaced = kept is not None and _replaces(batch, notice, kept)
    before = _so_far(kept) if kept is not None else Standing()
    if is_replaced:
        before = Standing(state=before.state)
    after = consent_rules.noticed(before, notice)
    reason = _reason(batch, ours, callback, notice, kept, after)
    given = notice.artefact
    signed = (given is not None and callback.is_signed) or (kept is not None and kept.signed and not is_replaced)
    signed = signed and reason != BAD_SIGNATURE
    granted = 0
    if reason == DOUBTFUL:
        goes_on = kept is not None and kept.reason == DOUBTFUL and not is_replaced
        granted = kept.granted if kept is not None and goes_on else callback.number
    is_new = kept is None or (kept.state, kept.reason, kept.signed) != (after.state, reason, signed)
    is_other = before.artefact is None or (after.disputed and not before.disputed)
    patient = _patient(batch, callback.facility, given) if given is not None else 0
    is_known_now = kept is not None and not kept.patient and patient > 0
    if given is not None and (is_other or is_known_now) and after.state not in ENDED:
        ends_us = max(to_us(given.erase_at), kept.ends_us if kept is not None and not is_replaced else 0)
        number = consents.put(
            batch, notice.consent_id, given.facility, after.state, patient=patient, reason=reason, signed=signed,
            granted=granted, ends_us=ends_us,
            content=[*(() if is_replaced else consents.grants(kept)), *([callback.raw.decode()] if is_other else ())],
        )  # fmt: skip
    elif is_new:
        number = consents.put(
            batch, notice.consent_id, callback.facility, after.state, reason=reason, signed=signed, granted=granted
        )
    else:
        number = kept.number if kept is not None else 0
    if after.state in ENDED or reason not in ("", DOUBTFUL):
        transfers.end_of_consent(batch, number, reason or after.state.value.lower())
    refused = reason if _is_proven(ours, callback.is_signed) else BAD_SIGNATURE
    error = ERRORS.get(refused) if given is not None else None
    _answer(batch, callback, number, notice.consent_id, error, is_grant=given is not None)
    return "" if is_new else "repeat"


def _reason(
    batch: Batch, ours: AbdmDestination, callback: Callback, notice: Notice, kept: KeptConsent | None, after: Standing
) -> str:
    """Why nothing goes out under a consent after a notice; empty: it may, or it has ended."""
    known = kept.reason if kept is not None else ""
    if after.disputed:
        return DISPUTED
    if after.state is not ConsentState.GRANTED:
        return known if kept is not None and kept.state is after.state else ""
    if notice.artefact is None:
        return known
    if not _is_proven(ours, callback.is_signed):
        return known if known == SUSPENDED else BAD_SIGNATURE
    if unfit := _unfit(batch, ours, callback.facility, notice.artefact):
        return unfit.value
    in_force = kept is not None and kept.state is ConsentState.GRANTED and not known
    if in_force:
        return ""
    return SUSPENDED if _may_be_revoked(batch, callback, kept) else DOUBTFUL


def _is_proven(ours: AbdmDestination, signed: bool) -> bool:
    """Whether the signature of a grant is as the configuration wants it."""
    return signed or ours.consent_signatures == "keep"


def _may_be_revoked(batch: Batch, callback: Callback, kept: KeptConsent | None) -> bool:
    """Whether a grant may be older than a word on its consent that was lost, or could not be used. A repeat by the
    gateway has the token of its first attempt: when a late one was made is not known."""
    is_late = callbacks.late_s(batch, callback.number) > 0
    if kept is not None and kept.reason == SUSPENDED and (is_late or callback.made_us <= kept.changed_us):
        return True
    doubted_us = consents.doubted_us(batch)
    return doubted_us > 0 and callback.made_us - (TOKEN_US if is_late else 0) <= doubted_us


def _unfit(rows: Rows, ours: AbdmDestination, facility: str, artefact: Artefact) -> Unfit | None:
    held: dict[str, Holding] = {}
    if artefact.facility == facility:
        for one in artefact.care_contexts:
            if (context := contexts.by_reference(rows, facility, one.reference)) is None:
                continue
            patient = patients.by_number(rows, context.patient) if context.patient else None
            if patient is None or patient.person is None:  # erased, or whose it is a person decides: it stays here
                continue
            his = {artefact.patient} if patients.has_address(rows, patient, artefact.patient) else ()
            held[one.reference] = Holding(patient.reference, frozenset(his))
    return consent_rules.unfit(artefact, ours.facilities.keys() & {facility}, held)


def _patient(rows: Rows, facility: str, artefact: Artefact) -> int:
    found = patients.by_address_or_number(rows, facility, artefact.patient)
    return found.number if found is not None else 0


def _so_far(kept: KeptConsent) -> Standing:
    """A consent as its notices have it."""
    return Standing(state=kept.state, artefact=artefact(kept), disputed=kept.reason == DISPUTED)


def _answer(
    batch: Batch,
    callback: Callback,
    number: int,
    consent_id: str,
    error: tuple[str, str] | None = None,
    *,
    is_grant: bool = False,
) -> None:
    body: dict[str, Any] = {"response": {"requestId": callback.request_id}}
    if error is None:
        body["acknowledgement"] = {"status": "OK", "consentId": consent_id}
    else:
        body["error"] = {"code": error[0], "message": error[1]}
    about = {"grant": callback.number if is_grant else 0}
    calls.queue(batch, callback.facility, ANSWER, number, body, about=about, ends_us=batch.now_us + ANSWER_US)


def _answered(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    """A grant counts where the gateway has taken our answer to it, and else nothing goes."""
    grant = call.about.get("grant")
    if not grant or not consents.waits_for(batch, call.subject, grant):
        return
    if call.was_taken(answer):
        consents.lift(batch, call.subject, DOUBTFUL)
    elif not calls.is_open(batch, ANSWER, call.subject):
        transfers.end_of_consent(batch, call.subject, DOUBTFUL)


def _refused(batch: Batch, ours: AbdmDestination, callback: Callback) -> None:
    """A notice that cannot be read, or that a fault of ours keeps from being used, may be a revocation."""
    said = _states(callback.raw)
    ends = [one for one in ENDED if one in said]
    named = _named(batch, callback.raw)
    for consent_id in named if ends or not said else ():
        number = consents.number_of(batch, consent_id)
        if not number:
            number = consents.put(batch, consent_id, callback.facility, ConsentState.REQUESTED)
        if ends:
            consents.end(batch, number, ends[0] if len(ends) == 1 else ConsentState.REVOKED, UNREADABLE)
        else:
            consents.suspend(batch, number)
    if callback.request_id.endswith(callbacks.BROKEN):
        return  # it was answered
    if len(named) == 1 and ends:
        _answer(batch, callback, consents.number_of(batch, named[0]), named[0])
    else:
        _answer(batch, callback, 0, "", ERRORS[UNREADABLE])


def _states(raw: bytes) -> set[ConsentState]:
    """The states that a body gives in a field of that name: of the notice, or of the whole body; else wherever it is. A
    word alone is none: the reason of a grant may have it. Of a field that is there twice both count."""
    found: set[ConsentState] = set()
    with suppress(ValueError, RecursionError):
        tree = json.loads(raw, object_pairs_hook=tuple)  # an object is a tuple of its fields
        places = [tree, *(inner for name, inner in tree if name == "notification")] if isinstance(tree, tuple) else ()
        fields = [field for place in places if isinstance(place, tuple) for field in place]
        for status in (said for name, said in fields if name == "status"):
            words = status if isinstance(status, list) else [status]
            found |= {ConsentState(word.upper()) for word in words if isinstance(word, str) and word.upper() in _STATES}
    return found or {ConsentState(word.decode().upper()) for word in _STATE.findall(raw)}


def _named(rows: Rows, raw: bytes) -> list[str]:
    """The consents that a body names by key, and those of ours whose ids are anywhere in it."""
    by_key = [one.decode("utf-8", "replace").strip() for one in _NAMED.findall(raw)]
    ids = [one.decode() for one in _UUID.findall(raw)]
    known = [one for text in ids for one in (text, text.lower()) if consents.number_of(rows, one)]
    return list(dict.fromkeys(one for one in (*by_key, *known) if one))[:MOST_NAMED]


# -- our own clock ---------------------------------------------------------------------------------------------------


@operation(priority=Priority.SETTLE)
def end_due(batch: Batch) -> bool:
    """End consents whose time is over; return whether there were any. No jump of the clock ends one for good: until the
    time is sure, `may_go` alone refuses."""
    found = consents.ended(batch, batch.steady_us, AT_ONCE)
    for number in found:
        consents.end(batch, number, ConsentState.EXPIRED)
    return bool(found)


async def keep_time(journal: Journal, clock: Clock) -> None:
    """End each consent at its time, until cancelled."""
    while True:
        due_us = queries.look(journal, consents.next_end_us)
        wait_s = IDLE_S if due_us is None else (due_us - clock.now_us()) / 1_000_000
        try:
            if wait_s <= 0 and await journal.run(end_due):
                continue
        except StoreError as error:
            if error.fatal:
                raise
            logger.error("ends of consents wait for the journal", extra={"detail": str(error)})
        await asyncio.sleep(min(max(wait_s, AGAIN_S), IDLE_S))


FLOW = Flow(
    callbacks={NOTICE: _notice},
    refused={NOTICE: _refused},
    calls=(CallKind(name=ANSWER, path="/api/hiecm/consent/v3/request/hip/on-notify", ended=_answered),),
)
