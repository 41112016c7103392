"""A failed control stops its test alone, in each output that a shipped mapping makes of each maker's samples: the other
results go out, its own wait, and once a person has released them the receiver has all, as they were.

A document for ABDM is one unit: it waits whole.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from engine.features.quality_control.rows import deciding, reading
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.mapping.outputs.documents import form_of
from engine.model.content.computed import sources_by_test, sources_of
from engine.model.content.facts import Result, plain_codes, stored
from engine.model.content.quality_controls import ControlResult, of_patients
from engine.model.journal.journal_views import Trace
from engine.model.journal.records import Routed
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock, from_us
from engine.model.routes import Processed, routed_by
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import decisions
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_document
from tests.documents.test_outputs_agree import ABDM, FORMS, READABLE, Given, kind_of, of_samples
from tests.support import shipped
from tests.support.journals import WINDOW_S, received
from tests.support.outputs_read import Read
from tests.support.shipped import program, verdict_of

BY = {"actor": "Asha", "reason": "the insert"}
MINUTE = 60_000_000
NOW_US = 1_775_000_000_000_000  # behind the times of all samples
SAMPLES = {given[0]: given for given in of_samples()}


def documents(given: Given, form: str) -> tuple[Processed, list[Routed]]:
    """The verdict on a message, and its documents on their way."""
    _, payload, message_format, settings, more = given
    wanted = {**ABDM, **settings} if form == "abdm-report" else {**settings, **READABLE}
    verdict, _ = verdict_of(payload, message_format, wanted, mapping=form, **more)
    made = program(form, tuple(sorted(wanted.get("tables", {}).items())))
    lists = form_of(made.target, made.columns, wanted)
    return verdict, [routed_by(replace(route, to=("lis",), form=lists), one) for one, route in verdict.documents]


def outputs(given: Given) -> Iterator[tuple[str, Processed, list[Routed]]]:
    """Each output of a message that has results, by its mapping."""
    for form in FORMS[kind_of(given[2], given[1])]:
        verdict, routes = documents(given, form)
        if routes:
            yield form, verdict, routes


def has_tests(given: Given) -> bool:
    """Whether a message has results of several tests."""
    return any(len({one.measure.test for one in measured(verdict).values()}) > 1 for _, verdict, _ in outputs(given))


def measured(verdict: Processed) -> dict[int, Result]:
    """The patients' results of a message, by place."""
    if verdict.read is None:
        return {}
    known = of_patients(stored(orjson.loads(verdict.read.facts)), is_hl7=verdict.read.is_hl7)
    return {one.place: one for *_, one in known if not one.kind}


def codes_of(verdict: Processed, test: str) -> tuple[str, ...]:
    """As sent, and as meant: those of its controls."""
    some = [one.measure.codes or () for one in measured(verdict).values() if one.measure.test == test]
    return tuple(dict.fromkeys([test, *(code.partition("|")[2] for codes in some for code in codes)]))


