"""The one thread that writes: group commit.

All waiting operations are taken into one transaction; then, in this order: COMMIT (synced by SQLite), anchor, results.
Only a result allows an acknowledgement, so nothing is acknowledged before it is durable. All results of a batch reach
the event loop in one call, in the order in which the operations were submitted.

A sync costs the same for one operation as for fifty. Where several senders wait, the first operation of a batch waits
for theirs, for a share of the duration of the last commit: else two groups of senders take turns, and each sync stores
half of what it could. A sender that is alone never waits for others.

If an operation of a batch fails, the whole batch is rolled back and its operations run again one by one, each in a
transaction of its own, so that only the guilty one fails. A full disk fails operations and is survived. A failed sync
is not: the state of the pages in the kernel is unknown, so the writer stops for good and reports it (``on_fatal``).
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from engine.model.errors import JobStoppedError, NoRoomError, StoreError
from engine.model.process.timing import Timing
from engine.store.core.files.damage import failure, fault_of_ours, is_fatal, is_full, is_store_fault, translated
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority

logger = logging.getLogger("labrelay.journal")

BATCH_OPERATIONS = 256
BATCH_BYTES = 8 * 1024 * 1024
QUEUE_OPERATIONS = 20_000
QUEUE_BYTES = 64 * 1024 * 1024
# Operations that end work (settle, bury, ...) are accepted beyond the limits for new work.
SETTLE_HEADROOM = 4
IDLE_S = 0.25
LINGER_S = 0.003  # how long an operation that can linger waits for a message to share its sync
JOIN_SHARE = 0.5  # of the last commit's duration: how long a sender's operation waits for those of other senders ...
JOIN_S = 0.003  # ... but no longer than this
RECENT_COMMITS = 512  # their times are kept for the page

T = TypeVar("T")
Operation = Callable[[Batch], T]
# Long work on the writer's connection. It calls `Pump` between its steps, so that messages can pass.
Pump = Callable[[float], None]
Job = Callable[[sqlite3.Connection, Pump], T]


class Upkeep(Protocol):
    """The writer's duties beside batches, on its own thread and connection."""

    def begin(self) -> Batch:
        """A batch for the transaction that is about to start."""

    def committed(self, batch: Batch) -> None:
        """COMMIT succeeded: write the anchor. Must not raise."""

    def after_batch(self) -> None:
        """Results are out: checkpoint if it is time."""

    def make_room(self) -> bool:
        """The disk is full: release space. True: operations with little need of room may be tried again."""

    @property
    def full(self) -> bool:
        """Whether operations with new payload are refused: the disk is full, and the remaining room is for people."""

    def idle(self) -> None:
        """The queue is empty."""

    def close(self) -> None:
        """The last batch is done: leave the files in order."""


@dataclass(slots=True)
class WriterStats:
    """Counts since the start, for metrics. Written by the writer thread, read by anyone.

    Attributes:
        fault: why the last batch could not store everything, and when (monotonic); None after a batch without a fault.
    """

    batches: int = 0
    rollbacks: int = 0
    fault: tuple[str, float] | None = None
    recent_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_COMMITS))
    commits: Timing = field(default_factory=Timing)

    def commit_ms(self, share: float) -> float | None:
        """The duration within which ``share`` of the recent commits ended, with their sync; None before the first."""
        recent = sorted(self.recent_s)
        return recent[min(len(recent) - 1, int(len(recent) * share))] * 1000 if recent else None


