"""What can still be read of a damaged journal comes into a new one that is whole, and what cannot is named."""

import asyncio
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.features.results.rows import hold_queue, superseding
from engine.features.rework.rows import dismissal
from engine.model.content.search_keys import Number
from engine.model.errors import DamagedError, IntegrityError, LockedError, LossError, StoreError
from engine.model.message import Report
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core import anchor, connecting
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.files.lock import SiteLock
from engine.store.core.vault import KEY_NAME
from engine.store.integrity import verify
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.operations import append, audit, bulk, record_outcome, search_index
from engine.store.operations.outbox import attempts, claims, decisions
from engine.store.queries.reader import Reader, stored_payload
from engine.store.recovery import compact
from engine.store.recovery.salvage import saving, tables
from engine.store.recovery.salvage.found import Salvage, sentences
from tests.support.journals import opened, queue, received, routed, running, store
from tests.support.made_up_steps import with_made_up_steps
from tests.support.waiting import until

FLIPS = int(os.environ.get("LABRELAY_FLIPS", "250")) // 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of many kinds of rows, closed in good order: nothing is in its log."""
    data = tmp_path_factory.mktemp("whole")

    async def fill() -> None:
        async with running(data) as journal:
            await queue(journal, *(os.urandom(size) for size in [10, 300, 1500, 9000, 30_000] * 6), to=("a", "b"))
            session = journal.new_session()
            for n in range(5):
                await journal.run(append.store_frame, "line", session, b"%dH" % n, 1)
            await journal.run(append.store_incomplete, received(b"H|half", channel="line"), ReasonCode.INCOMPLETE)
            for delivery in await journal.run(claims.claim, "chem", "a", 10):
                await journal.run(attempts.bury, delivery.id, reason=ReasonCode.REFUSED, detail="422", answer=b"{}")
            await journal.run(audit.note, "ann", "unmask", {"message": 1})

    asyncio.run(fill())
    return data


def copied(data: Path, to: Path) -> Path:
    shutil.copytree(data, to)
    return to


def saved(data: Path, to: Path) -> Salvage:
    return saving.run(data, to, clock=ManualClock(), actor="ann", reason="a bad disk")


def contents(data: Path) -> dict[int, bytes]:
    """Every message that can be opened."""
    journal = Reader.beside(data)
    try:
        with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection:
            numbers = [one for (one,) in connection.execute("SELECT id FROM journal WHERE kind = 1")]
        return {number: stored_payload(journal, number) for number in numbers}
    finally:
        journal.close()


def pages_of(data: Path, table: str, kind: str = "leaf") -> list[int]:
    """Page numbers of a table's b-tree, without a tool for it: by reading the pages from its root."""
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    content = (data / JOURNAL_NAME).read_bytes()
    leaves, inner, todo = [], [], [root]
    while todo:
        number = todo.pop()
        page = content[(number - 1) * PAGE_BYTES : number * PAGE_BYTES]
        cells = int.from_bytes(page[3:5])
        if page[0] in (13, 10):
            leaves.append(number)
            continue
        inner.append(number)
        todo.append(int.from_bytes(page[8:12]))
        for cell in range(cells):
            at = int.from_bytes(page[12 + 2 * cell : 14 + 2 * cell])
            todo.append(int.from_bytes(page[at : at + 4]))
    return sorted(leaves if kind == "leaf" else inner)


def spoil(data: Path, page: int) -> None:
    """A sector that came back as noise."""
    with (data / JOURNAL_NAME).open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(random.Random(page).randbytes(PAGE_BYTES))


def test_a_sound_journal_comes_over_as_it_is(whole: Path, tmp_path: Path) -> None:
    found = saved(copied(whole, tmp_path / "old"), tmp_path / "new")
    assert (found.lost, found.missing, found.damaged, found.again, found.findings) == (0, [], [], [], [])
    assert contents(tmp_path / "new") == contents(whole)
    assert verify.run(tmp_path / "new", deep=True) == []
    assert json.loads((tmp_path / "new" / saving.REPORT_NAME).read_bytes())["rows"] == found.rows


