"""What a journal says when it cannot be opened, and what it does when it is opened all the same."""

import _sqlite3
import asyncio
import ctypes
import errno
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.features.rework.rows import dismissal
from engine.model.errors import ConfigError, DamagedError, LockedError, LossError, StoreError
from engine.model.journal.records import Decision
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.runtime.observing import notices
from engine.store import journal as journal_module
from engine.store.core import connecting, key_encryption_key
from engine.store.core.anchor import ANCHOR_NAME, read
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.integrity import verify
from engine.store.journal import Journal, opening
from engine.store.journal.starting import recover, unprocessed
from engine.store.lifecycle.retention import Policy
from engine.store.operations import append, audit, record_outcome
from engine.store.operations.line_trace import LineEntry, LineRecord, LineWay
from engine.store.queries.acts import acts_page
from engine.store.queries.line import line_of
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.prunable import survey
from engine.store.queries.reader import Reader
from tests.support.journals import NOW_US, WINDOW_S, opened, received, routed, running, store, unexpected


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match="data: cannot be used for the journal: File exists"):
        opened(tmp_path / "data")


def test_a_key_that_was_made_is_told_once(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.close()
    second = opened(tmp_path)
    second.close()
    assert any("labrelay.key" in note for note in first.notes)
    assert not any("labrelay.key" in note for note in second.notes)


async def test_with_the_key_at_hand_none_has_to_lie_beside_the_journal(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await store(journal, b"1")
    key = key_encryption_key.first(tmp_path)
    assert key is not None
    (tmp_path / KEY_NAME).unlink()
    journal = Journal.open(tmp_path, clock=ManualClock(), on_fatal=unexpected, key=key.kek)
    assert [one.payload for one in unprocessed(journal)] == [b"1"]
    assert journal.notes == []
    journal.close()
    assert not (tmp_path / KEY_NAME).exists()
    with pytest.raises(ConfigError, match="the key of this journal is missing"):  # another one opens nothing
        Journal.open(tmp_path, clock=ManualClock(), on_fatal=unexpected, key=bytes(32))


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_NAME).write_bytes(b"no database" * 1000)
    for _ in range(2):  # the lock was given back
        with pytest.raises(DamagedError, match="cannot be opened: file is not a database; its first page") as caught:
            opened(tmp_path)
        assert caught.value.fatal
    assert (tmp_path / JOURNAL_NAME).read_bytes() == b"no database" * 1000


async def test_a_first_start_that_lost_its_power_is_made_anew(tmp_path: Path) -> None:
    """SQLite makes a file under a rollback journal. Where that is left, only who may write can open it."""
    half, data = tmp_path / "half.db", tmp_path / "var"
    data.mkdir(mode=0o700)
    with closing(sqlite3.connect(half, isolation_level=None)) as making:
        making.execute("PRAGMA cache_size = 1")  # what does not fit goes to the file before the commit
        making.execute("BEGIN IMMEDIATE")
        making.execute("CREATE TABLE meta (name, value)")
        making.executemany("INSERT INTO meta VALUES (?, ?)", [(n, bytes(4000)) for n in range(50)])
        for end in ("", "-journal"):
            (data / f"{JOURNAL_NAME}{end}").write_bytes((tmp_path / f"half.db{end}").read_bytes())
    async with running(data) as journal:
        assert await store(journal, b"one")
        assert len(messages_page(journal)) == 1
    assert verify.run(data, deep=True) == []


def test_a_reader_waits_for_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no journal yet; the first labrelay run makes it"):
        Reader.beside(tmp_path)


async def test_a_reader_is_told_of_a_first_start_that_has_made_the_tables_alone(tmp_path: Path) -> None:
    with closing(opening.connect(tmp_path / JOURNAL_NAME)) as connection:
        connecting.upgrade(connection)
        with pytest.raises(StoreError, match="the first labrelay run is making it"):
            Reader.beside(tmp_path)
    with pytest.raises(StoreError, match="the first labrelay run is making it"):
        verify.run(tmp_path, deep=True)
    async with running(tmp_path) as journal:  # as after a kill between the two
        assert await store(journal, b"one")
    assert verify.run(tmp_path, deep=True) == []


async def test_what_a_start_and_a_later_look_find_is_said_once_each(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await store(journal, b"1", b"2")
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
        connection.execute("UPDATE journal SET size = 7 WHERE id = 1")
        connection.commit()
    async with running(tmp_path) as journal:
        at_start = "row 1: not what was stored"
        assert journal.damage == journal.alarms == [at_start]
        journal.looked_through([at_start, "document 3: not what was stored"])
        assert journal.damage == journal.alarms == [at_start, "document 3: not what was stored"]
        journal.looked_through([])
        assert journal.damage == [at_start]  # a start finds out whether that is gone


def test_a_file_system_without_shared_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SQLite sees a network drive: it opens the file, and keeps no write-ahead log beside it."""
    real: Any = sqlite3.connect

    def connect(path: object, *arguments: Any, **more: Any) -> sqlite3.Connection:
        if not str(path).startswith("file:"):
            path, more = f"file:{path}?vfs=unix-dotfile", {**more, "uri": True}
        made: sqlite3.Connection = real(path, *arguments, **more)
        return made

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(StoreError, match="this file system does not carry SQLite's write-ahead log"):
        opened(tmp_path)


async def test_a_journal_that_is_gone_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await store(journal, b"1", b"2")
    (tmp_path / JOURNAL_NAME).unlink()
    for _ in range(2):  # nothing was begun in its place
        with pytest.raises(LossError, match="rows 1 to 2 were acknowledged and there is no journal"):
            opened(tmp_path)
    journal = Journal.open(
        tmp_path, clock=ManualClock(), on_fatal=unexpected, accept_loss=True, actor="ann", reason="the disk burned"
    )
    assert any("rows 1 to 2" in note for note in journal.notes)
    recover(journal)
    journal.start(asyncio.get_running_loop())
    (stored,) = await store(journal, b"3")
    assert stored.id > 2  # the numbers of what is missing stay unused
    (act,) = [act for act in acts_page(journal) if act.verb == "accept-loss"]
    assert (act.actor, act.what["reason"], act.what["first"], act.what["last"]) == ("ann", "the disk burned", 1, 2)
    assert "rows 1 to 2" in act.what["what"]
    await journal.stop()
    assert verify.run(tmp_path) == []


async def test_where_journal_and_anchor_are_gone_and_the_key_is_not_it_is_said(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert not any("no journal" in note for note in journal.notes)
        await store(journal, b"1")
    async with running(tmp_path) as journal:
        assert journal.notes == []
    for name in (JOURNAL_NAME, ANCHOR_NAME):
        (tmp_path / name).unlink()
    async with running(tmp_path) as journal:
        assert any("There was no journal in" in note and "labrelay restore" in note for note in journal.notes)


async def test_a_loss_is_still_known_where_its_acceptance_could_not_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a kill, or a full disk, between the anchor and the act."""
    async with running(tmp_path) as journal:
        await store(journal, b"1")
        copy = tmp_path / "copy.db"
        with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        await store(journal, b"2", b"3")
    copy.replace(tmp_path / JOURNAL_NAME)

    def full(*_: object, **__: object) -> int:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken, pytest.raises(StoreError, match="the disk is full"):
        broken.setattr(audit, "note", full)
        opened(tmp_path, accept_loss=True)
    for _ in range(2):
        with pytest.raises(LossError, match="rows 2 to 3 were acknowledged and are not in the journal"):
            opened(tmp_path)
    opened(tmp_path, accept_loss=True).close()
    opened(tmp_path).close()
    assert verify.run(tmp_path) == []


async def test_the_anchor_of_another_journal_is_noticed_and_a_person_may_decide(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / JOURNAL_NAME).unlink()  # nothing was ever in it
    with pytest.raises(LossError, match="the anchor belongs to another journal"):
        opened(tmp_path)
    journal = opened(tmp_path, accept_loss=True)
    (act,) = [act for act in acts_page(journal) if act.verb == "accept-loss"]
    assert (act.what["first"], act.what["last"]) == (0, 0)  # it cannot be told which rows are missing
    journal.close()
    opened(tmp_path).close()
    assert verify.run(tmp_path) == []


async def test_what_would_be_let_go_can_be_looked_at_before(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await store(journal, b"1")
        policy = Policy(delivered_us=1, filtered_us=1, dismissed_us=1, audit_us=1, least_us=1)
        assert survey(journal, policy, NOW_US + 1_000_000).messages == []  # its work is open


async def test_the_head_is_what_the_anchor_says_and_acts_tell_their_configuration(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await store(journal, b"1", b"2")
        number, chain = await journal.run(journal_module.head)
        mark = read(tmp_path / ANCHOR_NAME).mark
        assert mark is not None
        assert (number, chain) == (2, mark.chain.hex())
        journal.upkeep.config_hash = "c0ffee"
        await journal.run(audit.note, "ann", "pause", {})
        assert [act.config for act in acts_page(journal)] == ["c0ffee"]
        assert journal.damage == []


async def test_an_outcome_has_its_configuration_which_a_dismissal_keeps(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await store(journal, b"1", b"2", b"3")
        for message, config in ((1, ""), (2, "00000000c0ff"), (3, "00000000c0ff")):
            journal.upkeep.config_hash = config
            await journal.run(record_outcome.record, message, Outcome("dead", ReasonCode.BAD_VALUE))
        journal.upkeep.config_hash = "ffffffffffff"
        await journal.run(dismissal.dismiss, messages=[2], actor="ann", reason="a test")
        mapped = Outcome("mapped", mapping="m@0")
        await journal.run(record_outcome.record, 3, mapped, [routed(b"3")], decision=Decision(again=True))
        found = [trace_of(journal, message) for message in (1, 2, 3)]
        assert [one.config for one in found if one] == ["", "00000000c0ff", "ffffffffffff"]


async def test_a_walk_of_retention_leaves_open_work_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await store(journal, b"1")
        journal.upkeep.policy = Policy(delivered_us=1, filtered_us=1, dismissed_us=1, audit_us=1, least_us=1)
        journal.upkeep.walk_now()
        await store(journal, b"2")
        journal.upkeep.policy = None
        assert [one.payload for one in unprocessed(journal)] == [b"1", b"2"]


async def test_a_full_disk_is_an_alarm_as_long_as_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as journal:
        assert (journal.full, [*notices.no_room(journal)], journal.alarms) == (False, [], [])
        monkeypatch.setattr(type(journal.upkeep), "full", True)
        assert journal.full
        (alarm,) = notices.no_room(journal)
        assert ", mounted at /" in alarm
        assert alarm.startswith(
            "The disk is full: nothing is stored, so nothing is acknowledged; free 1 MiB on the disk"
        )


def test_a_key_that_may_not_be_read_leaves_the_sealed_columns_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path).close()

    def unlock(data: Path, expected: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(data / "labrelay.key"))

    monkeypatch.setattr(key_encryption_key, "unlock", unlock)
    journal = Reader.beside(tmp_path)
    assert [note.partition("labrelay.key: ")[2] for note in journal.notes] == [
        "not readable here; sealed columns stay closed"
    ]
    with pytest.raises(ConfigError, match=r"labrelay.key: not readable here; run this as the service's user"):
        _ = journal.vault
    journal.close()


async def test_a_writer_that_does_not_end_keeps_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = opened(tmp_path)
    recover(journal)
    loop = asyncio.get_running_loop()
    journal.start(loop)
    writer = journal.writer
    assert writer is not None
    release = asyncio.Event()
    begun = asyncio.Event()

    def wait(batch: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)

    busy = writer.submit(wait)
    await begun.wait()
    monkeypatch.setattr(journal_module, "STOP_S", 0.01)
    with caplog.at_level(logging.ERROR):
        await journal.stop()
    assert "did not stop in time" in caplog.text
    with pytest.raises(LockedError, match=f"process {os.getpid()}"):
        opened(tmp_path)
    release.set()
    await busy
    await writer.stop()
    journal.close()
    opened(tmp_path).close()


async def test_where_open_work_begins_is_remembered_and_nothing_open_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        futures = [
            journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S) for n in range(1300)
        ]
        ids = [stored.id for stored in await asyncio.gather(*futures)]
        still_open = {700, 1290}
        for some in (ids[:600], ids[600:]):
            await asyncio.gather(
                *(
                    journal.run(record_outcome.record, one, Outcome("dead", ReasonCode.UNREADABLE))
                    for one in some
                    if one not in still_open
                )
            )
            await store(journal, b"more %d" % some[0])
    reader = sqlite3.connect(tmp_path / JOURNAL_NAME)
    (begins,) = reader.execute("SELECT value FROM meta WHERE name = 'watermark'").fetchone()
    reader.close()
    assert 500 < begins < 700  # not looked at any more when it opens
    async with running(tmp_path) as journal:
        assert {one.id for one in unprocessed(journal)} == still_open | {1301, 1302}


async def test_what_passes_on_a_line_may_be_kept_beside(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        journal.keep_line(LineRecord("chem", 0, (LineEntry(LineWay.IN, NOW_US, b"\x05"),)))
    async with running(tmp_path) as journal:
        (kept,) = line_of(journal, "chem", limit=5)
        assert kept.channel == "chem"


async def test_long_work_is_lent_the_connection_of_a_journal_that_runs(tmp_path: Path) -> None:
    def count(connection: sqlite3.Connection, pump: object) -> int:
        return int(connection.execute("SELECT count(*) FROM journal").fetchone()[0])

    journal = opened(tmp_path)
    assert journal.writer.lend_alone(count) == 0
    recover(journal)
    journal.start(asyncio.get_running_loop())
    await store(journal, b"1")
    assert await journal.lend(count) == 1
    await journal.stop()
    with pytest.raises(StoreError, match="not open for writing"):
        journal.lend(count)


def test_rights_and_room_are_no_doubt_about_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the service would say at each start that the disk has lost something."""
    opened(tmp_path).close()
    (tmp_path / f"{JOURNAL_NAME}-wal").mkdir()
    with pytest.raises(StoreError, match=f"{JOURNAL_NAME}: cannot be opened for writing: .* service's user") as caught:
        opened(tmp_path)
    assert not caught.value.fatal

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(opening, "sync_folder", no_space)
    with pytest.raises(StoreError, match="cannot be used for the journal: No space left"):
        opened(tmp_path / "other")


async def test_the_log_of_a_journal_that_is_a_link_to_another_disk_is_watched(tmp_path: Path) -> None:
    data, disk = tmp_path / "data", tmp_path / "disk"
    disk.mkdir()
    opened(data).close()
    (data / JOURNAL_NAME).rename(disk / "results.db")
    (data / JOURNAL_NAME).symlink_to(disk / "results.db")
    async with running(data) as journal:
        await store(journal, *(os.urandom(1_000_000) for _ in range(6)))
        upkeep = journal.upkeep
        assert upkeep is not None
        async with asyncio.timeout(240.0):
            while not upkeep.wal_bytes:
                await store(journal, b"one more")
        assert upkeep.wal_bytes == (disk / "results.db-wal").stat().st_size


async def test_what_was_read_while_it_was_opened_is_not_kept_in_memory(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for number in range(40):
            await store(journal, b"%d" % number + os.urandom(60_000))
    used = ctypes.CDLL(_sqlite3.__file__).sqlite3_memory_used
    used.restype = ctypes.c_int64
    before = used()
    journal = opened(tmp_path)
    try:
        assert used() - before < 1024 * 1024
    finally:
        journal.close()
