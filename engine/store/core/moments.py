"""Convert a time to a number of the journal: numbers follow time, so the time needs no index."""

from engine.store.core.connecting import Execute

# How far rows may be out of order in time (the clock was set, frames were assembled after a restart).
DISORDER_US = 86_400_000_000


def first_at(execute: Execute, at_us: int) -> int:
    """About the first id that was received at ``at_us`` or later, by bisection: ids follow time, so the time needs no
    index. Correct for rows that are out of order by no more than the caller's margin.
    """
    low, high = 1, (execute("SELECT max(id) FROM journal").fetchone()[0] or 0) + 1
    while low < high:
        middle = (low + high) // 2
        row = execute("SELECT id, received_us FROM journal WHERE id >= ? ORDER BY id LIMIT 1", (middle,)).fetchone()
        if row is None or row[1] >= at_us:
            high = middle
        else:
            low = row[0] + 1
    return low
