"""What verify says of journals that somebody has tampered with, by kinds; bits and files are in tests/faults."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from engine.features.codes import rows as corrections
from engine.features.results.rows import delta_history
from engine.model.content.results import Result
from engine.model.errors import IntegrityError, StoreError
from engine.model.message import Unmapped
from engine.model.outcome import Outcome
from engine.model.site.corrections import RowChange
from engine.model.texts.reasons import ReasonCode
from engine.store.core.chain import ROW_COLUMNS, JournalRow, chain_hash
from engine.store.integrity import verify
from engine.store.operations import append, audit, line_trace, record_outcome
from engine.store.operations.line_trace import LineEntry, LineRecord, LineWay
from engine.store.operations.outbox import attempts, claims
from tests.engine.features.results.rows.test_number_bearers import IYER, KHAN, ends
from tests.support.journals import opened, queue, running, store

Tamper = Callable[[sqlite3.Connection], None]


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """Ten messages to two destinations, with frames, a dead delivery and an act."""
    data = tmp_path / "data"
    async with running(data) as journal:
        await queue(journal, *(b"%d" % n * 50 for n in range(10)), to=("a", "b"))
        (first,) = await journal.run(claims.claim, "chem", "a", 1)
        await journal.run(attempts.bury, first.id, reason=ReasonCode.REFUSED, detail="422", answer=b"no")
        await journal.run(append.store_frame, "line", journal.new_session(), b"1H", 1)
        await journal.run(audit.note, "ann", "unmask", {})
    return data


def tampered(data: Path, tamper: str | Tamper) -> list[tuple[str, str, int, int]]:
    with closing(sqlite3.connect(data / "journal.db", isolation_level=None)) as connection:
        if isinstance(tamper, str):
            connection.execute(tamper)
        else:
            tamper(connection)
    return [(found.kind, found.table, found.first, found.last) for found in verify.run(data)]


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        ("UPDATE journal SET received_us = received_us + 1 WHERE id = 4", [("changed", "journal", 4, 4)]),
        ("UPDATE journal SET message_type = 'ORU^R02' WHERE id = 4", [("changed", "journal", 4, 4)]),
        (
            "UPDATE journal SET body = x'00' WHERE id IN (4, 9)",
            [("changed", "journal", 4, 4), ("changed", "journal", 9, 9)],
        ),
        ("UPDATE journal SET hash = zeroblob(32) WHERE id = 4", [("changed", "journal", 4, 4)]),
        ("UPDATE journal SET chain = zeroblob(32) WHERE id = 4", [("chain", "journal", 4, 4)]),
        (
            "UPDATE journal SET chain = zeroblob(32) WHERE id = 12",
            [("anchor", "journal", 0, 0), ("chain", "journal", 12, 12)],
        ),
        ("UPDATE document SET body = x'00' WHERE id = 3", [("changed", "document", 3, 3)]),
        ("UPDATE document SET reports = zeroblob(32) WHERE id = 3", [("changed", "document", 3, 3)]),
        (
            "DELETE FROM document WHERE id = 3",
            [("missing", "document", 3, 3), ("reference", "delivery", 5, 5), ("reference", "delivery", 6, 6)],
        ),
        ("UPDATE delivery SET state = 'delivered' WHERE id = 2", [("tally", "lane", 2, 2)]),
        ("UPDATE delivery SET document_id = 3 WHERE id = 2", [("reference", "delivery", 2, 2)]),
        ("UPDATE lane SET dead = 0", [("tally", "lane", 1, 1)]),
        ("UPDATE channel SET stored = 3 WHERE name = 'chem'", [("tally", "channel", 0, 0)]),
        ("DELETE FROM message_state WHERE id = 4", [("tally", "channel", 0, 0)]),
        (
            "DELETE FROM delivery WHERE seq IN (3, 10) AND lane = 2",
            [("missing", "delivery", 3, 3), ("missing", "delivery", 10, 10), ("tally", "lane", 2, 2)],
        ),
        (
            "UPDATE delivery SET seq = 4 WHERE seq = 3 AND lane = 2",
            [("missing", "delivery", 3, 3), ("reference", "delivery", 4, 4)],
        ),
    ],
)
async def test_what_was_changed_is_named(data: Path, tamper: str, expected: list[tuple[str, str, int, int]]) -> None:
    assert tampered(data, tamper) == expected


@pytest.mark.parametrize(("first", "last"), [(1, 1), (4, 6), (11, 11)])
async def test_rows_taken_out_are_named(data: Path, first: int, last: int) -> None:
    found = tampered(data, f"DELETE FROM journal WHERE id BETWEEN {first} AND {last}")
    assert [f for f in found if f[1] == "journal"] == [("missing", "journal", first, last)]


@pytest.mark.promise("P5")
async def test_the_last_rows_taken_out_are_named_by_the_anchor(data: Path) -> None:
    found = tampered(data, "DELETE FROM journal WHERE id > 10")
    assert [f for f in found if f[1] == "journal"] == [("anchor", "journal", 11, 12)]


async def test_a_row_exchanged_with_a_fitting_hash_breaks_the_chain_there(data: Path) -> None:
    def exchange(connection: sqlite3.Connection) -> None:
        (row,) = _a_microsecond_later(connection, "id = 4")
        connection.execute("UPDATE journal SET received_us = ?, hash = ? WHERE id = 4", (row.received_us, row.computed))

    assert tampered(data, exchange) == [("chain", "journal", 4, 4)]


async def test_a_whole_new_chain_is_noticed_by_the_anchor(data: Path) -> None:
    def forge(connection: sqlite3.Connection) -> None:
        (chain,) = connection.execute("SELECT chain FROM journal WHERE id = 3").fetchone()
        for row in _a_microsecond_later(connection, "id > 3"):
            own = row.computed
            chain = chain_hash(chain, own)
            connection.execute(
                "UPDATE journal SET received_us = ?, hash = ?, chain = ? WHERE id = ?",
                (row.received_us, own, chain, row.id),
            )

    assert tampered(data, forge) == [("anchor", "journal", 0, 0)]


def _a_microsecond_later(connection: sqlite3.Connection, where: str) -> list[JournalRow]:
    found = connection.execute(f"SELECT {ROW_COLUMNS} FROM journal WHERE {where}").fetchall()
    return [row._replace(received_us=row.received_us + 1) for row in map(JournalRow._make, found)]


async def test_two_rows_exchanged_for_each_other_are_both_named(data: Path) -> None:
    def swap(connection: sqlite3.Connection) -> None:
        bodies = dict(connection.execute("SELECT id, body FROM journal WHERE id IN (4, 7)"))
        connection.execute("UPDATE journal SET body = ? WHERE id = 4", (bodies[7],))
        connection.execute("UPDATE journal SET body = ? WHERE id = 7", (bodies[4],))

    assert tampered(data, swap) == [("changed", "journal", 4, 4), ("changed", "journal", 7, 7)]


async def test_the_deep_check_opens_what_the_short_one_cannot_judge(data: Path) -> None:
    assert tampered(data, "UPDATE attempt SET detail = zeroblob(60)") == []
    assert [(f.kind, f.table, f.first) for f in verify.run(data, deep=True)] == [("sealed", "attempt", 1)]
    tampered(data, "UPDATE delivery SET detail = zeroblob(60) WHERE id = 1")
    assert [(f.kind, f.table, f.first) for f in verify.run(data, deep=True)] == [
        ("sealed", "delivery", 1),
        ("sealed", "attempt", 1),
    ]


# Table -> what is sealed in it. Every sealed column of the schema stands here or above.
NOTES = {
    "line_trace": "content",
    "earlier_value": "value",
    "unmapped_code": "text",
    "correction": "text",
    "bearer": "record",
    "bearer_asked": "record",
}


@pytest.fixture
async def noted(tmp_path: Path) -> Path:
    """A journal with something in each table of `NOTES`."""
    data = tmp_path / "noted"
    value = Result(codes=(("http://loinc.org", "2345-7"),), value=Decimal("5.5"), units=("mmol/L",), subject="s")
    line = LineRecord("chem", 0, (LineEntry(LineWay.IN, 1, b"\x05"),))
    async with running(data) as journal:
        await ends(journal, IYER, KHAN)
        (stored,) = await store(journal, b"GLU")
        await journal.run(record_outcome.record, stored.id, Outcome("mapped", unmapped=(Unmapped("analytes", "GLU"),)))
        await journal.writer.submit(lambda batch: delta_history.remember(batch, 1, [value], batch.now_us))
        await journal.writer.submit(lambda batch: line_trace.store(batch, [line]))
        row = RowChange(channel="chem", table="analytes", key={"code": "GLU"}, cells={"loinc": "2345-7"})
        await journal.run(corrections.add, row, "asha", version=0)
    return data


@pytest.mark.parametrize("table", NOTES)
async def test_the_deep_check_opens_every_note(noted: Path, table: str) -> None:
    assert verify.run(noted, deep=True) == []
    assert tampered(noted, f"UPDATE {table} SET {NOTES[table]} = zeroblob(60) WHERE {NOTES[table]} <> x''") == []
    assert {(f.kind, f.table) for f in verify.run(noted, deep=True)} == {("sealed", table)}


async def test_the_short_check_needs_no_key_and_the_deep_one_does(data: Path) -> None:
    (data / "labrelay.key").unlink()
    assert verify.run(data) == []
    with pytest.raises(IntegrityError, match="needs it"):
        verify.run(data, deep=True)


async def test_it_runs_beside_a_writer_without_false_alarms(data: Path) -> None:
    import asyncio

    async with running(data) as journal:
        writing = asyncio.create_task(queue(journal, *(b"x%d" % n for n in range(250))))
        runs = 0
        while not writing.done():
            assert await asyncio.to_thread(verify.run, data) == []
            runs += 1
        await writing
        assert runs


async def test_progress_is_told_and_ends_at_the_total(data: Path) -> None:
    said: list[tuple[int, int]] = []
    verify.run(data, progress=lambda done, total: said.append((done, total)))
    assert said[-1] == (12, 12)


async def test_no_journal_is_an_error_not_a_finding(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no journal"):
        verify.run(tmp_path)


async def test_the_start_looks_at_the_newest_rows(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.store.integrity.verify.START_LEAST", 5)
    opened(data).close()  # all of them are what was stored, and from here on the newest are looked at
    copy = data.with_name("copy")
    for row_id, told in ((8, True), (7, False)):
        shutil.copytree(data, copy)
        tampered(copy, f"UPDATE journal SET size = 99 WHERE id = {row_id}")
        journal = opened(copy)
        assert journal.alarms == ([f"row {row_id}: not what was stored"] if told else [])
        journal.close()
        shutil.rmtree(copy)
