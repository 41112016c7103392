"""Links that the laboratory makes by itself: reports of a patient whose ABHA address is known.

    1  ask for a link token           POST /v3/token/generate-token; the token comes by a callback, and lives for months
    2  link the reports with it       POST /hip/v3/link/carecontext, 20 at most; the result comes by a callback
    3  tell the patient's app of each POST /hip/v3/link/context/notify; again for each new version of a linked report

A step is queued in the transaction that ends the one before it. The app asks for the report within seconds of step 3,
so a context has its document before it is linked.

Sources: NHA's OpenAPI documents of 2026-09-16 (HIP-initiated linking); answers of its sandbox that integrators have
published.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson

from engine.abdm.flow import CallKind, Flow
from engine.config import registry
from engine.config.destination_abdm import AbdmDestination
from engine.model.abdm import Call, ContextState, GatewayAnswer, PatientState, TokenState, Verdict
from engine.model.clock import from_us
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations.abdm import calls, contexts, patients
from engine.store.operations.abdm.contexts import Context, NewReport
from engine.store.operations.abdm.patients import Patient, Person

TOKEN, LINK, NOTIFY = "generate-token", "link", "context-notify"
AT_ONCE = 20  # contexts of one call (ABDM-1037)
HI_TYPE = "DiagnosticReport"
DAY_S = 86_400.0
TOKEN_LIFE = timedelta(days=180)  # where a token does not say it; NHA: 182.5 days
RENEW = timedelta(days=1)  # before its end a token is asked for anew
WRONG_TOKEN = frozenset({"ABDM-1026", "ABDM-1038", "ABDM-1062", "ABDM-1063"})
OTHER_PATIENT = "other-patient"
RENEWED = "token-renewed"  # the reason of a report that was given back once for a token that did not fit
NOT_LINKED_YET = "ABDM-1006"  # of a notice that came before the gateway knew of its link
NOTICE_WAITS_S = (5.0, 15.0, 60.0)


def reference() -> str:
    """As which the network knows a patient or a report: drawn by chance, of the signs that its pattern allows."""
    return f"LR-{base64.b32encode(uuid4().bytes).decode().rstrip('=')}"


@operation(priority=Priority.SETTLE)
def offer(batch: Batch, ours: AbdmDestination, new: NewReport, person: Person | None) -> int:
    """Keep a report as a care context, and link it where its patient is known to the network.

    A later version that names another patient, or none, withdraws the context of the one before: he must not see it,
    and it is not known to be his.

    Args:
        new: its ``patient`` is found here.
        person: None: no ABHA address is known; the context waits.

    Returns:
        the number of the context.
    """
    patient = 0
    if person is not None:
        patient = patients.put(batch, new.facility, reference(), person)
        found = patients.by_number(batch, patient)
        if found is None or found.person is None:  # he has left the network
            patient = 0
    before = contexts.of_report(batch, new.facility, new.channel, new.report)
    if before is not None and before.patient not in (0, patient):
        contexts.withdraw(batch, before.number, OTHER_PATIENT)
    number = contexts.put(
        batch,
        NewReport(
            facility=new.facility, reference=new.reference, channel=new.channel, report=new.report, patient=patient,
            message_id=new.message_id, document_id=new.document_id, issued_us=new.issued_us, content=new.content,
        ),
    )  # fmt: skip
    if patient and before is not None and before.state is ContextState.WAITING:
        contexts.give(batch, [number], patient)
    context = contexts.by_number(batch, number)
    assert context is not None
    if context.state is ContextState.LINKED:
        tell(batch, ours, context)
    elif context.patient:
        go_on(batch, ours, context.patient)
    return number


def go_on(batch: Batch, ours: AbdmDestination, patient: int) -> None:
    """Queue the next step for the reports of a patient that are to be linked; nothing where one is under way."""
    known = patients.by_number(batch, patient)
    if known is None or known.person is None or known.state is not PatientState.KNOWN:
        return
    ready = contexts.of_patient(batch, patient, ContextState.READY, AT_ONCE)
    if not ready or calls.is_open(batch, TOKEN, patient):
        return
    token = patients.link_token(batch, patient)
    if token is not None and token.state is TokenState.BLOCKED and token.until_us > batch.now_us:
        contexts.move(batch, [one.number for one in ready], ContextState.READY, "blocked")
        return
    if token is None or token.state is not TokenState.HELD or token.until_us <= batch.now_us:
        _ask_token(batch, known, known.person)
    elif not calls.is_open(batch, LINK, patient):
        _link(batch, ours, known, known.person, ready)


def _ask_token(batch: Batch, patient: Patient, person: Person) -> None:
    body: dict[str, Any] = {"abhaAddress": person.address, "name": person.name, "gender": person.gender}
    body |= {"yearOfBirth": person.year} | ({"abhaNumber": person.number} if person.number else {})
    patients.set_link_token(batch, patient.number, TokenState.ASKED)
    calls.queue(batch, patient.facility, TOKEN, patient.number, body)


def _link(batch: Batch, ours: AbdmDestination, patient: Patient, person: Person, ready: list[Context]) -> None:
    listed = {
        "referenceNumber": patient.reference,
        "display": "Lab reports",
        "careContexts": [
            {"referenceNumber": one.reference, "display": one.content.get("display", "Lab report")} for one in ready
        ],
        ours.hi_type_key: HI_TYPE,
        "count": len(ready),
    }
    body = {"abhaAddress": person.address, "patient": [listed]}
    body |= {"abhaNumber": person.number} if person.number else {}
    numbers = [one.number for one in ready]
    for one in ready:
        contexts.move(batch, [one.number], ContextState.LINKING, RENEWED if one.reason == RENEWED else "")
    calls.queue(batch, patient.facility, LINK, patient.number, body, about={"contexts": numbers})


def tell(batch: Batch, ours: AbdmDestination, context: Context) -> None:
    """Tell the patient's app of a linked report, or of its new version; nothing where it knows that one."""
    patient = patients.by_number(batch, context.patient)
    if context.state is not ContextState.LINKED or context.notified >= context.version:
        return
    if patient is None or patient.person is None:
        return
    if calls.is_open(batch, NOTIFY, context.number):  # its end looks again
        return
    body = {
        "notification": {
            "patient": {"id": patient.person.address},
            "careContext": {"patientReference": patient.reference, "careContextReference": context.reference},
            "hiTypes": [HI_TYPE],
            "date": registry.load(registry.ABDM, "times").written(from_us(batch.now_us)),
            "hip": {"id": context.facility, "name": ours.facilities[context.facility].name},
        }
    }
    about = {"version": context.version}
    calls.queue(batch, context.facility, NOTIFY, context.number, body, about=about)


