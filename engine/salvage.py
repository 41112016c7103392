"""Bring every readable row of a damaged journal into a new one, and say exactly what is missing.

The damaged files are only read. The new journal keeps all numbers: a row is the same row in it, under the same number,
with the same hash over the same sealed bytes. What cannot be kept is the chain, which runs through the missing rows: it
is made anew, and the missing numbers become gaps that an act of the audit trail explains (who, when, why, which). So
the new journal is whole in itself, `labrelay verify` has nothing to say about it, and no number is ever given again.

What is believed, and what follows:

- A row is taken if its content is proven: by its hash, or, where only the hash was hit, by the seal of its columns.
- A delivery is taken with its message and its document only, and where its key proves that they belong together. A
  message whose deliveries are lost is processed again: what it makes is sent under the same keys, so a server that has
  it already knows it again, and not where a newer message has had the same results delivered. What a person has
  dismissed or rejected stays so, also where only the audit trail still says it.
- What retention has let go stays gone where a record that is whole vouches for it; a new record says so in the new
  journal. A range that nothing vouches for any more counts as missing.
- Tallies are counted anew. Memories (repeats, earlier values, traces of the line) are taken as far as they can be read:
  a lost one costs a warning less, or a result shown twice under one key, never a result.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from engine import anchor, audit, erased, migrate, pruned, retention, verify, wal_repair
from engine.anchor import Anchor, sync_folder
from engine.batch import Batch
from engine.chain import GENESIS, chain_hash, document_hash, row_hash
from engine.clock import Clock, from_us
from engine.errors import ConfigError, IntegrityError, StoreError
from engine.hashes import unpack_reports
from engine.journal import ANCHOR_NAME, JOURNAL_NAME, Journal
from engine.kek import Source, unlock
from engine.lock import SiteLock
from engine.memory import REPORT_MEMORY_US
from engine.pruned import Range
from engine.reading.connecting import DAMAGE, connect
from engine.reasons import Reason
from engine.records import KIND_MESSAGE
from engine.upkeep import PAGE_BYTES
from engine.vault import KEY_NAME, Vault, WrappedKey, write_kek
from engine.verify import Unreadable

REPORT_NAME = "salvage.json"
CHUNK_ROWS = 500

BLIND_CHUNKS = 40  # of numbers without a row, where the end of a table cannot be read, and it is taken to be over

# Copied as they are, as far as they can be read ...
_MEMORIES = ("repeat", "report", "counter", "unmapped", "line_trace", "reagent", "reagent_use", "earlier_value",
             "control_result", "message_number", "edited", "replay", "server_version", "pause", "erased")  # fmt: skip
# ... and those with rules of their own.
_OWN = ("meta", "data_key", "journal", "gap", "message_state", "document", "channel", "lane", "delivery", "attempt",
        "open_act", "pruned")  # fmt: skip

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Missing:
    """Rows of the journal that are gone.

    Attributes:
        first, last: their numbers.
        why: ``missing``, ``unreadable`` (on a damaged page) or ``changed`` (not what was stored).
        after, before: ISO 8601, when the rows around them were received; empty at the ends.
        channels: channel -> (first, last) numbers of its messages among them, as far as the rows around tell.
    """

    first: int
    last: int
    why: str
    after: str = ""
    before: str = ""
    channels: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Salvage:
    """What was brought over.

    Attributes:
        rows: of the journal; ``lost`` the rows that are missing, in ``missing``.
        mended: rows whose hash was hit and whose content is proven by its seal.
        tables: table -> rows taken; ``damaged`` the tables of which some rows could not be read.
        hidden: pieces of the write-ahead log that could not be read for one damaged before them, and are now.
        again: messages that are processed again, because deliveries of theirs may be lost.
        unsure: the same, but a person has decided about them: nothing is done again.
        findings: what `labrelay verify --deep` says about the new journal; empty where nothing is wrong.
    """

    rows: int = 0
    lost: int = 0
    missing: list[Missing] = field(default_factory=list)
    mended: list[int] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    hidden: int = 0
    again: list[int] = field(default_factory=list)
    unsure: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run(
    data: Path,
    target: Path,
    *,
    clock: Clock,
    actor: str,
    because: str,
    anchor_path: Path | None = None,
    progress: Progress | None = None,
) -> Salvage:
    """Make a new journal in folder ``target`` of what can be read in ``data``. The daemon must not be running.

    Args:
        actor, because: who does it, and why; kept in the audit trail.
        anchor_path: where the old anchor is, if not beside the journal.
        progress: called with (rows looked at, rows in all).

    Raises:
        LockedError: a daemon has the journal.
        StoreError: there is none, not even its schema or its keys can be read, ``target`` is in use, or has no room.
        ConfigError, IntegrityError: its key is missing or another one.
    """
    try:
        return _run(data, target, clock, actor, because, anchor_path, progress or (lambda done, total: None))
    except OSError as error:
        raise StoreError(f"{target}: the journal cannot be saved there: {error.strerror}") from error


def _run(
    data: Path, target: Path, clock: Clock, actor: str, because: str, anchor_path: Path | None, progress: Progress
) -> Salvage:
    path = data / JOURNAL_NAME
    if not path.exists():
        raise StoreError(f"{path}: there is no journal")
    if target.exists() and any(target.iterdir()):
        raise StoreError(f"{target}: not empty; name a folder that is new")
    lock = SiteLock.acquire(data)
    try:
        reading = anchor.read(anchor_path or data / ANCHOR_NAME)
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        trouble: Exception | None = None
        with TemporaryDirectory(prefix="making-", dir=target) as scratch:
            for number, (whole, hidden) in enumerate(_readings(path, Path(scratch))):
                made = Path(scratch) / f"new{number}"
                made.mkdir(mode=0o700)
                try:
                    with closing(connect(whole)) as source:
                        if migrate.version(source) > migrate.steps()[-1][0]:
                            migrate.check(source)  # says which version can read it
                        copy = _Copy(source, data, made, reading, clock, progress)
                        copy.salvage.hidden = hidden
                        saved = copy.run(actor, because)
                except DAMAGE as error:
                    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                        raise StoreError(
                            f"{target}: no room there for a copy of the journal; nothing was made"
                        ) from error
                    trouble = error
                else:
                    # The journal last: without it no daemon starts on what a crash here leaves.
                    for file in sorted(made.iterdir(), key=lambda file: file.name == JOURNAL_NAME):
                        file.rename(target / file.name)
                    sync_folder(target)
                    return saved
        raise StoreError(
            f"{path}: its schema or its keys cannot be read ({trouble}): bring back a backup; nothing was made of it"
        )
    finally:
        lock.release()


def _readings(path: Path, scratch: Path) -> Iterator[tuple[Path, int]]:
    """The journal in ways to read it, the most promising first, and how many frames of its log each wins back.

    A log with a damaged frame is mended: with that frame, for most often a row is hit that the others do not need; and
    without it, for its page may have gone astray onto one that is needed.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists():
        content, pages = log.read_bytes(), path.stat().st_size // PAGE_BYTES
        for number, keep in enumerate((True, False)):
            repaired = wal_repair.repair(content, pages, keep_damaged=keep)
            if repaired is not None:
                folder = scratch / f"mended{number}"
                folder.mkdir(mode=0o700)
                shutil.copyfile(path, folder / path.name)
                (folder / log.name).write_bytes(repaired.log)
                yield folder / path.name, repaired.hidden
                shutil.rmtree(folder)
    yield path, 0


