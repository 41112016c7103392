"""Codes that no code table had: how often each was seen, and the texts that a person needs to map it.

A transaction counts them by itself and writes each once, when it ends: an analyzer without a code table of its own
sends the same twenty codes with each message. The texts are sealed, for a sender may put anything into a code.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson

from engine.message import Unmapped
from engine.records import UNMAPPED_ROWS
from engine.vault import NOTE_KEYS

if TYPE_CHECKING:
    from engine.batch import Batch

_MOST_TEXT = 200  # characters of each text


class UnmappedCodes:
    """Those of one transaction."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str, str], tuple[int, str]] = {}  # (channel, table, code, unit) -> n, display

    def note(self, channel: str, unmapped: Iterable[Unmapped]) -> None:
        for one in unmapped:
            key = channel, one.table, one.code, one.unit
            n, display = self._seen.get(key, (0, one.display))
            self._seen[key] = n + 1, display

    def write(self, batch: "Batch") -> None:
        """Add them to table ``unmapped_code``; of too many different ones a channel's counter says how many."""
        for (channel, table, code, unit), (n, display) in self._seen.items():
            texts = [text[:_MOST_TEXT] for text in (table, code, unit, display)]
            parts = (text.encode("utf-8", "surrogatepass") for text in (channel, *texts[:3]))
            token = batch.vault.past_key(b"unmapped", *parts)
            counted = batch.execute(
                "UPDATE unmapped_code SET n = n + ?, last_us = ? WHERE token = ?", (n, batch.now_us, token)
            )
            if counted.rowcount:
                continue
            if batch.unmapped_rows >= UNMAPPED_ROWS:
                batch.count(channel, "", "unmapped_not_kept", n)
                continue
            batch.unmapped_rows += 1
            (row_id,) = batch.execute("SELECT coalesce(max(id), 0) + 1 FROM unmapped_code").fetchone()
            sealed = batch.seal(NOTE_KEYS, orjson.dumps(texts), "unmapped", row_id, channel)
            batch.execute(
                "INSERT INTO unmapped_code (id, channel, token, text, n, first_us, last_us)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (row_id, channel, token, sealed, n, batch.now_us, batch.now_us),
            )
