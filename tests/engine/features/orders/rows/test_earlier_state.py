"""A worklist that goes on from an earlier state: what came after it is unknown here, and known elsewhere."""

from pathlib import Path
from typing import Any

from engine.features.orders import rows as worklist
from engine.features.orders.rows import reading
from engine.features.orders.rows.forgetting import RESERVED
from engine.model.orders import Asked, OrderedPatient, OrderLine, Question
from engine.model.process.clock import ManualClock
from engine.model.worklist import AskSettings, TakeSettings
from engine.store.integrity import rollback, verify
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.recovery.salvage import saving
from tests.support.copies import Place
from tests.support.journals import running, store

SETTINGS = TakeSettings(known_channels={"chem": frozenset({"GLU"})})
ASK = AskSettings(channel="chem", codes={"GLU": "1"})


async def take(journal: Journal, *placers: str, **more: Any) -> list[int]:
    """Orders of a tube each; their numbers."""
    lines = [
        OrderLine(test="GLU", specimen=f"S-{placer}", placer=placer, patient=OrderedPatient(number="P1"), **more)
        for placer in placers
    ]
    (stored,) = await store(journal, " ".join(placers).encode(), channel="his")
    found = await journal.run(worklist.take_orders, stored.id, "his", lines, SETTINGS)
    return [one.number for one in found]


async def offer(journal: Journal, placer: str) -> None:
    question = Question(kind="specimens", asked=(Asked(specimen=f"S-{placer}"),))
    answered = await journal.run(worklist.answer, 1, question, ASK)
    numbers = [one.number for one in answered.tubes[0].items]
    await journal.run(worklist.offered, answered.query, numbers, "chem", 1)


def states(journal: Journal) -> dict[int, str]:
    return {one.number: f"{one.state} {one.reason}".strip() for one in reading.items(journal, reading.ItemFilter())}


async def test_after_a_restore_what_waited_may_be_known_and_no_number_comes_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with running(place.data) as journal:
        await take(journal, "A", "B", "C")
        await offer(journal, "A")
        await journal.run(worklist.cancel, 3, actor="asha", reason="looked")
        copy = await place.copy(journal)
        await offer(journal, "B")
        assert await take(journal, "D") == [4]
    place.restore(copy, tmp_path / "new")
    async with running(tmp_path / "new" / "var") as journal:
        assert states(journal) == {1: "offered", 2: "waiting MAYBE_KNOWN", 3: "cancelled"}
        assert await take(journal, "E") == [4 + RESERVED]
        assert await journal.run(worklist.cancel, 2, actor="asha", reason="looked") == "cancel_pending"
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


async def test_what_an_earlier_message_orders_when_it_is_processed_again_may_be_known(tmp_path: Path) -> None:
    """It was ordered, and perhaps given, after the copy; a message that comes now orders as ever."""
    place = Place(tmp_path)
    line = OrderLine(test="GLU", specimen="S-D", placer="D", patient=OrderedPatient(number="P1"))
    held = OrderLine(test="GLU", specimen="S-E", placer="E", patient=OrderedPatient(number="P2"), action="hold")
    async with running(place.data) as journal:
        await take(journal, "A")
        (later,) = await store(journal, b"D", channel="his")
        copy = await place.copy(journal)
    place.restore(copy, tmp_path / "new")
    async with running(tmp_path / "new" / "var") as journal:
        await journal.run(worklist.take_orders, later.id, "his", [line, held], SETTINGS)
        (number,) = await take(journal, "F")
        assert [states(journal)[one] for one in range(number - 2, number + 1)] == [
            "waiting MAYBE_KNOWN",
            "held HELD_BY_LIS",
            "waiting",
        ]
        assert await journal.run(worklist.cancel, number - 1, actor="asha", reason="looked") == "cancel_pending"
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


async def test_a_round_of_backups_in_which_orders_alone_have_changed_is_written_once(tmp_path: Path) -> None:
    """An order that goes out unasked, or whose time ends, makes no row of the journal."""
    place, clock = Place(tmp_path), ManualClock()
    async with running(place.data, clock=clock) as journal:
        await take(journal, "A", "B", "C")
        copy = await place.copy(journal)
        assert not place.standing(copy)
        for placer in ("A", "B"):
            last = journal.last_id
            clock.advance(1.0)
            await offer(journal, placer)
            assert journal.last_id == last
            assert [place.standing(copy) for _ in range(2)] == [True, False]
    place.restore(copy, tmp_path / "new")
    async with running(tmp_path / "new" / "var") as journal:
        assert states(journal) == {1: "offered", 2: "offered", 3: "waiting MAYBE_KNOWN"}
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


async def test_after_a_restore_what_was_held_may_be_known(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with running(place.data) as journal:
        await take(journal, "A", "B", action="hold")
        copy = await place.copy(journal)
        await journal.run(worklist.release, 1, actor="asha", reason="looked")
        await offer(journal, "A")
    place.restore(copy, tmp_path / "new")
    async with running(tmp_path / "new" / "var") as journal:
        assert states(journal) == {1: "held HELD_BY_LIS", 2: "held HELD_BY_LIS"}
        assert await journal.run(worklist.cancel, 1, actor="asha", reason="looked") == "cancel_pending"
        await journal.run(worklist.release, 2, actor="asha", reason="looked")
        assert states(journal)[2] == "waiting MAYBE_KNOWN"


async def test_after_a_restore_the_orders_of_an_erased_message_are_erased(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with running(place.data) as journal:
        await take(journal, "A")
        await take(journal, "B")
        copy = await place.copy(journal)
        await journal.run(erasure.erase, [1], [], actor="asha", reason="asked", more={})
    place.rows(copy)
    place.restore(copy, tmp_path / "new")
    async with running(tmp_path / "new" / "var") as journal:
        assert states(journal) == {1: "cancelled", 2: "waiting MAYBE_KNOWN"}
        (one, _) = sorted(reading.items(journal, reading.ItemFilter()), key=lambda one: one.number)
        assert one.line == OrderLine()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


async def test_a_data_folder_that_was_put_back(tmp_path: Path) -> None:
    async with running(tmp_path, clock=ManualClock()) as journal:
        await take(journal, "A")
        await journal.run(rollback.note, rollback.Rollback("put back", 0, 0))
        assert states(journal) == {1: "waiting MAYBE_KNOWN"}
        assert await take(journal, "B") == [2 + RESERVED]
    assert [one.kind for one in verify.run(tmp_path, deep=True)] == [verify.ROLLBACK]


async def test_a_salvaged_journal(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path / "var", clock=clock) as journal:
        await take(journal, "A")
    saving.run(tmp_path / "var", tmp_path / "new", clock=clock, actor="asha", reason="tested")
    async with running(tmp_path / "new", clock=clock) as journal:
        assert states(journal) == {1: "waiting MAYBE_KNOWN"}
        assert await take(journal, "B") == [2 + RESERVED]
    assert verify.run(tmp_path / "new", deep=True) == []
