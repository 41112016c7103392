"""Read the hours of channels (`engine.store.operations.hour_counts`)."""

from collections.abc import Sequence

from engine.model.journal_views import HourCount
from engine.store.queries.reader import Reader

_COLUMNS = "channel, begins_us, received, delivered, dead, held, parts, active, age_s"


def hours_between(reader: Reader, since_us: int, before_us: int) -> list[HourCount]:
    """The hours of all channels that begin in this time, oldest first."""
    rows = reader.rows(
        f"SELECT {_COLUMNS} FROM hour_count WHERE begins_us >= ? AND begins_us < ? ORDER BY begins_us, channel",  # noqa: S608 - constants
        (since_us, before_us),
    )
    return [HourCount._make(row) for row in rows]


def hours_of(reader: Reader, channel: str, begins_us: Sequence[int]) -> list[HourCount]:
    """The hours of one channel that begin at these times; few."""
    marks = ", ".join("?" * len(begins_us))
    rows = reader.rows(
        f"SELECT {_COLUMNS} FROM hour_count WHERE begins_us IN ({marks}) AND channel = ?",  # noqa: S608 - question marks
        (*begins_us, channel),
    )
    return [HourCount._make(row) for row in rows]
