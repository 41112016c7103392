"""Links that a patient makes from his app.

    1  discover   the app asks for reports that are not linked; those that are his beyond doubt are offered
    2  init       the patient chooses; a code of six digits goes to the mobile in the laboratory's file (`texting`)
    3  confirm    the patient types it; the chosen reports are linked, and his app gets its notice (`linking.tell`)

Reports that nothing can be confirmed of are not offered: without an SMS service, or without a mobile in the file. Each
answer without a match is the same, so that a program that tries identifiers learns nothing. Who is meant is
looked at again at each step: a report may have become another patient's meanwhile.

A transaction is answered once, also where it comes again under another REQUEST-ID.

Sources: NHA's OpenAPI documents of 2026-09-16 (user-initiated linking).
"""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import linking, matching
from engine.features.abdm.flows.flow import CallKind, Flow
from engine.features.abdm.rows import calls, contexts, offers, patients
from engine.features.abdm.rows.offers import Code, Offer
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.links import CODE_DIGITS, Asked, CodeState, hint, mobile_of, six_digits
from engine.features.abdm.rules.network import Call, Callback, ContextState, GatewayAnswer, PatientState, Verdict
from engine.model.errors import CallbackBodyError
from engine.model.process.clock import from_us
from engine.store.core.writing.batch import Batch

ON_DISCOVER, ON_INIT, ON_CONFIRM = "on-discover", "on-init", "on-confirm"
REPEAT = "repeat"
OFFER_US = 30 * 60_000_000  # life of an offer
CODE_US = 10 * 60_000_000  # life of a code
TRIES = 3  # of a code
TEXTS_AN_HOUR = 5  # to one mobile
WRONG_AN_HOUR = 6  # codes for one mobile, in sum
SEARCHES_AN_HOUR = 30  # of one person at one facility
SAME_AGAIN_US = 20_000_000  # within it the same wrong code is the same callback again
MOST_IDENTIFIERS = 20  # of one search
MOST_CHOSEN = 100  # care contexts that one choice names
MOST_SIGNS = 255  # of a text
CODE = "ABDM-1010"
NO_MATCH, AGAIN, WRONG = "No match found", "Please search again", "The code is not right"
DUPLICATE = "ABDM-1108"  # of an on-confirm that had arrived


# -- discover --------------------------------------------------------------------------------------------------------


def discover(batch: Batch, ours: AbdmDestination, callback: Callback) -> str:
    transaction = _text(callback.body, "transactionId", "no-transaction")
    asked = _asked(callback.body)
    if offers.of_transaction(batch, transaction, callback.facility) is not None:
        return REPEAT
    found, reason = _offered(batch, ours, callback.facility, asked)
    answer: dict[str, Any] = {"transactionId": transaction, "response": {"requestId": callback.request_id}}
    content = None
    if found.contexts:
        known = patients.by_address(batch, callback.facility, asked.address)
        reference = known.reference if known is not None else linking.reference()
        content = {
            "asked": _kept(asked),
            "reference": reference,
            "had_left": known is not None and known.state is PatientState.DROPPED,
            "contexts": {str(one.number): one.reference for one in found.contexts},
        }
        answer["patient"] = [linking.listed(ours, reference, found.contexts)]
        answer["matchedBy"] = [one.value for one in found.means]
    else:
        answer["error"] = {"code": CODE, "message": NO_MATCH}
    number = offers.offer(batch, transaction, callback.facility, asked.address, life_us=OFFER_US, content=content)
    calls.queue(batch, callback.facility, ON_DISCOVER, number, answer, ends_us=batch.now_us + OFFER_US)
    return reason


def _offered(batch: Batch, ours: AbdmDestination, facility: str, asked: Asked) -> tuple[matching.Found, str]:
    """What a person is offered, and why it is nothing."""
    if ours.sms is None:
        return matching.Found(), "no-sms"
    if AbhaAddress(asked.address).domain != ours.environment or len(asked.numbers) > 1:
        return matching.Found(), "no-match"
    if offers.searches(batch, facility, asked.address) >= SEARCHES_AN_HOUR:
        return matching.Found(), "too-often"
    found = matching.find(batch, facility, asked)
    if not found.mobile:
        return matching.Found(), "no-mobile" if found.contexts else "no-match"
    return replace(found, contexts=found.contexts[: linking.AT_ONCE]), ""


