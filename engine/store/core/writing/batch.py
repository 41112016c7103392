"""One transaction of the writer, and the state that it has without asking the database.

`Tail` is the committed end of everything that counts upwards: row ids, the chain, numbers of channels and lanes, open
work. A `Batch` works on copies; they replace the tail's only after COMMIT. A rollback therefore undoes nothing: the
batch is thrown away.
"""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import tzinfo
from hashlib import sha256
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Any

import orjson

from engine.model.content.repeats import Habit
from engine.model.errors import IntegrityError
from engine.model.journal.records import INCOMPLETE_BYTES, KIND_FRAME
from engine.model.link_events import Line
from engine.model.message import Stored
from engine.model.outcome import ReadResults
from engine.model.process.clock import from_us
from engine.store.core import notes
from engine.store.core.adopted import Adopted
from engine.store.core.chain import GENESIS, PUT_ROW, chain_hash, row_hash
from engine.store.core.checks.pruned_ranges import last_number
from engine.store.core.notes import EventEnds, Noted
from engine.store.core.unanswered import Answers
from engine.store.core.unmapped_codes import Key, UnmappedCodes
from engine.store.core.vault import MESSAGE_KEYS, Vault
from engine.store.core.writing.kept import Kept
from engine.succession.statements import Resource

INCOMPLETE_US = 30 * 86_400_000_000  # how long dismissed ones are kept

# The watermark is where the start-up scan for open work begins. It may lag: that costs a few more rows at the next
# start, while writing it with every batch would cost a page each.
_WATERMARK_STEP = 512
_TOLD_RESOURCES = 20_000  # about 10 MB
_STANDING_WORDS = 5_000  # about 5 MB


ReadAgain = Callable[[Stored], ReadResults]


@dataclass(slots=True)
class ChannelTally:
    """The row of table ``channel``; the names are its columns, and those of its `Habit`."""

    name: str
    last_seq: int = 0
    last_us: int = 0
    stored: int = 0
    dead: int = 0
    incomplete: int = 0
    habit: Habit = field(default_factory=Habit)

    def copied(self) -> "ChannelTally":
        """As `dataclasses.replace`, at an eighth of the cost: each batch copies the tallies that it changes."""
        return ChannelTally(
            self.name, self.last_seq, self.last_us, self.stored, self.dead, self.incomplete, self.habit.copied()
        )


@dataclass(slots=True)
class LaneTally:
    """The row of table ``lane``; the names are its columns."""

    id: int
    channel: str
    destination: str
    last_seq: int = 0
    open: int = 0
    dead: int = 0
    held: int = 0
    delivered_us: int = 0
    paused: int = 0
    held_by: int = 0

    def copied(self) -> "LaneTally":
        return LaneTally(
            self.id, self.channel, self.destination, self.last_seq, self.open, self.dead, self.held,
            self.delivered_us, self.paused, self.held_by,
        )  # fmt: skip


_CHANNEL_COLUMNS = ("name", "last_seq", "last_us", "stored", "dead", "incomplete")
_HABIT_COLUMNS = ("id_changes", "id_faults", "time_changes", "time_back_us", "last_message")
_CHANGING = (*_CHANNEL_COLUMNS[1:], *_HABIT_COLUMNS, "unanswered")
_READ_CHANNEL = f"SELECT {', '.join((*_CHANNEL_COLUMNS, *_HABIT_COLUMNS))} FROM channel WHERE name = ?"  # noqa: S608 - constants
_PUT_CHANNEL = (
    f"INSERT INTO channel (name, {', '.join(_CHANGING)}) VALUES (?{', ?' * len(_CHANGING)})"  # noqa: S608 - constants
    f" ON CONFLICT (name) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CHANGING)}"
)
_channel_values = attrgetter(*_CHANNEL_COLUMNS, *(f"habit.{name}" for name in _HABIT_COLUMNS))
_LANE_COLUMNS = "id, channel, destination, last_seq, open, dead, held, delivered_us, paused, held_by"


