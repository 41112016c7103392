"""Line trace: the bytes of each session on an analyzer's line, both ways and with their times, kept for people.

The journal keeps what was accepted. Connecting an analyzer also needs what was refused and why, and when we answered.
So each session that carried something leaves one row: received bytes, sent bytes, and the faults that the link reported
(`LinkFault`); so does each message of ours, as the answer to an analyzer's question. Writing it blocks no message, and
a trace that cannot be written is dropped.

Bounds: `SESSION_BYTES` of one session, `KEPT_SESSIONS` and `KEPT_BYTES` of one channel, `WAITING` rows in memory.

The sealed content is a sequence of entries, integers big-endian::

    1 way: 1 in, 2 out, 3 about it | 8 microseconds since 1970 | 4 length | bytes
"""

import asyncio
import re
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from engine.model.errors import StoreError
from engine.model.values import value
from engine.store.core.vault import NOTE_KEYS
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

SESSION_BYTES = 64 * 1024  # of one session; of a longer one the beginning is kept
TOGETHER_US = 50_000  # bytes of one side closer than this are one entry: a serial line brings them one by one
KEPT_SESSIONS = 1000  # of one channel ...
KEPT_BYTES = 8 * 1024 * 1024  # ... and their sealed bytes
SWEEP_EVERY = 64  # rows between two checks of these limits
WAITING = 512  # rows that wait for the writer; while it cannot write, new rows replace the oldest
WRITE_AT = 32  # rows that are written together ...
WRITE_WITHIN_S = 0.5  # ... or fewer after this time

_HEAD = struct.Struct(">BQI")
_FRAME_OR_RECORD = re.compile(rb"\x02|[Hh][!-/:-@\\[-`{-~]{2}")
_EOT, _ENQ = b"\x04", b"\x05"


class LineWay(IntEnum):
    IN = 1
    OUT = 2
    ABOUT = 3


_IN, _OUT, _ABOUT = LineWay.IN, LineWay.OUT, LineWay.ABOUT


class LineEntry(NamedTuple):
    """Bytes that passed together, or (ABOUT) a message of the link as UTF-8 text without patient data."""

    way: LineWay
    at_us: int
    data: bytes


@value()
class LineRecord:
    """One session of one connection. ``session``: 0 where none of its frames was accepted."""

    channel: str
    session: int
    entries: tuple[LineEntry, ...]


class LineTrace:
    """Collects the bytes that pass on one connection, from one idle moment to the next. Used by one task.

    Called for every read and write of a line, so it builds the `LineEntry`s only at the end.

    Attributes:
        spoke: a message of ours went out since the last idle moment, so what passed is kept.
    """

    __slots__ = ("_entries", "_left_out", "_size", "answers_only", "spoke")

    def __init__(self, *, answers_only: bool = False) -> None:
        """``answers_only``: the journal holds whole messages of this line, so only what we sent ourselves is kept."""
        self.answers_only = answers_only
        self.spoke = False
        self._entries: list[tuple[LineWay, int, bytes]] = []
        self._size = 0
        self._left_out = 0

    @property
    def entries(self) -> list[LineEntry]:
        """The entries so far."""
        return [LineEntry(*entry) for entry in self._entries]

    def heard(self, data: bytes, at_us: int) -> None:
        self._add(_IN, data, at_us)

    def said(self, data: bytes, at_us: int) -> None:
        self._add(_OUT, data, at_us)

    def about(self, text: str, at_us: int) -> None:
        self._add(_ABOUT, text.encode(), at_us)

    def clear(self) -> None:
        self._entries.clear()
        self._size = self._left_out = 0
        self.spoke = False

    def session_over(self, channel: str, session: int, cause: str) -> LineRecord:
        """The session that ended. Bytes behind its end in the same read begin the next one."""
        rest = self._cut_behind(cause)
        made = self._take(channel, session)
        if rest is not None:
            self._add(_IN, rest[1], rest[0])
        return made

    def at_rest(self, channel: str) -> LineRecord | None:
        """The remaining entries when nothing is under way; None where they are no more than a keep-alive or noise."""
        if self.spoke or (
            not self.answers_only
            and any(way is _ABOUT or (way is _IN and _FRAME_OR_RECORD.search(data)) for way, _, data in self._entries)
        ):
            return self._take(channel, 0)
        self.clear()
        return None

    def _add(self, way: LineWay, data: bytes, at_us: int) -> None:
        if self._size + len(data) > SESSION_BYTES:
            self._left_out += len(data)
            return
        entries = self._entries
        if entries and way is not _ABOUT:
            last_way, last_us, last = entries[-1]
            if last_way is way and at_us - last_us < TOGETHER_US:
                self._size += len(data)
                entries[-1] = (way, last_us, last + data)
                return
        self._size += len(data) + _HEAD.size
        entries.append((way, at_us, data))

    def _take(self, channel: str, session: int) -> LineRecord:
        made = self.entries
        if self._left_out:
            at_us = made[-1].at_us if made else 0
            made.append(LineEntry(_ABOUT, at_us, b"%d bytes more are not kept here" % self._left_out))
        self.clear()
        return LineRecord(channel, session, tuple(made))

    def _cut_behind(self, cause: str) -> tuple[int, bytes] | None:
        """Take off the bytes of the next session: those behind the EOT, or from the ENQ on that ended this one."""
        at = next((n for n in range(len(self._entries) - 1, -1, -1) if self._entries[n][0] is _IN), None)
        if at is None or cause not in ("eot", "enq"):
            return None
        _, at_us, last = self._entries[at]
        cut = last.find(_EOT) + 1 if cause == "eot" else last.rfind(_ENQ)
        if cut <= 0 or cut >= len(last):
            return None
        self._entries[at] = (_IN, at_us, last[:cut])
        return at_us, last[cut:]