def _asked(body: Mapping[str, Any]) -> Asked:
    """
    Raises:
        CallbackBodyError: it says not who asks.
    """
    patient = body.get("patient")
    if not isinstance(patient, Mapping):
        raise CallbackBodyError("no-patient")
    address = AbhaAddress.read(_text(patient, "id", "no-address"))
    if address is None:
        raise CallbackBodyError("no-address")
    name, gender = _text(patient, "name", "no-name"), patient.get("gender")
    if gender not in ("M", "F", "O", "D", "T", "U"):
        raise CallbackBodyError("no-gender")
    verified = _identifiers(patient, "verifiedIdentifiers")
    if any(one.lower() != address.text for one in verified["ABHA_ADDRESS"]):
        raise CallbackBodyError("two-addresses")
    typed = _identifiers(patient, "unverifiedIdentifiers")
    numbers = [AbhaNumber.read(one) for one in verified["ABHA_NUMBER"]]
    return Asked(
        address=address.text,
        numbers=frozenset(one.digits for one in numbers if one is not None),
        mobiles=frozenset(mobile for one in verified["MOBILE"] if (mobile := mobile_of(one))),
        own=frozenset([*typed["MR"], *verified["MR"]]),  # the network cannot verify a number of ours
        name=name,
        gender=str(gender),
        year=_year(patient.get("yearOfBirth")),
    )


def _identifiers(patient: Mapping[str, Any], key: str) -> dict[str, list[str]]:
    listed = patient.get(key)
    if listed is None:
        listed = []
    if not isinstance(listed, list) or len(listed) > MOST_IDENTIFIERS:
        raise CallbackBodyError("identifiers")
    found: dict[str, list[str]] = {kind: [] for kind in ("MR", "MOBILE", "ABHA_NUMBER", "ABHA_ADDRESS")}
    for one in listed:
        if not isinstance(one, Mapping) or not isinstance(one.get("type"), str):
            raise CallbackBodyError("identifiers")
        value = one.get("value")
        if one["type"] in found and isinstance(value, str) and 0 < len(value.strip()) <= MOST_SIGNS:
            found[one["type"]].append(value.strip())
    return found


def _year(value: object) -> int:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if len(text) != 4 or not (text.isascii() and text.isdecimal()):
        raise CallbackBodyError("no-year")
    return int(text)


# -- init ------------------------------------------------------------------------------------------------------------


def init(batch: Batch, ours: AbdmDestination, callback: Callback) -> str:
    transaction = _text(callback.body, "transactionId", "no-transaction")
    address = _text(callback.body, "abhaAddress", "no-address").lower()
    named = _chosen(callback.body)
    offer = offers.of_transaction(batch, transaction, callback.facility)
    codes = offers.codes_of(batch, offer.number) if offer is not None else []
    if any(_is_alive(batch, one) for one in codes) or any(one.state is CodeState.LINKED for one in codes):
        return REPEAT
    reason, his = "no-offer", matching.Found()
    if offer is not None and offer.content is not None and batch.now_us < offer.ends_us:
        reason, his = _still_his(batch, ours, offer, address, named)
    if not reason:
        texts, wrong = offers.of_mobile(batch, his.mobile)
        reason = "too-many-sms" if texts >= TEXTS_AN_HOUR else "too-many-wrong" if wrong >= WRONG_AN_HOUR else ""
    if reason or offer is None:
        error = {"code": CODE, "message": AGAIN}
        answer = {"transactionId": transaction, "error": error, "response": {"requestId": callback.request_id}}
        number = offer.number if offer is not None else 0
        calls.queue(batch, callback.facility, ON_INIT, number, answer, ends_us=batch.now_us + OFFER_US)
        return reason
    offers.new_code(
        batch,
        offer,
        str(uuid4()),
        callback.request_id,
        digits=f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}",
        mobile=his.mobile,
        ends_us=batch.now_us + CODE_US,
        content={"contexts": [one.number for one in his.contexts], "hint": hint(his.mobile)},
    )
    return ""


