"""What facts decide of lists and HL7 v2: each result by its place, in all outputs in the same words. What has no place,
or cannot be judged, waits for a person. In one process and without sockets.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.features.results.rows import facts, judged
from engine.model.journal.records import Decision
from engine.model.routes import routed_by
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.store.core.connecting import body_of
from engine.store.core.writing.batch import Batch
from engine.store.operations import record_outcome
from tests.histories.beside import ZONE, InOneProcess
from tests.histories.samples.site import ABDM
from tests.support.running import ASTM, MLLP, channel, make_running_site

NOON = datetime(2026, 3, 1, 12, tzinfo=ZONE)
OWN = """
mapping: own
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: {to}
import: [labrelay/hl7v2]
{results}
steps:
{steps}
"""
COLUMNS = "results: {patient: patient, order: tube, test: GLU, value: [GLU, NA]}"
ACROSS = """
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - row: {patient: =PID-3.1, tube: =OBR-3.1, GLU: '=OBX[1]-5', NA: '=OBX[2]-5'}
          - each: OBSERVATION
            do:
              - drop: it stands in its column
"""
HL7 = """
  - segment: MSH
    fields: {3: LAB}
  - each: PATIENT_RESULT
    do:
      - segment: PID
        fields: {3: =PID-3, 5: =PID-5}
      - each: ORDER_OBSERVATION
        do:
          - segment: OBR
            fields: {2: =OBR-2, 3: =OBR-3, 4: =OBR-4, 7: =event_time(OBR-7), 25: =OBR-25}
          - each: OBSERVATION
            where: =OBX-3.1 == 'LEFT'
            do:
              - drop: not wanted there
          - each: OBSERVATION
            where: =OBX-3.1 != 'LEFT'
            do:
              - segment: OBX
                fields: {2: =OBX-2, 3: =OBX-3, 5: =OBX-5, 6: =OBX-6, 11: =OBX-11, 14: =event_time(OBX-14)}
