"""The journal of one site: every received message, its documents, and the state of each delivery. One file, one writer.

`Journal.run` hands an operation to the writer's thread and returns a future that resolves once the change is durable
and anchored (`engine.store.core.writer`); the operations stand in `engine.store.operations`, each a function of a
`Batch`. Reading methods (`engine.store.queries`) may be called from any thread, also without a daemon.

Files in the data folder: ``journal.db`` with its ``-wal`` and ``-shm`` (SQLite's), ``journal.anchor``,
``labrelay.key``, ``labrelay.lock``. Never open or copy the first three by other means while a process has them open:
closing any descriptor of them drops SQLite's locks. Backups go through SQLite's backup interface.

opening      the files and their keys, step by step
keys         a new key-encryption key
upkeep       what the writer does beside batches
"""

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from engine.model.clock import Clock
from engine.model.errors import ConfigError, IntegrityError, LossError, StoreError
from engine.model.message import Stored
from engine.model.outcome import Outcome
from engine.model.reasons import ReasonCode
from engine.model.records import Recovery
from engine.store.core import anchor as anchor_file
from engine.store.core import key_encryption_key, migrate, unanswered
from engine.store.core.anchor import ANCHOR_NAME, Anchor
from engine.store.core.batch import Batch, Tail
from engine.store.core.connecting import DAMAGE, JOURNAL_NAME
from engine.store.core.lock import SiteLock
from engine.store.core.loss import find_loss, find_total_loss, look
from engine.store.core.operation import Priority, operation, traits_of
from engine.store.core.reserve import Reserve
from engine.store.core.vault import Vault
from engine.store.core.writer import Job, Writer, WriterStats
from engine.store.integrity import before_upgrade, rollback, verify
from engine.store.integrity.rollback import Witness
from engine.store.journal.opening import abandon, accept_loss, connect, count_boot, unlock, unopened, wal_of
from engine.store.journal.upkeep import StoreUpkeep
from engine.store.lifecycle.retention import Policy
from engine.store.operations import number_bearers, poison_message, record_outcome
from engine.store.operations.line_trace import LineLog, LineRecord
from engine.store.operations.line_trace import store as store_lines
from engine.store.operations.outbox import claims
from engine.store.queries.contents import open_stored
from engine.store.queries.lanes import open_lanes
from engine.store.queries.reader import Reader

logger = logging.getLogger("labrelay.journal")


T = TypeVar("T")
P = ParamSpec("P")

COMPACTED_NAME = "journal.db.new"  # while `engine.store.recovery.compact` makes it
STOP_S = 5.0
UNPROCESSED_BYTES = 8 * 1024 * 1024  # of payloads that one reading back brings into memory
# Session numbers: the boot number above this bit, a counter below; unique for ever without asking the file.
_SESSION_BITS = 32


