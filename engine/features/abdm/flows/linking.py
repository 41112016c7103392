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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import issues
from engine.features.abdm.flows.flow import CallKind, Flow
from engine.features.abdm.rows import calls, contexts, patients
from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rows.patients import Patient, Person
from engine.features.abdm.rules import care_contexts, network
from engine.features.abdm.rules.abha import AbhaAddress
from engine.features.abdm.rules.care_contexts import Hold
from engine.features.abdm.rules.links import held, may_be
from engine.model.process.clock import from_us
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch

TOKEN, LINK, NOTIFY = "generate-token", "link", "context-notify"
AT_ONCE = 20  # contexts of one call (ABDM-1037)
MOST_BLOCKED = 1_000  # contexts of a blocked patient that are shown so
HI_TYPE = "DiagnosticReport"
TOKEN_LIFE = timedelta(days=180)  # where a token does not say it; NHA: 182.5 days
RENEW = timedelta(days=1)  # before its end a token is asked for anew
WRONG_TOKEN = frozenset({"ABDM-1026", "ABDM-1038", "ABDM-1062", "ABDM-1063"})
BLOCKED = "blocked"  # the reason of a report of a patient of whom nothing is asked for a day
MISTAKES = frozenset({"ABDM-1036", "ABDM-1027"})  # what is compared is not the patient's; so often that he is blocked
GIVEN_BEFORE = "ABDM-1092"  # it was given before, and is not here
OTHER_ADDRESS = "OTHER_ADDRESS"  # the gateway's token names another ABHA address than was asked for
NO_TOKEN = "no-token"  # noqa: S105 - a reason: the gateway gave none, or one that has ended
RENEWED = "token-renewed"  # the reason of a report that was given back once for a token that did not fit
NOT_NOTIFIED = "not-notified"  # the reason of a linked report whose newest version the patient's app does not know
NOT_LINKED_YET = "ABDM-1006"  # of a notice that came before the gateway knew of its link
NOTICE_WAITS_S = (5.0, 15.0, 60.0)


def reference() -> str:
    """As which the network knows a patient or a report: drawn by chance, of the signs that its pattern allows."""
    return care_contexts.reference(uuid4().bytes)


def go_on(batch: Batch, ours: AbdmDestination, patient: int, *, confirmed: bool = False) -> None:
    """Queue the next step for the reports of a patient that are to be linked; nothing where one is under way.

    What the network has refused of a patient it is not asked again with his next report: three mistakes block him.

    Args:
        confirmed: a person says that it is right nevertheless.
    """
    known = patients.by_number(batch, patient)
    if known is None or known.person is None or known.state is not network.PatientState.KNOWN:
        return
    ready = contexts.of_patient(batch, patient, network.ContextState.READY, AT_ONCE)
    if not ready or calls.is_open(batch, TOKEN, patient):
        return
    token = patients.link_token(batch, patient)
    if token is not None and token.state is network.TokenState.BLOCKED and token.until_us > batch.now_us:
        contexts.move(batch, [one.number for one in ready], network.ContextState.READY, BLOCKED)
        return
    if token is None or token.state is not network.TokenState.HELD or token.until_us <= batch.now_us:
        if not confirmed and (mistake := mistaken(batch, patient, known.person)):
            _fail_waiting(batch, patient, mistake)
        else:
            _ask_token(batch, known, known.person)
    elif not calls.is_open(batch, LINK, patient):
        _link(batch, ours, known, known.person, ready)


def come_back(batch: Batch, ours: AbdmDestination, patient: int, *, confirmed: bool = False) -> None:
    """Go on for a patient who is verified now, also with what was not sent as he might have left.

    Args:
        confirmed: as of `go_on`.
    """
    for context in contexts.of_patient(batch, patient, network.ContextState.LINKED, MOST_BLOCKED):
        if context.reason != NOT_NOTIFIED:  # else a person has it tried again
            tell(batch, ours, context)
    go_on(batch, ours, patient, confirmed=confirmed)


def _ask_token(batch: Batch, patient: Patient, person: Person) -> None:
    patients.set_link_token(batch, patient.number, network.TokenState.ASKED)
    calls.queue(batch, patient.facility, TOKEN, patient.number, _asks_for(person))


