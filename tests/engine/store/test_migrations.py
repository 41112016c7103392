"""Schema steps: all or nothing, each once, never backwards."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine import migrate
from engine.errors import StoreError
from tests.support.journals import opened, queue, running

STEPS = [(1, "CREATE TABLE a (x)"), (2, "CREATE TABLE b (x);\nINSERT INTO b VALUES (1);"), (3, "DROP TABLE a")]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        yield connection


def tables(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]


def test_each_step_runs_once_and_in_order(connection: sqlite3.Connection) -> None:
    assert migrate.upgrade(connection, STEPS[:2]) == 2
    assert migrate.upgrade(connection, STEPS[:2]) == 0
    assert migrate.upgrade(connection, STEPS) == 1
    assert (migrate.version(connection), tables(connection)) == (3, ["b"])
    assert connection.execute("SELECT x FROM b").fetchall() == [(1,)]


def test_a_step_that_fails_leaves_the_journal_as_it_was(connection: sqlite3.Connection) -> None:
    broken = [*STEPS[:1], (2, "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1);")]
    with pytest.raises(StoreError, match="schema step 0002 failed, the journal is unchanged"):
        migrate.upgrade(connection, broken)
    assert (migrate.version(connection), tables(connection)) == (1, ["a"])
    assert migrate.upgrade(connection, STEPS) == 2


def test_the_steps_of_this_version_are_numbered_without_gaps() -> None:
    assert [number for number, _ in migrate.steps()] == list(range(1, len(migrate.steps()) + 1))


async def test_a_newer_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await queue(journal, b"1")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"schema 99.*newer version"):
            opened(tmp_path, read_only=read_only)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        assert migrate.version(connection) == 99
        connection.execute(f"PRAGMA user_version = {migrate.steps()[-1][0]}")
    opened(tmp_path).close()
