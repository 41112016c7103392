"""An older result never takes the place of a newer one that was delivered (P3).

A lane keeps its order, so this concerns what a person retries or replays and routes without order. Both messages carry
the same report (channel, order or specimen number, day, patient), and the older one is not sent. Unless the two write
nothing in common: analyzers send the tests of one specimen in several sessions, and a late one is no older version.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable
from typing import Protocol

from engine.batch import Batch
from engine.errors import IntegrityError, StoreError
from engine.hashes import unpack_reports
from engine.message import Report
from engine.packing import unpack
from engine.vault import Vault

# What a transaction Bundle writes under our own ids, by the type that says something about a result.
_WRITES = re.compile(rb'"url":"((?:Observation|DiagnosticReport)/[0-9A-Za-z.-]+)"')


class Rows(Protocol):
    """What looks need: statements of one transaction, and the keys."""

    @property
    def execute(self) -> Callable[..., sqlite3.Cursor]: ...
    @property
    def vault(self) -> Vault: ...


def is_superseded(batch: Batch, delivery_id: int) -> bool:
    """Whether a newer message's document for one of the same reports, and the same results, was delivered in this lane.

    A report of another patient under the same number, which a person has accepted, is another report.
    """
    row = batch.execute(
        "SELECT d.lane, d.message_id, d.document_id, o.reports FROM delivery d"
        " JOIN document o ON o.id = d.document_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no delivery {delivery_id}")
    lane_id, message_id, document_id, packed = row
    return newer_delivered(batch, lane_id, message_id, unpack_reports(packed), lambda: _written(batch, document_id))


def newer_delivered(
    rows: Rows,
    lane_id: int,
    message_id: int,
    reports: Iterable[Report],
    written: Callable[[], frozenset[bytes]],
) -> bool:
    """Whether a newer message's document for one of ``reports`` was delivered in a lane, and writes the same results.

    Args:
        written: what the document at hand writes; asked for once it matters.
    """
    mine: frozenset[bytes] | None = None
    for report in reports:
        newer = rows.execute(
            "SELECT d.document_id, o.reports FROM report r JOIN delivery d ON d.message_id = r.message_id"
            " JOIN document o ON o.id = d.document_id"
            " WHERE r.key = ? AND r.message_id > ? AND d.lane = ? AND d.state = 'delivered'",
            (report.key, message_id, lane_id),
        ).fetchall()
        whose = report.key, report.patient  # a person's name may have been corrected since
        for other_id, others in newer:
            if not any(whose == (other.key, other.patient) for other in unpack_reports(others)):
                continue
            if mine is None:
                mine = written()
            theirs = _written(rows, other_id)
            if not mine or not theirs or mine & theirs:
                return True
    return False


def results_written(body: bytes) -> frozenset[bytes]:
    """The results and reports that a document writes; empty where it does not say so."""
    return frozenset(_WRITES.findall(body))


def _written(rows: Rows, document_id: int) -> frozenset[bytes]:
    """The results and reports that a document writes; empty where it does not say so, or cannot be opened."""
    sealed, channel = rows.execute(
        "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?", (document_id,)
    ).fetchone()
    try:
        body, packed = rows.vault.open_packed(sealed, "document", document_id, channel)
        return results_written(unpack(body) if packed else body)
    except (IntegrityError, ValueError):
        return frozenset()
