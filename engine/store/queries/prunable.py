"""Preview retention: the rows that it would delete from a journal."""

from dataclasses import dataclass

from engine.store.lifecycle import retention
from engine.store.operations.pruning import PrunableRows
from engine.store.queries.reader import Reader, Rows


@dataclass(frozen=True, slots=True)
class _RowsNow(Rows):
    """Rows of a transaction, with the present time."""

    now_us: int


def survey(reader: Reader, policy: retention.Policy, now_us: int) -> PrunableRows:
    """The rows that retention would delete now; reads without a deadline, in one transaction."""
    with reader.unhurried() as execute:
        execute("BEGIN")
        newest = execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0]
        return retention.survey(_RowsNow(execute, reader.vault, now_us), policy=policy, newest=newest)
