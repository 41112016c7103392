"""Group commit: order, isolation of failures, bounds, the end."""

import asyncio
import os
import queue
import re
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features.results.rows import hold_queue
from engine.features.rework.rows import dismissal
from engine.model.errors import DamagedError, JobStoppedError, LabRelayError, NoRoomError, StoreError
from engine.model.journal.records import Target
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.files.damage import is_damage, is_fatal
from engine.store.core.writing import writer
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.writer import Writer
from engine.store.journal import Journal
from engine.store.journal.starting import recover, unprocessed
from engine.store.journal.upkeep import CHECKPOINT_BYTES, StoreUpkeep
from engine.store.lifecycle import key_rotation
from engine.store.operations import append, audit, bulk, pauses, poison_message, record_outcome
from engine.store.operations.bulk import Member
from engine.store.operations.outbox import attempts, claims
from engine.store.operations.outbox import decisions as decisions_ops
from engine.store.queries.lanes import list_channels
from tests.support.examples import examples
from tests.support.journals import WINDOW_S, opened, received, running, started, store
from tests.support.waiting import until


class BlotError(Exception):
    """A fault of ours."""


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path) as journal:
        yield journal


def writer_of(journal: Journal) -> Writer:
    assert journal.writer is not None
    return journal.writer


def appending(payload: bytes, *, fails: str = "") -> writer.Operation[int]:
    """An operation that appends, and then perhaps fails."""

    def operation(batch: Batch) -> int:
        stored = append.store_message(batch, received(payload), repeat_window_s=WINDOW_S)
        if fails == "bug":
            raise BlotError
        if fails == "sql":
            batch.execute("INSERT INTO journal (id) VALUES (NULL)")
        if fails == "ours":
            raise StoreError("no")
        return stored.id

    return operation


async def blocked(journal: Journal) -> "tuple[asyncio.Future[None], asyncio.Event]":
    """Keep the writer thread busy until the event is set, so that what follows is one batch."""
    loop, release = asyncio.get_running_loop(), asyncio.Event()
    begun = asyncio.Event()

    def wait(batch: Batch) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)

    future = writer_of(journal).submit(wait)
    await begun.wait()
    return future, release


@settings(max_examples=examples(25))
@given(st.lists(st.sampled_from(["", "", "", "bug", "sql", "ours"]), min_size=1, max_size=12))
def test_only_the_guilty_operation_of_a_batch_fails(tmp_path_factory: pytest.TempPathFactory, fails: list[str]) -> None:
    async def go() -> None:
        async with running(tmp_path_factory.mktemp("batch")) as journal:
            busy, release = await blocked(journal)
            futures = [writer_of(journal).submit(appending(b"%d" % n, fails=fail)) for n, fail in enumerate(fails)]
            release.set()
            outcomes = await asyncio.gather(busy, *futures, return_exceptions=True)
            good = [outcome for outcome in outcomes[1:] if isinstance(outcome, int)]
            assert good == list(range(1, fails.count("") + 1))  # no number is lost to a failure
            kinds = {"": int, "bug": BlotError, "sql": StoreError, "ours": StoreError}
            assert [type(outcome) for outcome in outcomes[1:]] == [kinds[fail] for fail in fails]
            expected = [b"%d" % n for n, fail in enumerate(fails) if not fail]
            assert [one.payload for one in unprocessed(journal)] == expected
            assert [channel.last_seq for channel in list_channels(journal)] == [len(expected)] * bool(expected)

    asyncio.run(go())


async def test_what_waits_is_one_batch_and_resolves_in_order(journal: Journal) -> None:
    busy, release = await blocked(journal)
    done: list[int] = []
    futures = [journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S) for n in range(100)]
    for future in futures:
        future.add_done_callback(lambda future: done.append(future.result().id))
    before = journal.writer.stats.batches
    release.set()
    await asyncio.gather(busy, *futures)
    assert done == list(range(1, 101))
    assert journal.writer.stats.batches == before + 2  # the one under way, and one for all that waited


