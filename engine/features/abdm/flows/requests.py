"""Requests for records: looked at as a whole, and acknowledged or refused in the transaction that keeps them.

    request      consent, facility, purpose, type, dates, frequency, keys, address      (`REFUSALS`)
    on-request   ACKNOWLEDGED, or an error with NHA's code; queued with the row
    pages        `engine.features.abdm.flows.pages` seals them, `engine.features.abdm.flows.pushing` sends them
    notify       one line for each care context of the consent; queued with the end

A request that asks for more than was granted is refused, and never narrowed. The same transaction under another
REQUEST-ID changes nothing.

The audit trail of what has left: which reader got which reports, under which consent, for what purpose; and, apart,
what may have left: pages that went out, and of which no reader has said that it took them.

A row names the reader, the consent, and the reports by numbers. It names no patient: where a patient asks for his own
records the reader's name may be his, and is left out.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import orjson

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import consents, pages
from engine.features.abdm.flows.flow import CallKind, Flow
from engine.features.abdm.rows import calls, contexts, forgetting, transfers
from engine.features.abdm.rows import consents as kept_consents
from engine.features.abdm.rows.consents import KeptConsent
from engine.features.abdm.rows.transfers import KeptTransfer
from engine.features.abdm.rules import consents as consent_rules
from engine.features.abdm.rules.consents import Artefact, DataRequest, Refusal
from engine.features.abdm.rules.network import Call, Callback, GatewayAnswer, PageState, TransferState, Verdict
from engine.model.errors import ContentError, FideliusError, IntegrityError, PushRefusedError
from engine.model.process.clock import from_us
from engine.store.core.writing.batch import Batch
from engine.store.operations import audit

ON_REQUEST, DATA_NOTIFY = "on-request", "data-notify"
WINDOW = timedelta(minutes=20)
"""For all pages of a request, from the time that it names: one that comes again after 16 minutes has four left. Source:
NHA's page on the data flow, V3."""
MOST_OPEN = 5_000  # transfers that have not ended; one more is refused
MOST_TRANSACTION = 100  # characters of its id
REPEAT = "repeat"
REPORT_WAITS_S = 1.0  # for the acknowledgement of its request

BODY, KEYS, ADDRESS, BUSY = "body", "keys", "address", "busy"
NOT_ACKNOWLEDGED, WINDOW_OVER, READER_REFUSED, DAMAGED = "not-acknowledged", "window", "reader", "damaged-row"
OTHER_CODE = "ABDM-9999"
REFUSALS: Mapping[str, tuple[str, str]] = {
    **{
        one.value: (consent_rules.CODES.get(one, OTHER_CODE), words)
        for one, words in {
            Refusal.UNKNOWN: "The consent is not known here",
            Refusal.NOT_GRANTED: "The consent is not granted",
            Refusal.EXPIRED: "The consent has expired",
            Refusal.DISPUTED: "Two grants of this consent differ",
            Refusal.OTHER_FACILITY: "The consent is of another facility",
            Refusal.PURPOSE: "The purpose of the consent is not known",
            Refusal.HI_TYPE: "The consent has no DiagnosticReport",
            Refusal.RANGE_INVERTED: "The date range ends before it begins",
            Refusal.RANGE: "The date range is not within that of the consent",
            Refusal.FREQUENCY: "The consent was used as often as it may be",
        }.items()
    },
    BODY: (OTHER_CODE, "The request cannot be read"),
    KEYS: (OTHER_CODE, "The key material cannot be used"),
    ADDRESS: (OTHER_CODE, "No record may go to this dataPushUrl"),
    BUSY: (OTHER_CODE, "Too many requests are under way, try again later"),
    WINDOW_OVER: (OTHER_CODE, "The time for this request is over"),
}
"""Why a request is refused: the code and words of the answer. NHA names codes for four of them."""

WORDS: Mapping[str, str] = {
    **{reason: words for reason, (_, words) in REFUSALS.items()},
    **pages.LEFT,
    "revoked": "The consent is revoked",
    "denied": "The consent is denied",
    **dict.fromkeys(("suspended", "doubtful"), "The consent is not sure"),
    "left": pages.LEFT["patient_left"],
    forgetting.ERASED: pages.LEFT["absent"],
    pages.PDF_TOO_LARGE: "without its PDF, which is too large",
    WINDOW_OVER: "the time for this request is over",
    READER_REFUSED: "the reader refused the page",
    DAMAGED: "the request cannot be opened any more",
}
"""The words of a line about a care context: by the reason of its page, or of the whole transfer."""


