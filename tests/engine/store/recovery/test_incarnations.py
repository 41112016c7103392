"""Machines that go on with one journal, one after the other, and come back at any time: only the latest that a person
lets go on writes into the folder of copies, and a restore takes its history, or says that it cannot.

The model knows who has written in the folder, and whom of them a machine could see when it was restored. It knows
nothing of numbers.
"""

import asyncio
import os
import random
import shutil
import socket
import sqlite3
from collections import Counter
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.commands.shared.session import Session
from engine.commands.upkeep import restore
from engine.config.sitewide import SiteConfig
from engine.model.errors import OvertakenError, RefusedError, StoreError
from engine.runtime.upkeep.other_history import OtherPlaces
from engine.store.core.anchor import Mark
from engine.store.core.checks.pruned_ranges import last_number
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import rollback
from engine.store.integrity.rollback import Rollback, Witness, find, undecided
from engine.store.operations import audit, incarnation
from engine.store.operations.incarnation import Incarnation
from engine.store.queries.acts import acts_page
from engine.store.recovery.backups import catalog
from engine.store.recovery.backups.catalog import (
    CLAIM_NAME,
    VERIFIED_NAME,
    Copy,
    CopyVerified,
    Manifest,
    Shelf,
    incarnations,
    write_json,
)
from tests.support.copies import Place
from tests.support.journals import opened, running, store

JOURNAL = bytes(range(16))


@dataclass(eq=False)
class Machine:
    """A machine with its journal; one with which a person goes on is another.

    ``seen``: those that had written in the folder when a restore, or a person, began this one. ``trial``: restored, and
    no person goes on with it.
    """

    own: Incarnation
    seen: set["Machine"] = field(default_factory=set)
    ahead: timedelta = timedelta()  # of its clock
    trial: bool = False


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
        self.refused: dict[str, int] = dict.fromkeys(("goes on elsewhere, as ", "copies wait, "), 0)

    def refusal(self, machine: Machine) -> str:
        """Why it may not write; "" where it may."""
        if any(one is not machine and one not in machine.seen for one in self.written):
            return "goes on elsewhere, as "
        return "copies wait, " if machine.trial else ""

    def begin(self, machine: Machine) -> bool:
        """A start: the daemon looks into the folder before it writes there."""
        if why := self.refusal(machine):
            before = sorted(path.name for path in self.shelf.path.rglob("*"))
            with pytest.raises(StoreError, match=rf"{why}.*labrelay backup go-on .*; or restore the newest"):
                self.shelf.claim(machine.own)
            assert sorted(path.name for path in self.shelf.path.rglob("*")) == before
            self.refused[why] += 1
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

    def restore(self, copy: Copy | None, *, taken_along: bool = False) -> None:
        """``taken_along``: of the folder nothing but the copy is there."""
        if copy is None:
            return
        others = [copy.incarnation] if taken_along else incarnations(self.shelf.path, JOURNAL.hex())
        latest = max(at for at, one in enumerate(self.written) if one.own in others)
        seen = self.written[: latest + 1]
        hours = timedelta(hours=self.chance.choice([-200, -3, 0, 3, 200]))
        self.machines.append(Machine(self.next(others), set(seen), hours, trial=True))

    def go_on(self, machine: Machine) -> None:
        """A person says that the journal goes on on this machine."""
        with pytest.raises(RefusedError, match="for practice"):
            self.shelf.before(practice=True)
        others = self.shelf.before(practice=False)
        on = Machine(self.next(others, machine.own), {*self.written}, machine.ahead)
        self.machines[self.machines.index(machine)] = on
        assert self.begin(on)

    def next(self, others: list[Incarnation], own: Incarnation | None = None) -> Incarnation:
        """As a restore begins it; or, with ``own``, as a person does."""
        with closing(sqlite3.connect(":memory:")) as journal:
            journal.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value)")
            if own is not None and own.number > 1:
                incarnation.begin(journal.execute, own.number - 1)
            incarnation.begin(journal.execute, max(one.number for one in others), claims=own is not None)
            return replace(incarnation.of(journal.execute), machine=f"pc{len(self.machines)}")