async def test_one_of_several_senders_waits_for_the_others_and_one_alone_does_not(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    submit = writer_of(journal).submit
    pauses_s: list[float] = []
    joined: list[asyncio.Future[int]] = []

    async def join() -> None:
        joined.append(submit(appending(b"of another sender")))

    def pause(seconds: float) -> None:
        pauses_s.append(seconds)
        asyncio.run_coroutine_threadsafe(join(), loop).result(10)

    clock = SimpleNamespace(sleep=pause, monotonic=time.monotonic, perf_counter=time.perf_counter)
    monkeypatch.setattr(writer, "time", clock)
    for n in range(3):
        await submit(appending(b"alone %d" % n))
    busy, release = await blocked(journal)
    together = [submit(appending(b"together %d" % n)) for n in range(2)]
    release.set()
    await asyncio.gather(busy, *together)
    await submit(appending(b"without a sender that waits"), can_linger=True)
    assert pauses_s == []
    before = journal.writer.stats.batches
    await submit(appending(b"next"))
    (late,) = joined
    await late
    assert journal.writer.stats.batches == before + 1  # both in one
    (took_s,) = pauses_s
    assert 0 < took_s <= writer.JOIN_S


async def test_a_cancelled_waiter_changes_nothing_for_others(journal: Journal) -> None:
    busy, release = await blocked(journal)
    first = journal.run(append.store_message, received(b"1"), repeat_window_s=WINDOW_S)
    second = journal.run(append.store_message, received(b"2"), repeat_window_s=WINDOW_S)
    first.cancel()
    release.set()
    await busy
    assert (await second).id == 2
    assert [one.payload for one in unprocessed(journal)] == [b"1", b"2"]
    assert (journal.writer.waiting, journal.writer.waiting_bytes) == (0, 0)


@pytest.mark.parametrize("limit", ["operations", "bytes"])
async def test_a_full_queue_refuses_new_work_at_once_and_still_takes_verdicts(tmp_path: Path, limit: str) -> None:
    size = 10 if limit == "operations" else 1000
    journal = opened(tmp_path)
    inner = writer_of(journal)
    inner._queue_operations, inner._queue_bytes = 10, 10_000
    journal.start(asyncio.get_running_loop())
    busy, release = await blocked(journal)
    futures = []
    with pytest.raises(StoreError, match="queue full"):
        for n in range(1000):
            futures.append(journal.run(append.store_message, received(b"%d" % n * size), repeat_window_s=WINDOW_S))
    assert len(futures) in (9, 10)
    verdict = journal.run(record_outcome.record, 1, Outcome("dead", ReasonCode.UNREADABLE))
    release.set()
    await asyncio.gather(busy, *futures, verdict)
    await store(journal, b"later")
    await journal.stop()


async def test_every_decision_is_taken_while_the_queue_is_full(tmp_path: Path) -> None:
    """Refusing what ends work, or what a person decides, would not make room."""
    journal = opened(tmp_path)
    inner = writer_of(journal)
    inner._queue_operations = 10
    recover(journal)
    journal.start(asyncio.get_running_loop())
    lane, who = ("chem", "fhir"), {"actor": "a.singh", "reason": "why"}
    decisions: list[Callable[[], asyncio.Future[Any]]] = [
        lambda: journal.run(record_outcome.record, 1, Outcome("dead", ReasonCode.UNREADABLE)),
        lambda: journal.run(attempts.settle, 1, delivered_us=1),
        lambda: journal.run(claims.claim, *lane, 1),
        lambda: journal.run(claims.claim_newest, *lane, 1, without=()),
        lambda: journal.run(claims.is_held, *lane),
        lambda: journal.run(claims.unclaim, [1]),
        lambda: journal.run(attempts.bury, 1, reason=ReasonCode.REFUSED),
        lambda: journal.run(decisions_ops.requeue, [1]),
        lambda: journal.run(dismissal.dismiss, deliveries=[1], actor="a.singh", reason="why"),
        lambda: journal.run(attempts.postpone, 1, attempt=1, not_before_us=1, cause=ReasonCode.BUSY),
        lambda: journal.run(decisions_ops.supersede, [1]),
        lambda: journal.run(decisions_ops.hold, [1], ReasonCode.HELD_BY_RULE),
        lambda: journal.run(hold_queue.release, [1], **who),
        lambda: journal.run(hold_queue.reject, [1], **who),
        lambda: journal.run(audit.begin, "a.singh", "retry", {}),
        lambda: journal.run(audit.end, 1, {}),
        lambda: journal.run(audit.note, "a.singh", "pause", {}),
        lambda: journal.run(poison_message.note, 1),
        lambda: journal.run(bulk.begin, "replay", [Member(1)], last=1, counted_us=1, actor="a.singh", what={}),
        lambda: journal.run(bulk.cancel, 1, actor="a.singh"),
        lambda: journal.run(pauses.pause, Target(channel="chem"), actor="a.singh", reason="why"),
        lambda: journal.run(pauses.resume, Target(channel="chem"), actor="a.singh", reason="why"),
        lambda: journal.run(key_rotation.confirm_sheet, actor="a.singh"),
    ]
    for decision in decisions:
        busy, release = await blocked(journal)
        waiting = [journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S) for n in range(9)]
        with pytest.raises(StoreError, match="queue full"):
            journal.run(append.store_message, received(), repeat_window_s=WINDOW_S)
        future = decision()
        release.set()
        await asyncio.gather(busy, *waiting)
        await asyncio.gather(future, return_exceptions=True)  # about nothing that there is; it was heard
    await journal.stop()