def read(transfer: KeptTransfer) -> DataRequest:
    """The request of a transfer that was taken.

    Raises:
        ContentError: it is gone, as that of a patient who was erased.
    """
    said = transfer.content if isinstance(transfer.content, dict) else {}
    found: DataRequest = registry.load(ABDM, "consents").read_request(orjson.dumps(said.get("request")))
    return found


# -- a request that comes ----------------------------------------------------------------------------------------------


def _request(batch: Batch, ours: AbdmDestination, callback: Callback) -> str:
    try:
        request = registry.load(ABDM, "consents").read_request(callback.raw)
    except ContentError:
        return _unreadable(batch, callback)
    if len(request.transaction_id) > MOST_TRANSACTION:
        return _unreadable(batch, callback)
    kept = kept_consents.by_id(batch, request.consent_id)
    ends_us = callback.made_us + _us(WINDOW)
    number, new = transfers.take(
        batch,
        request.transaction_id,
        callback.facility,
        consent=kept.number if kept is not None else 0,
        ends_us=ends_us,
        content=None,
    )
    if not new:
        return REPEAT
    grant = WINDOW_OVER if batch.now_us >= ends_us else granted(batch, ours, callback, request, kept)
    if isinstance(grant, str):
        transfers.move(batch, number, TransferState.REFUSED, grant)
        _answer(batch, callback, number, error=grant)
        return grant
    assert kept is not None, "without a consent it is refused"
    references = list(dict.fromkeys(one.reference for one in grant.care_contexts))
    content = {"request": callback.body, "consent": kept.consent_id, "contexts": references, "left": {}}
    transfers.keep_content(batch, number, content | {"reader": reader(grant)})
    transfers.move(batch, number, TransferState.ACKNOWLEDGED)
    kept_consents.serve(batch, kept.number)
    _answer(batch, callback, number, transaction_id=request.transaction_id)
    return ""


def granted(
    batch: Batch, ours: AbdmDestination, callback: Callback, request: DataRequest, kept: KeptConsent | None
) -> Artefact | str:
    """The grant under which a request is taken; or why it is refused, one of `REFUSALS`."""
    now = from_us(batch.now_us)
    found = consents.may_go(batch, ours, kept, request, callback.facility, now)
    if isinstance(found, Refusal):
        return found.value
    try:
        registry.load(registry.ENCRYPTION, "abdm").read_key_material(request.key_material, now)
    except FideliusError:
        return KEYS
    try:
        registry.load(ABDM, "pushes").check(request.push_url, ours)
    except PushRefusedError:
        return ADDRESS
    return BUSY if transfers.count_open(batch) > MOST_OPEN else found


def _unreadable(batch: Batch, callback: Callback) -> str:
    """Answered, so that its reader need not wait; there is nothing to keep."""
    _answer(batch, callback, 0, error=BODY)
    return BODY


def _answer(batch: Batch, callback: Callback, number: int, *, transaction_id: str = "", error: str = "") -> None:
    body: dict[str, Any] = {"response": {"requestId": callback.request_id}}
    ends_us = callback.made_us + _us(WINDOW)
    if error:
        code, words = REFUSALS[error]
        body["error"] = {"code": code, "message": words}
        ends_us = batch.now_us + _us(WINDOW)  # a reader hears of it also where its time is over
    else:
        body["hiRequest"] = {"transactionId": transaction_id, "sessionStatus": "ACKNOWLEDGED"}
    calls.queue(batch, callback.facility, ON_REQUEST, number, body, ends_us=ends_us)


def _us(time: timedelta) -> int:
    return round(time.total_seconds() * 1_000_000)


