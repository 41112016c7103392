"""Read the effect of other messages on a delivery: newer messages of its reports, and earlier values of its results.

Newer messages of the same reports, which are resent together with an older message.

A replay of an older message alone would end with an older version of its results: the first value without its
correction, a report without the tests that came later. A newer message goes along where

    a report of both has the same number, day and patient, in the same channel
    the number and patient are the same, but not day or channel, and both write one result: a correction on the next
    day takes the place of the first result, and with ``results_of: site`` so does that of another channel
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

from engine.features.results.rows import superseding
from engine.features.results.rows.accepted import NEAR_DAYS
from engine.features.results.rows.delta_history import DeltaHistory
from engine.features.results.rows.superseding import NewerMessage, age, is_forgotten, written_in
from engine.model.content.results import Result
from engine.model.journal.hashes import neighbours, unpack_reports
from engine.model.message import Document
from engine.store.core.rows import Rows
from engine.store.operations import search_index
from engine.store.queries.reader import Reader
from engine.store.queries.reader import Rows as RowsOf


def newer_of(rows: Rows, messages: Collection[int], known: Collection[int]) -> set[int]:
    """The messages that go along with any of ``messages``, whatever their state at their destinations.

    Args:
        known: already chosen messages, which are skipped.
    """
    found: set[int] = set()
    for message in messages:
        found |= _newer_of(rows, message, known, found)
    return found


def _newer_of(rows: Rows, message_id: int, known: Collection[int], found: set[int]) -> set[int]:
    documents = rows.execute("SELECT id, reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    whose = {(one.key, one.patient) for _, packed in documents for one in unpack_reports(packed)}
    if not whose:
        return set()
    first, _ = age(rows, message_id)
    (channel,) = rows.execute("SELECT channel FROM journal WHERE id = ?", (message_id,)).fetchone()
    same: set[int] = set()
    near: set[int] = set()
    for key, patient in whose:
        ends = neighbours(key, NEAR_DAYS)
        for other_key, other, other_channel in rows.execute(
            "SELECT r.key, r.message_id, j.channel FROM report r JOIN journal j ON j.id = r.message_id"
            " WHERE r.key BETWEEN ? AND ? AND r.patient = ? AND r.message_id > ?",
            (*ends, patient, first),
        ).fetchall():
            (same if other_key == key and other_channel == channel else near).add(other)
    if is_forgotten(rows, first):
        same |= {
            other
            for other in search_index.newer(rows.execute, message_id, than=first) - same
            if _carries(rows, other, channel, whose)
        }
    near = {one for one in near - same - found if one != message_id and one not in known}
    if near:
        mine = frozenset[bytes]().union(*(written_in(rows, document_id) for document_id, _ in documents))
        same |= {other for other in near if not mine.isdisjoint(_written_by(rows, other))}
    return {one for one in same if one != message_id and one not in known}


def _carries(rows: Rows, message_id: int, channel: str, whose: set[tuple[bytes, bytes]]) -> bool:
    """Whether a message of the channel carries one of these reports."""
    return any(
        (one.key, one.patient) in whose
        for (packed,) in rows.execute(
            "SELECT o.reports FROM document o JOIN journal j ON j.id = o.message_id WHERE o.message_id = ?"
            " AND j.channel = ?",
            (message_id, channel),
        ).fetchall()
        for one in unpack_reports(packed)
    )


def _written_by(rows: Rows, message_id: int) -> frozenset[bytes]:
    documents = rows.execute("SELECT id FROM document WHERE message_id = ?", (message_id,)).fetchall()
    return frozenset[bytes]().union(*(written_in(rows, document_id) for (document_id,) in documents))


def overtaken(reader: Reader, delivery_id: int) -> superseding.Overtaken:
    """How much of a held delivery newer messages have had delivered (`superseding.overtaken`)."""
    with reader.snapshot() as execute:
        return superseding.overtaken(RowsOf(execute, reader.vault), delivery_id)


def overtaken_by(reader: Reader, delivery_id: int) -> list[NewerMessage]:
    """The newer messages that keep a held delivery from being sent (`superseding.overtaken_by`)."""
    with reader.snapshot() as execute:
        return superseding.overtaken_by(RowsOf(execute, reader.vault), delivery_id)


def would_be_superseded(reader: Reader, message_id: int, channel: str, destination: str, document: Document) -> bool:
    """Whether a newer message's document with the same results was delivered there: `superseding.is_superseded`,
    for a document that is not in the outbox."""
    with reader.snapshot() as execute:
        row = execute("SELECT id FROM lane WHERE channel = ? AND destination = ?", (channel, destination)).fetchone()
        return row is not None and superseding.newer_delivered(
            RowsOf(execute, reader.vault),
            row[0],
            message_id,
            document.reports,
            lambda: superseding.results_written(document.body),
        )


def newer_of_same_reports(reader: Reader, message_ids: Sequence[int], known: Collection[int]) -> set[int]:
    """The messages that go along where some (at most a few hundred) are sent again: see
    `engine.features.results.rows.succession`.

    Args:
        known: already chosen messages.
    """
    with reader.snapshot() as execute:
        return newer_of(RowsOf(execute, reader.vault), message_ids, known)


def earlier_values(
    reader: Reader, message_id: int, channel: str, results: Iterable[Result], within_us: int
) -> list[tuple[int, Decimal] | None]:
    """The values that a rule about each of ``results`` would find before it
    (`engine.features.results.rows.delta_history`), and when these were measured."""
    with _history(reader, message_id, channel) as past:
        return [past.last(result, within_us) for result in results]


def earlier_series(
    reader: Reader, message_id: int, channel: str, results: Iterable[Result], within_us: int, most: int
) -> list[list[tuple[int, Decimal]]]:
    """As `earlier_values`, several of each, the oldest first."""
    with _history(reader, message_id, channel) as past:
        return [past.series(result, within_us, most) for result in results]


@contextmanager
def _history(reader: Reader, message_id: int, channel: str) -> Iterator[DeltaHistory]:
    with reader.snapshot() as execute:
        row = execute("SELECT received_us FROM journal WHERE id = ?", (message_id,)).fetchone()
        yield DeltaHistory(RowsOf(execute, reader.vault), message_id, channel, row[0] if row is not None else 0)
