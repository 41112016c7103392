"""The owners of numbers in a salvage, made anew from the documents that were sent."""

import sqlite3
from collections.abc import Sequence

from engine.features.results.rows.number_bearers import FOR_GOOD, REFERENCE
from engine.model.message import Report
from engine.model.process.clock import from_us
from engine.store.recovery.salvage.tables import Part


def remember(
    new: sqlite3.Connection, message_id: int, received_us: int, until_us: int, reports: Sequence[Report]
) -> None:
    day = from_us(received_us).toordinal()
    new.executemany(
        "INSERT INTO used_number (number, message_id, first_day, last_day, use, waits, noted_us)"
        " SELECT ?1, ?2, ?3, ?3, 0, 0, ?4 WHERE NOT EXISTS (SELECT 1 FROM used_number WHERE number = ?1)",
        [(one.key, message_id, day, received_us) for one in reports if not any(one.key[12:])],
    )
    # For patients whose row is lost, store the hash: they stay known, and another person with the number is a conflict.
    new.executemany(
        "INSERT OR IGNORE INTO bearer (number, whole, standing, message_id, others, until_us, noted_us, record,"
        " person) VALUES (?, ?, ?, ?, 1, ?, ?, x'', 1)",
        [
            (number, one.person, REFERENCE, message_id, until, received_us)
            for one in reports
            for number, until in ((one.patient, FOR_GOOD), (one.key, until_us))
            if one.patient and one.person
        ],
    )


SALVAGE = Part(remember=remember)
