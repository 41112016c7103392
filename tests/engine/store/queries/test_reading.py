"""Reading: pages without gaps or repeats, no scans, a deadline, and ways to read without the daemon."""

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.errors import IntegrityError, LockedError, StoreError
from engine.model.journal.journal_views import Filter
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.journal.starting import unprocessed
from engine.store.operations import append, audit, record_outcome
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.lanes import list_channels, list_lanes, open_lanes
from engine.store.queries.letters import dead_letters, held_deliveries
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader, stored_document, stored_message, stored_payload
from engine.store.queries.tallies import counters_of
from tests.support.journals import NOW_US, WINDOW_S, opened, queue, received, routed, running, store

ROOT = Path(__file__).parents[4]


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path) as journal:
        yield journal


async def fill(journal: Journal) -> None:
    """Twenty messages in two channels: mapped, dead, filtered, and some still stored; one minute apart."""
    for n in range(20):
        at_us = NOW_US + n * 60_000_000
        one = received(b"%d" % n, channel="ab"[n % 2], control_id=f"C{n}", at_us=at_us)
        stored = await journal.run(append.store_message, one, repeat_window_s=WINDOW_S)
        match n % 5:
            case 0 | 1:
                await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(b"{}", "x", "y")])
            case 2:
                await journal.run(record_outcome.record, stored.id, Outcome("dead", ReasonCode.NO_ROUTE))
            case 3:
                await journal.run(record_outcome.record, stored.id, Outcome("filtered", ReasonCode.FILTERED))
    session = journal.new_session()
    for n in range(30):
        await journal.run(append.store_frame, "b", session, b"%dH" % n, NOW_US)


def paged(fetch: Callable[[int | None], list[int]]) -> list[int]:
    found: list[int] = []
    while page := fetch(found[-1] if found else None):
        found += page
    return found


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), range(1, 21)),
        (Filter(channel="b"), range(2, 21, 2)),
        (Filter(channel="b", state="dead"), [8, 18]),
        (Filter(state="dead"), [3, 8, 13, 18]),
        (Filter(state="stored"), [5, 10, 15, 20]),
        (Filter(state="mapped", channel="a"), [1, 7, 11, 17]),
        (Filter(code="FILTERED"), [4, 9, 14, 19]),
        (Filter(message_type="ORU^R01", channel="a"), range(1, 21, 2)),
        (Filter(message_type="ACK"), []),
        (Filter(channel="b", control_id="C7"), [8]),
        (Filter(channel="a", control_id="C7"), []),
        (Filter(channel="none"), []),
        (Filter(after_us=NOW_US + 5 * 60_000_000, before_us=NOW_US + 9 * 60_000_000), [6, 7, 8, 9]),
        (Filter(after_us=NOW_US + 5 * 60_000_000 + 1, channel="a"), range(7, 21, 2)),
        (Filter(before_us=NOW_US), []),
    ],
)
async def test_every_page_of_messages_in_order_and_none_twice(
    journal: Journal, wanted: Filter, expected: list[int]
) -> None:
    await fill(journal)
    for limit in (1, 3, 100):
        found = paged(
            lambda before, limit=limit: [m.id for m in messages_page(journal, wanted, before_id=before, limit=limit)]
        )
        assert found == sorted(expected, reverse=True)


async def test_every_page_of_dead_letters_and_none_twice(journal: Journal) -> None:
    await fill(journal)
    for destination in ("x", "y"):
        for channel in ("a", "b"):
            for delivery in await journal.run(claims.claim, channel, destination, 3):
                await journal.run(attempts.bury, delivery.id, reason=ReasonCode.REFUSED)
    everything = dead_letters(journal, limit=1000)
    assert len(everything) == 4 + 12
    for limit in (1, 2, 3, 5):
        found: list[tuple[int, int]] = []
        before = None
        while page := dead_letters(journal, before_id=before, limit=limit):
            found += [(letter.message_id, letter.delivery_id) for letter in page]
            before = found[-1][0]
        assert found == [(letter.message_id, letter.delivery_id) for letter in everything]
    assert {letter.destination for letter in dead_letters(journal, Filter(destination="x"))} == {"x"}
    assert {letter.reason for letter in dead_letters(journal, Filter(code="NO_ROUTE"))} == {"NO_ROUTE"}
    assert {letter.channel for letter in dead_letters(journal, Filter(channel="b"))} == {"b"}
    assert dead_letters(journal, Filter(state="incomplete")) == []
    assert dead_letters(journal, Filter(before_us=NOW_US)) == []


