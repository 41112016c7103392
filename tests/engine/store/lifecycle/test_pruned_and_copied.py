"""What deletes, copies and brings back, put together: nothing erased comes back, nothing is lost, no false alarm."""

import asyncio
import errno
import json
import os
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.features.results.rows import delta_history
from engine.model.content.results import results_of
from engine.model.content.search_keys import Number
from engine.model.errors import StoreError
from engine.model.process.clock import ManualClock, SystemClock
from engine.store.core import connecting
from engine.store.core.anchor import ANCHOR_NAME, Anchor
from engine.store.core.chain import ROW_COLUMNS, JournalRow, chain_hash, pruned_digest
from engine.store.core.checks import pruned_ranges
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.core.writing.batch import Batch
from engine.store.integrity import before_upgrade, verify
from engine.store.journal import Journal, keys
from engine.store.journal.starting import unprocessed
from engine.store.lifecycle import erasure
from engine.store.operations import pruning, search_index
from engine.store.queries.lanes import list_lanes
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader, stored_payload
from engine.store.recovery.backups import checking, copying, increments
from engine.store.recovery.backups.catalog import Copy, read_copy
from engine.store.recovery.salvage import saving
from tests.support import copies
from tests.support.copies import complete
from tests.support.journals import opened, queue, running, store
from tests.support.made_up_steps import with_made_up_steps
from tests.support.waiting import until


class Place(copies.Place):
    """As that, for journals that no daemon has."""

    def copy_alone(self, journal: Journal) -> Copy:
        shelf = self.shelf(journal)
        making = shelf.begin()
        journal.writer.lend_alone(copying.job(making / JOURNAL_NAME))
        made = complete(shelf, making, journal, self.site)
        checking.run(made)
        found = read_copy(made.path)
        assert found is not None
        return found

    def fill(self, *bodies: bytes, mapped: bool = True) -> None:
        async def run() -> None:
            async with running(self.data) as journal:
                await (queue(journal, *bodies) if mapped else store(journal, *bodies))

        asyncio.run(run())

    def erase(self, *messages: int) -> None:
        journal = opened(self.data)
        try:
            journal.run_alone(
                partial(erasure.erase, messages=list(messages), numbers=["4711"], actor="a", reason="asked", more={})
            )
        finally:
            journal.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_of_what_was_erased_nothing_is_sent_or_processed_after_a_restoration(place: Place, tmp_path: Path) -> None:
    place.fill(b"one")
    place.fill(b"two", mapped=False)
    journal = opened(place.data)
    copy = place.copy_alone(journal)
    journal.close()
    place.fill(b"three", mapped=False)
    place.rows(copy)
    place.erase(1, 2, 3)
    place.rows(copy)

    restored = place.restore(copy, tmp_path / "new")

    assert (restored.wrong, restored.findings) == ([], [])
    assert (restored.again, restored.maybe) == (0, 0)
    new = opened(tmp_path / "new" / "var")
    try:
        assert list(unprocessed(new)) == []
        trace = trace_of(new, 1)
        assert trace is not None
        assert [one.state for one in trace.deliveries] == ["dismissed"]
        assert [lane.open for lane in list_lanes(new)] == [0]
    finally:
        new.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_traces_and_earlier_values_of_what_was_erased_do_not_come_back(place: Place, tmp_path: Path) -> None:
    place.fill(b"one")
    journal = opened(place.data)

    def note(batch: Batch) -> None:
        batch.execute(
            "INSERT INTO line_trace (channel, session, began_us, size, content) VALUES ('chem', 7, 0, 1, x'00')"
        )
        search_index.note(batch, 1, [Number("patient", "4711")])

    journal.run_alone(note)
    copy = place.copy_alone(journal)
    journal.close()
    place.erase(1)
    place.rows(copy)

    place.restore(copy, tmp_path / "new")

    with closing(sqlite3.connect(tmp_path / "new" / "var" / JOURNAL_NAME)) as connection:
        assert connection.execute("SELECT count(*) FROM line_trace").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM message_number").fetchone() == (0,)