class Journal(Reader):
    """An open journal. Make one with `open`.

    Attributes:
        boot: a new number at each start; the lease that our claims stand under.
        notes: what the owner must be told once, loudly (a key was made, a loss was accepted).
        journal_id: 16 bytes, which journal this is.
        others: persons whom a person has told apart from the first bearer of their number
        (`engine.store.operations.number_bearers.others`).
    """

    def __init__(self, path: Path, vault: Vault | None, *, immutable: bool = False) -> None:
        super().__init__(path, vault, immutable=immutable)
        self.boot = 0
        self.journal_id = b""
        self.others: dict[bytes, int] = {}
        self._damaged: list[str] = []
        self._looked: list[str] = []
        self._recovered = False
        self._changing_key = False
        self._connection: sqlite3.Connection | None = None
        self._upkeep: StoreUpkeep | None = None
        self._tail: Tail | None = None
        self._writer: Writer | None = None
        self._lines = LineLog(lambda records: self.run(store_lines, records))
        self._sessions = itertools.count(1)

    @classmethod
    def open(
        cls,
        data: Path,
        *,
        clock: Clock,
        on_fatal: Callable[[StoreError], None] = lambda error: None,
        accept_loss: bool = False,
        actor: str = "operator",
        reason: str = "",
        read_only: bool = False,
        zone: tzinfo = UTC,
        anchor_path: Path | None = None,
        reserve: bool = False,
        key: bytes | None = None,
        elsewhere: Callable[[bytes], Iterable[Witness]] = lambda journal_id: (),
    ) -> "Journal":
        """Open the journal in folder ``data``; make it there, with its key, if there is none.

        Args:
            on_fatal: called on the event loop when the process must stop at once: a sync failed. It must end by
                ``os._exit`` or a signal: an orderly end of the interpreter would close the database, and so try to sync
                again what the kernel may already have dropped.
            accept_loss: start although the anchor proves that rows are missing. The deed becomes an audit row.
            actor, reason: who accepts it, and why.
            read_only: for commands beside a daemon or without one: takes no lock, changes nothing.
            zone: the site's, for the days of counters.
            anchor_path: another place for the anchor, best on another disk.
            reserve: keep disk space for people's acts on a full disk (`engine.store.core.reserve`).
            elsewhere: what is known of the journal outside of ``data``, by its id (`engine.runtime.other_history`).
            Where that is
                more than the journal knows, the journal opens all the same and its deliveries are paused
                (`engine.store.integrity.rollback`).
            key: the key-encryption key, where it is at hand and must not lie beside this journal.

        Raises:
            LockedError: another process writes here.
            ConfigError: the key file is missing, malformed or readable by others.
            IntegrityError: rows are missing, or the key is another one.
            StoreError: the file cannot be opened, or is of a newer version; DamagedError: it is damaged.
        """
        anchor_path = anchor_path or data / ANCHOR_NAME
        if read_only:
            return cls.beside(data)
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = SiteLock.acquire(data)
        except OSError as error:
            raise StoreError(f"{data}: cannot be used for the journal: {error.strerror}") from error
        connection: sqlite3.Connection | None = None
        try:
            with suppress(OSError):  # a compaction that was killed left it
                (data / JOURNAL_NAME).resolve().with_name(COMPACTED_NAME).unlink()
            kept = Reserve(data)
            kept.open()
            reading = anchor_file.read(anchor_path)
            if not accept_loss and (data / JOURNAL_NAME).exists() and (hidden := look(data / JOURNAL_NAME, reading)):
                raise hidden
            connection = connect(data / JOURNAL_NAME)
            loss = find_total_loss(connection, reading)
            if loss is not None and not accept_loss:
                raise loss
            copied = before_upgrade.keep(connection, data, anchor_path, clock)
            migrate.upgrade(connection)
            try:
                notes, vault, journal_id = unlock(connection, data, clock, key)
            except PermissionError as error:
                raise ConfigError(key_encryption_key.not_readable(str(error.filename))) from error
            journal = cls(data / JOURNAL_NAME, vault)
            journal.notes, journal.journal_id = [copied, *notes] if copied else notes, journal_id
            loss = loss or find_loss(connection, reading, journal_id, vault)
            if loss is not None and not accept_loss:
                raise loss
            back = rollback.find(connection.execute, elsewhere(journal_id), journal_id, vault.anchor_seal)
            if loss is not None and back is not None and back.last:  # a person accepts all that is missing, once
                loss = LossError(back.text, back.first, back.last) if back.last > loss.last else loss
                back = None
            journal._begin(connection, anchor_path, clock, zone, on_fatal, kept if reserve else None, loss)
            if loss is not None:
                journal._accept(loss, actor, reason)
                journal.notes.append(f"Started although rows are missing: {loss}")
            if back is not None:
                journal.run_alone(rollback.note, back)
                journal.notes.append(f"Nothing is delivered: {back.text}; {rollback.WHAT_TO_DO}")
        except DAMAGE as error:
            abandon(connection, lock)
            raise unopened(data / JOURNAL_NAME, error) from error
        except OSError as error:
            abandon(connection, lock)
            place = error.filename or data
            raise StoreError(f"{place}: cannot be used for the journal: {error.strerror}") from error
        except BaseException:
            abandon(connection, lock)
            raise
        journal._held.callback(lock.release)
        return journal

    def _begin(
        self,
        connection: sqlite3.Connection,
        anchor_path: Path,
        clock: Clock,
        zone: tzinfo,
        on_fatal: Callable[[StoreError], None],
        reserve: Reserve | None,
        loss: LossError | None,
    ) -> None:
        self._tail = tail = Tail(connection)
        tail.answers.begin(clock.now_us())
        self.boot = count_boot(connection)
        self.others.update(number_bearers.others(connection.execute))
        self._upkeep = StoreUpkeep(
            connection,
            wal=wal_of(self.path),
            tail=tail,
            vault=self.vault,
            anchor=Anchor(
                anchor_path,
                self.journal_id,
                tail.last_id,
                tail.chain,
                self.vault.anchor_seal,
                disputed=loss is not None,
            ),
            clock=clock,
            zone=zone,
            boot=self.boot,
            reserve=reserve,
        )
        self._connection = connection
        self._writer = Writer(connection, self._upkeep, on_fatal=on_fatal)
        self._damaged = [finding.text for finding in verify.recent(connection, tail.last_id)]
        if not self._damaged:
            rollback.verified(connection.execute, tail.last_id)

    def _accept(self, loss: LossError, actor: str, reason: str) -> None:
        """Note that a person goes on without rows that are missing. The anchor is the one witness until that is
        durable, and so is not written over before."""
        assert self._upkeep is not None  # called by `open` alone
        self.run_alone(partial(accept_loss, loss, actor, reason))
        self._upkeep.renew_anchor()

    def run(
        self, function: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        """Have an operation carried out in the writer's next transaction; never blocks.

        Args:
            function: marked by `engine.store.core.operation.operation`; the other arguments are its own.

        Raises:
            StoreError: the queue is full, or the writer has stopped. The future may raise it, too, or what the
                operation raises; nothing was changed then.
        """
        if self._writer is None:
            raise StoreError("the journal is not open for writing")
        traits = traits_of(function)
        return self._writer.submit(
            lambda batch: function(batch, *args, **kwargs),
            size=traits.size(*args, **kwargs) if traits.size is not None else 0,
            priority=traits.priority,
            can_linger=traits.can_linger,
        )

    def run_alone(self, function: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Carry out an operation in this thread, before `start`; for tools that open a journal, change it and close it.

        ``function`` may be any function of a batch.
        """
        assert self._writer is not None, "opened read-only"
        return self._writer.run_alone(lambda batch: function(batch, *args, **kwargs))

    def lend(self, job: Job[T]) -> "asyncio.Future[T]":
        """Run long work on the writer's connection, between commits (`Writer.lend`)."""
        if self._writer is None:
            raise StoreError("the journal is not open for writing")
        return self._writer.lend(job)

    def lend_alone(self, job: Job[T]) -> T:
        """The same in this thread, before `start`."""
        assert self._writer is not None, "opened read-only"
        return self._writer.lend_alone(job)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the writer thread; from here on the writing methods may be called, on ``loop``."""
        assert self._writer is not None, "opened read-only"
        self._writer.start(loop)

    async def stop(self) -> None:
        """Finish what was submitted, leave the files in order, give back the lock. A second call does nothing."""
        writer = self._writer
        if writer is not None and writer.started:
            self._lines.write()
            if self._recovered:
                with suppress(StoreError):  # it has failed for good: then it did not stop in order
                    writer.submit(unanswered.note_all)
                    writer.submit(poison_message.end)
            self._writer = None
            self._close_idle()  # so that the writer is the last one, and the log is folded in and removed
            try:
                await asyncio.wait_for(writer.stop(), STOP_S)
            except TimeoutError:
                # The thread may still be writing: the lock stays ours until the process ends.
                logger.error("the journal writer did not stop in time; what was acknowledged is durable")
                return
        self.close()

    def close(self) -> None:
        """Close what is open for reading, and give back the lock; for a journal whose writer runs, use `stop`."""
        self._close_idle()
        if self._writer is not None and self._upkeep is not None:
            assert not self._writer.started, "the writer thread runs: stop it"
            self._writer = None
            self._upkeep.close()
        super().close()

    def recover(self, *, judges: bool = True) -> Recovery:
        """Void the leases of earlier processes and say what they left behind. Call it before anything else.

        Works before `start` only: there is nothing to recover once work goes on.

        Args:
            judges: messages will be processed in this process, so one of them may have ended the last one.
        """
        assert self._tail is not None, "opened read-only"
        maybe_delivered = self.run_alone(claims.void_leases)
        killed, given_up = self.run_alone(poison_message.begin, judges=judges)
        self._recovered = True
        with self.snapshot() as execute:
            acts = tuple(row[0] for row in execute("SELECT id FROM open_act ORDER BY id"))
            (unprocessed,) = execute("SELECT coalesce(sum(stored), 0) FROM channel").fetchone()
        return Recovery(
            lanes=tuple(open_lanes(self)),
            unprocessed=unprocessed,
            sessions=len(self._tail.sessions),
            maybe_delivered=maybe_delivered,
            acts=acts,
            killed=killed,
            given_up=given_up,
        )

    def unprocessed(self, after: int = 0, limit: int = 256, *, max_bytes: int = UNPROCESSED_BYTES) -> list[Stored]:
        """The next messages without an outcome, oldest first; empty only where there is none.

        One that cannot be opened becomes a dead letter (DAMAGED).

        Args:
            after: the id of the last one that the caller has.
            max_bytes: of payloads; a single message may be larger.
        """
        found: list[Stored] = []
        size = 0
        with self.snapshot() as execute:
            rows = execute(
                "SELECT j.id, j.channel, j.seq, j.received_us, j.message_type, j.meta, j.body, j.size FROM journal j"
                " LEFT JOIN message_state s ON s.id = j.id"
                " WHERE j.id > max(?, coalesce((SELECT value FROM meta WHERE name = 'watermark'), 0))"
                " AND j.kind = 1 AND s.id IS NULL ORDER BY j.id",
                (after,),
            )
            for *row, bytes_more in rows:
                size += bytes_more
                if found and size > max_bytes:
                    break
                try:
                    found.append(open_stored(self, row))
                except IntegrityError as error:
                    self.run(record_outcome.record, row[0], Outcome("dead", ReasonCode.DAMAGED, str(error)))
                if len(found) >= limit:
                    break
            rows.close()  # a cursor half-way keeps the log from being emptied
        return found

    @property
    def first_session(self) -> int:
        """The first session number of this process; frames of smaller ones were left by earlier processes."""
        return self.boot << _SESSION_BITS

    def new_session(self) -> int:
        """A number for a link session, never used before."""
        return self.first_session + next(self._sessions)

    @property
    def cut_short(self) -> int:
        """How many sessions have frames that belong to no message: before `start`, those that a crash cut short."""
        assert self._tail is not None, "opened read-only"
        return len(self._tail.sessions)

    def answered(self, channel: str, message_ids: Sequence[int]) -> None:
        """The answers to these messages were written; never raises. Noted with the channel's next message."""
        assert self._tail is not None, "opened read-only"
        self._tail.answers.answered(channel, message_ids)

    def keep_line(self, record: LineRecord) -> None:
        """Keep what passed on a line, for people (`engine.store.operations.line_trace`): never raises, and nothing
        waits for it."""
        self._lines.keep(record)

    @contextmanager
    def changing_key(self) -> Iterator[None]:
        """While the key-encryption key is changed. Of two at once one would take away the file of the key that the
        other has just committed.

        Raises:
            StoreError: it is being changed already.
        """
        if self._changing_key:
            raise StoreError("the key is being changed already; look at labrelay key status when that has ended")
        self._changing_key = True
        try:
            yield
        finally:
            self._changing_key = False

    def retain(self, policy: Policy | None) -> None:
        """Say what need not be kept any longer (`engine.store.lifecycle.retention`); without it, all is kept. Takes
        effect at once."""
        assert self._upkeep is not None, "opened read-only"
        self._upkeep.policy = policy

    def limit_incomplete(self, kept: int, dismissed_us: int) -> None:
        """How many bytes of incomplete messages are kept, and how long where a person has dismissed them."""
        assert self._tail is not None, "opened read-only"
        self._tail.incomplete_bytes, self._tail.incomplete_us = kept, dismissed_us

    def let_go_now(self) -> None:
        """Begin a walk of retention at once, if none is under way; it goes on beside everything else."""
        assert self._upkeep is not None, "opened read-only"
        self._upkeep.walk_now()

    def under(self, config_hash: str) -> None:
        """Which configuration is in force from now on, for the audit trail."""
        assert self._upkeep is not None, "opened read-only"
        self._upkeep.config_hash = config_hash

    @property
    def stats(self) -> WriterStats:
        return self._writer.stats if self._writer is not None else WriterStats()

    @property
    def last_id(self) -> int:
        """The number of the newest row."""
        return self._tail.last_id if self._tail is not None else 0

    @property
    def queued(self) -> int:
        """Operations that wait for the writer."""
        return self._writer.waiting if self._writer is not None else 0

    @property
    def queued_bytes(self) -> int:
        return self._writer.waiting_bytes if self._writer is not None else 0

    @property
    def full(self) -> bool:
        """The disk is full: nothing new is kept, and what room there is serves people's acts."""
        return self._upkeep is not None and self._upkeep.full

    @property
    def damage(self) -> list[str]:
        """Rows that were found not to be what was stored: when the journal was opened, and by the last daily look."""
        return [*self._damaged, *(text for text in self._looked if text not in self._damaged)]

    def looked_through(self, found: Sequence[str]) -> None:
        """What the last look at the whole journal has found (`engine.runtime.scrub`); nothing: it is what it was."""
        self._looked = list(found)

    def verified_to(self, row_id: int) -> "asyncio.Future[None]":
        """Note that all rows up to ``row_id`` are what was stored: a later start looks at those after it."""
        return self.run(_verified, row_id)

    @property
    def alarms(self) -> list[str]:
        """What is wrong with the store right now and needs a person."""
        found = self.damage
        if self._upkeep is not None and self._upkeep.anchor_fault:
            found.append(f"the anchor cannot be written ({self._upkeep.anchor_fault}): loss would go unnoticed")
        if self._upkeep is not None and self._upkeep.over_cap:
            found.append("a reader keeps the journal's log from being emptied")
        if self._upkeep is not None and self.full:
            room = f"free {max(1, -(-self._upkeep.lacking >> 20))} MiB on the disk of {self.path.parent}"
            kept = "what still is free there is kept for what people do"
            if self._upkeep.spent:
                kept = "what was kept there for what people do is used up, too: pauses and decisions may fail"
            found.append(f"The disk is full: nothing is stored, so nothing is acknowledged; {room} ({kept})")
        return found

    @property
    def full_until(self) -> float | None:
        """When a full disk had room again, on the monotonic clock; None where it never was full, or is now."""
        return None if self._upkeep is None else self._upkeep.full_until


@operation(priority=Priority.RECEIVE)
def head(batch: Batch) -> tuple[int, str]:
    """The newest row and its chain value, hexadecimal: what proves elsewhere that the journal had come so far."""
    return batch.last_id, batch.chain.hex()


@operation(priority=Priority.RECEIVE)
def _verified(batch: Batch, to: int) -> None:
    rollback.verified(batch.execute, to)
