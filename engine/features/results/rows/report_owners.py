"""The owner of each order or specimen number, by keyed hashes: the patient, and the newest message.

As with bytes that came again (`engine.store.operations.dedup`) the table is small, and old rows are swept. Age is
measured by a clock that follows no jump of the system time (`Batch.steady_us`): one minute in a wrong year must not
make the next patient with a number the first.
"""

import re

from engine.features.results.rows import number_bearers, used_numbers
from engine.model.message import Report
from engine.store.core.connecting import reports_of
from engine.store.core.writing.batch import Batch
from engine.store.operations import dedup

_WHY = "message {} used the same order or specimen number for another patient"


def conflict(batch: Batch, message_id: int, reports: list[Report]) -> str:
    """Why a number of this message conflicts with another patient's; empty without a conflict."""
    if not taken(batch, message_id, reports):
        return ""
    other = _conflicting(batch, message_id, reports)
    return "" if other is None else _WHY.format(other)


def named_in(why: str) -> int:
    """The message of the other patient, in the reason of a dead letter; 0: it names none."""
    found = re.search(_WHY.replace("{}", "([0-9]+)"), why)
    return int(found[1]) if found else 0


def _conflicting(batch: Batch, message_id: int, reports: list[Report]) -> int | None:
    """A message that used one of these report numbers for another patient, or None.

    Two reports conflict only where both name a patient; a message never conflicts with itself. A patient who already
    has the number causes no conflict: a person has accepted that two patients share it, and a correction needs no
    second decision.
    """
    for report in reports:
        if not report.patient:
            continue
        row = batch.execute(
            "SELECT message_id FROM report WHERE key = ? AND patient <> ? AND patient <> x'' AND message_id <> ?"
            " AND until_us >= ? AND NOT EXISTS (SELECT 1 FROM report own WHERE own.key = report.key AND own.patient = ?"
            " AND own.message_id <> ? AND own.until_us >= ?) LIMIT 1",
            (report.key, report.patient, message_id, batch.steady_us, report.patient, message_id, batch.steady_us),
        ).fetchone()
        if row is not None:
            return int(row[0])
    return None


def taken(batch: Batch, message_id: int, reports: list[Report]) -> bool:
    """Whether another message has used one of these report numbers. That is rare; without it there is no conflict."""
    other = "SELECT 1 FROM report WHERE key = ? AND message_id <> ? LIMIT 1"
    return any(batch.execute(other, (report.key, message_id)).fetchone() for report in reports)


def newer(batch: Batch, message_id: int, reports: list[Report]) -> bool:
    """Whether a newer message carries one of these reports: this message is out of order, as after a salvage."""
    later = "SELECT 1 FROM report WHERE key = ? AND message_id > ? LIMIT 1"
    return any(batch.execute(later, (report.key, message_id)).fetchone() for report in reports)


def remember(batch: Batch, message_id: int, reports: list[Report]) -> None:
    """Record ``message_id`` as the newest message with these reports."""
    batch.executemany(
        "INSERT OR REPLACE INTO report (key, message_id, patient, person, until_us) VALUES (?, ?, ?, ?, ?)",
        [(one.key, message_id, one.patient, one.person, batch.now_us + dedup.REPORT_MEMORY_US) for one in reports],
    )


def forget(batch: Batch, message_id: int) -> None:
    """Release the report numbers of a message that was dismissed or rejected, and the patient numbers that only it
    used.
    """
    for report in reports_of(batch, message_id):
        batch.execute("DELETE FROM report WHERE key = ? AND message_id = ?", (report.key, message_id))
    number_bearers.forget(batch, message_id)
    used_numbers.forget(batch, message_id)
