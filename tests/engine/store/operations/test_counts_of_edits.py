"""The results of an edited message count once, with the times of its original."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.features.reports.rows.reading import counted_to
from engine.features.rework.rows import edit_message
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.store.operations import record_outcome
from engine.store.operations.outbox import attempts
from tests.engine.features.reports.rows.test_result_counts import GLU, HOUR, Lab, hl7, raw_channel, routes_of, sums
from tests.support.journals import received
from tests.support.report_model import MadeMessage


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def edit(lab: Lab, number: int, text: bytes, *, maps: bool = True) -> int:
    """A person edits a message; it is mapped, or is dead again."""
    done = lab.journal.run_alone(
        edit_message.correct, number, received(text, at_us=lab.clock.now_us()), before=b"", actor="anna",
        reason="a typing error",
    )  # fmt: skip
    assert done.stored is not None, done.refused
    if maps:
        found = process(done.stored, raw_channel("chem"))
        lab.journal.run_alone(record_outcome.record, done.stored.id, found, routes_of({"a": (None, True)}))
    return done.stored.id


def bury(lab: Lab, number: int) -> None:
    for delivery, _ in lab.deliveries(number, "waiting"):
        lab.journal.run_alone(attempts.bury, delivery, ReasonCode.REJECTED)


def deliver(lab: Lab, number: int) -> None:
    for delivery, _ in lab.deliveries(number, "waiting"):
        lab.journal.run_alone(attempts.settle, delivery, delivered_us=lab.clock.now_us())


def other(message: MadeMessage, n: int) -> bytes:
    """With the number of another patient."""
    return hl7(message).replace(b"PID|1||P1", b"PID|1||P%d" % n)


@pytest.mark.parametrize("edits", [1, 2])
@pytest.mark.parametrize("was", ["dead", "mapped, counted", "mapped"])
def test_it_counts_once_and_was_received_when_its_original_was(lab: Lab, was: str, edits: int) -> None:
    number = lab.put("chem", "P1", "S1", GLU, ("a",), dead=was == "dead")
    message = lab.known[number]
    if was == "mapped, counted":
        lab.count()
    bury(lab, number)
    for n in range(edits):
        lab.clock.advance(HOUR)
        number = edit(lab, number, other(message, 7 + n))
        lab.count()
        if n + 1 < edits:
            bury(lab, number)
    lab.clock.advance(60)
    deliver(lab, number)
    lab.count()
    found = sums(lab)
    assert (found.final, found.again) == (1, 0)
    assert found.stages["received-delivered"].times == {edits * HOUR + 60: 1}
    assert counted_to(lab.journal) == (0, 0)


def test_it_waits_for_an_edit_that_is_not_mapped_yet(lab: Lab) -> None:
    number = lab.put("chem", "P1", "S1", GLU, ("a",))
    bury(lab, number)
    edited = edit(lab, number, other(lab.known[number], 8), maps=False)
    lab.count()
    assert counted_to(lab.journal) == (0, 1)
    lab.journal.run_alone(record_outcome.record, edited, Outcome("dead", ReasonCode.MAPPING_FAULT))
    lab.count()
    assert counted_to(lab.journal) == (0, 1)
    lab.journal.run_alone(record_outcome.dismiss, [edited], "not wanted")
    lab.count()
    assert counted_to(lab.journal) == (0, 0)
    assert sums(lab).stages["received-delivered"].missing == 1
