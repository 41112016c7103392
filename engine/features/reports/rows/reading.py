"""Read what the reports need: counted results, and counters, of days (`engine.features.reports.rows.result_counts`).

Note when a channel or a destination does not work, and when LabRelay did not run: for the reports.

`engine.features.reports.service` looks every half minute and writes what has changed, and once a minute that it still
looks. So an end is known to a minute, also after a power cut. A time in which LabRelay did not run is noted by its next
start; what was open before it ends where it was seen last. So it does where the clock jumps, or the machine sleeps: no
row has the time between.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from engine.features.reports.rules import ResultCounts
from engine.model.journal.journal_views import Count
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
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


class Call(NamedTuple):
    """A critical value, each time that it was raised (`engine.features.alerts`).

    Attributes:
        taken_us: 0: no person has taken it; ``act``: journal.id of the taking.
        over_us: since when it was so no more, where it was not taken before.
    """

    message: int
    channel: str
    seen_us: int
    taken_us: int
    act: int
    over_us: int

    @property
    def seconds(self) -> int | None:
        return (self.taken_us - self.seen_us) // 1_000_000 if self.taken_us else None


def calls_between(reader: Reader, since_us: int, until_us: int, channel: str | None = None) -> list[Call]:
    """Those that were raised then: first those that no person took, each part the newest first."""
    rows = reader.rows(
        "SELECT message_id, channel, seen_us, taken_us, taken, over_us FROM critical_call"
        " WHERE seen_us >= ? AND seen_us < ? AND (?3 IS NULL OR channel = ?3) ORDER BY taken_us > 0, id DESC",
        (since_us, until_us, channel),
    )
    return [Call._make(row) for row in rows]


def counted_to(reader: Reader) -> tuple[int, int]:
    """Messages with results that are not counted yet, and those of which a delivery is open."""
    left = reader.row(
        "SELECT (SELECT count(*) FROM message_state WHERE results IS NOT NULL AND id >"
        " coalesce((SELECT counted_to FROM result_position), 0)), (SELECT count(*) FROM result_pending)"
    )
    return int(left[0]), int(left[1])


class Downtime(NamedTuple):
    """A time in which something did not work (`engine.features.reports.rows.reading`).

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


DAY_US = 86_400_000_000
KEPT_DAYS = 800  # as the counts of results
MOST_ROWS = 50_000
NOT_RUNNING, RUNNING, LABRELAY = "not_running", "running", "labrelay"
UNNOTICED_US = 120_000_000  # between two looks, a minute apart: more is a pause of LabRelay, or of the clock

Subject = tuple[str, str]
"""Kind and name."""


@operation(priority=Priority.SETTLE)
def note(batch: Batch, states: Mapping[Subject, str] | None) -> None:
    """Note what does not work now.

    Args:
        states: of each subject that does not work. None: LabRelay has just started; what is open stays so until the
            first look, unless LabRelay did not run for a while, or the clock was set back.
    """
    now_us = batch.now_us
    is_open = batch.execute("SELECT id, kind, name, state, until_us FROM downtime WHERE is_open = 1").fetchall()
    running = [one for one in is_open if one[1] == LABRELAY]
    seen_us = running[-1][4] if running else now_us
    if abs(now_us - seen_us) > UNNOTICED_US:
        _end(batch, [one[0] for one in is_open])
        is_open = []
        if now_us < seen_us:  # what ends later than now was seen by a wrong clock
            cut = "UPDATE downtime SET until_us = ?1 WHERE since_us < ?1 AND until_us > ?1"
            batch.execute(cut, (now_us,))
        elif states is None:
            _begin(batch, (LABRELAY, ""), NOT_RUNNING, seen_us, now_us, is_open=0)
    before = {(kind, name): state for _, kind, name, state, _ in is_open}
    wanted = {**(before if states is None else states), (LABRELAY, ""): RUNNING}
    lasting = {(kind, name): number for number, kind, name, state, _ in is_open if wanted.get((kind, name)) == state}
    # A clock that was set back makes no end earlier.
    batch.executemany(
        "UPDATE downtime SET until_us = max(until_us, ?), is_open = ? WHERE id = ?",
        [(now_us, number in lasting.values(), number) for number, *_ in is_open],
    )
    for subject, state in wanted.items():
        if subject not in lasting:
            _begin(batch, subject, state, now_us, now_us, is_open=1)
    batch.execute(
        "DELETE FROM downtime WHERE is_open = 0 AND (until_us < ? OR id <= (SELECT max(id) FROM downtime) - ?)",
        (batch.steady_us - KEPT_DAYS * DAY_US, MOST_ROWS),
    )


def _end(batch: Batch, numbers: list[int]) -> None:
    batch.executemany("UPDATE downtime SET is_open = 0 WHERE id = ?", [(number,) for number in numbers])


def _begin(batch: Batch, subject: Subject, state: str, since_us: int, until_us: int, *, is_open: int) -> None:
    batch.execute(
        "INSERT INTO downtime (kind, name, state, since_us, until_us, is_open) VALUES (?, ?, ?, ?, ?, ?)",
        (*subject, state, since_us, until_us, is_open),
    )
