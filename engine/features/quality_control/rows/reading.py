"""Read points, verdicts, targets and failures, for lists, pages and the to-do list."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, NamedTuple

import orjson

from engine.features.quality_control.rows import closing
from engine.features.quality_control.rules.lots import UNKNOWN, TargetOf
from engine.features.quality_control.rules.maintenance import Job, JobView, look
from engine.features.quality_control.rules.westgard import z_of
from engine.store.queries.reader import Reader

MOST_POINTS = 10_000
_PLACES, _HALF_UP = Decimal("0.0001"), Context(prec=100, rounding=ROUND_HALF_UP)
_LATEST = "(SELECT {} FROM qc_verdict v WHERE v.run = {} ORDER BY v.version DESC LIMIT 1)"
_POINTS = (
    "SELECT p.id, s.channel, s.module, s.test, p.level, p.lot, p.number, p.value, p.unit, p.measured_us, p.received_us,"  # noqa: S608
    " p.timed, p.run, p.message_id, p.mark, p.failed, p.why, p.target, coalesce(t.mean, ''), coalesce(t.sd, ''),"
    " coalesce(t.unit, ''), coalesce((SELECT x.code FROM qc_excluded x WHERE x.point = p.id AND x.back = 0), ''),"
    f" {_LATEST.format('v.verdict', 'p.run')}, {_LATEST.format('v.fired', 'p.run')},"
    f" {_LATEST.format('v.version', 'p.run')}"
    " FROM qc_point p JOIN qc_stream s ON s.id = p.stream LEFT JOIN qc_target t ON t.id = p.target"
)


class PointView(NamedTuple):
    """A point, as it is shown.

    Attributes:
        z: to four places; empty where it was not evaluated.
        why: it was not. excluded: why a person left it out; empty: it counts.
        rules: that fired at it. verdict: on its run; marks: how often that changed.
        pattern: the points of rules that fired at it.
        by_analyzer: ``failed`` or ``passed`` by its own flag or range; empty: it sent neither.
    """

    id: int
    channel: str
    module: str
    test: str
    level: str
    lot: str
    number: str
    value: str
    unit: str
    measured_us: int
    received_us: int
    run: int
    verdict: str
    rules: str
    marks: int
    z: str
    mean: str
    sd: str
    target: int
    why: str
    excluded: str
    by_analyzer: str
    mark: str
    timed: bool
    message: int
    pattern: tuple[int, ...] = ()


class TestView(NamedTuple):
    """A test with controls on one module of an analyzer, as it is now.

    Attributes:
        verdict: on its newest run. accepted_us: when the last accepted run began; 0: never.
        waits: its results wait. patients: messages with results of it since then.
        event_us: of the newest calibration, lot of reagent, maintenance or correction; 0: none.
        levels_us: as accepted_us, of the level with a target that was accepted longest ago.
    """

    channel: str
    module: str
    test: str
    run: int
    verdict: str
    measured_us: int
    accepted_us: int
    waits: bool
    patients: int
    has_target: bool
    event_us: int
    levels_us: int


class FailureView(NamedTuple):
    """A failed run whose test was closed for it. ``looks``: results sent before it that a person is to look at."""

    id: int
    channel: str
    test: str
    run: int
    since_us: int
    from_us: int
    repeat: int
    until_us: int
    looks: int
    looked: int
    module: str


class LookView(NamedTuple):
    """A message with a result that went out before the failure of its control was known."""

    failure: int
    message: int
    channel: str
    test: str
    received_us: int
    looked: bool


class TargetView(NamedTuple):
    id: int
    channel: str
    module: str
    test: str
    level: str
    lot: str
    unit: str
    mean: str
    sd: str
    source: str
    state: str
    from_us: int
    until_us: int


class LotView(NamedTuple):
    id: int
    channel: str
    number: str
    material: str
    level: str
    lot: str
    expires: str
    from_us: int
    until_us: int


class EventView(NamedTuple):
    """What happened to an analyzer, or to one test of it."""

    at_us: int
    kind: str
    test: str
    resets: bool


class MarkView(NamedTuple):
    """One verdict on a run, and what made it."""

    run: int
    version: int
    at_us: int
    verdict: str
    rules: str
    why: str


def list_points(
    reader: Reader,
    *,
    channel: str | None = None,
    test: str | None = None,
    level: str | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
    run: int | None = None,
    before_id: int | None = None,
    module: str | None = None,
    by_time: bool = False,
    limit: int = 100,
) -> list[PointView]:
    """Points, the newest first; ``by_time``: those that were measured last, else those that came last."""
    asked: Mapping[str, Any] = {
        "s.channel = ?": channel, "s.test = ?": test, "p.level = ?": level, "p.measured_us >= ?": since_us,
        "p.measured_us < ?": until_us, "p.run = ?": run, "p.id < ?": before_id, "s.module = ?": module,
    }  # fmt: skip
    given = {name: value for name, value in asked.items() if value is not None}
    where = f" WHERE {' AND '.join(given)}" if given else ""
    order = "p.measured_us DESC, p.id DESC" if by_time else "p.id DESC"
    statement = f"{_POINTS}{where} ORDER BY {order} LIMIT ?"
    return [_point(row) for row in reader.rows(statement, (*given.values(), limit))]


def _point(row: Sequence[Any]) -> PointView:
    *head, timed, run, message, mark, failed, why, target, mean, sd, unit, excluded, verdict, fired, marks = row
    known = TargetOf(target, unit, mean, sd).figures if target and not why else None
    z = z_of(head[7], known)
    number = head[0]
    here = [one for one in orjson.loads(fired or "[]") if one[0] == number]
    rules = [rule for _, rule, _, _ in here]
    return PointView._make((
        *head, run, verdict or "", " ".join(dict.fromkeys(rules)), marks or 0,
        "" if z is None else str(z.quantize(_PLACES, context=_HALF_UP)), mean, sd, target, why, excluded,
        "" if failed is None else "failed" if failed else "passed", mark, bool(timed), message,
        tuple(dict.fromkeys(point for *_, points in here for point in points)),
    ))  # fmt: skip


_BY_LEVEL = (  # of a lot in use, where the list has the level; when each was accepted last, not ahead of the clock
    "SELECT coalesce((SELECT min(p.measured_us, p.received_us) FROM qc_point p WHERE p.stream = s.id"  # noqa: S608
    " AND p.level = t.level AND p.why = '' AND NOT EXISTS"
    " (SELECT 1 FROM qc_excluded x WHERE x.point = p.id AND x.back = 0)"
    f" AND {_LATEST.format('v.verdict', 'p.run')} IN ('accept', 'warn') ORDER BY p.measured_us DESC, p.id DESC"
    " LIMIT 1), 0) FROM qc_stream s JOIN qc_target t ON t.channel = s.channel AND t.test = s.test"
    " AND t.module IN ('', s.module) AND t.state IN ('interim', 'in force')"
    " WHERE s.id = ? AND (NOT EXISTS (SELECT 1 FROM qc_lot l WHERE l.level = t.level AND l.channel IN ('', s.channel))"
    " OR EXISTS (SELECT 1 FROM qc_lot l WHERE l.level = t.level AND l.channel IN ('', s.channel) AND l.until_us = 0))"
    " GROUP BY t.level"
)


def list_tests(reader: Reader, channel: str | None = None, *, now_us: int = 2**62) -> list[TestView]:
    """Each test with controls, by analyzer and test. Events after ``now_us`` are still to come."""
    verdict = _LATEST.format("v.verdict", "r.id")
    statement = (
        "SELECT s.channel, s.module, s.test, r.id, "  # noqa: S608 - our own words
        f"{verdict}, (SELECT max(p.measured_us) FROM qc_point p WHERE p.stream = s.id),"
        f" coalesce((SELECT max({closing.BEGAN}) FROM qc_run r WHERE r.stream = s.id"
        f" AND {verdict} IN ('accept', 'warn')), 0),"
        " EXISTS (SELECT 1 FROM qc_closed c WHERE c.channel = s.channel AND c.test = s.test AND c.until_us = 0),"
        " EXISTS (SELECT 1 FROM qc_target t WHERE t.channel = s.channel AND t.test = s.test"
        "  AND t.state IN ('interim', 'in force')),"
        " coalesce((SELECT max(e.at_us) FROM qc_event e WHERE e.channel = s.channel AND e.test IN ('', s.test)"
        "  AND e.due AND e.at_us <= ?), 0), s.id"
        " FROM qc_stream s JOIN qc_run r ON r.id = (SELECT p.run FROM qc_point p WHERE p.stream = s.id"
        "  ORDER BY p.measured_us DESC, p.id DESC LIMIT 1)"
        " WHERE ? IS NULL OR s.channel = ? ORDER BY s.channel, s.test, s.module"
    )
    found = []
    for row in reader.rows(statement, (now_us, channel, channel)):
        *head, accepted_us, waits, has_target, event_us, stream = row
        ((patients,),) = reader.rows(
            "SELECT count(*) FROM qc_bracket WHERE channel = ? AND test = ? AND waits = 0 AND at_us >= ?",
            (head[0], head[2], accepted_us),
        )
        levels = [at_us for (at_us,) in reader.rows(_BY_LEVEL, (stream,))]
        levels_us = min([accepted_us, *levels])
        found.append(TestView._make((*head, accepted_us, bool(waits), patients, bool(has_target), event_us, levels_us)))
    return found


def list_failures(reader: Reader, *, all_of_them: bool = False) -> list[FailureView]:
    """Failed runs that keep a test closed, or have results to look at; the newest first."""
    statement = (
        "SELECT c.id, c.channel, c.test, c.run, c.since_us, c.from_us, c.repeat, c.until_us,"
        " (SELECT count(*) FROM qc_look l WHERE l.closed = c.id),"
        " (SELECT count(*) FROM qc_look l WHERE l.closed = c.id AND l.act > 0),"
        " coalesce((SELECT s.module FROM qc_run r JOIN qc_stream s ON s.id = r.stream WHERE r.id = c.run), '')"
        " FROM qc_closed c WHERE ? OR c.until_us = 0"
        " OR EXISTS (SELECT 1 FROM qc_look l WHERE l.closed = c.id AND l.act = 0) ORDER BY c.id DESC LIMIT 1000"
    )
    return [FailureView(*row) for row in reader.rows(statement, (all_of_them,))]


def list_looks(reader: Reader, failure: int) -> list[LookView]:
    """The results that went out before a failure was known."""
    rows = reader.rows(
        "SELECT c.id, l.message_id, c.channel, c.test, coalesce(j.received_us, 0), l.act FROM qc_look l"
        " JOIN qc_closed c ON c.id = l.closed LEFT JOIN journal j ON j.id = l.message_id"
        " WHERE c.id = ? ORDER BY l.message_id",
        (failure,),
    )
    return [LookView._make((*row[:5], bool(row[5]))) for row in rows]


def list_events(reader: Reader, channel: str, test: str, since_us: int, until_us: int) -> list[EventView]:
    """Events of a test, oldest first."""
    rows = reader.rows(
        "SELECT at_us, kind, test, resets FROM qc_event WHERE channel = ? AND test IN ('', ?) AND at_us BETWEEN ? AND ?"
        " ORDER BY at_us",
        (channel, test, since_us, until_us),
    )
    return [EventView._make((*row[:3], bool(row[3]))) for row in rows]


def list_jobs(reader: Reader, jobs: Iterable[Job], now_us: int, zone: tzinfo) -> list[JobView]:
    """Each job of maintenance as it is now; those of no file any more are left out."""
    done: dict[tuple[str, str], list[int]] = {}
    for channel, job, at_us in reader.rows("SELECT channel, job, at_us FROM qc_event WHERE job <> ''"):
        done.setdefault((channel, job), []).append(at_us)
    return [look(one, done.get((one.channel, one.job), ()), now_us, zone) for one in jobs]


def list_targets(reader: Reader, channel: str | None = None, *, closed: bool = False) -> list[TargetView]:
    rows = reader.rows(
        "SELECT id, channel, module, test, level, lot, unit, mean, sd, source, state, from_us, until_us FROM qc_target"
        " WHERE (? IS NULL OR channel = ?) AND (? OR state <> 'closed') ORDER BY channel, test, level, lot, id",
        (channel, channel, closed),
    )
    return [TargetView(*row) for row in rows]


def list_lots(reader: Reader, channel: str | None = None) -> list[LotView]:
    """Lots in use."""
    rows = reader.rows(
        "SELECT id, channel, number, material, level, lot, expires, from_us, until_us FROM qc_lot"
        " WHERE (? IS NULL OR channel IN ('', ?)) AND until_us = 0 ORDER BY channel, material, level, lot",
        (channel, channel),
    )
    return [LotView(*row) for row in rows]


def without_target(reader: Reader) -> list[LotView]:
    """Lots in use whose level has no target in force for any test."""
    return [
        one
        for one in list_lots(reader)
        if not reader.rows(
            "SELECT 1 FROM qc_target WHERE level = ? AND lot = ? AND ? IN ('', channel)"
            " AND state IN ('interim', 'in force') LIMIT 1",
            (one.level, one.lot, one.channel),
        )
    ]


def list_marks(reader: Reader, run: int) -> list[MarkView]:
    """All verdicts on a run, oldest first."""
    rows = reader.rows(
        "SELECT run, version, at_us, verdict, fired, why FROM qc_verdict WHERE run = ? ORDER BY version", (run,)
    )
    return [
        MarkView._make((*head, " ".join(dict.fromkeys(rule for _, rule, _, _ in orjson.loads(fired))), why))
        for *head, fired, why in rows
    ]


def count_unknown(reader: Reader, since_us: int) -> dict[str, int]:
    """Controls that are on no list, by analyzer: their numbers since then."""
    rows = reader.rows(
        "SELECT s.channel, count(DISTINCT p.number) FROM qc_point p JOIN qc_stream s ON s.id = p.stream"
        " WHERE p.why = ? AND p.received_us >= ? GROUP BY s.channel",
        (UNKNOWN, since_us),
    )
    return dict(rows)
