"""Random laboratories: while a test is closed none of its results goes out, and each that went out before is listed.

Controls pass and fail, patients come with some tests or all, people close failed runs. Documents go to a FHIR server,
and as copies to a place where they wait and to one where they do not.
"""

import os
import random
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from engine.features.orders.exchange import taking
from engine.features.quality_control.rows import deciding, reading
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.model.content.order_results import TubeResults
from engine.model.content.quality_controls import ControlResult
from engine.model.content.result_times import FINAL_RESULT, ResultGroup
from engine.model.journal.records import Routed
from engine.model.message import Document, Report
from engine.model.orders import OrderLine
from engine.model.outcome import Outcome
from engine.model.packing import unpack
from engine.model.process.clock import ManualClock, from_us
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import ResultOf, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from tests.support.journals import NOW_US, WINDOW_S, received

BY = {"actor": "Asha", "reason": "the insert"}
TESTS = ("GLU", "CREA", "K")
MINUTE = 60_000_000
RAW = "x-application/hl7-v2+er7"


def transaction(number: int, tests: list[str]) -> bytes:
    """A report with these results."""
    names = {test: f"{number:08}-0000-8000-a000-{place:012}" for place, test in enumerate(tests)}
    results = [
        {
            "fullUrl": f"urn:uuid:{name}",
            "resource": {
                "resourceType": "Observation", "id": name, "status": "final",
                "code": {"coding": [{"system": "urn:of:chem", "code": test}]},
                "effectiveDateTime": "2026-03-01T09:45:00Z", "valueQuantity": {"value": 5.1, "unit": "mg/dL"},
            },
            "request": {"method": "PUT", "url": f"Observation/{name}"},
        }
        for test, name in names.items()
    ]  # fmt: skip
    report = {
        "fullUrl": f"urn:uuid:{number:08}-1111-8000-a000-000000000000",
        "resource": {
            "resourceType": "DiagnosticReport", "id": f"{number:08}-1111-8000-a000-000000000000", "status": "final",
            "code": {"text": "Chemistry"}, "result": [{"reference": f"urn:uuid:{name}"} for name in names.values()],
        },
        "request": {"method": "PUT", "url": f"DiagnosticReport/{number:08}-1111-8000-a000-000000000000"},
    }  # fmt: skip
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [*results, report]})


class Laboratory:
    """One analyzer, with what is to be true of its results."""

    def __init__(self, journal: Journal, seed: int) -> None:
        self.journal = journal
        self.rng = random.Random(seed)
        self.minute = self.number = 0
        self.closed: set[str] = set()
        self.held: dict[int, set[str]] = {}  # message -> its tests that wait
        self.went: dict[int, set[str]] = {}  # ... and that went out
        self.accepted = dict.fromkeys(TESTS, 0)  # when the last accepted run began
        self.looks: dict[str, set[int]] = {test: set() for test in TESTS}  # of each open failure
        self.times: dict[int, int] = {}

    @property
    def now_us(self) -> int:
        return NOW_US - (3000 - self.minute) * MINUTE

    def record(self, outcome: Outcome, routes: list[Routed]) -> int:
        self.number += 1
        said = received(b"%d" % self.number, at_us=self.now_us)

        def both(batch: Batch) -> int:
            stored = append.store_message(batch, said, repeat_window_s=WINDOW_S)
            record_outcome.record(batch, stored.id, outcome, routes)
            return stored.id

        return self.journal.run_alone(both)

    def control(self) -> None:
        self.minute += 31  # each is a run
        test = self.rng.choice(TESTS)
        is_good = self.rng.random() < 0.6
        value = self.rng.choice(("100", "101", "99", "111", "<1")) if is_good else self.rng.choice(("116", "84", "140"))
        one = ControlResult(
            test=test, codes=(test,), number="QC", value=value, unit="mg/dL", at_us=self.now_us, mark="role"
        )
        self.record(Outcome("filtered", ReasonCode.QUALITY_CONTROL, controls=(one,)), [])
        verdict = next(row.verdict for row in reading.list_tests(self.journal) if row.test == test)
        if verdict == "reject" and test not in self.closed:
            self.closed.add(test)
            since = self.accepted[test]
            self.looks[test] = {n for n, tests in self.went.items() if test in tests and self.times[n] >= since}
        elif verdict in ("accept", "warn"):
            self.accepted[test] = self.now_us

    def patient(self) -> None:
        tests = self.rng.sample(TESTS, self.rng.randint(1, 3))
        number = self.number
        report = Report(key=b"%012d" % number + b"\0" * 4, patient=b"%016d" % number)
        body = transaction(number, tests)
        routes = [
            Routed(document=Document(body=body, reports=(report,)), destinations=("fhir",)),
            Routed(document=Document(body=b"MSH|", media_type=RAW), destinations=("copies",)),
            Routed(document=Document(body=b"MSH|", media_type=RAW), destinations=("archive",), passes=True),
        ]
        group = ResultGroup("MR1", f"S{number}", 0, self.now_us, FINAL_RESULT, tuple(tests), tuple(tests))
        critical = self.rng.random() < 0.2
        outcome = Outcome("mapped", results=(group,), critical=(1,) if critical else ())
        message = self.record(outcome, routes[: self.rng.randint(1, 3)] if self.rng.random() < 0.5 else routes)
        self.times[message] = self.now_us
        self.held[message] = set(tests) & self.closed
        self.went[message] = set(tests) - self.closed
        if "archive" in self.states(message):
            for test in self.held[message]:
                self.looks[test].add(message)
        self.check(message, tests)

    def states(self, message: int) -> dict[str, list[tuple[str, bytes]]]:
        found: dict[str, list[tuple[str, bytes]]] = {}
        with self.journal.snapshot() as execute:
            rows = execute(
                "SELECT l.destination, d.state, d.document_id, o.body FROM delivery d JOIN lane l ON l.id = d.lane"
                " JOIN document o ON o.id = d.document_id WHERE d.message_id = ? ORDER BY d.id",
                (message,),
            ).fetchall()
        for to, state, document, sealed in rows:
            body, is_packed = self.journal.vault.open_packed(sealed, "document", document, "chem")
            found.setdefault(to, []).append((state, unpack(body) if is_packed else body))
        return found

    def check(self, message: int, tests: list[str]) -> None:
        for to, documents in self.states(message).items():
            out = [body for state, body in documents if state != "held"]
            waits = [body for state, body in documents if state == "held"]
            if to == "fhir":
                assert {test for body in out for test in in_transaction(body)} == self.went[message]
                assert {test for body in waits for test in in_transaction(body)} == self.held[message]
            else:
                assert bool(waits) == (to == "copies" and bool(self.held[message]))

    def person(self) -> None:
        for failure in reading.list_failures(self.journal, all_of_them=True):
            if failure.until_us:
                continue
            listed = {one.message for one in reading.list_looks(self.journal, failure.id)}
            assert listed == self.looks[failure.test]
            if failure.repeat and self.rng.random() < 0.5:
                more = {"cause": "reagent", "action": "changed", **BY}
                self.journal.run_alone(
                    lambda batch, failure=failure, more=more: deciding.open_test(batch, failure.id, **more)
                )
                self.closed.remove(failure.test)