@dataclass(slots=True, eq=False)
class _Item:
    operation: Operation[Any]
    future: "asyncio.Future[Any] | None"
    size: int
    can_linger: bool = False
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Runs operations in batches on a thread of its own.

    Attributes:
        waiting, waiting_bytes: operations submitted and not yet resolved.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        upkeep: Upkeep,
        *,
        on_fatal: Callable[[StoreError], None],
        queue_operations: int = QUEUE_OPERATIONS,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.stats = WriterStats()
        self._connection = connection
        self._upkeep = upkeep
        self._on_fatal = on_fatal
        self._queue_operations = queue_operations
        self._queue_bytes = queue_bytes
        self._awaited = 0  # operations that could not linger, of the last batch with any
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[tuple[Job[Any], asyncio.Future[Any]]] = queue.SimpleQueue()
        # Both are used on the event loop only: incremented when submitted, decremented when resolved.
        self.waiting = 0
        self.waiting_bytes = 0
        self._failed: StoreError | None = None
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._finished: asyncio.Future[None] | None = None

    # -- on the event loop ---------------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._finished = loop.create_future()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def submit(
        self, operation: Operation[T], *, size: int = 0, priority: Priority = Priority.RECEIVE, can_linger: bool = False
    ) -> "asyncio.Future[T]":
        """Queue an operation; never blocks.

        Args:
            size: bytes that it keeps in memory.
            priority, can_linger: as in `Traits`. An operation that can linger waits `LINGER_S` for others: a sync costs
                more than all else that a message writes, and under load it shares the sync of the next message.

        Raises:
            StoreError: the queue is full, or the writer has stopped.
        """
        loop = self._open_loop()
        headroom = SETTLE_HEADROOM if priority is Priority.SETTLE else 1
        if (
            self.waiting >= self._queue_operations * headroom
            or self.waiting_bytes + size > self._queue_bytes * headroom
        ):
            raise StoreError("queue full: the journal cannot keep up with what comes in")
        future: asyncio.Future[T] = loop.create_future()
        self.waiting += 1
        self.waiting_bytes += size
        self._queue.put(_Item(operation, future, size, can_linger))
        return future

    def lend(self, job: Job[T]) -> "asyncio.Future[T]":
        """Run ``job`` on the writer's thread and connection, outside of any transaction; never blocks.

        It must call the pump between short steps: then waiting operations are committed and answered as usual.

        Raises:
            StoreError: the writer has stopped. The future may raise it, too.
        """
        future: asyncio.Future[T] = self._open_loop().create_future()
        self._jobs.put((job, future))
        return future

    def _open_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, where the writer takes work.

        Raises:
            StoreError: it has stopped.
        """
        if self._failed is not None:
            raise StoreError(str(self._failed), fatal=self._failed.fatal)
        if self._loop is None or self._stopping:
            raise StoreError("the journal is not open for writing")
        return self._loop

    def lend_alone(self, job: Job[T]) -> T:
        """Run a job in the calling thread, before `start`."""
        assert self._thread is None, "the writer thread owns the connection"
        return job(self._connection, lambda pause_s: None)

    @property
    def started(self) -> bool:
        return self._thread is not None

    def run_alone(self, operation: Operation[T]) -> T:
        """Run one operation in the calling thread, before `start`.

        Raises:
            StoreError, or an error of the operation; nothing was changed then.
        """
        assert self._thread is None, "the writer thread owns the connection"
        item = _Item(operation, None, 0)
        try:
            self._transact([item])
        except _FatalError as fatal:
            raise fatal.cause from fatal.__cause__
        if item.error is not None:
            raise item.error
        result: T = item.result
        return result

    async def stop(self) -> None:
        """Finish the submitted operations, then let `Upkeep.close` leave the files in order."""
        if self._thread is None or self._finished is None:
            self._stopping = True
            return
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        await asyncio.shield(self._finished)
        self._thread.join()

    def _resolve(self, items: list[_Item]) -> None:
        for item in items:
            self.waiting -= 1
            self.waiting_bytes -= item.size
            assert item.future is not None  # of every operation that was submitted
            self._tell(item.future, item.result, item.error)

    def _end(self, error: StoreError | None) -> None:
        """The thread has ended. From here on `submit` raises, so the queue can only get shorter."""
        left: list[_Item] = []
        while not self._queue.empty():
            if (item := self._queue.get_nowait()) is not None:
                item.error = StoreError(str(self._failed), fatal=error is not None)
                left.append(item)
        self._resolve(left)
        while not self._jobs.empty():
            _, future = self._jobs.get_nowait()
            self._tell(future, None, StoreError(str(self._failed), fatal=error is not None))
        assert self._finished is not None  # set before the thread started
        self._finished.set_result(None)
        if error is not None:
            self._on_fatal(error)

    # -- on the writer thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        fatal: StoreError | None = None
        try:
            while (items := self._take()) is not None:
                if items:
                    self._work(items)
                else:
                    self._upkeep.idle()
                if not self._jobs.empty():
                    self._do_job(*self._jobs.get_nowait())
            self._upkeep.close()
        except _FatalError as error:
            fatal = error.cause
        except sqlite3.Error as error:  # from upkeep: it passes on only errors that the process must not survive
            fatal = failure(error)
        except Exception as error:  # an error of ours must not leave callers waiting without end
            logger.exception("the journal writer failed")
            fatal = fault_of_ours(error)
        self._failed = fatal or StoreError("the journal is closed")
        self._call(self._end, fatal)

    def _do_job(self, job: Job[Any], future: "asyncio.Future[Any]") -> None:
        result: Any = None
        error: Exception | None = None
        try:
            result = job(self._connection, self._pump)
        except _FatalError as fatal:
            self._call(self._tell, future, None, fatal.cause)
            raise
        except Exception as failed:  # an error of the job or of its own disk: only the job fails
            error = failed
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._call(self._tell, future, result, error)

    def _pump(self, pause_s: float) -> None:
        """Between two steps of a job: run waiting operations, and those that come within ``pause_s``.

        Raises:
            JobStoppedError: the writer has to stop.
        """
        until = time.monotonic() + pause_s
        while (left_s := until - time.monotonic()) > 0 or not self._queue.empty():
            items = self._take(max(0.0, left_s))
            if items is None:
                self._queue.put(None)  # the thread's own loop has to see it
                raise JobStoppedError("LabRelay is stopping")
            if items:
                try:
                    self._work(items)
                except sqlite3.Error as error:  # from upkeep: the process must not survive it, so it is not the job's
                    raise _FatalError(failure(error)) from error

    @staticmethod
    def _tell(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        if future.done():  # its waiter was cancelled; the work is done all the same
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _take(self, timeout_s: float = IDLE_S) -> list[_Item] | None:
        """The waiting operations, at most a batch; empty after a quiet while; None when it is time to stop."""
        try:
            first = self._next(timeout_s)
        except queue.Empty:
            return []
        if first is None:
            return None
        items, size = [first], first.size
        can_linger = first.can_linger
        until = time.monotonic() + LINGER_S if can_linger else 0.0
        if not can_linger:
            self._let_others_join()
        while len(items) < BATCH_OPERATIONS and size < BATCH_BYTES:
            try:
                item = self._next(max(0.0, until - time.monotonic()) if can_linger else 0.0)
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)  # nothing is submitted after it, so it is still the last
                break
            items.append(item)
            size += item.size
            if can_linger and not item.can_linger:
                can_linger = False
                self._let_others_join()
        self._awaited = sum(not item.can_linger for item in items) or self._awaited
        return items

    def _let_others_join(self) -> None:
        """Wait for the operations of other senders, if several were answered last: they are about to send again."""
        if self._awaited > 1 and self.stats.recent_s:
            time.sleep(min(JOIN_S, self.stats.recent_s[-1] * JOIN_SHARE))

    def _next(self, timeout_s: float) -> _Item | None:
        """The next item. Tried without waiting first: behind items that were there at once, CPython's queue takes a
        timeout that is over before it began for one without an end (its remaining microseconds are below zero).

        Raises:
            queue.Empty: none came within this time.
        """
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            if timeout_s <= 0:
                raise
        return self._queue.get(timeout=timeout_s)

    def _work(self, items: list[_Item]) -> None:
        try:
            tried = self._let_in(items) if self._upkeep.full else items
            if tried and not self._transact(tried):
                self.stats.rollbacks += 1
                for item in tried:
                    self._transact([item])
            if any(is_full(item.error) for item in tried) and self._upkeep.make_room():
                for item in tried:
                    if is_full(item.error) and not item.size:
                        self._transact([item])
        except Exception as error:  # not only _FatalError: after an error of ours, too, no caller may wait
            cause = error.cause if isinstance(error, _FatalError) else fault_of_ours(error)
            for item in items:
                item.error = item.error or StoreError(str(cause), fatal=True)
            self._call(self._resolve, items)
            raise
        self.stats.batches += 1
        fault = next((item.error for item in items if is_store_fault(item.error)), None)
        self.stats.fault = None if fault is None else (str(fault), time.monotonic())
        self._call(self._resolve, items)
        self._upkeep.after_batch()

    @staticmethod
    def _let_in(items: list[_Item]) -> list[_Item]:
        """Refuse operations with new payload; return the rest."""
        for item in items:
            if item.size:
                item.error = NoRoomError("the disk is full: nothing new is kept until there is room")
        return [item for item in items if not item.size]

    def _transact(self, items: list[_Item]) -> bool:
        """Run ``items`` in one transaction; False where it was rolled back. A single item then has its error set."""
        execute = self._connection.execute
        try:
            batch = self._upkeep.begin()
            execute("BEGIN IMMEDIATE")
            for item in items:
                item.result = item.operation(batch)
            batch.flush()
        except Exception as error:
            self._rolled_back(items, error, committing=False)
            return False
        began = time.perf_counter()
        try:
            execute("COMMIT")
        except sqlite3.Error as error:
            self._rolled_back(items, error, committing=True)
            return False
        took_s = time.perf_counter() - began
        self.stats.recent_s.append(took_s)
        self.stats.commits.observe(took_s)
        for item in items:
            item.error = None
        batch.committed()
        self._upkeep.committed(batch)
        return True

    def _rolled_back(self, items: list[_Item], error: Exception, *, committing: bool) -> None:
        if is_fatal(error, committing=committing):
            raise _FatalError(failure(error)) from error
        if self._connection.in_transaction:  # SQLite rolls back by itself after some errors
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as second:
                raise _FatalError(failure(second)) from second
        if len(items) == 1:
            items[0].result, items[0].error = None, translated(error)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop was closed without `stop`: results have no receiver any more, and durable rows stay durable.
            logger.debug("the event loop is closed")


class _FatalError(Exception):
    def __init__(self, cause: StoreError) -> None:
        super().__init__(str(cause))
        self.cause = cause