# -- ends of calls -------------------------------------------------------------------------------------------------


def _token_ended(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    said = _body(answer)
    token = said.get("linkToken")
    if answer.verdict is Verdict.TAKEN and isinstance(token, str) and token:
        patients.set_link_token(batch, call.subject, TokenState.HELD, until_us=_ends_us(batch, token), token=token)
        go_on(batch, ours, call.subject)
        return
    held = patients.link_token(batch, call.subject)
    if answer.verdict is Verdict.BEFORE:
        if held is not None and held.state is TokenState.HELD:
            go_on(batch, ours, call.subject)
        else:  # the answer to an earlier attempt was lost; its token is on the way
            calls.await_result(batch, call, ours.answer_within)
        return
    waiting = [one.number for one in contexts.of_patient(batch, call.subject, ContextState.READY, AT_ONCE)]
    if answer.verdict is Verdict.STOP:
        until_us = batch.now_us + round(DAY_S * 1_000_000)
        patients.set_link_token(batch, call.subject, TokenState.BLOCKED, until_us=until_us)
        contexts.move(batch, waiting, ContextState.READY, "blocked")
        return
    # A mismatch is never asked again by itself: three of them block the patient for a day.
    patients.forget_link_token(batch, call.subject)
    contexts.move(batch, waiting, ContextState.FAILED, answer.code or "no-token")


def _link_headers(batch: Batch, ours: AbdmDestination, call: Call) -> Mapping[str, str] | None:
    """None where there is no token, or a report was dropped meanwhile: the others are linked by another call."""
    token = patients.link_token(batch, call.subject)
    is_held = token is not None and token.state is TokenState.HELD
    found = [contexts.by_number(batch, number) for number in call.about["contexts"]]
    if token is not None and is_held and all(one is not None and one.state is ContextState.LINKING for one in found):
        return {"X-LINK-TOKEN": token.token}
    calls.withdraw(batch, call, "changed" if is_held else "no-token")
    contexts.move(batch, call.about["contexts"], ContextState.READY)
    go_on(batch, ours, call.subject)
    return None


def _link_ended(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    numbers = call.about["contexts"]
    if answer.verdict in (Verdict.TAKEN, Verdict.BEFORE):
        contexts.move(batch, numbers, ContextState.LINKED)
        for number in numbers:
            if (context := contexts.by_number(batch, number)) is not None:
                tell(batch, ours, context)
    elif answer.code in WRONG_TOKEN and not any(_was_renewed(batch, number) for number in numbers):
        patients.forget_link_token(batch, call.subject)
        contexts.move(batch, numbers, ContextState.READY, RENEWED)
    else:
        contexts.move(batch, numbers, ContextState.FAILED, answer.code or "not-linked")
    go_on(batch, ours, call.subject)


def _was_renewed(batch: Batch, number: int) -> bool:
    """Whether a report was given back once already, for a token that did not fit."""
    context = contexts.by_number(batch, number)
    return context is not None and context.reason == RENEWED


def _notice_headers(batch: Batch, ours: AbdmDestination, call: Call) -> Mapping[str, str] | None:
    """None where the report is not given out any more."""
    context = contexts.by_number(batch, call.subject)
    if context is not None and context.state is ContextState.LINKED:
        return {}
    calls.withdraw(batch, call, "changed")
    return None


def _notified(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    if answer.verdict is Verdict.FINAL and answer.code == NOT_LINKED_YET and call.attempt <= len(NOTICE_WAITS_S):
        calls.again(batch, call, NOTICE_WAITS_S[call.attempt - 1])
        return
    if answer.verdict in (Verdict.TAKEN, Verdict.BEFORE):
        contexts.notified(batch, call.subject, call.about["version"])
        if (context := contexts.by_number(batch, call.subject)) is not None:
            tell(batch, ours, context)
    else:
        contexts.move(batch, [call.subject], ContextState.LINKED, answer.code or "not-notified")


def _body(answer: GatewayAnswer) -> Mapping[str, Any]:
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _ends_us(batch: Batch, token: str) -> int:
    """When to ask for another token: a day before the end that this one says. Its signature is the gateway's affair."""
    end_us = batch.now_us + round(TOKEN_LIFE.total_seconds() * 1_000_000)
    try:
        part = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        said = round(float(claims["exp"]) * 1_000_000)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, binascii.Error):
        return end_us
    return max(min(said, end_us) - round(RENEW.total_seconds() * 1_000_000), batch.now_us + 60_000_000)


FLOW = Flow(
    calls=(
        CallKind(
            name=TOKEN,
            path="/api/hiecm/v3/token/generate-token",
            names_facility=True,
            result="/v3/hip/token/on-generate-token",
            ended=_token_ended,
        ),
        CallKind(
            name=LINK,
            path="/api/hiecm/hip/v3/link/carecontext",
            names_facility=True,
            result="/v3/link/on_carecontext",
            ended=_link_ended,
            headers=_link_headers,
        ),
        CallKind(
            name=NOTIFY,
            path="/api/hiecm/hip/v3/link/context/notify",
            names_facility=True,
            result="/v3/links/context/on-notify",
            ended=_notified,
            headers=_notice_headers,
        ),
    )
)