def _asks_for(person: Person) -> dict[str, Any]:
    said: dict[str, Any] = {"abhaAddress": person.address, "name": person.name, "gender": person.gender}
    return said | {"yearOfBirth": person.year} | ({"abhaNumber": person.number} if person.number else {})


def mistaken(rows: Rows, patient: int, person: Person) -> str:
    """The code with which the network has refused exactly this of a patient, asked last; empty: it has not."""
    found = calls.failed_last(rows, TOKEN, patient)
    if found is None or found[0].body != _asks_for(person):
        return ""
    return found[1] if found[1] in MISTAKES else ""


def _fail_waiting(batch: Batch, patient: int, reason: str) -> None:
    """No report of a patient can be linked now; a person looks."""
    while waiting := contexts.of_patient(batch, patient, network.ContextState.READY, AT_ONCE):
        contexts.move(batch, [one.number for one in waiting], network.ContextState.FAILED, reason)


def _link(batch: Batch, ours: AbdmDestination, patient: Patient, person: Person, ready: list[Context]) -> None:
    """Link reports that are this person's. One may have come before the network knew his name under this ABHA."""
    others = [one for one in ready if not _may_be_of(one, person)]
    for one in others:
        contexts.hold(batch, one.number, Hold.OTHER_NAME)
    if others:
        go_on(batch, ours, patient.number)
        return
    body = {"abhaAddress": person.address, "patient": [listed(ours, patient.reference, ready)]}
    body |= {"abhaNumber": person.number} if person.number else {}
    numbers = [one.number for one in ready]
    for one in ready:
        contexts.move(batch, [one.number], network.ContextState.LINKING, RENEWED if one.reason == RENEWED else "")
    calls.queue(batch, patient.facility, LINK, patient.number, body, about={"contexts": numbers})


def listed(ours: AbdmDestination, reference: str, reports: Sequence[Context]) -> dict[str, Any]:
    """Reports of one patient, as the network lists them. ``reference``: the patient's."""
    return {
        "referenceNumber": reference,
        "display": "Lab reports",
        "careContexts": [
            {"referenceNumber": one.reference, "display": one.content.get("display", "Lab report")} for one in reports
        ],
        ours.hi_type_key: HI_TYPE,
        "count": len(reports),
    }


def _may_be_of(context: Context, person: Person) -> bool:
    known, said = issues.known_of(context), held(context.content)
    if (known is not None and known.is_by_hand) or not said.name:
        return True
    return may_be(said, person.name, person.gender, person.year)


def tell(batch: Batch, ours: AbdmDestination, context: Context) -> None:
    """Tell the patient's app of a linked report, or of its new version; nothing where it knows that one."""
    patient = patients.by_number(batch, context.patient)
    if context.state is not network.ContextState.LINKED or context.notified >= context.version:
        return
    if patient is None or patient.person is None or patient.state is not network.PatientState.KNOWN:
        return
    if calls.is_open(batch, NOTIFY, context.number):  # its end looks again
        return
    body = {
        "notification": {
            "patient": {"id": patient.person.address},
            "careContext": {"patientReference": patient.reference, "careContextReference": context.reference},
            "hiTypes": [HI_TYPE],
            "date": registry.load(ABDM, "times").written(from_us(batch.now_us)),
            "hip": {"id": context.facility, "name": ours.facilities[context.facility].name},
        }
    }
    about = {"version": context.version}
    calls.queue(batch, context.facility, NOTIFY, context.number, body, about=about)


# -- ends of calls -------------------------------------------------------------------------------------------------