"""


def message(
    *results: str, at: str = "1000", collected: str = "0800", number: int = 0, role: str = "", kind: str = "ORU^R01",
    material: str | None = None,
) -> bytes:  # fmt: skip
    """Results of an order, each as ``F GLU 5.5``, with a time of its own ``F GLU 5.5 0930``."""
    lines = [
        f"MSH|^~\\&|AN|LAB|LIS|H|20260301{at}{number:02}||{kind}|{at}{number}|P|2.5.1",
        "PID|1||4711||Iyer^Meena||19550101|F",
        *([f"SPM|1|S1||{'SER' if material is None else material}"] if kind == "OUL^R22" else []),
        f"OBR|1||S1|CHEM^Panel^L|||20260301{collected}00{'|' * 8}{material or ''}{'|' * 7}20260301{at}00||LAB|F",
    ]
    for place, (status, code, value, *own) in enumerate((one.split() for one in results), start=1):
        time = own[0] if own else at
        lines.append(f"OBX|{place}|NM|{code}||{value.strip('-')}|mmol/L|||||{status}|||20260301{time}00")
    if role:
        lines.append(f"SPM|1|S1||SER^Serum|||||||{role}")
    return "\r".join([*lines, ""]).encode()


class Desk(InOneProcess):
    """A channel ``hl7``; what is not held is delivered at once."""

    told = 0

    def says(self, *results: str, **more: Any) -> str:
        """How the message ended: ``delivered``, why it is held, or its state."""
        self.told += 1
        content = message(*results, number=self.told, **more)
        self.last = self.say("hl7", content, NOON + timedelta(minutes=self.told))
        return " ".join(dict.fromkeys(self.ended()))

    def ended(self) -> Iterator[str]:
        rows = self.ask(
            "SELECT d.state, d.cause FROM delivery d WHERE d.message_id = ? AND state <> 'superseded'", self.last
        )
        yield from (cause or state for state, cause in rows)
        if not rows:
            ((state, reason),) = self.ask("SELECT state, reason FROM message_state WHERE id = ?", self.last)
            yield reason or state

    def again(self, old: bytes, new: bytes) -> list[list[str]]:
        """The last message is processed once more, by a mapping that writes other bytes."""
        self.journal.run_alone(lambda batch: self._again(batch, old, new))
        return self.statuses()[1:]

    def _again(self, batch: Batch, old: bytes, new: bytes) -> None:
        routes = self.routes["hl7"]
        outcome = process(facts.message_of(batch, self.last), routes)
        routed = [
            routed_by(route, replace(document, body=document.body.replace(old, new)))
            for document, route in outcome.documents
        ]
        record_outcome.record(batch, self.last, outcome, routed, decision=Decision(again=True))

    def ask(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.journal.run_alone(lambda batch: batch.execute(question, values).fetchall())

    def ask_to(self, change: str, *values: Any) -> None:
        self.journal.run_alone(lambda batch: batch.execute(change, values).rowcount)

    def documents(self) -> list[str]:
        """Those of the last message."""

        def read(batch: Batch) -> list[str]:
            rows = batch.execute("SELECT id FROM document WHERE message_id = ? ORDER BY id", (self.last,)).fetchall()
            return [body_of(batch, one).decode() for (one,) in rows]

        return self.journal.run_alone(read)

    def statuses(self) -> list[list[str]]:
        """``GLU 5.5 final`` of each result of the last message, for each document."""
        return [[*_told(one)] for one in self.documents()]


def _told(document: str) -> Iterator[str]:
    if document.startswith("MSH"):
        for line in document.split("\r"):
            if line.startswith("OBX"):
                fields = line.split("|")
                yield f"{fields[3].split('^')[0]} {fields[5]} {fields[11]}"
        return
    head, *rows = [line.split(",") for line in document.splitlines()]
    for row in rows:
        said = dict(zip(head, row, strict=True))
        yield f"{said['test']} {said['value']} {said['status']}"


@contextmanager
def desk(
    folder: Path, *routes: dict[str, Any], own: str = "", is_astm: bool = False, **settings: Any
) -> Iterator[Desk]:
    if own:
        (folder / "mappings").mkdir()
        (folder / "mappings" / "own.yaml").write_text(own, "utf-8")
    places = {f"out{n}": {"kind": "file", "folder": str(folder / f"out{n}")} for n in (1, 2)}
    name, source = ("astm", ASTM) if is_astm else ("hl7", MLLP)
    make_running_site(folder, {name: channel(source, *routes, **settings)}, places)
    found = Desk(folder / "var", folder)
    try:
        yield found
    finally:
        asyncio.run(found.journal.stop())


BOTH = OWN.format(to="hl7v2/ORU_R01", results="", steps=HL7)
CSV = {"mapping": "hl7-to-csv", "to": "out1"}
TO_HL7 = {"mapping": "own", "to": "out2"}


def test_all_outputs_of_a_message_say_the_same(tmp_path: Path) -> None:
    """And a result that one of them leaves out changes nothing there."""
    with desk(tmp_path, CSV, TO_HL7, own=BOTH) as it:
        assert it.says("F GLU 5.5", "F NA 140", "F LEFT 1") == "delivered"
        assert it.says("F GLU 6.5 1030", "F NA 140", "F K 4.4", "F LEFT 1") == "delivered"
        assert it.statuses() == [["GLU 6.5 amended", "K 4.4 final"], ["GLU 6.5 C", "K 4.4 F"]]
        assert it.says("F GLU 6.5 1030", "F NA 140", "F LEFT 2 1030") == "delivered"
        assert it.statuses() == [["LEFT 2 amended"]]
        assert it.says("F GLU 6.5 1030", "F NA 140", "F LEFT 2 1030") == "ECHO"
        assert it.says("P GLU 1.5", "F NA 141", at="1040") == "STATUS_BACK"


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"results": ["F GLU 6.5"], "at": "1030", "collected": "0830"}, "SAMPLE_UNKNOWN"),
        ({"results": ["D CREA -"]}, "CORRECTS_UNKNOWN"),
        ({"results": ["C CREA 6.5"]}, "CORRECTS_UNKNOWN"),
        ({"results": ["F NA 140"], "role": "L"}, "POOL"),
        ({"results": ["F NA 140"], "at": "2330"}, "CLOCK"),
        ({"results": ["D GLU 5.5"]}, "delivered"),
        ({"results": ["C GLU 6.5"]}, "delivered"),
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one["results"]),
)
def test_what_is_held_of_one_result_holds_its_documents(tmp_path: Path, second: dict[str, Any], why: str) -> None:
    with desk(tmp_path, CSV, TO_HL7, own=BOTH) as it:
        assert it.says("F GLU 5.5") == "delivered"
        told = dict(second)
        assert it.says(*told.pop("results"), **told) == why
        assert len(it.documents()) == 2 - ("role" in second)  # which the list leaves out


def test_a_document_is_amended_by_a_result_that_its_sender_corrects_in_a_final_report(tmp_path: Path) -> None:
    """OBR-25 is F, as many analyzers leave it: the document says what its result says, as the report on a server."""
    with desk(tmp_path, {"mapping": "abdm-report", "to": "out1"}, settings=ABDM) as it:
        assert it.says("F GLU 5.5", "F NA 140") == "delivered"
        assert it.says("C GLU 6.5 1030", "F NA 140") == "delivered"
        (body,) = map(json.loads, it.documents())
        told = {one["resource"]["resourceType"]: one["resource"].get("status") for one in body["entry"]}
        assert (told["Composition"], told["DiagnosticReport"]) == ("amended", "corrected")


def test_lists_of_a_tube_are_decided_as_those_of_an_order(tmp_path: Path) -> None:
    with desk(tmp_path, {"mapping": "hl7-oul-to-csv", "to": "out1"}) as it:
        assert it.says("F GLU 5.5", "F NA 140", kind="OUL^R22") == "delivered"
        assert it.says("F GLU 6.5 1030", "F NA 140", "F K 4.4", kind="OUL^R22") == "delivered"
        assert it.statuses() == [["GLU 6.5 amended", "K 4.4 final"]]
        assert it.says("F GLU 6.5 1030", "F NA 140", kind="OUL^R22") == "ECHO"
        assert it.says("D CREA -", kind="OUL^R22") == "CORRECTS_UNKNOWN"


def test_a_withdrawal_of_what_was_never_there_waits_for_a_person(tmp_path: Path) -> None:
    with desk(tmp_path, CSV) as it:
        assert it.says("D GLU 5.5") == "CORRECTS_UNKNOWN"
        it.decide("reject", it.last)
        assert it.says("F GLU 5.5") == "delivered"


def test_what_a_person_has_rejected_waits_when_it_comes_again(tmp_path: Path) -> None:
    with desk(tmp_path, {**CSV, "hold": [{"when": "=value > 5", "reason": "high"}]}) as it:
        assert it.says("F GLU 5.5") == "HELD_BY_RULE"
        it.decide("reject", it.last)
        assert it.says("F GLU 5.5") == "REJECTED_BEFORE"


def test_a_sample_of_another_time_is_a_result_of_its_own_and_its_correction_is_asked(tmp_path: Path) -> None:
    with desk(tmp_path, CSV) as it:
        assert it.says("F GLU 5.5", at="0900", collected="0800") == "delivered"
        assert it.says("F GLU 9.5", at="1045", collected="0930") == "delivered"
        assert it.statuses() == [["GLU 9.5 final"]]
        assert it.says("C GLU 9.9", at="1045", collected="0930") == "SAMPLE_UNKNOWN"
        assert it.says("F GLU 5.5", at="0900", collected="0800") == "ECHO"


def test_results_without_a_place_are_decided_for_the_whole_list(tmp_path: Path) -> None:
    """A row for an order, with a column for each test: no rule says which of them a cell is of."""
    own = OWN.format(to="csv", results=COLUMNS, steps=ACROSS)
    with desk(tmp_path, {"mapping": "own", "to": "out1"}, own=own) as it:
        assert it.says("F GLU 5.5", "F NA 140") == "delivered"
        assert it.says("F GLU 5.5", "F NA 140") == "ECHO"
        assert it.says("F GLU 5.5", "F NA 141", at="1030") == "CHANGE_UNSAID"
        assert it.says("P GLU 5.6", "F NA 140", at="1040") == "STATUS_BACK"
        assert it.says("F UREA 31", at="1040") == "delivered"


def test_a_row_that_shows_other_results_too_is_decided_with_the_whole_list(tmp_path: Path) -> None:
    """A result has its row, another one only a cell of it: else a correction of that one went as an echo."""
    beside = """
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        let: {other: '=OBX[2]-5'}
        do:
          - each: OBSERVATION
            where: =OBX-3.1 == 'GLU'
            do:
              - row: {patient: =PID-3.1, tube: =OBR-3.1, test: =OBX-3.1, GLU: =OBX-5, NA: =other, status: =OBX-11}
          - each: OBSERVATION
            where: =OBX-3.1 != 'GLU'
            do:
              - drop: it stands in its column
