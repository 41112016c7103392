"""Messages without a written answer: their senders will send the same bytes again, and mean the same message.

From its transaction on, each message expects an answer; its channel reports when the answer was written. The rest are
messages whose sender may be waiting: the connection ended before, or the answer was a refusal.

Table ``channel`` has the numbers of these messages as ``5-9,12``, written with any other change of the channel's row.
After an orderly stop such a message counts for `UNANSWERED_US`: its sender could not reach us while nothing listened.
After a crash none counts: the row was written before the answers, so it is unknown which were sent, and the next
patient's equal text must not be taken for a repeat.

The writer's thread adds and reads; the event loop removes (`answered`). Each is one operation on a dict.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from engine.model.content.repeats import UNANSWERED_US
from engine.model.link_events import Line
from engine.store.core.checks.pruned_ranges import runs

if TYPE_CHECKING:
    from engine.store.core.writing.batch import Batch

MAX_UNANSWERED = 4_096  # per channel, up to 24 kB in its row; beyond that the oldest count as answered


class Answers:
    """The unanswered messages of all channels. A message of an earlier process has no line: its peer is read from its
    row.
    """

    def __init__(self) -> None:
        self._missing: dict[str, dict[int, Line | None]] = {}
        self._began_us = 0

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> "Answers":
        """Read the numbers in the journal; none where the last process was killed."""
        made = cls()
        if connection.execute("SELECT 1 FROM meta WHERE name = 'running'").fetchone() is not None:
            return made
        for channel, numbers in connection.execute("SELECT name, unanswered FROM channel WHERE unanswered <> ''"):
            made._missing[channel] = dict.fromkeys(_read(numbers))
        return made

    def begin(self, now_us: int) -> None:
        """The process starts: from now on senders can reach us again."""
        self._began_us = now_us

    def expect(self, channel: str, lines: Mapping[int, Line]) -> None:
        """Add messages that are durable now."""
        known = self._missing.setdefault(channel, {})
        for message_id, line in lines.items():
            known.pop(message_id, None)  # reinserted at the end: the oldest are dropped first
            known[message_id] = line

    def answered(self, channel: str, message_ids: Iterable[int]) -> None:
        """Remove messages whose answers were handed to the operating system."""
        known = self._missing.get(channel)
        if known is not None:
            for message_id in message_ids:
                known.pop(message_id, None)

    @property
    def channels(self) -> list[str]:
        """The channels that may have unanswered messages."""
        return list(self._missing)

    def missing(self, batch: "Batch", channel: str, message_id: int, line: Line, own: Line | None) -> bool:
        """Whether the sender on ``line`` may lack the answer to this message.

        Args:
            own: the line of the earlier message, where that is not committed yet.
        """
        known = self._missing.get(channel, {})
        if own is None:
            if message_id not in known:
                return False
            own = known.get(message_id)
        if own is line:  # it came a moment ago on the same connection, which is still open
            return False
        if own is None:
            return self._fresh(batch.now_us) and _peer_of(batch, channel, message_id) == line.peer
        ended_us = batch.now_us if own.ended_us is None and own.gone() else own.ended_us
        return ended_us is not None and own.peer == line.peer and batch.now_us - ended_us <= UNANSWERED_US

    def written(self, channel: str, new: Iterable[int], now_us: int) -> str:
        """The channel's numbers as its row stores them (``5-9,12``); drops the expired ones."""
        known = self._missing.get(channel, {})
        items = list(known.items())
        for at, (message_id, line) in enumerate(items):
            over = (
                not self._fresh(now_us)
                if line is None
                else line.ended_us is not None and now_us - line.ended_us > UNANSWERED_US
            )
            if over or at < len(items) - MAX_UNANSWERED:
                known.pop(message_id, None)
        numbers = runs(sorted({*list(known), *new}))
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in numbers)

    def _fresh(self, now_us: int) -> bool:
        """Whether the start is so recent that a sender may not have reached us yet."""
        self._began_us = self._began_us or now_us
        return now_us - self._began_us <= UNANSWERED_US


def host_of(peer: str) -> str:
    """A peer without its port: ``10.0.0.7`` of ``10.0.0.7:50213``. A device or folder stays as it is."""
    host, _, port = peer.rpartition(":")
    return host if host and port.isdecimal() else peer


def note_all(batch: "Batch") -> None:
    """Store the unanswered messages: the process ends in order."""
    for channel in batch.tail.answers.channels:
        batch.channel(channel)


def _peer_of(batch: "Batch", channel: str, message_id: int) -> str:
    meta = batch.meta(message_id, channel)
    return "" if meta is None else host_of(meta.get("peer", ""))


def _read(text: str) -> Iterable[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
