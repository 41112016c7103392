"""One person has one ABHA number and may have several addresses. A report that names the number alone is linked to the
address that the network makes of it; the app may grant under another one. Who is the same person is sure only where the
network, or a person by the card, has said the number with each address. From the table of docs/abdm.md ("Consents").
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.features.abdm.flows import consents as flow
from engine.features.abdm.flows import pages
from engine.features.abdm.rows import consents, contexts, patients
from engine.features.abdm.rules.consents import Artefact, DataRequest, Period
from engine.features.abdm.rules.network import ContextState
from engine.model.process.clock import ManualClock, to_us
from engine.store.core.writing.batch import Batch
from engine.store.queries.reader import Rows
from tests.support.abdm_consents import DAY, Desk
from tests.support.abdm_site import FACILITY, leave, person, report

WEST = "IN0000000002"
NUMBER = str(person(0).number)
MADE, OWN = f"{NUMBER}@sbx", "meera.own@sbx"
OTHER = person(1)


class Row(NamedTuple):
    """A patient at ABDM."""

    address: str
    number: str = NUMBER
    verified: bool = True
    facility: str = FACILITY
    more: dict[str, Any] = {}  # noqa: RUF012 - a constant
    left: bool = False


# Name -> the patient of the report, another row, the address of the consent, whether the report goes.
TABLE: dict[str, tuple[Row, Row | None, str, bool]] = {
    "its own address": (Row(OWN, verified=False), None, OWN, True),
    "the address of the number": (Row(MADE, verified=False), None, MADE, True),
    "another address of a number that is verified": (Row(MADE), Row(OWN), OWN, True),
    "and the other way round": (Row(OWN), Row(MADE), MADE, True),
    "the address of a number that is verified": (Row(OWN), None, MADE, True),
    "two addresses that are not made of the number": (Row("meera.two@sbx"), Row(OWN), OWN, True),
    "an address that is not known here": (Row(MADE), None, OWN, False),
    "of which a report alone has the number": (Row(MADE), Row(OWN, verified=False), OWN, False),
    "the report's patient is not verified": (Row(MADE, verified=False), Row(OWN), OWN, False),
    "the number of a report alone": (Row(OWN, verified=False), None, MADE, False),
    "no number": (Row(OWN, number=""), None, MADE, False),
    "of another number": (Row(MADE), Row(OWN, number=str(OTHER.number)), OWN, False),
    "without a number": (Row(MADE), Row(OWN, number=""), OWN, False),
    "of another name, gender and year": (
        Row(MADE), Row(OWN, more={"name": OTHER.name, "gender": OTHER.gender, "year": OTHER.year - 9}), OWN, False),
    "of another laboratory": (Row(MADE), Row(OWN, facility=WEST), OWN, False),
    "of one who has left": (Row(MADE), Row(OWN, left=True), OWN, False),
    "another person's": (Row(MADE), Row(OTHER.address, number=str(OTHER.number)), OTHER.address, False),
}  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, ManualClock(), fill=False)
    yield made
    made.journal.close()


def put(batch: Batch, reference: str, row: Row) -> int:
    said = {"address": row.address, "number": row.number, "verified": row.verified} | row.more
    number = patients.put(batch, row.facility, reference, person(0, **said))
    if row.left:
        patients.drop(batch, number)
    return number


def fill(desk: Desk, row: Row, other: Row | None) -> None:
    def written(batch: Batch) -> None:
        issued_us = to_us(desk.began - DAY)
        new = report("A-0", reference="LR-C0", patient=put(batch, "LR-P0", row), issued_us=issued_us)
        contexts.move(batch, [contexts.put(batch, new)], ContextState.LINKED)
        if other is not None:
            put(batch, "LR-P9", other)

    desk.journal.run_alone(written)


def chosen(desk: Desk) -> Any:
    """What a request under the consent gets: its reports, and why others stay."""
    request = DataRequest(
        transaction_id="t-0", consent_id="c-1", push_url="https://x.example", key_material={},
        period=Period(desk.began - 2 * DAY, desk.began),
    )  # fmt: skip
    with desk.journal.snapshot() as execute:
        rows = Rows(execute, desk.journal.vault)
        kept = consents.by_id(rows, "c-1")
        assert kept is not None
        artefact = flow.artefact(kept)
        assert isinstance(artefact, Artefact)
        sent, left = pages.chosen(rows, artefact, request)
        return [one.context.reference for one in sent], left


@pytest.mark.parametrize("name", TABLE)
def test_under_which_address_a_report_goes(desk: Desk, name: str) -> None:
    row, other, address, goes = TABLE[name]
    fill(desk, row, other)
    desk.notice(desk.grant(patient={"id": address}))

    assert (desk.refusal() is None) == goes
    assert desk.consent() == ("GRANTED", "" if goes else "other_patient")
    assert chosen(desk) == ((["LR-C0"], {}) if goes else ([], {"LR-C0": "other_patient"}))


@pytest.mark.parametrize("by", ["the report's", "the consent's"])
@pytest.mark.parametrize("name", [name for name, (*_, goes) in TABLE.items() if goes])
def test_a_patient_who_leaves_by_either_address_ends_it(desk: Desk, name: str, by: str) -> None:
    row, other, address, _ = TABLE[name]
    fill(desk, row, other)
    desk.notice(desk.grant(patient={"id": address}))
    left = row.address if by == "the report's" else address
    desk.journal.run_alone(leave, left, FACILITY)
    assert desk.consent() == ("REVOKED", "left")
    assert desk.journal.rows("SELECT state FROM abdm_context") == [("dropped",)]


def test_a_grant_that_is_sent_again_once_its_patient_is_known_is_in_force(desk: Desk) -> None:
    """The remedy of docs/abdm.md: the patient scans the code at the counter. And when he leaves, it ends."""
    fill(desk, Row(MADE), None)
    grant = desk.grant(patient={"id": OWN})
    desk.notice(grant)
    assert desk.consent() == ("GRANTED", "other_patient")
    desk.journal.run_alone(put, "LR-P9", Row(OWN))
    desk.notice(grant)
    assert desk.consent() == ("GRANTED", "")
    assert desk.refusal() is None
    desk.notice(grant)
    assert desk.journal.rows("SELECT patient FROM abdm_consent") == [(2,)]
    desk.journal.run_alone(leave, OWN, FACILITY)
    assert desk.consent() == ("REVOKED", "left")
