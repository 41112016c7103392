"""What comes in: messages and frames are appended, and get their verdicts."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from engine.model.errors import IntegrityError
from engine.model.message import ControlRun, Issue, Reagent, Received, Stored, Unmapped
from engine.model.reasons import ReasonCode
from engine.model.records import Assembled, MapOutcome, Routed
from engine.model.search_keys import Number
from engine.store.core.writer import Operation
from engine.store.journal.submitting import Submitting
from engine.store.operations import append, edit_message, poison_message, record_outcome
from engine.store.operations.edit_message import Corrected
from engine.store.operations.line_trace import LineRecord

UNPROCESSED_BYTES = 8 * 1024 * 1024  # of payloads that one reading back brings into memory
# Session numbers: the boot number above this bit, a counter below; unique for ever without asking the file.
_SESSION_BITS = 32


class Incoming(Submitting):
    """Appending what was received, and noting what became of it."""

    def append(self, received: Received, *, repeat_window_s: float, session: int = 0) -> "asyncio.Future[Stored]":
        """Journal a message; durable once it resolves.

        Args:
            repeat_window_s: how long the same bytes may be a repeat, at most.
            session: the link session whose frames it was made of, if any.

        Raises:
            StoreError: the queue is full, or the writer has stopped. The future may raise it, too.
        """
        operation = partial(append.store_message, received=received, repeat_window_s=repeat_window_s, session=session)
        return self._submit(operation, size=len(received.payload))

    def append_frame(self, channel: str, session: int, raw: bytes, received_us: int) -> "asyncio.Future[int]":
        """Journal a link frame that completes nothing yet; its row number."""
        operation = partial(append.store_frame, channel=channel, session=session, raw=raw, received_us=received_us)
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
            append.store_completing_frame,
            channel=channel,
            session=session,
            raw=raw,
            received_us=received_us,
            messages=messages,
            repeat_window_s=repeat_window_s,
        )
        return self._submit(operation, size=len(raw) + sum(len(message.payload) for message in messages))

    def append_incomplete(
        self, received: Received, reason: ReasonCode, *, session: int | None = None
    ) -> "asyncio.Future[Stored]":
        """Journal text that never became a message, as evidence."""
        operation = partial(append.store_incomplete, received=received, reason=reason, session=session or 0)
        return self._submit(operation, size=len(received.payload))

    def correct(
        self, original: int, received: Received, *, before: bytes, actor: str, reason: str
    ) -> "asyncio.Future[Corrected]":
        """Journal what a person made of a dead message, and close that one; recorded in the same transaction.

        The new message has no verdict yet; see `engine.store.operations.edit_message.correct`.
        """
        operation = partial(
            edit_message.correct,
            original=original,
            received=received,
            before=before,
            actor=actor,
            reason=reason,
        )
        return self._submit(operation, size=len(received.payload), verdict=True)

    def answered(self, channel: str, message_ids: Sequence[int]) -> None:
        """The answers to these messages were written; never raises. Noted with the channel's next message."""
        assert self._tail is not None, "opened read-only"
        self._tail.answers.answered(channel, message_ids)

    def keep_line(self, record: LineRecord) -> None:
        """Keep what passed on a line, for people (`engine.store.operations.line_trace`): never raises, and nothing
        waits for it."""
        self._lines.keep(record)

    def new_session(self) -> int:
        """A number for a link session, never used before."""
        return (self.boot << _SESSION_BITS) + next(self._sessions)

    def map_done(
        self,
        stored_id: int,
        *,
        channel: str = "",
        routes: Sequence[Routed] = (),
        state: record_outcome.Verdict,
        reason: ReasonCode | None = None,
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
        moved: str = "",
        rejected_before: int = 0,
    ) -> "asyncio.Future[MapOutcome]":
        """Write what became of a message and queue what was made of it, in one transaction (`verdict.map_done`).

        Args:
            channel: for the reader of the call; the row knows it.
            after: fail unless this message has its verdict.
            again: process a message anew that has a verdict already.
            while_dead: only if that is a dead letter's still.
            accept_conflict: do not look for another patient under the same number.
            moved: a person's answer about an order that goes to another patient
            (`engine.store.operations.settling.moved_orders`).
            rejected_before: as in `engine.model.message.Stored`.
        """
        operation = partial(
            record_outcome.map_done,
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
            moved=moved,
            rejected_before=rejected_before,
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
                    self.map_done(row[0], state="dead", reason=ReasonCode.DAMAGED, detail=str(error))
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
        return self._submit(self._assembling(read, repeat_window_s))

    def assemble_frames_alone(
        self, read: Callable[[str, Sequence[bytes], int], Assembled], *, repeat_window_s: float
    ) -> list[Stored]:
        """The same in this thread, before `start`; for commands that must know all messages that there are."""
        return self._now(self._assembling(read, repeat_window_s))

    def _assembling(
        self, read: Callable[[str, Sequence[bytes], int], Assembled], repeat_window_s: float
    ) -> Operation[list[Stored]]:
        return partial(append.assemble, read=read, repeat_window_s=repeat_window_s, before=self.boot << _SESSION_BITS)

    @property
    def cut_short(self) -> int:
        """How many sessions have frames that belong to no message: before `start`, those that a crash cut short."""
        assert self._tail is not None, "opened read-only"
        return len(self._tail.sessions)

    def note_suspect(self, message_id: int) -> "asyncio.Future[None]":
        """Note that a message is about to be processed, after a process that did not end in order (`suspect`)."""
        return self._submit(partial(poison_message.note, message_id=message_id), verdict=True)
