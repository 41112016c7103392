"""No value of ABDM's parts shows a patient, a secret or a key in its text, which an error might quote."""

import dataclasses
from typing import Any

import pytest

from engine.features.abdm.flows.pages import Choice, Ready
from engine.features.abdm.flows.turns import Turn
from engine.features.abdm.rows import consents, contexts, offers, patients, transfers
from engine.features.abdm.rules.care_contexts import Person, Report
from engine.features.abdm.rules.consents import Artefact, DataRequest, Notice
from engine.features.abdm.rules.links import Asked, Held
from engine.features.abdm.rules.network import Attempt, Call, Callback, GatewayAnswer
from engine.features.abdm.rules.shares import Profile, Shared
from engine.features.abdm.wire.documents import Prepared
from engine.features.abdm.wire.fidelius import Agreement
from engine.features.abdm.wire.verdicts import GatewayFault

SECRETS: dict[type, set[str]] = {
    Prepared: {"body"},
    GatewayFault: {"message"},
    Agreement: {"secret", "key"},
    Choice: {"person"},
    Ready: {"body"},
    Turn: {"address"},
    Attempt: {"headers"},
    Call: {"body"},
    Callback: {"body", "raw"},
    GatewayAnswer: {"words", "body"},
    Asked: {"address", "numbers", "mobiles", "own", "name", "gender", "year"},
    Held: {"addresses", "numbers", "own", "mobile", "name", "gender", "year"},
    Person: {"name", "gender", "birth_year"},
    Report: {"own_numbers", "own_number", "name", "gender", "birth_year", "mobiles", "accession"},
    Artefact: {"reader_name"},
    DataRequest: {"push_url", "key_material"},
    Notice: {"signature"},
    Profile: {one.name for one in dataclasses.fields(Profile)},
    Shared: {"profile"},
    consents.KeptConsent: {"content"},
    contexts.Context: {"content"},
    contexts.NewReport: {"content", "report", "accession"},
    offers.Offer: {"content"},
    offers.Code: {"code", "typed", "content"},
    offers.Text: {"mobile", "digits"},
    patients.Person: {"address", "number", "name", "gender", "year", "mobile", "patient"},
    patients.Patient: {"person"},
    patients.LinkToken: {"token"},
    transfers.KeptTransfer: {"content"},
    transfers.NewPage: {"body"},
    transfers.KeptPage: {"body"},
}
MARK = "Meera-91100000000016"


@pytest.mark.parametrize("kind", SECRETS, ids=lambda kind: kind.__qualname__)
def test_no_value_shows_a_patient_or_a_secret_in_its_text(kind: Any) -> None:
    one = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(one, field.name, MARK if field.name in SECRETS[kind] else 0)
    assert {field.name for field in dataclasses.fields(kind)} >= SECRETS[kind]
    assert MARK not in repr(one)
