"""Invitations: the network sends an SMS with a link to a patient who has a mobile and no ABHA.

    POST /api/hiecm/hip/v3/link/patient/links/sms/notify2     no X-HIP-ID
    POST /v3/patients/sms/on-notify                           the result

Only where the site wants it (``invite: true``), once for each report, and a few times a day for each mobile. A patient
who has left the network gets none, nor does any other one with his mobile. The SMS names the laboratory and no patient.

A call whose answer is lost may have sent its SMS, so it is made a few times at most; one that was taken and has no
result is not made again.

Source: NHA's OpenAPI documents of 2026-09-16 (HIP-initiated linking).
"""

from collections.abc import Mapping

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows.flow import CallKind, Flow
from engine.features.abdm.rows import calls, contexts, invitations
from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rules.care_contexts import Wait
from engine.features.abdm.rules.links import held
from engine.features.abdm.rules.network import Call, CallState, ContextState, GatewayAnswer, Verdict
from engine.store.core.writing.batch import Batch

SMS = "sms-notify"
LASTS_US = 86_400_000_000  # an invitation that could not be sent for so long helps no more
MOST_ATTEMPTS = 5
_WAITS = frozenset({"", Wait.NO_ABHA.value, invitations.INVITED, invitations.NOT_INVITED})


def invite(batch: Batch, ours: AbdmDestination, number: int) -> None:
    """Invite the patient of a report that waits for his ABHA, once; then the report shows what came of it."""
    context = contexts.by_number(batch, number)
    if context is None or context.state is not ContextState.WAITING or context.reason not in _WAITS:
        return
    if (known := invitations.of(batch, number)) is not None:  # a later issue
        invitations.show(batch, number, known[0])
        return
    mobile, own = _reached_at(context)
    if not ours.invite or not mobile or context.facility not in ours.facilities:
        return
    if invitations.begin(batch, number, mobile, own):
        hip = {"id": context.facility, "name": ours.facilities[context.facility].name}
        body = {"notification": {"phoneNo": f"{ours.invite_prefix}{mobile}", "hip": hip}}
        calls.queue(batch, context.facility, SMS, number, body, ends_us=batch.now_us + LASTS_US)


def _reached_at(context: Context) -> tuple[str, str]:
    """Mobile, and the laboratory's number, of a patient without any ABHA; empty where he has one."""
    one = held(context.content)
    if one.numbers or one.addresses:
        return "", ""
    return one.mobile, min(one.own, default="")


def _headers(batch: Batch, ours: AbdmDestination, call: Call) -> Mapping[str, str] | None:
    """None where the report waits no more, its patient has left, or the SMS may have gone often enough."""
    context = contexts.by_number(batch, call.subject)
    waits = context is not None and context.state is ContextState.WAITING and context.reason in _WAITS
    mobile, own = _reached_at(context) if context is not None and waits else ("", "")
    if not mobile or invitations.is_barred(batch, mobile, own):
        code = "changed"
    elif call.state is CallState.ACCEPTED:
        code = calls.NO_RESULT
    elif call.attempt >= MOST_ATTEMPTS:
        code = calls.ENDED
    else:
        return {}
    calls.withdraw(batch, call, code)
    _over(batch, call.subject, invitations.NOT_INVITED, code)
    return None


def _ended(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    if answer.verdict in (Verdict.TAKEN, Verdict.BEFORE):
        _over(batch, call.subject, invitations.INVITED, "")
    else:
        _over(batch, call.subject, invitations.NOT_INVITED, answer.code or "not-sent")


def _over(batch: Batch, number: int, state: str, code: str) -> None:
    invitations.end(batch, number, state, code)
    context = contexts.by_number(batch, number)
    if context is not None and context.reason in _WAITS:
        invitations.show(batch, number, state)


FLOW = Flow(
    calls=(
        CallKind(
            name=SMS,
            path="/api/hiecm/hip/v3/link/patient/links/sms/notify2",
            result="/v3/patients/sms/on-notify",
            headers=_headers,
            ended=_ended,
        ),
    )
)
