"""The journal of one site: every received message, what was made of it, and what became of that. One file, one writer.

`Journal` is the store's whole face. Writing methods are called on the event loop and return futures that resolve once
the change is durable and anchored (`engine.writer`); reading methods (`engine.reading`) may be called anywhere, also
without a daemon. What the operations do stands in `arrival`, `verdict`, `outbox`, `audit`; this module opens the
files, in an order that never mistakes a lost journal for a new one, and hands operations to the writer.

Files in the data folder: ``journal.db`` with its ``-wal`` and ``-shm`` (SQLite's), ``journal.anchor``,
``labrelay.key``, ``labrelay.lock``. Never open or copy the first three by other means while a process has them open:
closing any descriptor of them drops SQLite's locks. Backups go through SQLite's backup interface.
"""

import asyncio
import itertools
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from engine import anchor as anchor_file
from engine import (
    arrival,
    audit,
    before_upgrade,
    correcting,
    holding,
    kek,
    migrate,
    outbox,
    pauses,
    replays,
    rotation,
    superseding,
    suspect,
    verdict,
    verify,
)
from engine.anchor import Anchor, sync_folder
from engine.batch import Batch, Tail
from engine.clock import Clock
from engine.correcting import Corrected
from engine.errors import ConfigError, IntegrityError, StoreError
from engine.line_trace import LineLog, LineRecord
from engine.lock import SiteLock
from engine.loss import LossError, find_loss, find_total_loss, look
from engine.message import ControlRun, Delivery, Issue, Reagent, Received, Stored, Unmapped
from engine.numbers import Number
from engine.ownership import hand_over
from engine.reading import Reader
from engine.reading.connecting import DAMAGE, JOURNAL_NAME, data_keys
from engine.reasons import Reason
from engine.records import Assembled, MapOutcome, Recovery, Routed, Target
from engine.reserve import Reserve
from engine.retention import Policy
from engine.upkeep import PAGE_BYTES, StoreUpkeep
from engine.vault import IDENTITY, TOKEN, Vault, check_value, make_kek
from engine.versions import Versions
from engine.writer import Job, Operation, Writer, WriterStats

__all__ = ["JOURNAL_NAME", "Assembled", "Journal", "MapOutcome", "Recovery", "Routed"]

logger = logging.getLogger("labrelay." + __name__)

ANCHOR_NAME = "journal.anchor"
COMPACTED_NAME = "journal.db.new"  # while `engine.compact` makes it
STOP_S = 5.0
START_CHECK_ROWS = 1000
UNPROCESSED_BYTES = 8 * 1024 * 1024  # of payloads that one reading back brings into memory
# Session numbers: the boot number above this bit, a counter below; unique for ever without asking the file.
_SESSION_BITS = 32

T = TypeVar("T")


