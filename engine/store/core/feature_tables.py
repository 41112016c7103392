"""The tables of the journal that features have: what the store knows of each is in its declaration."""

from collections.abc import Iterator, Sequence

from engine.feature import Hook, Table, joined

TABLES: Hook[Sequence[Table]] = Hook("tables")


def of_features() -> Iterator[Table]:
    return joined(TABLES)