class Laboratory:
    """The journal of one analyzer and one receiver."""

    def __init__(self, journal: Journal, test: str, codes: tuple[str, ...]) -> None:
        self.journal = journal
        self.test, self.codes = test, codes
        lots = [Lot("chem", "QC", "Chemtrol", "L1", "A7")]
        rows = [TargetRow("chem", "", test, "L1", "A7", "mg/dL", "100", "5", "lab")]
        journal.run_alone(lambda batch: deciding.load(batch, lots, rows, file="controls.csv", **BY))
        ids = [one.id for one in reading.list_targets(journal)]
        journal.run_alone(lambda batch: deciding.accept(batch, ids, IN_FORCE, 1, **BY))

    def record(self, outcome: Outcome, *routes: Routed, minute: int) -> int:
        def both(batch: Batch) -> int:
            at_us = NOW_US + (minute - 600) * MINUTE
            row = append.store_message(batch, received(b"%d" % minute, at_us=at_us), repeat_window_s=WINDOW_S)
            record_outcome.record(batch, row.id, outcome, routes)
            return row.id

        return self.journal.run_alone(both)

    def control(self, amount: str, *, minute: int) -> None:
        one = ControlResult(
            test=self.test, codes=self.codes, number="QC", value=amount, unit="mg/dL",
            at_us=NOW_US + (minute - 600) * MINUTE,
        )  # fmt: skip
        self.record(Outcome("filtered", ReasonCode.QUALITY_CONTROL, controls=(one,)), minute=minute)

    def trace(self, message: int) -> Trace:
        trace = trace_of(self.journal, message)
        assert trace is not None
        return trace

    def results(self, message: int, state: str, read: Callable[[bytes], list[Read]]) -> list[Read]:
        """Of the documents of a message whose delivery is in this state."""
        wanted = [one.document_id for one in self.trace(message).deliveries if one.state == state]
        bodies = [stored_document(self.journal, one) for one in wanted]
        return [result for body in bodies for result in read(body)]

    def release(self, message: int) -> None:
        held = [one.id for one in self.trace(message).deliveries if one.state == "held"]
        self.journal.run_alone(lambda batch: [decisions.release(batch, one) for one in held])


def of(found: list[Read]) -> Counter[tuple]:
    """Results as a receiver knows them."""
    return Counter((one.tests, one.loinc, one.number, one.words, one.status) for one in found)


@pytest.mark.parametrize("name", [name for name, given in SAMPLES.items() if has_tests(given)])
def test_one_test_waits_and_the_others_are_out(tmp_path: Path, name: str) -> None:
    given = SAMPLES[name]
    wrong: dict[str, str] = {}
    for form, verdict, routes in outputs(given):
        tests = [*dict.fromkeys(one.measure.test or "" for one in measured(verdict).values())]
        test = tests[-1]
        with closing(Journal.open(tmp_path / form, clock=ManualClock(from_us(NOW_US)))) as journal:
            laboratory = Laboratory(journal, test, codes_of(verdict, test))
            if told := walked(laboratory, verdict, routes, FORMS[kind_of(given[2], given[1])][form]):
                wrong[form] = told
    assert wrong == {}


def walked(
    laboratory: Laboratory, verdict: Processed, routes: list[Routed], read: Callable[[bytes], list[Read]]
) -> str:
    """What is wrong of one output while the control of one test has failed; empty: nothing."""
    ((document, _),) = verdict.documents
    everything = read(document.body)
    known = measured(verdict)
    assert verdict.read is not None
    by_test = sources_by_test(verdict.read.computed)
    mine = [
        known[place].measure.test == laboratory.test
        or not sources_of(plain_codes(known[place].measure), by_test).isdisjoint(laboratory.codes)
        for place in dict(document.places)
    ]
    is_whole = any(word in document.body for word in (b'"type":"document"', b'"conclusion"', b'"presentedForm"'))
    for minute, amount in enumerate(("100", "130"), 100):
        laboratory.control(amount, minute=minute)
    message = laboratory.record(verdict, *routes, minute=200)
    out, waits = (laboratory.results(message, state, read) for state in ("waiting", "held"))
    wanted = everything if is_whole else [one for one, is_mine in zip(everything, mine, strict=True) if is_mine]
    if of(waits) != of(wanted):
        return f"waits: {[sorted(one.tests) for one in waits]}"
    if of(out) + of(waits) != of(everything):
        return f"out: {[sorted(one.tests) for one in out]}"
    laboratory.release(message)
    return "" if of(laboratory.results(message, "waiting", read)) == of(everything) else "not whole"


# -- neighbours: what else may stand beside the results of a closed test ---------------------------------------------