class Journal(Reader):
    """An open journal. Make one with `open`.

    Attributes:
        boot: a new number at each start; the lease that our claims stand under.
        notes: what the owner must be told once, loudly (a key was made, a loss was accepted).
        journal_id: 16 bytes, which journal this is.
    """

    def __init__(self, path: Path, vault: Vault | None, *, immutable: bool = False) -> None:
        super().__init__(path, vault, immutable=immutable)
        self.boot = 0
        self.journal_id = b""
        self._damaged: list[str] = []
        self._recovered = False
        self._rotating = False
        self._connection: sqlite3.Connection | None = None
        self._upkeep: StoreUpkeep | None = None
        self._tail: Tail | None = None
        self._writer: Writer | None = None
        self._lines = LineLog(lambda operation, size: self._submit(operation, size=size, patient=True))
        self._sessions = itertools.count(1)

    # -- opening and closing -------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        data: Path,
        *,
        clock: Clock,
        on_fatal: Callable[[StoreError], None] = lambda error: None,
        accept_loss: bool = False,
        actor: str = "operator",
        because: str = "",
        read_only: bool = False,
        zone: tzinfo = UTC,
        anchor_path: Path | None = None,
        reserve: bool = False,
        key: bytes | None = None,
    ) -> "Journal":
        """Open the journal in folder ``data``; make it there, with its key, if there is none.

        Args:
            on_fatal: called on the event loop when the process must stop at once: a sync failed. It must end by
                ``os._exit`` or a signal: an orderly end of the interpreter would close the database, and so try to sync
                again what the kernel may already have dropped.
            accept_loss: start although the anchor proves that rows are missing. The deed becomes an audit row.
            actor, because: who accepts it, and why.
            read_only: for commands beside a daemon or without one: takes no lock, changes nothing.
            zone: the site's, for the days of counters.
            anchor_path: another place for the anchor, best on another disk.
            reserve: keep disk space for people's acts on a full disk (`engine.reserve`).
            key: the key-encryption key, where it is at hand and must not lie beside this journal.

        Raises:
            LockedError: another process writes here.
            ConfigError: the key file is missing, malformed or readable by others.
            IntegrityError: rows are missing, or the key is another one.
            StoreError: the file cannot be opened, or is of a newer version.
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
            connection = _connect(data / JOURNAL_NAME)
            loss = find_total_loss(connection, reading)
            if loss is not None and not accept_loss:
                raise loss
            copied = before_upgrade.keep(connection, data, anchor_path, clock)
            migrate.upgrade(connection)
            try:
                notes, vault, journal_id = _unlock(connection, data, clock, key)
            except PermissionError as error:
                raise ConfigError(f"{error.filename}: not readable here; run this as the service's user") from error
            journal = cls(data / JOURNAL_NAME, vault)
            journal.notes, journal.journal_id = [copied, *notes] if copied else notes, journal_id
            loss = loss or find_loss(connection, reading, journal_id)
            if loss is not None and not accept_loss:
                raise loss
            journal._begin(connection, anchor_path, clock, zone, on_fatal, kept if reserve else None, loss)
            if loss is not None:
                journal._accept(loss, actor, because)
                journal.notes.append(f"Started although rows are missing: {loss}")
        except DAMAGE as error:
            _abandon(connection, lock)
            raise StoreError(f"{data / JOURNAL_NAME}: cannot be opened: {error}", fatal=True) from error
        except BaseException:
            _abandon(connection, lock)
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
        self.boot = _count_boot(connection)
        self._upkeep = StoreUpkeep(
            connection,
            wal=self._path.with_name(self._path.name + "-wal"),
            tail=tail,
            vault=self.vault,
            anchor=Anchor(anchor_path, self.journal_id, tail.last_id, tail.chain, disputed=loss is not None),
            clock=clock,
            zone=zone,
            boot=self.boot,
            reserve=reserve,
        )
        self._connection = connection
        self._writer = Writer(connection, self._upkeep, on_fatal=on_fatal)
        self._damaged = [finding.text for finding in verify.recent(connection, tail.last_id, START_CHECK_ROWS)]

    def _accept(self, loss: LossError, actor: str, because: str) -> None:
        """Note that a person goes on without rows that are missing. The anchor is the one witness until that is
        durable, and so is not written over before."""
        assert self._upkeep is not None  # called by `open` alone
        self._now(partial(_accept_loss, loss, actor, because))
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
                    writer.submit(suspect.end)
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

    # -- what comes in -------------------------------------------------------------------------------------------

    def append(self, received: Received, *, repeat_window_s: float, session: int = 0) -> "asyncio.Future[Stored]":
        """Journal a message; durable once it resolves.

        Args:
            repeat_window_s: how long the same control id and bytes count as a repeat.
            session: the link session whose frames it was made of, if any.

        Raises:
            StoreError: the queue is full, or the writer has stopped. The future may raise it, too.
        """
        operation = partial(arrival.store_message, received=received, repeat_window_s=repeat_window_s, session=session)
        return self._submit(operation, size=len(received.payload))

    def append_frame(self, channel: str, session: int, raw: bytes, received_us: int) -> "asyncio.Future[int]":
        """Journal a link frame that completes nothing yet; its row number."""
        operation = partial(arrival.store_frame, channel=channel, session=session, raw=raw, received_us=received_us)
        return self._submit(operation, size=len(raw))

    def append_frame_completing(
        self,
        channel: str,
        session: int,
        raw: bytes,
        received_us: int,
        messages: Sequence[Received],
        repeat_window_s: float,
    ) -> "asyncio.Future[list[Stored]]":
        """Journal a frame and the messages that it completes, all or none."""
        operation = partial(
            arrival.store_completing_frame,
            channel=channel,
            session=session,
            raw=raw,
            received_us=received_us,
            messages=messages,
            repeat_window_s=repeat_window_s,
        )
        return self._submit(operation, size=len(raw) + sum(len(message.payload) for message in messages))

    def append_incomplete(
        self, received: Received, reason: Reason, *, session: int | None = None
    ) -> "asyncio.Future[Stored]":
        """Journal text that never became a message, as evidence."""
        operation = partial(arrival.store_incomplete, received=received, reason=reason, session=session or 0)
        return self._submit(operation, size=len(received.payload))

    def correct(
        self, original: int, received: Received, *, before: bytes, actor: str, because: str, repeat_window_s: float
    ) -> "asyncio.Future[Corrected]":
        """Journal what a person made of a dead message, and close that one; recorded in the same transaction.

        The new message has no verdict yet; see `engine.correcting.correct`.
        """
        operation = partial(
            correcting.correct,
            original=original,
            received=received,
            before=before,
            actor=actor,
            because=because,
            repeat_window_s=repeat_window_s,
        )
        return self._submit(operation, size=len(received.payload), verdict=True)

    def keep_line(self, record: LineRecord) -> None:
        """Keep what passed on a line, for people (`engine.line_trace`): never raises, and nothing waits for it."""
        self._lines.keep(record)

    def new_session(self) -> int:
        """A number for a link session, never used before."""
        return (self.boot << _SESSION_BITS) + next(self._sessions)

    # -- intake --------------------------------------------------------------------------------------------------

    def map_done(
        self,
        stored_id: int,
        *,
        channel: str = "",
        routes: Sequence[Routed] = (),
        state: verdict.Verdict,
        reason: Reason | None = None,
        detail: str = "",
        mapping: str = "",
        issues: Sequence[Issue] = (),
        unmapped: Sequence[Unmapped] = (),
        reagents: Sequence[Reagent] = (),
        controls: Sequence[ControlRun] = (),
        numbers: Sequence[Number] = (),
        after: int = 0,
        again: bool = False,
        while_dead: bool = False,
        accept_conflict: bool = False,
    ) -> "asyncio.Future[MapOutcome]":
        """Write what became of a message and queue what was made of it, in one transaction (`verdict.map_done`).

        Args:
            channel: for the reader of the call; the row knows it.
            after: fail unless this message has its verdict.
            again: process a message anew that has a verdict already.
            while_dead: only if that is a dead letter's still.
            accept_conflict: do not look for another patient under the same number.
        """
        operation = partial(
            verdict.map_done,
            message_id=stored_id,
            routes=routes,
            state=state,
            reason=reason,
            detail=detail,
            mapping=mapping,
            issues=issues,
            unmapped=unmapped,
            reagents=reagents,
            controls=controls,
            numbers=numbers,
            after=after,
            again=again,
            while_dead=while_dead,
            accept_conflict=accept_conflict,
        )
        return self._submit(
            operation, size=sum(len(routed.document.body) for routed in routes), verdict=True, patient=True
        )

    def unprocessed(self, after: int = 0, limit: int = 256, *, max_bytes: int = UNPROCESSED_BYTES) -> list[Stored]:
        """The next messages without a verdict, oldest first; empty only where there is none.

        One that cannot be opened is given the verdict DAMAGED.

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
                    found.append(self._stored(row))
                except IntegrityError as error:
                    self.map_done(row[0], state="dead", reason=Reason.DAMAGED, detail=str(error))
                if len(found) >= limit:
                    break
            rows.close()  # a cursor half-way keeps the log from being emptied
        return found

    def assemble_frames(
        self,
        read: Callable[[str, Sequence[bytes], int], Assembled],
        *,
        repeat_window_s: float,
    ) -> "asyncio.Future[list[Stored]]":
        """Make messages of the frames that a crash left without one; what is left over becomes incomplete.

        Call it at the start, before any channel opens.

        Args:
            read: (channel, raw frames in order, receive time of the last) -> what the channel's link makes of them.
        """
        operation = partial(
            arrival.assemble, read=read, repeat_window_s=repeat_window_s, before=self.boot << _SESSION_BITS
        )
        return self._submit(operation)

    # -- outbox --------------------------------------------------------------------------------------------------

    def settle(self, delivery_id: int, *, delivered_us: int, versions: Versions = ()) -> "asyncio.Future[None]":
        """It was delivered; ``versions`` of our resources are what the server has now."""
        operation = partial(outbox.settle, delivery_id=delivery_id, delivered_us=delivered_us, versions=versions)
        return self._submit(operation, verdict=True, patient=True)

    def postpone(
        self,
        delivery_id: int,
        *,
        attempt: int,
        not_before_us: int,
        cause: Reason,
        detail: str = "",
        answer: bytes = b"",
    ) -> "asyncio.Future[None]":
        """An attempt failed; the delivery waits until ``not_before_us``, in its place in the lane.

        Args:
            attempt: how many attempts have failed so far, this one included.
        """
        operation = partial(
            outbox.postpone,
            delivery_id=delivery_id,
            attempt=attempt,
            not_before_us=not_before_us,
            cause=cause,
            detail=detail,
            answer=answer,
        )
        return self._submit(operation, verdict=True)

    def bury(
        self, delivery_id: int, *, reason: Reason, detail: str = "", answer: bytes = b"", hold_lane: bool = False
    ) -> "asyncio.Future[None]":
        """No further attempt: a dead letter. ``hold_lane``: nothing behind it goes out until it is decided about."""
        operation = partial(
            outbox.bury, delivery_id=delivery_id, reason=reason, detail=detail, answer=answer, hold_lane=hold_lane
        )
        return self._submit(operation, verdict=True)

    def claim(self, channel: str, destination: str, limit: int, *, after: int = 0) -> "asyncio.Future[list[Delivery]]":
        """The next waiting deliveries of a lane in its order, with their bodies, under our lease: `outbox.claim`."""
        operation = partial(outbox.claim, channel=channel, destination=destination, limit=limit, after=after)
        return self._submit(operation, verdict=True)

    def claim_newest(
        self, channel: str, destination: str, limit: int, *, without: Iterable[int]
    ) -> "asyncio.Future[list[Delivery]]":
        """As `claim`, the newest first: `outbox.claim_newest`."""
        operation = partial(
            outbox.claim_newest, channel=channel, destination=destination, limit=limit, without=tuple(without)
        )
        return self._submit(operation, verdict=True)

    def unclaim(self, delivery_ids: Iterable[int], *, maybe_delivered: bool = False) -> "asyncio.Future[int]":
        """Give back claims that were not tried (or, ``maybe_delivered``, whose attempt was cut off); how many."""
        operation = partial(outbox.unclaim, delivery_ids=tuple(delivery_ids), maybe_delivered=maybe_delivered)
        return self._submit(operation, verdict=True)

    def is_superseded(self, delivery: Delivery) -> "asyncio.Future[bool]":
        """Whether a newer message's document for one of its reports was delivered in this lane."""
        return self._submit(partial(superseding.is_superseded, delivery_id=delivery.id), verdict=True)

    def supersede(self, delivery_ids: Iterable[int], *, detail: str = "") -> "asyncio.Future[int]":
        """Close deliveries that a newer result has made wrong; how many."""
        return self._submit(partial(outbox.supersede, delivery_ids=tuple(delivery_ids), detail=detail), verdict=True)

    def hold(self, delivery_ids: Iterable[int], *, cause: Reason = Reason.LANE_HELD) -> "asyncio.Future[int]":
        """Keep single deliveries back until a person decides; how many."""
        return self._submit(partial(outbox.hold, delivery_ids=tuple(delivery_ids), cause=cause), verdict=True)

    def is_overtaken(self, delivery: Delivery) -> "asyncio.Future[bool]":
        """Whether part of a released delivery's results came in newer documents that were delivered in this lane."""
        return self._submit(partial(_overtaken_in_part, delivery_id=delivery.id), verdict=True)

    def release(
        self, deliveries: Iterable[int], *, actor: str, because: str
    ) -> "asyncio.Future[tuple[dict[str, int], set[tuple[str, str]]]]":
        """A named person lets held deliveries go: what became of them, and the lanes that have new work.

        Recorded in the same transaction; see `engine.holding.release`.
        """
        return self._submit(partial(_release, deliveries=tuple(deliveries), actor=actor, because=because), verdict=True)

    def reject(self, deliveries: Iterable[int], *, actor: str, because: str) -> "asyncio.Future[dict[str, int]]":
        """A named person decides that held deliveries are never made. Recorded in the same transaction."""
        operation = partial(holding.reject, deliveries=tuple(deliveries), actor=actor, because=because)
        return self._submit(operation, verdict=True)

    def requeue(
        self, delivery_ids: Iterable[int], *, manual: bool = True, unconditional: bool = False
    ) -> "asyncio.Future[int]":
        """Dead deliveries wait again, in their old places; how many (`outbox.requeue`)."""
        operation = partial(
            outbox.requeue, delivery_ids=tuple(delivery_ids), manual=manual, unconditional=unconditional
        )
        return self._submit(operation, verdict=True)

    def replay(
        self, message_ids: Iterable[int], *, destinations: Iterable[str] | None = None
    ) -> "asyncio.Future[list[int]]":
        """Deliver the stored documents of messages again: new deliveries with the old keys, marked manual."""
        operation = partial(
            outbox.replay,
            message_ids=tuple(message_ids),
            destinations=None if destinations is None else frozenset(destinations),
        )
        return self._submit(operation)

    def replay_begin(self, *, actor: str, what: dict[str, Any], total: int, last: int) -> "asyncio.Future[int]":
        """Note a replay that is about to start; its number, which is that of its act (`engine.replays`)."""
        return self._submit(partial(replays.begin, actor=actor, what=what, total=total, last=last), verdict=True)

    def replay_step(
        self,
        number: int,
        messages: Sequence[int],
        *,
        destinations: frozenset[str] | None,
        to: str,
        takes: str,
        states: frozenset[str],
        failed: int = 0,
    ) -> "asyncio.Future[replays.Step]":
        """Queue the next messages of a replay and move its position behind them, both or neither."""
        operation = partial(
            replays.step,
            number=number,
            messages=tuple(messages),
            destinations=destinations,
            to=to,
            takes=takes,
            states=states,
            failed=failed,
        )
        return self._submit(operation, verdict=True)

    def replay_end(self, number: int, act: int, outcome: dict[str, Any]) -> "asyncio.Future[None]":
        """A replay has come to its end, and so has the act."""
        return self._submit(partial(_replay_end, number=number, act=act, outcome=outcome), verdict=True)

    def replay_forget(self, number: int, *, actor: str) -> "asyncio.Future[None]":
        """Nobody takes a replay up again. Recorded in the same transaction."""
        return self._submit(partial(_replay_forget, number=number, actor=actor), verdict=True)

    def pause(self, target: Target, *, actor: str, reason: str) -> "asyncio.Future[int | None]":
        """A person pauses a channel, destination or lane; kept over restarts. The act's number, as `pauses.pause`."""
        return self._submit(partial(pauses.pause, target=target, actor=actor, reason=reason), verdict=True)

    def resume(self, target: Target, *, actor: str, reason: str) -> "asyncio.Future[int | None]":
        """Let go on what was paused; the act's number, as `pauses.resume`."""
        return self._submit(partial(pauses.resume, target=target, actor=actor, reason=reason), verdict=True)

    def release_lane(self, channel: str, destination: str) -> "asyncio.Future[None]":
        """Let a lane go on that a dead delivery holds."""
        return self._submit(partial(outbox.release_lane, channel=channel, destination=destination), verdict=True)

    def dismiss(
        self,
        *,
        messages: Iterable[int] = (),
        deliveries: Iterable[int] = (),
        actor: str,
        reason: str,
    ) -> "asyncio.Future[int]":
        """A named person decides that these need nothing more; how many changed. Recorded in the same transaction."""
        return self._submit(
            partial(_dismiss, messages=tuple(messages), deliveries=tuple(deliveries), actor=actor, reason=reason),
            verdict=True,
        )

    # -- acts ----------------------------------------------------------------------------------------------------

    def act(self, actor: str, verb: str, what: dict[str, Any]) -> "asyncio.Future[int]":
        """Store an act before it starts; its id, for `act_done`."""
        return self._submit(partial(audit.begin, actor=actor, verb=verb, what=what), verdict=True)

    def act_done(self, act: int, outcome: dict[str, Any] | None = None) -> "asyncio.Future[int]":
        """Store how an act ended."""
        return self._submit(partial(audit.end, act=act, outcome=outcome or {}), verdict=True)

    def act_note(self, actor: str, verb: str, what: dict[str, Any]) -> "asyncio.Future[int]":
        """Store an act that needs no second row (a payload was shown, the daemon started)."""
        return self._submit(partial(audit.note, actor=actor, verb=verb, what=what), verdict=True)

    # -- keys ----------------------------------------------------------------------------------------------------

    async def rotate_key(
        self, data: Path, *, actor: str, discard_old: bool = False, step: Callable[[str], None] = lambda name: None
    ) -> rotation.Rotated:
        """Make a new key-encryption key and wrap all data keys by it; see `engine.rotation`.

        Args:
            data: the data folder.
            step: told the name of each step that is done.

        Raises:
            StoreError, IntegrityError: which step failed; the site opens all the same.
        """
        # Of two at once one would take away the file of the key that the other has just committed.
        if self._rotating:
            raise StoreError("the key is being changed already; look at labrelay key status when that has ended")
        self._rotating = True
        try:
            return await self._rotate_key(data, actor=actor, discard_old=discard_old, step=step)
        finally:
            self._rotating = False

    async def _rotate_key(
        self, data: Path, *, actor: str, discard_old: bool, step: Callable[[str], None]
    ) -> rotation.Rotated:
        with self.snapshot() as execute:
            (expected,) = execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()
        old = await asyncio.to_thread(rotation.begin, data, expected)
        new = await asyncio.to_thread(rotation.write_new, data, step)
        self.vault.offer_kek(new)
        keys = await self._submit(partial(rotation.take, old=old.kek, new=new, actor=actor), verdict=True)
        step("committed")
        await asyncio.to_thread(rotation.prove, self._path, data, new)
        step("proven")
        place, kept = await asyncio.to_thread(rotation.settle, data, old, discard_old=discard_old, step=step)
        return rotation.Rotated(
            before=old.id,
            after=kek.key_id(check_value(new)),
            keys=keys,
            place=place,
            to_move=old.source in (kek.Source.CREDENTIAL, kek.Source.ENVIRONMENT),
            kept=kept,
        )

    def under(self, config_hash: str) -> None:
        """Which configuration is in force from now on, for the audit trail."""
        assert self._upkeep is not None, "opened read-only"
        self._upkeep.config_hash = config_hash

    def head(self) -> "asyncio.Future[tuple[int, str]]":
        """The newest row and its chain value, hexadecimal: what proves elsewhere that the journal had come so far."""
        return self._submit(_head)

    def key_facts(self) -> rotation.KeyFacts:
        """What the journal says of its keys."""
        with self.snapshot() as execute:
            return rotation.facts(execute)

    def confirm_sheet(self, *, actor: str) -> "asyncio.Future[None]":
        """A named person has the recovery sheet of the key in use, and has typed from it."""
        return self._submit(partial(rotation.confirm_sheet, actor=actor), verdict=True)

    # -- start-up ------------------------------------------------------------------------------------------------

    def recover(self, *, judges: bool = True) -> Recovery:
        """Void the leases of earlier processes and say what they left behind. Call it before anything else.

        Works before `start` only: there is nothing to recover once work goes on.

        Args:
            judges: messages will be processed in this process, so one of them may have ended the last one.
        """
        assert self._tail is not None, "opened read-only"
        maybe_delivered = self._now(outbox.void_leases)
        killed, given_up = self._now(partial(suspect.begin, judges=judges))
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

    def note_suspect(self, message_id: int) -> "asyncio.Future[None]":
        """Note that a message is about to be processed, after a process that did not end in order (`suspect`)."""
        return self._submit(partial(suspect.note, message_id=message_id), verdict=True)

    # -- retention -----------------------------------------------------------------------------------------------

    def retain(self, policy: Policy | None) -> None:
        """Say what need not be kept any longer (`engine.retention`); without it, all is kept. Takes effect at once."""
        assert self._upkeep is not None, "opened read-only"
        self._upkeep.policy = policy

    def lend(self, job: Job[T]) -> "asyncio.Future[T]":
        """Run long work on the writer's connection, between commits (`Writer.lend`)."""
        if self._writer is None:
            raise StoreError("the journal is not open for writing")
        return self._writer.lend(job)

    def lend_alone(self, job: Job[T]) -> T:
        """The same in this thread, before `start`."""
        assert self._writer is not None, "opened read-only"
        return self._writer.lend_alone(job)

    def let_go_now(self) -> None:
        """Begin a walk of retention at once, if none is under way; it goes on beside everything else."""
        assert self._upkeep is not None, "opened read-only"
        self._upkeep.walk_now()

    # -- state, for metrics --------------------------------------------------------------------------------------

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
        """Rows that were found not to be what was stored, when the journal was opened."""
        return list(self._damaged)

    @property
    def alarms(self) -> list[str]:
        """What is wrong with the store right now and needs a person."""
        found = list(self._damaged)
        if self._upkeep is not None and self._upkeep.anchor_fault:
            found.append(f"the anchor cannot be written ({self._upkeep.anchor_fault}): loss would go unnoticed")
        if self._upkeep is not None and self._upkeep.over_cap:
            found.append("a reader keeps the journal's log from being emptied")
        if self.full:
            found.append("the disk is full: nothing new is kept until there is room; what people do is")
        return found

    # -- handing over --------------------------------------------------------------------------------------------

    def _submit(
        self, operation: Operation[T], *, size: int = 0, verdict: bool = False, patient: bool = False
    ) -> "asyncio.Future[T]":
        if self._writer is None:
            raise StoreError("the journal is not open for writing")
        return self._writer.submit(operation, size=size, verdict=verdict, patient=patient)

    def run_alone(self, operation: Operation[T]) -> T:
        """Run an operation in this thread; for tools that open a journal, change it once and close it."""
        return self._now(operation)

    def _now(self, operation: Operation[T]) -> T:
        """Run an operation in this thread, before the writer thread exists."""
        assert self._writer is not None
        return self._writer.run_alone(operation)