def pack(entries: Sequence[LineEntry]) -> bytes:
    return b"".join(_HEAD.pack(entry.way, entry.at_us, len(entry.data)) + entry.data for entry in entries)


def unpack(content: bytes) -> Iterator[LineEntry]:
    at = 0
    while at < len(content):
        way, at_us, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield LineEntry(LineWay(way), at_us, content[at : at + size])
        at += size


# -- the store -----------------------------------------------------------------------------------------------------


class LineLog:
    """Rows on their way to the writer, in groups. Used on the event loop."""

    def __init__(self, write: Callable[[Sequence[LineRecord]], "asyncio.Future[None]"]) -> None:
        """``write``: hands records to the journal's writer (`store`)."""
        self._write = write
        self._waiting: deque[LineRecord] = deque(maxlen=WAITING)
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False

    def keep(self, record: LineRecord) -> None:
        """Add a record. Never raises and never blocks."""
        self._waiting.append(record)
        if len(self._waiting) >= WRITE_AT:
            self.write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_WITHIN_S, self.write)

    def write(self) -> None:
        """Hand the waiting records to the writer, unless it is still busy with the last ones."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing or not self._waiting:
            return
        records = tuple(self._waiting)
        self._waiting.clear()
        try:
            future = self._write(records)
        except StoreError:
            return
        self._writing = True
        future.add_done_callback(self._written)

    def _written(self, future: "asyncio.Future[None]") -> None:
        self._writing = False
        if not future.cancelled():
            future.exception()  # a failing store is reported elsewhere
        if len(self._waiting) >= WRITE_AT:
            self.write()


def _size(records: Sequence[LineRecord]) -> int:
    return sum(len(entry.data) for record in records for entry in record.entries)


@operation(priority=Priority.RECEIVE, can_linger=True, size=_size)
def store(batch: Batch, records: Sequence[LineRecord]) -> None:
    """Write sessions, and delete the oldest of their channels where there are too many."""
    (last,) = batch.execute("SELECT coalesce(max(id), 0) FROM line_trace").fetchone()
    rows = []
    for row_id, record in enumerate(records, last + 1):
        content = batch.seal(NOTE_KEYS, pack(record.entries), "line_trace", row_id, record.channel)
        began_us = record.entries[0].at_us if record.entries else 0
        rows.append((row_id, record.channel, record.session, began_us, len(content), content))
    batch.executemany(
        "INSERT INTO line_trace (id, channel, session, began_us, size, content) VALUES (?, ?, ?, ?, ?, ?)", rows
    )
    if last // SWEEP_EVERY != (last + len(rows)) // SWEEP_EVERY:
        for channel in {record.channel for record in records}:
            _sweep(batch, channel)


def _sweep(batch: Batch, channel: str) -> None:
    size = 0
    rows = batch.execute("SELECT id, size FROM line_trace WHERE channel = ? ORDER BY id DESC", (channel,)).fetchall()
    for count, (row_id, row_size) in enumerate(rows, 1):
        size += row_size
        if count > KEPT_SESSIONS or size > KEPT_BYTES:
            batch.execute("DELETE FROM line_trace WHERE channel = ? AND id <= ?", (channel, row_id))
            return