class _Copy:
    """One salvage, step by step; the order matters, for later steps ask what earlier ones have found."""

    def __init__(
        self,
        source: sqlite3.Connection,
        data: Path,
        target: Path,
        reading: anchor.Reading,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._source = source
        self._data = data
        self._folder = target
        self._reading = reading
        self._clock = clock
        self._progress = progress
        keys = source.execute("SELECT id, class, month, wrapped FROM data_key").fetchall()
        self._vault = Vault(self._find_kek(), [WrappedKey(*row) for row in keys])
        self._damaged: set[str] = set()
        self._decided: set[int] = set()  # messages that a person has dismissed, or rejected a delivery of
        self.salvage = Salvage()
        self._gone = self._let_go()
        self._emptied = erased.Vouched()
        with suppress(*DAMAGE):
            self._emptied = erased.vouched(source.execute)
        self._new = _new_journal(target / JOURNAL_NAME)

    def run(self, actor: str, because: str) -> Salvage:
        with closing(self._new):
            execute = self._new.execute
            execute("BEGIN IMMEDIATE")
            self._take_meta()
            last_id, chain = self._take_journal()
            self._read_decisions()
            for table in self._memories():
                self._take(table)
            self._take("message_state", _VERDICT)
            self._take_documents()
            self._take("lane")
            self._pause_lanes()
            self._take_deliveries()
            self._restore_verdicts()
            self._process_again()
            self._claim_reports()
            self._number_lanes()
            self._count_channels()
            self._take("open_act", "EXISTS (SELECT 1 FROM journal WHERE id = ?1 AND kind = 3)")
            execute("COMMIT")
            (journal_id,) = execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
            gone = self._ranges_now()
        self._copy_key()
        Anchor(self._folder / ANCHOR_NAME, journal_id, last_id, chain).close()
        self.salvage.damaged = sorted(self._damaged)
        self._note(actor, because, gone)
        self.salvage.findings = [str(found) for found in verify.run(self._folder, deep=True)]
        (self._folder / REPORT_NAME).write_bytes(orjson.dumps(self.salvage.as_json(), option=orjson.OPT_INDENT_2))
        return self.salvage

    # -- what must be whole --------------------------------------------------------------------------------------

    def _find_kek(self) -> bytes:
        expected = self._source.execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()
        if expected is None:
            raise sqlite3.DatabaseError("what its key is checked against is not there")
        try:
            found = unlock(self._data, expected[0])
        except (ConfigError, IntegrityError, OSError) as error:
            raise IntegrityError(
                "the key of this journal is not at hand: put it back first, for without it nothing is proven"
            ) from error
        self._key = found
        return found.kek

    def _take_meta(self) -> None:
        self._new.execute("DELETE FROM meta")  # what a new journal is born with
        for table in ("meta", "data_key"):
            columns = self._columns(table)
            rows = self._source.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()  # noqa: S608 - of the schema
            for row in rows:
                self._insert(table, columns, row)
        # The scan for open work begins anew: what it would skip may be open again.
        self._new.execute("DELETE FROM meta WHERE name = 'watermark'")

    # -- what was let go -----------------------------------------------------------------------------------------

    def _let_go(self) -> list[Range]:
        """Ranges that retention has deleted, where the record of it is whole."""
        with suppress(*DAMAGE):  # an older schema has no such table; a damaged one proves nothing
            select = f"SELECT {verify.ROW_COLUMNS} FROM journal WHERE id = ?"  # noqa: S608 - constant
            found: list[Range] = []
            for one in pruned.every(self._source.execute):
                row = self._source.execute(select, (one.record,)).fetchone()
                if row is not None and pruned.is_vouched_for(self._source.execute, one) and not self._is_changed(row):
                    found.append(one)
            return found
        return []

    def _ranges_now(self) -> list[Range]:
        """The same for the new journal, whose chain goes on over what is gone."""
        ranges = []
        for one in self._gone:
            if one.what == pruned.JOURNAL:  # documents are known as gaps, and lanes are numbered anew
                before = self._new.execute(
                    "SELECT chain FROM journal WHERE id < ? ORDER BY id DESC LIMIT 1", (one.first,)
                ).fetchone()
                ranges.append(Range(one.what, one.first, one.last, before[0] if before else GENESIS, 0))
        return ranges

    # -- the journal ---------------------------------------------------------------------------------------------

    def _take_journal(self) -> tuple[int, bytes]:
        """Every row that is proven, chained anew; the newest one's number and chain value."""
        salvage = self.salvage
        self._take("gap")
        given_up = dict(self._new.execute("SELECT first_id, last_id FROM gap ORDER BY first_id").fetchall())
        given_up.update((one.first, one.last) for one in self._gone if one.what == pruned.JOURNAL)
        mark = self._reading.mark
        newest = max(self._largest("journal"), max(given_up.values(), default=0), mark.last_id if mark else 0)
        chain, expected, last_row = GENESIS, 1, 0
        columns = verify.ROW_COLUMNS.split(", ")
        for row in verify.read_rows(self._source, 1, newest):
            row_id = row.id if isinstance(row, Unreadable) else row[0]
            expected = self._miss(expected, row_id, given_up)
            expected = row_id + 1
            if row_id % CHUNK_ROWS == 0:
                self._progress(row_id, newest)
            if isinstance(row, Unreadable):
                self._miss(row_id, row_id + 1, given_up, "unreadable")
                continue
            if self._is_changed(row):
                self._miss(row_id, row_id + 1, given_up, "changed")
                continue
            own = _hash_of(row)
            if self._emptied.covers(erased.JOURNAL, row_id, row[9], own):
                own = row[9]  # as it was before its content was erased
            if own != row[9]:
                salvage.mended.append(row_id)
            chain, last_row = chain_hash(chain, own), row_id
            self._insert("journal", columns, (*row[:9], own, chain, *row[11:]))
            salvage.rows += 1
        self._miss(expected, newest + 1, given_up)
        self._progress(newest, newest)
        self._tell_surroundings()
        salvage.lost = sum(one.last - one.first + 1 for one in salvage.missing)
        return last_row, chain

    def _is_changed(self, row: tuple[Any, ...]) -> bool:
        """Whether a row's content is not proven, neither by its hash nor by the seals of its columns."""
        with suppress(Exception):  # a damaged row may hold values of any type and size
            own = _hash_of(row)
            if own == row[9] or self._emptied.covers(erased.JOURNAL, row[0], row[9], own):
                return False
            row_id, kind, channel, size, token, meta, body = *row[:3], row[7], row[8], row[11], row[12]
            self._vault.open(meta, "meta", row_id, channel)
            payload = self._vault.open(body, "body", row_id, channel)
            # The other columns are under no seal: that number, times and type are right, the hash alone could tell.
            # A message's place among the others is sure where its number is free.
            fits = kind != KIND_MESSAGE or self._vault.fits(token, channel, sha256(payload).digest())
            return not (len(payload) == size and fits and self._only_hash_is_hit(row))
        return True

    def _only_hash_is_hit(self, row: tuple[Any, ...]) -> bool:
        """Whether the row's stored chain value follows from its content: then its hash value alone was damaged."""
        before = self._source.execute("SELECT chain FROM journal WHERE id = ?", (row[0] - 1,)).fetchone()
        previous = before[0] if before else GENESIS if row[0] == 1 else b""
        return bool(chain_hash(previous, _hash_of(row)) == row[10])

    def _miss(self, expected: int, row_id: int, given_up: dict[int, int], why: str = "missing") -> int:
        """Note the rows from ``expected`` to before ``row_id`` as missing, but for those given up before."""
        while expected < row_id and expected in given_up:
            expected = given_up[expected] + 1
        if expected < row_id:
            missing = self.salvage.missing
            if missing and missing[-1].last == expected - 1 and missing[-1].why == why:
                missing[-1].last = row_id - 1
            else:
                missing.append(Missing(expected, row_id - 1, why))
        return max(expected, row_id)

    def _tell_surroundings(self) -> None:
        """When the missing rows were received, and which messages of which channels are among them."""
        execute = self._new.execute
        channels = [name for (name,) in execute("SELECT DISTINCT channel FROM journal WHERE kind = 1 ORDER BY 1")]
        for one in self.salvage.missing:
            before = execute("SELECT received_us FROM journal WHERE id < ? ORDER BY id DESC LIMIT 1", (one.first,))
            one.after = _instant(before.fetchone())
            after = execute("SELECT received_us FROM journal WHERE id > ? ORDER BY id LIMIT 1", (one.last,))
            one.before = _instant(after.fetchone())
            for channel in channels:
                (low,) = execute(
                    "SELECT coalesce(max(seq), 0) FROM journal WHERE kind = 1 AND channel = ? AND id < ?",
                    (channel, one.first),
                ).fetchone()
                (high,) = execute(
                    "SELECT min(seq) FROM journal WHERE kind = 1 AND channel = ? AND id > ?", (channel, one.last)
                ).fetchone()
                if high is not None and high > low + 1:
                    one.channels[channel] = (low + 1, high - 1)

    def _read_decisions(self) -> None:
        """Messages about which the audit trail says that nothing more is to be sent: also where their rows are lost."""
        for row_id, body in self._new.execute("SELECT id, body FROM journal WHERE kind = 3").fetchall():
            with suppress(IntegrityError, ValueError, AttributeError, TypeError):
                act = orjson.loads(self._vault.open(body, "body", row_id, ""))
                if act.get("verb") in ("dismiss", "reject"):
                    self._decided.update(act["what"].get("messages", ()))

    # -- documents and deliveries --------------------------------------------------------------------------------

    def _take_documents(self) -> None:
        """Those that are what was stored. Their numbers are gapless too: `labrelay verify` must know of the lost."""
        expected, gaps = 1, list(verify.document_gaps(self._new).items())
        columns = self._columns("document")
        for row in self._rows("document", columns):
            fields = dict(zip(columns, row, strict=True))
            intact = False
            with suppress(Exception):  # a damaged row may hold values of any type
                own, stored = document_hash(*(fields[name] for name in _DOCUMENT_FIELDS)), fields["hash"]
                intact = own == stored or self._emptied.covers(erased.DOCUMENT, fields["id"], stored, own)
            if intact and self._has("journal", fields["message_id"]):
                self._insert("document", columns, row)
                if fields["id"] > expected:
                    gaps.append((expected, fields["id"] - 1))
                expected = fields["id"] + 1
            else:
                self._damaged.add("document")
        lost = orjson.dumps(gaps).decode()
        self._new.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('document_gaps', ?)", (lost,))

    def _take_deliveries(self) -> None:
        """Deliveries of their message's own document, which their key proves; each other one is as good as lost."""
        columns = self._columns("delivery")
        for row in self._rows("delivery", columns):
            fields = dict(zip(columns, row, strict=True))
            if self._is_what_was_queued(fields):
                self._insert("delivery", columns, row)
            else:
                self._damaged.add("delivery")
        self._take("attempt", "EXISTS (SELECT 1 FROM delivery WHERE id = ?1)")

    def _is_what_was_queued(self, delivery: dict[str, Any]) -> bool:
        """Only its key protects this row: a flipped bit in it must not send one patient's result as another's."""
        if delivery["state"] not in _DELIVERY_STATES:
            return False
        found = self._new.execute(
            "SELECT j.token, o.revision, o.ordinal, l.destination FROM document o JOIN journal j ON j.id = o.message_id"
            " JOIN lane l ON l.channel = j.channel WHERE o.id = ? AND o.message_id = ? AND l.id = ?",
            (delivery["document_id"], delivery["message_id"], delivery["lane"]),
        ).fetchone()
        return found is not None and self._vault.delivery_key(*found) == delivery["key"]

    def _claim_reports(self) -> None:
        """Who has which order and patient numbers, from the documents: without it an older result that is processed
        again could not be told from a newer one."""
        execute = self._new.execute
        for message_id, received_us, packed in execute(
            "SELECT o.message_id, j.received_us, o.reports FROM document o JOIN journal j ON j.id = o.message_id"
            " WHERE o.reports <> x'' AND j.received_us > ? AND EXISTS (SELECT 1 FROM delivery d"
            " WHERE d.document_id = o.id AND d.state NOT IN ('rejected', 'dismissed'))",
            (self._clock.now_us() - REPORT_MEMORY_US,),
        ).fetchall():
            until_us = received_us + REPORT_MEMORY_US
            rows = [(one.key, message_id, one.patient, one.person, until_us) for one in unpack_reports(packed)]
            rows += [(one[2], message_id, one[2], one[3], until_us) for one in rows if one[2] and one[3]]
            self._new.executemany(
                "INSERT OR IGNORE INTO report (key, message_id, patient, person, until_us) VALUES (?, ?, ?, ?, ?)", rows
            )

    def _process_again(self) -> None:
        """Take the verdict from messages that may have lost a document or a delivery.

        Which those are, the places in the lanes tell: between two deliveries of a lane that are not neighbours stood
        messages of that channel. Where a person has decided about a message, nothing is done again: it is named.
        """
        execute = self._new.execute
        again: set[int] = set()
        again.update(
            message
            for (message,) in execute(
                "SELECT s.id FROM message_state s WHERE s.state = 'mapped'"
                " AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message_id = s.id)"
            )
        )
        for lane_id, channel, last_seq in execute("SELECT id, channel, last_seq FROM lane").fetchall():
            again |= self._skipped(lane_id, channel, last_seq)
        for message in sorted(again):
            if erased.act_of(execute, erased.JOURNAL, message):
                continue
            (decided,) = execute(
                "SELECT count(*) FROM delivery WHERE message_id = ?"
                " AND state IN ('held', 'rejected', 'dismissed', 'superseded')",
                (message,),
            ).fetchone()
            if decided or message in self._decided:
                self.salvage.unsure.append(message)
            else:
                execute("DELETE FROM message_state WHERE id = ?", (message,))
                self.salvage.again.append(message)

    def _skipped(self, lane_id: int, channel: str, last_seq: int) -> set[int]:
        """Messages that may have had one of the deliveries which are missing in a lane."""
        execute = self._new.execute
        found: set[int] = set()
        seq, message = 0, 0
        end = [(last_seq + 1, 1 << 62)]
        rows = execute("SELECT seq, message_id FROM delivery WHERE lane = ? ORDER BY seq", (lane_id,)).fetchall()
        gone = {one.first: one.last for one in self._gone if one.what == pruned.lane(lane_id)}
        for next_seq, next_message in rows + end:
            expected = seq + 1
            while expected in gone:
                expected = gone[expected] + 1
            if next_seq > expected:
                found.update(
                    one
                    for (one,) in execute(
                        "SELECT j.id FROM journal j JOIN message_state s ON s.id = j.id AND s.state = 'mapped'"
                        " WHERE j.kind = 1 AND j.channel = ? AND j.id BETWEEN ? AND ? AND NOT EXISTS"
                        " (SELECT 1 FROM delivery d WHERE d.message_id = j.id AND d.lane = ?)",
                        (channel, message, next_message, lane_id),
                    )
                )
            seq, message = next_seq, max(message, next_message)
        return found

    def _restore_verdicts(self) -> None:
        """Verdicts that are lost and stand elsewhere too. Text that never became a message must not become one now.

        Never left out: a page of an earlier time, as a damaged log leaves it, can be read and lacks rows all the same.
        """
        execute = self._new.execute
        for row_id, channel, meta, received_us, delivered in execute(
            "SELECT j.id, j.channel, j.meta, j.received_us, EXISTS (SELECT 1 FROM delivery WHERE message_id = j.id)"
            " FROM journal j LEFT JOIN message_state s ON s.id = j.id WHERE j.kind = 1 AND s.id IS NULL"
        ).fetchall():
            known = orjson.loads(self._vault.open(meta, "meta", row_id, channel))
            repeat = Reason.REPEAT.value if "repeat_of" in known else ""
            if reason := known.get("incomplete"):
                state = "incomplete"
            elif reason := known.get("filtered") or repeat:
                state = "filtered"
            elif "erased" in known:  # there is nothing in it to process
                state, reason = "mapped" if delivered else "dismissed", ""
            elif delivered:
                state, reason = "mapped", ""
            elif row_id in self._decided:
                state, reason = "dismissed", ""
                self.salvage.unsure.append(row_id)
            else:
                continue  # processed anew
            execute(
                "INSERT INTO message_state (id, state, reason, at_us, mapping, detail) VALUES (?, ?, ?, ?, '', x'')",
                (row_id, state, reason, received_us),
            )

    def _number_lanes(self) -> None:
        """The numbers within a lane have no gaps: what is left moves up, in its order. Then the tallies."""
        execute = self._new.execute
        for (lane_id,) in execute("SELECT id FROM lane").fetchall():
            rows = execute("SELECT id, seq FROM delivery WHERE lane = ? ORDER BY seq", (lane_id,)).fetchall()
            for wanted, (delivery_id, seq) in enumerate(rows, 1):
                if seq != wanted:  # always downwards, so never onto another's number
                    execute("UPDATE delivery SET seq = ? WHERE id = ?", (wanted, delivery_id))
            execute("UPDATE lane SET last_seq = ? WHERE id = ?", (len(rows), lane_id))
        for column, states in (("open", "'waiting', 'sending'"), ("dead", "'dead'"), ("held", "'held'")):
            execute(
                f"UPDATE lane SET {column} ="  # noqa: S608 - constants
                f" (SELECT count(*) FROM delivery WHERE lane = lane.id AND state IN ({states}))"
            )
        execute("UPDATE lane SET held_by = 0 WHERE held_by NOT IN (SELECT id FROM delivery WHERE state = 'dead')")

    def _count_channels(self) -> None:
        """Tallies, counted anew; a number that was ever given stays given, also where its message is lost."""
        columns = self._columns("channel")
        known = {row[0]: row for row in self._rows("channel", columns)}
        kept = {name: int(row[1]) for name, row in known.items()}
        for one in self.salvage.missing:
            for channel, (_, last) in one.channels.items():
                kept[channel] = max(kept.get(channel, 0), last)
        for name, seq, last_us, stored, dead, incomplete in self._new.execute(
            "SELECT j.channel, max(j.seq), max(j.received_us), sum(s.id IS NULL), coalesce(sum(s.state = 'dead'), 0),"
            " coalesce(sum(s.state = 'incomplete'), 0) FROM journal j LEFT JOIN message_state s ON s.id = j.id"
            " WHERE j.kind = 1 GROUP BY j.channel"
        ).fetchall():
            self._insert("channel", columns, (name, max(seq, kept.get(name, 0)), last_us, stored, dead, incomplete))
            known.pop(name, None)
        if self._gone:  # of what is left here, retention may have let go all messages
            for name, row in known.items():
                self._insert("channel", columns, (name, kept[name], row[2], 0, 0, 0))

    # -- the end -------------------------------------------------------------------------------------------------

    def _copy_key(self) -> None:
        """The key goes with the journal, where it is a file beside it."""
        if self._key.source in (Source.FILE, Source.NEW_FILE, Source.OLD_FILE):
            write_kek(self._folder / KEY_NAME, self._key.kek)

    def _note(self, actor: str, because: str, gone: list[Range]) -> None:
        """The act, and the gaps that it stands for; and the record of what was let go."""
        journal = Journal.open(self._folder, clock=self._clock)
        try:
            journal.run_alone(partial(_note_gaps, self.salvage, self._reading, actor, because, gone))
        finally:
            journal.close()

    # -- rows ----------------------------------------------------------------------------------------------------

    def _pause_lanes(self) -> None:
        """What either of them says is paused stays paused, and can be resumed."""
        self._new.execute(
            "INSERT OR IGNORE INTO pause (channel, destination, since_us, act)"
            " SELECT channel, destination, 0, 0 FROM lane WHERE paused <> 0"
        )
        self._new.execute(
            "UPDATE lane SET paused = 1 WHERE (channel, destination) IN (SELECT channel, destination FROM pause)"
        )

    def _memories(self) -> list[str]:
        """Tables that are copied as they are. One that this module does not know must not be forgotten."""
        names = [name for (name,) in self._new.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        unknown = sorted(set(names) - set(_OWN) - set(_MEMORIES))
        if unknown:
            raise StoreError(f"nothing says how to salvage the tables {', '.join(unknown)}: a fault of this version")
        return [name for name in _MEMORIES if name in names]

    def _take(self, table: str, where: str = "1") -> None:
        """Copy the readable rows for which ``where`` holds; ``?1`` and ``?2`` are the row's first columns."""
        columns = self._columns(table)
        for row in self._rows(table, columns) if columns else ():
            if where == "1" or self._new.execute(f"SELECT {where}", row[: 2 if "?2" in where else 1]).fetchone()[0]:
                self._insert(table, columns, row)
            else:
                self._damaged.add(table)

    def _rows(self, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """The readable rows of a table; that some are not is noted."""
        self.salvage.tables.setdefault(table, 0)
        info = self._new.execute(f"PRAGMA table_info({table})").fetchall()
        key = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
        if len(key) == 1 and any(row[1] == key[0] and row[2] == "INTEGER" for row in info):
            last = self._largest(table, key[0])
            for row in verify.read_rows(self._source, 1, last, ", ".join(columns), table, key[0]):
                if isinstance(row, Unreadable):
                    self._damaged.add(table)
                else:
                    yield row
        else:
            yield from self._from_both_ends(table, columns, key)

    def _from_both_ends(self, table: str, columns: list[str], key: list[str]) -> Iterator[tuple[Any, ...]]:
        """A table without numbers: forwards to the damaged page, and backwards to it."""
        found: set[tuple[Any, ...]] = set()
        for order in ("ASC", "DESC"):
            by = ", ".join(f"{name} {order}" for name in key)
            query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {by}"  # noqa: S608 - of the schema
            try:
                for row in self._source.execute(query):
                    names = row[: len(key)]
                    if names not in found:
                        found.add(names)
                        yield row
            except DAMAGE:
                self._damaged.add(table)
            else:
                return

    def _largest(self, table: str, key: str = "id") -> int:
        """A table's largest number, also where the way to it is damaged: then what the rows before it say."""
        with suppress(*DAMAGE):
            return int(self._source.execute(f"SELECT coalesce(max({key}), 0) FROM {table}").fetchone()[0])  # noqa: S608 - of the schema
        self._damaged.add(table)
        empty, last, first = 0, 0, 1
        while empty < BLIND_CHUNKS:
            rows = verify.read_rows(self._source, first, first + CHUNK_ROWS - 1, key, table, key)
            newest = max((row[0] for row in rows if not isinstance(row, Unreadable)), default=0)
            empty = 0 if newest else empty + 1
            last = max(last, newest)
            first += CHUNK_ROWS
        return last

    def _has(self, table: str, row_id: Any) -> bool:
        return self._new.execute(f"SELECT 1 FROM {table} WHERE id = ?", (row_id,)).fetchone() is not None  # noqa: S608 - of the schema

    def _columns(self, table: str) -> list[str]:
        """Those that both journals have: the damaged one may be of an earlier version."""
        theirs = {row[1] for row in self._source.execute(f"PRAGMA table_info({table})")}
        return [row[1] for row in self._new.execute(f"PRAGMA table_info({table})") if row[1] in theirs]

    def _insert(self, table: str, columns: list[str], row: tuple[Any, ...]) -> None:
        try:
            self._new.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608 - of the schema
                row,
            )
        except sqlite3.IntegrityError:  # a value that its column or a unique index does not allow: a damaged row
            self._damaged.add(table)
        else:
            self.salvage.tables[table] = self.salvage.tables.get(table, 0) + 1


_DELIVERY_STATES = ("waiting", "sending", "delivered", "dead", "held", "rejected", "dismissed", "superseded")
_VERDICT = (  # ... and verdicts that can be believed
    "?2 IN ('mapped', 'filtered', 'dead', 'incomplete', 'dismissed')"
    " AND EXISTS (SELECT 1 FROM journal WHERE id = ?1 AND kind = 1)"
)
_DOCUMENT_FIELDS = ("id", "message_id", "revision", "ordinal", "media_type", "conditional", "reports", "body")


def _hash_of(row: tuple[Any, ...]) -> bytes:
    return row_hash(*row[:9], *row[11:])


def _instant(row: tuple[int] | None) -> str:
    return from_us(row[0]).isoformat(timespec="seconds") if row is not None else ""


def _note_gaps(
    salvage: Salvage, reading: anchor.Reading, actor: str, because: str, gone: list[Range], batch: Batch
) -> int:
    newest = max((one.last for one in salvage.missing), default=0)
    batch.last_id = max(batch.last_id, newest)
    ranges = [(one.first, one.last) for one in salvage.missing]
    what = {
        "rows": salvage.rows,
        "missing": ranges,
        "mended": salvage.mended,
        "chain_before": reading.mark.chain.hex() if reading.mark else "",
        "because": because,
    }
    act = audit.note(batch, actor, "salvage", what)
    for first, last in _joined(ranges):
        batch.execute("INSERT INTO gap (first_id, last_id, act) VALUES (?, ?, ?)", (first, last, act))
    if gone:
        retention.vouch(batch, gone, {"salvaged": len(gone)})
    return act


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours as one."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and joined[-1][1] == first - 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def _new_journal(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    # No write-ahead log: it would hold all of it once more. Whoever opens the journal turns it on.
    connection.execute("PRAGMA synchronous = FULL")
    migrate.upgrade(connection)
    return connection


def sentences(saved: Salvage, target: Path) -> Iterator[str]:
    """The same for people."""
    yield f"{target / JOURNAL_NAME}: {saved.rows} rows brought over, {saved.lost} are missing"
    if saved.hidden:
        yield f"  {saved.hidden} pieces of the log could be read that one damaged before them had hidden"
    for one in saved.missing:
        rows = f"row {one.first}" if one.first == one.last else f"rows {one.first} to {one.last}"
        time = f", received between {one.after or 'the beginning'} and {one.before or 'the end'}"
        yield f"  {rows}: {one.why}{time}"
        for channel, (first, last) in one.channels.items():
            numbers = f"message {first}" if first == last else f"messages {first} to {last}"
            yield f"    {numbers} of channel {channel}: let the analyzer send again what it measured then"
    if saved.damaged:
        yield f"  tables that were read in part: {', '.join(saved.damaged)}"
    if saved.again:
        yield f"  {len(saved.again)} messages are processed again: what they make is sent under the same keys as before"
    if saved.unsure:
        numbers = ", ".join(map(str, saved.unsure))
        yield f"  deliveries of messages {numbers} may be lost; a person has decided about these, so look at them"
    yield from (f"  {text}" for text in saved.findings)
    yield "now: keep the old data folder elsewhere, put this one in its place, and start LabRelay"
