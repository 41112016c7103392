"""Machines that go on with one journal, one after the other, and come back at any time: only the latest writes into the
folder of copies, and a restore takes its history, or says that it cannot.

The model knows who has written in the folder, and whom of them a machine could see when it was restored. It knows
nothing of numbers.
"""

import asyncio
import random
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.commands import restore
from engine.commands.shared.session import Session
from engine.model.errors import StoreError
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.recovery.backups import incarnation
from engine.store.recovery.backups.catalog import VERIFIED_NAME, Copy, CopyVerified, Manifest, Shelf, write_json
from engine.store.recovery.backups.incarnation import Incarnation
from tests.support.copies import Place
from tests.support.journals import opened, running, store

JOURNAL = bytes(range(16))


@dataclass(eq=False)
class Machine:
    """``seen``: the machines that had written in the folder when this one was restored."""

    own: Incarnation
    seen: set["Machine"] = field(default_factory=set)
    ahead: timedelta = timedelta()  # of its clock


class Histories:
    def __init__(self, folder: Path, chance: random.Random) -> None:
        folder.mkdir()
        self.shelf = Shelf(folder, JOURNAL)
        self.shelf.open()
        self.chance = chance
        self.now = datetime.now(UTC) - timedelta(days=30)
        self.machines = [Machine(Incarnation(machine="pc0"))]
        self.written: list[Machine] = []  # in the order of their first writing
        self.whole: dict[str, Machine] = {}  # copy -> whose
        self.refused = 0

    def may_write(self, machine: Machine) -> bool:
        return all(one is machine or one in machine.seen for one in self.written)

    def begin(self, machine: Machine) -> bool:
        """A start: the daemon looks into the folder before it writes there."""
        if not self.may_write(machine):
            before = sorted(path.name for path in self.shelf.path.rglob("*"))
            with pytest.raises(StoreError, match=f"goes on elsewhere, as .* here is {machine.own}, and it writes noth"):
                self.shelf.claim(machine.own)
            assert sorted(path.name for path in self.shelf.path.rglob("*")) == before
            self.refused += 1
            return False
        self.shelf.claim(machine.own)
        if machine.own.number > 1 and machine not in self.written:
            self.written.append(machine)
        return True

    def copy(self, machine: Machine, *, whole: bool = True) -> None:
        if not self.begin(machine):
            return
        self.now += timedelta(minutes=1)
        made = Manifest(
            journal_id=JOURNAL.hex(), site="X", made_at=(self.now + machine.ahead).isoformat(timespec="milliseconds"),
            last_id=self.chance.randrange(100), chain="", schema=1, bytes=0, incarnation=machine.own.number,
            history=machine.own.history, machine=machine.own.machine,
        )  # fmt: skip
        copy = self.shelf.finish(self.shelf.begin(), made)
        if whole:
            write_json(copy.path / VERIFIED_NAME, asdict(CopyVerified(at="", sha256="", rows=0, seconds=0)))
            self.whole[copy.name] = machine
        if machine not in self.written:
            self.written.append(machine)

    def chosen(self) -> Copy | None:
        """The copy that a restore takes; None: it refuses, and says who has a later one."""
        expected = [name for name, machine in self.whole.items() if machine is self.written[-1]]
        if not expected:
            with pytest.raises(StoreError, match=r"no copy there|the journal went on after it: incarnation"):
                restore._chosen(Session(), self.shelf.root)
            return None
        copy = restore._chosen(Session(), self.shelf.root)
        assert copy.name == expected[-1]
        return copy

    def restore(self, copy: Copy | None) -> None:
        if copy is None:
            return
        with closing(sqlite3.connect(":memory:")) as journal:
            journal.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value)")
            incarnation.begin(journal.execute, max(one.number for one in self.shelf_incarnations()))
            own = incarnation.of(journal.execute)
        named = Incarnation(own.number, own.history, f"pc{len(self.machines)}")
        hours = timedelta(hours=self.chance.choice([-200, -3, 0, 3, 200]))
        self.machines.append(Machine(named, set(self.written), hours))

    def shelf_incarnations(self) -> list[Incarnation]:
        from engine.store.recovery.backups.catalog import incarnations

        return incarnations(self.shelf.path)


def test_in_random_histories_only_the_latest_writes_and_its_history_is_restored(tmp_path: Path) -> None:
    refused = 0
    for seed in range(25):
        one = Histories(tmp_path / str(seed), random.Random(seed))
        one.copy(one.machines[0])
        for _ in range(14):
            machine = one.chance.choice([*one.machines, one.machines[-1]])
            match one.chance.randrange(6):
                case 0:
                    one.begin(machine)
                case 1 | 2:
                    one.copy(machine)
                case 3:
                    one.copy(machine, whole=False)
                case 4:
                    one.restore(one.chosen())
                case 5:  # a person names an older one
                    one.restore(one.chance.choice(one.shelf.copies()))
            one.chosen()
        refused += one.refused
    assert refused > 30


@pytest.mark.parametrize(
    ("own", "others", "later"),
    [
        ((1, ""), [], None),
        ((1, ""), [(1, "")], None),
        ((1, ""), [(1, ""), (2, "b")], (2, "b")),
        ((2, "b"), [(1, ""), (2, "b")], None),
        ((2, "c"), [(1, ""), (2, "b")], (2, "b")),  # both were restored from one copy
        ((3, "d"), [(1, ""), (2, "b"), (2, "c")], None),
        ((2, "b"), [(3, "d"), (4, "e"), (1, "")], (4, "e")),
    ],
)
def test_a_machine_is_overtaken_by_a_later_one_and_by_another_of_its_number(
    own: tuple[int, str], others: list[tuple[int, str]], later: tuple[int, str] | None
) -> None:
    found = Incarnation(*own).overtaken_by(Incarnation(*one) for one in others)
    assert found == (None if later is None else Incarnation(*later))


def test_the_old_machine_writes_nothing_and_a_restore_has_the_rows_of_the_new_one(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(tmp_path)
        async with running(place.data) as first:
            await store(first, b"one")
            older = await place.copy(first)
            shelf = place.shelf(first)
        place.restore(older, tmp_path / "b")
        other = Place(tmp_path / "elsewhere")
        other.site, other.data, other.copies = tmp_path / "b", tmp_path / "b" / "var", place.copies
        async with running(other.data) as second:
            await store(second, b"two")
            with second.snapshot() as execute:
                shelf.claim(incarnation.of(execute))
            with pytest.raises(StoreError, match=r"is of incarnation 1 .*the journal went on after it: incarnation 2"):
                restore._chosen(Session(), place.copies)
            newer = await other.copy(second)
        assert (newer.manifest.incarnation, older.manifest.incarnation) == (2, 1)
        async with running(place.data) as first:
            await store(first, b"of the old machine")
            with first.snapshot() as execute, pytest.raises(StoreError, match="restore the newest copy here"):
                shelf.claim(incarnation.of(execute))
            await place.copy(first)  # as one that was under way when the other began
        chosen = restore._chosen(Session(), place.copies)
        assert chosen.name == newer.name
        again = place.restore(chosen, tmp_path / "c")
        assert not again.wrong
        journal = opened(tmp_path / "c" / "var")
        with journal.snapshot() as execute:
            assert incarnation.of(execute).number == 3
        journal.close()
        named = place.restore(older, tmp_path / "d")
        assert any("is of incarnation 1" in text and "went on after it: incarnation 2" in text for text in named.wrong)
        assert (tmp_path / "d" / "var" / JOURNAL_NAME).exists()

    asyncio.run(run())