def in_transaction(body: bytes) -> set[str]:
    resources = [entry["resource"] for entry in orjson.loads(body)["entry"]]
    results = {one["id"]: one for one in resources if one["resourceType"] == "Observation"}
    (report,) = [one for one in resources if one["resourceType"] == "DiagnosticReport"]
    named = {one["reference"].removeprefix("urn:uuid:") for one in report["result"]}
    assert named == set(results)  # it lists what comes with it, and no more
    return {one["code"]["coding"][0]["code"] for one in results.values()}


def set_up(journal: Journal) -> None:
    lots = [Lot("chem", "QC", "Chemtrol", "L1", "A7")]
    targets = [TargetRow("chem", "", test, "L1", "A7", "mg/dL", "100", "5", "lab") for test in TESTS]
    journal.run_alone(lambda batch: deciding.load(batch, lots, targets, file="controls.csv", **BY))
    ids = [one.id for one in reading.list_targets(journal)]
    journal.run_alone(lambda batch: deciding.accept(batch, ids, IN_FORCE, 1, **BY))


@pytest.mark.parametrize("seed", range(int(os.environ.get("LABRELAY_LABORATORIES", "60"))))
def test_after_a_verdict_no_result_of_its_test_goes_out_unseen(tmp_path: Path, seed: int) -> None:
    with closing(Journal.open(tmp_path, clock=ManualClock(from_us(NOW_US)))) as journal:
        set_up(journal)
        laboratory = Laboratory(journal, seed)
        for _ in range(laboratory.rng.randint(10, 40)):
            laboratory.minute += laboratory.rng.choice((0, 1, 5, 40))
            laboratory.rng.choice((laboratory.control, laboratory.patient, laboratory.patient, laboratory.person))()
        laboratory.person()


def test_only_the_order_of_the_result_that_waits_says_that_it_is_held(tmp_path: Path) -> None:
    with closing(Journal.open(tmp_path, clock=ManualClock(from_us(NOW_US)))) as journal:
        set_up(journal)
        laboratory = Laboratory(journal, 0)
        lines = [OrderLine(specimen="S1", test=test) for test in ("GLU", "K")]
        settings = TakeSettings(known_channels={"chem": frozenset(TESTS)})
        journal.run_alone(lambda batch: taking.add(batch, "Anna", lines, settings))
        laboratory.minute = 40
        one = ControlResult(test="GLU", codes=("GLU",), number="QC", value="140", unit="mg/dL", at_us=laboratory.now_us)
        laboratory.record(Outcome("filtered", ReasonCode.QUALITY_CONTROL, controls=(one,)), [])
        laboratory.minute += 1
        report = Report(key=b"k" * 16, patient=b"p" * 16)
        document = Document(body=transaction(1, ["GLU", "K"]), reports=(report,))
        group = ResultGroup("", "S1", 0, laboratory.now_us, FINAL_RESULT, ("GLU", "K"), ("GLU", "K"))
        tests = tuple(ResultOf(test=test, code=test) for test in ("GLU", "K"))
        outcome = Outcome("mapped", results=(group,), tubes=(TubeResults(specimen="S1", tests=tests),))
        laboratory.record(outcome, [Routed(document=document, destinations=("fhir",))])
        with journal.snapshot() as execute:
            found = execute("SELECT state, reason FROM order_item ORDER BY number").fetchall()
        assert found == [("in_progress", "RESULT_HELD"), ("resulted", "")]