def test_a_wait_that_is_over_before_it_began_is_no_wait_without_an_end(tmp_path: Path) -> None:
    """As on a busy machine, where a thread may lose the processor between asking for the time and waiting."""
    journal = opened(tmp_path)
    inner = writer_of(journal)

    def waits() -> None:
        for _ in range(150_000):  # one wait in some ten thousand had no end
            inner._queue.put(None)
            inner._next(0.0)
            with suppress(queue.Empty):
                inner._next(1e-6)

    waiting = threading.Thread(target=waits, daemon=True)
    waiting.start()
    waiting.join(60.0)
    assert not waiting.is_alive()
    journal.close()


async def test_stopping_finishes_what_was_submitted_and_refuses_the_rest(tmp_path: Path) -> None:
    journal = await started(tmp_path)
    futures = [journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S) for n in range(1000)]
    await journal.stop()
    assert all(future.done() for future in futures)
    assert [future.result().id for future in futures] == list(range(1, 1001))
    with pytest.raises(StoreError, match="not open"):
        journal.run(append.store_message, received(), repeat_window_s=WINDOW_S)
    await journal.stop()


async def test_a_journal_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    opened(tmp_path).close()
    journal = opened(tmp_path)
    await journal.stop()
    opened(tmp_path).close()


def test_which_errors_end_the_process() -> None:
    def error(code: int) -> sqlite3.OperationalError:
        made = sqlite3.OperationalError("x")
        made.sqlite_errorcode = code
        return made

    for code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT):
        assert not is_fatal(error(code), committing=True)
    for code in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CORRUPT_INDEX):
        assert is_fatal(error(code), committing=False)
    assert is_fatal(error(sqlite3.SQLITE_IOERR_READ), committing=True)
    assert not is_fatal(error(sqlite3.SQLITE_IOERR_READ), committing=False)
    assert not is_fatal(StoreError("x"), committing=True)


def test_text_that_is_none_is_damage_of_the_schema() -> None:
    assert is_damage(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))
    assert not is_damage(ValueError("x"))


# -- the end of the writer -------------------------------------------------------------------------------------------


class Upkeep:
    """The journal's own upkeep, failing at one of its steps."""

    def __init__(self, inner: writer.Upkeep, step: str, error: Exception) -> None:
        self._inner, self._step, self._error = inner, step, error
        self.failing = True

    def __getattr__(self, name: str) -> Any:
        if name == self._step and self.failing:
            return self._fail
        return getattr(self._inner, name)

    def _fail(self, *_: object) -> None:
        raise self._error


async def failing(data: Path, step: str, error: Exception, told: list[StoreError]) -> Journal:
    journal = Journal.open(data, clock=ManualClock(), on_fatal=told.append)
    recover(journal)
    inner = writer_of(journal)
    inner._upkeep = Upkeep(inner._upkeep, step, error)
    journal.start(asyncio.get_running_loop())
    return journal


