"""The writer thread's duties beside batches: keys of a new month, the anchor, checkpoints, sweeps, search keys.

Checkpoints run only here. SQLite's automatic checkpoints are off: they would run inside a commit, and a second
connection that checkpoints is the condition of an old error of SQLite's. PASSIVE ones, between batches, keep the log
small as long as no reader holds an old snapshot; beyond the limit the log is truncated by waiting for readers (which
have a deadline), a little at a time.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TypeVar

from engine.feature import Hook, joined
from engine.model.errors import StoreError
from engine.model.process.clock import Clock
from engine.store.core.anchor import Anchor
from engine.store.core.files.damage import describe, is_fatal
from engine.store.core.files.reserve import Reserve
from engine.store.core.sweeping import InSteps, Step, sweep
from engine.store.core.vault import DOCUMENT_KEYS, MESSAGE_KEYS, NOTE_KEYS, Vault
from engine.store.core.writing.batch import Batch, ReadAgain, Tail, month_of
from engine.store.lifecycle import retention
from engine.store.operations import dead_letters, hour_counts, incomplete, search_index

logger = logging.getLogger("labrelay.journal")

PAGE_BYTES = 4096
CHECKPOINT_BYTES = 4 * 1024 * 1024
WAL_CAP_BYTES = 64 * 1024 * 1024
ANCHOR_SYNC_S = 1.0
SWEEP_S = 1.0
SWEEP_ROUND_S = 3600.0
RETENTION_EVERY_S = 6 * 3600.0  # between two walks ...
RETENTION_FIRST_S = 60.0  # ... and from the start to the first
RETENTION_PAUSE_S = 0.05  # between two steps of a walk: at least this long, and a multiple of the step's duration:
RETENTION_IDLE = 10  # ... while no message comes
RETENTION_BUSY = 100  # ... while messages come: less than one in a hundred finds a step under way
COUNT_S = 20.0  # between two rounds of what features do in steps, such as counting results
RESERVE_LOOK_S = 1.0
BUSY_MS = 100  # how long a forced checkpoint waits for readers, between two batches

Sweep = Callable[[Batch], bool]
"""Deletes a few hundred rows of a short-lived table; True once the end was reached."""
EVERY: Hook[Sequence[Sweep]] = Hook("every")
IN_STEPS: Hook[InSteps] = Hook("in_steps")
SWEEPS: tuple[Sweep, ...] = (
    partial(sweep, table="repeat", key=("token",)),
    partial(sweep, table="report", key=("key", "message_id")),
    partial(sweep, table="server_version", key=("resource",)),
    partial(sweep, table="polled", key=("resource",)),
    dead_letters.sweep,
    incomplete.sweep,
)

# The length of the log is known only after a checkpoint. The bytes that a batch adds beside its sealed values (leaves
# of the tables and indexes it touches) are estimated, and each checkpoint corrects the estimate.
_OVERHEAD_AT_FIRST = 24 * PAGE_BYTES

T = TypeVar("T")


class StoreUpkeep:
    """Owns the writer's connection between batches. Used by the writer thread, and before that runs by the thread that
    opens the journal.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        wal: Path,
        tail: Tail,
        vault: Vault,
        anchor: Anchor,
        clock: Clock,
        zone: tzinfo,
        boot: int,
        reserve: Reserve | None = None,
    ) -> None:
        """``reserve``: of a daemon; a command that opens a journal for one action has none."""
        self.wal_bytes = 0
        self.anchor_fault = ""
        self.over_cap = False
        self.config_hash = ""
        self.notes_critical = False
        self.read_again: ReadAgain | None = None
        self.orders_changed: Callable[[], None] | None = None  # called by the writer's thread after such a commit
        self.policy: retention.Policy | None = None  # nothing is deleted before the owner sets a policy
        self._connection = connection
        self._wal = wal
        self._tail = tail
        self._vault = vault
        self._anchor = anchor
        self._clock = clock
        self._zone = zone
        self._boot = boot
        self._reserve = reserve
        self._next_look = 0.0
        self._batches = 0
        self._stored_bytes = 0
        self._overhead = _OVERHEAD_AT_FIRST
        self._checkpoint_failed = False
        self._put_off = False
        self._next_anchor_sync = 0.0
        self._next_sweep = 0.0
        self._next_index = 0.0
        self._part: int | None = None
        self._steps = [(one, 0, 0.0) for one in IN_STEPS.each()]  # each with its place, and not before
        self._walk: retention.RetentionWalk | None = None
        now_us = clock.now_us()
        self._steady_from_us = now_us - retention.behind(connection.execute, now_us)
        self._steady_at = clock.monotonic()
        self._next_walk = clock.monotonic() + RETENTION_FIRST_S
        self._next_step = 0.0
        self._sweeps = [(one, 0.0) for one in (*SWEEPS, *joined(EVERY))]

    # -- around a batch ------------------------------------------------------------------------------------------

    def begin(self) -> Batch:
        now_us = self._clock.now_us()
        self._make_keys(month_of(now_us))
        batch = Batch(
            self._connection,
            self._tail,
            self._vault,
            now_us=now_us,
            zone=self._zone,
            boot=self._boot,
            steady_us=min(now_us, self._steady_us()),
        )
        batch.config_hash = self.config_hash
        batch.notes_critical = self.notes_critical
        batch.read_again = self.read_again
        batch.config = int(batch.config_hash or "0", 16)
        return batch

    def _steady_us(self) -> int:
        """The time without any jump of the clock since the last walk of retention, whose own time this is.

        A failing battery may set the clock to 2099 for a minute; the entries in short-lived tables must not expire by
        that.
        """
        return self._steady_from_us + round((self._clock.monotonic() - self._steady_at) * 1e6)

    def committed(self, batch: Batch) -> None:
        self._write_anchor()
        if batch.orders_changed and self.orders_changed is not None:
            self.orders_changed()
        self._batches += 1
        self._stored_bytes += batch.stored_bytes
        # Operations that waited for a large message go before its checkpoint, which takes as long; one batch at most.
        self._put_off = batch.stored_bytes >= CHECKPOINT_BYTES and not self._put_off

    def after_batch(self) -> None:
        if self._log_estimate() >= CHECKPOINT_BYTES and not self._put_off:
            self._checkpoint()
        self._sync_anchor()
        self._look_at_reserve()
        if self._clock.monotonic() >= self._next_sweep + 10 * SWEEP_S:  # never idle: sweep all the same
            self._sweep()
        self._index_numbers()
        self._note_hour()
        self._go_on(RETENTION_BUSY)
        self._let_go(RETENTION_BUSY)

    def idle(self) -> None:
        if self._log_estimate() >= CHECKPOINT_BYTES // 4:
            self._checkpoint()
        self._sync_anchor()
        self._look_at_reserve()
        self._sweep()
        self._index_numbers()
        self._note_hour()
        self._go_on(RETENTION_IDLE)
        self._let_go(RETENTION_IDLE)

    def walk_now(self) -> None:
        """Begin a walk of retention at once, if none is under way. May be called on any thread."""
        self._next_walk = self._next_step = 0.0

    @property
    def full(self) -> bool:
        return self._reserve is not None and self._reserve.given

    @property
    def lacking(self) -> int:
        """Bytes to free on the disk before new payload is accepted again; 0 while it is accepted."""
        return self._reserve.lacking if self._reserve is not None and self._reserve.given else 0

    @property
    def spent(self) -> bool:
        """Whether the disk is full, and the room that was reserved for people's actions is used up, too."""
        return self._reserve is not None and self._reserve.given and self._reserve.spent

    @property
    def full_until(self) -> float | None:
        """When the disk was full last, on the monotonic clock; None where it never was, or is now."""
        return None if self._reserve is None or self._reserve.given else self._reserve.ended

    def make_room(self) -> bool:
        """Release the reserve, and begin the log anew. The file of a log that is not large keeps its room, for acts: no
        other program can take that.
        """
        given = self._reserve is not None and self._reserve.give()
        self._run_checkpoint("TRUNCATE" if self._log_bytes() > 2 * CHECKPOINT_BYTES else "RESTART")
        return given

    def _look_at_reserve(self) -> None:
        if self._reserve is not None and (now := self._clock.monotonic()) >= self._next_look:
            self._next_look = now + RESERVE_LOOK_S
            self._reserve.look()

    def close(self) -> None:
        if self._walk is not None and self._walk.act:
            self._in_transaction(partial(_stop_walk, walk=self._walk))
        self._run_checkpoint("TRUNCATE")
        self._write_anchor()
        self._anchor_step(self._anchor.sync)
        self._anchor.close()
        self._connection.close()
        if self._reserve is not None:
            self._reserve.remove()

    # -- keys ----------------------------------------------------------------------------------------------------

    def _make_keys(self, month: str) -> None:
        """Create the data keys of ``month``, durable before the first value is sealed with them."""
        classes = [name for name in (MESSAGE_KEYS, DOCUMENT_KEYS, NOTE_KEYS) if not self._vault.has(name, month)]
        if not classes:
            return
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            first_id = execute("SELECT coalesce(max(id), 0) + 1 FROM data_key").fetchone()[0]
            self._vault.use_kek(execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()[0])
            made = [self._vault.make(first_id + n, name, month) for n, name in enumerate(classes)]
            self._connection.executemany(
                "INSERT INTO data_key (id, class, month, wrapped, created_us) VALUES (?, ?, ?, ?, ?)",
                [(k.id, k.key_class, k.month, k.wrapped, self._clock.now_us()) for k, _ in made],
            )
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        for wrapped, key in made:
            self._vault.add(wrapped, key)

    # -- anchor --------------------------------------------------------------------------------------------------

    def _write_anchor(self) -> None:
        self._anchor_step(lambda: self._anchor.write(self._tail.last_id, self._tail.chain))

    def renew_anchor(self) -> None:
        """After an accepted loss is durable, write the journal's present end to the anchor."""
        self._anchor_step(lambda: self._anchor.renew(self._tail.last_id, self._tail.chain))

    def _sync_anchor(self) -> None:
        if self._anchor.unsynced and (now := self._clock.monotonic()) >= self._next_anchor_sync:
            self._next_anchor_sync = now + ANCHOR_SYNC_S
            self._anchor_step(self._anchor.sync)

    def _anchor_step(self, step: Callable[[], None]) -> None:
        # The rows are durable without it, and an anchor behind the journal is harmless: its disk may be removed. The
        # failure is reported once and retried with each batch.
        try:
            step()
        except OSError as error:
            if not self.anchor_fault:
                logger.error("the anchor cannot be written: loss would go unnoticed", extra={"cause": error.strerror})
            self.anchor_fault = error.strerror or "unknown"
        else:
            self.anchor_fault = ""

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _log_estimate(self) -> int:
        """The estimated growth of the log in bytes since the last checkpoint."""
        return self._stored_bytes + self._batches * self._overhead

    def _checkpoint(self) -> None:
        complete, log = self._run_checkpoint("PASSIVE")
        if complete and self._batches:  # then the log was restarted after the one before, and all of it is ours
            self._overhead = max((log * PAGE_BYTES - self._stored_bytes) // self._batches, PAGE_BYTES)
        self._batches = self._stored_bytes = 0
        self.wal_bytes = self._log_bytes()
        self.over_cap = self.wal_bytes >= WAL_CAP_BYTES and not self._run_checkpoint("TRUNCATE")[0]

    def _log_bytes(self) -> int:
        return self._wal.stat().st_size if self._wal.exists() else 0

    def _run_checkpoint(self, kind: str) -> tuple[bool, int]:
        """Whether all of the log is in the database now, and how many pages the log had."""
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            busy, log, done = self._connection.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()
        except sqlite3.Error as error:
            if is_fatal(error, committing=False):
                raise
            if not self._checkpoint_failed:
                logger.warning("checkpoint failed, tried again later", extra={"cause": describe(error)})
            self._checkpoint_failed = True
            return False, 0
        self._checkpoint_failed = False
        return not busy and done == log, log

    # -- short memories ------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_S
        for n, (one, not_before) in enumerate(self._sweeps):
            if now >= not_before:
                again = self._in_transaction(one) is False
                self._sweeps[n] = (one, now if again else now + SWEEP_ROUND_S)

    def _index_numbers(self) -> None:
        """Put search keys into their index, if there are many."""
        if self._tail.unindexed < search_index.ADDED_AT_ONCE:
            return
        now = self._clock.monotonic()
        if now >= self._next_index and self._in_transaction(search_index.add) is None:
            self._next_index = now + SWEEP_S

    def _note_hour(self) -> None:
        """Note the part of an hour that has just ended, unless the clock leapt or this process did not see it."""
        part = self._clock.now_us() // hour_counts.PART_US
        before, self._part = self._part, part
        if before is not None and part == before + 1:
            self._in_transaction(partial(hour_counts.note, part=before))

    def _go_on(self, rest: float) -> None:
        """One step of each thing that features do in steps; a pause after it, in which messages come first."""
        for n, (step, place, not_before) in enumerate(self._steps):
            if (now := self._clock.monotonic()) >= not_before:
                began = time.perf_counter()
                done = self._step(step, place)
                took = time.perf_counter() - began
                pause = max(RETENTION_PAUSE_S, rest * took) if done.more else COUNT_S
                self._steps[n] = (step, done.place, now + pause)

    def _step(self, step: InSteps, place: int) -> Step:
        return self._in_transaction(lambda batch: step(batch, place)) or Step()

    def _in_transaction(self, operation: Callable[[Batch], T]) -> T | None:
        """Run an operation of the upkeep; a failure that the store survives only postpones it, and returns None."""
        try:
            batch = self.begin()
            self._connection.execute("BEGIN IMMEDIATE")
            result = operation(batch)
            batch.flush()
            self._connection.execute("COMMIT")
        except Exception as error:  # also an error of ours: no caller waits for this, and the daemon must go on
            if is_fatal(error, committing=True):
                raise
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            known = isinstance(error, (sqlite3.Error, StoreError))
            cause = describe(error) if known else type(error).__name__  # its own text may quote stored data
            logger.warning("upkeep failed, tried again later", extra={"cause": cause})
            return None
        batch.committed()
        self.committed(batch)
        return result

    # -- retention -----------------------------------------------------------------------------------------------

    def _let_go(self, rest: float) -> None:
        """One step of a walk, if it is time: few rows, and then a pause in which messages come first."""
        policy, now = self.policy, self._clock.monotonic()
        if policy is None or now < self._next_step or (self._walk is None and now < self._next_walk):
            return
        began = time.perf_counter()
        if self._walk is None:
            self._walk = self._in_transaction(partial(retention.start, policy=policy))
            if self._walk is not None:
                self._steady_from_us = self._clock.now_us() - self._walk.behind_us
                self._steady_at = now
            if self._walk is not None and self._walk.behind_us > retention.DAY_US:
                days = self._walk.behind_us // retention.DAY_US
                logger.warning("retention waits: the clock has leapt ahead", extra={"detail": f"by {days} days"})
        else:
            walk = self._in_transaction(partial(retention.step, policy=policy, run=self._walk))
            self._walk = None if walk is None or walk.finished else walk  # after a failure: from the beginning, later
        if self._walk is None:
            self._next_walk = now + RETENTION_EVERY_S
        took = time.perf_counter() - began
        self._next_step = now + max(RETENTION_PAUSE_S, rest * took)


def _stop_walk(batch: Batch, walk: retention.RetentionWalk) -> None:
    retention.finish(batch, walk, stopped=True)
