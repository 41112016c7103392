"""The disk fails: nothing is acknowledged that is not durable; a full disk is survived, a failed sync is not."""

import asyncio
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.model.errors import StoreError
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import append, record_outcome
from engine.store.queries.reader import stored_payload
from tests.faults.harness.trial import scale_asked_for
from tests.support.failing_disk import FULL, IOERR_FSYNC, IOERR_WRITE, FailingDisk, nth
from tests.support.journals import WINDOW_S, opened, received, running, store
from tests.support.waiting import until

STEPS = 6 if scale_asked_for() == "quick" else 40


def disk_of(journal: Journal) -> FailingDisk:
    assert journal._connection is not None
    return FailingDisk(journal._connection)


async def attempts(journal: Journal, *payloads: bytes) -> tuple[dict[int, bytes], list[StoreError]]:
    """Append all at once; what was promised, and what was refused."""
    futures = []
    refused = []
    for payload in payloads:
        try:
            futures.append(journal.run(append.store_message, received(payload), repeat_window_s=WINDOW_S))
        except StoreError as error:
            refused.append(error)
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    promised = {}
    for outcome in outcomes:
        if isinstance(outcome, StoreError):
            refused.append(outcome)
        else:
            assert not isinstance(outcome, BaseException), outcome
            promised[outcome.id] = outcome.payload
    return promised, refused


def reopened(data: Path, to: Path) -> Journal:
    """What another process would find, had this one died now."""
    shutil.copytree(data, to, ignore=shutil.ignore_patterns("*-shm", "labrelay.lock"))
    journal = opened(to)
    recover(journal)
    return journal


def abandon(journal: Journal, disk: FailingDisk) -> None:
    """What the end of the process does for a journal that failed for good."""
    assert journal._connection is not None
    disk.restore()
    journal._connection.close()


@pytest.mark.parametrize("step", range(1, STEPS + 1))
@pytest.mark.parametrize("code", [FULL, IOERR_WRITE])
async def test_a_write_that_fails_costs_only_what_was_not_promised(tmp_path: Path, code: int, step: int) -> None:
    data = tmp_path / "data"
    async with running(data) as journal:
        await store(journal, b"first")
        disk = disk_of(journal)
        disk.decide = nth(step, "wal", "write", code)
        promised: dict[int, bytes] = {1: b"first"}
        for n in range(4):
            durable, refused = await attempts(journal, *(b"%d-%d" % (n, m) * 500 for m in range(3)))
            assert all(not error.fatal for error in refused)
            promised |= durable
        assert ("wal", "write") in disk.calls
        disk.decide = lambda file, what: 0
        promised |= (await attempts(journal, b"afterwards"))[0]
        assert promised[max(promised)] == b"afterwards"
        after = reopened(data, tmp_path / "after")
        assert {number: stored_payload(after, number) for number in promised} == promised
        after.close()
        assert verify.run(tmp_path / "after") == []
        disk.restore()


@pytest.mark.parametrize("step", range(1, 5))
@pytest.mark.parametrize("file", ["wal", "db"])
async def test_after_a_failed_sync_nothing_is_promised_and_nothing_tried_again(
    tmp_path: Path, file: str, step: int
) -> None:
    data = tmp_path / "data"
    fatal: list[StoreError] = []
    journal = Journal.open(data, clock=ManualClock(), on_fatal=fatal.append)
    journal.start(asyncio.get_running_loop())
    promised = {one.id: one.payload for one in await store(journal, b"first")}
    disk = disk_of(journal)
    disk.decide = nth(step, file, "sync", IOERR_FSYNC, times=10**9)
    big = os.urandom(600_000)  # enough for the checkpoints that sync the database
    for n in range(120):
        durable, refused = await attempts(journal, b"%d" % n + big)
        promised |= durable
        if refused:
            assert all(error.fatal for error in refused)
            break
    await until(lambda: bool(fatal), 240.0)
    assert len(fatal) == 1
    assert fatal[0].fatal
    calls = len(disk.calls)
    with pytest.raises(StoreError, match="the journal failed"):
        journal.run(append.store_message, received(b"later"), repeat_window_s=WINDOW_S)
    await journal.stop()
    assert len(disk.calls) == calls  # neither a write nor another sync: the process is to end as it is
    after = reopened(data, tmp_path / "after")
    assert {number: stored_payload(after, number) for number in promised} == promised
    after.close()
    assert verify.run(tmp_path / "after") == []
    abandon(journal, disk)


async def test_all_that_waits_is_refused_when_a_sync_fails(tmp_path: Path) -> None:
    fatal: list[StoreError] = []
    journal = Journal.open(tmp_path / "data", clock=ManualClock(), on_fatal=fatal.append)
    journal.start(asyncio.get_running_loop())
    await store(journal, b"first")
    disk = disk_of(journal)
    disk.decide = nth(1, "wal", "sync", IOERR_FSYNC)
    promised, refused = await attempts(journal, *(b"%d" % n for n in range(600)))
    await until(lambda: bool(fatal), 240.0)
    assert (promised, len(refused), len(fatal)) == ({}, 600, 1)
    assert journal.writer.waiting == 0
    await journal.stop()
    abandon(journal, disk)


async def test_a_full_database_refuses_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal:
        connection = journal._connection
        assert connection is not None
        await store(journal, b"first")
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 6}")
        promised, refused = await attempts(journal, *(os.urandom(9000) for _ in range(40)))
        assert promised
        assert refused
        assert all(not error.fatal and "full" in str(error) for error in refused)
        # What ends work needs hardly any room and still gets through.
        await journal.run(record_outcome.record, 1, Outcome("filtered"))
        connection.execute("PRAGMA max_page_count = 1000000")
        more, none = await attempts(journal, *(os.urandom(9000) for _ in range(40)))
        assert (len(more), none) == (40, [])
        assert sorted(promised | more) == list(range(2, 2 + len(promised) + 40))
    assert verify.run(tmp_path / "data", deep=True) == []


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond; writes then fail with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_log_that_cannot_grow_refuses_and_goes_on_once_it_can(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal:
        await store(journal, b"first")
        with file_size_limit(400_000):
            promised, refused = await attempts(journal, *(os.urandom(30_000) for _ in range(40)))
        assert refused
        assert all(not error.fatal for error in refused)
        more, none = await attempts(journal, *(os.urandom(30_000) for _ in range(40)))
        assert (len(more), none) == (40, [])
        assert sorted(promised | more) == list(range(2, 2 + len(promised) + 40))
    assert verify.run(tmp_path / "data", deep=True) == []


async def test_without_its_anchor_the_journal_goes_on_and_complains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path / "data") as journal:
        assert journal.upkeep is not None
        anchor = journal.upkeep._anchor
        descriptor, anchor._descriptor = anchor._descriptor, os.open("/dev/full", os.O_WRONLY)
        await store(journal, b"1")
        assert any("anchor" in alarm for alarm in journal.alarms)
        os.close(anchor._descriptor)
        anchor._descriptor = descriptor
        await store(journal, b"2")
        assert journal.alarms == []
    assert verify.run(tmp_path / "data") == []