SENDERS = {
    "oru": ("hl7v2", ("hl7-results", "hl7-to-csv", "hl7-to-json")),
    "astm": ("astm", ("astm-results", "astm-to-csv", "astm-to-json", "astm-to-hl7")),
}
TABLE = """code,unit_in,loinc,display,type,source
GLU,mg/dL,2345-7,Glucose [Mass/volume] in Serum or Plasma,NM,a test
GLUP,mg/dL,2345-7,Glucose [Mass/volume] in Serum or Plasma,NM,a test
TC,mg/dL,2093-3,Cholesterol [Mass/volume] in Serum or Plasma,NM,a test
NHDL,mg/dL,43396-1,Cholesterol non HDL [Mass/volume] in Serum or Plasma,NM,a test
MHDL,mg/dL,43396-1,Cholesterol non HDL [Mass/volume] in Serum or Plasma,NM,a test
"""
COMPUTED = {"EGFR": ["CRE"], "LDL": ["CHOL", "HDL", "TG"], "RISK": ["LDL"], "MHDL": []}
ISOLATE = "600-7^Bacteria identified^LN"
# name -> messages before the control fails, the one after it (rows: test, value, status, OBX-4); the closed test; what
# waits of the last message, by test, and what is out.
NEIGHBOURS: dict[str, tuple[list[str], str, str, str, str]] = {
    "another test": ([], "CRE 1.1 F,NA 140 F", "CRE", "CRE", "NA"),
    "a result that was sent before": (["NA 140 F"], "NA 140 F,CRE 1.1 F,K 4.1 F", "CRE", "CRE", "K"),
    "several that were sent before": (["NA 140 F,K 4.1 F"], "NA 140 F,CRE 1.1 F,CL 99 F,K 4.1 F", "CRE", "CRE", "CL"),
    "sent before, of the closed test": (["CRE 1.1 F"], "CRE 1.1 F,NA 140 F", "CRE", "", "NA"),
    "a correction of it": (["CRE 1.1 F"], "CRE 1.2 C,NA 140 F", "CRE", "CRE", "NA"),
    "a correction of another one": (["NA 140 F"], "CRE 1.1 F,NA 141 C", "CRE", "CRE", "NA"),
    "it is all that there is": ([], "CRE 1.1 F", "CRE", "CRE", ""),
    "none of it": ([], "NA 140 F", "CRE", "", "NA"),
    "another test of the same LOINC code": ([], "GLU 90 F,GLUP 91 F", "GLU", "GLU", "GLUP"),
    "one that is diluted": ([], "717/10 90 F,NA 140 F", "717/", "717/10", "NA"),
    "measured twice": ([], "CRE 1.1 F 1,CRE 1.2 F 2,NA 140 F", "CRE", "CRE CRE", "NA"),
    "a culture": ([], f"{ISOLATE} ECOLI F 1,AMP 2 F 1,CRE 1.1 F", "CRE", "600-7 AMP CRE", ""),
    "one computed from it": ([], "CRE 1.1 F,EGFR 80 F,NA 140 F", "CRE", "CRE EGFR", "NA"),
    "one computed from it, alone": ([], "EGFR 80 F,NA 140 F", "CRE", "EGFR", "NA"),
    "one computed from what is computed from it": ([], "RISK 3 F,HDL 50 F", "CHOL", "RISK", "HDL"),
    "one of three that it is computed from": ([], "LDL 90 F,HDL 50 F,CHOL 180 F", "HDL", "LDL HDL", "CHOL"),
    "what it is computed from": ([], "CRE 1.1 F,EGFR 80 F", "EGFR", "EGFR", "CRE"),
    "computed, by its LOINC code": ([], "NHDL 1.1 F,TC 12 F,NA 140 F", "TC", "NHDL TC", "NA"),
    "measured, says the site": ([], "MHDL 1.1 F,TC 12 F", "TC", "TC", "MHDL"),
    "it is withdrawn": (["CRE 1.1 F,NA 140 F"], "CRE 1.1 D,K 4.1 F", "CRE", "", "CRE K"),
}  # fmt: skip
ONLY_HL7 = {"a culture", "it is withdrawn", "measured twice"}