def test_an_erased_row_whose_record_is_in_the_next_piece_comes_back_empty(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill(b"one")
    journal = opened(place.data)
    copy = place.copy_alone(journal)
    journal.close()
    place.fill(b"two", b"three", b"four")
    place.erase(2)
    monkeypatch.setattr(increments, "PIECE_ROWS", 1)
    place.rows(copy)

    restored = place.restore(copy, tmp_path / "new")

    assert (restored.wrong, restored.findings) == ([], [])
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_a_drill_puts_no_key_into_the_folder_of_the_copies(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.fill(b"one")
    journal = opened(place.data)
    place.copy_alone(journal)
    shelf = place.shelf(journal)
    journal.close()
    seen: list[Path] = []
    check = verify.run

    def look(*arguments: Any, **more: Any) -> Any:
        seen.extend(shelf.path.rglob(KEY_NAME))
        return check(*arguments, **more)

    monkeypatch.setattr(verify, "run", look)
    killed, other = (shelf.path / f"{checking.PREFIX}{start}-x" for start in (shelf.path.name[-8:], "00000000"))
    at_work = shelf.path / f"{killed.name}y"
    for folder in (killed, other, at_work):
        folder.mkdir()
    for folder in (killed, other):
        os.utime(folder, (0, 0))
    checking.drill(shelf, shelf.path, keys=place.data, clock=SystemClock())
    assert seen == []
    assert (killed.exists(), other.exists(), at_work.exists()) == (False, True, True)


def test_after_a_restoration_the_reserved_numbers_raise_no_alarm_at_later_starts(place: Place, tmp_path: Path) -> None:
    place.fill(b"one", b"two")
    journal = opened(place.data)
    copy = place.copy_alone(journal)
    journal.close()
    place.restore(copy, tmp_path / "new")
    for _ in range(2):
        again = opened(tmp_path / "new" / "var")
        assert again.damage == []
        again.close()


def test_a_copy_with_a_time_to_come_keeps_no_later_one_from_being_the_newest(place: Place) -> None:
    place.fill(b"one")
    journal = opened(place.data)
    first = place.copy_alone(journal)
    manifest = json.loads((first.path / "manifest.json").read_bytes())
    manifest["made_at"] = (datetime.now(UTC) + timedelta(days=3650)).isoformat()
    (first.path / "manifest.json").write_text(json.dumps(manifest))
    journal.close()
    place.fill(b"two")
    journal = opened(place.data)
    second, shelf = place.copy_alone(journal), place.shelf(journal)
    journal.close()

    newest = shelf.newest(whole=True)
    assert newest is not None
    assert newest.name == second.name
    assert shelf.tidy(1) == [first.name]


def test_a_copy_from_before_an_upgrade_survives_a_start_that_has_no_room_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_of = tmp_path / "var"
    opened(place_of).close()
    clock = ManualClock()
    with closing(sqlite3.connect(place_of / JOURNAL_NAME, isolation_level=None)) as connection:
        schema = connecting.version(connection)
        none, one, both = (with_made_up_steps(more) for more in range(3))
        monkeypatch.setattr(connecting, "steps", lambda: both)
        before_upgrade.keep(connection, place_of, clock)
        kept = place_of / before_upgrade.FOLDER / f"journal-{schema:04}.db"
        assert kept.exists()
        # The process ended before, or after, the first of two steps.
        monkeypatch.setattr(before_upgrade, "SPARE_BYTES", 1 << 60)
        for amid in (none, one):
            connecting.upgrade(connection, amid)
            before_upgrade.keep(connection, place_of, clock)
            assert kept.exists()
            assert kept.with_suffix(".anchor").exists()


@pytest.mark.parametrize("kind", ["let go", "erased"])
def test_a_record_that_somebody_makes_say_more_is_named_by_the_deep_check(place: Place, kind: str) -> None:
    place.fill(b"one", b"two", b"three")
    journal = opened(place.data)
    if kind == "let go":
        one = pruned_ranges.Range(pruned_ranges.JOURNAL, 100, 100, b"c" * 32, 0)
        journal.run_alone(partial(pruning.vouch, ranges=[one], counts={}))
        journal.run_alone(lambda batch: batch.execute("DELETE FROM pruned"))
    journal_id = journal.journal_id
    journal.close()
    if kind == "erased":
        place.erase(1)
    assert verify.run(place.data, deep=True) == []

    with closing(sqlite3.connect(place.data / JOURNAL_NAME)) as connection, connection:
        (found,) = connection.execute(f"SELECT {ROW_COLUMNS} FROM journal WHERE kind IN (4, 5)").fetchall()
        row = JournalRow._make(found)
        (before,) = connection.execute("SELECT chain FROM journal WHERE id = ?", (row.id - 1,)).fetchone()
        (gone,) = connection.execute("SELECT chain FROM journal WHERE id = 2").fetchone()
        token = row.token + pruned_digest(pruned_ranges.JOURNAL, 2, 2, gone)
        own = row._replace(token=token).computed
        chain = chain_hash(before, own)
        connection.execute(
            "UPDATE journal SET token = ?, hash = ?, chain = ? WHERE id = ?", (token, own, chain, row.id)
        )
    journal = Reader.beside(place.data)
    Anchor(place.data / ANCHOR_NAME, journal_id, row.id, chain, journal.vault.anchor_seal).close()
    journal.close()

    assert verify.run(place.data) == []  # whoever can write the file can compute plain hashes
    assert [str(found) for found in verify.run(place.data, deep=True)] == [
        f"row {row.id}: its digests are not those that it was written with"
    ]


def test_of_what_was_erased_nothing_is_processed_after_a_salvage(place: Place, tmp_path: Path) -> None:
    place.fill(b"one", b"two")
    place.fill(b"three", mapped=False)
    place.erase(1, 2, 3)
    with closing(sqlite3.connect(place.data / JOURNAL_NAME)) as connection, connection:
        connection.execute("DELETE FROM delivery WHERE message_id = 1")
        connection.execute("DELETE FROM message_state WHERE id IN (2, 3)")

    saved = saving.run(place.data, tmp_path / "new", clock=SystemClock(), actor="anna", reason="damage")

    assert (saved.again, saved.findings) == ([], [])
    journal = opened(tmp_path / "new")
    assert list(unprocessed(journal)) == []
    journal.close()


def test_earlier_values_of_what_was_erased_do_not_come_back(place: Place, tmp_path: Path) -> None:
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]},
        "subject": {"reference": "Patient/p1"},
        "valueQuantity": {"value": 5.1, "unit": "mmol/L", "code": "mmol/L", "system": "http://unitsofmeasure.org"},
    }
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": observation}]}
    document = json.dumps(bundle, separators=(",", ":")).encode()  # as mappings write it
    place.fill(document)
    journal = opened(place.data)
    journal.run_alone(lambda batch: delta_history.remember(batch, 1, results_of(document), batch.now_us))
    copy = place.copy_alone(journal)
    journal.close()
    values = "SELECT count(*) FROM earlier_value"
    with closing(sqlite3.connect(copy.path / JOURNAL_NAME)) as connection:
        assert connection.execute(values).fetchone() == (1,)
    place.erase(1)
    place.rows(copy)

    assert place.restore(copy, tmp_path / "new").findings == []

    with closing(sqlite3.connect(tmp_path / "new" / "var" / JOURNAL_NAME)) as connection:
        assert connection.execute(values).fetchone() == (0,)


