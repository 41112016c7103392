"""Read what the reports need: counted results, and counters, of days (`engine.features.reports.rows.result_counts`)."""

from typing import Any, NamedTuple

import orjson

from engine.features.reports.rules import ResultCounts
from engine.model.journal_views import Count
from engine.store.queries.reader import Reader


class DayCount(NamedTuple):
    """A counter of a day. ``destination``: empty where it counts for the channel itself."""

    day: str
    counter: Count


class DayResults(NamedTuple):
    """Results of a day.

    Attributes:
        code: of the test; empty: all codes that no table had.
        said: as `ResultCounts.as_json` writes it.
    """

    day: str
    channel: str
    code: str
    said: dict[str, Any]

    @property
    def counts(self) -> ResultCounts:
        return ResultCounts.of_json(self.said)


def results_between(reader: Reader, first: str, last: str, channel: str | None = None) -> list[DayResults]:
    """Results of these days, both included (``2026-03-01``, in the site's zone).

    Args:
        channel: only of this one.
    """
    rows = reader.rows(
        "SELECT day, channel, code, counts FROM result_day WHERE day BETWEEN ? AND ? AND (?3 IS NULL OR channel = ?3)"
        " ORDER BY day, channel, code",
        (first, last, channel),
    )
    return [DayResults(day, name, code, orjson.loads(counts)) for day, name, code, counts in rows]


def counters_between(reader: Reader, first: str, last: str, channel: str | None = None) -> list[DayCount]:
    """The counters of these days, both included."""
    rows = reader.rows(
        "SELECT day, channel, destination, name, n FROM counter WHERE day BETWEEN ? AND ?"
        " AND (?3 IS NULL OR channel = ?3) ORDER BY day, channel, destination, name",
        (first, last, channel),
    )
    return [DayCount(row[0], Count._make(row[1:])) for row in rows]


def counted_to(reader: Reader) -> tuple[int, int]:
    """Messages with results that are not counted yet, and those of which a delivery is open."""
    left = reader.row(
        "SELECT (SELECT count(*) FROM message_state WHERE results IS NOT NULL AND id >"
        " coalesce((SELECT counted_to FROM result_position), 0)), (SELECT count(*) FROM result_pending)"
    )
    return int(left[0]), int(left[1])


class Downtime(NamedTuple):
    """A time in which something did not work (`engine.features.reports.rows.downtime`).

    Attributes:
        kind: channel, destination, labrelay.
        state: as `engine.monitoring.snapshot.states` names it; ``not_running`` of LabRelay.
        until_us: its end; of an open one when it was looked at last.
    """

    kind: str
    name: str
    state: str
    since_us: int
    until_us: int
    is_open: bool


def downtimes(reader: Reader, since_us: int, until_us: int, channel: str | None = None) -> list[Downtime]:
    """Those of this time, cut to it, in the order of their begin.

    Args:
        channel: only of this one.
    """
    rows = reader.rows(
        "SELECT kind, name, state, max(since_us, ?1), min(until_us, ?2), is_open AND until_us < ?2 FROM downtime"
        " WHERE until_us > ?1 AND since_us < ?2 AND state <> 'running'"
        " AND (?3 IS NULL OR (kind = 'channel' AND name = ?3)) ORDER BY since_us, id",
        (since_us, until_us, channel),
    )
    return [Downtime._make((*row[:5], bool(row[5]))) for row in rows]