def sqlite_error(code: int) -> sqlite3.OperationalError:
    made = sqlite3.OperationalError("disk I/O error")
    made.sqlite_errorcode, made.sqlite_errorname = code, "SQLITE_TEST"
    return made


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        ("after_batch", sqlite_error(sqlite3.SQLITE_IOERR_READ), "the journal failed: SQLITE_TEST: disk I/O error"),
        ("after_batch", sqlite3.OperationalError("closed"), "the journal failed: OperationalError: closed"),
        ("idle", BlotError("ours"), "the journal writer failed: BlotError"),
    ],
)
async def test_when_upkeep_fails_the_writer_stops_for_good_and_says_so(
    tmp_path: Path, step: str, error: Exception, words: str
) -> None:
    told: list[StoreError] = []
    journal = await failing(tmp_path, step, error, told)
    if step == "after_batch":
        (stored,) = await store(journal, b"1")  # it was durable before that
        assert stored.id == 1
    await until(lambda: bool(told))
    assert (str(told[0]), told[0].fatal) == (words, True)
    with pytest.raises(StoreError, match=re.escape(words)) as caught:
        journal.run(append.store_message, received(), repeat_window_s=WINDOW_S)
    assert caught.value.fatal
    await journal.stop()


async def test_what_waits_behind_a_fatal_fault_is_refused_and_nothing_is_left_waiting(tmp_path: Path) -> None:
    told: list[StoreError] = []
    journal = await failing(tmp_path, "after_batch", BlotError("ours"), told)
    busy, release = await blocked(journal)
    behind = [writer_of(journal).submit(appending(b"%d" % n)) for n in range(9)]
    release.set()
    await busy  # its own batch: durable, and answered
    found = await asyncio.gather(*behind, return_exceptions=True)
    assert [str(one) for one in found] == ["the journal writer failed: BlotError"] * 9
    assert all(isinstance(one, StoreError) and one.fatal for one in found)
    assert [str(one) for one in told] == ["the journal writer failed: BlotError"]
    assert (journal.writer.waiting, journal.writer.waiting_bytes) == (0, 0)
    await journal.stop()


class Room:
    """The journal's own upkeep, on a disk that is full."""

    def __init__(self, inner: writer.Upkeep, *, full: bool, gives: bool) -> None:
        self._inner, self.full, self._gives = inner, full, gives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def make_room(self) -> bool:
        return self._gives


async def test_on_a_full_disk_what_brings_payload_is_refused_and_what_people_do_goes_on(journal: Journal) -> None:
    inner = writer_of(journal)
    inner._upkeep = Room(inner._upkeep, full=True, gives=False)
    with pytest.raises(NoRoomError, match="nothing new is kept until there is room"):
        await journal.run(append.store_message, received(b"1"), repeat_window_s=WINDOW_S)
    assert await journal.run(audit.note, "ann", "pause", {}) == 1
    busy, release = await blocked(journal)
    message, note = (
        journal.run(append.store_message, received(b"2"), repeat_window_s=WINDOW_S),
        journal.run(audit.note, "ann", "resume", {}),
    )
    release.set()
    await asyncio.gather(busy, note)
    with pytest.raises(NoRoomError):
        await message


@pytest.mark.parametrize("gives", [True, False])
async def test_room_that_was_kept_serves_what_people_do(journal: Journal, gives: bool) -> None:
    inner = writer_of(journal)
    inner._upkeep = Room(inner._upkeep, full=False, gives=gives)
    left = 2  # in company, and alone

    def act(batch: Batch) -> int:
        nonlocal left
        if left:
            left -= 1
            raise sqlite_error(sqlite3.SQLITE_FULL)
        return 7

    def message(batch: Batch) -> None:
        raise sqlite_error(sqlite3.SQLITE_FULL)

    busy, release = await blocked(journal)
    acted, stored = inner.submit(act), inner.submit(message, size=9)
    release.set()
    await busy
    found = await asyncio.gather(acted, stored, return_exceptions=True)
    assert (found[0] == 7) is gives
    assert isinstance(found[1], StoreError)
    assert journal.writer.stats.fault is not None


async def test_a_fatal_fault_amid_stopping_still_ends_in_order(tmp_path: Path) -> None:
    told: list[StoreError] = []
    journal = await failing(tmp_path, "after_batch", BlotError("ours"), told)
    busy, release = await blocked(journal)
    stopping = asyncio.ensure_future(journal.stop())
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(busy, stopping)
    assert [str(one) for one in told] == ["the journal writer failed: BlotError"]