def _answered(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    """Without our acknowledgement no page is expected."""
    if answer.verdict in (Verdict.TAKEN, Verdict.BEFORE):
        return
    transfer = transfers.by_number(batch, call.subject)
    if transfer is not None and transfer.state in (TransferState.ACKNOWLEDGED, TransferState.PUSHING):
        transfers.move(batch, transfer.number, TransferState.ENDED, NOT_ACKNOWLEDGED)


# -- the end of a transfer ---------------------------------------------------------------------------------------------


def end(batch: Batch, transfer: KeptTransfer, reason: str = "") -> None:
    """End a transfer and queue its report: one line for each care context of its consent. Once."""
    if transfer.state not in (TransferState.ACKNOWLEDGED, TransferState.PUSHING):
        return
    reason = reason or transfer.reason
    said = transfer.content if isinstance(transfer.content, dict) else {}
    left: Mapping[str, str] = said.get("left") or {}
    sent: dict[str, tuple[bool, str]] = {}
    delivered: list[int] = []
    for number, state, why in transfers.states(batch, transfer.number):
        context = contexts.by_number(batch, number)
        if context is not None:
            sent[context.reference] = (state is PageState.DELIVERED, why)
        if state is PageState.DELIVERED:
            delivered.append(number)
    lines = []
    consent_id, references = _named(batch, transfer)
    for reference in references or sent:
        is_there, why = sent.get(reference, (False, left.get(reference, "")))
        words = WORDS.get(why or ("" if is_there else reason), "" if is_there else "not delivered")
        status = "DELIVERED" if is_there else "ERRORED"
        lines.append({"careContextReference": reference, "hiStatus": status, "description": words})
    if delivered:
        disclosed(batch, transfer, delivered)
    if unsure := transfers.unsure(batch, transfer.number):
        disclosed(batch, transfer, unsure, certain=False)
    if lines and consent_id:
        notification = {
            "consentId": consent_id,
            "transactionId": transfer.transaction_id,
            "doneAt": registry.load(ABDM, "times").written(from_us(batch.now_us)),
            "notifier": {"type": "HIP", "id": transfer.facility},
            "statusNotification": {
                "sessionStatus": "TRANSFERRED" if delivered else "FAILED",
                "hipId": transfer.facility,
                "statusResponses": lines,
            },
        }
        calls.queue(batch, transfer.facility, DATA_NOTIFY, transfer.number, {"notification": notification})
    transfers.move(batch, transfer.number, TransferState.ENDED, reason)


def _report_headers(batch: Batch, ours: AbdmDestination, call: Call) -> Mapping[str, str] | None:
    """None: the gateway has not taken our acknowledgement yet, or did not; then there is nothing to report."""
    if calls.is_open(batch, ON_REQUEST, call.subject):
        calls.again(batch, call, REPORT_WAITS_S)
    elif calls.is_done(batch, ON_REQUEST, call.subject):
        return {}
    else:
        calls.withdraw(batch, call, NOT_ACKNOWLEDGED)
    return None


def _named(batch: Batch, transfer: KeptTransfer) -> tuple[str, list[str]]:
    """Consent and care contexts of a transfer; where its content is damaged, as far as the consent can be read."""
    said = transfer.content if isinstance(transfer.content, dict) else {}
    if said.get("consent"):
        return said["consent"], said.get("contexts") or []
    with suppress(IntegrityError):
        kept = kept_consents.by_number(batch, transfer.consent)
        if kept is not None:
            artefact = consents.artefact(kept)
            listed = artefact.care_contexts if artefact is not None else ()
            return kept.consent_id, list(dict.fromkeys(one.reference for one in listed))
    return "", []


FLOW = Flow(
    callbacks={"/v3/hip/health-information/request": _request},
    calls=(
        CallKind(name=ON_REQUEST, path="/api/hiecm/data-flow/v3/health-information/hip/on-request", ended=_answered),
        CallKind(name=DATA_NOTIFY, path="/api/hiecm/data-flow/v3/health-information/notify", headers=_report_headers),
    ),
)


ACTOR, VERB, UNSURE = "labrelay", "abdm-disclosed", "abdm-maybe-disclosed"


def reader(artefact: Artefact) -> dict[str, str]:
    """Who reads under a consent, and for what purpose. A transfer keeps it, for the consent may be erased before its
    end."""
    name = {"reader_name": artefact.shown_reader} if artefact.shown_reader else {}
    return {"reader": artefact.reader, "purpose": artefact.purpose} | name


def disclosed(batch: Batch, transfer: KeptTransfer, contexts: Sequence[int], *, certain: bool = True) -> int:
    """Note that a reader has these reports, in the transaction that ends their transfer; return the number of the row.

    Args:
        transfer: the request.
        contexts: numbers of the care contexts that went out.
        certain: the reader has taken them; else it may have.
    """
    what: dict[str, Any] = {"transfer": transfer.number, "contexts": list(contexts)}
    if messages := transfers.messages_of(batch, transfer.number, contexts):
        what["messages"] = messages
    with suppress(IntegrityError):  # of a row that names who it was; the number of the transfer stays
        kept = kept_consents.by_number(batch, transfer.consent)
        if kept is not None:
            what |= {"consent": kept.consent_id, "transaction": transfer.transaction_id, "facility": transfer.facility}
            artefact = consents.artefact(kept)
            what |= reader(artefact) if artefact is not None else _said(transfer)
    return audit.note(batch, ACTOR, VERB if certain else UNSURE, what)


def _said(transfer: KeptTransfer) -> dict[str, str]:
    said = transfer.content if isinstance(transfer.content, dict) else {}
    return dict(said.get("reader") or {})
