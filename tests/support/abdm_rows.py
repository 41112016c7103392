"""Rows of ABDM with something of each kind, for tests of what people and programs see of them."""

from typing import Any

import orjson

from engine.features.abdm.flows import linking
from engine.features.abdm.rows import callbacks, calls, consents, contexts, patients, transfers
from engine.features.abdm.rules.abha import AbhaNumber
from engine.features.abdm.rules.care_contexts import Gone, Hold, Wait
from engine.features.abdm.rules.consents import ConsentState, Refusal
from engine.features.abdm.rules.network import ContextState, PageState, TransferState
from engine.model.process.clock import from_us
from engine.store.core.writing.batch import Batch
from tests.support.abdm_consents import grant
from tests.support.abdm_site import FACILITY, person, report

WEST = "IN0000000002"
LINKED, COUNTED, FAILED, MOVED, SAME_NUMBER, OF_WEST = range(1, 7)  # care contexts
GRANTED, SUSPENDED, REVOKED, OWN = range(1, 5)  # consents
SENT, REFUSED = 1, 2  # requests for records
IDS = {GRANTED: "c-1", SUSPENDED: "c-2", REVOKED: "c-3", OWN: "c-4"}
DOCTOR, APP = "Dr. Kavitha Menon", "Meera at her own app"


def fill(batch: Batch) -> None:
    """Six care contexts of two laboratories, four consents, two requests, calls and callbacks."""
    meera, arjun = (patients.put(batch, FACILITY, f"LR-P{n}", person(n)) for n in range(2))
    contexts.put(batch, report("A-1", reference="LR-C0", patient=meera))
    contexts.put(batch, report("A-1", message_id=2))
    contexts.move(batch, [LINKED], ContextState.LINKED)
    contexts.notified(batch, LINKED, 1)
    contexts.put(batch, report("A-2", message_id=3, content={"display": "Lab report", "patient": reported()}))
    contexts.hold(batch, COUNTED, Wait.COUNTED)
    contexts.put(batch, report("A-3", message_id=4, patient=arjun))
    contexts.move(batch, [FAILED], ContextState.FAILED, "ABDM-1036")
    contexts.put(batch, report("A-4", message_id=5, patient=arjun))
    contexts.withdraw(batch, MOVED, Gone.MOVED)
    contexts.put(batch, report("A-5", message_id=5))
    contexts.hold(batch, SAME_NUMBER, Hold.SAME_NUMBER)
    in_west = patients.put(batch, WEST, "LR-P9", person())
    contexts.put(batch, report("A-6", facility=WEST, message_id=5, patient=in_west))
    now = from_us(batch.now_us)
    said = {
        GRANTED: grant(now, IDS[GRANTED], requester={"name": DOCTOR}),
        SUSPENDED: grant(now, IDS[SUSPENDED]),
        OWN: grant(now, IDS[OWN], purpose={"code": "PATRQT"}, hiu={"id": "HIU-2", "name": APP}),
    }
    for number, consent_id in IDS.items():
        state = ConsentState.REVOKED if number == REVOKED else ConsentState.GRANTED
        content = [orjson.dumps(said[number]).decode()] if number in said else None
        ends_us = batch.now_us + 86_400_000_000
        assert number == consents.put(
            batch, consent_id, FACILITY, state, patient=meera, ends_us=ends_us, content=content
        )
    consents.suspend(batch, SUSPENDED)
    left = {"LR-C0": Refusal.RANGE.value, "LR-none": "absent"}
    transfers.take(batch, "t-1", FACILITY, consent=GRANTED, ends_us=1, content={"left": left})
    transfers.add_pages(batch, SENT, [transfers.NewPage(LINKED, 1, b"page"), transfers.NewPage(FAILED, 2, b"page")])
    transfers.begin_page(batch, SENT, 1)
    transfers.set_page(batch, SENT, 1, PageState.DELIVERED, status=202)
    transfers.set_page(batch, SENT, 2, PageState.FAILED, reason="patient_left")
    transfers.move(batch, SENT, TransferState.ENDED)
    consents.serve(batch, GRANTED)
    transfers.take(batch, "t-2", FACILITY, consent=GRANTED, ends_us=1, content={})
    transfers.move(batch, REFUSED, TransferState.REFUSED, Refusal.FREQUENCY.value)
    body = {"abhaAddress": person().address}
    calls.queue(batch, FACILITY, linking.TOKEN, meera, body)
    failed = calls.by_number(batch, calls.queue(batch, FACILITY, linking.NOTIFY, LINKED, body))
    assert failed is not None
    calls.withdraw(batch, failed, "ABDM-1022")
    callbacks.store(batch, "/v3/consent/request/hip/notify", FACILITY, "r-1", b"{", 0)
    callbacks.fold(batch, 1, lambda rows, callback: "")
    callbacks.store(batch, "/v3/links/context/on-notify", FACILITY, "r-2", b"{}", 0)
    callbacks.fold(batch, 2, lambda rows, callback: "")


def reported(n: int = 2) -> dict[str, Any]:
    """A patient as a report has him."""
    one = person(n)
    found = [("ABHA", one.address), *((("HIN", one.number),) if one.number else ())]
    return {
        "identifier": [{"type": {"coding": [{"code": kind}]}, "value": text} for kind, text in found],
        "name": [{"text": one.name}],
        "telecom": [{"system": "phone", "value": one.mobile}],
    }


def secrets() -> set[str]:
    """Each text of the patients that may be in no view."""
    found = {DOCTOR, APP}
    for n in range(4):
        one = person(n)
        found |= {one.name, *(word for word in one.name.split() if len(word) > 3)}
        found |= {one.address, one.address.partition("@")[0], one.mobile, one.number}
        found |= {AbhaNumber(one.number).dashed} if one.number else set()
    return {one for one in found if one}