async def test_a_fault_of_ours_behind_the_commit_leaves_nobody_waiting(tmp_path: Path) -> None:
    told: list[StoreError] = []
    journal = await failing(tmp_path, "committed", BlotError("ours"), told)
    with pytest.raises(StoreError, match="the journal writer failed: BlotError"):
        await store(journal, b"1")  # it is durable, and nobody may say so: it comes again
    await until(lambda: bool(told))
    await journal.stop()


async def test_long_work_lets_messages_pass_and_fails_alone(journal: Journal) -> None:
    inner = writer_of(journal)
    stored: list[int] = []

    def long(connection: sqlite3.Connection, pump: writer.Pump) -> int:
        connection.execute("BEGIN")
        connection.execute("COMMIT")
        pump(0.0)
        pump(0.01)  # nobody wants anything
        while not stored:
            pump(0.01)
        return 7

    lent = inner.lend(long)
    (one,) = await store(journal, b"beside")
    stored.append(one.id)
    assert await lent == 7

    def torn(connection: sqlite3.Connection, pump: writer.Pump) -> None:
        connection.execute("BEGIN")
        raise BlotError

    with pytest.raises(BlotError):
        await inner.lend(torn)
    (two,) = await store(journal, b"later")  # no transaction was left open
    assert two.id == 2


async def test_work_whose_waiter_is_gone_is_done_all_the_same(journal: Journal) -> None:
    done: list[bool] = []
    busy, release = await blocked(journal)
    lent = writer_of(journal).lend(lambda connection, pump: done.append(True))
    lent.cancel()
    release.set()
    await busy
    await until(lambda: bool(done))
    await store(journal, b"1")


async def test_long_work_ends_when_the_writer_does(tmp_path: Path) -> None:
    journal = await started(tmp_path)
    begun = threading.Event()

    def endless(connection: sqlite3.Connection, pump: writer.Pump) -> None:
        while True:
            begun.set()
            pump(0.01)

    inner = writer_of(journal)
    lent, behind = inner.lend(endless), inner.lend(endless)
    await asyncio.to_thread(begun.wait, 10)
    await journal.stop()
    with pytest.raises(JobStoppedError, match="LabRelay is stopping"):
        await lent
    with pytest.raises(LabRelayError):
        await behind
    for late in (lambda: inner.lend(endless), lambda: inner.submit(appending(b"1"))):
        with pytest.raises(StoreError, match="journal is closed"):
            late()


async def test_nothing_new_is_taken_once_the_writer_is_asked_to_stop(journal: Journal) -> None:
    inner = writer_of(journal)
    busy, release = await blocked(journal)
    stopping = asyncio.ensure_future(inner.stop())
    again = asyncio.ensure_future(inner.stop())  # once is enough
    await asyncio.sleep(0)
    for late in (lambda: inner.lend(lambda connection, pump: None), lambda: inner.submit(appending(b"1"))):
        with pytest.raises(StoreError, match="not open for writing"):
            late()
    release.set()
    await asyncio.gather(busy, stopping, again)
    never = Writer(sqlite3.connect(":memory:"), inner._upkeep, on_fatal=lambda error: None)
    await never.stop()
    with pytest.raises(StoreError, match="not open for writing"):
        never.submit(appending(b"1"))
    never._connection.close()


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("begin", sqlite_error(sqlite3.SQLITE_CORRUPT)),
        ("after_batch", sqlite_error(sqlite3.SQLITE_IOERR_READ)),
    ],
)
async def test_what_ends_the_writer_ends_long_work_and_what_waits_behind_it(
    tmp_path: Path, step: str, error: Exception
) -> None:
    told: list[StoreError] = []
    journal = await failing(tmp_path, step, error, told)
    inner = writer_of(journal)
    begun = threading.Event()

    def endless(connection: sqlite3.Connection, pump: writer.Pump) -> None:
        while True:
            begun.set()
            pump(0.01)

    lent, behind = inner.lend(endless), inner.lend(endless)
    await asyncio.to_thread(begun.wait, 10)
    message = inner.submit(appending(b"1"))
    outcomes = await asyncio.gather(lent, behind, message, return_exceptions=True)
    assert [isinstance(one, StoreError) and one.fatal for one in outcomes[:2]] == [True, True]
    assert isinstance(outcomes[2], StoreError if step == "begin" else int)
    await until(lambda: bool(told))
    await journal.stop()


