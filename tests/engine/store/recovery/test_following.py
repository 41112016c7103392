"""A spare that follows copies, takes over, and adopts the last rows of the old machine.

The oracle of a take-over is a restore of the same copy: both have the same rows in every table.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import IntegrityError, OvertakenError, RefusedError, StoreError
from engine.model.journal.records import DELIVERIES
from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.adopted import Adopted
from engine.store.core.anchor import Anchor, Mark
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import rollback, verify
from engine.store.integrity.rollback import Witness
from engine.store.journal.starting import unprocessed
from engine.store.operations import append, audit, incarnation, pauses, record_outcome
from engine.store.operations.incarnation import Incarnation
from engine.store.queries.acts import acts_page
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_payload
from engine.store.recovery import adopting
from engine.store.recovery.backups import following, restoring
from engine.store.recovery.backups.catalog import SPARE_NAME, Shelf, copies
from engine.store.recovery.backups.following import Spare
from tests.support.copies import Place
from tests.support.journals import opened, queue, received, routed, running, store


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No old machine runs that looks into the folder."""
    monkeypatch.setattr(following, "STOPS_WITHIN_S", 0.0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def spare(place: Place, folder: Path) -> Spare:
    return Spare(folder, SystemClock(), backup=place.copies, keys=place.data)


async def some_rounds(place: Place, after: Callable[[], object] = lambda: None) -> None:
    """A copy, and three rounds of pieces behind it, with deliveries and a person's act between them."""
    async with running(place.data) as journal:
        await queue(journal, b"one", b"two")
        copy = await place.copy(journal)
        after()
        for n in range(3):
            await queue(journal, b"more %d" % n, claimed=bool(n % 2))
            await store(journal, b"open %d" % n)
            await journal.run(pauses.pause, DELIVERIES, actor="anna", reason="a test")
            await journal.run(pauses.resume, DELIVERIES, actor="anna", reason="a test")
            assert place.standing(copy)
            after()
        await store(journal, b"rows alone")
        place.rows(copy)
        after()


MADE_ANEW = ("gap", "counter", "event", "data_key")  # by the act itself


def contents(data: Path) -> dict[str, list[Any]]:
    """All tables, but for what an act of now and another incarnation differ in."""
    with closing(sqlite3.connect(f"{(data / JOURNAL_NAME).as_uri()}?mode=ro", uri=True)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
        (restored_to,) = next(row[1:] for row in found["meta"] if row[0] == "restored_to")
    found["journal"] = [row for row in found["journal"] if row[0] <= restored_to]
    found["meta"] = sorted(row[0] for row in found["meta"])
    found["pause"] = [row[:2] for row in found["pause"]]
    return {name: sorted(map(repr, rows)) for name, rows in found.items() if name not in MADE_ANEW}


def test_a_spare_that_follows_has_what_a_restore_of_the_same_copy_has(place: Place, tmp_path: Path) -> None:
    one = spare(place, tmp_path / "spare")
    seen: list[int] = []
    asyncio.run(some_rounds(place, lambda: seen.append(spare(place, tmp_path / "spare").round().row)))
    assert seen == sorted(seen)
    assert len(set(seen)) == 5, "each piece as it comes"
    progress = one.round()
    assert (progress.row, progress.fault, progress.behind_s) == (seen[-1], "", 0.0)
    (copy,) = copies(next(place.copies.glob("labrelay-*")))
    assert (copy.path.parent / SPARE_NAME).exists()
    restored = place.restore(copy, tmp_path / "restored")
    taken = Spare(tmp_path / "spare", SystemClock()).take_over("anna", "the disk broke")
    assert (taken.rows, taken.last_id, taken.stands_to, taken.again, taken.maybe) == (
        restored.rows, restored.last_id, restored.stands_to, restored.again, restored.maybe,
    )  # fmt: skip
    assert contents(tmp_path / "spare" / "var") == contents(tmp_path / "restored" / "var")
    assert verify.run(tmp_path / "spare" / "var", deep=True) == []
    assert sorted(one.name for one in (tmp_path / "spare").iterdir()) == ["channels", "config", "var"]
    assert not (copy.path.parent / SPARE_NAME).exists()


def test_a_damaged_piece_is_said_and_waited_for(place: Place, tmp_path: Path) -> None:
    asyncio.run(some_rounds(place))
    (copy,) = copies(next(place.copies.glob("labrelay-*")))
    one = spare(place, tmp_path / "spare")
    damaged = {path: path.read_bytes() for path in (copy.pieces()[1].path, copy.standings()[2].path)}
    for path, whole in damaged.items():
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    rows: list[int] = []
    for path, whole in damaged.items():
        found = one.round()
        assert f"{path}: not what was written" in found.fault
        assert one.round().row == found.row
        path.write_bytes(whole)
        rows.append(found.row)
    found = one.round()
    assert (found.fault, found.row, found.behind_s) == ("", copy.last_id(), 0.0)
    assert rows[0] < rows[1] < found.row


def test_with_a_damaged_piece_a_spare_takes_over_with_the_rows_before_it_and_says_so(
    place: Place, tmp_path: Path
) -> None:
    asyncio.run(some_rounds(place))
    (copy,) = copies(next(place.copies.glob("labrelay-*")))
    last = copy.pieces()[-1]
    last.path.write_bytes(b"damaged")
    done = spare(place, tmp_path / "spare")
    done.round()
    taken = done.take_over("anna", "the disk broke")
    assert taken.last_id == last.first - 1
    assert any("not what was written" in text for text in taken.wrong)
    assert taken.stands_still


def test_a_newer_copy_is_followed_and_another_journal_is_refused(place: Place, tmp_path: Path) -> None:
    one = spare(place, tmp_path / "spare")
    assert "no copy there yet" in one.round().fault

    async def run() -> None:
        await some_rounds(place, one.round)
        async with running(place.data) as journal:
            newer = await place.copy(journal, check=False)
            assert one.round().copy != newer.name, "it was not read back"
            newer = await place.copy(journal)
            await store(journal, b"behind it")
            place.standing(newer)
            found = one.round()
            assert (found.copy, found.row, found.fault) == (newer.name, newer.last_id(), "")
        assert len(copies(tmp_path / "spare" / ".standby")) == 1

    asyncio.run(run())
    other = Place(tmp_path / "other")
    shutil.rmtree(other.copies)
    other.copies = place.copies

    async def another() -> None:
        async with running(other.data) as journal:
            await store(journal, b"of another laboratory")
            await other.copy(journal)

    asyncio.run(another())
    assert one.round().fault == "", "it stays with its own"
    with pytest.raises(StoreError, match="copies of several journals"):
        spare(place, tmp_path / "second")._shelf()
    shutil.rmtree(place.copies / f"labrelay-{one.progress.journal[:8]}")
    assert "copies of other journals are there" in one.round().fault
    with pytest.raises(StoreError, match="not empty"):
        spare(place, place.site)


def test_a_later_incarnation_is_waited_for_and_then_followed(place: Place, tmp_path: Path) -> None:
    asyncio.run(some_rounds(place))
    one, two = spare(place, tmp_path / "one"), spare(place, tmp_path / "two")
    one.round()
    two.round()
    Spare(tmp_path / "one", SystemClock()).take_over("anna", "the disk broke")
    assert "the journal goes on as incarnation 2" in two.round().fault
    with pytest.raises(OvertakenError, match="goes on as incarnation 2"):
        two.take_over("anna", "the disk broke")
    other = Place(tmp_path / "elsewhere")
    other.site, other.data, other.copies = tmp_path / "one", tmp_path / "one" / "var", place.copies

    async def run() -> None:
        async with running(other.data) as journal:
            await other.copy(journal)

    asyncio.run(run())
    found = two.round()
    assert (found.fault, found.incarnation) == ("", 2)


STEPS = (
    (incarnation, "begin"), (Shelf, "claim"), (restoring.Restoration, "end"), (restoring.Restoration, "seal"),
    (Anchor, "close"), (restoring, "_note_gap"), (following, "publish"), (shutil, "rmtree"),
)  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("where", "name"), STEPS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_take_over_that_is_killed_goes_on(place: Place, tmp_path: Path, where: Any, name: str, when: str) -> None:
    asyncio.run(some_rounds(place))
    spare(place, tmp_path / "spare").round()
    if (child := os.fork()) == 0:
        real = getattr(where, name)

        def step(*given: Any, **named: Any) -> Any:
            done = real(*given, **named) if when == "after" else None
            os.kill(os.getpid(), signal.SIGKILL)
            return done

        setattr(where, name, step)
        Spare(tmp_path / "spare", SystemClock()).take_over("anna", "the disk broke")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    if name not in ("rmtree", "publish", "begin"):
        assert "a take-over was begun here" in spare_there(tmp_path).round().fault
    if (tmp_path / "spare" / ".standby").exists():
        spare_there(tmp_path).take_over("anna", "the disk broke")
    assert verify.run(tmp_path / "spare" / "var", deep=True) == []
    journal = opened(tmp_path / "spare" / "var")
    try:
        with journal.snapshot() as execute:
            own = incarnation.of(execute)
            assert execute("SELECT count(*) FROM meta WHERE name = 'stands'").fetchone() == (0,)
        assert own.claims
        assert Shelf(place.copies, journal.journal_id).claimed_by() == own
        assert [act.verb for act in acts_page(journal) if act.verb == "take-over"] == ["take-over"]
        assert execute_one(journal, "SELECT count(*) FROM pause WHERE destination = '' AND channel = ''") == 1
    finally:
        journal.close()


def spare_there(folder: Path) -> Spare:
    return Spare(folder / "spare", SystemClock())


def execute_one(journal: Any, statement: str) -> Any:
    with journal.snapshot() as execute:
        return execute(statement).fetchone()[0]


def test_a_person_cannot_resume_deliveries_where_the_journal_goes_on_elsewhere(place: Place) -> None:
    journal = opened(place.data)
    try:
        later = Incarnation(2, "b", "pc2", at="2026-11-02T09:00:00+00:00")
        witness = Witness("the copies", Mark(journal.journal_id, 0, b""), incarnation=later)
        with journal.snapshot() as execute:
            found = rollback.find(execute, [witness], journal.journal_id, None)
        assert found is not None
        journal.run_alone(rollback.note, found)
        with pytest.raises(RefusedError, match="goes on elsewhere, as incarnation 2"):
            journal.run_alone(pauses.resume, DELIVERIES, actor="anna", reason="I know better")
        journal.run_alone(incarnation.go_on, "anna", "this one is right", [later])
        assert journal.run_alone(pauses.resume, DELIVERIES, actor="anna", reason="it is") is not None
    finally:
        journal.close()


# -- adopting ------------------------------------------------------------------------------------------------------


async def two_machines(place: Place, folder: Path) -> dict[bytes, str]:
    """A spare has taken over, and the old machine has messages that no piece carried: payload -> delivery key."""
    await some_rounds(place)
    spare(place, folder / "spare").round()
    keys: dict[bytes, str] = {}
    async with running(place.data) as journal:
        for n in range(5):
            (one,) = await queue(journal, b"last %d" % n, claimed=True)
            keys[b"last %d" % n] = trace_of(journal, one).deliveries[0].key  # type: ignore[union-attr] # it is there
        await journal.run(append.store_incomplete, received(b"tor"), ReasonCode.INCOMPLETE)
        await journal.run(append.store_frame, "chem", 1 << 40, b"half", 7)
        await journal.run(pauses.pause, DELIVERIES, actor="anna", reason="on the old machine")
    Spare(folder / "spare", SystemClock()).take_over("anna", "the disk broke")
    return keys


def adopt(folder: Path, old: Path) -> adopting.Result:
    journal = opened(folder / "spare" / "var")
    try:
        return adopting.run(journal, old, "anna")
    finally:
        journal.close()


def test_the_last_rows_of_the_old_machine_come_in_as_received_then_under_their_keys(
    place: Place, tmp_path: Path
) -> None:
    keys = asyncio.run(two_machines(place, tmp_path))

    async def meanwhile() -> None:
        async with running(tmp_path / "spare" / "var") as journal:
            await store(journal, b"last 3", b"new")  # sent again to the new machine

    asyncio.run(meanwhile())
    done = adopt(tmp_path, place.site)
    assert (done.messages, done.repeats, done.incomplete, done.acts) == (7, 1, 2, 1)
    again = adopt(tmp_path, place.data)
    assert (again.messages, again.repeats, again.incomplete) == (0, 0, 0)

    async def after() -> None:
        async with running(tmp_path / "spare" / "var") as journal:
            found = {bytes(stored_payload(journal, one.id)): one.id for one in unprocessed(journal)}
            for n in (0, 1, 2, 4):
                payload = b"last %d" % n
                outcome = await journal.run(
                    record_outcome.record, found[payload], Outcome("mapped"), [routed(payload, claimed=True)]
                )
                (delivery,) = outcome.deliveries
                assert (delivery.key, delivery.maybe_delivered) == (keys[payload], True)
            verbs = [act.verb for act in acts_page(journal)]
            assert verbs.count("adopt") == 1
        assert verify.run(tmp_path / "spare" / "var", deep=True) == []

    asyncio.run(after())


def test_what_the_old_machine_receives_later_comes_in_the_next_time(place: Place, tmp_path: Path) -> None:
    asyncio.run(two_machines(place, tmp_path))
    first = adopt(tmp_path, place.site)

    async def more() -> None:
        async with running(place.data) as journal:
            await store(journal, b"after it came back")

    asyncio.run(more())
    assert (first.messages, adopt(tmp_path, place.site).messages) == (7, 1)


ADOPTING = ((append, "store_adopted"), (append, "store_incomplete"), (Adopted, "write"), (audit, "note"))


@pytest.mark.parametrize(("where", "name"), ADOPTING, ids=lambda one: one if isinstance(one, str) else "")
def test_an_adoption_that_is_killed_goes_on(place: Place, tmp_path: Path, where: Any, name: str) -> None:
    asyncio.run(two_machines(place, tmp_path))
    if (child := os.fork()) == 0:
        setattr(where, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        adopt(tmp_path, place.site)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    adopt(tmp_path, place.site)
    journal = opened(tmp_path / "spare" / "var")
    try:
        found = [bytes(stored_payload(journal, one.id)) for one in unprocessed(journal)]
        assert sorted(one for one in found if one.startswith(b"last")) == [b"last %d" % n for n in range(5)]
    finally:
        journal.close()


def test_a_damaged_or_foreign_folder_is_refused_in_words(place: Place, tmp_path: Path) -> None:
    asyncio.run(two_machines(place, tmp_path))
    with closing(sqlite3.connect(place.data / JOURNAL_NAME)) as connection:
        connection.execute(
            "UPDATE journal SET received_us = received_us + 1 WHERE id = (SELECT max(id) - 2 FROM journal)"
        )
        connection.commit()
    with pytest.raises(IntegrityError, match=r"nothing of it is taken. labrelay journal salvage"):
        adopt(tmp_path, place.site)
    other = Place(tmp_path / "other")

    async def another() -> None:
        async with running(other.data) as journal:
            await store(journal, b"of another laboratory")

    asyncio.run(another())
    with pytest.raises(StoreError, match="is another journal"):
        adopt(tmp_path, other.site)
    with pytest.raises(StoreError, match="no journal there"):
        adopt(tmp_path, tmp_path)