def test_in_random_histories_only_the_latest_writes_and_its_history_is_restored(tmp_path: Path) -> None:
    refused: Counter[str] = Counter()
    for seed in range(14):
        one = Histories(tmp_path / str(seed), random.Random(seed))
        one.copy(one.machines[0])
        for _ in range(18):
            machine = one.chance.choice([*one.machines, one.machines[-1]])
            match one.chance.randrange(9):
                case 0:
                    one.begin(machine)
                case 1 | 2:
                    one.copy(machine)
                case 3:
                    one.copy(machine, whole=False)
                case 4:
                    one.restore(one.chosen())
                case 5:  # a person names an older one
                    one.restore(one.chance.choice(one.shelf.copies()), taken_along=one.chance.random() < 0.5)
                case _:
                    one.go_on(machine)
            one.chosen()
        refused.update(one.refused)
    assert min(refused.values()) > 10


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


def test_where_it_is_not_known_who_has_written_nothing_is_written(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, JOURNAL)
    shelf.claim(Incarnation())  # there is no folder yet
    shelf.open()
    full = shelf.path / "full-20260101T000000.000Z-000000000001"
    full.write_text("a file")
    shelf.claim(Incarnation())
    full.unlink()
    full.mkdir()
    for unreadable in (shelf.path / "claim.json", full / "manifest.json"):
        with_it = (
            nullcontext() if unreadable.parent == full else pytest.raises(StoreError, match=r"it is (no file|a link)")
        )
        unreadable.mkdir()  # each way in which a name is there, and reading it fails or never ends
        with with_it:
            shelf.claim(Incarnation())
        unreadable.rmdir()
        os.mkfifo(unreadable)
        with with_it:
            shelf.claim(Incarnation())
        unreadable.unlink()
        unreadable.symlink_to("/dev/zero")
        with with_it:
            shelf.claim(Incarnation())
        unreadable.unlink()
    claim = '{"at": "2026-01-01T00:00:00+00:00", "machine": %s, "history": "ab", "number": %s}'
    numbers = ("0", "-3", "2.5", "1e400", str(2**64 - 1), str(10**30), '"2"', "null")
    texts = ('"' + "x" * 65 + '"', r'"\u001b[31m"', "7")
    damaged = ["", "{}", "[]", *(claim % ('"pc"', one) for one in numbers), *(claim % (one, "2") for one in texts)]
    for content in damaged:
        (shelf.path / "claim.json").write_text(content)
        for own in (Incarnation(), Incarnation(2, "ab")):
            with pytest.raises(StoreError, match=r"claim\.json: is damaged; where no other machine goes on"):
                shelf.claim(own)
    (shelf.path / "claim.json").write_bytes(b"")
    os.truncate(shelf.path / "claim.json", 1 << 33)
    with pytest.raises(StoreError, match=r"claim\.json: is damaged"):
        shelf.claim(Incarnation())
    (shelf.path / "claim.json").unlink()
    shelf.path.rename(tmp_path / "kept")
    shelf.path.write_text("a file")
    with pytest.raises(StoreError, match="cannot be read: Not a directory"):
        shelf.claim(Incarnation())


def test_a_trial_writes_no_copies_into_an_empty_folder_either_and_stops_no_machine(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, JOURNAL)
    shelf.open()
    trial = Incarnation(2, "ab", claims=False)
    with pytest.raises(StoreError, match="copies wait, for this journal was restored"):
        shelf.claim(trial)
    assert list(shelf.path.iterdir()) == []
    assert shelf.before(practice=True) == []  # a folder of its own
    shelf.claim(Incarnation())  # the true machine


def test_a_claim_that_comes_meanwhile_is_not_overwritten_by_an_earlier_one(tmp_path: Path) -> None:
    class Meanwhile(Shelf):
        def refused(self, own: Incarnation) -> StoreError | None:
            found = super().refused(own)
            Shelf(tmp_path, JOURNAL).claim(Incarnation(3, "b", "pc3"))
            return found

    shelf = Meanwhile(tmp_path, JOURNAL)
    shelf.open()
    Shelf(tmp_path, JOURNAL).claim(Incarnation(2, "a", "pc2"))
    shelf.claim(Incarnation(2, "a", "pc2"))
    assert incarnations(shelf.path, JOURNAL.hex()) == [Incarnation(3, "b")]


