"""Delete expired rows of short-lived tables, a few hundred at a time."""

from collections.abc import Callable
from typing import NamedTuple

from engine.store.core.writing.batch import Batch

SWEEP_ROWS = 500


class Step(NamedTuple):
    """The end of a step. ``place``: where the next one begins; 0: at the beginning. ``more``: it is due at once."""

    place: int = 0
    more: bool = False


InSteps = Callable[[Batch, int], Step]
"""With the place where the step before has ended; 0 after a start, and after a failure."""


def sweep(batch: Batch, *, table: str, key: tuple[str, ...]) -> bool:
    """Check the next few hundred rows of a table and delete the expired ones; return True once the end was reached.

    Few rows share the first part of a key: the last such part is checked again from its first row, unless it alone
    filled the step. A row whose ``until_us`` is 0 stays.

    Args:
        table: has a column ``until_us``; its name and those of its key are constants.
    """
    position = batch.tail.sweeps.get(table, b"")
    rows = batch.execute(
        f"SELECT {', '.join(key)}, until_us FROM {table} WHERE {key[0]} > ? ORDER BY {key[0]} LIMIT ?",  # noqa: S608
        (position, SWEEP_ROWS),
    ).fetchall()
    batch.executemany(
        f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in key)}",  # noqa: S608
        [row[:-1] for row in rows if 0 < row[-1] < batch.steady_us],
    )
    batch.tail.sweeps[table] = rows[-1][0] if len(rows) == SWEEP_ROWS else b""
    return len(rows) < SWEEP_ROWS
