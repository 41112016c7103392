"""Copies of a journal that is being written, pieces of its rows since, and a site made of both."""

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.feature import Table
from engine.features.events import rows as events
from engine.features.events import rows as webhooks
from engine.features.events.rows import stored_webhooks
from engine.features.events.rules import Position, position_of, readable
from engine.features.results.rows import hold_queue, number_bearers
from engine.features.rework.rows import dismissal
from engine.model.errors import ConfigError, ErasedError, IntegrityError, StoreError
from engine.model.message import Bearer, Report
from engine.model.outcome import Outcome
from engine.model.persons import Person
from engine.model.process.clock import ManualClock, SystemClock
from engine.model.site.permissions import ALL
from engine.model.texts.reasons import ReasonCode
from engine.store.core import connecting
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.integrity import verify
from engine.store.journal import keys as keys_ops
from engine.store.journal.starting import unprocessed
from engine.store.lifecycle import erasure
from engine.store.operations import append, audit, record_outcome
from engine.store.operations.outbox import attempts, claims, decisions
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_channels
from engine.store.queries.messages import messages_page, not_all_numbers, trace_of
from engine.store.queries.reader import Reader, stored_payload
from engine.store.recovery.backups import checking, copying, restoring, state_snapshot
from engine.store.recovery.backups.catalog import MANIFEST_NAME, Copy, Shelf, read_copy
from engine.store.recovery.backups.restoring import RESERVED
from tests.support.copies import Place, complete
from tests.support.journals import opened, queue, received, routed, running, store
from tests.support.made_up_steps import with_made_up_steps
from tests.support.questions import marks
from tests.support.waiting import until

CANARY = b"PID|1||4711||SHARMA^ANITA"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_copy_that_is_made_amid_writing_is_whole_and_has_all_that_was_there(place: Place, tmp_path: Path) -> None:
    async def run() -> tuple[Copy, int, int]:
        async with running(place.data) as journal:
            for n in range(40):
                await queue(journal, *(b"%d %d " % (n, m) + os.urandom(3000) + CANARY for m in range(10)), claimed=True)
            before, stop = journal.last_id, asyncio.Event()

            async def more() -> None:
                while not stop.is_set():
                    await queue(journal, b"later " + CANARY, claimed=True)

            writing = asyncio.create_task(more())
            steps: list[int] = []
            shelf = place.shelf(journal)
            making = shelf.begin()
            await journal.lend(copying.job(making / JOURNAL_NAME, lambda done, total: steps.append(done)))
            at_end = journal.last_id
            stop.set()
            await writing
            assert len(steps) > 5
            assert at_end > before, "messages were committed between the steps"
            copy = complete(shelf, making, journal, place.site)
            return copy, before, at_end

    copy, before, at_end = asyncio.run(run())
    verified = checking.run(copy)

    assert verified.findings == ()
    assert before < copy.manifest.last_id <= at_end
    assert verify.run_file(copy.path / JOURNAL_NAME, copy.path / ANCHOR_NAME) == []
    assert {path.name for path in copy.path.iterdir()} == {
        JOURNAL_NAME, ANCHOR_NAME, MANIFEST_NAME, "verified.json", "site",
    }  # fmt: skip
    assert (copy.path / "site" / "channels" / "chem.yaml").read_text() == "channel: chem\n"
    assert copy.manifest.left_out == ("config/server.key",)
    assert not any(b"SHARMA" in path.read_bytes() for path in copy.path.rglob("*") if path.is_file())
    assert not list(copy.path.rglob(KEY_NAME))


