"""Damage to a journal's files, and what SQLite still reads of them: by this it is told whether a row was harmed."""

import sqlite3
from contextlib import closing
from pathlib import Path

from engine.store.core.connecting import JOURNAL_NAME

_ROW = (
    "SELECT id, kind, channel, seq, received_us, session, message_type, size, token, hash, chain, meta, body"
    " FROM journal WHERE id = ?"
)


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def rows(data: Path, last: int = 1000) -> dict[int, object]:
    """Every row that can be read, by its number; each by itself, so that a bad page costs only its own rows.

    Args:
        last: the highest number that is looked for.
    """
    found: dict[int, object] = {}
    with closing(sqlite3.connect(f"file:{data / JOURNAL_NAME}?mode=ro", uri=True)) as connection:
        for number in range(1, last + 1):
            try:
                row = connection.execute(_ROW, (number,)).fetchone()
            except (sqlite3.Error, UnicodeDecodeError):
                continue
            if row is not None:
                found[number] = row
    return found
