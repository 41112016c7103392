"""What a site made of a full copy and its pieces knows of what became of messages, and of what people decided."""

import asyncio
import os
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from engine.features.reports.rows import result_counts
from engine.features.results.rows import hold_queue, number_bearers
from engine.features.rework.rows import dismissal, edit_message
from engine.model.content.result_times import ResultGroup
from engine.model.content.results import EarlierResults
from engine.model.content.search_keys import Number
from engine.model.errors import ErasedError, IntegrityError, StoreError
from engine.model.journal.journal_views import Filter
from engine.model.journal.records import DELIVERIES, Decision, HoldReason, RuleAnswer, Target
from engine.model.message import Bearer, Reagent, Report
from engine.model.outcome import Outcome
from engine.model.persons import Person
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.journal import keys as keys_ops
from engine.store.journal.starting import recover, unprocessed
from engine.store.lifecycle import erasure
from engine.store.operations import hour_counts, pauses, record_outcome, search_index
from engine.store.operations.outbox import attempts, claims, decisions, queueing
from engine.store.queries.lanes import list_pauses
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader, stored_document, stored_payload
from engine.store.recovery.backups import checking, state_snapshot
from engine.store.recovery.backups.catalog import Copy
from tests.support.copies import Place
from tests.support.journals import NOW_US, opened, queue, received, routed, running, store
from tests.support.questions import marks
from tests.support.waiting import until

LANE = Target(channel="chem", destination="fhir")
# What is compared, row by row; of deliveries without whose they are just now, and whether they may have been made.
COMPARED = {
    "message_state": "*",
    "document": "*",
    "delivery": "id, lane, seq, message_id, document_id, key, iif(state = 'sending', 'waiting', state), attempt, cause,"
    " flags & ~1, settled_us, detail",
    "attempt": "*",
    "channel": "*",
    "lane": "*",
    "pause": "*",
    "edited": "*",
    "open_act": "*",
    "report": "*",
    "bearer": "*",
    "bearer_asked": "*",
    "repeat": "*",
    "message_number": "*",
    "reagent": "*",
    "reagent_use": "*",
    "control_result": "*",
    "counter": "*",
    "hour_count": "*",
    "downtime": "*",
    "result_day": "*",
    "result_position": "*",
    "result_pending": "*",
    "result_seen": "*",
    "server_version": "*",
    "data_key": "id, class, month, created_us",
    "gap": "*",
}


# Tables that are in no file: pieces have them, they are counted anew, or they are not brought back at all.
ELSEWHERE = {"journal", "erased", "meta", "unfinished", "line_trace", "pruned", "event"}
ELSEWHERE |= {"log_in_session", "log_in_device", "failed_log_in", "refused_log_in"}  # a restore ends them
ELSEWHERE |= {"abdm_offer", "abdm_code"}  # likewise: a patient searches again

PEOPLE = (("SHARMA", "ANITA"), ("VERMA", "ANITA"), ("KHAN", "IMRAN"), ("UNKNOWN",))


class Always:
    """Rules that hold every result."""

    results = ()
    answers = (RuleAnswer("a rule", "1", False, 1, ("K",), ()),)
    tests = ("K",)

    def decide(self, earlier: EarlierResults, now_us: int) -> HoldReason | None:
        return HoldReason(reason=ReasonCode.HELD_BY_RULE, text="a rule")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_each_table_of_the_journal_is_in_a_file_or_comes_back_in_another_way(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    in_a_file = {"delivery", "report", "data_key", *(one.name for one in state_snapshot._collected())}
    assert tables - in_a_file - ELSEWHERE == set(), (
        "say how it comes back with a backup: TABLES of its feature, `_OWN` of state_snapshot.py, or ELSEWHERE here"
    )
    assert in_a_file | ELSEWHERE <= tables, "there is no such table in the schema"
    assert not in_a_file & ELSEWHERE


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}"), key=repr)
            for table, columns in COMPARED.items()
        }


def restored_tables(path: Path, keys: int) -> dict[str, list[tuple[Any, ...]]]:
    """Without what the restoration itself wrote: the numbers that it left out, and so that nothing is delivered until a
    person says so; and data keys of its own month."""
    found = tables(path)
    found["gap"].pop()
    assert found["pause"].pop(0)[:2] == ("", "")
    del found["data_key"][keys:]
    return found