def _token_ended(batch: Batch, ours: AbdmDestination, call: network.Call, answer: network.GatewayAnswer) -> None:
    said = _body(answer)
    token = said.get("linkToken")
    if answer.verdict is network.Verdict.TAKEN and isinstance(token, str) and token:
        if not _is_of(call, said):
            calls.withdraw(batch, call, OTHER_ADDRESS)
            patients.forget_link_token(batch, call.subject)
            _fail_waiting(batch, call.subject, OTHER_ADDRESS)
            return
        known = patients.by_number(batch, call.subject)
        if known is None or known.state is network.PatientState.DROPPED:  # he has left meanwhile
            return
        until_us = _ends_us(batch, token)
        if until_us <= batch.now_us:
            patients.forget_link_token(batch, call.subject)
            _fail_waiting(batch, call.subject, NO_TOKEN)
            return
        patients.set_link_token(batch, call.subject, network.TokenState.HELD, until_us=until_us, token=token)
        if known.state is network.PatientState.LEAVING:
            return
        _verified(batch, call)
        given_up = contexts.of_patient(batch, call.subject, network.ContextState.FAILED, AT_ONCE)
        numbers = [one.number for one in given_up if one.reason == calls.NO_RESULT]
        contexts.move(batch, numbers, network.ContextState.READY)
        go_on(batch, ours, call.subject)
        return
    kept = patients.link_token(batch, call.subject)
    if answer.verdict is network.Verdict.BEFORE:
        if kept is not None and kept.state is network.TokenState.HELD:
            go_on(batch, ours, call.subject)
            return
        if not calls.has_waited(batch, call.number):  # the answer to an earlier attempt was lost; its token is to come
            calls.await_result(batch, call, ours.answer_within)
            return
        calls.withdraw(batch, call, GIVEN_BEFORE)
    if answer.verdict is network.Verdict.STOP:
        waiting = [
            one.number for one in contexts.of_patient(batch, call.subject, network.ContextState.READY, MOST_BLOCKED)
        ]
        until_us = batch.now_us + round(network.BLOCK_S * 1_000_000)
        patients.set_link_token(batch, call.subject, network.TokenState.BLOCKED, until_us=until_us)
        contexts.move(batch, waiting, network.ContextState.READY, BLOCKED)
        return
    # A mismatch is never asked again by itself: three of them block the patient for a day.
    patients.forget_link_token(batch, call.subject)
    _fail_waiting(batch, call.subject, answer.code or NO_TOKEN)


def _is_of(call: network.Call, said: Mapping[str, Any]) -> bool:
    """Whether a token is for the address that was asked for, or for the one that the network makes of the number. One
    that names none is for the call's, by the REQUEST-ID."""
    named = AbhaAddress.read(str(said.get("abhaAddress") or call.body["abhaAddress"]))
    asked, number = AbhaAddress.read(call.body["abhaAddress"]), call.body.get("abhaNumber")
    if named is None or asked is None:
        return False
    return named == asked or (bool(number) and named.text == f"{number}@{asked.domain}")


def _token_late(batch: Batch, ours: AbdmDestination, call: network.Call, answer: network.GatewayAnswer) -> None:
    """The token of a call that has failed, as its patient had left, or it came after all waiting. The network gives no
    other one: where he is known here now, and has none, it is his, and his reports that failed for it go on."""
    said = _body(answer)
    token, known = said.get("linkToken"), patients.by_number(batch, call.subject)
    if answer.verdict is not network.Verdict.TAKEN or not isinstance(token, str) or not token:
        return
    if known is None or known.person is None or known.state is not network.PatientState.KNOWN:
        return
    held = patients.link_token(batch, call.subject)
    is_his = str(said.get("abhaAddress", "")).strip().lower() == known.person.address.lower()
    if not is_his or (held is not None and held.state in (network.TokenState.HELD, network.TokenState.BLOCKED)):
        return
    until_us = _ends_us(batch, token)
    if until_us <= batch.now_us:
        return
    patients.set_link_token(batch, call.subject, network.TokenState.HELD, until_us=until_us, token=token)
    failed = contexts.of_patient(batch, call.subject, network.ContextState.FAILED, AT_ONCE)
    again = [one.number for one in failed if one.reason in (calls.NO_RESULT, GIVEN_BEFORE)]
    contexts.move(batch, again, network.ContextState.READY)
    go_on(batch, ours, call.subject)


def _verified(batch: Batch, call: network.Call) -> None:
    """The network has compared the patient whom a call names: a report does not change him any more."""
    known, said = patients.by_number(batch, call.subject), call.body
    if known is None or known.person is None or known.person.verified:
        return
    number = said.get("abhaNumber") or known.person.number  # the token is for this one
    person = replace(
        known.person, number=number, name=said["name"], gender=said["gender"], year=said["yearOfBirth"], verified=True
    )
    patients.put(batch, known.facility, known.reference, person)


def _is_known(rows: Rows, number: int) -> bool:
    """Whether something may be sent of a patient: he has not left, and no notice says so."""
    patient = patients.by_number(rows, number)
    return patient is not None and patient.state is network.PatientState.KNOWN


