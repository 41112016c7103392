"""The older messages with the orders of a message, as its documents name these."""

from collections.abc import Iterable

from engine.model.journal.hashes import neighbours, unpack_reports
from engine.model.message import Report
from engine.store.core.writing.batch import Batch

NEAR_DAYS = 2  # how near a day must be for its orders to be candidates of a correction
_MOST = 1_001  # more are not remembered (`engine.features.results.rows.judged`)


def is_any_near(batch: Batch, message_id: int, reports: Iterable[Report]) -> bool:
    """Whether another message carries the number of one of these orders, on its day or an adjacent one. One look-up for
    the usual message, whose orders are new.
    """
    return any(
        batch.execute(
            "SELECT 1 FROM report WHERE key BETWEEN ? AND ? AND message_id <> ? LIMIT 1",
            (*neighbours(report.key, NEAR_DAYS), message_id),
        ).fetchone()
        for report in reports
    )


def known_orders(batch: Batch, message_id: int, channel: str, reports: Iterable[Report], *, of_site: bool) -> list[int]:
    """The older messages that carry one of these orders for the same patient, or without a patient.

    Args:
        of_site: also those of other channels.
    """
    found: set[int] = set()
    for report in reports:
        first, last = neighbours(report.key, NEAR_DAYS)
        rows = batch.execute(
            "SELECT r.message_id, r.patient FROM report r JOIN journal j ON j.id = r.message_id"
            " WHERE r.key BETWEEN ? AND ? AND r.message_id < ? AND (r.patient IN (?, x'') OR r.key = ?)"
            " AND r.until_us >= ? AND (? OR j.channel = ?) ORDER BY r.message_id DESC LIMIT ?",
            (first, last, message_id, report.patient, report.key, batch.steady_us, of_site, channel, _MOST),
        ).fetchall()
        found |= {
            other for other, patient in rows if patient in (report.patient, b"") or _tells_of(batch, other, report)
        }
    return sorted(found)


def _tells_of(batch: Batch, message_id: int, report: Report) -> bool:
    """Whether a message of another patient concerns this one, too: it has withdrawn a result (`rows.moved_orders`)."""
    rows = batch.execute("SELECT reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    found = (one for (packed,) in rows for one in unpack_reports(packed))
    return any((one.key, one.patient) == (report.key, report.patient) for one in found)