@operation(priority=Priority.SETTLE)
def note_hour(batch: Batch, part: int) -> None:
    """What the upkeep does every five minutes."""
    hour_counts.note(batch, part)


@operation(priority=Priority.SETTLE)
def count_results(batch: Batch) -> None:
    """What the upkeep does every twenty seconds."""
    result_counts.step(batch, pending_at=0)


class Life:
    """Does to a journal what sites do, in any order."""

    def __init__(self, journal: Journal, path: Path, chance: random.Random) -> None:
        self._journal = journal
        self._path = path
        self._chance = chance
        self._number = 0

    async def step(self) -> None:
        await self._chance.choice(
            (
                self.message,
                self.message,
                self.message,
                self.end,
                self.end,
                self.end,
                self.dead,
                self.decide,
                self.pause,
                self.replay,
                self.edit,
                self.again,
                self.answer,
                self.hour,
                self.count,
            )
        )()

    async def message(self) -> None:
        self._number += 1
        person = Person.of([self._chance.choice(PEOPLE)], "", "")
        whole = sha256(person.packed()).digest()[:16]
        # An order number of its own, so that two persons under one patient number are no two patients of one order.
        report = Report(key=b"%016d" % self._number, patient=b"%016d" % (self._number % 7), person=whole)
        bearer = Bearer(number=report.patient, whole=whole, record=person.packed(), lasting=self._number % 2 == 0)
        (stored,) = await store(self._journal, b"message %d" % self._number, control_id=str(self._number))
        if self._chance.random() < 0.1:
            return  # its verdict comes later, or never
        route = routed(b"body %d" % self._number, "fhir", "s3", claimed=self._chance.random() < 0.5, reports=(report,))
        route = replace(route, document=replace(route.document, bearers=(bearer,)))
        if self._chance.random() < 0.2:
            route = replace(route, hold=Always())
        await self._journal.run(
            record_outcome.record,
            stored.id,
            Outcome(
                "mapped",
                numbers=[Number("specimen", f"S{self._number % 5}")],
                reagents=[Reagent(lot=f"L{self._number % 3}", name="glucose")],
                results=[ResultGroup("", f"S{self._number % 5}", NOW_US - 60_000_000, 0, "F", ("GLU",), ("GLU",))],
            ),
            [route],
        )

    async def hour(self) -> None:
        await self._journal.run(note_hour, NOW_US // hour_counts.PART_US - self._chance.randrange(30))

    async def count(self) -> None:
        await self._journal.run(count_results)

    async def answer(self) -> None:
        """A person tells two apart, or says that they are one; the messages wait to be processed again."""
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as connection:
            asked = connection.execute("SELECT DISTINCT message_id FROM bearer_asked").fetchall()
        for (message,) in self._chance.sample(asked, min(1, len(asked))):
            mark = self._chance.choice(marks(self._journal, message))
            await self._journal.run(number_bearers.answer, message, mark, same=self._chance.random() < 0.5)

    def _any(self, *states: str) -> list[tuple[int, int]]:
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as connection:
            marks = ",".join("?" * len(states))
            select = f"SELECT id, message_id FROM delivery WHERE state IN ({marks})"
            found = connection.execute(select, states).fetchall()
        return self._chance.sample(found, min(2, len(found)))

    async def end(self) -> None:
        for delivery, message in self._any("sending", "waiting"):
            match self._chance.randrange(3):
                case 0:
                    await self._journal.run(
                        attempts.bury, delivery, reason=ReasonCode.REFUSED, detail="no", hold_lane=message % 5 == 0
                    )
                case 1:
                    versions = ((f"Observation/{message}", "3"),)
                    await self._journal.run(attempts.settle, delivery, delivered_us=5, versions=versions)
                case 2:
                    self._number += 1  # as attempts do, it only grows
                    await self._journal.run(
                        attempts.postpone, delivery, attempt=self._number, not_before_us=9, cause=ReasonCode.NO_ANSWER
                    )

    async def dead(self) -> None:
        self._number += 1
        (stored,) = await store(self._journal, b"bad %d" % self._number)
        await self._journal.run(record_outcome.record, stored.id, Outcome("dead", ReasonCode.MAPPING_FAULT))

    async def decide(self) -> None:
        held, dead = [one for one, _ in self._any("held")], [one for one, _ in self._any("dead")]
        match self._chance.randrange(4):
            case 0:
                await self._journal.run(hold_queue.release, held, actor="anna", reason="seen")
            case 1:
                await self._journal.run(hold_queue.reject, held, actor="anna", reason="seen")
            case 2:
                await self._journal.run(
                    dismissal.dismiss, deliveries=dead, messages=self._dead(), actor="anna", reason="seen"
                )
            case 3:
                await self._journal.run(decisions.requeue, dead)

    def _dead(self) -> list[int]:
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT id FROM message_state WHERE state = 'dead'").fetchall()
        return [row[0] for row in self._chance.sample(found, min(1, len(found)))]

    async def pause(self) -> None:
        if self._chance.random() < 0.5:
            await self._journal.run(pauses.pause, LANE, actor="anna", reason="server moves")
        else:
            await self._journal.run(pauses.resume, LANE, actor="anna", reason="it has")

    async def replay(self) -> None:
        await self._journal.run(queueing.replay, [message for _, message in self._any("delivered")])

    async def edit(self) -> None:
        for message in self._dead():
            self._number += 1
            await self._journal.run(
                edit_message.correct,
                message,
                received(b"right %d" % self._number),
                before=b"bad",
                actor="anna",
                reason="typo",
            )

    async def again(self) -> None:
        for message in self._dead():
            await self._journal.run(
                record_outcome.record,
                message,
                Outcome("mapped"),
                [routed(b"now")],
                decision=Decision(again=True, while_dead=True),
            )


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happened_since_the_copy_a_site_made_of_it_and_its_pieces_stands_the_same(
    place: Place, tmp_path: Path, seed: int
) -> None:
    async def run() -> Copy:
        async with running(place.data) as journal:
            chance = random.Random(seed)
            life = Life(journal, place.data / JOURNAL_NAME, chance)
            for _ in range(40):
                await life.step()
            copy = await place.copy(journal)
            for _ in range(6):
                for _ in range(chance.randrange(25)):
                    await life.step()
                place.standing(copy)
                if chance.random() < 0.3:  # a crash between the two, or a disk that lost it
                    for known in copy.path.glob("*.known"):
                        known.unlink()
            assert copy.last_id() == journal.last_id
            return copy

    copy = asyncio.run(run())
    before = tables(place.data / JOURNAL_NAME)
    assert checking.broken_pieces(copy) == []
    restored = place.restore(copy, tmp_path / "new")

    assert (restored.wrong, restored.findings, restored.decided) == ([], [], [])
    assert restored.stands_to == restored.last_id == copy.last_id()
    after = restored_tables(tmp_path / "new" / "var" / JOURNAL_NAME, len(before["data_key"]))
    for table, rows in before.items():
        assert after[table] == rows, table
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_nothing_that_a_person_has_stopped_or_let_go_is_forgotten(place: Place, tmp_path: Path) -> None:
    async def before() -> tuple[Copy, Sequence[int]]:
        async with running(place.data) as journal:
            ids = await queue(journal, *(b"%d" % n for n in range(5)), claimed=True)
            copy = await place.copy(journal)
            (released, rejected, later, dead, done) = (
                trace_of(journal, n).deliveries[0].id  # type: ignore[union-attr] # it is there
                for n in [*ids[:2], *await queue(journal, b"x", b"y", b"z", claimed=True)]
            )
            await journal.run(decisions.hold, [released, rejected, later], ReasonCode.HELD_BY_RULE)
            await journal.run(hold_queue.release, [released], actor="anna", reason="seen")
            await journal.run(hold_queue.reject, [rejected, later], actor="anna", reason="wrong tube")
            await journal.run(attempts.bury, dead, reason=ReasonCode.REFUSED)
            await journal.run(dismissal.dismiss, deliveries=[dead], actor="anna", reason="seen")
            await journal.run(attempts.settle, done, delivered_us=7)
            await journal.run(pauses.pause, LANE, actor="anna", reason="wrong patients")
            assert place.standing(copy)
            assert not place.standing(copy), "nothing is new"
            return copy, (released, rejected, later, dead, done)

    copy, deliveries = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new")

    assert (restored.again, restored.decided, restored.paused) == (0, [], ["chem/fhir"])

    async def after() -> None:
        async with running(tmp_path / "new" / "var") as journal:
            (deliveries_of_all, pause) = list_pauses(journal)
            assert deliveries_of_all.target == DELIVERIES  # rows may be missing
            assert (pause.target, pause.actor, pause.reason) == (LANE, "anna", "wrong patients")
            assert await journal.run(claims.claim, "chem", "fhir", 10) == []
            await journal.run(pauses.resume, LANE, actor="anna", reason="well")
            sent = {one.id for one in await journal.run(claims.claim, "chem", "fhir", 10)}
            assert deliveries[0] in sent
            assert sent.isdisjoint(deliveries[1:])

    asyncio.run(after())


def test_after_a_crash_between_rows_and_their_standing_what_people_decided_is_told_by_the_trail(
    place: Place, tmp_path: Path
) -> None:
    async def before() -> tuple[Copy, int, int]:
        async with running(place.data) as journal:
            (bad, waits) = await store(journal, b"bad", b"waits elsewhere")
            await journal.run(record_outcome.record, bad.id, Outcome("dead", ReasonCode.MAPPING_FAULT))
            await journal.run(
                record_outcome.record, waits.id, Outcome("mapped"), [routed(b"w", "fhir", "s3", claimed=True)]
            )
            await journal.run(attempts.bury, trace_of(journal, waits.id).deliveries[0].id, reason=ReasonCode.REFUSED)  # type: ignore[union-attr] # it is there
            copy = await place.copy(journal)
            for one in (bad, waits):
                await journal.run(
                    edit_message.correct,
                    one.id,
                    received(b"right " + one.payload),
                    before=one.payload,
                    actor="anna",
                    reason="typo",
                )
            await journal.run(pauses.pause, Target(destination="s3"), actor="anna", reason="wrong patients")
            await journal.run(pauses.pause, LANE, actor="anna", reason="too")
            place.rows(copy)
            return copy, bad.id, waits.id

    copy, bad, waits = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new")

    assert (restored.stands_to, restored.decided) == (copy.manifest.last_id, [bad, waits])
    assert restored.paused == ["s3", "chem/fhir"]
    journal = opened(tmp_path / "new" / "var")
    try:
        for original in (bad, waits):
            trace = trace_of(journal, original)
            assert trace is not None
            assert trace.edited_as
            assert {one.state for one in trace.deliveries} <= {"dismissed"}
        assert {pause.target for pause in list_pauses(journal)} == {Target(destination="s3"), LANE, DELIVERIES}
    finally:
        journal.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_what_is_behind_a_file_that_is_lost_is_processed_again_and_said(
    place: Place, tmp_path: Path, harm: str
) -> None:
    async def before() -> Copy:
        async with running(place.data) as journal:
            await queue(journal, b"one", claimed=True)
            copy = await place.copy(journal)
            for body in (b"two", b"three", b"four"):
                await queue(journal, body, claimed=True)
                place.standing(copy)
            return copy

    copy = asyncio.run(before())
    second = copy.standings()[1].path
    if harm == "missing":
        second.unlink()
    else:
        content = bytearray(second.read_bytes())
        content[5000] ^= 1
        second.write_bytes(content)
    assert len(checking.broken_pieces(copy)) == 1

    restored = place.restore(copy, tmp_path / "new")

    assert (restored.last_id, restored.stands_to, restored.again) == (4, 2, 2)
    assert "the state of messages from 3 on is not restored" in restored.wrong[0]
    assert restored.findings == []


@pytest.mark.parametrize("wrong", ["journal", "rows"])
def test_a_file_that_belongs_to_other_rows_is_not_applied(place: Place, tmp_path: Path, wrong: str) -> None:
    async def before() -> tuple[Copy, bytes]:
        async with running(place.data) as journal:
            await queue(journal, b"one")
            copy = await place.copy(journal)
            await queue(journal, b"two")
            place.standing(copy)
            return copy, journal.journal_id

    copy, journal_id = asyncio.run(before())
    (made,) = copy.standings()
    # The journal has both rows, the copy beside the file the first one alone.
    name = place.data / JOURNAL_NAME if wrong == "journal" else copy.path / JOURNAL_NAME
    target = tmp_path / "target.db"
    target.write_bytes(name.read_bytes())
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        with pytest.raises(IntegrityError, match="does not fit the rows that are there"):
            state_snapshot.apply(connection, made, bytes(16) if wrong == "journal" else journal_id)
        assert not connection.in_transaction
    assert tables(target) == tables(name)


def test_messages_are_found_by_number_whether_or_not_they_were_indexed_when_they_were_copied(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "ADDED_AT_ONCE", 2)

    async def before() -> tuple[Copy, list[int]]:
        async with running(place.data) as journal:
            places = []
            for n in range(1, 11):
                (one,) = await store(journal, b"%d" % n)
                await journal.run(
                    record_outcome.record, one.id, Outcome("filtered", numbers=(Number("patient", f"P{n}"),))
                )
                places.append(journal.tail.indexed_to)
                if n == 4:
                    copy = await place.copy(journal)
                elif n in (7, 10):
                    assert place.standing(copy)
            return copy, places

    copy, places = asyncio.run(before())
    assert len(set(places)) > 3
    place.restore(copy, tmp_path / "new")

    async def after() -> None:
        async with running(tmp_path / "new" / "var") as journal:
            for indexed in (False, True):
                if indexed:
                    await until(lambda: journal.tail.unindexed < 2)
                with journal.snapshot() as execute:
                    for n in range(1, 11):
                        assert search_index.messages(execute, journal.vault, "patient", [f"P{n}"]) == [n]

    asyncio.run(after())


def test_what_was_erased_does_not_come_back_with_a_file_from_before(place: Place, tmp_path: Path) -> None:
    async def before() -> tuple[Copy, int]:
        async with running(place.data) as journal:
            await queue(journal, b"one", claimed=True)
            copy = await place.copy(journal)
            (gone, _) = await queue(journal, b"PID|1||4711||SHARMA^ANITA", b"kept", claimed=True)
            place.standing(copy)  # has its document
        journal = opened(place.data)
        try:
            recover(journal)  # what was under way waits again
            journal.run_alone(
                lambda batch: erasure.erase(batch, [gone], ["4711"], actor="anna", reason="asked", more={})
            )
        finally:
            journal.close()
        place.standing(copy)
        return copy, gone

    copy, gone = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new")

    assert (restored.wrong, restored.findings) == ([], [])
    new = tmp_path / "new" / "var"
    journal = opened(new)
    try:
        trace = trace_of(journal, gone)
        assert trace is not None
        assert [one.state for one in trace.deliveries] == ["dismissed"]
        with pytest.raises(ErasedError):
            stored_payload(journal, gone)
    finally:
        journal.close()
    assert verify.run(new, deep=True) == []
    with (
        closing(sqlite3.connect(place.data / JOURNAL_NAME)) as old,
        closing(sqlite3.connect(new / JOURNAL_NAME)) as now,
    ):
        bodies = "SELECT body FROM document WHERE message_id = ?"
        assert now.execute(bodies, (gone,)).fetchall() == old.execute(bodies, (gone,)).fetchall()


def test_a_long_queue_costs_a_file_nothing_and_a_full_disk_costs_the_file_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with running(place.data) as journal:
            for _ in range(20):
                await queue(journal, *(os.urandom(500) for _ in range(25)))
            copy = await place.copy(journal)
            await queue(journal, b"one")
            assert place.standing(copy)
            (first,) = copy.standings()
            with closing(sqlite3.connect(f"{first.path.as_uri()}?immutable=1", uri=True)) as connection:
                assert connection.execute("SELECT count(*) FROM delivery").fetchone() == (1,)
            await queue(journal, b"two")
            monkeypatch.setattr(state_snapshot, "_named", _no_room)
            with pytest.raises(Exception, match="No space left"):
                place.standing(copy)
            monkeypatch.undo()
            assert [path.name for path in copy.path.glob("making*")] == []
            assert len(copy.standings()) == 1
            assert place.standing(copy)
            assert [one.number for one in copy.standings()] == [1, 2]
            assert len(list(copy.path.glob("*.known"))) == 1

    asyncio.run(run())


def test_documents_from_after_a_rotation_of_the_key_can_be_read_with_a_copy_from_before(
    place: Place, tmp_path: Path
) -> None:
    clock = ManualClock()

    async def run() -> Copy:
        async with running(place.data, clock=clock) as journal:
            await queue(journal, b"march")
            copy = await place.copy(journal)
            await keys_ops.rotate(journal, place.data, actor="anna")
            clock.advance(31 * 86_400)
            await queue(journal, b"april")
            place.standing(copy)
            (delivery, *_) = await journal.run(claims.claim, "chem", "fhir", 1)
            clock.advance(31 * 86_400)
            await journal.run(
                attempts.bury,
                delivery.id,
                reason=ReasonCode.REFUSED,
                detail="a key for notes of a new month, and no row",
            )
            place.standing(copy)
        return copy

    copy = asyncio.run(run())
    restored = place.restore(copy, tmp_path / "new")

    assert (restored.wrong, restored.findings, restored.again) == ([], [], 0)
    journal = Reader.beside(tmp_path / "new" / "var")
    try:
        assert [stored_document(journal, number) for number in (1, 2)] == [b"march", b"april"]
        assert [one.state for one in trace_of(journal, 1).deliveries] == ["dead"]  # type: ignore[union-attr] # it is there
        assert trace_of(journal, 1).deliveries[0].detail.startswith("a key for notes")  # type: ignore[union-attr] # as above
    finally:
        journal.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []


def test_a_share_that_does_not_answer_keeps_no_transaction_open(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the journal's log could not be emptied for as long."""
    busy: list[int] = []

    def looked(*given: object) -> None:
        with closing(sqlite3.connect(place.data / JOURNAL_NAME)) as connection:
            busy.append(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        raise OSError(5, "Input/output error")

    async def run() -> None:
        async with running(place.data) as journal:
            copy = await place.copy(journal)
            await queue(journal, b"one")
            monkeypatch.setattr(state_snapshot, "_named", looked)
            with pytest.raises(StoreError, match="Input/output error"):
                place.standing(copy)
            assert busy == [0]
            assert list(place.data.glob(".standing-*")) == []
            (place.data / ".standing-left").mkdir()  # by a crash
            monkeypatch.undo()
            place.standing(copy)
            assert list(place.data.glob(".standing-*")) == []
            monkeypatch.setattr(state_snapshot, "SPARE_BYTES", 1 << 60)
            await queue(journal, b"two")
            with pytest.raises(StoreError, match="no room there to collect"):
                place.standing(copy)
            assert copy.last_id() == journal.last_id, "the rows are there all the same"

    asyncio.run(run())


def _no_room(*given: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_message_of_which_one_delivery_was_dismissed_is_not_lost_for_the_others(place: Place, tmp_path: Path) -> None:
    async def before() -> tuple[Copy, int, int]:
        async with running(place.data) as journal:
            copy = await place.copy(journal)
            (both, held) = await store(journal, b"to both", b"held for one")
            for one in (both, held):
                await journal.run(
                    record_outcome.record, one.id, Outcome("mapped"), [routed(b"w", "fhir", "s3", claimed=True)]
                )
            (refused, _), (kept, _) = (trace_of(journal, one.id).deliveries for one in (both, held))  # type: ignore[union-attr] # they are there
            await journal.run(attempts.bury, refused.id, reason=ReasonCode.REFUSED)
            await journal.run(dismissal.dismiss, deliveries=[refused.id], actor="anna", reason="not wanted there")
            await journal.run(decisions.hold, [kept.id], ReasonCode.HELD_BY_RULE)
            await journal.run(hold_queue.reject, [kept.id], actor="anna", reason="not for them")
            place.rows(copy)
            return copy, both.id, held.id

    copy, *numbers = asyncio.run(before())
    restored = place.restore(copy, tmp_path / "new")

    assert restored.decided == numbers
    journal = opened(tmp_path / "new" / "var")
    try:
        letters = {letter.message_id: letter.reason for letter in dead_letters(journal, Filter())}
        assert letters == dict.fromkeys(numbers, "DECIDED_IN_PART")
        assert unprocessed(journal) == []
    finally:
        journal.close()
    assert verify.run(tmp_path / "new" / "var", deep=True) == []