class Tail:
    """The committed state of the numbering. Belongs to the writer thread once that runs.

    Attributes:
        last_id, chain: the newest row and its chain hash.
        sessions: link session -> ids of its frames that belong to no message yet.
        sweeps: the positions of the sweeps through the short-lived tables.
        restored_to: messages up to this one came from a backup; their deliveries may have been made before.
        adopted: the messages that the old machine received (`engine.store.recovery.adopting`).
        indexed_to: messages up to this row are in the search index (`engine.store.operations.search_index`).
        unindexed: how many that have a state are not.
        counted_to: the results of messages up to this row were counted (`engine.features.reports.rows.result_counts`).
        incomplete_bytes, incomplete_us: the site's limits for incomplete messages
            (`engine.store.operations.incomplete`).
        told: stored document -> the resources in it, of the documents that were compared last.
        standing: numbers of orders, and receivers -> what is in force of them, likewise
            (`engine.features.results.rows.judged`).
        code_rows: code without a row in its code table -> row of its counter (`engine.store.core.unmapped_codes`).
        answers: messages whose answer is not written yet, or never was.
        unjudged: channel -> bytes of its messages without an outcome.
        events: the oldest event and the newest (`engine.store.core.notes`).
        unused: features of which nothing is asked for a message; what gives one its first row takes it out.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.unused: set[str] = set()
        row = connection.execute("SELECT chain FROM journal ORDER BY id DESC LIMIT 1").fetchone()
        self.chain: bytes = row[0] if row else GENESIS
        self.incomplete_bytes = INCOMPLETE_BYTES
        self.incomplete_us = INCOMPLETE_US
        # Numbers that a person has given up as lost stay unused: a message number is never given twice.
        self.last_id = last_number(connection.execute)
        self.channels: dict[str, ChannelTally] = {}
        self.lanes: dict[int, LaneTally] = {}
        self.lane_ids: dict[tuple[str, str], int] = {}
        self.sessions: dict[int, tuple[int, ...]] = {}
        self.sweeps: dict[str, bytes] = {}
        self.told: Kept[int, list[Resource]] = Kept(_TOLD_RESOURCES)
        self.standing: Kept[tuple[tuple[tuple[bytes, bytes], ...], frozenset[str]], Any] = Kept(_STANDING_WORDS)
        self.last_document: int = connection.execute("SELECT coalesce(max(id), 0) FROM document").fetchone()[0]
        self.code_rows: dict[Key, int] = {}
        self.unmapped_rows: int = connection.execute("SELECT count(*) FROM unmapped_code").fetchone()[0]
        stored = connection.execute("SELECT value FROM meta WHERE name = 'watermark'").fetchone()
        self.watermark: int = stored[0] if stored else 0
        restored = connection.execute("SELECT value FROM meta WHERE name = 'restored_to'").fetchone()
        self.restored_to: int = restored[0] if restored else 0
        self.adopted = Adopted.read(connection.execute)
        indexed = connection.execute("SELECT value FROM meta WHERE name = 'indexed_to'").fetchone()
        self.indexed_to: int = indexed[0] if indexed else 0
        rest = connection.execute("SELECT count(*) FROM message_state WHERE id > ?", (self.indexed_to,)).fetchone()
        self.unindexed: int = rest[0]
        counted = connection.execute("SELECT counted_to FROM result_position").fetchone()
        self.counted_to: int = counted[0] if counted else 0
        self.answers = Answers.read(connection)
        self.events = EventEnds(
            *connection.execute("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM event").fetchone()
        )
        self._open: list[int] = []
        self._closed: set[int] = set()
        self.unjudged: dict[str, int] = {}
        self._find_open_work(connection)

    def _find_open_work(self, connection: sqlite3.Connection) -> None:
        """Find messages without a state and frames without a message, all above the watermark."""
        frames: dict[int, list[int]] = {}
        for row_id, kind, channel, size, session, state in connection.execute(
            "SELECT j.id, j.kind, j.channel, j.size, j.session, s.state"
            " FROM journal j LEFT JOIN message_state s ON s.id = j.id"
            " WHERE j.id > ? AND j.kind IN (1, 2) ORDER BY j.id",
            (self.watermark,),
        ):
            if kind == KIND_FRAME:
                frames.setdefault(session, []).append(row_id)
                continue
            frames.pop(session, None)
            if state is None:
                self._open.append(row_id)
                self.unjudged[channel] = self.unjudged.get(channel, 0) + size
        self.sessions = {session: tuple(ids) for session, ids in frames.items()}
        self._open.extend(row_id for ids in frames.values() for row_id in ids)
        heapify(self._open)

    @property
    def clear_to(self) -> int:
        """The id up to which nothing is open."""
        return self._open[0] - 1 if self._open else self.last_id

    @property
    def watermark_due(self) -> bool:
        return self.clear_to - self.watermark >= _WATERMARK_STEP

    def keep_told(self, document_id: int, resources: "list[Resource]") -> None:
        """Cache the resources of a committed document; documents never change."""
        if document_id <= self.last_document:  # else its number may be used again if this transaction fails
            self.told.keep(document_id, resources)

    def account(self, opened: list[int], closed: list[int]) -> None:
        """Take over the open work of a committed batch."""
        for row_id in opened:
            heappush(self._open, row_id)
        self._closed.update(closed)
        while self._open and self._open[0] in self._closed:
            self._closed.remove(heappop(self._open))


class Batch:
    """A transaction under way, handed to every operation in it. Used by one thread.

    Attributes:
        now_us: wall time, the same for the whole batch.
        steady_us: the same, except that it does not follow a clock that was set ahead (`engine.store.journal.upkeep`).
            Expiry is measured by it.
        boot: lease number of this process.
        execute, executemany: run a statement on the writer's connection.
        stored_bytes: size of the sealed values so far.
        config_hash: of the configuration in force, for the audit trail; empty where it is unknown.
        config: the same as a number, for rows; 0: unknown.
        notes_critical: whether messages with a critical value are noted: the site has them on its to-do list.
        judged: messages whose facts were stored in it. read_again: reads those of a message that has none.
        orders_changed: an item of the worklist is new, another one than before, or no longer under way.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        tail: Tail,
        vault: Vault,
        *,
        now_us: int,
        zone: tzinfo,
        boot: int,
        steady_us: int | None = None,
    ) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.vault = vault
        self.now_us = now_us
        self.steady_us = now_us if steady_us is None else steady_us
        self.boot = boot
        self.tail = tail
        self.last_id = tail.last_id
        self.chain = tail.chain
        self.last_document = tail.last_document
        self.indexed_to, self.unindexed = tail.indexed_to, tail.unindexed
        self.events = tail.events
        self.counted_to = tail.counted_to
        self.stored_bytes = 0
        self.opened: list[int] = []
        self.closed: list[int] = []
        self._unjudged: dict[str, int] = {}
        self.unmapped = UnmappedCodes()
        self.unmapped_rows = tail.unmapped_rows
        self.config_hash = ""
        self.config = 0
        self.notes_critical = False
        self.judged: set[int] = set()
        self.read_again: ReadAgain | None = None
        self.orders_changed = False
        self.zone = zone
        self._month = month_of(now_us)
        self._channels: dict[str, ChannelTally] = {}
        self._lanes: dict[int, LaneTally] = {}
        self._sessions: dict[int, tuple[int, ...]] = {}
        self._counts: dict[tuple[str, str, str], int] = {}
        self._unanswered: dict[str, dict[int, Line]] = {}
        self._noted: list[Noted] = []

    # -- rows of the journal -------------------------------------------------------------------------------------

    def record(
        self,
        kind: int,
        channel: str,
        received_us: int,
        *,
        meta: bytes,
        body: bytes,
        seq: int = 0,
        session: int = 0,
        message_type: str = "",
        token: bytes = b"",
        packed: bytes | None = None,
    ) -> int:
        """Append one row, sealed, hashed and chained; return its id.

        Args:
            packed: the compressed body, where it is compressed already.
        """
        row_id = self.last_id + 1
        size = len(body)
        sealer = self.vault.sealer(MESSAGE_KEYS, self._month)
        if meta:  # frames, acts and records have none
            meta = sealer.seal(meta, "meta", row_id, channel)
        sealed = sealer.seal(body if packed is None else packed, "body", row_id, channel, packed=packed is not None)
        del packed
        own = row_hash(row_id, kind, channel, seq, received_us, session, message_type, size, token, meta, sealed)
        chain = chain_hash(self.chain, own)
        self.execute(
            PUT_ROW,
            (row_id, kind, channel, seq, received_us, session, message_type, size, token, own, chain, meta, sealed),
        )
        self.last_id, self.chain = row_id, chain
        self.stored_bytes += len(sealed)
        return row_id

    def attest(self, kind: int, digests: Iterable[bytes], said: dict[str, Any]) -> int:
        """Append a record of deleted or emptied rows: their digests as its token, attested by its sealed content."""
        token = b"".join(digests)
        body = orjson.dumps({**said, "vouches": sha256(token).hexdigest()})
        return self.record(kind, "", self.now_us, token=token, meta=b"", body=body)

    def seal(
        self, key_class: str, content: bytes, column: str, row_id: int, channel: str, *, packed: bool = False
    ) -> bytes:
        """Seal a column's value under this month's key of ``key_class``. ``packed``: it is compressed already."""
        sealed = self.vault.sealer(key_class, self._month).seal(content, column, row_id, channel, packed=packed)
        self.stored_bytes += len(sealed)
        return sealed

    def meta(self, message_id: int, channel: str) -> dict[str, Any] | None:
        """The notes of a message's row; None where the row is gone or cannot be opened."""
        row = self.execute("SELECT meta FROM journal WHERE id = ?", (message_id,)).fetchone()
        if row is None:
            return None
        try:
            found: dict[str, Any] = orjson.loads(self.vault.open(row[0], "meta", message_id, channel))
        except IntegrityError:  # `labrelay verify` names the row
            return None
        return found

    # -- link sessions -------------------------------------------------------------------------------------------

    def frames(self, session: int) -> tuple[int, ...]:
        """The frames of a session that belong to no message yet."""
        found = self._sessions.get(session)
        return self.tail.sessions.get(session, ()) if found is None else found

    def set_frames(self, session: int, frames: tuple[int, ...]) -> None:
        self._sessions[session] = frames

    # -- answers -------------------------------------------------------------------------------------------------

    def expect_answer(self, channel: str, message_id: int, line: Line) -> None:
        """Expect the answer to a message on this line; until it is written, the sender may send the message again."""
        self._unanswered.setdefault(channel, {})[message_id] = line

    def is_unanswered(self, channel: str, message_id: int, line: Line) -> bool:
        """Whether the sender on ``line`` sent this message shortly before, and may not have received our answer."""
        own = self._unanswered.get(channel, {}).get(message_id)
        return self.tail.answers.missing(self, channel, message_id, line, own)

    # -- tallies -------------------------------------------------------------------------------------------------

    def count(self, channel: str, destination: str, name: str, n: int = 1) -> None:
        """Add to today's counter; written once, when the batch ends."""
        key = (channel, destination, name)
        self._counts[key] = self._counts.get(key, 0) + n

    def opens(self, message_id: int, channel: str, size: int) -> None:
        """A message of ``size`` bytes has no outcome yet."""
        self.channel(channel).stored += 1
        self._unjudged[channel] = self._unjudged.get(channel, 0) + size
        self.opened.append(message_id)

    def closes(self, message_id: int, channel: str, size: int) -> None:
        """That message has its outcome."""
        self.channel(channel).stored -= 1
        self._unjudged[channel] = self._unjudged.get(channel, 0) - size
        self.closed.append(message_id)

    def channel(self, name: str) -> ChannelTally:
        """The channel's tally, to be changed in place; created where it is missing."""
        tally = self._channels.get(name)
        if tally is None:
            known = self.tail.channels.get(name)
            if known is not None:
                tally = known.copied()
            else:
                row = self.execute(_READ_CHANNEL, (name,)).fetchone()
                tally = ChannelTally(*row[:6]) if row else ChannelTally(name)
                if row:
                    tally.habit = Habit(*row[6:])
            self._channels[name] = tally
        return tally

    def lane(self, channel: str, destination: str) -> LaneTally:
        """The lane's tally, to be changed in place; created where it is missing."""
        lane_id = self.tail.lane_ids.get((channel, destination))
        if lane_id is None:
            lane_id = self._find_lane(channel, destination)
        return self.lane_of(lane_id)

    def tell(self, event: str, **data: Any) -> None:
        """Note an event for other programs (`engine.features.events.rules`): numbers, names, codes; no patient data."""
        self._noted.append(Noted(self.last_id, event, data))

    def lane_of(self, lane_id: int) -> LaneTally:
        """As `lane`, by the number of an existing lane."""
        tally = self._lanes.get(lane_id)
        if tally is None:
            known = self.tail.lanes.get(lane_id)
            if known is not None:
                tally = known.copied()
            else:
                row = self.execute(f"SELECT {_LANE_COLUMNS} FROM lane WHERE id = ?", (lane_id,)).fetchone()  # noqa: S608 - constant
                tally = LaneTally(*row)
            self._lanes[lane_id] = tally
        return tally

    def _find_lane(self, channel: str, destination: str) -> int:
        find = "SELECT id FROM lane WHERE channel = ? AND destination = ?"
        row = self.execute(find, (channel, destination)).fetchone()
        if row is None:
            row = self.execute(
                "INSERT INTO lane (channel, destination, last_seq, open, dead, held, delivered_us, paused, held_by)"
                " VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0) RETURNING id",
                (channel, destination),
            ).fetchone()
        return int(row[0])

    def day_of(self, instant_us: int) -> str:
        """The site's day of an instant, as counters are named: ``2026-03-01``."""
        return from_us(instant_us).astimezone(self.zone).date().isoformat()

    # -- the end of the transaction ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write the tallies. Call before COMMIT."""
        self.unmapped.write(self)
        if self._channels:
            written, now_us = self.tail.answers.written, self.now_us
            self.executemany(
                _PUT_CHANNEL,
                [
                    (*_channel_values(one), written(one.name, self._unanswered.get(one.name, ()), now_us))
                    for one in self._channels.values()
                ],
            )
        if self._lanes:
            self.executemany(
                "UPDATE lane SET last_seq = ?, open = ?, dead = ?, held = ?, delivered_us = ?, paused = ?, held_by = ?"
                " WHERE id = ?",
                [
                    (t.last_seq, t.open, t.dead, t.held, t.delivered_us, t.paused, t.held_by, t.id)
                    for t in self._lanes.values()
                ],
            )
        if self._counts:
            day = self.day_of(self.now_us)
            self.executemany(
                "INSERT INTO counter (day, channel, destination, name, n) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET n = n + excluded.n",
                [(day, *key, n) for key, n in self._counts.items()],
            )
        if self._noted:
            self.events = notes.write(self.execute, self.executemany, self._noted, self.events, self.now_us)
        if self.tail.watermark_due:
            self.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('watermark', ?)", (self.tail.clear_to,))

    def committed(self) -> None:
        """Make this batch's state the tail's. Call after COMMIT."""
        tail = self.tail
        if tail.watermark_due:
            tail.watermark = tail.clear_to
        tail.last_id, tail.chain = self.last_id, self.chain
        tail.last_document = self.last_document
        tail.events = self.events
        tail.indexed_to, tail.unindexed = self.indexed_to, self.unindexed
        tail.counted_to = self.counted_to
        tail.unmapped_rows = self.unmapped_rows
        if self.unmapped.rows:
            self.unmapped.committed(tail.code_rows)
        tail.channels.update(self._channels)
        for lane in self._lanes.values():
            tail.lanes[lane.id] = lane
            tail.lane_ids[lane.channel, lane.destination] = lane.id
        for session, frames in self._sessions.items():
            if frames:
                tail.sessions[session] = frames
            else:
                tail.sessions.pop(session, None)
        for channel, lines in self._unanswered.items():
            tail.answers.expect(channel, lines)
        for name, change in self._unjudged.items():
            tail.unjudged[name] = tail.unjudged.get(name, 0) + change
        tail.account(self.opened, self.closed)


def month_of(instant_us: int) -> str:
    """The UTC month of an instant, as data keys are named: ``2026-03``."""
    return from_us(instant_us).strftime("%Y-%m")
