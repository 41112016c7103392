"""What goes of quality control: the results of patients that no failure can be about any more, and old points."""

from engine.features.quality_control.rows import closing, judging
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedAgain, ErasedMessage

SWEEP_ROWS = 500
BRACKET_US = 45 * 86_400_000_000  # controls come late that were measured so long ago
LATE_US = 120 * 86_400_000_000  # controls are measured more often than this
POINTS_US = 1_100 * 86_400_000_000  # three years

_ACCEPTED = (  # each test, and when all of its modules had an accepted control
    "SELECT channel, test, min(coalesce((SELECT r.first_us FROM qc_run r WHERE r.stream = s.id AND"  # noqa: S608
    f" {closing.PASSES} ORDER BY r.first_us DESC LIMIT 1), 0)) FROM (SELECT DISTINCT channel, test FROM qc_code)"
    " LEFT JOIN qc_stream s USING (channel, test) GROUP BY channel, test"
)


def sweep_bracket(batch: Batch) -> bool:
    """Delete a few hundred old rows of each test; return True when none is left. Those since its last accepted control
    stay longer where the next one is late, for it may fail."""
    old, oldest = batch.steady_us - BRACKET_US, batch.steady_us - LATE_US
    deleted = [
        batch.execute(
            "DELETE FROM qc_bracket WHERE (message_id, test) IN (SELECT message_id, test FROM qc_bracket"
            " WHERE channel = ? AND test = ? AND at_us < ? LIMIT ?)",
            (channel, test, max(oldest, min(old, accepted_us)), SWEEP_ROWS),
        ).rowcount
        for channel, test, accepted_us in batch.execute(_ACCEPTED).fetchall()
    ]
    return max(deleted, default=0) < SWEEP_ROWS


def sweep_points(batch: Batch) -> bool:
    """Delete a few hundred old points, oldest first; their runs and verdicts stay."""
    swept = batch.execute(
        "DELETE FROM qc_point WHERE id IN (SELECT id FROM qc_point ORDER BY id LIMIT ?) AND received_us < ?",
        (SWEEP_ROWS, batch.steady_us - POINTS_US),
    )
    return swept.rowcount < SWEEP_ROWS


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


EVERY = (sweep_bracket, sweep_points)