def _chosen(body: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The references of patient and context that are chosen.

    Raises:
        CallbackBodyError: they are no such list.
    """
    listed = body.get("patient")
    if not isinstance(listed, list) or not listed:
        raise CallbackBodyError("no-choice")
    found: set[tuple[str, str]] = set()
    for one in listed:
        inner = one.get("careContexts") if isinstance(one, Mapping) else None
        if not isinstance(inner, list) or not inner or len(inner) > MOST_CHOSEN or len(listed) > MOST_CHOSEN:
            raise CallbackBodyError("no-choice")
        patient = _text(one, "referenceNumber", "no-choice")
        for context in inner:
            if not isinstance(context, Mapping):
                raise CallbackBodyError("no-choice")
            found.add((patient, _text(context, "referenceNumber", "no-choice")))
    return found


def _still_his(
    batch: Batch, ours: AbdmDestination, offer: Offer, address: str, named: Collection[tuple[str, str]]
) -> tuple[str, matching.Found]:
    """Of the chosen reports those that are still his; and why there is none."""
    content, none = offer.content, matching.Found()
    if address != content["asked"]["address"]:
        return "another-patient", none
    offered = {(content["reference"], reference): int(number) for number, reference in content["contexts"].items()}
    if not all(one in offered for one in named):
        return "not-offered", none
    found = _now(batch, ours, offer, {offered[one] for one in named})
    return ("", found) if found.contexts and found.mobile else ("changed", none)


def _now(batch: Batch, ours: AbdmDestination, offer: Offer, numbers: Collection[int]) -> matching.Found:
    """Of these reports those that are his as things are now."""
    content = offer.content
    if ours.sms is None:
        return matching.Found()
    asked = _asked_before(content["asked"])
    known = patients.by_address(batch, offer.facility, asked.address)
    if known is not None and known.state is PatientState.DROPPED and not content["had_left"]:
        return matching.Found()  # he has left the network since he searched
    found = matching.find(batch, offer.facility, asked)
    left = tuple(
        one
        for one in found.contexts
        if one.number in numbers and content["contexts"].get(str(one.number)) == one.reference
    )
    return replace(found, contexts=left)


# -- the SMS (`texting`) ---------------------------------------------------------------------------------------------


def text_sent(batch: Batch, code: Code) -> None:
    """The service has taken the SMS: the app asks for the code."""
    offer = offers.by_number(batch, code.offer)
    if offer is None:
        return
    written = registry.load(ABDM, "times").written(from_us(code.ends_us))
    meta = {"communicationMedium": "MOBILE", "communicationHint": code.content["hint"], "communicationExpiry": written}
    answer = {
        "transactionId": offer.transaction_id,
        "link": {"referenceNumber": code.reference, "authenticationType": "DIRECT", "meta": meta},
        "response": {"requestId": code.request_id},
    }
    calls.queue(batch, code.facility, ON_INIT, offer.number, answer, ends_us=code.ends_us)


def text_failed(batch: Batch, code: Code, reason: str) -> None:
    """The SMS does not go out: the app says so."""
    offers.end(batch, code.number, CodeState.OVER, reason)
    offer = offers.by_number(batch, code.offer)
    if offer is None:
        return
    error = {"code": CODE, "message": "The SMS with the code could not be sent"}
    answer = {"transactionId": offer.transaction_id, "error": error, "response": {"requestId": code.request_id}}
    calls.queue(batch, code.facility, ON_INIT, offer.number, answer, ends_us=batch.now_us + OFFER_US)


# -- confirm ---------------------------------------------------------------------------------------------------------


def confirm(batch: Batch, ours: AbdmDestination, callback: Callback) -> str:
    said = callback.body.get("confirmation")
    if not isinstance(said, Mapping):
        raise CallbackBodyError("no-confirmation")
    reference, token = _text(said, "linkRefNumber", "no-link"), said.get("token")
    if isinstance(token, bool) or not isinstance(token, int | str) or len(str(token)) > MOST_SIGNS:
        raise CallbackBodyError("no-code")
    digits = six_digits(token)
    code = offers.code_by_reference(batch, reference, callback.facility)
    if code is not None and code.state is CodeState.LINKED:
        return REPEAT
    if code is None or code.state is not CodeState.SENT:
        return _refused(batch, callback, AGAIN, "no-link")
    offer = offers.by_number(batch, code.offer)
    if offer is None or offer.content is None or batch.now_us >= code.ends_us:
        offers.end(batch, code.number, CodeState.OVER, "late")
        return _refused(batch, callback, AGAIN, "late")
    if digits and offers.is_as_before(batch, code, digits):
        if batch.now_us < code.typed_us + SAME_AGAIN_US:
            return REPEAT
        return _refused(batch, callback, WRONG, "wrong-code")
    if code.wrong >= TRIES or offers.wrong_of_mobile(batch, code.number) >= WRONG_AN_HOUR:
        offers.end(batch, code.number, CodeState.OVER, "too-many-wrong")
        return _refused(batch, callback, AGAIN, "too-many-wrong")
    if not digits or not offers.is_right(batch, code, digits):
        offers.typed_wrong(batch, code, digits)
        if code.wrong + 1 >= TRIES:
            offers.end(batch, code.number, CodeState.OVER, "too-many-wrong")
        return _refused(batch, callback, WRONG, "wrong-code")
    return _link(batch, ours, callback, offer, code)


def _link(batch: Batch, ours: AbdmDestination, callback: Callback, offer: Offer, code: Code) -> str:
    """The patient has shown who he is: the reports that he chose are his, if they still are."""
    found = _now(batch, ours, offer, code.content["contexts"])
    asked, reference = _asked_before(offer.content["asked"]), offer.content["reference"]
    known = patients.by_address(batch, offer.facility, asked.address)
    if known is None:
        is_same = not patients.is_taken(batch, reference)
    else:
        is_same = known.reference == reference
    if not found.contexts or not is_same:
        offers.end(batch, code.number, CodeState.OVER, "changed")
        return _refused(batch, callback, AGAIN, "changed")
    person = Person(
        address=asked.address,
        number=next(iter(asked.numbers), ""),
        name=asked.name,
        gender=asked.gender,
        year=asked.year,
        mobile=found.mobile,
        patient=found.own,
        verified=True,
    )
    patient = patients.put(batch, offer.facility, reference, person)
    numbers = [one.number for one in found.contexts]
    contexts.link_to(batch, numbers, patient)
    if known is not None and known.state is PatientState.LEAVING:
        linking.go_on(batch, ours, patient)  # he is back
    offers.end(batch, code.number, CodeState.LINKED)
    answer = {
        "patient": [linking.listed(ours, reference, found.contexts)],
        "response": {"requestId": callback.request_id},
    }
    about = {"contexts": numbers, "patient": patient}
    calls.queue(batch, offer.facility, ON_CONFIRM, offer.number, answer, about=about, ends_us=batch.now_us + OFFER_US)
    return ""


def _refused(batch: Batch, callback: Callback, words: str, reason: str) -> str:
    answer = {"error": {"code": CODE, "message": words}, "response": {"requestId": callback.request_id}}
    calls.queue(batch, callback.facility, ON_CONFIRM, 0, answer, ends_us=batch.now_us + OFFER_US)
    return reason


def _confirmed(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    """The gateway has the links; or it refuses them, and the laboratory links the reports by itself: the patient has
    shown that they are his."""
    found = [contexts.by_number(batch, number) for number in call.about.get("contexts", ())]
    linked = [one for one in found if one is not None and one.state is ContextState.LINKED]
    had_come = answer.code == DUPLICATE and "duplicate" in answer.words.lower()
    if answer.verdict in (Verdict.TAKEN, Verdict.BEFORE) or had_come:
        for one in linked:
            linking.tell(batch, ours, one)
    elif linked:
        contexts.move(batch, [one.number for one in linked], ContextState.READY, "not-confirmed")
        linking.go_on(batch, ours, call.about["patient"])


# -- what is shared --------------------------------------------------------------------------------------------------


def _is_alive(batch: Batch, code: Code) -> bool:
    """Whether a code may still be typed."""
    return code.state in (CodeState.WAITING, CodeState.SENDING, CodeState.SENT) and batch.now_us < code.ends_us


def _text(body: Mapping[str, Any], key: str, reason: str) -> str:
    """
    Raises:
        CallbackBodyError: there is none, or it is too long.
    """
    value = body.get(key)
    if not isinstance(value, str) or not 0 < len(value.strip()) <= MOST_SIGNS:
        raise CallbackBodyError(reason)
    return value.strip()


def _kept(asked: Asked) -> dict[str, Any]:
    return {
        "address": asked.address, "numbers": sorted(asked.numbers), "mobiles": sorted(asked.mobiles),
        "own": sorted(asked.own), "name": asked.name, "gender": asked.gender, "year": asked.year,
    }  # fmt: skip


def _asked_before(kept: Mapping[str, Any]) -> Asked:
    sets = {name: frozenset(kept[name]) for name in ("numbers", "mobiles", "own")}
    return Asked(address=kept["address"], name=kept["name"], gender=kept["gender"], year=kept["year"], **sets)


FLOW = Flow(
    callbacks={
        "/v3/hip/patient/care-context/discover": discover,
        "/v3/hip/link/care-context/init": init,
        "/v3/hip/link/care-context/confirm": confirm,
    },
    calls=(
        CallKind(name=ON_DISCOVER, path="/api/hiecm/user-initiated-linking/v3/patient/care-context/on-discover"),
        CallKind(name=ON_INIT, path="/api/hiecm/user-initiated-linking/v3/link/care-context/on-init"),
        CallKind(
            name=ON_CONFIRM, path="/api/hiecm/user-initiated-linking/v3/link/care-context/on-confirm", ended=_confirmed
        ),
    ),
)
