"""Which messages wait for a failed control, of those that come with it, late, processed again, or held already."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.features.quality_control.rows import deciding, reading, sweeping
from engine.features.quality_control.rows.closing import is_unused
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.model.content.facts import packed
from engine.model.content.quality_controls import ControlResult
from engine.model.content.result_times import FINAL_RESULT, ResultGroup
from engine.model.journal.records import Decision, Routed
from engine.model.message import Document, Report
from engine.model.outcome import Outcome, ReadResults
from engine.model.process.clock import ManualClock, from_us
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import decisions
from tests.engine.features.quality_control.test_laboratories import transaction
from tests.histories.samples.judged import facts_of
from tests.support.journals import NOW_US, WINDOW_S, received

BY = {"actor": "Asha", "reason": "the insert"}
MINUTE = 60_000_000
COPY = Routed(document=Document(body=b"MSH|", media_type="x-application/hl7-v2+er7"), destinations=("copies",))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal.open(tmp_path, clock=ManualClock(from_us(NOW_US)))) as found:
        yield found


def list_controls(
    journal: Journal, number: str = "QC", *, targets: bool = True, tests: Sequence[str] = ("GLU", "K")
) -> None:
    lots = [Lot("chem", number, "Chemtrol", "L1", "A7")]
    journal.run_alone(lambda batch: deciding.load(batch, lots, [], file="controls.csv", **BY))
    if targets:
        rows = [TargetRow("chem", "", test, "L1", "A7", "mg/dL", "100", "5", "lab") for test in tests]
        journal.run_alone(lambda batch: deciding.load(batch, [], rows, file="targets.csv", **BY))
        ids = [one.id for one in reading.list_targets(journal)]
        journal.run_alone(lambda batch: deciding.accept(batch, ids, IN_FORCE, 1, **BY))


def at(minute: int) -> int:
    return NOW_US + (minute - 1000) * MINUTE


def control(value: str, minute: int, test: str = "GLU") -> ControlResult:
    return ControlResult(test=test, codes=(test,), number="QC", value=value, unit="mg/dL", at_us=at(minute))


def results(*tests: str, minute: int, specimen: str = "S1") -> ResultGroup:
    return ResultGroup("MR1", specimen, 0, at(minute), FINAL_RESULT, tests, tests)


def record(journal: Journal, minute: int, outcome: Outcome, *routes: Routed) -> int:
    def both(batch: Batch) -> int:
        stored = append.store_message(batch, received(b"%d" % minute, at_us=at(minute)), repeat_window_s=WINDOW_S)
        record_outcome.record(batch, stored.id, outcome, routes)
        return stored.id

    return journal.run_alone(both)


def measure(journal: Journal, value: str, minute: int) -> None:
    record(journal, minute, Outcome("filtered", ReasonCode.QUALITY_CONTROL, controls=(control(value, minute),)))


def patient(journal: Journal, minute: int, *, measured: int = 0, test: str = "GLU") -> int:
    return record(journal, minute, Outcome("mapped", results=(results(test, minute=measured or minute),)), COPY)


def again(journal: Journal, message: int, outcome: Outcome, *routes: Routed) -> None:
    decision = Decision(again=True)
    journal.run_alone(lambda batch: record_outcome.record(batch, message, outcome, routes, decision=decision))


def deliveries(journal: Journal, message: int) -> list[tuple[str, str]]:
    """State and cause of those that were not replaced."""
    with journal.snapshot() as execute:
        return execute(
            "SELECT state, cause FROM delivery WHERE message_id = ? AND state <> 'superseded' ORDER BY id", (message,)
        ).fetchall()


def looks(journal: Journal) -> list[int]:
    return [
        one.message for failure in reading.list_failures(journal) for one in reading.list_looks(journal, failure.id)
    ]


HELD, WAITING = [("held", "CONTROL_FAILED")], [("waiting", "")]


def fail_and_close(journal: Journal) -> None:
    """A control is accepted at 100, fails at 200, and its repeat is accepted at 300; a person closes the run then."""
    for value, minute in (("100", 100), ("130", 200), ("101", 300)):
        measure(journal, value, minute)
    (failure,) = reading.list_failures(journal)
    journal.run_alone(lambda batch: deciding.open_test(batch, failure.id, cause="air", action="primed", **BY))


def test_patients_in_one_message_with_the_control_that_fails_wait(journal: Journal) -> None:
    list_controls(journal)
    outcome = Outcome("mapped", results=(results("GLU", minute=99),), controls=(control("130", 98),))
    assert deliveries(journal, record(journal, 100, outcome, COPY)) == HELD


def test_a_result_that_was_measured_while_its_control_failed_waits_also_where_it_comes_later(journal: Journal) -> None:
    list_controls(journal)
    fail_and_close(journal)
    assert deliveries(journal, patient(journal, 310, measured=250)) == HELD
    assert deliveries(journal, patient(journal, 320, measured=150)) == HELD
    assert deliveries(journal, patient(journal, 330, measured=99)) == WAITING
    assert deliveries(journal, patient(journal, 340, measured=301)) == WAITING
    assert deliveries(journal, patient(journal, 350, measured=250, test="K")) == WAITING


def test_a_held_result_that_is_processed_again_after_the_run_is_closed_waits_for_its_release(journal: Journal) -> None:
    list_controls(journal)
    for value, minute in (("100", 100), ("130", 200)):
        measure(journal, value, minute)
    held = patient(journal, 250)
    measure(journal, "101", 300)
    (failure,) = reading.list_failures(journal)
    journal.run_alone(lambda batch: deciding.open_test(batch, failure.id, cause="air", action="primed", **BY))
    again(journal, held, Outcome("mapped", results=(results("GLU", minute=250),)), COPY)
    assert deliveries(journal, held) == HELD


@pytest.mark.parametrize("decide", [decisions.release, decisions.reject, None])
def test_a_result_that_waited_and_was_released_is_listed_where_the_next_control_fails(
    journal: Journal, decide: Callable[[Batch, int], bool] | None
) -> None:
    """It was measured after the repeat, before a person had closed the failed run."""
    list_controls(journal)
    for value, minute in (("100", 100), ("130", 200), ("101", 300)):
        measure(journal, value, minute)
    held = patient(journal, 310)
    assert deliveries(journal, held) == HELD
    (failure,) = reading.list_failures(journal)
    journal.run_alone(lambda batch: deciding.open_test(batch, failure.id, cause="air", action="primed", **BY))
    with journal.snapshot() as execute:
        (delivery,) = execute("SELECT id FROM delivery WHERE message_id = ?", (held,)).fetchone()
    if decide is not None:
        journal.run_alone(lambda batch: decide(batch, delivery))
    measure(journal, "131", 400)
    assert looks(journal) == ([held] if decide is decisions.release else [])


def test_a_result_without_a_time_is_listed_where_the_clock_of_the_analyzer_is_ahead(journal: Journal) -> None:
    """Its controls are measured nine hours after they came."""
    list_controls(journal)
    ahead = 9 * 60
    for came, value in ((100, "100"), (200, "130")):
        outcome = Outcome("filtered", ReasonCode.QUALITY_CONTROL, controls=(control(value, came + ahead),))
        record(journal, came, outcome)
        if came == 100:
            sent = patient(journal, 150)
            (test,) = reading.list_tests(journal)
            assert test.patients == 1
    assert looks(journal) == [sent]


@pytest.mark.parametrize(
    ("accepted", "patients", "left"),
    [
        ((-60,), (-70, -50, -40), (-50, -40)),  # days; the next control is late
        ((-60, -1), (-70, -50, -40), (-40,)),
        ((), (-130, -110), (-110,)),
    ],
)
def test_results_since_the_last_accepted_control_are_kept_for_the_next_one(
    journal: Journal, accepted: tuple[int, ...], patients: tuple[int, ...], left: tuple[int, ...]
) -> None:
    list_controls(journal)
    day = 24 * 60
    for days in accepted:
        measure(journal, "100", 1000 + days * day)
    sent = {patient(journal, 1000 + days * day): days for days in patients}
    assert journal.run_alone(sweeping.sweep_bracket)
    measure(journal, "130", 1000)
    with journal.snapshot() as execute:
        kept = execute("SELECT message_id FROM qc_bracket ORDER BY message_id").fetchall()
    assert tuple(sent[message] for (message,) in kept) == left


@pytest.mark.parametrize("targets", [False, True])
def test_a_tube_with_the_number_of_a_control_waits_before_there_are_targets(journal: Journal, *, targets: bool) -> None:
    list_controls(journal, "PCCC*", targets=targets)
    outcome = Outcome("mapped", results=(results("GLU", minute=1, specimen="PCCC1"),))
    assert deliveries(journal, record(journal, 1, outcome, COPY)) == [("held", "CONTROL_NUMBER")]


def test_nothing_is_asked_of_a_message_until_the_first_lot_is_taken(journal: Journal) -> None:
    outcome = Outcome("mapped", results=(results("GLU", minute=1, specimen="QC"),))
    assert deliveries(journal, record(journal, 1, outcome, COPY)) == WAITING
    asked: list[str] = []

    def listened(batch: Batch) -> bool:
        execute = batch.execute
        batch.execute = lambda statement, *values: asked.append(statement) or execute(statement, *values)  # type: ignore[method-assign]
        return is_unused(batch)

    assert journal.run_alone(listened)
    assert asked == []
    list_controls(journal)
    assert deliveries(journal, record(journal, 2, outcome, COPY)) == [("held", "CONTROL_NUMBER")]


def test_a_lot_of_any_number_holds_no_tube(journal: Journal) -> None:
    list_controls(journal, "*")
    assert deliveries(journal, patient(journal, 1)) == WAITING


def test_a_message_whose_results_are_not_known_is_looked_at(journal: Journal) -> None:
    """One of a text format: each test of its analyzer may be in it."""
    list_controls(journal)
    measure(journal, "100", 100)
    sent = record(journal, 150, Outcome("mapped"), COPY)
    measure(journal, "130", 200)
    (failure,) = reading.list_failures(journal)
    assert [one.message for one in reading.list_looks(journal, failure.id)] == [sent]
    assert deliveries(journal, record(journal, 250, Outcome("mapped"), replace(COPY))) == HELD


def test_a_document_that_waits_for_another_reason_is_not_divided(journal: Journal) -> None:
    """Each part of it would be released by itself."""
    list_controls(journal)
    tests = ("GLU", "K")
    report = Report(key=b"k" * 16, patient=b"p" * 16)

    def sent(minute: int, status: str) -> int:
        body = transaction(1, [*tests]).replace(b'"final"', b'"%s"' % status.encode())
        routed = Routed(document=Document(body=body, reports=(report,)), destinations=("fhir",))
        said = "".join(f"OBX|{n}|NM|{test}||5||||||{status[0].upper()}\r" for n, test in enumerate(tests, 1))
        text = f"MSH|^~\\&|A|L|H|H|20260301||ORU^R01|1|P|2.5\rPID|1||4711\rOBR|1||S1|P\r{said}"
        read = ReadResults(packed(facts_of(text.encode(), "hl7")), "results-hl7@1")
        return record(journal, minute, Outcome("mapped", results=(results(*tests, minute=minute),), read=read), routed)

    sent(100, "final")
    measure(journal, "130", 200)
    assert deliveries(journal, sent(250, "preliminary")) == [("held", "STATUS_BACK")]


@pytest.mark.parametrize("test", ["717/", "717/10", "^^^717/3"])
def test_a_diluted_result_is_of_the_test_of_its_control(journal: Journal, test: str) -> None:
    """A Roche cobas writes the dilution behind the code, and a control is measured without one."""
    list_controls(journal, tests=("717/", "71/"))
    record(journal, 1, Outcome("filtered", controls=(control("100", 1, "717/"),)))
    sent = patient(journal, 2, test=test)
    record(journal, 99, Outcome("filtered", controls=(control("130", 99, "717/"),)))
    (failure,) = reading.list_failures(journal)
    assert [one.message for one in reading.list_looks(journal, failure.id)] == [sent]
    assert deliveries(journal, patient(journal, 100, test=test)) == HELD
    assert deliveries(journal, patient(journal, 101, test="71/10")) == WAITING


def test_a_late_result_of_the_first_of_two_failures_waits_although_a_control_between_them_was_accepted(
    journal: Journal,
) -> None:
    list_controls(journal)
    for value, minute in (("100", 100), ("130", 200), ("101", 300), ("70", 400), ("99", 500)):
        measure(journal, value, minute)
    (failure,) = reading.list_failures(journal)
    journal.run_alone(lambda batch: deciding.open_test(batch, failure.id, cause="air", action="primed", **BY))
    assert deliveries(journal, patient(journal, 600, measured=250)) == HELD
    assert deliveries(journal, patient(journal, 601, measured=501)) == WAITING