def copied(shelf: Shelf, journal_id: bytes, own: Incarnation) -> None:
    made = Manifest(
        journal_id=journal_id.hex(), site="X", made_at="2026-01-01T00:00:00+00:00", last_id=1, chain="", schema=1,
        bytes=0, incarnation=own.number, history=own.history, machine=own.machine,
    )  # fmt: skip
    shelf.finish(shelf.begin(), made)


def test_what_another_journal_has_in_the_folder_does_not_count(tmp_path: Path) -> None:
    other = JOURNAL[:4] + bytes(12)  # its folder has the same name
    foreign, shelf = Shelf(tmp_path, other), Shelf(tmp_path, JOURNAL)
    foreign.open()
    foreign.claim(Incarnation(3, "b", "pc3"))
    assert incarnations(shelf.path, other.hex()) == [Incarnation(3, "b")]
    copied(foreign, other, Incarnation(4, "c", "pc4"))
    assert shelf.written_by() == []
    shelf.claim(Incarnation(2, "a", "pc2"))
    assert shelf.written_by() == [Incarnation(2, "a")]


@pytest.mark.parametrize("of", ["", 7, "X" * 32, JOURNAL.hex()[:-2], "ff" + JOURNAL.hex()[2:]])
def test_a_claim_of_a_journal_that_cannot_have_this_folder_is_damaged(tmp_path: Path, of: Any) -> None:
    shelf = Shelf(tmp_path, JOURNAL)
    shelf.open()
    shelf.claim(Incarnation(2, "a", "pc2"))
    place = shelf.path / catalog.CLAIM_NAME
    write_json(place, {**catalog.read_json(place), "journal_id": of})
    with pytest.raises(StoreError, match="is damaged"):
        shelf.claim(Incarnation())


def test_a_site_for_practice_writes_beside_no_other_machine(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, JOURNAL)
    shelf.open()
    shelf.claim(Incarnation(), practice=True)
    copied(shelf, JOURNAL, Incarnation(machine="lab-pc1"))
    shelf.claim(Incarnation(), practice=True)  # it was there before
    before = sorted(path.name for path in shelf.path.rglob("*"))
    gone_on = Incarnation(2, "ab", "pc2")  # a person said so while another folder was named
    with pytest.raises(RefusedError, match="has copies already, and this site is for practice: name another"):
        shelf.claim(gone_on, practice=True)
    assert sorted(path.name for path in shelf.path.rglob("*")) == before
    shelf.claim(gone_on)


def test_a_start_reads_each_manifest_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, reads, really = Shelf(tmp_path, JOURNAL), list[str](), catalog._read
    shelf.open()
    copied(shelf, JOURNAL, Incarnation())
    shelf.claim(Incarnation(2, "ab", "pc2"))

    def read(path: Path) -> dict[str, Any] | None:
        reads.append(path.name)
        return really(path)

    monkeypatch.setattr(catalog, "_read", read)
    config = cast(SiteConfig, SimpleNamespace(backup=SimpleNamespace(folder=tmp_path)))
    found = OtherPlaces(config)._copies(JOURNAL)
    assert {one.incarnation for one in found} == {Incarnation(), Incarnation(2, "ab")}
    assert sorted(reads) == ["claim.json", "manifest.json", "verified.json"]


def test_a_copy_that_is_deleted_during_a_start_hides_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, pieces = Shelf(tmp_path, JOURNAL), Copy.pieces
    shelf.open()
    copied(shelf, JOURNAL, Incarnation())
    shelf.claim(Incarnation(2, "ab", "pc2"))

    def deleted(copy: Copy) -> list[Any]:  # by the machine that goes on, after the manifest was read
        shutil.rmtree(copy.path)
        return pieces(copy)

    monkeypatch.setattr(Copy, "pieces", deleted)
    asked = OtherPlaces(cast(SiteConfig, SimpleNamespace(backup=SimpleNamespace(folder=tmp_path))))
    assert [one.incarnation for one in asked._answer(asked._copies, JOURNAL)] == [Incarnation(2, "ab")]
    assert len(asked.silent) == 1


def test_a_host_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "lab\udcff\n" + "x" * 300)
    with closing(sqlite3.connect(":memory:")) as journal:
        journal.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value)")
        incarnation.begin(journal.execute, 1, claims=True)
        own = incarnation.of(journal.execute)
    shelf = Shelf(tmp_path, JOURNAL)
    shelf.open()
    shelf.claim(own)
    assert incarnations(shelf.path, JOURNAL.hex()) == [own]
    assert own.machine.startswith("lab??x")


