"""What has left is in the audit trail: the reader, the consent, the reports by number, and no patient."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.abdm.flows import requests
from engine.features.abdm.rows import consents, transfers
from engine.features.abdm.rules.consents import ConsentState
from engine.model.journal.journal_views import Act
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from tests.support.abdm_site import FACILITY
from workbench.abdm.people import PEOPLE

PERMISSION = {
    "dateRange": {"from": "2026-01-01T00:00:00.000Z", "to": "2026-02-01T00:00:00.000Z"},
    "dataEraseAt": "2027-01-01T00:00:00.000Z",
}


def grant(purpose: str) -> str:
    detail = {
        "patient": {"id": PEOPLE[0].address},
        "careContexts": [{"patientReference": "LR-P", "careContextReference": "LR-C"}],
        "purpose": {"code": purpose}, "hip": {"id": FACILITY}, "hiu": {"id": "HIU-1", "name": "Example Hospital"},
        "requester": {"name": PEOPLE[0].name}, "hiTypes": ["DiagnosticReport"], "permission": PERMISSION,
    }  # fmt: skip
    said = {"notification": {"status": "GRANTED", "consentId": "c-1", "consentDetail": detail}}
    return orjson.dumps(said).decode()


def noted(folder: Path, purpose: str, content: Any) -> Act:
    journal = Journal.open(folder, clock=ManualClock())

    def note(batch: Batch) -> None:
        consent = consents.put(batch, "c-1", FACILITY, ConsentState.GRANTED, ends_us=9, content=content)
        number, _ = transfers.take(batch, "t-1", FACILITY, consent=consent, ends_us=9, content={})
        transfers.add_pages(batch, number, [transfers.NewPage(4, 1, b"page"), transfers.NewPage(5, 2, b"page")])
        transfer = transfers.by_number(batch, number)
        assert transfer is not None
        requests.disclosed(batch, transfer, [4])

    try:
        journal.run_alone(note)
        (act,) = acts_page(journal)
    finally:
        journal.close()
    return act


@pytest.mark.parametrize(("purpose", "named"), [("CAREMGT", True), ("PATRQT", False)])
def test_a_disclosure_names_reader_and_consent_and_no_patient(tmp_path: Path, purpose: str, named: bool) -> None:
    act = noted(tmp_path, purpose, [grant(purpose)])

    assert (act.actor, act.verb) == ("labrelay", "abdm-disclosed")
    reader = {"reader_name": "Example Hospital"} if named else {}
    assert act.what == reader | {
        "transfer": 1, "contexts": [4], "consent": "c-1", "transaction": "t-1", "facility": FACILITY,
        "reader": "HIU-1", "purpose": purpose,
    }  # fmt: skip
    said = orjson.dumps(act.what).decode()
    assert PEOPLE[0].name not in said
    assert PEOPLE[0].address not in said


def test_a_disclosure_is_noted_also_where_its_consent_cannot_be_read(tmp_path: Path) -> None:
    act = noted(tmp_path, "CAREMGT", ["{"])

    assert act.what["contexts"] == [4]
    assert act.what["consent"] == "c-1"
    assert "reader" not in act.what
