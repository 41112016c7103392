"""A patient leaves the network: his ABHA is deactivated or deleted, or he has opted out.

    POST /v3/patients/status/notify                         {"notification": {"abhaAddress", "status"}}
    POST /api/hiecm/patients/v3/status/on-notify            our answer

His consents are suspended at once, and so nothing more is sent. All that links him goes once the gateway has taken our
answer, at each laboratory of ours (`engine.store.operations.abdm.leaving`): any party that has seen a token of the
gateway can make such a notice. Where the gateway does not take it, a person decides. The record of the laboratory
stays. ``ACTIVE`` brings nothing back: he is linked again once the network has verified him here, by scan and
share or by a link that he makes himself. So it makes no difference in which order the two come.

A notice that names an address, and no status that is known, counts as one that he has left: to link him again is easy,
and to have shown his reports against his will cannot be undone. Without a readable address it names no person.

Sources: one public implementation of V3; NHA's test case HIP_INIT_ABHA_OPTOUT_DEACTIVATE.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.abdm.flow import CallKind, Flow
from engine.abdm.linking import reference
from engine.config.destination_abdm import AbdmDestination
from engine.model.abdm import Call, Callback, GatewayAnswer, Verdict
from engine.model.abha import AbhaAddress
from engine.model.errors import CallbackBodyError
from engine.store.core.batch import Batch
from engine.store.operations.abdm import callbacks, calls, leaving

STATUS, ON_STATUS = "/v3/patients/status/notify", "status-on-notify"
ACTIVE = "ACTIVE"
NO_ADDRESS, OTHER_ENVIRONMENT = "no-address", "other-environment"
IS_ACTIVE, NOT_KNOWN = "active", "not-known"


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
        reason = "" if leaving.stop(batch, address.text) else NOT_KNOWN
    body = {"acknowledgement": {"status": "OK"}, "response": {"requestId": callback.request_id}}
    about = {} if reason == IS_ACTIVE else {"callback": callback.number}
    calls.queue(batch, callback.facility, ON_STATUS, int(not reason), body, about=about)
    return reason


def _answered(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    if answer.verdict not in (Verdict.TAKEN, Verdict.BEFORE) or not call.about.get("callback"):
        return
    address = _address(callbacks.body(batch, call.about["callback"]))
    if address is not None:  # else he was erased meanwhile
        leaving.leave(batch, address.text, ours.facilities, reference)


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