@contextmanager
def statements(reader: Reader) -> Iterator[list[str]]:
    """What a reader runs, with its values filled in."""
    seen: list[str] = []
    connection = reader._take()
    connection.set_trace_callback(seen.append)
    reader._idle = [connection]
    try:
        yield seen
    finally:
        connection.set_trace_callback(None)


@contextmanager
def columns_read(reader: Reader) -> Iterator[set[tuple[str, str]]]:
    """The (table, column) that a reader's statements read."""
    seen: set[tuple[str, str]] = set()

    def note(action: int, table: str | None, column: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_READ:
            seen.add((table or "", column or ""))
        return sqlite3.SQLITE_OK

    connection = reader._take()
    connection.set_authorizer(note)
    reader._idle = [connection]
    try:
        yield seen
    finally:
        connection.set_authorizer(None)


async def test_no_list_reads_what_a_message_or_a_document_says(journal: Journal) -> None:
    await fill(journal)
    bodies = {("journal", "body"), ("document", "body")}
    with columns_read(journal) as seen:
        for wanted in (
            Filter(),
            Filter(channel="a", state="dead"),
            Filter(channel="a", control_id="C2"),
            Filter(after_us=1),
        ):
            assert messages_page(journal, wanted)
            dead_letters(journal, wanted)
        held_deliveries(journal)
        letter_groups(journal)
        list_channels(journal)
        list_lanes(journal)
        assert ("journal", "id") in seen
        assert not seen & bodies
        stored_payload(journal, 1)
        stored_document(journal, 1)
        assert bodies <= seen  # it would be seen


async def test_no_list_scans_a_table_that_grows(journal: Journal) -> None:
    await fill(journal)
    with statements(journal) as seen:
        for wanted in (
            Filter(), Filter(channel="a"), Filter(state="dead"), Filter(channel="a", state="dead"),
            Filter(state="stored"), Filter(channel="a", state="stored"), Filter(channel="a", control_id="C2"),
            Filter(after_us=1), Filter(before_us=NOW_US),
        ):  # fmt: skip
            messages_page(journal, wanted, before_id=15)
            dead_letters(journal, wanted, before_id=15)
        trace_of(journal, 1)
        stored_payload(journal, 1)
        stored_document(journal, 1)
        unprocessed(journal)
        list_channels(journal)
        list_lanes(journal)
        open_lanes(journal)
        counters_of(journal, "2026-03-01")
        acts_page(journal, before_id=10)
        open_acts(journal)
    selects = [text for text in seen if text.startswith("SELECT")]
    assert len(selects) > 30
    with journal.snapshot() as execute:
        for text in selects:
            plan = [row[3] for row in execute(f"EXPLAIN QUERY PLAN {text}")]
            small = re.compile(
                r"SCAN (channel|c|lane|l|open_act|a|CONSTANT ROW|CO-ROUTINE|unmapped_code)\b|USING .*INDEX|SEARCH"
            )
            scans = [step for step in plan if step.startswith("SCAN") and not small.search(step)]
            # Walking by the primary key, newest first, and stopping at the page's end is no scan.
            walks = "ORDER BY j.id DESC LIMIT" in text or "ORDER BY id DESC LIMIT" in text
            assert scans == [] or walks, (text, plan)
            assert not any("TEMP B-TREE" in step for step in plan if "ORDER BY d.message_id" not in text), (text, plan)


async def test_a_query_that_takes_too_long_is_ended(journal: Journal) -> None:
    journal.deadline_s = 0.05
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(StoreError, match=r"longer than 0\.05 s; narrow it"), journal.snapshot() as execute:
        execute(endless)
    journal.deadline_s = 2.0
    assert messages_page(journal) == []  # the connection is fit for use again


async def test_a_reader_cannot_write(journal: Journal) -> None:
    with pytest.raises(StoreError, match="readonly"), journal.snapshot() as execute:
        execute("DELETE FROM journal")


async def test_lists_never_read_bodies(journal: Journal) -> None:
    await fill(journal)
    with statements(journal) as seen:
        messages_page(journal)
        dead_letters(journal)
        trace_of(journal, 1)
    assert not [text for text in seen if re.search(r"\bbody\b", text.replace("length(body)", ""))]


async def test_what_is_not_there(journal: Journal) -> None:
    assert trace_of(journal, 1) is None
    for read in (stored_payload, stored_document, stored_message):
        with pytest.raises(StoreError, match="there is no"):
            read(journal, 1)


async def test_damage_is_told_and_does_not_hide_the_rest(journal: Journal, tmp_path: Path) -> None:
    await store(journal, b"1", b"2" * 500)
    await journal.stop()
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("UPDATE journal SET meta = zeroblob(60), body = zeroblob(90) WHERE id = 2")
    connection.close()
    reader = Reader.beside(tmp_path)
    assert [(one.id, one.notes) for one in messages_page(reader)] == [(2, ("damaged",)), (1, ("no CR after FS",))]
    with pytest.raises(IntegrityError, match="body of row 2"):
        stored_payload(reader, 2)
    assert stored_payload(reader, 1) == b"1"
    reader.close()


def test_the_files_are_the_owners_alone(tmp_path: Path) -> None:
    async def go() -> dict[str, int]:
        async with running(tmp_path / "data") as journal:
            await store(journal, b"1")
            return {name: os.stat(tmp_path / "data" / name).st_mode for name in os.listdir(tmp_path / "data")}

    modes = asyncio.run(go())
    assert len(modes) == 6
    assert [name for name, mode in modes.items() if stat.S_IMODE(mode) & 0o077] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_cannot_be_written_is_read_under_the_lock() -> None:
    async def fill_once(data: Path) -> None:
        async with running(data) as journal:
            await queue(journal, b"1")

    with tempfile.TemporaryDirectory() as name:  # not tmp_path: another user has to get there
        data = Path(name) / "data"
        asyncio.run(fill_once(data))
        Path(name).chmod(0o755)
        data.chmod(0o755)
        for path in data.iterdir():
            path.chmod(0o644)
        (data / "labrelay.key").chmod(0o600)
        code = (
            "import os, pathlib, sys; import tests.support.journals as j; import engine.store.integrity.verify as v\n"
            "from engine.store.queries.messages import messages_page\n"
            "from engine.store.queries.reader import Reader\n"
            "from engine.store.core.connecting import steps; steps()  # the interpreter may be out of reach\n"
            "from engine.store.operations.pruning import of_features; of_features(); list(v.CHECKS.each())\n"
            "os.setgid(65534); os.setuid(65534); data = pathlib.Path(sys.argv[1])\n"
            "journal = Reader.beside(data)\n"
            "print(journal.notes, [m.state for m in messages_page(journal)])\n"
            "print(v.run(data))\n"
            "sys.stdout.flush(); sys.stdin.readline(); journal.close()"
        )
        command = [sys.executable, "-c", code, str(data)]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdin is not None
            assert reader.stdout is not None
            first = reader.stdout.readline()
            assert "not readable here" in first
            assert "['mapped']" in first
            assert reader.stdout.readline() == "[]\n"  # two readers at once are welcome,
            with pytest.raises(LockedError):  # a writer is not
                opened(data)
            reader.stdin.write("\n")
            reader.stdin.close()
            assert reader.wait(10) == 0
        asyncio.run(fill_once(data))


async def test_acts_are_listed_newest_first_with_their_ends(journal: Journal) -> None:
    act = await journal.run(audit.begin, "ann", "replay", {"messages": [1]})
    done = await journal.run(audit.end, act, {"deliveries": 2})
    await journal.run(audit.note, "bob", "unmask", {"message": 1})
    assert [(one.actor, one.verb, one.ended) for one in acts_page(journal)] == [
        ("bob", "unmask", 0),
        ("", "", act),
        ("ann", "replay", 0),
    ]
    assert [one.id for one in acts_page(journal, before_id=done)] == [act]
    assert acts_page(journal)[1].what == {"deliveries": 2}
    with pytest.raises(StoreError, match=f"no act {act} under way"):
        await journal.run(audit.end, act, {})
    assert ManualClock().now_us() == acts_page(journal)[0].at_us
