"""A person matches a result without an order: which order may be meant, as a table, and how it is undone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.rows import holding, reading
from engine.model.content.order_results import TubeResults
from engine.model.errors import RefusedError
from engine.model.journal.records import Decision
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.worklist import ResultOf
from engine.store.operations import record_outcome
from engine.store.queries.acts import acts_page
from tests.engine.features.orders.rows.test_orders_in_and_out import RAVI, Desk, act, order
from tests.support.journals import routed, started

UNKNOWN = ResultOf(code="99")  # a test that no table has


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    journal = await started(tmp_path / "data", clock=ManualClock())
    try:
        yield Desk(journal, ManualClock())
    finally:
        await journal.stop()


def without(desk: Desk) -> list[tuple[int, int]]:
    return [(one.message_id, one.results) for one in reading.without_order(desk.journal)]


async def test_a_match_closes_the_order_and_is_undone(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", UNKNOWN, ResultOf(code="98"), patient="P1")
    message, before = desk.n, desk.state(1)
    assert (before, without(desk)) == (("offered", ""), [(message, 2)])
    assert await act(desk, worklist.match, 1, message_id=message) == "resulted"
    assert without(desk) == [(message, 1)]
    assert reading.results_of(desk.journal, [1]) == {1: message}
    with pytest.raises(RefusedError, match="W1 is resulted"):
        await act(desk, worklist.match, 1, message_id=message)

    assert await act(desk, worklist.unmatch, 1) == "offered"
    assert (desk.state(1), without(desk)) == (before, [(message, 2)])
    with pytest.raises(RefusedError, match="is no match"):
        await act(desk, worklist.unmatch, 1)
    assert await act(desk, worklist.match, 1, message_id=message) == "resulted"  # once more
    verbs = [one.verb for one in reversed(acts_page(desk.journal)) if one.verb.startswith("order-")]
    assert verbs == ["order-match", "order-unmatch", "order-match"]
    found = reading.item(desk.journal, 1)
    assert found is not None
    assert [(one.event, one.cause) for one in found.history[-3:]] == [
        ("final", "match"), ("unmatch", "person"), ("final", "match"),
    ]  # fmt: skip


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("before", "after"), [
    ("", "cancelled"),  # no analyzer has it: none is left to give it up
    ("not sent", "cancelled"),
    ("matched before", "cancelled"),
    ("given", "cancel_pending"),
    ("perhaps sent", "cancel_pending"),
    ("perhaps sent by an older answer", "cancel_pending"),
    ("under way", "cancel_pending"),
    ("preliminary", "cancel_pending"),
])  # fmt: skip
async def test_an_order_is_known_after_its_match_was_undone_as_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, before: str, after: str, held: bool
) -> None:
    await desk.take(order())
    match before:
        case "given":
            await desk.tell("S1")
        case "not sent" | "perhaps sent" | "perhaps sent by an older answer":
            answered = await desk.ask("S1")
            if "older" in before:
                later = await desk.ask("S1")
            maybe = before != "not sent"
            await desk.journal.run(worklist.not_offered, answered.query, [1], "no-answer", maybe=maybe)
            if "older" in before:
                await desk.journal.run(worklist.not_offered, later.query, [1], "no-answer", maybe=False)
        case "under way":
            await desk.ask("S1")
        case "preliminary":
            await desk.result("S1", ResultOf(test="GLU", final=False))
    await desk.result("S1", UNKNOWN)
    monkeypatch.setattr(holding, "standing", lambda *_: "held" if held else "on its way")
    for _ in range(2 if before == "matched before" else 1):
        await act(desk, worklist.match, 1, message_id=desk.n)
        await act(desk, worklist.unmatch, 1)

    assert await act(desk, worklist.cancel, 1) == after


async def test_a_message_that_is_processed_again_keeps_what_was_matched(desk: Desk) -> None:
    await desk.take(order())
    await desk.result("S1", UNKNOWN, ResultOf(code="98"))
    message = desk.n
    await act(desk, worklist.match, 1, message_id=message)
    for results, left in (((UNKNOWN, ResultOf(code="98")), [(message, 1)]), ((UNKNOWN,), []), ((), [])):
        await desk.journal.run(worklist.result, message, "chem", "S1", "", results or (ResultOf(test="GLU"),))
        assert without(desk) == left, results
    assert await act(desk, worklist.unmatch, 1) == "waiting"


async def test_a_match_outlives_that_its_message_is_processed_again(desk: Desk) -> None:
    await desk.result("S1", UNKNOWN)
    message = desk.n
    await desk.take(order())  # after the result: no processing finds that it is of this order
    await act(desk, worklist.match, 1, message_id=message)
    tube = TubeResults(specimen="S1", tests=(UNKNOWN,))

    async def process(again: bool) -> None:
        outcome, decision = Outcome("mapped", tubes=(tube,)), Decision(again=again)
        await desk.journal.run(record_outcome.record, message, outcome, [routed()], decision=decision)

    await process(again=False)
    await process(again=True)
    assert desk.state(1) == ("resulted", "")
    assert without(desk) == []
    await act(desk, worklist.unmatch, 1)
    await process(again=True)
    assert desk.state(1) == ("waiting", "")


@pytest.mark.parametrize(("specimen", "patient", "said"), [
    ("S1", "P2", "of another patient"),
    ("S1", "p1", "of another patient"),
    ("S1", "P1 ", "of another patient"),
    ("s1", "P1", "no result without an order of the specimen number"),
    ("S1 ", "P1", "no result without an order of the specimen number"),
    ("S01", "", "no result without an order of the specimen number"),
    ("S1", "", ""),
    ("S1", "P1", ""),
])  # fmt: skip
async def test_only_the_exact_specimen_of_the_same_patient_is_matched(
    desk: Desk, specimen: str, patient: str, said: str
) -> None:
    await desk.take(order())
    await desk.result(specimen, UNKNOWN, patient=patient)
    if said:
        with pytest.raises(RefusedError, match=said):
            await act(desk, worklist.match, 1, message_id=desk.n)
        assert desk.state(1) == ("waiting", "")
    else:
        assert await act(desk, worklist.match, 1, message_id=desk.n) == "resulted"


async def test_of_two_patients_with_one_tube_in_a_message_neither_hides_the_other(desk: Desk) -> None:
    await desk.take(order())
    message = await desk.message()

    async def results(patient: str, *tests: ResultOf) -> None:
        await desk.journal.run(worklist.result, message, "chem", "S1", patient, tests)

    await results("P2", UNKNOWN)
    await results("P1", ResultOf(test="GLU"))
    assert (desk.state(1)[0], without(desk)) == ("resulted", [(message, 1)])

    await desk.take(order("UREA"))
    await results("P1", UNKNOWN)
    with pytest.raises(RefusedError, match="two patients"):
        await act(desk, worklist.match, 2, message_id=message)
    assert desk.state(2)[0] == "waiting"


async def test_an_order_that_may_not_be_measured_is_not_matched(desk: Desk) -> None:
    await desk.take(order(), order("UREA"), order("NA", action="hold"))
    await act(desk, worklist.cancel, 1)
    await desk.tell("S1")
    await act(desk, worklist.cancel, 2)
    await desk.result("S1", UNKNOWN)
    ((message, _),) = without(desk)
    await desk.take(order(placer="O9", patient=RAVI))  # one number, two patients
    for number, state in ((1, "cancelled"), (2, "cancel_pending"), (3, "held"), (4, "held"), (9, "no order W9")):
        with pytest.raises(RefusedError, match=state):
            await act(desk, worklist.match, number, message_id=message)
    with pytest.raises(RefusedError):
        await act(desk, worklist.match, 3, message_id=message + 1)
    assert without(desk) == [(message, 1)]
