"""Which pages are asked for after a start: those of the trees with random keys, and never too many."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.model.process.clock import ManualClock
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.queries import warm_up
from engine.store.queries.warm_up import WarmUp, bring_in, leaves
from tests.support.journals import opened


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    opened(tmp_path, clock=ManualClock()).close()
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        # Deep enough for two levels of interior pages.
        connection.executemany(
            "INSERT INTO repeat (token, message_id, until_us) VALUES (randomblob(700), ?, 0)",
            ((number,) for number in range(2000)),
        )
        connection.executemany(
            "INSERT INTO report (key, message_id, patient, person, until_us) VALUES (randomblob(16), ?, x'', x'', 0)",
            ((number,) for number in range(1000)),
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pages that were asked for."""
    pages: list[int] = []

    def note(descriptor: int, offset: int, count: int, advice: int) -> None:
        assert (offset % PAGE_BYTES, count, advice) == (0, PAGE_BYTES, os.POSIX_FADV_WILLNEED)
        pages.append(offset // PAGE_BYTES + 1)

    monkeypatch.setattr(os, "posix_fadvise", note)
    return pages


def in_tree(journal: Path, name: str, kind: str) -> set[int]:
    """As SQLite itself tells."""
    with closing(sqlite3.connect(journal)) as connection:
        try:
            rows = connection.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ?", (name, kind))
            return {row[0] for row in rows}
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no table of its pages")


def root_of(journal: Path, name: str) -> int:
    with closing(sqlite3.connect(journal)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        return int(root)


@pytest.mark.parametrize("name", ["repeat", "report", "server_version", "channel"])
def test_leaves_are_those_that_sqlite_counts(journal: Path, name: str) -> None:
    descriptor = os.open(journal, os.O_RDONLY)
    try:
        found = list(leaves(descriptor, root_of(journal, name), PAGE_BYTES))
    finally:
        os.close(descriptor)
    assert set(found) == in_tree(journal, name, "leaf")
    assert len(found) == len(set(found))


def test_the_trees_with_random_keys_are_asked_for_in_the_order_of_the_file(journal: Path, asked: list[int]) -> None:
    assert len(in_tree(journal, "repeat", "internal")) > 1, "a tree of three levels"
    rests: list[float] = []
    assert bring_in(journal, rests.append) == len(asked)
    assert asked == sorted(set(asked))
    assert in_tree(journal, "repeat", "leaf") | in_tree(journal, "report", "leaf") <= set(asked)
    assert len(rests) == -(-len(asked) // warm_up.AT_ONCE)
    with closing(sqlite3.connect(journal)) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    assert set(warm_up.TREES) <= names


def test_no_more_than_so_many_bytes_are_asked_for(
    journal: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_up, "MOST_BYTES", 20 * PAGE_BYTES)
    assert bring_in(journal, rests) == len(asked) == 20


def test_a_slow_disk_ends_it(journal: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "MOST_S", -1.0)
    assert bring_in(journal, rests) == 0
    assert asked == []


@pytest.mark.parametrize("seed", range(20))
def test_damaged_interior_pages_give_only_pages_of_the_file(journal: Path, asked: list[int], seed: int) -> None:
    content = bytearray(journal.read_bytes())
    for page in in_tree(journal, "repeat", "internal"):
        at = (page - 1) * PAGE_BYTES
        for place in range(at + 3, at + PAGE_BYTES, 7 + seed):
            content[place] ^= 0x55 + seed
    journal.write_bytes(content)
    bring_in(journal, rests)
    assert all(1 <= page <= len(content) // PAGE_BYTES for page in asked)


@pytest.mark.parametrize("content", [b"", b"no journal", b"\x02" * 3 * PAGE_BYTES])
async def test_a_file_that_is_no_journal_harms_nothing(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_up, "WORTH_BYTES", 0)
    path = tmp_path / "journal.db"
    for made in (False, True):
        if made:
            path.write_bytes(content)
        warming = WarmUp(path)
        await warming.start()
        if warming._process is not None:
            assert await warming._process.wait() == 0
        await warming.stop()


async def test_a_process_of_its_own_does_it_where_it_is_worth_while(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = WarmUp(journal)
    await small.start()
    assert small._process is None
    await small.stop()

    monkeypatch.setattr(warm_up, "WORTH_BYTES", PAGE_BYTES)
    for at_once in (False, True):
        warming = WarmUp(journal)
        await warming.start()
        assert warming._process is not None
        if not at_once:
            assert await warming._process.wait() == 0
        await warming.stop()
        assert warming._process.returncode is not None


def rests(seconds: float) -> None:
    """As a disk that nobody else needs."""