def test_rows_since_the_copy_come_back_and_go_out_under_their_old_keys(place: Place, tmp_path: Path) -> None:
    async def before() -> tuple[Copy, dict[int, str]]:
        async with running(place.data) as journal:
            await journal.run(append.store_message, received(b"one", lost=True), repeat_window_s=86_400.0)
            await journal.run(record_outcome.record, 1, Outcome("mapped"), [routed(b"one")])
            await queue(journal, b"two")
            copy = await place.copy(journal)
            await queue(journal, b"three", b"four")
            await store(journal, b"five")
            await journal.run(append.store_message, received(b"one", lost=True), repeat_window_s=86_400.0)
            await journal.run(append.store_incomplete, received(b"tor"), ReasonCode.INCOMPLETE)
            place.rows(copy)
            keys = {n: trace_of(journal, n).deliveries[0].key for n in (1, 2, 3, 4)}  # type: ignore[union-attr] # they are there
            return copy, keys

    copy, keys = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new")

    assert (restored.rows, restored.from_pieces, restored.last_id) == (7, 5, 7)
    assert (restored.wrong, restored.findings) == ([], [])
    assert (restored.again, restored.maybe) == (3, 2)  # three, four, five; and what waited in the copy
    assert (tmp_path / "new" / "config" / "labrelay.yaml").read_text() == "site: {name: X}\n"
    new = tmp_path / "new" / "var"

    async def after() -> None:
        async with running(new) as journal:
            assert [one.id for one in unprocessed(journal)] == [3, 4, 5]
            assert {n: trace_of(journal, n).message.state for n in (6, 7)} == {6: "filtered", 7: "incomplete"}  # type: ignore[union-attr] # as above
            outcome = await journal.run(record_outcome.record, 3, Outcome("mapped"), [routed(b"three", claimed=True)])
            (delivery,) = outcome.deliveries
            assert (delivery.key, delivery.maybe_delivered) == (keys[3], True)
            waiting = await journal.run(claims.claim, "chem", "fhir", 10)
            assert {one.key for one in waiting} >= {keys[1], keys[2]}
            assert all(one.maybe_delivered for one in waiting)
            (fresh,) = await queue(journal, b"six", claimed=True)
            assert not trace_of(journal, fresh).deliveries[0].maybe_delivered  # type: ignore[union-attr] # as above
            assert fresh > 7 + RESERVED

    asyncio.run(after())
    assert verify.run(new, deep=True) == []


def test_readers_of_events_learn_of_a_restore_and_get_nothing_twice(place: Place, tmp_path: Path) -> None:
    async def before() -> tuple[Copy, Position]:
        async with running(place.data) as journal:
            await journal.run(webhooks.begin, ["erp"], str(events.newest(journal)))
            await queue(journal, b"one", claimed=True)
            await journal.run(attempts.settle, 1, 1)
            await journal.run(webhooks.reached, "erp", str(events.newest(journal)))
            copy = await place.copy(journal)
            await queue(journal, b"two", claimed=True)
            await journal.run(attempts.settle, 2, 1)
            return copy, events.newest(journal)

    copy, read = asyncio.run(before())
    place.restore(copy, tmp_path / "new")

    async def after() -> None:
        async with running(tmp_path / "new" / "var") as journal:
            await store(journal, b"three")
            (webhook,) = stored_webhooks(journal)
            for position in (read, position_of(webhook.position)):
                (gap,) = events.page(journal, position, readable(ALL)).events
                assert (gap.type, orjson.loads(gap.data)["reason"]) == ("gap", "another-history")
                found = events.page(journal, gap.position, readable(ALL)).events
                # The numbers that are left out, the act of the restore, and what came since.
                assert [one.type for one in found] == ["gap", "act.begun", "message.received"]

    asyncio.run(after())


