"""How long the disk lasts, and giving back what the file does not need."""

import asyncio
import contextlib
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from engine.model.errors import LockedError, StoreError
from engine.model.process.clock import ManualClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.files import durable
from engine.store.core.files.lock import SiteLock
from engine.store.core.growth import DAY_US, Growth
from engine.store.integrity import verify
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.operations import append
from engine.store.queries.extent import growth_of, table_sizes
from engine.store.queries.reader import Reader
from engine.store.recovery import compact
from tests.support.journals import opened, received, running

GIB = 1 << 30
QUIET = Growth(file_bytes=GIB, rows=1000, first_us=0, last_us=0, recent=0, now_us=0)


def test_the_rate_of_late_decides_how_long_the_disk_lasts() -> None:
    """A tenth of all rows came in the last seven days: a tenth of the file in a week."""
    growth = replace(QUIET, rows=1000, recent=100, now_us=100 * DAY_US)
    assert growth.bytes_a_day == pytest.approx(GIB / 10 / 7)
    assert growth.days_left(GIB) == pytest.approx(70)


def test_of_a_young_journal_little_is_foretold() -> None:
    assert replace(QUIET, recent=1000, now_us=DAY_US // 5).bytes_a_day is None
    assert replace(QUIET, recent=1000, now_us=DAY_US // 2).bytes_a_day == pytest.approx(2 * GIB)
    assert replace(QUIET, now_us=DAY_US).days_left(GIB) is None  # nothing came
    assert replace(QUIET, rows=0, now_us=DAY_US).days_left(GIB) is None


def test_rows_of_the_last_days_are_counted(tmp_path: Path) -> None:
    clock = ManualClock()

    async def fill() -> None:
        async with running(tmp_path, clock=clock) as journal:
            for day in range(20):
                await journal.run(
                    append.store_message, received(b"MSH|%d" % day, at_us=clock.now_us()), repeat_window_s=1.0
                )
                clock.advance(timedelta(days=1).total_seconds())

    asyncio.run(fill())
    journal = Reader.beside(tmp_path)
    try:
        growth = growth_of(journal, clock.now_us())
    finally:
        journal.close()
    assert (growth.rows, growth.recent) == (20, 7)
    assert growth.last_us - growth.first_us == 19 * DAY_US
    assert growth.file_bytes == (tmp_path / JOURNAL_NAME).stat().st_size


def test_an_empty_journal_has_no_growth(tmp_path: Path) -> None:
    opened(tmp_path).close()
    journal = Reader.beside(tmp_path)
    try:
        assert growth_of(journal, ManualClock().now_us()).rows == 0
        assert ("journal", 0) in [(name, rows) for name, rows, _ in table_sizes(journal)]
    finally:
        journal.close()


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """A journal with much unused space."""

    async def fill() -> None:
        async with running(tmp_path) as journal:
            for n in range(50):
                await journal.run(append.store_message, received(b"%d" % n * 3000), repeat_window_s=1.0)

    asyncio.run(fill())
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE big (x)")
        connection.execute("INSERT INTO big VALUES (zeroblob(3000000))")
        connection.execute("DROP TABLE big")
    return tmp_path


def test_compacting_gives_back_unused_space_and_changes_nothing(loose: Path) -> None:
    done = compact.run(loose)
    assert done.after < done.before - 2_500_000
    assert verify.run(loose, deep=True) == []
    journal = opened(loose)  # and it goes on
    journal.close()
    assert (loose / JOURNAL_NAME).stat().st_mode & 0o777 == 0o600
    assert not list(loose.glob("*.new"))


def test_a_journal_in_use_is_not_compacted(loose: Path) -> None:
    lock = SiteLock.acquire(loose)
    try:
        with pytest.raises(LockedError):
            compact.run(loose)
    finally:
        lock.release()


def test_without_room_nothing_is_done(loose: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "SPARE_BYTES", 1 << 60)
    before = (loose / JOURNAL_NAME).read_bytes()
    with pytest.raises(StoreError, match="no room"):
        compact.run(loose)
    assert (loose / JOURNAL_NAME).read_bytes() == before


def test_a_damaged_journal_is_left_as_it_is(loose: Path) -> None:
    path = loose / JOURNAL_NAME
    content = bytearray(path.read_bytes())
    content[PAGE_BYTES * 5 : PAGE_BYTES * 30] = b"\xff" * PAGE_BYTES * 25
    path.write_bytes(content)
    with pytest.raises(StoreError, match="verify"):
        compact.run(loose)
    assert path.read_bytes() == bytes(content)
    assert not list(loose.glob("*.new"))


def _dies(*_: object) -> None:
    os._exit(9)


@pytest.mark.parametrize("at", ["_copy", "_identity", "replace", "sync_folder"])
def test_killed_at_any_step_the_one_or_the_other_file_is_there_whole(loose: Path, at: str) -> None:
    child = os.fork()
    if not child:
        setattr({"replace": Path, "sync_folder": durable}.get(at, compact), at, _dies)
        with contextlib.suppress(BaseException):
            compact.run(loose)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert verify.run(loose, deep=True) == []
    opened(loose).close()
    assert not list(loose.glob("*.new*"))  # nobody would miss it, and it is as large as the journal


def test_a_journal_that_is_a_link_stays_one(loose: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("disk") / "j"
    (loose / JOURNAL_NAME).rename(elsewhere)
    (loose / JOURNAL_NAME).symlink_to(elsewhere)
    before = elsewhere.stat().st_size
    assert compact.run(loose).after < before
    assert (loose / JOURNAL_NAME).is_symlink()
    assert verify.run(loose, deep=True) == []


def test_where_retention_lets_as_much_go_as_comes_the_disk_never_fills() -> None:
    """A tenth of a GiB a week: 5.2 GiB in a year, and nothing is older than half a year now."""
    growth = replace(QUIET, recent=100, now_us=183 * DAY_US, kept_us=1)
    year_s = 366 * 86_400.0
    assert growth.days_left(GIB, year_s) == pytest.approx(70)
    assert growth.days_left(10 * GIB, year_s) is None
    assert growth.largest_bytes(year_s) == pytest.approx(GIB + GIB / 70 * 183, rel=0.01)


def test_what_is_free_in_the_file_is_used_first() -> None:
    growth = replace(QUIET, recent=100, now_us=100 * DAY_US, file_bytes=2 * GIB, unused_bytes=GIB)
    assert growth.bytes_a_day == pytest.approx(GIB / 70)
    assert growth.days_left(GIB) == pytest.approx(140)
