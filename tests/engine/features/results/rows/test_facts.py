"""The facts of a message go where the message goes; and the judge beside the comparing never disturbs it."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.results.rows import facts, judged
from engine.model.content.facts import Facts, packed, stored
from engine.model.errors import StoreError
from engine.model.journal.records import Decision
from engine.model.outcome import NOTHING_READ, Outcome, ReadResults
from engine.model.process.clock import ManualClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.writing.batch import Batch
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.operations import record_outcome
from engine.store.operations.outbox import decisions
from engine.store.operations.pruning import PrunableRows, let_go
from engine.store.recovery.backups import state_snapshot
from engine.store.recovery.salvage import saving
from engine.succession.judge.words import Memory
from tests.histories.samples.judged import facts_of
from tests.support.copies import Place
from tests.support.journals import opened, routed, running
from tests.support.journals import store as stored_in

DAY = date(2026, 3, 1).toordinal()
AGAIN = Decision(again=True)


def message(*results: str, order: str = "S1", placer: str = "P1", at: str = "20260301054500") -> bytes:
    """Results of an order, each as ``F CRE 5.5``."""
    told = [one.split() for one in results]
    head = f"MSH|^~\\&|AN|LAB|LIS|H|{at}||ORU^R01|1|P|2.5.1"
    segments = [
        head,
        "PID|1||900||HARINI^X||19700707|F",
        f"OBR|1|{placer}|{order}|CHEM^Panel^L|||{at}||||||||||||||||||F",
    ]
    segments += [
        f"OBX|{place}|NM|{code}^{code}^L||{value}|mmol/L|||||{status}|||{at}"
        for place, (status, code, value) in enumerate(told, 1)
    ]
    return "\r".join([*segments, ""]).encode()


def read(content: bytes) -> ReadResults:
    return ReadResults(packed(facts_of(content, "hl7")), "results-hl7@1")


async def say(
    journal: Journal, content: bytes, *, knows: bool = True, channel: str = "chem", body: bytes = b"{}"
) -> int:
    """A message comes in and is recorded. ``knows``: its facts are read."""
    (one,) = await stored_in(journal, content, channel=channel)
    outcome: Outcome[Any] = Outcome("mapped", read=read(content) if knows else None)
    await journal.run(record_outcome.record, one.id, outcome, [routed(body)])
    return one.id


async def rows(journal: Journal, question: str, *values: Any) -> list[tuple[Any, ...]]:
    return await journal.writer.submit(lambda batch: batch.execute(question, values).fetchall())


async def remembered(journal: Journal, *numbers: str, older: tuple[int, ...] = ()) -> Memory:
    asked = [(number, DAY) for number in numbers]
    memory = await journal.writer.submit(lambda batch: judged.remembered(batch, asked, 1000, older))
    assert memory is not None
    return memory


async def standing(journal: Journal, *numbers: str) -> dict[tuple[int, int], list[str]]:
    """What stands of the orders: the place of a first word -> its values."""
    memory = await remembered(journal, *numbers)
    return {one.ref: [word.value for word in one.words] for one in memory.standing}


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path / "data") as journal:
        yield journal


def test_facts_are_the_same_once_they_were_stored() -> None:
    content = message("F CRE 5.5", "P GLU >7.1", "F NA 139").replace(b"|F\r", b"|F\rNTE|1||word\r", 1)
    said = facts_of(content, "hl7")
    assert stored(orjson.loads(packed(said))) == said
    assert stored(orjson.loads(packed(Facts()))) == Facts()
    assert stored(orjson.loads(NOTHING_READ.facts)) == Facts()


async def test_a_message_with_results_has_facts_and_another_has_none(journal: Journal) -> None:
    first, _ = await say(journal, message("F CRE 5.5")), await say(journal, b"MSH|no results", knows=False)
    assert await rows(journal, "SELECT message_id, reader FROM fact") == [(first, "results-hl7@1")]
    assert await rows(journal, "SELECT count(*) FROM fact_number WHERE message_id = ?", first) == [(2,)]
    (one,) = await journal.writer.submit(lambda batch: [*facts.stored(batch, [first])])
    assert (one.facts, one.decisions) == (facts_of(message("F CRE 5.5"), "hl7"), {})


async def test_nothing_of_a_patient_is_in_clear(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await say(journal, message("F CRE 5.5", order="SECRET77"))
    stored_bytes = (tmp_path / JOURNAL_NAME).read_bytes()
    assert not [one for one in (b"SECRET77", b"HARINI") if one in stored_bytes]


async def test_what_was_decided_of_it_is_remembered(journal: Journal) -> None:
    first = await say(journal, message("F CRE 5.5", "F NA 139"))
    second = await say(journal, message("C CRE 6.5", at="20260301055000"), channel="chem")
    other = await say(journal, message("F GLU 1.1", order="S2", placer="P2"))
    assert await standing(journal, "S1") == {(first, 1): ["5.5", "6.5"], (first, 2): ["139"]}
    assert await standing(journal, "P1") == await standing(journal, "P1", "S1")
    assert (await standing(journal, "S2")).keys() == {(other, 1)}
    assert second > first


async def test_results_of_another_channel_are_remembered_too(journal: Journal) -> None:
    first = await say(journal, message("F CRE 5.5"))
    second = await say(journal, message("F CRE 7.5"), channel="other")
    assert (await standing(journal, "S1")).keys() == {(first, 1), (second, 1)}


async def test_a_number_of_another_week_is_another_order_where_it_may_come_again(journal: Journal) -> None:
    first = await say(journal, message("F CRE 5.5"))
    later = [("S1", DAY + 7)]
    for near, found in ((facts.NEAR_DAYS, set()), (facts.EVER, {(first, 1)})):
        memory = await journal.writer.submit(
            lambda batch, near=near: judged.remembered(batch, later, 1000, near=near)  # type: ignore[misc]
        )
        assert memory is not None
        assert {one.ref for one in memory.standing} == found
    memory = await journal.writer.submit(lambda batch: judged.remembered(batch, [("S1", DAY + 2)], 1000))
    assert memory is not None
    assert len(memory.standing) == 1


async def test_behind_too_many_messages_of_an_order_nothing_is_judged(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "MOST_MESSAGES", 2)
    made = [await say(journal, message(f"F K{n} 4.0")) for n in range(4)]
    kept = await journal.writer.submit(lambda batch: [*facts.stored(batch, made)])
    assert [one.decisions for one in kept] == [{}, {}, {}, None]


async def test_what_a_person_rejects_is_refused_by_content(journal: Journal) -> None:
    first = await say(journal, message("F CRE 5.5"))
    memory = await remembered(journal, "S1")
    assert (len(memory.standing), memory.refused) == (1, frozenset())
    ids = [one for (one,) in await rows(journal, "SELECT id FROM delivery WHERE message_id = ?", first)]
    await journal.writer.submit(lambda batch: decisions.dismiss(batch, ids, ""))
    memory = await remembered(journal, "S1")
    assert (memory.standing, len(memory.refused)) == ((), 1)


async def test_a_message_that_is_processed_again_has_its_newest_facts(journal: Journal) -> None:
    first = await say(journal, message("F CRE 5.5"))
    for n in range(3):  # that its memory is kept
        await say(journal, message(f"F K{n} 4.0"))
    assert (await standing(journal, "S1"))[first, 1] == ["5.5"]
    again = message("F CRE 8.8", order="S9")
    outcome: Outcome[Any] = Outcome("mapped", read=read(again))
    await journal.run(record_outcome.record, first, outcome, [routed(b"{}")], decision=AGAIN)
    assert await standing(journal, "S9", "P1") == {
        (first, 1): ["8.8"], (2, 1): ["4.0"], (3, 1): ["4.0"], (4, 1): ["4.0"]
    }  # fmt: skip
    assert await rows(journal, "SELECT count(*) FROM fact WHERE message_id = ?", first) == [(1,)]
    assert (first, 1) not in await standing(journal, "S1")


async def test_it_goes_with_an_erasure(journal: Journal) -> None:
    first, second = await say(journal, message("F CRE 5.5")), await say(journal, message("F NA 139"))
    await journal.run(erasure.erase, [first], ["900"], actor="ann", reason="asked", more={})
    assert await rows(journal, "SELECT message_id FROM fact") == [(second,)]
    assert await rows(journal, "SELECT DISTINCT message_id FROM fact_number") == [(second,)]
    assert (await standing(journal, "S1")).keys() == {(second, 1)}


async def test_it_goes_with_its_message(journal: Journal) -> None:
    first, second = await say(journal, message("F CRE 5.5")), await say(journal, message("F NA 139"))
    ((chain,),) = await rows(journal, "SELECT chain FROM journal WHERE id = ?", first)
    await journal.writer.submit(lambda batch: let_go(batch, PrunableRows(0, rows={first: chain}, messages=[first])))
    assert await rows(journal, "SELECT message_id FROM fact") == [(second,)]
    assert await rows(journal, "SELECT DISTINCT message_id FROM fact_number") == [(second,)]


async def test_the_deep_check_opens_it(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await say(journal, message("F CRE 5.5"))
    assert verify.run(tmp_path, deep=True) == []
    change(tmp_path, "UPDATE fact SET content = zeroblob(60)")
    assert [(one.kind, one.table) for one in verify.run(tmp_path, deep=True)] == [("sealed", "fact")]


async def test_it_comes_back_with_a_backup(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with running(place.data) as journal:
        copy = await place.copy(journal)
        await say(journal, message("F CRE 5.5"))
        await say(journal, message("F NA 139", order="S2", placer="P2"))
        ident = journal.journal_id
    path = place.data / JOURNAL_NAME
    before = tables(place.data)
    assert [len(some) for some in before] == [2, 4]
    snapshot = state_snapshot.write(copy, path)
    assert snapshot is not None
    with closing(sqlite3.connect(path, isolation_level=None, uri=True)) as connection:
        connection.execute("DELETE FROM fact")
        connection.execute("DELETE FROM fact_number")
        state_snapshot.apply(connection, snapshot, ident)
    assert tables(place.data) == before


async def test_it_comes_out_of_a_salvage(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal:
        await say(journal, message("F CRE 5.5"))
    saving.run(tmp_path / "data", tmp_path / "new", clock=ManualClock(), actor="ann", reason="a bad disk")
    assert tables(tmp_path / "new") == tables(tmp_path / "data")


async def test_numbers_without_their_facts_disturb_no_message(journal: Journal) -> None:
    """As a salvage may leave them, which has a message processed again."""
    first = await say(journal, message("F CRE 5.5"))
    await rows(journal, "DELETE FROM fact")
    outcome: Outcome[Any] = Outcome("mapped", read=read(message("F CRE 5.5")))
    done = await journal.run(record_outcome.record, first, outcome, [routed(b"{}")], decision=AGAIN)
    assert (done.state, await standing(journal, "S1")) == ("mapped", {(first, 1): ["5.5"]})


async def test_facts_that_were_never_stored_are_read_once_and_judged_late(journal: Journal) -> None:
    asked: list[int] = []

    def again(one: Any) -> ReadResults:
        asked.append(one.id)
        return read(one.payload) if one.payload.startswith(b"MSH") else NOTHING_READ

    journal.upkeep.read_again = again
    first = await say(journal, message("F CRE 5.5"), knows=False)
    nothing = await say(journal, b"no message", knows=False)

    async def known() -> dict[tuple[int, int], list[str]]:
        memory = await remembered(journal, "S1", older=(first, nothing))
        return {one.ref: [word.value for word in one.words] for one in memory.standing}

    assert await known() == {(first, 1): ["5.5"]}
    assert await known() == {(first, 1): ["5.5"]}
    assert asked == [first, nothing]
    second = await say(journal, message("C CRE 6.5", at="20260301055000"))
    assert await known() == {(first, 1): ["5.5", "6.5"]}
    assert second > first


@pytest.mark.parametrize("damage", ["UPDATE fact SET content = zeroblob(60)", "UPDATE fact SET content = x''"])
async def test_damaged_facts_of_another_message_disturb_none(
    journal: Journal, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    await say(journal, message("F CRE 5.5"))
    await rows(journal, damage)
    with caplog.at_level(logging.ERROR):
        second = await say(journal, message("C CRE 6.5", at="20260301055000"))
    assert [one.getMessage() for one in caplog.records] == ["facts cannot be judged"]
    assert await rows(journal, "SELECT state FROM delivery WHERE message_id = ?", second) == [("waiting",)]
    assert await rows(journal, "SELECT count(*) FROM fact WHERE message_id = ?", second) == [(1,)]


async def test_an_error_of_the_judge_disturbs_no_message(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(judged, "usual", fails)
    with caplog.at_level(logging.ERROR):
        first = await say(journal, message("F CRE 5.5"))
    assert [one.getMessage() for one in caplog.records] == ["facts cannot be judged"]
    assert await rows(journal, "SELECT state FROM delivery WHERE message_id = ?", first) == [("waiting",)]
    monkeypatch.undo()
    assert await standing(journal, "S1") == {(first, 1): ["5.5"]}


async def test_a_transaction_that_fails_leaves_nothing_in_memory(journal: Journal) -> None:
    first = await say(journal, message("F CRE 5.5"))
    (one,) = await stored_in(journal, message("F NA 139"))

    def fails(batch: Batch) -> None:
        outcome: Outcome[Any] = Outcome("mapped", read=read(message("F NA 139")))
        record_outcome.record(batch, one.id, outcome, [routed(b"{}")])
        judged.remembered(batch, [("S1", DAY)], 1000)
        raise StoreError("no")

    with pytest.raises(StoreError):
        await journal.writer.submit(fails)
    outcome: Outcome[Any] = Outcome("mapped", read=read(message("F K 4.4")))
    await journal.run(record_outcome.record, one.id, outcome, [routed(b"{}")])
    assert await standing(journal, "S1") == {(first, 1): ["5.5"], (one.id, 1): ["4.4"]}


async def test_what_is_kept_in_memory_has_a_bound(journal: Journal) -> None:
    def many(batch: Batch) -> int:
        tail = batch.tail.standing
        for number in range(2_000):
            tail.keep(((b"%d" % number, b""),), [0] * 30)
        return sum(map(len, tail.values()))

    assert await journal.writer.submit(many) <= 5_000


def change(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection, connection:
        connection.execute(statement)


def tables(data: Path) -> list[list[tuple[Any, ...]]]:
    opened(data).close()
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection:
        return [connection.execute(f"SELECT * FROM {name}").fetchall() for name in ("fact", "fact_number")]