def test_no_table_is_walked_once_for_each_row_of_another(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a year's journal that would take days, and nobody receives anything meanwhile."""
    seen: list[str] = []
    made = tables.new_journal

    def watched(path: Path) -> sqlite3.Connection:
        connection = made(path)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(tables, "new_journal", watched)
    saved(copied(whole, tmp_path / "old"), tmp_path / "new")
    monkeypatch.undo()
    asked = {text for text in seen if text.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))}
    assert len(asked) > 50
    with closing(made(tmp_path / "empty.db")) as connection:
        for text in asked:
            within: dict[int, bool] = {0: False}
            for number, parent, _, step in connection.execute(f"EXPLAIN QUERY PLAN {text}"):
                assert not (within[parent] and step.startswith("SCAN")), f"{text}: {step}"
                within[number] = within[parent] or step.startswith("CORRELATED")


def test_rows_of_a_spoilt_page_are_named_and_all_others_are_there(whole: Path, tmp_path: Path) -> None:
    before = contents(whole)
    for number, page in enumerate(pages_of(whole, "journal")[:6]):
        old = copied(whole, tmp_path / f"old{number}")
        spoil(old, page)
        found = saved(old, tmp_path / f"new{number}")
        gone = {row for one in found.missing for row in range(one.first, one.last + 1)}
        after = contents(tmp_path / f"new{number}")
        assert found.missing
        assert found.findings == []
        assert {row: content for row, content in before.items() if row not in gone} == after
        assert not gone & set(after)
        numbers = {n for one in found.missing for first, last in one.channels.values() for n in range(first, last + 1)}
        assert len(numbers) == len(gone & set(before)) - _at_the_end(before, gone)


def _at_the_end(before: dict[int, bytes], gone: set[int]) -> int:
    """Missing messages behind the last one of their channel: no later one tells that they were there."""
    last = max((row for row in before if row not in gone), default=0)
    return sum(row > last for row in gone & set(before))


def test_a_spoilt_inner_page_costs_not_one_row(tmp_path: Path) -> None:
    old = tmp_path / "old"

    async def fill() -> None:
        async with running(old) as journal:
            await queue(journal, *(os.urandom(size) for size in [10, 3000, 9000, 30_000] * 60))

    asyncio.run(fill())
    (root,) = pages_of(old, "journal", "inner")
    before = contents(old)
    spoil(old, root)
    found = saved(old, tmp_path / "new")
    assert (found.missing, found.findings) == ([], [])
    assert contents(tmp_path / "new") == before


@pytest.mark.parametrize("number", [0, 1, 126])
def test_a_cell_with_a_wrong_number_hides_none_of_its_neighbours(whole: Path, tmp_path: Path, number: int) -> None:
    old = copied(whole, tmp_path / "old")
    file = (old / JOURNAL_NAME).read_bytes()
    at = (pages_of(old, "journal")[0] - 1) * PAGE_BYTES
    cell = at + int.from_bytes(file[at + 8 + 2 * 3 : at + 10 + 2 * 3])  # the fourth row: its length, then its number
    while file[cell] & 0x80:
        cell += 1
    hit = file[cell + 1]
    assert 3 <= hit <= 5
    with (old / JOURNAL_NAME).open("r+b") as stream:
        stream.seek(cell + 1)
        stream.write(bytes([number]))
    rows = [one for one in verify.run(old) if one.table == "journal" and one.kind != "structure"]
    assert {row for one in rows for row in range(one.first, one.last + 1)} <= {number, hit, hit + 1}
    found = saved(old, tmp_path / "new")
    assert [(one.first, one.last) for one in found.missing] == [(hit, hit)]
    assert found.findings == []
    assert contents(tmp_path / "new") == {row: body for row, body in contents(whole).items() if row != hit}