def _head(batch: Batch) -> tuple[int, str]:
    return batch.last_id, batch.chain.hex()


def _overtaken_in_part(batch: Batch, *, delivery_id: int) -> bool:
    return superseding.overtaken(batch, delivery_id) == "part"


def _release(
    batch: Batch, *, deliveries: tuple[int, ...], actor: str, because: str
) -> tuple[dict[str, int], set[tuple[str, str]]]:
    lanes: set[tuple[str, str]] = set()
    return holding.release(batch, deliveries, actor=actor, because=because, lanes=lanes), lanes


def _replay_end(batch: Batch, *, number: int, act: int, outcome: dict[str, Any]) -> None:
    replays.end(batch, number)
    audit.end(batch, act, outcome)


def _replay_forget(batch: Batch, *, number: int, actor: str) -> None:
    replays.end(batch, number)
    audit.note(batch, actor, "replay", {"given_up": number})


def _dismiss(batch: Batch, *, messages: tuple[int, ...], deliveries: tuple[int, ...], actor: str, reason: str) -> int:
    changed = verdict.dismiss(batch, messages, reason) + outbox.dismiss(batch, deliveries, reason)
    concerned = sorted({*messages, *outbox.messages_of(batch, deliveries)})
    what = {"messages": concerned, "deliveries": deliveries, "reason": reason, "changed": changed}
    audit.note(batch, actor, "dismiss", what)
    return changed


