"""A patient leaves the network: his ABHA is deactivated or deleted, or he has opted out.

    POST /v3/patients/status/notify                         {"notification": {"abhaAddress", "status"}}
    POST /api/hiecm/patients/v3/status/on-notify            our answer

His consents are suspended at once, and nothing more is sent. All that links him goes once the gateway has taken our
answer, at each laboratory of ours (`engine.features.abdm.rows.leaving`): any party that has seen a token of the
gateway can make such a notice. Where the gateway does not take it, a person decides. Where the network has verified him
anew meanwhile he stays. The record of the laboratory stays. ``ACTIVE`` brings nothing back: he is linked again once the
network has verified him here, by scan and share or by a link that he makes himself. So it makes no difference in which
order the two come.

An answer that a stop of the process has cut is given again, and the gateway refuses that where it took the first one:
its request is not open any more. Such a refusal counts as taken where it is the first answer that is noted, and no
other refusal does. A made-up notice whose answer was cut may be refused alike; then links go that were to stay, and no
record is shown. So this holds of no answer that lets a record out.

A notice that names an address, and no status that is known, counts as one that he has left: to link him again is easy,
and to have shown his reports against his will cannot be undone. Without a readable address it names no person.

Sources: one public implementation of V3; NHA's test case HIP_INIT_ABHA_OPTOUT_DEACTIVATE.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows.consents import ANSWER_US
from engine.features.abdm.flows.flow import CallKind, Flow
from engine.features.abdm.flows.linking import reference
from engine.features.abdm.rows import callbacks, calls, leaving
from engine.features.abdm.rules.abha import AbhaAddress
from engine.features.abdm.rules.network import Call, Callback, GatewayAnswer, Verdict
from engine.model.errors import CallbackBodyError
from engine.store.core.writing.batch import Batch

STATUS, ON_STATUS = "/v3/patients/status/notify", "status-on-notify"
ACTIVE = "ACTIVE"
NO_ADDRESS, OTHER_ENVIRONMENT = "no-address", "other-environment"
IS_ACTIVE, NOT_KNOWN = "active", "not-known"
NOT_OPEN = "ABDM-1030"  # "Request id not found"


def _status(batch: Batch, ours: AbdmDestination, callback: Callback) -> str:
    """
    Raises:
        CallbackBodyError: it names no address, or one of the other environment.
    """
    notice = _object(callback.body.get("notification")) or callback.body
    address = _address(callback.body)
    if address is None:
        raise CallbackBodyError(NO_ADDRESS)
    if address.domain != ours.environment:
        raise CallbackBodyError(OTHER_ENVIRONMENT)
    status = notice.get("status")
    reason = IS_ACTIVE
    if not isinstance(status, str) or status.strip().upper() != ACTIVE:
        is_known = leaving.stop(batch, address.text, callback.number, ours.facilities, reference)
        reason = "" if is_known else NOT_KNOWN
    body = {"acknowledgement": {"status": "OK"}, "response": {"requestId": callback.request_id}}
    subject = 0 if reason == IS_ACTIVE else callback.number
    calls.queue(batch, callback.facility, ON_STATUS, subject, body, ends_us=batch.now_us + ANSWER_US)
    return reason


def _answered(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    if not call.subject or not (call.was_taken(answer) or (call.is_cut and _is_not_open(answer))):
        return
    address = _address(callbacks.body(batch, call.subject))
    if address is not None:  # else he was erased meanwhile
        leaving.leave(batch, address.text, call.subject, call.number)


def _is_not_open(answer: GatewayAnswer) -> bool:
    """Whether the gateway refuses an answer since no such request is open. The code has other meanings, too."""
    return answer.verdict is Verdict.FINAL and answer.code == NOT_OPEN and "request id" in answer.words.lower()


def _address(body: Mapping[str, Any]) -> AbhaAddress | None:
    notice = _object(body.get("notification")) or body
    return next(_addresses(notice), None) or next(_addresses(body), None)


def _addresses(said: Mapping[str, Any]) -> Iterator[AbhaAddress]:
    for text in (said.get("abhaAddress"), _object(said.get("patient")).get("id")):
        if isinstance(text, str) and (found := AbhaAddress.read(text)) is not None:
            yield found


def _object(said: object) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


FLOW = Flow(
    callbacks={STATUS: _status},
    calls=(CallKind(name=ON_STATUS, path="/api/hiecm/patients/v3/status/on-notify", ended=_answered),),
)
