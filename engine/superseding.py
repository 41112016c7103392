"""An older result never takes the place of a newer one that was delivered (P3).

A lane keeps its order, so this concerns what a person retries or replays and routes without order. Both messages carry
the same report (channel, order or specimen number, day, patient), and the older one is not sent. Unless the two write
nothing in common: analyzers send the tests of one specimen in several sessions, and a late one is no older version,
although the report that lists them is the same.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

from engine import numbered
from engine.batch import Batch
from engine.errors import IntegrityError, StoreError
from engine.hashes import unpack_reports
from engine.memory import REPORT_MEMORY_US
from engine.message import Report
from engine.packing import unpack
from engine.records import RELEASED
from engine.results import conditional_updates, told_in
from engine.vault import Vault

# What a transaction Bundle writes under our own ids, by the type that says something about a result.
_WRITES = re.compile(rb'"url":"((?:Observation|DiagnosticReport)/[0-9A-Za-z.-]+)"')
_RESULT = b"Observation/"
_SLACK_US = 86_400_000_000  # clocks are corrected, and what is forgotten goes in steps


class Rows(Protocol):
    """What looks need: statements of one transaction, and the keys."""

    @property
    def execute(self) -> Callable[..., sqlite3.Cursor]: ...
    @property
    def vault(self) -> Vault: ...


def is_superseded(batch: Batch, delivery_id: int) -> bool:
    """Whether a newer message's document for one of the same reports, and the same results, was delivered in this lane.

    A report of another patient under the same number, which a person has accepted, is another report. Of what was held
    back and released, every result must have been delivered in a newer document: see `overtaken`.
    """
    row = batch.execute(
        "SELECT d.lane, d.message_id, d.document_id, o.reports, d.flags FROM delivery d"
        " JOIN document o ON o.id = d.document_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no delivery {delivery_id}")
    lane_id, message_id, document_id, packed, flags = row
    if flags & RELEASED:
        return overtaken(batch, delivery_id) == "whole"
    return newer_delivered(batch, lane_id, message_id, unpack_reports(packed), lambda: _written(batch, document_id))


def overtaken(rows: Rows, delivery_id: int) -> Literal["", "part", "whole"]:
    """How much of a held delivery newer messages of the same reports have had delivered in its lane.

    While it was held, others went on. ``whole``: each of its results came in a newer document, so that it is nothing
    but an older version. ``part``: some did, or it would replace what a newer message has updated; sending it would
    undo these, and leaving it would lose the others. Tests of one order that came in another session are no version of
    its results, whatever report they share: they take nothing from it.
    """
    row = rows.execute(
        "SELECT d.lane, d.message_id, d.document_id, o.reports FROM delivery d"
        " JOIN document o ON o.id = d.document_id WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no delivery {delivery_id}")
    lane_id, message_id, document_id, packed = row
    newer = list(_newer(rows, lane_id, message_id, unpack_reports(packed)))
    if not newer:
        return ""
    try:
        body = _body(rows, document_id)
        mine, updates = told_in(body), conditional_updates(body)
        theirs: set[str] = set()
        for other in (_body(rows, other_id) for other_id in newer):
            theirs |= told_in(other)
            if not updates.isdisjoint(conditional_updates(other)):
                return "part"
    except (IntegrityError, ValueError):  # nobody can tell
        return "part"
    if not mine:  # nor here
        return "part"
    if mine <= theirs:
        return "whole"
    return "part" if mine & theirs else ""


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
    for other_id in _newer(rows, lane_id, message_id, reports):
        if mine is None:
            mine = written()
        theirs = _written(rows, other_id)
        if _have_in_common(mine, theirs):
            return True
    return False


def _have_in_common(mine: frozenset[bytes], theirs: frozenset[bytes]) -> bool:
    """Whether two documents write the same results. Of one without any its reports are compared, and where nothing
    tells what it writes, it is taken for the same."""
    results = [{one for one in written if one.startswith(_RESULT)} for written in (mine, theirs)]
    if all(results):
        return not results[0].isdisjoint(results[1])
    return not mine or not theirs or not mine.isdisjoint(theirs)


def _newer(rows: Rows, lane_id: int, message_id: int, reports: Iterable[Report]) -> Iterator[int]:
    """Documents of newer messages for one of ``reports`` that were delivered in a lane.

    The memory of reports is short; a message that is older than it is looked for by its numbers, too, which are kept
    as long as messages are. A person may send it again after years, and its correction is no younger for that.
    """
    reports = list(reports)
    age = _age(rows, message_id)
    by_number = numbered.newer(rows.execute, age[0]) if reports and _is_forgotten(rows, message_id) else set[int]()
    for report in reports:
        named = rows.execute(
            "SELECT message_id FROM report WHERE key = ? AND message_id > ?", (report.key, age[0])
        ).fetchall()
        whose = report.key, report.patient  # a person's name may have been corrected since
        for other_message in sorted(({one for (one,) in named} | by_number) - {message_id}):
            for other_id, others in rows.execute(
                "SELECT d.document_id, o.reports FROM delivery d JOIN document o ON o.id = d.document_id"
                " WHERE d.message_id = ? AND d.lane = ? AND d.state = 'delivered'",
                (other_message, lane_id),
            ).fetchall():
                same = any(whose == (other.key, other.patient) for other in unpack_reports(others))
                if same and _age(rows, other_message) > age:
                    yield other_id


def _is_forgotten(rows: Rows, message_id: int) -> bool:
    """Whether reports of messages after this one may have been forgotten. Whoever sends it again has just left a row,
    so that the newest one tells the time."""
    row = rows.execute(
        "SELECT received_us, (SELECT received_us FROM journal ORDER BY id DESC LIMIT 1) FROM journal WHERE id = ?",
        (message_id,),
    ).fetchone()
    return row is not None and bool(row[1] - row[0] >= REPORT_MEMORY_US - _SLACK_US)


def _age(rows: Rows, message_id: int) -> tuple[int, int]:
    """What messages are compared by: what a person has edited is as old as its original, and comes after that."""
    first = message_id
    while (row := rows.execute("SELECT original FROM edited WHERE message_id = ?", (first,)).fetchone()) is not None:
        first = row[0]
    return first, message_id


def results_written(body: bytes) -> frozenset[bytes]:
    """The results and reports that a document writes; empty where it does not say so."""
    return frozenset(_WRITES.findall(body))


def _written(rows: Rows, document_id: int) -> frozenset[bytes]:
    """The results and reports that a document writes; empty where it does not say so, or cannot be opened."""
    try:
        return results_written(_body(rows, document_id))
    except (IntegrityError, ValueError):
        return frozenset()


def _body(rows: Rows, document_id: int) -> bytes:
    """The bytes of a document.

    Raises:
        IntegrityError, ValueError: it cannot be opened, or not unpacked.
    """
    sealed, channel = rows.execute(
        "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?", (document_id,)
    ).fetchone()
    body, packed = rows.vault.open_packed(sealed, "document", document_id, channel)
    return unpack(body) if packed else body