# -- opening, step by step -----------------------------------------------------------------------------------------


def _connect(path: Path) -> sqlite3.Connection:
    """The writer's connection; the file is made (readable by its owner only) and durable where there is none."""
    fresh = not path.exists()
    if fresh:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        hand_over(descriptor, path.parent)
        os.close(descriptor)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"{path}: this file system does not carry SQLite's write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -8192")
    connection.execute("PRAGMA busy_timeout = 5000")
    if fresh:
        sync_folder(path.parent)
    return connection


def _unlock(
    connection: sqlite3.Connection, data: Path, clock: Clock, given: bytes | None
) -> tuple[list[str], Vault, bytes]:
    """Find or make the key, and the journal's own id; (notes, vault, journal id)."""
    notes: list[str] = []
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if given is not None and meta.get("key_check") == check_value(given):
        return notes, Vault(given, data_keys(connection)), meta["journal_id"]
    if "key_check" not in meta:
        found = kek.first(data)
        if found is None:
            made, note = make_kek(data)
            notes.append(note)
        else:
            made = found.kek
        _found_journal(connection, made, clock)
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    else:
        rotation.clear_up(data, meta["key_check"])
    key = kek.unlock(data, meta["key_check"])
    return notes, Vault(key.kek, data_keys(connection)), meta["journal_id"]


