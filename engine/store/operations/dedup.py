"""Short-lived tables of keyed hashes: messages with the same bytes, and the owner of each report number.

Both tables are small: old rows are swept in steps of a few hundred. Their keys are random, which is affordable only in
small tables; the message table has no such key.

Age is measured by a clock that follows no jump of the system time (`Batch.steady_us`): one minute in a wrong year must
not make the next patient with a number the first. Whether the same bytes are a repeat, `engine.model.repeats` decides.
"""

from engine.features.results.rows import number_bearers, used_numbers
from engine.model.hashes import unpack_reports
from engine.model.message import Report
from engine.model.reasons import ReasonCode
from engine.model.values import value
from engine.store.core.batch import Batch

HOUR_US = 3_600_000_000
EQUAL_MEMORY_US = 30 * 24 * HOUR_US
REPORT_MEMORY_US = 90 * 24 * HOUR_US

_CONTROL_BYTES = 12  # the first half of a message token
TOKEN_BYTES = 24
_LAST = b"\xff" * 12


@value()
class EarlierCopies:
    """Earlier messages with the token of a message.

    Attributes:
        newest: the newest message with the same channel, control id and bytes, or None.
        newest_us: when it was received.
        came_to_nothing: it was filtered, is dead, or was dismissed; or all its deliveries are.
        rejected: a person has dismissed it, or rejected or dismissed a delivery of it.
        apart: it was itself processed as a second message beside an earlier one with its bytes.
        other_bytes: the control id came before, with other bytes; known only where ``newest`` is None.
    """

    newest: int | None = None
    newest_us: int = 0
    came_to_nothing: bool = False
    rejected: bool = False
    apart: bool = False
    other_bytes: bool = False


def look_up(batch: Batch, token: bytes, received_us: int, *, has_control_id: bool) -> EarlierCopies:
    """Look up the remembered messages with this token."""
    control = token[:_CONTROL_BYTES]
    last = control + _LAST if has_control_id else b""  # without a control id the range is empty
    # The exact token if it is known, else any other one under the same control id. There may be thousands of those:
    # some analyzers never change their control id.
    row = batch.execute(
        "SELECT token, message_id FROM repeat WHERE token = ? AND until_us >= ?"
        " UNION ALL SELECT token, message_id FROM repeat WHERE token BETWEEN ? AND ? AND until_us >= ?"
        " LIMIT 1",
        (token, received_us, control, last, received_us),
    ).fetchone()
    if row is None:
        return EarlierCopies()
    known, first = row
    if known != token:
        return EarlierCopies(other_bytes=True)
    kept = batch.execute("SELECT received_us, length(token) FROM journal WHERE id = ?", (first,)).fetchone()
    if kept is None:  # retention has deleted it, so it is older than a day
        return EarlierCopies(first)
    came_to_nothing, rejected = _became(batch, first)
    return EarlierCopies(first, kept[0], came_to_nothing, rejected, kept[1] != TOKEN_BYTES)


def _became(batch: Batch, message_id: int) -> tuple[bool, bool]:
    """Whether nothing of the message was or will be delivered, or a destination has refused it; and whether a person
    dismissed or rejected it or a part of it.

    A laboratory sends such a message again from the analyzer once the cause is fixed, and today's routes may take it.
    """
    row = batch.execute("SELECT state, reason FROM message_state WHERE id = ?", (message_id,)).fetchone()
    state, reason = row if row is not None else ("", "")
    if reason == ReasonCode.ORDERS.value:  # the worklist has them
        return False, False
    if state != "mapped":
        return state in ("dead", "dismissed", "filtered"), state == "dismissed"
    rows = batch.execute("SELECT DISTINCT state FROM delivery WHERE message_id = ?", (message_id,)).fetchall()
    states = {state for (state,) in rows}
    came_to_nothing = "dead" in states or (bool(states) and states <= {"dismissed", "rejected"})
    return came_to_nothing, bool(states & {"dismissed", "rejected"})


def remember(batch: Batch, token: bytes, message_id: int, received_us: int) -> None:
    """Remember a message as the newest with its token."""
    batch.execute(
        "INSERT OR REPLACE INTO repeat (token, message_id, until_us) VALUES (?, ?, ?)",
        (token, message_id, received_us + EQUAL_MEMORY_US),
    )


def conflicting(batch: Batch, message_id: int, reports: list[Report]) -> int | None:
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


def remember_reports(batch: Batch, message_id: int, reports: list[Report]) -> None:
    """Record ``message_id`` as the newest message with these reports."""
    batch.executemany(
        "INSERT OR REPLACE INTO report (key, message_id, patient, person, until_us) VALUES (?, ?, ?, ?, ?)",
        [(one.key, message_id, one.patient, one.person, batch.now_us + REPORT_MEMORY_US) for one in reports],
    )


def forget_reports(batch: Batch, message_id: int) -> None:
    """Release the report numbers of a message that was dismissed or rejected, and the patient numbers that only it
    used.
    """
    for report in reports_of(batch, message_id):
        batch.execute("DELETE FROM report WHERE key = ? AND message_id = ?", (report.key, message_id))
    number_bearers.forget(batch, message_id)
    used_numbers.forget(batch, message_id)


def reports_of(batch: Batch, message_id: int) -> list[Report]:
    """The reports that the documents of a message carry."""
    rows = batch.execute("SELECT reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    return [report for (packed,) in rows for report in unpack_reports(packed)]
