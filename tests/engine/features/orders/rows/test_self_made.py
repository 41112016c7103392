"""Orders that an analyzer made itself, on a real journal: a table of who may expect what of them.

the analyzer    gets none of them, whatever it asks for
the LIS         hears of a reflex as of one, under the number of the order that it knows; its own order of the
                same test and tube is another one
a person        sees where it comes from; a result that is rejected leaves nothing open
verify, erasure, retention    know it as every other order
"""

from pathlib import Path

import pytest

from adapters.codecs.hl7v2 import order_status
from engine.features.orders import rows as worklist
from engine.features.orders.rows import holding, items, reading
from engine.features.orders.rows.announcing import Listener, announce
from engine.model.errors import RefusedError
from engine.model.message import Received
from engine.model.orders import OrderLine, Question, StatusChange
from engine.model.process.clock import ManualClock
from engine.model.worklist import ResultOf
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.integrity import verify
from engine.store.lifecycle import erasure
from tests.engine.features.orders.rows.test_orders_in_and_out import Desk, act, numbers, order
from tests.support.journals import received, running
from tests.support.ordering_lis import segments

REFLEX = ResultOf(test="UREA", code="20", made=True, parent="W1")
ALONE = ResultOf(test="UREA", code="20", made=True)


@operation(priority=Priority.SETTLE)
def rejected(batch: Batch, number: int, message_id: int) -> None:
    """A person rejects the held result of an item."""
    one = items.by_number(batch, number)
    assert one is not None
    holding.put_back(batch, one, message_id, "chem")


async def heard(desk: Desk) -> list[bytes]:
    said: list[bytes] = []

    def write(change: StatusChange) -> Received:
        said.append(order_status.message(change, at="20260101000000+0000", settings={}))
        return received(said[-1], channel="news", at_us=desk.clock.now_us())

    await desk.journal.run(announce, {"his": [Listener(channel="news", updates=False, write=write)]})
    return said


async def with_reflex(desk: Desk) -> None:
    """W1 was ordered and given; W2 is its reflex."""
    await desk.take(order(placer_namespace="HIS", filler="F1"))
    await desk.tell("S1")
    assert await desk.result("S1", REFLEX) == [(2, False)]
    assert desk.states() == ["offered", "resulted"]


async def test_the_lis_hears_of_a_reflex_under_the_number_of_its_own_order(desk: Desk) -> None:
    await with_reflex(desk)
    (said,) = await heard(desk)
    (orc,), (obr,) = segments(said, "ORC"), segments(said, "OBR")
    assert (orc[1], orc[2], orc[3], orc[5], orc[8]) == ("SC", "", "W2^LABRELAY", "CM", "O1&HIS^F1")
    assert (obr[2], obr[3], obr[4], obr[11], obr[29]) == ("", "W2^LABRELAY", "UREA", "G", "O1&HIS^F1")
    assert segments(said, "PID")[0][3] == "P1"


async def test_of_an_order_that_only_the_analyzer_knows_no_lis_hears(desk: Desk) -> None:
    await desk.result("S1", ALONE)
    assert desk.states() == ["resulted"]
    assert await heard(desk) == []


async def test_an_order_of_the_lis_for_the_same_tube_and_test_is_another_one(desk: Desk) -> None:
    await desk.result("S1", ALONE, patient="P9")
    (done,) = await desk.take(order("UREA", placer=""))
    assert (done.number, done.state, done.repeat) == (2, "waiting", False)
    assert numbers(await desk.ask("S1")) == [2]
    await desk.result("S1", ResultOf(test="UREA", code="20"))
    assert desk.states() == ["resulted", "resulted"]


async def test_what_the_lis_orders_while_the_analyzer_runs_it_already_is_closed_with_it(desk: Desk) -> None:
    begun = ResultOf(test="UREA", code="20", made=True, final=False)
    await desk.result("S1", begun, patient="P1")
    await desk.take(order("UREA"))
    await desk.result("S1", ALONE, patient="P1")
    assert desk.states() == ["resulted", "resulted"]
    assert numbers(await desk.ask("S1")) == []


