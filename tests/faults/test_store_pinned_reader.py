"""A reader that will not end: the log grows for as long, the writer goes on, and it is told."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.store.integrity import verify
from engine.store.journal import upkeep
from engine.store.journal.upkeep import CHECKPOINT_BYTES
from engine.store.operations import append
from tests.faults.harness.trial import Trial
from tests.support.journals import received, running, store
from tests.support.waiting import until

MiB = 1024 * 1024


async def test_the_log_is_emptied_as_soon_as_a_pinned_reader_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: Trial
) -> None:
    cap = trial.goal(quick=12, long=64, unit="MiB of log until the alarm") * MiB
    monkeypatch.setattr(upkeep, "WAL_CAP_BYTES", cap)
    wal = tmp_path / "journal.db-wal"
    async with running(tmp_path) as journal:
        await store(journal, b"first")
        with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as reader:
            reader.execute("PRAGMA query_only = 1")
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM journal").fetchone() == (1,)
            while wal.stat().st_size < cap + CHECKPOINT_BYTES:
                await store(journal, os.urandom(200_000))
            await until(lambda: journal.alarms != [])
            assert "log" in journal.alarms[0]
            for _ in trial.rounds(quick=10, long=2000, unit="messages behind the alarm"):  # nothing stands still
                await store(journal, os.urandom(20_000))
            assert reader.execute("SELECT count(*) FROM journal").fetchone() == (1,)
            reader.execute("COMMIT")
        while journal.alarms:
            await store(journal, os.urandom(200_000))
        assert wal.stat().st_size < cap
        trial.figures(longest_commit_ms=round(max(journal.writer.stats.recent_s) * 1000))
    assert verify.run(tmp_path) == []


async def test_without_readers_the_log_stays_small(tmp_path: Path) -> None:
    largest = 0
    async with running(tmp_path) as journal:
        for n in range(60):
            futures = [
                journal.run(append.store_message, received(b"%d-%d" % (n, m) + os.urandom(8000)), repeat_window_s=1.0)
                for m in range(32)
            ]
            for future in futures:
                await future
            largest = max(largest, (tmp_path / "journal.db-wal").stat().st_size)
    assert largest < 3 * CHECKPOINT_BYTES
    assert not (tmp_path / "journal.db-wal").exists()
