"""The journal of one site: every received message, its documents, and the state of each delivery. One file, one writer.

`Journal.run` hands an operation to the writer's thread and returns a future that resolves once the change is durable
and anchored (`engine.store.core.writing.writer`); the operations are in `engine.store.operations`, each a function of a
`Batch`. Queries (`engine.store.queries`) may be called from any thread, also without a daemon.

Files in the data folder: ``journal.db`` with its ``-wal`` and ``-shm`` (SQLite's), ``journal.anchor``,
``labrelay.key``, ``labrelay.lock``. Never open or copy the first three by other means while a process has them open:
closing any descriptor of them drops SQLite's locks. Backups go through SQLite's backup interface.

opening      the files and their keys, step by step
starting     what earlier processes have left behind
keys         a new key-encryption key
upkeep       what the writer does beside batches
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from engine.model.errors import StoreError
from engine.model.process.clock import Clock
from engine.store.core import notes as event_notes
from engine.store.core import unanswered
from engine.store.core.anchor import ANCHOR_NAME, Anchor
from engine.store.core.connecting import DAMAGE, JOURNAL_NAME
from engine.store.core.writing.batch import Batch, Tail
from engine.store.core.writing.operation import Priority, operation, traits_of
from engine.store.core.writing.writer import Job, Writer
from engine.store.integrity import looks, rollback, verify
from engine.store.integrity.rollback import Witness
from engine.store.journal.opening import OpenFiles, count_boot, lock_folder, note_loss, open_files, unopened, wal_of
from engine.store.journal.upkeep import StoreUpkeep
from engine.store.operations import poison_message
from engine.store.operations.line_trace import LineLog, LineRecord
from engine.store.operations.line_trace import store as store_lines
from engine.store.queries.listing import others_of
from engine.store.queries.reader import Reader

logger = logging.getLogger("labrelay.journal")


T = TypeVar("T")
P = ParamSpec("P")

STOP_S = 5.0
# Session numbers: the boot number above this bit, a counter below; unique without asking the file.
_SESSION_BITS = 32


class Journal(Reader):
    """An open journal. Create one with `open`.

    Attributes:
        notes: messages that the owner must get once, prominently (a key was made, a loss was accepted).
        journal_id: 16 bytes, which journal this is.
        others: persons whom a person has separated from the first bearer of their number
            (`engine.store.queries.listing`).
        tail, upkeep, writer: the parts that write.
        changing_key: held while the key-encryption key is changed (`engine.store.journal.keys`).
        recovered: whether the work of earlier processes was taken over (`engine.store.journal.starting`).
        first_session: the first session number of this process; frames with smaller ones are from earlier processes.
    """

    def __init__(
        self,
        path: Path,
        files: OpenFiles,
        *,
        clock: Clock,
        zone: tzinfo,
        on_fatal: Callable[[StoreError], None],
        reserve: bool,
    ) -> None:
        connection, vault = files.connection, files.vault
        super().__init__(path, vault)
        self.notes = files.notes
        self.journal_id = files.journal_id
        event_notes.begin(connection, clock.now_us())
        self.tail = tail = Tail(connection)
        tail.answers.begin(clock.now_us())
        boot = count_boot(connection)
        self.first_session = boot << _SESSION_BITS
        self._sessions = itertools.count(self.first_session + 1)
        self.others = others_of(connection.execute)
        self.upkeep = StoreUpkeep(
            connection,
            wal=wal_of(path),
            tail=tail,
            vault=vault,
            anchor=Anchor(
                path.with_name(ANCHOR_NAME),
                self.journal_id,
                tail.last_id,
                tail.chain,
                vault.anchor_seal,
                disputed=files.loss is not None,
            ),
            clock=clock,
            zone=zone,
            boot=boot,
            reserve=files.reserve if reserve else None,
        )
        self._connection = connection
        self.writer = Writer(connection, self.upkeep, on_fatal=on_fatal)
        self._lines = LineLog(lambda records: self.run(store_lines, records))
        self._closed = False
        self.recovered = False
        self.changing_key = asyncio.Lock()
        self._looked: list[str] = []
        self._damaged = [finding.text for finding in verify.recent(connection, tail.last_id)]
        if not self._damaged:
            looks.verified(connection.execute, tail.last_id)
        connection.execute("PRAGMA shrink_memory")  # pages that the looks have read: up to 8 MiB, asked for by nothing

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
        zone: tzinfo = UTC,
        reserve: bool = False,
        key: bytes | None = None,
        elsewhere: Callable[[bytes], Iterable[Witness]] = lambda journal_id: (),
    ) -> "Journal":
        """Open the journal in folder ``data``; create it there, with its key, if there is none.

        Args:
            on_fatal: called on the event loop when the process must stop at once: a sync failed. It must end by
                ``os._exit`` or a signal: an orderly end of the interpreter would close the database, and so try to sync
                again what the kernel may already have dropped.
            accept_loss: start although the anchor proves that rows are missing. The decision becomes an audit row.
            actor, reason: the person who accepts it, and the reason.
            zone: the site's, for the days of counters.
            reserve: keep disk space for people's actions on a full disk (`engine.store.core.files.reserve`).
            elsewhere: finds witnesses of the journal outside of ``data``, by its id
            (`engine.runtime.upkeep.other_history`).
                If they know later rows than the journal, it opens all the same and its deliveries are paused
                (`engine.store.integrity.rollback`).
            key: the key-encryption key, where it is known and must not be stored beside this journal.

        Raises:
            LockedError: another process writes here.
            ConfigError: the key file is missing, malformed or readable by others.
            IntegrityError: rows are missing, or the key is another one.
            StoreError: the file cannot be opened, or its schema is newer or another's; DamagedError: it is damaged.
        """
        lock = lock_folder(data)
        path = data / JOURNAL_NAME
        with ExitStack() as undo:
            undo.callback(lock.release)
            try:
                files = open_files(data, path, undo, clock=clock, accept_loss=accept_loss, key=key, elsewhere=elsewhere)
                journal = cls(path, files, clock=clock, zone=zone, on_fatal=on_fatal, reserve=reserve)
                if files.loss is not None:  # the anchor is the only witness until this is durable
                    journal.run_alone(note_loss, files.loss, actor, reason)
                    journal.upkeep.renew_anchor()
                    journal.notes.append(f"Started although rows are missing: {files.loss}")
                if (back := files.back) is not None:
                    journal.run_alone(rollback.note, back)
                    to_do = f"; {rollback.WHAT_TO_DO}" if back.later is None else ""
                    journal.notes.append(f"Nothing is delivered: {back.text}{to_do}")
            except DAMAGE as error:
                raise unopened(path, error) from error
            except OSError as error:
                place = error.filename or data
                raise StoreError(f"{place}: cannot be used for the journal: {error.strerror}") from error
            undo.pop_all()
        journal._held.callback(lock.release)
        return journal

    def run(
        self, function: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        """Run an operation in the writer's next transaction; never blocks.

        Args:
            function: marked by `engine.store.core.writing.operation.operation`; the other arguments are its own.

        Raises:
            StoreError: the queue is full, or the writer has stopped. The future may raise it, too, or an error of the
                operation; nothing was changed then.
        """
        if self._closed:
            raise StoreError("the journal is not open for writing")
        traits = traits_of(function)
        return self.writer.submit(
            lambda batch: function(batch, *args, **kwargs),
            size=traits.size(*args, **kwargs) if traits.size is not None else 0,
            priority=traits.priority,
            can_linger=traits.can_linger,
        )

    def run_alone(self, function: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation in this thread, before `start`; for tools that open a journal, change it and close it.

        ``function`` may be any function of a batch.
        """
        return self.writer.run_alone(lambda batch: function(batch, *args, **kwargs))

    def lend(self, job: Job[T]) -> "asyncio.Future[T]":
        """Run long work on the writer's connection, between commits (`Writer.lend`)."""
        if self._closed:
            raise StoreError("the journal is not open for writing")
        return self.writer.lend(job)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the writer thread; from here on the writing methods may be called, on ``loop``."""
        self.writer.start(loop)

    async def stop(self) -> None:
        """Finish the submitted operations, leave the files in order, release the lock. A second call does nothing."""
        if self.writer.started and not self._closed:
            self._lines.write()
            if self.recovered:
                with suppress(StoreError):  # it has failed for good: then it did not stop in order
                    self.writer.submit(unanswered.note_all)
                    self.writer.submit(poison_message.end)
            self._closed = True
            self._close_idle()  # so that the writer is the last one, and the log is folded in and removed
            try:
                await asyncio.wait_for(self.writer.stop(), STOP_S)
            except TimeoutError:
                # The thread may still be writing: the lock stays ours until the process ends.
                logger.error("the journal writer did not stop in time; acknowledged rows are durable")
                return
        self.close()

    def close(self) -> None:
        """Close the reading connections, and release the lock; for a journal whose writer runs, use `stop`."""
        self._close_idle()
        if not self._closed:
            assert not self.writer.started, "the writer thread runs: stop it"
            self._closed = True
            self.upkeep.close()
        super().close()

    def new_session(self) -> int:
        """A number for a link session, never used before."""
        return next(self._sessions)

    def answered(self, channel: str, message_ids: Sequence[int]) -> None:
        """The answers to these messages were written; never raises. Stored with the channel's next message."""
        self.tail.answers.answered(channel, message_ids)

    def keep_line(self, record: LineRecord) -> None:
        """Store a line trace, for people (`engine.store.operations.line_trace`): never raises, and never blocks."""
        self._lines.keep(record)

    @property
    def last_id(self) -> int:
        """The number of the newest row."""
        return self.tail.last_id

    @property
    def reached(self) -> tuple[int, int]:
        """The numbers of the newest row and of the newest event."""
        return self.tail.last_id, self.tail.events.last

    def unjudged(self, channel: str) -> int:
        """Bytes of the channel's messages that have no outcome."""
        return self.tail.unjudged.get(channel, 0)

    @property
    def full(self) -> bool:
        """Whether the disk is full: nothing new is stored, and the remaining room is for people's actions."""
        return self.upkeep.full

    @property
    def damage(self) -> list[str]:
        """Rows that were found missing or changed: when the journal was opened, and by the last scrub."""
        return [*self._damaged, *(text for text in self._looked if text not in self._damaged)]

    def looked_through(self, found: Sequence[str]) -> None:
        """Set the findings of the last scrub (`engine.runtime.upkeep.scrub`); none: the journal is intact."""
        self._looked = list(found)

    @property
    def alarms(self) -> list[str]:
        """Present problems of the store that need a person, but for a full disk (`full`)."""
        found, upkeep = self.damage, self.upkeep
        if upkeep.anchor_fault:
            found.append(f"the anchor cannot be written ({upkeep.anchor_fault}): loss would go unnoticed")
        if upkeep.over_cap:
            found.append("a reader keeps the journal's log from being emptied")
        return found


@operation(priority=Priority.RECEIVE)
def head(batch: Batch) -> tuple[int, str]:
    """The newest row and its chain value, hexadecimal: recorded elsewhere, it proves how far the journal had come."""
    return batch.last_id, batch.chain.hex()
