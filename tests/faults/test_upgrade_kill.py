"""T2: the process ends amid an upgrade of the journal: before each statement of its schema steps and each of their
commits, and around the copy that is made before; and the power goes before each change that reaches the disk (T3).

The journals are those of programs that were killed amid open work, and the steps are made up. Whatever is there after
the kill has one of the schemas whole, and every row; the next start comes to the newest, and the copy is of the schema
from before the first step. The kills come one after the other on one journal, too, as with a machine that restarts
again and again.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.store.core import connecting
from engine.store.integrity import before_upgrade, verify
from tests.faults.harness.trial import Trial
from tests.support.failpoints import UPGRADE
from tests.support.forgetful_disk import forgetful_disk
from tests.support.made_up_steps import with_made_up_steps
from tests.support.store_lives import Worker

FIRST, NEWEST = connecting.steps()[-1][0], with_made_up_steps()[-1][0]
EARLIER = range(FIRST, NEWEST)
ALL_SQL = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
Row = tuple[object, ...]


def ask(journal: Path, sql: str) -> list[Row]:
    with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


@dataclass(frozen=True, slots=True)
class Content:
    """What an upgrade must leave as it is."""

    rows: list[Row]
    deliveries: list[Row]
    states: list[Row]

    @classmethod
    def of(cls, journal: Path) -> "Content":
        return cls(
            ask(journal, "SELECT id, kind, channel, seq, hash, chain, body FROM journal ORDER BY id"),
            ask(journal, "SELECT id, lane, seq, message_id, key, state FROM delivery ORDER BY id"),
            ask(journal, "SELECT id, state, reason FROM message_state ORDER BY id"),
        )


@dataclass(frozen=True, slots=True)
class Earlier:
    """A journal of an earlier schema, left by a program that was killed.

    Attributes:
        schemas: what the database looks like at each schema from its own on.
    """

    schema: int
    data: Path
    content: Content
    schemas: dict[int, list[Row]]

    @classmethod
    def leave(cls, worker: Worker, schema: int, folder: Path) -> "Earlier":
        data = folder / f"schema-{schema}"
        worker.move(data)
        worker.live("live", after_lines=60)
        if schema > FIRST:
            with closing(sqlite3.connect(data / "journal.db", isolation_level=None)) as connection:
                connecting.upgrade(connection, with_made_up_steps(schema - FIRST))
        apart = folder / f"steps-{schema}"
        shutil.copytree(data, apart)
        schemas = {}
        with closing(sqlite3.connect(apart / "journal.db", isolation_level=None)) as connection:
            for newest in range(schema, NEWEST + 1):
                connecting.upgrade(connection, with_made_up_steps(newest - FIRST))
                schemas[newest] = connection.execute(ALL_SQL).fetchall()
        content = Content.of(data / "journal.db")
        assert content.rows
        assert content.deliveries
        return cls(schema, data, content, schemas)

    def is_whole(self, data: Path) -> None:
        """After a kill: one schema or another, and everything there; and so in the copy, if there is one."""
        journal = data / "journal.db"
        ((schema,),) = ask(journal, "PRAGMA user_version")
        assert ask(journal, ALL_SQL) == self.schemas[schema], f"half-way beyond {schema}"
        assert Content.of(journal) == self.content
        copies = list((data / before_upgrade.FOLDER).glob("journal-*.db"))
        assert [copy.name for copy in copies] in ([], [f"journal-{self.schema:04}.db"])
        if schema > self.schema:
            assert copies, "a step without the copy from before it"
        for copy in copies:
            assert ask(copy, ALL_SQL) == self.schemas[self.schema]
            assert Content.of(copy) == self.content

    def is_upgraded(self, data: Path) -> None:
        self.is_whole(data)
        assert ask(data / "journal.db", "PRAGMA user_version") == [(NEWEST,)]
        assert (data / before_upgrade.FOLDER / f"journal-{self.schema:04}.db").exists()
        with pytest.MonkeyPatch.context() as patch:
            newest = with_made_up_steps()
            patch.setattr(connecting, "steps", lambda: newest)
            assert verify.run(data, deep=True) == []


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path / "none")
    yield worker
    worker.close()


def kinds_of_death(worker: Worker, earlier: Earlier, folder: Path) -> list[str]:
    """Each statement of the steps, before it; then each named step of the upgrade, before and after."""
    shutil.copytree(earlier.data, folder)
    worker.move(folder)
    (said,) = worker.live(f"upgrade {10**9}")
    earlier.is_upgraded(folder)
    statements = int(said[1])
    assert statements > 2 * (NEWEST - earlier.schema)  # a COMMIT and a number each, at the least
    named = [f"upgrade_step {number} {after}" for number in range(len(UPGRADE)) for after in (0, 1)]
    return [f"upgrade {statement}" for statement in range(1, statements + 1)] + named


def test_an_upgrade_that_is_killed_anywhere_is_begun_or_done_and_loses_nothing(
    tmp_path: Path, worker: Worker, trial: Trial
) -> None:
    schemas = EARLIER if trial.scale != "quick" else [EARLIER[0], EARLIER[-1]]
    deaths = []
    for schema in schemas:
        earlier = Earlier.leave(worker, schema, tmp_path)
        kinds = kinds_of_death(worker, earlier, tmp_path / f"whole-{schema}")
        deaths += [(earlier, kind) for kind in (kinds[3::11] if trial.scale == "quick" else kinds)]
    again: dict[int, Path] = {}
    for n in trial.rounds(quick=len(deaths), long=len(deaths), unit="kills amid an upgrade"):
        earlier, kind = deaths[n]
        data = tmp_path / f"killed-{n}"
        shutil.copytree(earlier.data, data)
        worker.move(data)
        assert worker.live(kind) == [], f"{kind}: it did not die"
        earlier.is_whole(data)
        (said,) = worker.live(f"upgrade {10**9}")
        assert said[0] == "closed"
        earlier.is_upgraded(data)
        shutil.rmtree(data)
        if earlier.schema not in again:
            again[earlier.schema] = tmp_path / f"again-{earlier.schema}"
            shutil.copytree(earlier.data, again[earlier.schema])
        worker.move(again[earlier.schema])
        worker.live(kind)
        earlier.is_whole(again[earlier.schema])
    for schema in {earlier.schema for earlier, _ in deaths} & set(again):
        worker.move(again[schema])
        assert worker.live(f"upgrade {10**9}")
        next(earlier for earlier, _ in deaths if earlier.schema == schema).is_upgraded(again[schema])


def test_an_upgrade_that_the_power_leaves_anywhere_is_begun_or_done_and_loses_nothing(
    tmp_path: Path, worker: Worker, trial: Trial
) -> None:
    with forgetful_disk(tmp_path / "disk") as disk:
        schemas = EARLIER if trial.scale != "quick" else [EARLIER[-2]]
        steps = []
        for schema in schemas:
            earlier = Earlier.leave(worker, schema, tmp_path)
            data = disk.path / f"whole-{schema}"
            shutil.copytree(earlier.data, data)
            before = disk.changes()
            worker.move(data)
            worker.live(f"upgrade {10**9}")
            changes = disk.changes() - before
            assert changes > 10
            steps += [(earlier, change) for change in range(1, changes, 17 if trial.scale == "quick" else 5)]
        for n in trial.rounds(quick=len(steps), long=len(steps), unit="power cuts amid an upgrade"):
            earlier, change = steps[n]
            data = disk.path / f"cut-{n}"
            shutil.copytree(earlier.data, data)
            disk.keep()
            worker.move(data)
            disk.cut_before(change)
            assert worker.live(f"upgrade {10**9}") == [], f"change {change}: it did not come to that"
            disk.cut(None if n % 2 else trial.chance.randrange(10**6))
            earlier.is_whole(data)
            (said,) = worker.live(f"upgrade {10**9}")
            assert said[0] == "closed"
            earlier.is_upgraded(data)
            shutil.rmtree(data)