async def test_a_transaction_that_cannot_be_rolled_back_ends_the_writer(tmp_path: Path) -> None:
    class Connection:
        """Fails at ROLLBACK."""

        def __init__(self, inner: sqlite3.Connection) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            if statement == "ROLLBACK":
                raise sqlite_error(sqlite3.SQLITE_IOERR_READ)
            return self._inner.execute(statement, *arguments)

    told: list[StoreError] = []
    journal = Journal.open(tmp_path, clock=ManualClock(), on_fatal=told.append)
    inner = writer_of(journal)
    real = inner._connection
    inner._connection = Connection(real)  # type: ignore[assignment]  # all of it, by name
    recover(journal)
    journal.start(asyncio.get_running_loop())
    with pytest.raises(StoreError) as caught:
        await inner.submit(appending(b"1", fails="bug"))
    assert caught.value.fatal
    await until(lambda: bool(told))
    real.execute("ROLLBACK")
    await journal.stop()


def test_an_operation_before_the_start_raises_what_it_raises(tmp_path: Path) -> None:
    def fail(batch: Batch) -> None:
        raise BlotError

    def torn(batch: Batch) -> None:
        raise sqlite_error(sqlite3.SQLITE_CORRUPT)

    journal = opened(tmp_path)
    assert writer_of(journal).run_alone(lambda batch: 7) == 7
    with pytest.raises(BlotError):
        writer_of(journal).run_alone(fail)
    with pytest.raises(DamagedError, match=r"SQLITE_TEST.*labrelay journal salvage") as caught:
        writer_of(journal).run_alone(torn)
    assert caught.value.fatal
    journal.close()


async def test_commits_are_timed_for_the_page(journal: Journal) -> None:
    assert writer.WriterStats().commit_ms(0.5) is None
    await store(journal, b"1", b"2", b"3")
    shares = [journal.writer.stats.commit_ms(share) for share in (0.0, 0.5, 1.0)]
    assert None not in shares
    assert shares == sorted(shares, key=lambda share: share or 0.0)
    assert max(journal.writer.stats.recent_s) * 1000 == shares[-1]
    assert sum(journal.writer.stats.commits.counts) >= 3
    assert journal.writer.stats.commits.sum_s >= journal.writer.stats.recent_s[-1]


def test_a_loop_that_was_closed_without_stop_costs_nobody_anything(tmp_path: Path) -> None:
    """What is durable stays so, and the thread comes to its end."""
    loop = asyncio.new_event_loop()
    journal = opened(tmp_path)
    recover(journal)
    loop.run_until_complete(_start(journal))
    inner = writer_of(journal)
    held = threading.Event()
    inner.submit(lambda batch: held.wait(10))
    inner.submit(appending(b"1"))
    inner._queue.put(None)
    loop.close()
    held.set()
    assert inner._thread is not None
    inner._thread.join(10)
    assert not inner._thread.is_alive()
    journal._closed = True  # its thread has left the files in order; what is read and the lock are still ours
    journal.close()
    again = opened(tmp_path)
    recover(again)
    assert [one.payload for one in unprocessed(again)] == [b"1"]
    again.close()


async def _start(journal: Journal) -> None:
    journal.start(asyncio.get_running_loop())


async def test_what_waits_for_a_large_message_does_not_wait_for_its_checkpoint_too(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch goes before it, a large one as well."""
    done: list[str] = []
    run_checkpoint, work = StoreUpkeep._run_checkpoint, Writer._work

    def checkpoint(upkeep: StoreUpkeep, kind: str) -> tuple[bool, int]:
        done.append("checkpoint")
        return run_checkpoint(upkeep, kind)

    def batch(own: Writer, items: Any) -> None:
        if size := sum(item.size for item in items):
            done.append("large" if size >= CHECKPOINT_BYTES else "small")
        work(own, items)

    busy, release = await blocked(journal)
    monkeypatch.setattr(StoreUpkeep, "_run_checkpoint", checkpoint)
    monkeypatch.setattr(Writer, "_work", batch)
    large = writer.BATCH_BYTES  # so each is a batch of its own
    kept = [
        journal.run(append.store_message, received(os.urandom(n)), repeat_window_s=WINDOW_S)
        for n in (large, large, large, 100)
    ]
    release.set()
    await asyncio.gather(busy, *kept)
    await until(lambda: done.count("checkpoint") == 2)
    assert done == ["large", "large", "checkpoint", "large", "small", "checkpoint"]