def _found_journal(connection: sqlite3.Connection, key: bytes, clock: Clock) -> None:
    """Write the first rows of a new journal, in one transaction."""
    maker = Vault(key, ())
    now_us = clock.now_us()
    connection.execute("BEGIN IMMEDIATE")
    for key_id, key_class in enumerate((IDENTITY, TOKEN), start=1):
        wrapped, _ = maker.make(key_id, key_class, "")
        connection.execute(
            "INSERT INTO data_key (id, class, month, wrapped, created_us) VALUES (?, ?, '', ?, ?)",
            (wrapped.id, wrapped.key_class, wrapped.wrapped, now_us),
        )
    connection.executemany(
        "INSERT INTO meta (name, value) VALUES (?, ?)",
        [("journal_id", os.urandom(16)), ("key_check", check_value(key)), ("created_us", now_us), ("boot", 0)],
    )
    connection.execute("COMMIT")


def _count_boot(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'boot'")
    return int(connection.execute("SELECT value FROM meta WHERE name = 'boot'").fetchone()[0])


def _abandon(connection: sqlite3.Connection | None, lock: SiteLock) -> None:
    if connection is not None:
        connection.close()
    lock.release()


def _accept_loss(loss: LossError, actor: str, because: str, batch: Batch) -> int:
    """Note a loss that a person has accepted; the missing numbers stay unused."""
    batch.last_id = max(batch.last_id, loss.last)
    what = {"what": str(loss), "first": loss.first, "last": loss.last, "because": because}
    act = audit.note(batch, actor, "accept-loss", what)
    if loss.last:
        batch.execute("INSERT INTO gap (first_id, last_id, act) VALUES (?, ?, ?)", (loss.first, loss.last, act))
    return act
