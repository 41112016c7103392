"""What verify, an erasure and a backup know of the worklist."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.rows import reading
from engine.model.orders import Asked, OrderedPatient, OrderLine, Question
from engine.model.process.clock import ManualClock
from engine.model.worklist import AskSettings, ResultOf, TakeSettings
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from tests.support.journals import running, store

SETTINGS = TakeSettings(known_channels={"chem": frozenset({"GLU"})})


async def take(journal: Journal, patient: str, specimen: str) -> int:
    (stored,) = await store(journal, specimen.encode(), channel="his")
    line = OrderLine(test="GLU", specimen=specimen, placer=specimen, patient=OrderedPatient(number=patient))
    await journal.run(worklist.take_orders, stored.id, "his", [line], SETTINGS)
    return stored.id


async def ask(journal: Journal, specimen: str) -> list[int]:
    question = Question(kind="specimens", asked=(Asked(specimen=specimen),))
    answered = await journal.run(worklist.answer, 1, question, AskSettings(channel="chem", codes={"GLU": "1"}))
    return [one.number for one in answered.tubes[0].items]


async def test_an_erasure_empties_the_orders_of_a_patient_and_of_its_messages(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data, clock=ManualClock()) as journal:
        message = await take(journal, "P1", "S1")
        await take(journal, "p1", "S2")
        await take(journal, "P2", "S3")
        assert await ask(journal, "S1") == [1]
        for row, patient in ((message, ""), (2, "P1"), (3, "P2")):
            await journal.run(worklist.result, row, "chem", f"S{row}", patient, [ResultOf(code="99")])
        done = await journal.run(erasure.erase, [message], ["P1"], actor="asha", reason="asked", more={})
        assert done.closed >= 2
        found = [reading.item(journal, number) for number in (1, 2, 3)]
        assert [(str(one.item.state), one.item.line == OrderLine()) for one in found if one is not None] == [
            ("cancelled", True),
            ("cancelled", True),
            ("waiting", False),
        ]
        assert (await ask(journal, "S1"), await ask(journal, "S2"), await ask(journal, "S3")) == ([], [], [3])
        assert reading.items(journal, reading.ItemFilter(patient="P1")) == []
        assert [one.message_id for one in reading.without_order(journal)] == [3]
    assert verify.run(data, deep=True) == []


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("DELETE FROM order_item WHERE number = 2", ("missing", 2)),
        ("UPDATE order_item SET state = 'resulted' WHERE number = 3", ("changed", 3)),
        ("DELETE FROM order_event WHERE item = 1", ("changed", 1)),
        ("DELETE FROM order_item WHERE number = 3", ("missing", 3)),
        ("UPDATE order_item SET specimen = zeroblob(16) WHERE number = 2", ("changed", 2)),
        ("UPDATE order_item SET patient = x'' WHERE number = 2", ("changed", 2)),
        ("UPDATE order_item SET rank = 0 WHERE number = 1", ("changed", 1)),
    ],
)
async def test_verify_finds_what_is_wrong(tmp_path: Path, damage: str, finding: tuple[str, int]) -> None:
    data = tmp_path / "data"
    async with running(data, clock=ManualClock()) as journal:
        for number in range(3):
            await take(journal, "P1", f"S{number}")
    assert verify.run(data, deep=True) == []
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection:
        connection.execute(damage)
        connection.commit()
    assert [(one.kind, one.first) for one in verify.run(data, deep=True)] == [finding]
