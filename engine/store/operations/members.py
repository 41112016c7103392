"""The members of an operation as they are now: it leaves alone what is no longer as a person saw it."""

from engine.store.core import erased_rows
from engine.store.core.batch import Batch
from engine.store.operations.bulk import Member


def why_left(batch: Batch, member: Member) -> str:
    """The outcome of a letter that is not as it was counted."""
    return "erased" if erased_rows.act_of(batch.execute, erased_rows.JOURNAL, member.message_id) else "skipped"


def as_counted(batch: Batch, delivery_id: int, state: str, counted_us: int) -> tuple[str, str, str] | None:
    """Cause, channel and destination of a delivery; None where it is not as it was counted."""
    row: tuple[str, str, str] | None = batch.execute(
        "SELECT d.cause, l.channel, l.destination FROM delivery d JOIN lane l ON l.id = d.lane"
        " WHERE d.id = ? AND d.state = ? AND d.settled_us <= ?",
        (delivery_id, state, counted_us),
    ).fetchone()
    return row