def test_a_copy_has_the_key_of_its_own_journal_where_that_was_rotated_meanwhile(place: Place, tmp_path: Path) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            shelf = place.shelf(journal)
            making = shelf.begin()
            await journal.lend(copying.job(making / JOURNAL_NAME))
            await keys.rotate(journal, place.data, actor="anna")
            copy = complete(shelf, making, journal, place.site, with_key=True)
            checking.run(copy)
            found = read_copy(copy.path)
            assert found is not None
            return found

    place.restore(asyncio.run(before()), tmp_path / "new", keys=None)
    journal = opened(tmp_path / "new" / "var")
    assert stored_payload(journal, 1) == b"one"
    journal.close()


def test_a_folder_that_does_not_answer_holds_up_the_copy_and_no_message(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a share whose server is away: each sync, opening and closing waits for it."""
    answers, asked = threading.Event(), threading.Event()
    real = copying.sync

    def sync(descriptor: int) -> None:
        asked.set()
        answers.wait(30.0)
        real(descriptor)

    monkeypatch.setattr(copying, "sync", sync)
    monkeypatch.setattr(copying, "UNWRITTEN_BYTES", 1)

    async def run() -> None:
        async with running(place.data) as journal:
            await queue(journal, *(os.urandom(200_000) for _ in range(10)))
            shelf = place.shelf(journal)
            making = shelf.begin()
            copied = journal.lend(copying.job(making / JOURNAL_NAME))
            await until(asked.is_set)
            for n in range(20):
                await store(journal, b"while it waits %d" % n)
            assert not copied.done()
            answers.set()
            await copied
            copy = complete(shelf, making, journal, place.site)
            assert checking.run(copy).findings == ()
            answers.clear()
            monkeypatch.setattr(copying, "STALLED_S", 0.05)
            with pytest.raises(StoreError, match="does not answer"):
                await journal.lend(copying.job(shelf.begin() / JOURNAL_NAME))
            answers.set()
            await store(journal, b"after it was given up")

    asyncio.run(run())


def test_what_a_full_disk_has_left_of_a_piece_is_taken_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            shelf = place.shelf(journal)
            making = shelf.begin()
            await journal.lend(copying.job(making / JOURNAL_NAME))
            copy = complete(shelf, making, journal, place.site)
            before = {path.name for path in copy.path.iterdir()}

            def full(descriptor: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            for n in range(3):
                await store(journal, b"more %d" % n)
                with monkeypatch.context() as disk, pytest.raises(StoreError, match="No space left"):
                    disk.setattr(os, "fsync", full)
                    place.rows(copy)
                assert {path.name for path in copy.path.iterdir()} == before
            place.rows(copy)
            assert checking.broken_pieces(copy) == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "bad", [b"{}", b"[]", b"", b"\xff", b'{"at": "soon"}', b'{"at": 7}', b'{"at": "2026-03-01T00:00:00"}']
)
def test_damaged_notes_in_the_folder_of_copies_end_no_backup(place: Place, tmp_path: Path, bad: bytes) -> None:
    journal = opened(place.data)
    copy, shelf = place.copy_alone(journal), place.shelf(journal)
    journal.close()
    assert [one.is_whole for one in shelf.copies()] == [True]
    (shelf.path / "drill.json").write_bytes(bad)
    (copy.path / "verified.json").write_bytes(bad)
    assert shelf.drill() == {}
    assert [one.is_whole for one in shelf.copies()] == [False]  # to be read back, or made once more
    manifest = json.loads((copy.path / "manifest.json").read_text())
    for broken in (
        {**manifest, "made_at": "2026-03-01T00:00:00"},
        {**manifest, "last_id": "7"},
        {**manifest, "chain": "x"},
    ):
        (copy.path / "manifest.json").write_text(json.dumps(broken))
        assert shelf.copies() == []
