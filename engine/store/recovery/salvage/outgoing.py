"""Documents, deliveries and verdicts: unchanged ones are copied; possibly lost ones are made by processing again."""

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import orjson

from engine.model.journal.hashes import unpack_reports
from engine.model.texts.reasons import ReasonCode
from engine.store.core.chain import document_hash
from engine.store.core.checks import erased_rows, pruned_ranges
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.vault import Vault
from engine.store.integrity import verify
from engine.store.operations import search_index
from engine.store.operations.dedup import REPORT_MEMORY_US
from engine.store.recovery.rebuilding import put_state
from engine.store.recovery.salvage.tables import SALVAGE, Tables

_DELIVERY_STATES = ("waiting", "sending", "delivered", "dead", "held", "rejected", "dismissed", "superseded")
_DOCUMENT_FIELDS = ("id", "message_id", "revision", "ordinal", "media_type", "conditional", "reports", "body")


def take_documents(tables: Tables, emptied: erased_rows.AccountedRows) -> None:
    """Copy unchanged documents. Their numbers are gapless, too, so `labrelay verify` must know the lost ones."""
    expected, gaps = 1, list(verify.document_gaps(tables.new).items())
    columns = tables.columns("document")
    for row in tables.rows("document", columns):
        fields = dict(zip(columns, row, strict=True))
        intact = False
        with suppress(Exception):  # a damaged row may hold values of any type
            own, stored = document_hash(*(fields[name] for name in _DOCUMENT_FIELDS)), fields["hash"]
            intact = own == stored or emptied.covers(erased_rows.DOCUMENT, fields["id"], stored, own)
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
        if erased_rows.act_of(execute, erased_rows.JOURNAL, message):
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