@pytest.mark.parametrize("table", ["document", "delivery", "message_state", "lane", "channel", "repeat", "attempt"])
def test_what_was_lost_beside_the_journal_is_made_again(whole: Path, tmp_path: Path, table: str) -> None:
    old = copied(whole, tmp_path / "old")
    for page in pages_of(old, table):
        spoil(old, page)
    found = saved(old, tmp_path / "new")
    assert table in found.damaged
    assert (found.lost, found.findings) == (0, [])
    assert contents(tmp_path / "new") == contents(whole)
    with closing(sqlite3.connect(tmp_path / "new" / JOURNAL_NAME)) as connection:
        states = dict(connection.execute("SELECT state, count(*) FROM message_state GROUP BY state"))
        (open_again,) = connection.execute(
            "SELECT count(*) FROM journal j WHERE kind = 1 AND NOT EXISTS (SELECT 1 FROM message_state WHERE id = j.id)"
        ).fetchone()
        restored = connection.execute("SELECT id FROM message_state WHERE numbers IS NULL ORDER BY id").fetchall()
    assert states["incomplete"] == 1  # never a message, whatever was lost
    reader = Reader.beside(tmp_path / "new")
    with reader.snapshot() as execute:  # an erasure by number opens those whose search keys were lost with their states
        assert {row for (row,) in restored if table == "message_state"} <= set(
            search_index.not_all_known(execute, reader.vault)
        )
    reader.close()
    if table in ("document", "delivery", "lane"):
        assert open_again == len(found.again) == 30


