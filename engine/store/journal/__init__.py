"""The journal of one site: every received message, what was made of it, and what became of that. One file, one writer.

`Journal` is the store's whole face. Writing methods are called on the event loop and return futures that resolve once
the change is durable and anchored (`engine.store.core.writer`); reading methods (`engine.store.queries`) may be called
anywhere, also without a daemon. What the operations do stands in `arrival`, `verdict`, `outbox`, `audit`.

Files in the data folder: ``journal.db`` with its ``-wal`` and ``-shm`` (SQLite's), ``journal.anchor``,
``labrelay.key``, ``labrelay.lock``. Never open or copy the first three by other means while a process has them open:
closing any descriptor of them drops SQLite's locks. Backups go through SQLite's backup interface.

submitting   handing operations to the writer; what the rest stands on
incoming     what is received, and what was made of it
outgoing     deliveries: claimed, settled, postponed, buried
decisions    what people decide, and acts
keys         the key-encryption key
opening      the files and their keys, step by step
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path

from engine.model.clock import Clock
from engine.model.errors import ConfigError, StoreError
from engine.model.records import Assembled, MapOutcome, Recovery, Routed
from engine.store.core import anchor as anchor_file
from engine.store.core import key_encryption_key, migrate, unanswered
from engine.store.core.anchor import ANCHOR_NAME, Anchor
from engine.store.core.batch import Batch, Tail
from engine.store.core.connecting import DAMAGE, JOURNAL_NAME
from engine.store.core.lock import SiteLock
from engine.store.core.loss import LossError, find_loss, find_total_loss, look
from engine.store.core.reserve import Reserve
from engine.store.core.writer import Writer, WriterStats
from engine.store.integrity import before_upgrade, rollback, verify
from engine.store.integrity.rollback import Witness
from engine.store.journal.decisions import Decisions
from engine.store.journal.incoming import Incoming
from engine.store.journal.keys import Keys
from engine.store.journal.opening import abandon, accept_loss, connect, count_boot, unlock, unopened, wal_of
from engine.store.journal.outgoing import Outgoing
from engine.store.journal.upkeep import StoreUpkeep
from engine.store.lifecycle.retention import Policy
from engine.store.operations import number_bearers, poison_message
from engine.store.operations.outbox import claims

logger = logging.getLogger("labrelay." + __name__)


__all__ = ["Assembled", "Journal", "MapOutcome", "Recovery", "Routed"]

COMPACTED_NAME = "journal.db.new"  # while `engine.store.recovery.compact` makes it
STOP_S = 5.0


class Journal(Incoming, Outgoing, Decisions, Keys):
    """An open journal. Make one with `open`.

    Attributes:
        boot: a new number at each start; the lease that our claims stand under.
        notes: what the owner must be told once, loudly (a key was made, a loss was accepted).
        journal_id: 16 bytes, which journal this is.
        others: persons whom a person has told apart from the first bearer of their number
        (`engine.store.operations.number_bearers.others`).
    """

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
                journal._now(partial(rollback.note, found=back))
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
            wal=wal_of(self._path),
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
        self._looked: list[str] = []
        self._damaged = [finding.text for finding in verify.recent(connection, tail.last_id)]
        if not self._damaged:
            rollback.verified(connection.execute, tail.last_id)

    def _accept(self, loss: LossError, actor: str, reason: str) -> None:
        """Note that a person goes on without rows that are missing. The anchor is the one witness until that is
        durable, and so is not written over before."""
        assert self._upkeep is not None  # called by `open` alone
        self._now(partial(accept_loss, loss, actor, reason))
        self._upkeep.renew_anchor()

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
        maybe_delivered = self._now(claims.void_leases)
        killed, given_up = self._now(partial(poison_message.begin, judges=judges))
        self._recovered = True
        with self.snapshot() as execute:
            acts = tuple(row[0] for row in execute("SELECT id FROM open_act ORDER BY id"))
            (unprocessed,) = execute("SELECT coalesce(sum(stored), 0) FROM channel").fetchone()
        return Recovery(
            lanes=tuple(self.open_lanes()),
            unprocessed=unprocessed,
            sessions=len(self._tail.sessions),
            maybe_delivered=maybe_delivered,
            acts=acts,
            killed=killed,
            given_up=given_up,
        )

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
        return self._submit(partial(_verified, row_id))

    @property
    def alarms(self) -> list[str]:
        """What is wrong with the store right now and needs a person."""
        found = self.damage
        if self._upkeep is not None and self._upkeep.anchor_fault:
            found.append(f"the anchor cannot be written ({self._upkeep.anchor_fault}): loss would go unnoticed")
        if self._upkeep is not None and self._upkeep.over_cap:
            found.append("a reader keeps the journal's log from being emptied")
        if self._upkeep is not None and self.full:
            room = f"free {max(1, -(-self._upkeep.lacking >> 20))} MiB on the disk of {self._path.parent}"
            kept = "what still is free there is kept for what people do"
            if self._upkeep.spent:
                kept = "what was kept there for what people do is used up, too: pauses and decisions may fail"
            found.append(f"The disk is full: nothing is stored, so nothing is acknowledged; {room} ({kept})")
        return found

    @property
    def full_until(self) -> float | None:
        """When a full disk had room again, on the monotonic clock; None where it never was full, or is now."""
        return None if self._upkeep is None else self._upkeep.full_until


def _verified(to: int, batch: Batch) -> None:
    rollback.verified(batch.execute, to)