def _token_headers(batch: Batch, ours: AbdmDestination, call: network.Call) -> Mapping[str, str] | None:
    """None where the patient may have left."""
    if _is_known(batch, call.subject):
        return {}
    calls.withdraw(batch, call, Hold.LEFT.value)
    patients.forget_link_token(batch, call.subject)
    return None


def _link_headers(batch: Batch, ours: AbdmDestination, call: network.Call) -> Mapping[str, str] | None:
    """None where the patient may have left, there is no token, or a report was dropped meanwhile: the others are linked
    by another call."""
    token = patients.link_token(batch, call.subject)
    is_held = token is not None and token.state is network.TokenState.HELD and token.until_us > batch.now_us
    found = [contexts.by_number(batch, number) for number in call.about["contexts"]]
    are_linking = all(one is not None and one.state is network.ContextState.LINKING for one in found)
    is_known = _is_known(batch, call.subject)
    if token is not None and is_held and are_linking and is_known:
        return {"X-LINK-TOKEN": token.token}
    calls.withdraw(batch, call, Hold.LEFT.value if not is_known else "changed" if is_held else NO_TOKEN)
    contexts.move(batch, call.about["contexts"], network.ContextState.READY)
    go_on(batch, ours, call.subject)
    return None


def _link_ended(batch: Batch, ours: AbdmDestination, call: network.Call, answer: network.GatewayAnswer) -> None:
    numbers = call.about["contexts"]
    if answer.verdict in (network.Verdict.TAKEN, network.Verdict.BEFORE):
        contexts.move(batch, numbers, network.ContextState.LINKED)
        for number in numbers:
            if (context := contexts.by_number(batch, number)) is not None:
                tell(batch, ours, context)
    elif answer.code in WRONG_TOKEN and not any(_was_renewed(batch, number) for number in numbers):
        patients.forget_link_token(batch, call.subject)
        contexts.move(batch, numbers, network.ContextState.READY, RENEWED)
    else:
        contexts.move(batch, numbers, network.ContextState.FAILED, answer.code or "not-linked")
    go_on(batch, ours, call.subject)


def _was_renewed(batch: Batch, number: int) -> bool:
    """Whether a report was given back once already, for a token that did not fit."""
    context = contexts.by_number(batch, number)
    return context is not None and context.reason == RENEWED


def _notice_headers(batch: Batch, ours: AbdmDestination, call: network.Call) -> Mapping[str, str] | None:
    """None where the report is not given out any more, or its patient may have left."""
    context = contexts.by_number(batch, call.subject)
    has_left = context is not None and not _is_known(batch, context.patient)
    if context is not None and context.state is network.ContextState.LINKED and not has_left:
        return {}
    calls.withdraw(batch, call, Hold.LEFT.value if has_left else "changed")
    return None


def _notified(batch: Batch, ours: AbdmDestination, call: network.Call, answer: network.GatewayAnswer) -> None:
    if (
        answer.verdict is network.Verdict.FINAL
        and answer.code == NOT_LINKED_YET
        and call.attempt <= len(NOTICE_WAITS_S)
    ):
        calls.again(batch, call, NOTICE_WAITS_S[call.attempt - 1])
        return
    if answer.verdict in (network.Verdict.TAKEN, network.Verdict.BEFORE):
        contexts.notified(batch, call.subject, call.about["version"])
        contexts.move(batch, [call.subject], network.ContextState.LINKED)
        if (context := contexts.by_number(batch, call.subject)) is not None:
            tell(batch, ours, context)
    else:
        contexts.move(batch, [call.subject], network.ContextState.LINKED, NOT_NOTIFIED)  # the call has the code


def _body(answer: network.GatewayAnswer) -> Mapping[str, Any]:
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
    early_us = max(min(said, end_us) - round(RENEW.total_seconds() * 1_000_000), batch.now_us + 60_000_000)
    return min(early_us, said)


FLOW = Flow(
    calls=(
        CallKind(
            name=TOKEN,
            path="/api/hiecm/v3/token/generate-token",
            names_facility=True,
            result="/v3/hip/token/on-generate-token",
            ended=_token_ended,
            late=_token_late,
            headers=_token_headers,
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