def test_half_of_the_deliveries_are_lost_and_only_their_messages_are_processed_again(
    tmp_path: Path,
) -> None:
    whole = tmp_path / "whole"

    async def fill() -> None:
        async with running(whole) as journal:
            await queue(journal, *(b"%d" % n for n in range(150)), to=("a", "b"))

    asyncio.run(fill())
    old = copied(whole, tmp_path / "old")
    leaves = pages_of(old, "delivery")
    assert len(leaves) > 1
    spoil(old, leaves[len(leaves) // 2])
    with closing(sqlite3.connect(whole / JOURNAL_NAME)) as connection:
        all_of = dict(connection.execute("SELECT id, message_id FROM delivery"))
    found = saved(old, tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new" / JOURNAL_NAME)) as connection:
        kept = {one for (one,) in connection.execute("SELECT id FROM delivery")}
    lost = {message for delivery, message in all_of.items() if delivery not in kept}
    assert 0 < len(lost) < 150
    assert lost <= set(found.again)
    assert len(found.again) < 150
    assert found.findings == []


def changed(data: Path, *statements: str) -> None:
    """What a page of an earlier time, or a flipped bit, does to rows: SQLite reads it without a complaint."""
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount


def open_messages(data: Path) -> list[int]:
    with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection:
        return [
            one
            for (one,) in connection.execute(
                "SELECT id FROM journal WHERE kind = 1 AND id NOT IN (SELECT id FROM message_state) ORDER BY id"
            )
        ]


def test_no_operation_is_under_way_in_a_saved_journal(tmp_path: Path) -> None:
    """It may have lost members, or have gone further."""
    data = tmp_path / "old"

    async def begin() -> int:
        async with running(data) as journal:
            what = {"selection": {"all": True}}
            return await journal.run(
                bulk.begin, "retry", [bulk.Member(1)], last=1, counted_us=1, actor="ann", what=what
            )

    number = asyncio.run(begin())
    saved(data, tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new" / JOURNAL_NAME)) as connection:
        assert connection.execute("SELECT number, stage FROM operation").fetchall() == [(number, "cancelled")]
        assert connection.execute("SELECT * FROM operation_part").fetchall() == []


def test_rows_that_are_gone_without_a_trace_are_noticed(whole: Path, tmp_path: Path) -> None:
    """Text that never became a message does not become one, and no delivery is forgotten."""
    old = copied(whole, tmp_path / "old")
    changed(
        old,
        "DELETE FROM message_state WHERE state = 'incomplete'",
        "DELETE FROM delivery WHERE id = (SELECT min(id) FROM delivery WHERE state = 'waiting')",
    )
    found = saved(old, tmp_path / "new")
    assert len(found.again) == 1
    assert open_messages(tmp_path / "new") == found.again
    assert found.findings == []


def test_search_keys_that_the_index_has_lost_come_from_the_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "ADDED_AT_ONCE", 2)
    old, new = tmp_path / "old", tmp_path / "new"

    async def fill() -> None:
        async with running(old) as journal:
            for one in await store(journal, b"1", b"2", b"3"):
                known = Number("patient", f"P{one.id}")
                await journal.run(record_outcome.record, one.id, Outcome("filtered", numbers=(known,)))
            await until(lambda: journal.tail.indexed_to == 2)

    def found(data: Path) -> list[list[int]]:
        reader = Reader.beside(data)
        with reader.snapshot() as execute:
            patients = [search_index.messages(execute, reader.vault, "patient", [f"P{n}"]) for n in (1, 2, 3)]
        reader.close()
        return patients

    asyncio.run(fill())
    changed(old, "DELETE FROM message_number WHERE message_id = 1")
    assert found(old) == [[], [2], [3]]
    saved(old, new)
    assert found(new) == [[1], [2], [3]]


@pytest.mark.parametrize(
    "change",
    [
        "document_id = document_id + 1",
        "message_id = message_id + 1",
        "lane = 3 - lane, seq = seq + 1000",
        "state = 'vaiting'",
    ],
)
def test_a_delivery_of_somebody_elses_document_is_not_believed(whole: Path, tmp_path: Path, change: str) -> None:
    old = copied(whole, tmp_path / "old")
    with closing(sqlite3.connect(old / JOURNAL_NAME)) as connection:
        delivery, message = connection.execute(
            "SELECT id, message_id FROM delivery WHERE state = 'waiting' ORDER BY id LIMIT 1"
        ).fetchone()
    changed(old, f"UPDATE delivery SET {change} WHERE id = {delivery}")
    found = saved(old, tmp_path / "new")
    assert "delivery" in found.damaged
    assert found.again == [message]
    assert found.findings == []


@pytest.mark.parametrize("lost", [("delivery",), ("delivery", "message_state")], ids=["delivery", "verdict, too"])
def test_what_a_person_has_rejected_or_dismissed_is_not_sent_although_its_rows_are_lost(
    tmp_path: Path, lost: tuple[str, ...]
) -> None:
    data = tmp_path / "old"

    async def fill() -> None:
        async with running(data) as journal:
            rejected, dismissed, _ = await queue(journal, b"1", b"2", b"3")
            (one, two, _) = await journal.run(claims.claim, "chem", "fhir", 3)
            await journal.run(decisions.hold, [one.id], cause=ReasonCode.HELD_BY_RULE)
            await journal.run(hold_queue.reject, [one.id], actor="ann", reason="clotted")
            await journal.run(attempts.bury, two.id, reason=ReasonCode.REFUSED, detail="422")
            await journal.run(dismissal.dismiss, deliveries=[two.id], actor="ann", reason="entered by hand")
            assert (rejected, dismissed) == (1, 2)

    asyncio.run(fill())
    for table in lost:
        changed(data, f"DELETE FROM {table}")
    found = saved(data, tmp_path / "new")
    assert open_messages(tmp_path / "new") == [3]
    assert found.unsure == [1, 2]
    assert found.findings == []


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_older_result_that_is_processed_again_does_not_undo_the_newer_one(tmp_path: Path, forgotten: bool) -> None:
    data = tmp_path / "old"
    report = (Report(b"r" * 16, b"p" * 16),)

    async def fill() -> None:
        async with running(data) as journal:
            for one in await store(journal, b"older", b"newer"):
                made = routed(one.payload, claimed=True, reports=report)
                outcome = await journal.run(record_outcome.record, one.id, Outcome("mapped"), [made])
                await journal.run(attempts.settle, outcome.deliveries[0].id, delivered_us=1)

    asyncio.run(fill())
    changed(data, "DELETE FROM delivery WHERE message_id = 1")
    if forgotten:
        changed(data, "DELETE FROM report")
    assert saved(data, tmp_path / "new").again == [1]

    async def again() -> None:
        async with running(tmp_path / "new") as journal:
            made = routed(b"older", claimed=True, reports=report)
            (delivery,) = (await journal.run(record_outcome.record, 1, Outcome("mapped"), [made])).deliveries
            assert delivery.manual  # so that this is asked before it is sent
            assert await journal.run(superseding.overtaken_before_sent, delivery.id)

    asyncio.run(again())


def test_nor_where_the_journal_is_a_link_to_another_disk(tmp_path: Path) -> None:
    data, disk = tmp_path / "live", tmp_path / "disk"
    disk.mkdir()
    opened(data).close()
    (data / "journal.db").rename(disk / "results.db")
    (data / "journal.db").symlink_to(disk / "results.db")

    async def fill() -> None:
        async with running(data) as journal:
            for n in range(40):
                await queue(journal, b"%d" % n * 700, to=("a",))
            shutil.copytree(disk, tmp_path / "torn")

    asyncio.run(fill())
    (data / "journal.db").unlink()
    (data / "journal.db").symlink_to(tmp_path / "torn" / "results.db")
    log = tmp_path / "torn" / "results.db-wal"
    content = bytearray(log.read_bytes())
    content[32 + frames_of(log) // 2 * (PAGE_BYTES + 24) + 1000] ^= 1
    log.write_bytes(content)
    found = saved(data, tmp_path / "new")
    assert found.hidden > 0
    assert found.lost <= 2


def test_a_flipped_bit_hides_nothing_of_the_log(tmp_path: Path) -> None:
    """One bit in the middle of the write-ahead log: SQLite stops reading there, and what is behind it is not gone."""
    data = tmp_path / "live"

    async def fill() -> None:
        async with running(data) as journal:
            for n in range(40):  # little enough for no checkpoint to have run
                await queue(journal, b"%d" % n * 700, to=("a",))
            shutil.copytree(data, tmp_path / "torn")  # as a power failure leaves it

    asyncio.run(fill())
    torn = tmp_path / "torn"
    mark = anchor.read(torn / ANCHOR_NAME).mark
    assert mark is not None
    log = torn / "journal.db-wal"
    frames = frames_of(log)
    assert frames > 60
    rng = random.Random(1)
    lost: list[int] = []
    for turn in range(FLIPS):
        old = copied(torn, tmp_path / f"old{turn}")
        content = bytearray((old / log.name).read_bytes())
        in_page = turn % 5 > 0  # else in the frame's own header: then the page may go astray
        at = (
            32
            + rng.randrange(frames // 2) * (PAGE_BYTES + 24)
            + (24 + rng.randrange(PAGE_BYTES) if in_page else rng.randrange(24))
        )
        content[at] ^= 1 << rng.randrange(8)
        (old / log.name).write_bytes(content)
        found = saved(old, tmp_path / f"new{turn}")
        assert found.findings == []
        assert found.hidden >= frames // 2
        lost.append(found.lost if in_page else 0)
        assert max(contents(tmp_path / f"new{turn}")) >= mark.last_id - 1
        shutil.rmtree(old)
    assert max(lost) <= 2  # the row that was hit, where one was


def frames_of(log: Path) -> int:
    """How many frames of a log are of its present use."""
    content = log.read_bytes()
    count = 0
    while content[(at := 32 + count * (PAGE_BYTES + 24) + 8) : at + 8] == content[16:24]:
        count += 1
    return count


@pytest.mark.parametrize(
    "spoiling",
    [
        pytest.param(lambda data: spoil(data, pages_of(data, "meta")[0]), id="meta"),
        pytest.param(lambda data: spoil(data, pages_of(data, "data_key")[0]), id="keys"),
        pytest.param(lambda data: spoil(data, 1), id="schema"),
    ],
)
def test_without_schema_or_keys_nothing_is_made(whole: Path, tmp_path: Path, spoiling: Callable[[Path], None]) -> None:
    old = copied(whole, tmp_path / "old")
    spoiling(old)
    with pytest.raises(DamagedError, match="labrelay restore brings back a backup"):
        saved(old, tmp_path / "new")


def test_without_the_key_nothing_is_made(whole: Path, tmp_path: Path) -> None:
    old = copied(whole, tmp_path / "old")
    (old / KEY_NAME).unlink()
    with pytest.raises(IntegrityError, match="key"):
        saved(old, tmp_path / "new")


def test_a_journal_in_use_and_a_folder_in_use_are_left_alone(whole: Path, tmp_path: Path) -> None:
    old = copied(whole, tmp_path / "old")
    lock = SiteLock.acquire(old)
    try:
        with pytest.raises(LockedError):
            saved(old, tmp_path / "new")
    finally:
        lock.release()
    with pytest.raises(StoreError, match="not empty"):
        saved(old, old)
    assert contents(old) == contents(whole)


def test_the_new_journal_goes_on_where_the_old_one_was(whole: Path, tmp_path: Path) -> None:
    """Lost rows at the end: their numbers are not given again, and the act says who went on without them."""
    old = copied(whole, tmp_path / "old")
    with closing(sqlite3.connect(old / JOURNAL_NAME)) as connection, connection:
        (last,) = connection.execute("SELECT max(id) FROM journal").fetchone()
        connection.execute("DELETE FROM journal WHERE id > ?", (last - 3,))
    found = saved(old, tmp_path / "new")
    assert [(one.first, one.last, one.why) for one in found.missing] == [(last - 2, last, "missing")]

    async def more() -> int:
        async with running(tmp_path / "new") as journal:
            return (await journal.run(append.store_message, received(b"MSH|new"), repeat_window_s=1.0)).id

    assert asyncio.run(more()) > last + 1  # the act is the first
    assert verify.run(tmp_path / "new", deep=True) == []


def test_a_full_disk_is_no_damage_and_leaves_nothing_that_passes_for_a_journal(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tables.new_journal

    def small(path: Path) -> sqlite3.Connection:
        connection = make(path)
        connection.execute("PRAGMA max_page_count = 60")  # SQLite then says the same as on a full disk
        return connection

    monkeypatch.setattr(tables, "new_journal", small)
    old = copied(whole, tmp_path / "old")
    with pytest.raises(StoreError, match="no room"):
        saved(old, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    monkeypatch.undo()
    assert saved(old, tmp_path / "new").findings == []  # once there is room, the same folder will do


def test_the_journal_appears_last(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed while the files take their places leaves a folder that no daemon starts on."""
    order: list[str] = []
    rename = Path.rename

    def noting(path: Path, to: Path) -> Path:
        order.append(to.name)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", noting)
    saved(copied(whole, tmp_path / "old"), tmp_path / "new")
    assert order[-1] == JOURNAL_NAME
    assert {ANCHOR_NAME, KEY_NAME, saving.REPORT_NAME} <= set(order)


def test_what_an_interrupted_one_has_left_is_told_as_that(whole: Path, tmp_path: Path) -> None:
    """Killed while it worked: what is left lies in the folder in which it did."""
    target, old = tmp_path / "new", copied(whole, tmp_path / "old")
    code = (
        "import os, sys, pathlib; from engine.store.recovery.salvage import saving\n"
        "from engine.model.process.clock import SystemClock\n"
        "saving.run(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), clock=SystemClock(), actor='a',"
        " reason='b', progress=lambda done, total: os._exit(9))"
    )
    assert subprocess.run([sys.executable, "-c", code, old, target], check=False, timeout=120).returncode == 9
    (left,) = target.iterdir()
    with pytest.raises(StoreError, match=rf"not empty: {left.name} in it is of a salvage that was interrupted"):
        saved(old, target)
    assert list(target.iterdir()) == [left]
    shutil.rmtree(left)
    saved(old, target)


def test_where_the_newest_message_is_lost_nothing_is_wrong_with_the_new_journal(whole: Path, tmp_path: Path) -> None:
    """Its number stays given, so the next message has the one behind it."""
    old = copied(whole, tmp_path / "old")
    newest = sorted(contents(old))[-2]  # of its channel, which has others
    changed(old, f"UPDATE journal SET body = x'00' WHERE id = {newest}")
    found = saved(old, tmp_path / "new")
    assert ([(one.first, one.last) for one in found.missing], found.findings) == ([(newest, newest)], [])

    async def go_on() -> None:
        async with running(tmp_path / "new") as journal:
            (stored,) = await store(journal, b"next")
            assert stored.seq == 31

    asyncio.run(go_on())
    assert verify.run(tmp_path / "new", deep=True) == []


def test_messages_between_two_losses_are_named_once(whole: Path, tmp_path: Path) -> None:
    old = copied(whole, tmp_path / "old")
    first, second, third = sorted(contents(old))[2:5]
    changed(old, f"DELETE FROM journal WHERE id = {first}", f"UPDATE journal SET body = x'00' WHERE id = {second}")
    found = saved(old, tmp_path / "new")
    assert [(one.first, one.why) for one in found.missing] == [(first, "missing"), (second, "changed")]
    lines = list(sentences(found, tmp_path / "new"))
    assert [line.strip().partition(" of ")[0] for line in lines if "send again" in line] == ["messages 3 to 4"]
    changed(old, f"DELETE FROM journal WHERE id = {sorted(contents(whole))[6]}")
    apart = list(sentences(saved(old, tmp_path / "apart"), tmp_path / "apart"))
    assert len([line for line in apart if "send again" in line]) == 2
    assert third in contents(tmp_path / "new")


@pytest.mark.parametrize("what", ["file", "broken link", "no place"])
def test_a_target_that_is_no_folder_is_refused(whole: Path, tmp_path: Path, what: str) -> None:
    target = tmp_path / "target"
    if what == "file":
        target.write_text("x")
    elif what == "broken link":
        target.symlink_to(tmp_path / "nowhere" / "x")
    else:
        (tmp_path / "below").write_text("x")
        target = tmp_path / "below" / "target"
    with pytest.raises(StoreError, match=str(target)):
        saved(copied(whole, tmp_path / "old"), target)


def test_a_journal_of_an_earlier_schema_can_be_saved_as_well(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon, which would bring it up to date, may not start on it."""
    old, steps = copied(whole, tmp_path / "old"), with_made_up_steps()
    monkeypatch.setattr(connecting, "steps", lambda: steps)
    found = saved(old, tmp_path / "new")
    assert (found.lost, found.damaged, found.findings) == (0, [], [])
    with closing(sqlite3.connect(tmp_path / "new" / JOURNAL_NAME)) as connection:
        assert connecting.version(connection) == steps[-1][0]
    with closing(sqlite3.connect(old / JOURNAL_NAME)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer"):
        saved(old, tmp_path / "newer")


@pytest.mark.parametrize("attempt", ["start", "compact"])
def test_what_a_damaged_log_still_holds_survives_a_start_and_a_compaction(tmp_path: Path, attempt: str) -> None:
    """The service is started again by itself, before anybody has read that the journal needs saving."""
    data, torn = tmp_path / "live", tmp_path / "torn"

    async def fill() -> None:
        async with running(data) as journal:
            for n in range(40):
                await queue(journal, b"%d" % n * 700, to=("a",))
            shutil.copytree(data, torn)

    asyncio.run(fill())
    log = torn / "journal.db-wal"
    content = bytearray(log.read_bytes())
    content[32 + 20 * (PAGE_BYTES + 24) + 4000] ^= 1
    log.write_bytes(content)
    for _ in range(2):
        with pytest.raises(LossError, match="acknowledged"):
            opened(torn).close() if attempt == "start" else compact.run(torn)
    assert log.read_bytes() == bytes(content)
    found = saved(torn, tmp_path / "new")
    assert (found.lost, found.findings) == (0, []) or found.lost == 1