async def test_it_says_nothing_of_whose_the_tube_is(desk: Desk) -> None:
    await desk.result("S1", ResultOf(test="UREA", code="20", made=True, final=False), patient="P9")
    await desk.take(order())
    assert desk.states() == ["in_progress", "waiting"]
    assert numbers(await desk.ask("S1")) == [2]


async def test_no_question_gets_it_and_no_person_sends_it(desk: Desk) -> None:
    await desk.result("S1", ResultOf(test="UREA", code="20", made=True, final=False), patient="P1")
    kinds = (Question(kind="all"), Question(kind="patients", patients=("P1",)))
    for question in kinds:
        assert numbers(await desk.ask_for(question)) == []
    assert numbers(await desk.ask("S1")) == []
    with pytest.raises(RefusedError, match="made by the analyzer itself"):
        await act(desk, worklist.resend, 1)


@pytest.mark.parametrize("claimed", [ALONE, REFLEX])
async def test_a_held_result_that_is_rejected_leaves_nothing_open(desk: Desk, claimed: ResultOf) -> None:
    await desk.take(order())
    await desk.tell("S1")
    message = await desk.message()
    await desk.journal.run(worklist.result, message, "chem", "S1", "", [claimed], held=True)
    assert desk.state(2) == ("in_progress", "RESULT_HELD")
    await desk.journal.run(rejected, 2, message)
    assert desk.state(2) == ("cancelled", "")
    assert await heard(desk) == []
    await desk.result("S1", claimed)
    assert desk.states() == ["offered", "cancelled", "resulted"]


async def test_a_result_that_is_processed_again_is_of_the_same_order(desk: Desk) -> None:
    await with_reflex(desk)
    message = await desk.message()
    for _ in range(2):
        await desk.journal.run(worklist.result, message, "chem", "S3", "", [ALONE], again=True)
    assert desk.states() == ["offered", "resulted", "resulted"]
    assert [one.results for one in reading.without_order(desk.journal)] == [1]


@pytest.mark.parametrize(
    "other",
    [
        {"patient": "P2"},  # the parent is another patient's
        {"channel": "chem2"},  # another analyzer had it
        {"specimen": "s1"},  # the number is another one
    ],
)
async def test_a_parent_is_one_of_this_very_tube_patient_and_analyzer(desk: Desk, other: dict[str, str]) -> None:
    await desk.take(order())
    await desk.tell("S1")
    about = {"specimen": "S1", **other}
    ((number, _),) = await desk.result(about.pop("specimen"), REFLEX, **about)
    found = reading.item(desk.journal, number)
    assert found is not None
    assert (found.item.origin, found.item.parent) == ("analyzer", 0)
    assert len(reading.without_order(desk.journal)) == 1


async def test_a_number_that_is_used_again_gets_an_order_of_its_own(desk: Desk) -> None:
    await desk.result("S1", ALONE)
    desk.wait(31)
    await desk.result("S1", ALONE)
    assert desk.states() == ["resulted", "resulted"]


async def test_a_control_an_echo_and_an_unknown_code_make_none(desk: Desk) -> None:
    await desk.journal.run(worklist.result, await desk.message(), "chem", "S1", "", [ALONE], control=True)
    await desk.result("S1", ResultOf(test="UREA", code="20", made=True, repeats=True))
    await desk.result("S1", ResultOf(code="77", made=True))
    assert desk.states() == []


async def test_an_erasure_empties_it_and_verify_finds_nothing_wrong(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data, clock=ManualClock()) as journal:
        desk = Desk(journal, ManualClock())
        await desk.take(order())
        await desk.tell("S1")
        await desk.result("S1", REFLEX)
        await desk.result("S2", ALONE, patient="P1")
        await desk.result("S3", ALONE, patient="P2")
        await journal.run(erasure.erase, [], ["P1"], actor="asha", reason="asked", more={})
        found = [reading.item(journal, number) for number in (1, 2, 3, 4)]
        assert [one.item.line == OrderLine() for one in found if one is not None] == [True, True, True, False]
    assert verify.run(data, deep=True) == []
