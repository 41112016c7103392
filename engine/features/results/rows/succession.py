"""Read the effect of other messages on a delivery: newer messages of its reports, and earlier values of its results."""

from collections.abc import Collection, Sequence
from decimal import Decimal

from engine.features.results.rows import superseding
from engine.features.results.rows.delta_history import DeltaHistory
from engine.features.results.rows.held_together import newer_of
from engine.features.results.rows.superseding import NewerMessage
from engine.model.content.results import Result
from engine.model.message import Document
from engine.store.queries.reader import Reader, Rows


def overtaken(reader: Reader, delivery_id: int) -> superseding.Overtaken:
    """How much of a held delivery newer messages have had delivered (`superseding.overtaken`)."""
    with reader.snapshot() as execute:
        return superseding.overtaken(Rows(execute, reader.vault), delivery_id)


def overtaken_by(reader: Reader, delivery_id: int) -> list[NewerMessage]:
    """The newer messages that keep a held delivery from being sent (`superseding.overtaken_by`)."""
    with reader.snapshot() as execute:
        return superseding.overtaken_by(Rows(execute, reader.vault), delivery_id)


def would_be_superseded(reader: Reader, message_id: int, channel: str, destination: str, document: Document) -> bool:
    """Whether a newer message's document with the same results was delivered there: `superseding.is_superseded`,
    for a document that is not in the outbox."""
    with reader.snapshot() as execute:
        row = execute("SELECT id FROM lane WHERE channel = ? AND destination = ?", (channel, destination)).fetchone()
        return row is not None and superseding.newer_delivered(
            Rows(execute, reader.vault),
            row[0],
            message_id,
            document.reports,
            lambda: superseding.results_written(document.body),
        )


def newer_of_same_reports(reader: Reader, message_ids: Sequence[int], known: Collection[int]) -> set[int]:
    """The messages that go along where some (at most a few hundred) are sent again: see
    `engine.features.results.rows.held_together`.

    Args:
        known: already chosen messages.
    """
    with reader.snapshot() as execute:
        return newer_of(Rows(execute, reader.vault), message_ids, known)


def earlier_value(reader: Reader, message_id: int, channel: str, result: Result, within_us: int) -> Decimal | None:
    """The value that a rule about ``result`` would find before it (`engine.features.results.rows.delta_history`)."""
    with reader.snapshot() as execute:
        row = execute("SELECT received_us FROM journal WHERE id = ?", (message_id,)).fetchone()
        past = DeltaHistory(Rows(execute, reader.vault), message_id, channel, row[0] if row is not None else 0)
        return past.value(result, within_us)