def message(sender: str, rows: str, number: int) -> bytes:
    said = [
        (*row.split(" ", 3), "")[:4] for row in rows.replace("Bacteria identified", "Bacteria_identified").split(",")
    ]
    if sender == "astm":
        results = [
            f"R|{at}|^^^{test}|{amount}|mg/dL||||{status}||||20260301091500\r"
            for at, (test, amount, status, _) in enumerate(said, 1)
        ]
        head = f"H|\\^&|{number}||AN|||||||P|1|2026030110{number:02}00\rP|1||MR7||Iyer^Meena||19550101|F\r"
        return f"{head}O|1|S1||^^^P|R||20260301090000\r{''.join(results)}L|1|N\r".encode()
    results = [
        f"OBX|{at}|{'NM' if amount[0].isdigit() else 'ST'}|{test if '^' in test else f'{test}^{test}^L'}|{sub}|{amount}"
        f"|mg/dL|||||{status}|||20260301091500\r"
        for at, (test, amount, status, sub) in enumerate(said, 1)
    ]
    head = (
        f"MSH|^~\\&|AN|LAB|||2026030110{number:02}00||ORU^R01|M{number}|P|2.5.1\rPID|1||MR7||Iyer^Meena||19550101|F\r"
    )
    return f"{head}OBR|1||S1|P^Panel^L|||20260301090000|{'|' * 13}|20260301093000||LAB|F\r{''.join(results)}".encode()


def codes_in(found: list[Read]) -> str:
    known = [
        "600-7", "AMP", "CRE", "NA", "K", "CL", "GLUP", "GLU", "717/10", "EGFR", "RISK", "LDL", "HDL", "CHOL", "NHDL",
        "MHDL", "TC",
    ]  # fmt: skip
    return " ".join(sorted(next(one for one in known if one in result.tests) for result in found))


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "glucose.csv").write_text(TABLE, encoding="utf-8")
    monkeypatch.setattr(shipped, "ANALYZERS", tmp_path)
    before, last, test, waits, out = NEIGHBOURS[name]
    settings = {"tables": {"analytes": "glucose.csv"}, "head_codes": ["600-7"], "computed": COMPUTED}
    found = {}
    for sender, (message_format, forms) in SENDERS.items():
        for form in forms if sender == "oru" or name not in ONLY_HL7 else ():
            read = FORMS["ORU" if sender == "oru" else "astm"][form]
            codes = (test, *({"GLU": ("2345-7",), "TC": ("2093-3",)}.get(test, ())))
            with closing(Journal.open(tmp_path / form, clock=ManualClock(from_us(NOW_US)))) as journal:
                laboratory = Laboratory(journal, test, codes)
                made = [message(sender, rows, number) for number, rows in enumerate((*before, last), 1)]
                *earlier, now = [documents((name, one, message_format, settings, {}), form) for one in made]
                for minute, (verdict, routes) in enumerate(earlier, 50):
                    laboratory.record(verdict, *routes, minute=minute)
                for minute, amount in enumerate(("100", "130"), 100):
                    laboratory.control(amount, minute=minute)
                number = laboratory.record(now[0], *now[1], minute=200)
                told = [laboratory.results(number, state, read) for state in ("held", "waiting")]
                found[form] = " / ".join(map(codes_in, told))
    assert found == dict.fromkeys(found, " / ".join(" ".join(sorted(one.split())) for one in (waits, out)))


def test_a_computed_result_that_went_out_before_is_looked_at(tmp_path: Path) -> None:
    """Its message has none of the test whose control fails."""
    with closing(Journal.open(tmp_path, clock=ManualClock(from_us(NOW_US)))) as journal:
        laboratory = Laboratory(journal, "CRE", ("CRE",))
        laboratory.control("100", minute=10)
        given = ("", message("oru", "EGFR 80 F,NA 140 F", 1), "hl7v2", {"computed": COMPUTED}, {})
        verdict, routes = documents(given, "hl7-results")
        sent = laboratory.record(verdict, *routes, minute=20)
        laboratory.control("130", minute=30)
        (failure,) = reading.list_failures(journal)
        assert [one.message for one in reading.list_looks(journal, failure.id)] == [sent]
