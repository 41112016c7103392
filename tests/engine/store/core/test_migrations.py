"""Schema steps: all or nothing, each once, never backwards."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.diagnostics.installed import examine_journal
from engine.model.errors import StoreError
from engine.model.process.clock import ManualClock
from engine.model.site.health import Health
from engine.store.core import connecting
from engine.store.integrity import before_upgrade
from engine.store.queries.reader import Reader
from tests.support.journals import opened, queue, running

STEPS = [(1, "CREATE TABLE a (x)"), (2, "CREATE TABLE b (x);\nINSERT INTO b VALUES (1);"), (3, "DROP TABLE a")]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        yield connection


def tables(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]


def test_each_step_runs_once_and_in_order(connection: sqlite3.Connection) -> None:
    assert connecting.upgrade(connection, STEPS[:2]) == 2
    assert connecting.upgrade(connection, STEPS[:2]) == 0
    assert connecting.upgrade(connection, STEPS) == 1
    assert (connecting.version(connection), tables(connection)) == (3, ["b"])
    assert connection.execute("SELECT x FROM b").fetchall() == [(1,)]


def test_a_step_that_fails_leaves_the_journal_as_it_was(connection: sqlite3.Connection) -> None:
    broken = [*STEPS[:1], (2, "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1);")]
    with pytest.raises(StoreError, match="schema step 0002 failed, the journal is unchanged"):
        connecting.upgrade(connection, broken)
    assert (connecting.version(connection), tables(connection)) == (1, ["a"])
    assert connecting.upgrade(connection, STEPS) == 2


def test_the_steps_of_this_version_are_numbered_without_gaps() -> None:
    assert [number for number, _ in connecting.steps()] == list(range(1, len(connecting.steps()) + 1))


@pytest.mark.parametrize(
    ("steps", "is_the_same"),
    [
        ([(1, "CREATE TABLE a (x)"), (2, "CREATE TABLE b (x); -- why\n\n  INSERT INTO b VALUES (1);")], True),
        ([(1, "CREATE TABLE a (x)"), (2, "CREATE TABLE b (x);\nINSERT INTO b VALUES (2);")], False),
        ([(1, "CREATE TABLE a (x, y)"), (2, "CREATE TABLE b (x);\nINSERT INTO b VALUES (1);")], False),
    ],
    ids=["a comment", "the last step", "the first step"],
)
def test_a_journal_is_known_by_the_statements_that_made_it(
    connection: sqlite3.Connection, steps: connecting.Steps, is_the_same: bool
) -> None:
    connecting.upgrade(connection, STEPS[:2])
    if is_the_same:
        assert connecting.upgrade(connection, [*steps, STEPS[2]]) == 1
    else:
        with pytest.raises(StoreError, match="made by another build of LabRelay, with other tables"):
            connecting.upgrade(connection, [*steps, STEPS[2]])
        assert (connecting.version(connection), tables(connection)) == (2, ["a", "b"])


def test_a_journal_from_before_there_was_such_a_mark_is_of_another_build(connection: sqlite3.Connection) -> None:
    connection.executescript("CREATE TABLE a (x); PRAGMA user_version = 21;")
    for known in (STEPS, [*STEPS, (21, "CREATE TABLE c (x)")]):
        with pytest.raises(StoreError, match="another build"):
            connecting.upgrade(connection, known)


async def test_a_newer_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await queue(journal, b"1")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    for open_it in (opened, Reader.beside):
        with pytest.raises(StoreError, match=r"schema 99.*newer version.*before-upgrade"):
            open_it(tmp_path)
    line = examine_journal(tmp_path / "journal.db")  # `labrelay upgrade --check`
    assert (line.health, "a newer version wrote it" in line.text) == (Health.FAIL, True)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        assert connecting.version(connection) == 99
        connection.execute(f"PRAGMA user_version = {connecting.steps()[-1][0]}")
    opened(tmp_path).close()


# -- the copy from before a step ----------------------------------------------------------------------------------


async def older(data: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """A journal with one message; from then on there is one schema step more."""
    async with running(data) as journal:
        await queue(journal, b"1")
    known = connecting.steps()
    more = [*known, (known[-1][0] + 1, "CREATE TABLE a_later_step (x)")]
    monkeypatch.setattr(connecting, "steps", lambda: more)
    return known


def rows(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connecting.version(connection), connection.execute("SELECT count(*) FROM journal").fetchone()[0]


async def test_before_the_schema_changes_the_journal_is_copied_with_its_anchor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await older(tmp_path, monkeypatch)
    anchor = (tmp_path / "journal.anchor").read_bytes()
    before = rows(tmp_path / "journal.db")
    journal = opened(tmp_path)
    copy = tmp_path / before_upgrade.FOLDER / f"journal-{known[-1][0]:04}.db"
    assert f"{copy} for 30 days" in journal.notes[0]
    journal.close()
    assert rows(copy) == before == (known[-1][0], before[1])
    assert rows(tmp_path / "journal.db")[0] == known[-1][0] + 1
    assert copy.with_suffix(".anchor").read_bytes() == anchor
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert sorted(path.name for path in copy.parent.iterdir()) == [copy.with_suffix(".anchor").name, copy.name]


async def test_the_copy_and_the_earlier_program_go_on_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await older(tmp_path, monkeypatch)
    opened(tmp_path).close()
    monkeypatch.setattr(connecting, "steps", lambda: known)
    with pytest.raises(StoreError, match="newer version"):
        opened(tmp_path)
    copy = tmp_path / before_upgrade.FOLDER / f"journal-{known[-1][0]:04}.db"
    for name in ("journal.db-wal", "journal.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    copy.replace(tmp_path / "journal.db")
    copy.with_suffix(".anchor").replace(tmp_path / "journal.anchor")
    opened(tmp_path).close()  # raises where rows are missing


async def test_after_thirty_days_the_copy_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await older(tmp_path, monkeypatch)
    clock = ManualClock()
    opened(tmp_path, clock=clock).close()
    folder = tmp_path / before_upgrade.FOLDER
    for path in folder.iterdir():
        os.utime(path, (clock.now_us() / 1e6, clock.now_us() / 1e6))
    clock.advance(29 * 86_400)
    opened(tmp_path, clock=clock).close()
    assert folder.is_dir()
    clock.advance(2 * 86_400)
    opened(tmp_path, clock=clock).close()
    assert not folder.exists()


async def test_without_room_for_the_copy_the_journal_opens_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await older(tmp_path, monkeypatch)
    monkeypatch.setattr(before_upgrade, "SPARE_BYTES", 1 << 60)
    journal = opened(tmp_path)
    assert journal.notes[0].startswith("No copy was made before the journal's schema went from")
    assert "are free" in journal.notes[0]
    journal.close()
    assert not (tmp_path / before_upgrade.FOLDER).exists()
    assert rows(tmp_path / "journal.db")[0] == known[-1][0] + 1


async def test_a_journal_that_needs_no_step_is_not_copied(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await queue(journal, b"1")
        assert journal.notes[1:] == []
    journal = opened(tmp_path)
    assert journal.notes == []
    journal.close()
    assert not (tmp_path / before_upgrade.FOLDER).exists()
