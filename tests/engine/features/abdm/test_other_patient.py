"""An issue of a report that names another patient than the one before: the first patient's report is taken away, also
where it cannot be found by the laboratory's number. From the tables of docs/abdm.md ("Care contexts").
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import reports
from engine.features.abdm.rows import contexts
from engine.features.abdm.rules.network import ContextState
from engine.model.process.clock import ManualClock
from engine.model.values import changed
from engine.store.core.writing.batch import Batch
from tests.support.abdm_consents import Desk
from tests.support.abdm_site import FACILITY, issue, person, report


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, ManualClock(), fill=False)
    yield made
    made.journal.close()


def keep(batch: Batch, ours: AbdmDestination, message: int, who: int, accession: str, name: str, corrects: bool) -> int:
    """An issue of a document arrives; by its ABHA it is this person's."""
    came = reports.Arrival(facility=FACILITY, channel="chem", message_id=message, document_id=message)
    said = issue(report(name, message_id=message), person(who))
    said = changed(said, accession=accession, patient="p", is_correction=corrects)
    number: int = reports.keep(batch, ours, came, said)
    return number


def states(desk: Desk) -> list[tuple[int, str, str]]:
    return desk.journal.rows("SELECT patient, state, reason FROM abdm_context ORDER BY number")


@pytest.mark.parametrize("accession", ["A-1", ""], ids=["number", "no number"])
@pytest.mark.parametrize("corrects", [True, False], ids=["corrects", "does not say so"])
@pytest.mark.parametrize("others", [0, reports.MOST_OF_NUMBER])
def test_it_is_given_to_the_first_patient_no_more(desk: Desk, accession: str, corrects: bool, others: int) -> None:
    first = desk.journal.run_alone(keep, desk.ours, 1, 0, accession, "R", False)
    desk.journal.run_alone(contexts.move, [first], ContextState.LINKED)
    for n in range(others):  # of other days, with the same number
        later = desk.journal.run_alone(keep, desk.ours, n + 2, 0, accession, f"R-{n}", False)
        desk.journal.run_alone(contexts.move, [later], ContextState.LINKED)
    desk.journal.run_alone(keep, desk.ours, others + 2, 1, accession, "R", corrects)
    found = states(desk)
    if corrects:
        assert (found[0], found[-1][:2]) == ((1, "dropped", "moved"), (2, "ready"))
    else:
        assert (found[0], found[-1]) == ((1, "waiting", "same_number"), (0, "waiting", "same_number"))


@pytest.mark.parametrize("accession", ["A-1", ""], ids=["number", "no number"])
def test_one_that_a_person_has_withdrawn_stays_so(desk: Desk, accession: str) -> None:
    first = desk.journal.run_alone(keep, desk.ours, 1, 0, accession, "R", False)
    desk.journal.run_alone(contexts.withdraw, first, "withdrawn")
    desk.journal.run_alone(keep, desk.ours, 2, 1, accession, "R", True)
    assert states(desk) == [(1, "dropped", "withdrawn"), (0, "waiting", "same_number")]
