"""What goes of quality control: the results of patients that no failure can be about any more, and old points."""

from engine.features.quality_control.rows import judging
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedAgain, ErasedMessage

SWEEP_ROWS = 500
BRACKET_US = 45 * 86_400_000_000  # controls are measured more often than this
POINTS_US = 1_100 * 86_400_000_000  # three years


def sweep_bracket(batch: Batch) -> bool:
    """Delete a few hundred old rows, oldest first; return True when none is left."""
    return _sweep(
        batch,
        "DELETE FROM qc_bracket WHERE (message_id, test) IN"
        " (SELECT message_id, test FROM qc_bracket ORDER BY message_id LIMIT ?) AND at_us < ?",
        BRACKET_US,
    )


def sweep_points(batch: Batch) -> bool:
    """As `sweep_bracket`; their runs and verdicts stay."""
    return _sweep(
        batch,
        "DELETE FROM qc_point WHERE id IN (SELECT id FROM qc_point ORDER BY id LIMIT ?) AND received_us < ?",
        POINTS_US,
    )


def forget(batch: Batch, message: ErasedMessage) -> int:
    """A message is erased, whose controls may be none: return the number of its points."""
    return judging.forget(batch, message.id)


def forget_again(rows: Rows, one: ErasedAgain) -> None:
    """After a restore: the verdicts are those of the backup, but a run without its points repeats none."""
    judging.empty(rows.execute, one.message.id)
    rows.execute(
        "UPDATE qc_closed SET repeat = 0 WHERE until_us = 0 AND repeat IN"
        " (SELECT run FROM qc_point WHERE message_id = ?)",
        (one.message.id,),
    )


def _sweep(batch: Batch, delete: str, age_us: int) -> bool:
    return batch.execute(delete, (SWEEP_ROWS, batch.steady_us - age_us)).rowcount < SWEEP_ROWS


EVERY = (sweep_bracket, sweep_points)
