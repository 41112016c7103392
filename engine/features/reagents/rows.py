"""Reagent lots, and the messages that name them; written with the outcome of a message.

Two tables, so that a lot used for thousands of results is stored once. The journal keeps at most `REAGENT_ROWS`
different lots: an analyzer that sends noise as lots must not fill the disk.
"""

from collections.abc import Sequence

from engine.feature import Table
from engine.model.content.reagents import lot_key
from engine.model.journal.records import REAGENT_ROWS, REAGENT_TESTS
from engine.model.message import Reagent
from engine.store.core.writing.batch import Batch

TABLES = (
    Table(name="reagent_use", copied="SELECT id FROM state.touched", by="message_id", pruned="message_id"),
    Table(name="reagent", copied="SELECT * FROM main.reagent WHERE id IN (SELECT reagent FROM state.reagent_use)"),
)
_NAMED = "channel = ? AND lot_key = ? AND name = ? AND expires = ?"


def note(batch: Batch, message_id: int, channel: str, received_us: int, reagents: Sequence[Reagent]) -> None:
    """Store the reagents that a message names, in place of those from an earlier processing."""
    for (row_id,) in batch.execute("SELECT reagent FROM reagent_use WHERE message_id = ?", (message_id,)).fetchall():
        batch.execute("DELETE FROM reagent_use WHERE reagent = ? AND message_id = ?", (row_id, message_id))
        batch.execute("UPDATE reagent SET n = n - 1 WHERE id = ?", (row_id,))
    for reagent in reagents:
        row_id = _row(batch, channel, received_us, reagent)
        if row_id is None:
            batch.count(channel, "", "lots_not_kept")
            continue
        batch.execute(
            "INSERT OR IGNORE INTO reagent_use (reagent, message_id, tests) VALUES (?, ?, ?)",
            (row_id, message_id, "\n".join(reagent.tests)),
        )


def _row(batch: Batch, channel: str, received_us: int, reagent: Reagent) -> int | None:
    """The row of a lot, brought up to date; None where the limit is reached."""
    named = (channel, lot_key(reagent.lot), reagent.name, reagent.expires)
    row = batch.execute(f"SELECT id, tests FROM reagent WHERE {_NAMED}", named).fetchone()  # noqa: S608 - a constant
    if row is not None:
        row_id, tests = row
        batch.execute(
            "UPDATE reagent SET n = n + 1, first_us = min(first_us, :at), tests = :tests,"
            " remains = CASE WHEN :at >= last_us AND :left <> '' THEN :left ELSE remains END,"
            " last_us = max(last_us, :at) WHERE id = :id",
            {"at": received_us, "left": reagent.left, "tests": _with(tests, reagent.tests), "id": row_id},
        )
        return int(row_id)
    (rows,) = batch.execute("SELECT count(*) FROM reagent").fetchone()
    if rows >= REAGENT_ROWS:
        return None
    (row_id,) = batch.execute(
        "INSERT INTO reagent (channel, lot_key, name, expires, lot, tests, remains, first_us, last_us, n)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) RETURNING id",
        (*named, reagent.lot, _with("", reagent.tests), reagent.left, received_us, received_us),
    ).fetchone()
    return int(row_id)


def _with(known: str, more: Sequence[str]) -> str:
    """The codes of tests, one per line; at most `REAGENT_TESTS` of them."""
    codes = dict.fromkeys([*filter(None, known.split("\n")), *more])
    return "\n".join(list(codes)[:REAGENT_TESTS])
