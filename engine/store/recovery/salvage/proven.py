"""The rows of the new journal: copy the proven ones, chain them anew, and list the missing ones.

Unchanged documents, deliveries and verdicts are copied; possibly lost ones are made by processing again.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from engine.model.journal.hashes import unpack_reports
from engine.model.journal.records import KIND_MESSAGE
from engine.model.texts.reasons import ReasonCode
from engine.store.core.anchor import Mark
from engine.store.core.chain import COLUMNS, GENESIS, ROW_COLUMNS, JournalRow, chain_hash, document_hash
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.connecting import DAMAGE
from engine.store.core.vault import Vault
from engine.store.integrity import row_check, verify
from engine.store.integrity.row_check import UnreadableRow
from engine.store.integrity.verify import Progress
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.operations import search_index
from engine.store.operations.dedup import REPORT_MEMORY_US
from engine.store.recovery.backups import decisions
from engine.store.recovery.rebuilding import moment, put_state
from engine.store.recovery.salvage.found import MissingRows
from engine.store.recovery.salvage.tables import CHUNK_ROWS, SALVAGE, Tables, stray_rows


class JournalRows:
    """The rows of the damaged journal, and the deletions that they record.

    Attributes:
        gone: ranges that retention has deleted, where the record of it is whole.
        emptied: rows whose content was erased, where the record of that is whole.
    """

    def __init__(self, tables: Tables, vault: Vault, mark: Mark | None, progress: Progress) -> None:
        self._tables = tables
        self._source = tables.source
        self._vault = vault
        self._mark = mark
        self._progress = progress
        self.gone = _let_go(tables.source)
        self.emptied = pruned_ranges.AccountedRows()
        with suppress(*DAMAGE):
            self.emptied = pruned_ranges.AccountedRows(tables.source.execute)

    def ranges_now(self) -> list[Range]:
        """The removed ranges for the new journal, whose chain goes on over them."""
        ranges = []
        for one in self.gone:
            if one.what == pruned_ranges.JOURNAL:  # documents are recorded as gaps, and lanes are numbered anew
                before = self._tables.new.execute(
                    "SELECT chain FROM journal WHERE id < ? ORDER BY id DESC LIMIT 1", (one.first,)
                ).fetchone()
                ranges.append(Range(one.what, one.first, one.last, before[0] if before else GENESIS, 0))
            elif one.what == pruned_ranges.ORDER:
                ranges.append(one)
        return ranges

    def take(self) -> tuple[int, bytes]:
        """Copy every proven row with a new chain; return the newest one's number and chain value."""
        salvage = self._tables.salvage
        self._tables.take("gap")
        given_up = dict(self._tables.new.execute("SELECT first_id, last_id FROM gap ORDER BY first_id").fetchall())
        given_up.update((one.first, one.last) for one in self.gone if one.what == pruned_ranges.JOURNAL)
        mark = self._mark
        newest = max(self._tables.largest("journal"), max(given_up.values(), default=0), mark.last_id if mark else 0)
        chain, expected, last_row = GENESIS, 1, 0
        for row in self._rows_of_the_journal(newest, given_up):
            expected = self._miss(expected, row.id, given_up)
            expected = row.id + 1
            if row.id % CHUNK_ROWS == 0:
                self._progress(row.id, newest)
            if isinstance(row, UnreadableRow):
                self._miss(row.id, row.id + 1, given_up, "unreadable")
                continue
            if self._is_changed(row):
                self._miss(row.id, row.id + 1, given_up, "changed")
                continue
            own = row.computed
            if self.emptied.covers(pruned_ranges.JOURNAL, row.id, row.hash, own):
                own = row.hash  # its hash before the content was erased
            if own != row.hash:
                salvage.mended.append(row.id)
            chain, last_row = chain_hash(chain, own), row.id
            self._tables.insert("journal", list(COLUMNS), row._replace(hash=own, chain=chain))
            salvage.rows += 1
        self._miss(expected, newest + 1, given_up)
        self._progress(newest, newest)
        _tell_surroundings(self._tables.new, salvage.missing)
        salvage.lost = sum(one.last - one.first + 1 for one in salvage.missing)
        return last_row, chain

    def _rows_of_the_journal(self, newest: int, given_up: dict[int, int]) -> Iterator[JournalRow | UnreadableRow]:
        """The rows in order, as found by their numbers. In place of a missing, unreadable or changed row comes the one
        with this number on an unreachable page, where its hash proves it.
        """
        stray = self._stray_rows(newest, given_up)
        expected = 1
        for row in row_check.journal_rows(self._source, 1, newest):
            yield from (stray.pop(number) for number in sorted(stray) if expected <= number < row.id)
            expected = row.id + 1
            yield stray.pop(row.id, row)
        yield from (stray[number] for number in sorted(stray) if number >= expected)

    def _stray_rows(self, newest: int, given_up: dict[int, int]) -> dict[int, JournalRow | UnreadableRow]:
        there = bytearray(newest // 8 + 1)  # a bit for each number that needs no further search
        for first, last in given_up.items():
            for number in range(first, min(last, newest) + 1):
                there[number >> 3] |= 1 << (number & 7)
        for row in row_check.journal_rows(self._source, 1, newest):
            if not isinstance(row, UnreadableRow):
                own = b""
                with suppress(Exception):  # a damaged row may hold values of any type and size
                    own = row.computed
                if own == row.hash or self.emptied.covers(pruned_ranges.JOURNAL, row.id, row.hash, own):
                    there[row.id >> 3] |= 1 << (row.id & 7)

        def is_wanted(number: int) -> bool:
            return 1 <= number <= newest and not there[number >> 3] & 1 << (number & 7)

        if not any(is_wanted(number) for number in range(1, newest + 1)):
            return {}
        names = [row[1] for row in self._source.execute("PRAGMA table_info(journal)")]
        places = [names.index(name) for name in COLUMNS]
        (path,) = (row[2] for row in self._source.execute("PRAGMA database_list") if row[1] == "main")
        found: dict[int, JournalRow | UnreadableRow] = {}
        for values in stray_rows(Path(path), PAGE_BYTES, len(names), is_wanted):
            row = JournalRow._make(values[place] for place in places)
            if _is_as_stored(row):
                found[row.id] = row
        return found

    def _is_changed(self, row: JournalRow) -> bool:
        """Whether a row's content is unproven, by its hash and by the seals of its columns."""
        with suppress(Exception):  # a damaged row may hold values of any type and size
            own = row.computed
            if own == row.hash or self.emptied.covers(pruned_ranges.JOURNAL, row.id, row.hash, own):
                return False
            payload = row_check.open_sealed(self._vault, row)["body"]
            # The other columns have no seal: only the hash can prove number, times and type. The place of a message is
            # certain where its number is free.
            fits = row.kind != KIND_MESSAGE or self._vault.fits(row.token, row.channel, sha256(payload).digest())
            return not (len(payload) == row.size and fits and self._only_hash_is_hit(row))
        return True

    def _only_hash_is_hit(self, row: JournalRow) -> bool:
        """Whether the row's stored chain value follows from its content: then its hash value alone was damaged."""
        before = self._source.execute("SELECT chain FROM journal WHERE id = ?", (row.id - 1,)).fetchone()
        previous = before[0] if before else GENESIS if row.id == 1 else b""
        return chain_hash(previous, row.computed) == row.chain

    def _miss(self, expected: int, row_id: int, given_up: dict[int, int], why: str = "missing") -> int:
        """Record the rows from ``expected`` to before ``row_id`` as missing, except for those given up before."""
        while expected < row_id and expected in given_up:
            expected = given_up[expected] + 1
        if expected < row_id:
            missing = self._tables.salvage.missing
            if missing and missing[-1].last == expected - 1 and missing[-1].why == why:
                missing[-1].last = row_id - 1
            else:
                missing.append(MissingRows(expected, row_id - 1, why))
        return max(expected, row_id)


def _tell_surroundings(new: sqlite3.Connection, rows: list[MissingRows]) -> None:
    """Add the time of the missing rows, and the messages of each channel among them."""
    execute = new.execute
    channels = [name for (name,) in execute("SELECT DISTINCT channel FROM journal WHERE kind = 1 ORDER BY 1")]
    for one in rows:
        before = execute("SELECT received_us FROM journal WHERE id < ? ORDER BY id DESC LIMIT 1", (one.first,))
        one.after = moment(before.fetchone())
        after = execute("SELECT received_us FROM journal WHERE id > ? ORDER BY id LIMIT 1", (one.last,))
        one.before = moment(after.fetchone())
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


def decided(new: sqlite3.Connection, vault: Vault) -> set[int]:
    """Messages that the audit trail closes for good: also where their rows are lost."""
    acts = (act for act in decisions.acts(new, vault, 0) if act[2] in ("dismiss", "reject"))
    return {message for act in acts for message in decisions.concerned(act)}


def _let_go(source: sqlite3.Connection) -> list[Range]:
    """Ranges that retention has deleted, where the record of it is whole."""
    with suppress(*DAMAGE):  # a damaged table proves nothing
        select = f"SELECT {ROW_COLUMNS} FROM journal WHERE id = ?"  # noqa: S608 - constant
        found: list[Range] = []
        for one in pruned_ranges.every(source.execute):
            row = source.execute(select, (one.record,)).fetchone()
            if (
                row is not None
                and pruned_ranges.is_vouched_for(source.execute, one)
                and _is_as_stored(JournalRow._make(row))
            ):
                found.append(one)
        return found
    return []


def _is_as_stored(row: JournalRow) -> bool:
    with suppress(Exception):  # a damaged row may hold values of any type and size
        return row.computed == row.hash
    return False


_DELIVERY_STATES = ("waiting", "sending", "delivered", "dead", "held", "rejected", "dismissed", "superseded")
_DOCUMENT_FIELDS = ("id", "message_id", "revision", "ordinal", "media_type", "conditional", "reports", "body")


def take_documents(tables: Tables, emptied: pruned_ranges.AccountedRows) -> None:
    """Copy unchanged documents. Their numbers are gapless, too, so `labrelay verify` must know the lost ones."""
    expected, gaps = 1, list(verify.document_gaps(tables.new).items())
    columns = tables.columns("document")
    for row in tables.rows("document", columns):
        fields = dict(zip(columns, row, strict=True))
        intact = False
        with suppress(Exception):  # a damaged row may hold values of any type
            own, stored = document_hash(*(fields[name] for name in _DOCUMENT_FIELDS)), fields["hash"]
            intact = own == stored or emptied.covers(pruned_ranges.DOCUMENT, fields["id"], stored, own)
        if intact and tables.has("journal", fields["message_id"]):
            tables.insert("document", columns, row)
            if fields["id"] > expected:
                gaps.append((expected, fields["id"] - 1))
            expected = fields["id"] + 1
        else:
            tables.damaged.add("document")
    lost = orjson.dumps(gaps).decode()
    tables.new.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('document_gaps', ?)", (lost,))


def take_deliveries(tables: Tables, vault: Vault) -> None:
    """Copy deliveries of their message's own document that are proven by their key; any other counts as lost."""
    columns = tables.columns("delivery")
    for row in tables.rows("delivery", columns):
        fields = dict(zip(columns, row, strict=True))
        if _is_what_was_queued(tables.new, vault, fields):
            tables.insert("delivery", columns, row)
        else:
            tables.damaged.add("delivery")
    tables.take("attempt", "EXISTS (SELECT 1 FROM delivery WHERE id = ?1)")


def _is_what_was_queued(new: sqlite3.Connection, vault: Vault, delivery: dict[str, Any]) -> bool:
    """Only its key protects this row: a flipped bit in it must not send one patient's result as another's."""
    if delivery["state"] not in _DELIVERY_STATES:
        return False
    found = new.execute(
        "SELECT j.token, o.revision, o.ordinal, l.destination FROM document o JOIN journal j ON j.id = o.message_id"
        " JOIN lane l ON l.channel = j.channel WHERE o.id = ? AND o.message_id = ? AND l.id = ?",
        (delivery["document_id"], delivery["message_id"], delivery["lane"]),
    ).fetchone()
    return found is not None and vault.delivery_key(*found) == delivery["key"]


def remember_reports(new: sqlite3.Connection, now_us: int) -> None:
    """Rebuild the owners of order and patient numbers from the documents: without them an older result that is
    processed again would look like a newer one.
    """
    execute = new.execute
    for message_id, received_us, packed in execute(
        "SELECT o.message_id, j.received_us, o.reports FROM document o JOIN journal j ON j.id = o.message_id"
        " WHERE o.reports <> x'' AND j.received_us > ? AND EXISTS (SELECT 1 FROM delivery d"
        # by its message, which has an index: else each document would scan all deliveries
        " WHERE d.message_id = o.message_id AND d.document_id = o.id AND d.state NOT IN ('rejected', 'dismissed'))",
        (now_us - REPORT_MEMORY_US,),
    ).fetchall():
        until_us = received_us + REPORT_MEMORY_US
        reports = unpack_reports(packed)
        new.executemany(
            "INSERT OR IGNORE INTO report (key, message_id, patient, person, until_us) VALUES (?, ?, ?, ?, ?)",
            [(one.key, message_id, one.patient, one.person, until_us) for one in reports],
        )
        for part in SALVAGE.each():
            part.remember(new, message_id, received_us, until_us, reports)


def process_again(tables: Tables, gone: Sequence[Range], decided: Collection[int]) -> None:
    """Remove the verdict of messages that may have lost a document or a delivery, so that they are processed again.

    The places in the lanes show which: between two deliveries of a lane that are not adjacent there were messages of
    that channel. Where a person has decided about a message, nothing is done again: it is listed.
    """
    execute = tables.new.execute
    again: set[int] = set()
    again.update(
        message
        for (message,) in execute(
            "SELECT s.id FROM message_state s WHERE s.state = 'mapped'"
            " AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message_id = s.id)"
        )
    )
    for lane_id, channel, last_seq in execute("SELECT id, channel, last_seq FROM lane").fetchall():
        again |= _skipped(tables.new, gone, lane_id, channel, last_seq)
    for message in sorted(again):
        if pruned_ranges.act_of(execute, pruned_ranges.JOURNAL, message):
            continue
        (stand,) = execute(
            "SELECT count(*) FROM delivery WHERE message_id = ?"
            " AND state IN ('held', 'rejected', 'dismissed', 'superseded')",
            (message,),
        ).fetchone()
        if stand or message in decided:
            tables.salvage.unsure.append(message)
        else:
            execute("DELETE FROM message_state WHERE id = ?", (message,))
            tables.salvage.again.append(message)


def _skipped(new: sqlite3.Connection, gone: Sequence[Range], lane_id: int, channel: str, last_seq: int) -> set[int]:
    """Messages that may have had one of the missing deliveries of a lane."""
    execute = new.execute
    found: set[int] = set()
    seq, message = 0, 0
    end = [(last_seq + 1, 1 << 62)]
    rows = execute("SELECT seq, message_id FROM delivery WHERE lane = ? ORDER BY seq", (lane_id,)).fetchall()
    let_go = {one.first: one.last for one in gone if one.what == pruned_ranges.lane(lane_id)}
    for next_seq, next_message in rows + end:
        expected = seq + 1
        while expected in let_go:
            expected = let_go[expected] + 1
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


def restore_verdicts(tables: Tables, vault: Vault, decided: Collection[int]) -> None:
    """Restore lost verdicts that are recorded elsewhere, too. Text that never became a message must not become one now.

    Always done: a page of an earlier time, as a damaged log leaves it, can be readable and lack rows all the same.
    """
    execute = tables.new.execute
    for row_id, channel, meta, received_us, delivered in execute(
        "SELECT j.id, j.channel, j.meta, j.received_us, EXISTS (SELECT 1 FROM delivery WHERE message_id = j.id)"
        " FROM journal j LEFT JOIN message_state s ON s.id = j.id WHERE j.kind = 1 AND s.id IS NULL"
    ).fetchall():
        known = orjson.loads(vault.open(meta, "meta", row_id, channel))
        repeat = ReasonCode.REPEAT.value if "repeat_of" in known else ""
        if reason := known.get("incomplete"):
            state = "incomplete"
        elif reason := known.get("filtered") or repeat:
            state = "filtered"
        elif "erased" in known:  # it has no content to process
            state, reason = "mapped" if delivered else "dismissed", ""
        elif delivered:
            state, reason = "mapped", ""
        elif row_id in decided:
            state, reason = "dismissed", ""
            tables.salvage.unsure.append(row_id)
        else:
            continue  # processed again
        put_state(tables.new, row_id, state, reason, received_us)
        search_index.note_unknown(execute, vault, row_id)
