"""What other messages mean for a delivery, for commands and pages: newer ones of its orders, and earlier values."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

from engine.features.results.rows import superseding
from engine.features.results.rows.compared import Overtaken
from engine.features.results.rows.delta_history import DeltaHistory
from engine.features.results.rows.superseding import NewerMessage
from engine.model.content.results import Result
from engine.model.message import Document
from engine.store.queries.reader import Reader
from engine.store.queries.reader import Rows as RowsOf


def overtaken(reader: Reader, delivery_id: int) -> Overtaken:
    """How much of a held delivery newer messages have had delivered (`superseding.overtaken`)."""
    with reader.snapshot() as execute:
        return superseding.overtaken(RowsOf(execute, reader.vault), delivery_id)


def overtaken_by(reader: Reader, delivery_id: int) -> list[NewerMessage]:
    """The newer messages that keep a held delivery from being sent (`superseding.overtaken_by`)."""
    with reader.snapshot() as execute:
        return superseding.overtaken_by(RowsOf(execute, reader.vault), delivery_id)


def would_be_superseded(reader: Reader, message_id: int, channel: str, destination: str, document: Document) -> bool:
    """Whether newer results were delivered there than those of a message whose document is made again."""
    with reader.snapshot() as execute:
        row = execute("SELECT id FROM lane WHERE channel = ? AND destination = ?", (channel, destination)).fetchone()
        return row is not None and superseding.newer_delivered(
            RowsOf(execute, reader.vault), row[0], message_id, document.reports
        )


def newer_of_same_reports(reader: Reader, message_ids: Sequence[int], known: Collection[int]) -> set[int]:
    """The messages that go along where some (at most a few hundred) are sent again: see
    `engine.features.results.rows.succession`.

    Args:
        known: already chosen messages.
    """
    with reader.snapshot() as execute:
        found = (superseding.newer_of(RowsOf(execute, reader.vault), one) for one in message_ids)
        return set[int]().union(*found) - {*known}


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