def test_the_journal_that_goes_on_elsewhere_is_said_once_for_each_later_one(tmp_path: Path) -> None:
    journal = opened(tmp_path)

    def found(*others: Incarnation, rows: int = 0) -> Rollback | None:
        mark = Mark(journal.journal_id, rows, b"\1" * 32)
        with journal.snapshot() as execute:
            return find(execute, [Witness("there", mark, incarnation=one) for one in others], journal.journal_id, None)

    journal.run_alone(partial(audit.note, actor="anna", verb="look", what={}))
    assert found(Incarnation(), rows=0) is None
    for number in (2, 3):
        later = Incarnation(number, "b", "pc2")
        back = found(Incarnation(), later)
        assert back is not None
        assert (f"goes on elsewhere, as incarnation {number} on pc2" in back.text, back.first, back.last) == (
            True,
            0,
            0,
        )
        journal.run_alone(rollback.note, back)
        with journal.snapshot() as execute:
            assert undecided(execute) is not None
        assert found(Incarnation(), later) is None, "it was noted, and a person decides"
    missing = found(later, rows=900)
    assert missing is not None, "it delivers nothing, and the words are those of a machine that returns"
    with journal.snapshot() as execute:
        assert (missing.first, missing.last) == (last_number(execute) + 1, 900)
    assert missing.text.startswith("this journal goes on elsewhere, as incarnation 3 on pc2")
    journal.run_alone(incarnation.go_on, "anna", "this one is right", [later])
    assert found(Incarnation(), later, rows=900) is None, "a person has decided"
    assert found(Incarnation(4, "c"), rows=900) is not None
    journal.close()


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
                waits = incarnation.of(execute)
            with pytest.raises(StoreError, match="copies wait, for this journal was restored"):
                shelf.claim(waits)
            assert restore._chosen(Session(), place.copies).name == older.name  # a trial ends nothing
            others = shelf.before(practice=False)
            shelf.claim(await second.run(incarnation.go_on, "anna", "the old disk broke", others))
            assert acts_page(second)[0].what == {
                "incarnation": 3,
                "after": str(older.incarnation),
                "reason": "the old disk broke",
            }
            with pytest.raises(StoreError, match=r"is of incarnation 1 .*the journal went on after it: incarnation 3"):
                restore._chosen(Session(), place.copies)
            newer = await other.copy(second)
        assert (newer.manifest.incarnation, older.manifest.incarnation) == (3, 1)
        async with running(place.data) as first:
            await store(first, b"of the old machine")
            with first.snapshot() as execute, pytest.raises(StoreError, match="restore the newest copy here"):
                shelf.claim(incarnation.of(execute))
            with pytest.raises(OvertakenError, match="it writes nothing there"):
                await place.copy(first)  # as one that was under way when the other began
            claim = shelf.path / CLAIM_NAME
            claim.rename(tmp_path / CLAIM_NAME)
            late = await place.copy(first)  # and one that got its name in the very moment
            (tmp_path / CLAIM_NAME).rename(claim)
            await store(first, b"one more")
            for write in (place.standing, place.rows):
                with pytest.raises(OvertakenError, match="it writes nothing there"):
                    write(late)
            assert (late.pieces(), late.standings()) == ([], [])
        chosen = restore._chosen(Session(), place.copies)
        assert chosen.name == newer.name
        again = place.restore(chosen, tmp_path / "c")
        assert not again.wrong
        journal = opened(tmp_path / "c" / "var")
        with journal.snapshot() as execute:
            assert (incarnation.of(execute).number, incarnation.of(execute).claims) == (4, False)
        journal.close()
        (newer.path.parent / "claim.json").write_text("")
        doubted = place.restore(older, tmp_path / "e")
        assert any("claim.json: is damaged" in text and "is not known" in text for text in doubted.wrong)
        (newer.path.parent / "claim.json").unlink()
        named = place.restore(older, tmp_path / "d")
        assert any("is of incarnation 1" in text and "went on after it: incarnation 3" in text for text in named.wrong)
        assert (tmp_path / "d" / "var" / JOURNAL_NAME).exists()

    asyncio.run(run())