def test_a_copy_from_before_a_schema_step_is_restored_with_what_came_after_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copy, pieces and how messages stood are of the earlier schema; the step also makes a table that is copied."""

    async def run() -> tuple[Copy, int]:
        async with running(place.data) as journal:
            await queue(journal, b"1")
            copy = await place.copy(journal)
            await queue(journal, b"2")
            (delivery,) = await journal.run(claims.claim, "chem", "fhir", 1)
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
            assert place.standing(copy)
            return copy, journal.last_id

    copy, last_id = asyncio.run(run())
    steps = with_made_up_steps()
    monkeypatch.setattr(connecting, "steps", lambda: steps)
    made_up = Table(name="made_up", copied="SELECT * FROM main.made_up")
    monkeypatch.setattr(state_snapshot, "_OWN", (*state_snapshot._OWN, made_up))

    restored = place.restore(copy, tmp_path / "new", old_anchor=place.data / ANCHOR_NAME)

    assert (restored.wrong, restored.findings) == ([], [])
    assert (restored.last_id, restored.stands_to, restored.again) == (last_id, last_id, 0)
    with closing(sqlite3.connect(tmp_path / "new" / "var" / JOURNAL_NAME)) as connection:
        assert connecting.version(connection) == steps[-1][0]
        states = connection.execute("SELECT message_id, state FROM delivery ORDER BY id").fetchall()
    assert states == [(1, "delivered"), (2, "waiting")]
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_with_the_old_anchor_the_exact_rows_are_named_that_are_lost(place: Place, tmp_path: Path) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one", b"two")
            copy = await place.copy(journal)
            await queue(journal, b"three", b"four", b"five")
            return copy

    copy = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new", old_anchor=place.data / ANCHOR_NAME)

    assert restored.lost == (3, 5)
    assert "rows 3 to 5 were acknowledged and are missing" in "\n".join(restoring.sentences(restored, tmp_path))
    journal = opened(tmp_path / "new" / "var")
    try:
        (act,) = [act for act in acts_page(journal) if act.verb == "restore"]
        assert (act.id, act.what["missing"], act.what["reason"]) == (6, [3, 5], "disk lost")
    finally:
        journal.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_with_an_old_anchor_that_knows_of_no_more_it_is_said_that_nothing_is_missing(
    place: Place, tmp_path: Path
) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            return await place.copy(journal)

    copy = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new", old_anchor=place.data / ANCHOR_NAME)
    assert (restored.lost, restored.complete) == (None, True)
    (said,) = [text for text in restoring.sentences(restored, tmp_path / "new") if "missing" in text]
    assert "no acknowledged row is missing" in said
    blind = place.restore(copy, tmp_path / "blind")
    assert not blind.complete
    assert any("let the analyzers send again" in text for text in restoring.sentences(blind, tmp_path / "blind"))


def test_nothing_is_ever_written_over(place: Place, tmp_path: Path) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            return await place.copy(journal)

    copy = asyncio.run(before())
    content = (place.data / JOURNAL_NAME).read_bytes()
    for target in (place.site, place.data, copy.path):
        with pytest.raises(StoreError, match="not empty"):
            place.restore(copy, target)
    assert (place.data / JOURNAL_NAME).read_bytes() == content
    (tmp_path / "left" / "restoring-x").mkdir(parents=True)
    with pytest.raises(StoreError, match="not empty: restoring-x in it is of a restore that was interrupted"):
        place.restore(copy, tmp_path / "left")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        place.restore(copy, tmp_path / "file")

    # Nor by a manifest that a stranger has changed.
    names = ("../../x", "config/../../x", "/x", str(tmp_path / "x"), "var/x", "config", "config//x", "", "config/a\0b")
    changed = replace(copy, manifest=replace(copy.manifest, files={**copy.manifest.files, **dict.fromkeys(names, "")}))
    restored = place.restore(changed, tmp_path / "restored")
    assert [one.partition(": no file of a configuration")[0] for one in restored.wrong] == list(names)
    assert (tmp_path / "restored" / "config" / "labrelay.yaml").exists()
    assert [*tmp_path.rglob("x")] == []
    for name, why in (("site/config/labrelay.yaml", "a link"), ("site/channels", "a link"), (JOURNAL_NAME, "no file")):
        kept, path = tmp_path / "kept", copy.path / name
        path.rename(kept)
        path.symlink_to(kept) if why == "a link" else path.mkdir()
        with pytest.raises(StoreError, match=f"{path}.*: it is {why}"):
            place.restore(copy, tmp_path / "again")
        path.unlink() if why == "a link" else path.rmdir()
        kept.rename(path)
    (copy.path / MANIFEST_NAME).write_bytes(orjson.dumps({**asdict(copy.manifest), "files": {"config/x": 1}}))
    assert read_copy(copy.path) is None


def test_without_the_key_nothing_is_restored_and_with_it_beside_the_copy_it_is(place: Place, tmp_path: Path) -> None:
    async def before() -> tuple[Copy, Copy]:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            return await place.copy(journal), await place.copy(journal, with_key=True)

    without, with_key = asyncio.run(before())
    with pytest.raises(ConfigError, match="--keys"):
        place.restore(without, tmp_path / "new", keys=None)
    assert list((tmp_path / "new").iterdir()) == []

    place.restore(with_key, tmp_path / "new", keys=None)

    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_damaged_piece_ends_the_restoration_there_and_is_named(place: Place, tmp_path: Path) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            copy = await place.copy(journal)
            for body in (b"two", b"three", b"four"):
                await queue(journal, body)
                place.rows(copy)
            return copy

    copy = asyncio.run(before())
    assert [(piece.first, piece.last) for piece in copy.pieces()] == [(2, 2), (3, 3), (4, 4)]
    _flip(copy.pieces()[1].path, 200)
    assert len(checking.broken_pieces(copy)) == 1

    restored = place.restore(copy, tmp_path / "new", old_anchor=place.data / ANCHOR_NAME)

    assert (restored.last_id, restored.lost) == (2, (3, 4))
    assert "rows from 3 on are not restored" in restored.wrong[0]
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_a_piece_that_is_missing_is_noticed(place: Place, tmp_path: Path) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            copy = await place.copy(journal)
            for body in (b"two", b"three"):
                await queue(journal, body)
                place.rows(copy)
            return copy

    copy = asyncio.run(before())
    copy.pieces()[0].path.unlink()

    restored = place.restore(copy, tmp_path / "new")

    assert restored.last_id == 1
    assert "does not go on" in restored.wrong[0]


def test_a_damaged_copy_is_noticed_when_it_is_read_back_and_when_it_is_restored(place: Place, tmp_path: Path) -> None:
    async def before() -> tuple[Copy, Copy]:
        async with running(place.data) as journal:
            await queue(journal, *(CANARY * 50 for _ in range(20)))
            return await place.copy(journal, check=False), await place.copy(journal)

    first, second = asyncio.run(before())
    with closing(sqlite3.connect(first.path / JOURNAL_NAME)) as connection, connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("UPDATE journal SET body = x'00' WHERE id = 3")
    assert "row 3: not what was stored" in checking.run(first).findings
    _flip(second.path / JOURNAL_NAME, (second.path / JOURNAL_NAME).stat().st_size // 2)
    with pytest.raises(IntegrityError, match="older copy"):
        place.restore(second, tmp_path / "new")


def test_what_a_person_decided_since_the_copy_stays_decided(place: Place, tmp_path: Path) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            (dead, held) = await queue(journal, b"one", b"two", claimed=True)
            ids = {n: trace_of(journal, n).deliveries[0].id for n in (dead, held)}  # type: ignore[union-attr] # they are there
            await journal.run(attempts.bury, ids[dead], reason=ReasonCode.REFUSED)
            await journal.run(decisions.hold, [ids[held]], ReasonCode.HELD_BY_RULE)
            (stored,) = await store(journal, b"three")
            await journal.run(record_outcome.record, stored.id, Outcome("dead", ReasonCode.MAPPING_FAULT))
            copy = await place.copy(journal)
            await journal.run(
                dismissal.dismiss, deliveries=[ids[dead]], messages=[stored.id], actor="anna", reason="seen"
            )
            await journal.run(hold_queue.reject, [ids[held]], actor="anna", reason="wrong tube")
            (later,) = await store(journal, b"four")
            await journal.run(record_outcome.record, later.id, Outcome("dead", ReasonCode.MAPPING_FAULT))
            await journal.run(dismissal.dismiss, messages=[later.id], actor="anna", reason="seen")
            place.rows(copy)
            return copy

    copy = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new")

    journal = opened(tmp_path / "new" / "var")
    try:
        traces = {n: trace_of(journal, n) for n in restored.decided}
        states = {n: trace.message.state for n, trace in traces.items() if trace is not None}
        assert sorted(states.values()) == ["dismissed", "dismissed", "mapped", "mapped"]
        ended = [one.state for trace in traces.values() if trace is not None for one in trace.deliveries]
        assert sorted(ended) == ["dismissed", "rejected"]
        assert not_all_numbers(journal) == 1  # "four", whose numbers were with its verdict
        assert unprocessed(journal) == []
    finally:
        journal.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_evidence_that_a_person_has_closed_since_the_copy_stays_closed(place: Place, tmp_path: Path) -> None:
    """A restored site must not ask for the decisions of yesterday once more."""

    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            copy = await place.copy(journal)
            torn = [
                await journal.run(append.store_incomplete, received(half), ReasonCode.INCOMPLETE)
                for half in (b"H|half", b"H|other")
            ]
            await journal.run(dismissal.dismiss, messages=[torn[0].id], actor="anna", reason="sent again")
            place.rows(copy)
            return copy

    copy = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new")

    journal = opened(tmp_path / "new" / "var")
    try:
        found = {one.id: one.state for one in messages_page(journal)}
        assert sorted(found.values()) == ["dismissed", "incomplete", "mapped"]
        assert [view.incomplete for view in list_channels(journal)] == [1]
        assert restored.decided == []
    finally:
        journal.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_copies_that_did_not_come_to_their_end_are_none_and_are_taken_away(place: Place) -> None:
    async def run() -> None:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            good = await place.copy(journal)
            shelf = place.shelf(journal)
            half = shelf.begin()
            (half / JOURNAL_NAME).write_bytes(b"half")
            nameless = shelf.path / "full-20260101T000000.000Z-000000000009"
            nameless.mkdir()
            assert [copy.name for copy in shelf.copies()] == [good.name]
            shelf.begin()
            assert not (half / JOURNAL_NAME).exists()

    asyncio.run(run())


def test_old_copies_go_once_there_are_enough_and_the_only_whole_one_never(place: Place) -> None:
    async def run() -> None:
        async with running(place.data) as journal:
            made = []
            for n in range(4):
                await queue(journal, b"%d" % n)
                made.append(await place.copy(journal, check=n < 2))
            shelf = place.shelf(journal)
            assert shelf.tidy(1) == [made[0].name]  # the newest two were not read back
            assert [copy.name for copy in shelf.copies()][-1] == made[1].name
            checking.run(made[3])
            shelf.tidy(1)
            assert [copy.name for copy in shelf.copies()] == [made[3].name]

    asyncio.run(run())


def test_a_full_disk_of_the_copies_costs_the_copy_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def small(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **named)
        if "making-" in str(arguments[0]):
            connection.execute("PRAGMA max_page_count = 4")  # SQLite then says the same as on a full disk
        return connection

    async def run() -> None:
        async with running(place.data) as journal:
            await queue(journal, *(CANARY * 100 for _ in range(50)))
            monkeypatch.setattr(sqlite3, "connect", small)
            with pytest.raises(StoreError, match="full"):
                await place.copy(journal)
            monkeypatch.undo()
            await until(lambda: not list(place.copies.rglob(JOURNAL_NAME)))  # what has filled the disk is gone at once
            (stored,) = await store(journal, b"on it goes")
            assert stored_payload(journal, stored.id) == b"on it goes"
            assert (await place.copy(journal)).is_whole

    asyncio.run(run())


def test_a_stop_ends_a_copy_that_is_under_way(place: Place) -> None:
    async def run() -> None:
        async with running(place.data) as journal:
            await queue(journal, *(CANARY * 100 for _ in range(200)))
            shelf = place.shelf(journal)
            making = shelf.begin()
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            def progress(done: int, total: int) -> None:
                loop.call_soon_threadsafe(begun.set)

            lent = journal.lend(copying.job(making / JOURNAL_NAME, progress))
            await begun.wait()
            stopping = asyncio.create_task(journal.stop())
            with pytest.raises(Exception, match=r"stopping|journal is closed"):
                await lent
            await stopping

    asyncio.run(run())
    assert verify.run(place.data, deep=True) == []


def test_a_drill_says_what_would_be_lost_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    async def before() -> Shelf:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            copy = await place.copy(journal)
            await queue(journal, b"two")
            place.rows(copy)
            return place.shelf(journal)

    shelf = asyncio.run(before())
    found = checking.drill(shelf, shelf.path, keys=place.data, clock=SystemClock())

    assert (found["rows"], found["from_pieces"], found["wrong"]) == (2, 1, [])
    assert 0 <= found["rpo_s"] < 600
    assert shelf.drill() == found
    assert [path.name for path in shelf.path.iterdir() if path.name.startswith("drill-")] == []


def test_a_changed_row_of_the_journal_does_not_get_into_a_piece(place: Place) -> None:
    async def run() -> None:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            copy = await place.copy(journal)
            await queue(journal, b"two")

        with closing(sqlite3.connect(place.data / JOURNAL_NAME)) as connection, connection:
            connection.execute("UPDATE journal SET size = 9 WHERE id = 2")
        with pytest.raises(IntegrityError, match="row 2"):
            place.rows(copy)

    asyncio.run(run())


def test_a_page_of_the_journal_that_cannot_be_read_ends_no_piece_in_silence(place: Place) -> None:
    async def run() -> Copy:
        async with running(place.data) as journal:
            copy = await place.copy(journal)
            await store(journal, *(b"%d " % number + bytes(3000) for number in range(40)))
            return copy

    copy = asyncio.run(run())
    path = place.data / JOURNAL_NAME
    with closing(sqlite3.connect(path)) as connection:
        ((sealed,), (page_bytes,)) = (
            connection.execute("SELECT body FROM journal WHERE id = 20").fetchone(),
            connection.execute("PRAGMA page_size").fetchone(),
        )
    content = bytearray(path.read_bytes())
    page = content.index(sealed[:100]) // page_bytes * page_bytes
    content[page : page + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"row \d+ of the journal cannot be read; labrelay verify says more"):
        place.rows(copy)
    assert copy.pieces() == []


def test_an_accepted_loss_is_no_hole_in_the_pieces(place: Place, tmp_path: Path) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            return await place.copy(journal)

    copy = asyncio.run(before())
    with closing(sqlite3.connect(place.data / JOURNAL_NAME)) as connection, connection:
        connection.execute("INSERT INTO gap (first_id, last_id, act) VALUES (2, 9, 10)")
    journal = opened(place.data)
    assert journal.run_alone(partial(audit.note, actor="anna", verb="accept-loss", what={})) == 10
    journal.close()
    place.rows(copy)

    restored = place.restore(copy, tmp_path / "new")

    assert (restored.last_id, restored.wrong, restored.findings) == (10, [], [])


def test_what_was_erased_since_the_copy_does_not_come_back(place: Place, tmp_path: Path) -> None:
    async def before() -> tuple[Copy, int]:
        async with running(place.data) as journal:
            (old,) = await queue(journal, b"one " + CANARY)
            return await place.copy(journal), old

    async def rows(copy: Copy) -> None:
        async with running(place.data) as journal:
            await queue(journal, b"two")
        place.rows(copy)

    copy, old = asyncio.run(before())
    asyncio.run(rows(copy))
    journal = opened(place.data)
    journal.run_alone(
        partial(erasure.erase, messages=[old, 2], numbers=["4711"], actor="anna", reason="asked", more={})
    )
    journal.close()
    place.rows(copy)

    restored = place.restore(copy, tmp_path / "new")

    assert (restored.wrong, restored.findings) == ([], [])
    new = opened(tmp_path / "new" / "var")
    try:
        for number in (old, 2):
            with pytest.raises(ErasedError):
                stored_payload(new, number)
    finally:
        new.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


@pytest.mark.parametrize("numbers", [["4711"], []])
def test_the_record_of_a_person_who_was_erased_since_the_copy_does_not_come_back(
    place: Place, tmp_path: Path, numbers: list[str]
) -> None:
    person = Person.of([["IYER", "MEENA"]], "19550412", "F").packed()
    number, whole = b"n" * 16, b"w" * 16
    one = routed(b"one", reports=(Report(b"o" * 16, number, whole),))
    document = replace(one.document, bearers=(Bearer(number=number, whole=whole, record=person, lasting=True),))

    async def before() -> Copy:
        async with running(place.data) as journal:
            for stored in await store(journal, b"1", b"2"):
                await journal.run(
                    record_outcome.record, stored.id, Outcome("mapped"), [replace(one, document=document)]
                )
            return await place.copy(journal)

    copy = asyncio.run(before())
    journal = opened(place.data)
    journal.run_alone(partial(erasure.erase, messages=[1], numbers=numbers, actor="anna", reason="asked", more={}))
    journal.close()
    place.rows(copy)
    place.restore(copy, tmp_path / "new")

    def bearers(data: Path) -> list[tuple[int, int, bool]]:
        with closing(sqlite3.connect(data / JOURNAL_NAME)) as connection:
            rows = connection.execute("SELECT standing, message_id, record <> x'' FROM bearer").fetchall()
        return [(standing, message, bool(known)) for standing, message, known in rows]

    # By number all that is known of the patient goes; a message alone leaves a record that another one brought, too.
    assert bearers(place.data) == [
        (number_bearers.ERASED, 1, False) if numbers else (number_bearers.REFERENCE, 1, True)
    ]
    assert bearers(tmp_path / "new" / "var") == bearers(place.data)

    async def after() -> None:
        async with running(place.data) as journal:
            (stored,) = await store(journal, b"4")
            documents = [replace(one, document=document)]
            await journal.run(record_outcome.record, stored.id, Outcome("mapped"), documents)
            await journal.run(number_bearers.answer, stored.id, marks(journal, stored.id)[0], same=True)
        place.rows(copy)
        assert place.standing(copy)

    asyncio.run(after())  # a person has accepted the number since: no repeated erasure takes this decision back
    place.restore(copy, tmp_path / "later")
    assert number_bearers.REFERENCE in {standing for standing, _, _ in bearers(place.data)}
    assert bearers(tmp_path / "later" / "var") == bearers(place.data)


def test_rows_from_after_a_rotation_of_the_key_come_back_with_a_copy_from_before(place: Place, tmp_path: Path) -> None:
    clock = ManualClock()

    async def run() -> Copy:
        async with running(place.data, clock=clock) as journal:
            await store(journal, b"march")
            copy = await place.copy(journal)
            await keys_ops.rotate(journal, place.data, actor="anna")
            clock.advance(31 * 86_400)
            await store(journal, b"april")
            place.rows(copy)
        return copy

    copy = asyncio.run(run())
    restored = place.restore(copy, tmp_path / "new")
    assert (restored.wrong, restored.findings, restored.from_pieces) == ([], [], 2)
    journal = Reader.beside(tmp_path / "new" / "var")
    assert [stored_payload(journal, view.id) for view in messages_page(journal)] == [b"april", b"march"]
    journal.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []

    (place.data / KEY_NAME).unlink()  # the newer key; the old one is still beside it
    without = place.restore(copy, tmp_path / "less")
    assert any("have both at hand" in text for text in without.wrong)
