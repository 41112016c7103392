"""Reading the journal: short transactions on connections that cannot write, each with a deadline.

A reader that holds an old snapshot keeps the log from being emptied, so none may last: a query that takes longer than
two seconds is interrupted and says so. Lists are paged by key, never by offset, and never read bodies. Any thread may
read; the daemon's pages and the command line share this class, and it works beside a running daemon or without one.
What only some reads need is imported by them, so that a command that lists starts without what writes.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import orjson

from engine import erased, kek, listing, migrate, pruned
from engine.clock import from_us
from engine.errors import ConfigError, ErasedError, IntegrityError, StoreError
from engine.growth import DAY_US, DAYS, Growth
from engine.listing import first_at, letter_terms
from engine.lock import SiteLock
from engine.reasons import Reason
from engine.records import (
    KIND_FRAME,
    MANUAL,
    MAYBE_DELIVERED,
    Act,
    AttemptView,
    ChannelView,
    Count,
    DeadLetter,
    DeliveryView,
    DocumentView,
    Filter,
    Gap,
    Kept,
    LaneView,
    MessageState,
    MessageView,
    OpenLane,
    Pause,
    ReagentView,
    Trace,
)
from engine.vault import KEY_NAME, Vault, WrappedKey

if TYPE_CHECKING:
    from decimal import Decimal

    from engine.line_trace import LineRecord
    from engine.message import Document, Report, Stored
    from engine.replays import Replay
    from engine.results import Result
    from engine.retention import Found, Policy

JOURNAL_NAME = "journal.db"
DEADLINE_S = 2.0
_STEPS_BETWEEN_LOOKS = 1000
# What reading a damaged file may raise; a damaged schema makes error texts that are no text.
DAMAGE = (sqlite3.Error, UnicodeDecodeError)

_MESSAGE = (
    "SELECT j.id, j.channel, j.seq, j.received_us, j.message_type, j.size, s.state, s.reason, j.meta"
    " FROM journal j LEFT JOIN message_state s ON s.id = j.id"
)
_DELIVERY = (
    "SELECT d.id, l.channel, l.destination, d.seq, d.message_id, d.document_id, d.key, d.state, d.attempt,"
    " d.not_before_us, d.cause, d.flags, d.settled_us, d.detail FROM delivery d JOIN lane l ON l.id = d.lane"
)


@dataclass(frozen=True, slots=True)
class _Rows:
    """One snapshot, for looks that others share."""

    execute: Callable[..., sqlite3.Cursor]
    vault: Vault


@dataclass(frozen=True, slots=True)
class _Look:
    """One snapshot, for looks that others share."""

    execute: Callable[..., sqlite3.Cursor]
    vault: Vault
    now_us: int


class Reader:
    """Read access to one journal file.

    Attributes:
        deadline_s: how long a query may take.
        notes: what a person must be told once, loudly.
    """

    def __init__(self, path: Path, vault: Vault | None, *, immutable: bool = False) -> None:
        """
        Args:
            vault: None where the key is not at hand: everything but sealed columns can be read.
            immutable: the file cannot change while it is open (read-only folder, lock held).
        """
        self.deadline_s = DEADLINE_S
        self._path = path
        self._vault = vault
        self._immutable = immutable
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self.notes: list[str] = []
        self._held = ExitStack()

    @classmethod
    def beside(cls, data: Path) -> Self:
        """Open the journal in folder ``data`` to read it, beside a running daemon or without one; changes nothing.

        Raises:
            ConfigError: the key file is malformed or readable by others.
            IntegrityError: the key is another one.
            StoreError: there is no journal yet, or it cannot be read, or is of another version.
            LockedError: it can only be read alone, and a daemon has it.
        """
        path = data / JOURNAL_NAME
        if not path.exists():
            raise StoreError(f"{path}: there is no journal yet; the first labrelay run makes it")
        with ExitStack() as held:
            immutable = held.enter_context(access(path))
            vault, notes = _read_vault(path, data, immutable=immutable)
            reader = cls(path, vault, immutable=immutable)
            reader.notes += notes
            reader._held = held.pop_all()
        return reader

    def close(self) -> None:
        """Close what is open, and give back the lock if there is one."""
        self._close_idle()
        self._held.close()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @property
    def vault(self) -> Vault:
        """The unlocked keys.

        Raises:
            ConfigError: they are not at hand in this process.
        """
        if self._vault is None:
            raise ConfigError("the key of this journal is not readable here; run this as the service's user")
        return self._vault

    # -- channels and lanes --------------------------------------------------------------------------------------

    def channels(self) -> list[ChannelView]:
        with self.snapshot() as execute:
            return [
                ChannelView(name=r[0], last_seq=r[1], last_us=r[2], stored=r[3], dead=r[4], incomplete=r[5])
                for r in execute("SELECT name, last_seq, last_us, stored, dead, incomplete FROM channel ORDER BY name")
            ]

    def lanes(self) -> list[LaneView]:
        with self.snapshot() as execute:
            return [
                LaneView(
                    id=r[0], channel=r[1], destination=r[2], last_seq=r[3], open=r[4], dead=r[5], held=r[6],
                    delivered_us=r[7], paused=bool(r[8]), held_by=r[9], held_since_us=r[10] or 0,
                )
                for r in execute(
                    "SELECT id, channel, destination, last_seq, open, dead, held, delivered_us, paused, held_by,"
                    " CASE WHEN held > 0 THEN (SELECT min(d.settled_us) FROM delivery d"
                    " WHERE d.lane = lane.id AND d.state = 'held') END FROM lane ORDER BY channel, destination"
                )
            ]  # fmt: skip

    def pauses(self) -> list[Pause]:
        """What people have paused."""
        from engine import pauses

        with self.snapshot() as execute:
            return pauses.read(execute, self._vault)

    def open_lanes(self) -> list[OpenLane]:
        """Lanes with work, and how old the oldest is."""
        with self.snapshot() as execute:
            rows = execute(
                "SELECT l.channel, l.destination, l.open, ("
                "  SELECT j.received_us FROM delivery d JOIN journal j ON j.id = d.message_id"
                "  WHERE d.lane = l.id AND d.state = 'waiting' ORDER BY d.seq LIMIT 1), ("
                "  SELECT j.received_us FROM delivery d JOIN journal j ON j.id = d.message_id"
                "  WHERE d.lane = l.id AND d.state = 'sending' ORDER BY d.seq LIMIT 1)"
                " FROM lane l WHERE l.open > 0 ORDER BY l.channel, l.destination"
            ).fetchall()
        return [
            OpenLane(
                channel=channel,
                destination=destination,
                open=count,
                oldest_us=min((at for at in (waiting, sending) if at is not None), default=0),
            )
            for channel, destination, count, waiting, sending in rows
        ]

    def growth(self, now_us: int) -> Growth:
        """How many rows there are, and how many of the last days."""
        with self.snapshot() as execute:
            first, last = execute(
                # One at a time each is a look at one end of the table, and together a walk through all of it.
                "SELECT coalesce((SELECT min(id) FROM journal), 0), coalesce((SELECT max(id) FROM journal), 0)"
            ).fetchone()
            bounds = "SELECT received_us FROM journal WHERE id = ?"
            (first_us,) = execute(bounds, (first,)).fetchone() or (0,)
            (last_us,) = execute(bounds, (last,)).fetchone() or (0,)
            since = first_at(execute, now_us - DAYS * DAY_US) if last else 0
            (pages,) = execute("PRAGMA page_count").fetchone()
            (free,) = execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = execute("PRAGMA page_size").fetchone()
            gone = sum(min(one.last, last) - max(one.first, first) + 1 for one in _let_go(execute) if one.last > first)
            kept_us = _oldest_message(execute)
        return Growth(
            file_bytes=pages * page_bytes,
            rows=last - first + 1 - gone if last else 0,
            first_us=first_us,
            last_us=last_us,
            recent=max(0, last - max(since, first) + 1) if last else 0,
            now_us=now_us,
            unused_bytes=free * page_bytes,
            kept_us=kept_us,
        )

    def identity(self) -> bytes:
        """16 bytes, which journal this is."""
        with self.snapshot() as execute:
            return bytes(execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()[0])

    def kept(self) -> Kept:
        """How far back the journal reaches, and what retention let go last."""
        with self.snapshot() as execute:
            oldest_us = _oldest_message(execute)
            gone = _let_go(execute)
            said = execute("SELECT value FROM meta WHERE name = 'retention'").fetchone()
            (page_count,) = execute("PRAGMA page_count").fetchone()
            (free,) = execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = execute("PRAGMA page_size").fetchone()
        last = orjson.loads(said[0]) if said is not None else {}
        return Kept(
            oldest_us=oldest_us,
            gone=sum(one.last - one.first + 1 for one in gone),
            used_bytes=(page_count - free) * page_bytes,
            last_us=last.get("at_us", 0),
            last_messages=last.get("messages", 0),
            last_early=last.get("early", 0),
        )

    def survey(self, policy: "Policy", now_us: int) -> "Found":
        """What retention would let go now; reads for as long as it takes, in one transaction."""
        from engine import retention

        with closing(connect(self._path, immutable=self._immutable)) as connection:
            connection.execute("BEGIN")
            newest = connection.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0]
            return retention.survey(_Look(connection.execute, self.vault, now_us), policy=policy, newest=newest)

    def let_go(self, row_id: int) -> int:
        """When retention deleted a row (microseconds); 0 where it is there, was lost, or never was."""
        with self.snapshot() as execute:
            found = pruned.around(execute, pruned.JOURNAL, row_id)
            row = execute("SELECT received_us FROM journal WHERE id = ?", (found.record,)).fetchone() if found else None
        return int(row[0]) if row is not None else 0

    def tables(self) -> list[tuple[str, int, int | None]]:
        """Each table with its rows and, where SQLite can tell, its bytes with its indexes; reads the whole file.

        Not under the deadline of other queries: for people who ask for it.
        """
        with closing(connect(self._path, immutable=self._immutable)) as connection:
            names = [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
                )
            ]
            sizes: dict[str, int] = {}
            with suppress(sqlite3.OperationalError):  # a SQLite without this table of its own
                sizes = dict(
                    connection.execute(
                        "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema s ON s.name = d.name"
                        " WHERE d.aggregate = TRUE GROUP BY s.tbl_name"
                    ).fetchall()
                )
            return [
                (name, connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0], sizes.get(name))  # noqa: S608 - of the schema
                for name in names
            ]

    def free_bytes(self) -> int:
        """Bytes inside the file that nothing uses; `labrelay journal compact` gives them back."""
        with self.snapshot() as execute:
            (pages,) = execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = execute("PRAGMA page_size").fetchone()
        return int(pages * page_bytes)

    def counters(self, day: str) -> list[Count]:
        """What happened on ``day`` (``2026-03-01``, in the site's zone)."""
        with self.snapshot() as execute:
            return [
                Count(channel=r[0], destination=r[1], name=r[2], n=r[3])
                for r in execute("SELECT channel, destination, name, n FROM counter WHERE day = ?", (day,))
            ]

    def unmapped_count(self) -> int:
        """How many different codes no code table had."""
        with self.snapshot() as execute:
            return int(execute("SELECT count(*) FROM unmapped").fetchone()[0])

    def unmapped(self, channel: str | None = None) -> list[Gap]:
        """Codes that no code table had, the most frequent first."""
        with self.snapshot() as execute:
            return [
                Gap(channel=r[0], table=r[1], code=r[2], unit=r[3], display=r[4], n=r[5], first_us=r[6], last_us=r[7])
                for r in execute(
                    "SELECT channel, table_name, code, unit, display, n, first_us, last_us FROM unmapped"
                    " WHERE ? IS NULL OR channel = ? ORDER BY n DESC, channel, table_name, code",
                    (channel, channel),
                )
            ]

    def reagents(
        self, channel: str | None = None, *, lot: str | None = None, message: int | None = None, limit: int = 100
    ) -> list[ReagentView]:
        """Reagent lots, those that were named last first.

        Args:
            lot: this one only; letters and digits count.
            message: only those that this message names, with its own tests.
        """
        source, tests, where, values = "reagent r", "r.tests", ["r.n > 0"], list[Any]()
        if message is not None:
            source, tests = "reagent_use u CROSS JOIN reagent r ON r.id = u.reagent", "u.tests"
            where.append("u.message_id = ?")
            values.append(message)
        if channel is not None:
            where.append("r.channel = ?" if lot is None else "+r.channel = ?")
            values.append(channel)
        if lot is not None:
            from engine.reagents import lot_key

            where.append("r.lot_key = ?")
            values.append(lot_key(lot))
        text = (
            f"SELECT r.channel, r.name, r.lot, r.expires, {tests}, r.remains, r.first_us, r.last_us, r.n"  # noqa: S608 - constants
            f" FROM {source} WHERE {' AND '.join(where)} ORDER BY r.last_us DESC, r.id DESC LIMIT ?"
        )
        with self.snapshot() as execute:
            rows = execute(text, (*values, limit))
            return [
                ReagentView(
                    channel=row[0],
                    name=row[1],
                    lot=row[2],
                    expires=row[3],
                    tests=tuple(filter(None, row[4].split("\n"))),
                    left=row[5],
                    first_us=row[6],
                    last_us=row[7],
                    messages=row[8],
                )
                for row in rows
            ]

    # -- messages ------------------------------------------------------------------------------------------------

    def messages(
        self, wanted: Filter | None = None, *, before_id: int | None = None, limit: int = 50
    ) -> list[MessageView]:
        """A page of messages, newest first.

        Args:
            before_id: the last id of the page before.
        """
        wanted = wanted or Filter()
        with self.snapshot() as execute:
            rows = execute(*listing.select(execute, lambda: self.vault, wanted, before_id, limit)).fetchall()
        return [self._message(row) for row in rows]

    def _message(self, row: Sequence[Any]) -> MessageView:
        row_id, channel, seq, received_us, message_type, size, state, reason, sealed = row
        meta = self._meta(sealed, row_id, channel) if self._vault is not None else {}
        return MessageView(
            id=row_id,
            channel=channel,
            seq=seq,
            received_us=received_us,
            message_type=message_type,
            size=size,
            state=cast("MessageState", state or "stored"),
            reason=reason or "",
            control_id=meta.get("id", ""),
            peer=meta.get("peer", ""),
            notes=("erased",) if "erased" in meta else tuple(meta.get("notes", ())),
            repeat_of=meta.get("repeat_of"),
            same_id_other_bytes=meta.get("other_bytes", False),
        )

    def _meta(self, sealed: bytes, row_id: int, channel: str) -> dict[str, Any]:
        try:
            return cast("dict[str, Any]", orjson.loads(self.vault.open(sealed, "meta", row_id, channel)))
        except IntegrityError:
            return {"notes": ("damaged",)}  # the list goes on; `labrelay verify` says what is wrong

    def numbers_from(self) -> int:
        """The first message of those that are surely found by their numbers (`engine.numbered`)."""
        with self.snapshot() as execute:
            row = execute("SELECT value FROM meta WHERE name = 'numbers_from'").fetchone()
        return int(row[0]) if row is not None else 1

    def message(self, message_id: int) -> Trace | None:
        """Everything about one message but its payload; None where there is no such message.

        Raises:
            ConfigError, IntegrityError: a sealed note cannot be opened.
        """
        with self.snapshot() as execute:
            row = execute(f"{_MESSAGE} WHERE j.id = ? AND j.kind = 1", (message_id,)).fetchone()
            if row is None:
                return None
            session, mapping, at_us, detail = execute(
                "SELECT j.session, s.mapping, s.at_us, s.detail FROM journal j"
                " LEFT JOIN message_state s ON s.id = j.id WHERE j.id = ?",
                (message_id,),
            ).fetchone()
            documents = execute(
                "SELECT id, ordinal, media_type, length(body) FROM document WHERE message_id = ? ORDER BY id",
                (message_id,),
            ).fetchall()
            deliveries = execute(f"{_DELIVERY} WHERE d.message_id = ? ORDER BY d.id", (message_id,)).fetchall()
            attempts = {
                delivery[0]: execute(
                    "SELECT n, at_us, cause, detail FROM attempt WHERE delivery = ? ORDER BY n", (delivery[0],)
                ).fetchall()
                for delivery in deliveries
            }
            view = self._message(row)
            frames = self._frames(execute, row, session)
            edited_from, edited_as = execute(
                "SELECT coalesce((SELECT original FROM edited WHERE message_id = ?1), 0),"
                " coalesce((SELECT message_id FROM edited WHERE original = ?1), 0)",
                (message_id,),
            ).fetchone()
        note = orjson.loads(self._note(detail, "message_state", message_id, view.channel) or b"{}")
        return Trace(
            message=view,
            session=session,
            frames=frames,
            mapping=mapping or "",
            processed_us=at_us or 0,
            detail=note.get("detail", ""),
            issues=tuple(note.get("issues", ())),
            documents=tuple(DocumentView(id=r[0], ordinal=r[1], media_type=r[2], stored_bytes=r[3]) for r in documents),
            deliveries=tuple(self._delivery(delivery, attempts[delivery[0]]) for delivery in deliveries),
            edited_from=edited_from,
            edited_as=edited_as,
        )

    def line(self, channel: str, *, session: int | None = None, limit: int = 20) -> "list[LineRecord]":
        """What passed on a channel's line, newest session first; nothing where it is too long ago.

        Args:
            session: this one only.

        Raises:
            ConfigError, IntegrityError: it cannot be opened.
        """
        from engine.line_trace import LineRecord, unpack

        which, values = ("session = ? AND", [session]) if session is not None else ("", [])
        with self.snapshot() as execute:
            rows = execute(
                "SELECT id, session, content FROM line_trace"  # noqa: S608 - constants
                f" WHERE {which} channel = ? ORDER BY id DESC LIMIT ?",
                (*values, channel, limit),
            ).fetchall()
        return [
            LineRecord(channel, own, tuple(unpack(self.vault.open(content, "line_trace", row_id, channel))))
            for row_id, own, content in rows
        ]

    def frames(self, session: int, channel: str, first: int, last: int) -> list[tuple[int, bytes]]:
        """The frames that a message was made of: (receive time, bytes as they came), in order."""
        with self.snapshot() as execute:
            rows = execute(
                "SELECT id, received_us, body FROM journal"
                " WHERE id BETWEEN ? AND ? AND kind = 2 AND session = ? AND channel = ? ORDER BY id",
                (first, last, session, channel),
            ).fetchall()
        return [(at_us, self.vault.open(body, "body", row_id, channel)) for row_id, at_us, body in rows]

    def deliveries(self, message_ids: Sequence[int], *, notes: bool = False) -> list[DeliveryView]:
        """The deliveries of some messages (at most a few hundred), with their failed attempts, oldest first.

        Args:
            notes: with what is sealed: details, and the destinations' answers.

        Raises:
            ConfigError, IntegrityError: a sealed note cannot be opened.
        """
        those = f"d.message_id IN ({','.join('?' * len(message_ids))})"
        with self.snapshot() as execute:
            rows = execute(f"{_DELIVERY} WHERE {those} ORDER BY d.id", message_ids).fetchall()
            tried = execute(
                "SELECT a.delivery, a.n, a.at_us, a.cause, a.detail FROM delivery d"  # noqa: S608 - constants
                f" JOIN attempt a ON a.delivery = d.id WHERE {those} ORDER BY a.delivery, a.n",
                message_ids,
            ).fetchall()
        attempts: dict[int, list[Any]] = {}
        for delivery, *attempt, sealed in tried:
            attempts.setdefault(delivery, []).append((*attempt, sealed if notes else b""))
        return [self._delivery((*row, sealed if notes else b""), attempts.get(row[0], ())) for *row, sealed in rows]

    def _frames(self, execute: Callable[..., sqlite3.Cursor], row: Sequence[Any], session: int) -> tuple[int, ...]:
        if not session or self._vault is None:
            return ()
        first, last = self._meta(row[8], row[0], row[1]).get("frames", (0, -1))
        rows = execute(
            "SELECT id FROM journal WHERE id BETWEEN ? AND ? AND kind = ? AND session = ?",
            (first, last, KIND_FRAME, session),
        )
        return tuple(found[0] for found in rows)

    def _delivery(self, row: Sequence[Any], attempts: Sequence[Any]) -> DeliveryView:
        (row_id, channel, destination, seq, message_id, document_id, key, state, attempt, not_before_us, cause, flags,
         settled_us, sealed) = row  # fmt: skip
        from engine.outbox import read_note

        detail, answer = read_note(self._note(sealed, "delivery", row_id, channel))
        return DeliveryView(
            id=row_id,
            channel=channel,
            destination=destination,
            seq=seq,
            message_id=message_id,
            document_id=document_id,
            key=key.hex(),
            state=state,
            attempt=attempt,
            not_before_us=not_before_us,
            cause=cause,
            maybe_delivered=bool(flags & MAYBE_DELIVERED),
            manual=bool(flags & MANUAL),
            settled_us=settled_us,
            detail=detail,
            answer=answer,
            attempts=tuple(self._attempt(tried, row_id, channel) for tried in attempts),
        )

    def _attempt(self, row: Sequence[Any], delivery_id: int, channel: str) -> AttemptView:
        n, at_us, cause, sealed = row
        from engine.outbox import read_note

        detail, answer = read_note(self._note(sealed, f"attempt {n}", delivery_id, channel))
        return AttemptView(n=n, at_us=at_us, cause=cause, detail=detail, answer=answer)

    def _note(self, sealed: bytes | None, column: str, row_id: int, channel: str) -> bytes:
        if not sealed or self._vault is None:
            return b""
        return self._vault.open(sealed, column, row_id, channel)

    # -- contents ------------------------------------------------------------------------------------------------

    def payload(self, row_id: int) -> bytes:
        """The bytes of a message or frame, as received.

        Raises:
            StoreError: there is no such row.
            IntegrityError: the stored bytes are damaged.
        """
        with self.snapshot() as execute:
            row = execute("SELECT body, channel FROM journal WHERE id = ?", (row_id,)).fetchone()
        if row is None:
            raise StoreError(self.why_not("row", row_id))
        content = self.vault.open(row[0], "body", row_id, row[1])
        if not content:
            self._refuse_erased("row", erased.JOURNAL, row_id)
        return content

    def document(self, document_id: int) -> bytes:
        """A stored document; raises as `payload`."""
        with self.snapshot() as execute:
            row = execute(
                "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?",
                (document_id,),
            ).fetchone()
        if row is None:
            raise StoreError(f"there is no document {document_id}")
        content = self.vault.open(row[0], "document", document_id, row[1])
        if not content:
            self._refuse_erased("document", erased.DOCUMENT, document_id)
        return content

    def _refuse_erased(self, kind: str, what: str, number: int) -> None:
        """
        Raises:
            ErasedError: an empty content is one that was erased.
        """
        with self.snapshot() as execute:
            act = erased.act_of(execute, what, number)
        if act:
            raise ErasedError(f"{kind} {number} was erased (act {act})")

    def reports(self, document_id: int) -> "frozenset[Report]":
        """The reports that a stored document carries."""
        from engine.hashes import unpack_reports

        with self.snapshot() as execute:
            row = execute("SELECT reports FROM document WHERE id = ?", (document_id,)).fetchone()
        return frozenset(unpack_reports(row[0])) if row is not None else frozenset()

    def would_be_superseded(self, message_id: int, channel: str, destination: str, document: "Document") -> bool:
        """Whether a newer message's document with the same results was delivered there: `superseding.is_superseded`,
        for a document that is not in the outbox."""
        from engine.superseding import newer_delivered, results_written

        with self.snapshot() as execute:
            row = execute(
                "SELECT id FROM lane WHERE channel = ? AND destination = ?", (channel, destination)
            ).fetchone()
            return row is not None and newer_delivered(
                _Rows(execute, self.vault),
                row[0],
                message_id,
                document.reports,
                lambda: results_written(document.body),
            )

    def versions(self, destination: str, resources: Sequence[str]) -> dict[str, str]:
        """The versions of our resources that a destination had when we wrote them last (`engine.server_versions`)."""
        from engine import server_versions

        with self.snapshot() as execute:
            return server_versions.look_up(execute, self.vault, destination, resources)

    def stored(self, message_id: int) -> "Stored":
        """A message as it is handed to the mapping; raises as `payload`."""
        with self.snapshot() as execute:
            row = execute(
                "SELECT id, channel, seq, received_us, message_type, meta, body FROM journal WHERE id = ? AND kind = 1",
                (message_id,),
            ).fetchone()
        if row is None:
            raise StoreError(self.why_not("message", message_id))
        stored = self._stored(row)
        if not stored.payload:
            self._refuse_erased("message", erased.JOURNAL, message_id)
        return stored

    def why_not(self, kind: str, row_id: int) -> str:
        """Why a row is not there, for people."""
        gone_us = self.let_go(row_id)
        if gone_us:
            return f"{kind} {row_id} is not kept any longer: retention let it go on {from_us(gone_us):%Y-%m-%d}"
        return f"there is no {kind} {row_id}" + (" in the journal" if kind == "row" else "")

    def _stored(self, row: Sequence[Any]) -> "Stored":
        from engine.message import Stored

        row_id, channel, seq, received_us, message_type, sealed_meta, sealed_body = row
        meta = orjson.loads(self.vault.open(sealed_meta, "meta", row_id, channel))
        return Stored(
            id=row_id,
            channel=channel,
            seq=seq,
            payload=self.vault.open(sealed_body, "body", row_id, channel),
            received_us=received_us,
            control_id=meta["id"],
            message_type=message_type,
            repeat_of=meta.get("repeat_of"),
            same_id_other_bytes=meta.get("other_bytes", False),
            filtered=Reason[meta["filtered"]] if "filtered" in meta else None,
        )

    # -- dead letters --------------------------------------------------------------------------------------------

    def dead(self, wanted: Filter | None = None, *, before_id: int | None = None, limit: int = 50) -> list[DeadLetter]:
        """A page of what needs a person, by message number, newest first.

        Args:
            before_id: the last *message* id of the page before. A page may be longer than ``limit`` so that it never
                ends amid the deliveries of one message.
        """
        wanted = wanted or Filter()
        letters: list[DeadLetter] = []
        with self.snapshot() as execute:
            clause, values = letter_terms(execute, wanted, before_id, number="s.id", state="s.state", reason="s.reason")
            if wanted.destination is None:
                letters += [
                    DeadLetter(
                        message_id=r[0], delivery_id=0, channel=r[1], destination="", state=r[2], reason=r[3],
                        at_us=r[4], message_type=r[5],
                    )
                    for r in execute(
                        "SELECT j.id, j.channel, s.state, s.reason, s.at_us, j.message_type"  # noqa: S608 - constants
                        " FROM message_state s CROSS JOIN journal j ON j.id = s.id"
                        f" WHERE s.state IN ('dead', 'incomplete') AND {clause} ORDER BY s.id DESC LIMIT ?",
                        (*values, limit),
                    )
                ]  # fmt: skip
            letters += self._stuck(execute, "dead", wanted, before_id, limit)
        letters.sort(key=lambda letter: (-letter.message_id, letter.delivery_id))
        if len(letters) <= limit:
            return letters
        last = letters[limit - 1].message_id
        return [letter for letter in letters if letter.message_id >= last]

    def letter_details(self, letters: Sequence[DeadLetter]) -> list[str]:
        """The details of dead letters, in their order; empty where they cannot be opened here."""
        if self._vault is None:
            return [""] * len(letters)
        details = []
        with self.snapshot() as execute:
            for letter in letters:
                table, key = (
                    ("delivery", letter.delivery_id) if letter.delivery_id else ("message_state", letter.message_id)
                )
                row = execute(f"SELECT detail FROM {table} WHERE id = ?", (key,)).fetchone()  # noqa: S608 - constants
                try:
                    note = orjson.loads(self._note(row[0] if row else b"", table, key, letter.channel) or b"{}")
                except IntegrityError:
                    note = {}  # `labrelay verify` says what is wrong
                details.append(note.get("detail", ""))
        return details

    def held(self, wanted: Filter | None = None, *, before_id: int | None = None, limit: int = 50) -> list[DeadLetter]:
        """A page of deliveries that a rule keeps back, each with its reason in words; `Filter.state` ``rejected``: of
        those that a person has decided against. As `dead`, otherwise.

        Raises:
            ConfigError, IntegrityError: a sealed reason cannot be opened.
        """
        from engine.outbox import read_note

        wanted = wanted or Filter()
        with self.snapshot() as execute:
            found = self._stuck(execute, wanted.state or "held", wanted, before_id, limit)
            sealed = {
                letter.delivery_id: execute(
                    "SELECT detail FROM delivery WHERE id = ?", (letter.delivery_id,)
                ).fetchone()[0]
                for letter in found
            }
        return [
            replace(letter, detail=read_note(self._note(sealed[key], "delivery", key, letter.channel))[0])
            for letter in found
            for key in (letter.delivery_id,)
        ]

    def overtaken(self, delivery_id: int) -> Literal["", "part", "whole"]:
        """How much of a held delivery newer messages have had delivered (`superseding.overtaken`)."""
        from engine.superseding import overtaken

        with self.snapshot() as execute:
            return overtaken(_Rows(execute, self.vault), delivery_id)

    def earlier_value(self, message_id: int, channel: str, result: "Result", within_us: int) -> "Decimal | None":
        """The value that a rule about ``result`` would find before it (`engine.earlier`)."""
        from engine.earlier import Past

        with self.snapshot() as execute:
            row = execute("SELECT received_us FROM journal WHERE id = ?", (message_id,)).fetchone()
            past = Past(_Rows(execute, self.vault), channel, row[0] if row is not None else 0)
            return past.value(result, within_us)

    @staticmethod
    def _stuck(
        execute: Callable[..., sqlite3.Cursor],
        state: str,
        wanted: Filter,
        before_id: int | None,
        limit: int,
    ) -> list[DeadLetter]:
        """The newest deliveries in a state, and all those of the last message among them."""
        clause, values = letter_terms(
            execute, wanted, before_id, number="d.message_id", state="d.state", reason="d.cause"
        )
        select = (
            "SELECT j.id, d.id, j.channel, l.destination, d.state, d.cause, d.settled_us, j.message_type"  # noqa: S608
            " FROM delivery d CROSS JOIN journal j ON j.id = d.message_id CROSS JOIN lane l ON l.id = d.lane"
            f" WHERE {_STUCK[state]} AND (? IS NULL OR l.destination = ?) AND {clause}"
        )
        values = [wanted.destination, wanted.destination, *values]
        rows = execute(f"{select} ORDER BY d.message_id DESC, d.id LIMIT ?", (*values, limit)).fetchall()
        if len(rows) == limit:
            last = rows[-1][0]
            rows = [row for row in rows if row[0] != last]
            rows += execute(f"{select} AND d.message_id = ? ORDER BY d.id", (*values, last)).fetchall()
        return [
            DeadLetter(
                message_id=r[0], delivery_id=r[1], channel=r[2], destination=r[3], state=r[4], reason=r[5], at_us=r[6],
                message_type=r[7],
            )
            for r in rows
        ]  # fmt: skip

    # -- acts ----------------------------------------------------------------------------------------------------

    def acts(self, *, before_id: int | None = None, limit: int = 50) -> list[Act]:
        """A page of the audit trail, newest first."""
        with self.snapshot() as execute:
            rows = execute(
                "SELECT id, received_us, body FROM journal WHERE kind = 3 AND id < ? ORDER BY id DESC LIMIT ?",
                (before_id if before_id is not None else 2**62, limit),
            ).fetchall()
        return [self._act(row) for row in rows]

    def open_acts(self) -> list[Act]:
        """Acts that were begun and have not ended."""
        with self.snapshot() as execute:
            rows = execute(
                "SELECT j.id, j.received_us, j.body FROM open_act a CROSS JOIN journal j ON j.id = a.id ORDER BY a.id"
            ).fetchall()
        return [self._act(row) for row in rows]

    def _act(self, row: Sequence[Any]) -> Act:
        row_id, at_us, sealed = row
        content = orjson.loads(self.vault.open(sealed, "body", row_id, ""))
        return Act(
            id=row_id,
            at_us=at_us,
            actor=content.get("actor", ""),
            verb=content.get("verb", ""),
            what=content.get("what", {}),
            ended=content.get("act", 0),
            by=content.get("by", {}),
            config=content.get("config", ""),
        )

    # -- replays -------------------------------------------------------------------------------------------------

    def unfinished_replays(self) -> "list[Replay]":
        """Replays that have not come to their end, newest first."""
        from engine.replays import Replay

        with self.snapshot() as execute:
            rows = execute(
                "SELECT r.number, r.position, r.last, r.total, r.done, r.deliveries, r.failed, j.id, j.received_us,"
                " j.body FROM replay r JOIN journal j ON j.id = r.number AND j.kind = 3 ORDER BY r.number DESC"
            ).fetchall()
        found = []
        for number, position, last, total, done, deliveries, failed, *row in rows:
            act = self._act(row)
            found.append(
                Replay(
                    number=number, position=position, last=last, total=total, done=done, deliveries=deliveries,
                    failed=failed, actor=act.actor, at_us=act.at_us, what=act.what,
                )
            )  # fmt: skip
        return found

    def unfinished_replay(self, number: int) -> "Replay | None":
        """The unfinished replay of that number, if there is one."""
        return next((one for one in self.unfinished_replays() if one.number == number), None)

    def lanes_of(self, message_id: int) -> set[tuple[str, str]]:
        """The channel and destinations that a message's deliveries go to."""
        with self.snapshot() as execute:
            return set(
                execute(
                    "SELECT DISTINCT l.channel, l.destination FROM delivery d JOIN lane l ON l.id = d.lane"
                    " WHERE d.message_id = ?",
                    (message_id,),
                ).fetchall()
            )

    def sent(self, message_ids: Sequence[int], states: Collection[str], destination: str | None) -> set[int]:
        """Those of some messages (at most a few hundred) with a delivery in one of ``states``.

        Args:
            destination: of deliveries there only.
        """
        ids, marks = ",".join("?" * len(message_ids)), ",".join("?" * len(states))
        with self.snapshot() as execute:
            rows = execute(
                "SELECT DISTINCT d.message_id FROM delivery d JOIN lane l ON l.id = d.lane"  # noqa: S608 - constants
                f" WHERE d.message_id IN ({ids}) AND d.state IN ({marks}) AND (? IS NULL OR l.destination = ?)",
                (*message_ids, *states, destination, destination),
            )
            return {row[0] for row in rows}

    # -- snapshots -----------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """One short read transaction; gives the ``execute`` of its connection.

        Raises:
            StoreError: the deadline passed, or the file cannot be read.
        """
        try:
            connection = self._take()
            deadline = time.monotonic() + self.deadline_s
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
            connection.execute("BEGIN")
        except DAMAGE as error:
            raise StoreError(f"{self._path}: cannot be read: {error}") from error
        try:
            yield connection.execute
        except DAMAGE as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise StoreError(f"the query took longer than {self.deadline_s:g} s; narrow it") from error
            raise StoreError(f"{self._path}: cannot be read: {error}") from error
        finally:
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return connect(self._path, immutable=self._immutable)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        connection.set_progress_handler(None, 0)
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._lock:
            if len(self._idle) < 4:
                self._idle.append(connection)
                return
        connection.close()


def connect(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection that can only read. Each statement outside a transaction is a short one of its own."""
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA cache_size = -2048")
    return connection


@contextmanager
def access(path: Path) -> Iterator[bool]:
    """How a journal file can be read: gives whether as an immutable file, and keeps the lock meanwhile if so.

    A reader needs the files that SQLite shows its readers and writers the log by. In a folder that we cannot write,
    with no daemon that has made them, the file is read as it is, under the lock, so that no daemon starts meanwhile.

    Raises:
        StoreError: it cannot be read, or is of another version.
        LockedError: it can only be read alone, and a daemon has it.
    """
    lock: SiteLock | None = None
    try:
        try:
            with closing(connect(path)) as connection:
                migrate.check(connection)
        except sqlite3.OperationalError:
            lock = SiteLock.acquire(path.parent, shared=True)
            with closing(connect(path, immutable=True)) as connection:
                migrate.check(connection)
        yield lock is not None
    except DAMAGE as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    finally:
        if lock is not None:
            lock.release()


def data_keys(connection: sqlite3.Connection) -> list[WrappedKey]:
    """The journal's data keys, as they are stored."""
    return [WrappedKey(*row) for row in connection.execute("SELECT id, class, month, wrapped FROM data_key")]


def _read_vault(path: Path, data: Path, *, immutable: bool) -> tuple[Vault | None, list[str]]:
    """The unlocked keys where this process may read the key, else None and a note that says why."""
    with closing(connect(path, immutable=immutable)) as connection:
        connection.execute("BEGIN")
        (expected,) = connection.execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()
        keys = data_keys(connection)
    try:
        if next(kek.candidates(data), None) is None:
            return None, [f"{data / KEY_NAME}: not here; sealed columns stay closed"]
        return Vault(kek.unlock(data, expected).kek, keys), []
    except PermissionError as error:
        return None, [f"{error.filename}: not readable here; sealed columns stay closed"]


def _oldest_message(execute: Callable[..., sqlite3.Cursor]) -> int:
    """When the oldest message that is kept was received; 0 without one. One look for each channel."""
    (oldest,) = execute(
        "SELECT min((SELECT j.received_us FROM journal j"
        " WHERE j.channel = c.name AND j.kind = 1 ORDER BY j.seq LIMIT 1)) FROM channel c"
    ).fetchone()
    return oldest or 0


def _let_go(execute: Callable[..., sqlite3.Cursor]) -> list[pruned.Range]:
    return [one for one in pruned.every(execute) if one.what == pruned.JOURNAL]


# As the indexes say it, word for word, or SQLite does not see that one fits.
_STUCK = {
    "dead": "d.state IN ('dead', 'held') AND d.state = 'dead'",
    "held": "d.state IN ('dead', 'held') AND d.state = 'held'",
    "rejected": "d.state = 'rejected'",
}
