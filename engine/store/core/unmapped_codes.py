"""Codes without an entry in their code table: a count of each, and the texts that a person needs to map it.

A transaction counts them in memory and writes each once, when it ends: an analyzer without a code table of its own
sends the same twenty codes with each message. The texts are sealed, for a code from a sender may contain anything.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson

from engine.model.journal.records import UNMAPPED_ROWS
from engine.model.message import Unmapped
from engine.store.core.vault import NOTE_KEYS

if TYPE_CHECKING:
    from engine.store.core.writing.batch import Batch

ROWS_REMEMBERED = 4096
LOOKED_UP = 300  # in one transaction, during which nothing is acknowledged; a code table has some hundred codes
_MOST_TEXT = 200  # characters of each text
_UPDATE = "UPDATE unmapped_code SET n = n + ?, last_us = ? WHERE id = ?"


Key = tuple[str, str, str, str]
"""Channel, table, code, unit."""


class UnmappedCodes:
    """The unmapped codes of one transaction.

    Attributes:
        rows: code -> number of its row, where it was looked up or written here.
    """

    __slots__ = ("_seen", "rows")

    def __init__(self) -> None:
        self._seen: dict[Key, tuple[int, str]] = {}  # -> n, display
        self.rows: dict[Key, int] = {}

    def note(self, channel: str, unmapped: Iterable[Unmapped]) -> None:
        for one in unmapped:
            key = channel, one.table, one.code, one.unit
            n, display = self._seen.get(key, (0, one.display))
            self._seen[key] = n + 1, display

    def write(self, batch: "Batch") -> None:
        """Add them to table ``unmapped_code``; beyond the limits a channel's counter counts them."""
        known = batch.tail.code_rows
        again = [(n, batch.now_us, known[key]) for key, (n, _) in self._seen.items() if key in known]
        if again:
            batch.executemany(_UPDATE, again)
        if len(again) < len(self._seen):
            others = [key for key in self._seen if key not in known]
            for key in others[:LOOKED_UP]:
                self._look_up(batch, key, *self._seen[key])
            for key in others[LOOKED_UP:]:
                batch.count(key[0], "", "unmapped_not_kept", self._seen[key][0])

    def _look_up(self, batch: "Batch", key: Key, n: int, display: str) -> None:
        channel, *texts = key[0], *(text[:_MOST_TEXT] for text in (*key[1:], display))
        parts = (text.encode("utf-8", "surrogatepass") for text in (channel, *texts[:3]))
        token = batch.vault.past_key(b"unmapped", *parts)
        if row := batch.execute("SELECT id FROM unmapped_code WHERE token = ?", (token,)).fetchone():
            self.rows[key] = row[0]
            batch.execute(_UPDATE, (n, batch.now_us, row[0]))
            return
        if batch.unmapped_rows >= UNMAPPED_ROWS:
            batch.count(channel, "", "unmapped_not_kept", n)
            return
        batch.unmapped_rows += 1
        (row_id,) = batch.execute("SELECT coalesce(max(id), 0) + 1 FROM unmapped_code").fetchone()
        self.rows[key] = row_id
        sealed = batch.seal(NOTE_KEYS, orjson.dumps(texts), "unmapped", row_id, channel)
        batch.execute(
            "INSERT INTO unmapped_code (id, channel, token, text, n, first_us, last_us) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row_id, channel, token, sealed, n, batch.now_us, batch.now_us),
        )

    def committed(self, known: dict[Key, int]) -> None:
        """Cache their rows. No row is removed while the store is open. Rows of long codes are not cached."""
        if len(known) + len(self.rows) > ROWS_REMEMBERED:
            known.clear()
        for key, row in self.rows.items():
            if sum(map(len, key)) <= _MOST_TEXT and len(known) < ROWS_REMEMBERED:
                known[key] = row
