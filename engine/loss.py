"""Comparing a journal with its anchor: are all acknowledged rows still there?"""

import sqlite3

from engine.anchor import Reading
from engine.errors import IntegrityError


class LossError(IntegrityError):
    """The anchor proves that rows are missing, or that this is not the journal that it knows.

    Attributes:
        first, last: the missing row numbers; 0 and 0 where they cannot be told.
    """

    def __init__(self, message: str, first: int = 0, last: int = 0) -> None:
        super().__init__(message)
        self.first = first
        self.last = last


def find_loss(connection: sqlite3.Connection, reading: Reading, journal_id: bytes, last_id: int) -> LossError | None:
    """None where journal and anchor agree. An anchor behind the journal is normal: it is written after the commit.

    Args:
        last_id: the newest row, or the newest number that was given up for lost. Where a daemon may be writing, it
            must have been read *after* the anchor.
    """
    mark = reading.mark
    if mark is None:
        if last_id == 0:
            return None
        what = "cannot be read: both of its slots are damaged" if reading.exists else "is missing"
        return LossError(f"the journal has rows 1 to {last_id}, but its anchor {what}; loss cannot be ruled out")
    if mark.journal_id != journal_id:
        return LossError("the anchor belongs to another journal: this one is a copy of another's, or was made anew")
    if mark.last_id > last_id:
        first, last = last_id + 1, mark.last_id
        return LossError(f"rows {first} to {last} were acknowledged and are not in the journal", first, last)
    if mark.last_id == 0:
        return None
    row = connection.execute("SELECT chain FROM journal WHERE id = ?", (mark.last_id,)).fetchone()
    if row is None:
        return LossError(f"row {mark.last_id} was acknowledged and is not in the journal", mark.last_id, mark.last_id)
    if row[0] != mark.chain:
        return LossError(f"row {mark.last_id} is not the one that was acknowledged under this number")
    return None