"""
    columns = "results: {patient: patient, order: tube, test: test, value: [GLU, NA], status: status}"
    own = OWN.format(to="csv", results=columns, steps=beside)
    with desk(tmp_path, {"mapping": "own", "to": "out1"}, own=own) as it:
        assert it.says("F GLU 5.5", "F NA 140") == "delivered"
        assert it.says("F GLU 5.5", "F NA 140") == "ECHO"
        assert it.says("F GLU 5.5", "C NA 141") == "CHANGE_UNSAID"
        assert it.says("F GLU 5.5", "D KAL 3") == "CORRECTS_UNKNOWN"


def test_a_receiver_that_refused_a_result_gets_it_again(tmp_path: Path) -> None:
    with desk(tmp_path, {**CSV, "to": ["out1", "out2"]}) as it:
        first = it.say("hl7", message("F GLU 5.5"), NOON)
        it.ask_to("UPDATE delivery SET state = 'dead' WHERE message_id = ? AND id % 2 = 0", first)
        assert it.says("F GLU 5.5") == "delivered"
        assert it.says("F GLU 5.5") == "ECHO"


def test_facts_that_cannot_be_read_hold_a_list_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ValueError

    with desk(tmp_path, CSV) as it:
        with monkeypatch.context() as patched:
            patched.setattr("engine.mapping.program.Program.facts_in", fails)
            assert it.says("F GLU 5.5") == ReasonCode.NOT_COMPARED.value
        assert it.says("F NA 140") == "delivered"
        assert it.says("F GLU 6.5", at="1030") == "delivered"
        assert it.statuses() == [["GLU 6.5 final"]]
        first = min(one for (one,) in it.ask("SELECT message_id FROM fact"))
        it.ask_to("UPDATE fact SET content = zeroblob(40) WHERE message_id = ?", first)
        it.journal.run_alone(lambda batch: batch.tail.standing.forget())
        assert it.says("C GLU 6.0", at="1040") == "NOT_COMPARED"


def test_what_a_mended_mapping_says_otherwise_is_corrected(tmp_path: Path) -> None:
    with desk(tmp_path, CSV) as it:
        assert it.says("F GLU 5.5", "F NA 140") == "delivered"
        assert it.again(b",5.5,", b",7.7,") == [["GLU 7.7 corrected", "NA 140 final"]]


def test_many_results_of_one_test_stop_no_other_message(tmp_path: Path) -> None:
    """Each would be compared with each: behind some hundreds the document waits, and the journal goes on."""
    with desk(tmp_path, CSV) as it:
        assert it.says(*[f"F GLU {one}.5" for one in range(300)]) == "delivered"
        assert it.says(*[f"F GLU {one}.5" for one in range(1_900)], at="1030") == "NOT_COMPARED"
        assert it.says("F NA 140", at="1040") == "NOT_COMPARED"  # until a person has looked at its order


_MANY = 4  # messages of an order that have no word about GLU, CREA and UREA
BEHIND_MANY: list[tuple[str, list[tuple[str, str]]]] = [
    ("a correction", [("F GLU 5.5", "delivered"), ("C GLU 6.5", "delivered")]),
    ("an echo", [("F GLU 5.5", "delivered"), ("F GLU 5.5", "ECHO")]),
    ("a step back", [("F GLU 5.5", "delivered"), ("P GLU 6.5", "STATUS_BACK")]),
    ("another value", [("F GLU 5.5", "delivered"), ("F GLU 6.5 1030", "delivered"), ("D GLU 6.5", "delivered")]),
    ("a correction under another code", [("F GLU 5.5", "delivered"), ("C CREA 6.5", "CORRECTS_UNKNOWN")]),
    ("a withdrawal under another code", [("F GLU 5.5", "delivered"), ("D CREA -", "CORRECTS_UNKNOWN")]),
    (
        "a word of a result under the code that a person let it have",
        [("F GLU 5.5", "delivered"), ("C CREA 5.5", "release"), ("C GLU 6.5", "delivered"), ("D CREA -", "*")],
    ),
    ("what a person has rejected", [("D GLU 5.5", "reject"), ("F GLU 5.5", "delivered")]),
    ("a part of what waits", [("F GLU 5.5 F UREA 31", "delivered"), ("P GLU 6 P UREA 32", "*"), ("D GLU -", "*")]),
]


@pytest.mark.parametrize("words", [words for _, words in BEHIND_MANY], ids=[name for name, _ in BEHIND_MANY])
def test_behind_many_other_results_of_an_order_it_is_judged_as_if_all_were_known(
    tmp_path: Path, words: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart facts of the same tests alone are opened."""
    monkeypatch.setattr(judged, "FEW", _MANY - 1)
    ends: list[list[Any]] = []
    for restarts in (False, True):
        place = tmp_path / str(restarts)
        place.mkdir()
        with desk(place, CSV) as it:
            for n in range(_MANY):
                assert it.says(f"F T{n} 1.5") == "delivered"
            for said, expected in words:
                if restarts:
                    it.journal.run_alone(lambda batch: batch.tail.standing.forget())
                parts = said.split()
                stated = [" ".join(parts[at : at + 3]) for at in range(0, len(parts), 3)] if len(parts) > 4 else [said]
                end = it.says(*stated)
                ends.append([said, end, it.statuses()])
                if expected in ("release", "reject"):
                    it.decide(expected, it.last)
                elif expected != "*":
                    assert end == expected, said
            ends.append(it.ask("SELECT message_id, state, cause FROM delivery ORDER BY id"))
    half = len(ends) // 2
    assert ends[:half] == ends[half:]


def test_facts_of_other_tests_of_a_long_order_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "FEW", _MANY - 1)
    with desk(tmp_path, CSV) as it:
        for n in range(_MANY):
            assert it.says(f"F T{n} 1.5") == "delivered"
        first = min(one for (one,) in it.ask("SELECT message_id FROM fact"))
        it.ask_to("UPDATE fact SET content = zeroblob(40) WHERE message_id = ?", first)
        it.journal.run_alone(lambda batch: batch.tail.standing.forget())
        assert it.says("C T2 6.0") == "delivered"
        assert it.says("F T0 6.0") == "NOT_COMPARED"
        assert it.says("C T99 6.0") == "NOT_COMPARED"
