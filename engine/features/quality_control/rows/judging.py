"""Verdicts: a stream is judged from a place on, and each change of a verdict is a new row with its cause.

Rules look back `LOOKS_BACK` points of a level, and of all. So a new point, at the end or late, changes nothing before
its run, and nothing far behind it: only these points are read.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from engine.features.quality_control.rows import closing
from engine.features.quality_control.rows.closing import Stream
from engine.features.quality_control.rules import lots
from engine.features.quality_control.rules.lots import TargetOf
from engine.features.quality_control.rules.qualitative import judge_each
from engine.features.quality_control.rules.westgard import (
    LOOKS_BACK,
    Point,
    RuleSet,
    Verdict,
    Violation,
)
from engine.store.core.connecting import Execute
from engine.store.core.writing.batch import Batch

MEASURED, LATE, EXCLUDED, TAKEN_BACK, EVENT = "measured", "measured before others", "excluded", "taken back", "event"
MOST_AFTER = 500  # points behind a late one that are judged again: with 12 of each level, forty levels
_COLUMNS = (
    "SELECT p.id, p.run, p.level, p.value, p.lot, p.measured_us, p.why, p.rejects, coalesce(t.id, 0),"
    " coalesce(t.unit, ''), coalesce(t.mean, ''), coalesce(t.sd, ''),"
    " EXISTS (SELECT 1 FROM qc_excluded x WHERE x.point = p.id AND x.back = 0)"
    " FROM qc_point p LEFT JOIN qc_target t ON t.id = p.target WHERE "
)
_COUNT = (
    " p.stream = ? AND (p.measured_us, p.id) < (?, ?) AND p.why = ''"
    " AND NOT EXISTS (SELECT 1 FROM qc_excluded x WHERE x.point = p.id AND x.back = 0)"
    " ORDER BY p.measured_us DESC, p.id DESC LIMIT ?"
)
_ALL_BEFORE = _COLUMNS + _COUNT
_LEVEL_BEFORE = f"{_COLUMNS} p.level = ? AND p.lot = ? AND {_COUNT}"
_FROM = _COLUMNS + "p.stream = ? AND (p.measured_us, p.id) >= (?, ?) ORDER BY p.measured_us, p.id LIMIT ?"
_OF_RUN = _COLUMNS + "p.run = ?"
Order = tuple[int, int]


class Row(NamedTuple):
    """A point as it is judged: its place in measuring order, and the point; ``expected``: of a qualitative one."""

    measured_us: int
    point: Point
    expected: frozenset[str] = frozenset()

    @property
    def order(self) -> Order:
        return self.measured_us, self.point.number


def settle(batch: Batch, stream_id: int, order: Order, why: str, *, act: int = 0) -> None:
    """Judge a stream from this point on, in measuring order.

    Args:
        why: what changes. act: of the person whose act it is; 0: a message brought it.
    """
    stream = stream_named(batch, stream_id)
    after = _after(batch, stream_id, order)
    if not after:
        return
    before = _before(batch, stream_id, after)
    rows = sorted([*before, *after])
    points = list(_with_resets(batch, stream, rows))
    runs = dict.fromkeys(row.point.run for row in after)
    by = _versions(batch, stream, runs)
    expected = {row.point.number: row.expected for row in rows if row.expected}
    known = _known(batch, stream_id, rows)
    past = {row.point.number for row in before}
    found = {version: judge_each(points, rules, known, expected, past) for version, rules in by.sets.items()}
    of = {row.point.number: row.point.run for row in after}
    newest = newest_run(batch, stream_id)
    changed: list[tuple[int, Verdict]] = []
    for run in runs:
        version = by.of[run]
        verdict, fired = found[version].runs[run], [one for one in found[version].violations if of.get(one.at) == run]
        cause = LATE if why == MEASURED and run != newest else why
        if _note(batch, run, verdict, fired, Made(version, cause, act)):
            changed.append((run, verdict))
    for run, verdict in changed:  # once all are known: a run may be the repeat of another one
        closing.follow(batch, stream, run, verdict, is_newest=run == newest)
    closing.propose(batch, stream)
    if why in (EXCLUDED, lots.ERASED):
        closing.taken_out(batch, stream)


def forget(batch: Batch, message_id: int) -> int:
    """Empty the points of a message, judge without them, and return their number. A failed run stays failed."""
    emptied = empty(batch.execute, message_id)
    first: dict[int, Order] = {}
    for stream, *order in sorted(emptied, reverse=True):
        first[stream] = (order[0], order[1])
    for stream, begin in first.items():
        settle(batch, stream, begin, lots.ERASED)
    return len(emptied)


def empty(execute: Execute, message_id: int) -> list[tuple[int, int, int]]:
    """Stream, time and number of the points of a message, which have no more than these now."""
    return execute(
        "UPDATE qc_point SET level = '', lot = '', number = '', value = '', unit = '', failed = NULL, target = 0,"
        " why = ?, rejects = 0 WHERE message_id = ? AND why <> ? RETURNING stream, measured_us, id",
        (lots.ERASED, message_id, lots.ERASED),
    ).fetchall()


class Versions(NamedTuple):
    """The version of the rules that each run is judged by, and the rules of these."""

    of: dict[int, int]
    sets: dict[int, RuleSet]


def _versions(batch: Batch, stream: Stream, runs: Iterable[int]) -> Versions:
    """A run keeps the rules that it was first judged by: other ones change no verdict that there is."""
    newest, rules = rules_for(batch, stream)
    of: dict[int, int] = {}
    sets: dict[int, RuleSet] = {}
    for run in runs:
        row = batch.execute("SELECT rules FROM qc_verdict WHERE run = ? AND version = 1", (run,)).fetchone()
        of[run] = newest if row is None else int(row[0])
        if of[run] not in sets:
            sets[of[run]] = rules if of[run] == newest else _rules_of(batch, of[run])
    return Versions(of, sets)


class Made(NamedTuple):
    """What makes a verdict: the version of the rules, the cause, and the act of a person, or 0."""

    rules: int
    why: str
    act: int


def _note(batch: Batch, run: int, verdict: Verdict, fired: Sequence[Violation], by: Made) -> bool:
    """Note the verdict on a run where it differs from the last one; return whether it is another one."""
    said = orjson.dumps([tuple(one) for one in fired]).decode()
    row = batch.execute(
        "SELECT version, verdict, fired FROM qc_verdict WHERE run = ? ORDER BY version DESC LIMIT 1", (run,)
    ).fetchone()
    if row is not None and ((row[1], row[2]) == (verdict.value, said) or _stays(batch, row[1:], verdict, by.why)):
        return False
    batch.execute(
        "INSERT INTO qc_verdict (run, version, at_us, verdict, fired, rules, why, act) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (run, 1 if row is None else row[0] + 1, batch.now_us, verdict.value, said, by.rules, by.why, by.act),
    )
    return row is None or row[1] != verdict.value


def _stays(batch: Batch, before: tuple[str, str], verdict: Verdict, why: str) -> bool:
    """A point that is excluded, or erased, makes no failed run another one, neither at once nor with a later point."""
    last, fired = before
    if last != Verdict.REJECT.value:
        return False
    if why in (EXCLUDED, lots.ERASED):
        return True
    return verdict is not Verdict.REJECT and bool(
        batch.execute(
            "SELECT 1 FROM json_each(?) f, json_each(f.value, '$[3]') n"
            " WHERE EXISTS (SELECT 1 FROM qc_excluded x WHERE x.point = n.value AND x.back = 0)"
            " OR EXISTS (SELECT 1 FROM qc_point p WHERE p.id = n.value AND p.why = ?) LIMIT 1",
            (fired, lots.ERASED),
        ).fetchone()
    )


def rules_for(batch: Batch, stream: Stream) -> tuple[int, RuleSet]:
    """The rules of a test, with their version: its own, else those of its analyzer, else those of all."""
    row = batch.execute(
        "SELECT version, rules, warnings, r4s FROM qc_rules WHERE channel IN ('', ?) AND test IN ('', ?)"
        " ORDER BY test = '', channel = '', version DESC LIMIT 1",
        (stream.channel, stream.test),
    ).fetchone()
    return (0, RuleSet()) if row is None else (int(row[0]), _rule_set(*row[1:]))


def _rules_of(batch: Batch, version: int) -> RuleSet:
    row = batch.execute("SELECT rules, warnings, r4s FROM qc_rules WHERE version = ?", (version,)).fetchone()
    return RuleSet() if row is None else _rule_set(*row)


def _rule_set(rules: str, warnings: str, r4s: str) -> RuleSet:
    return RuleSet(rules=tuple(rules.split()), warnings=frozenset(warnings.split()), r4s=r4s)


def stream_named(batch: Batch, stream_id: int) -> Stream:
    return Stream(
        *batch.execute("SELECT id, channel, module, test FROM qc_stream WHERE id = ?", (stream_id,)).fetchone()
    )


def newest_run(batch: Batch, stream_id: int) -> int:
    """The run of the point that was measured last."""
    row = batch.execute(
        "SELECT run FROM qc_point WHERE stream = ? ORDER BY measured_us DESC, id DESC LIMIT 1", (stream_id,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def _after(batch: Batch, stream_id: int, order: Order) -> list[Row]:
    """The points from there on, and those of their runs before."""
    found = _rows(batch, _FROM, (stream_id, *order, MOST_AFTER))
    for run in {row.point.run for row in found.values()}:
        found |= _rows(batch, _OF_RUN, (run,))
    return sorted(found.values())


def _before(batch: Batch, stream_id: int, after: Sequence[Row]) -> list[Row]:
    """What the rules look back at from the first of these."""
    first = after[0].order
    found = _rows(batch, _ALL_BEFORE, (stream_id, *first, LOOKS_BACK))
    for key in {(row.point.level, row.point.lot) for row in after}:
        found |= _rows(batch, _LEVEL_BEFORE, (*key, stream_id, *first, LOOKS_BACK))
    mine = {row.point.number for row in after}
    return [row for number, row in found.items() if number not in mine]


def _rows(batch: Batch, statement: str, values: tuple[Any, ...]) -> dict[int, Row]:
    """Points by number."""
    found = [_row(*row) for row in batch.execute(statement, values)]
    return {row.point.number: row for row in found}


def _row(
    number: int, run: int, level: str, value: str, lot: str, measured_us: int, why: str, rejects: int, *more: Any
) -> Row:
    *target, excluded = more
    known = TargetOf(*target) if target[0] and not why else None
    point = Point(
        number, run, level, value, lot, known and known.figures,
        excluded=bool(excluded or (why and not rejects)), fault=why if rejects else "",
    )  # fmt: skip
    return Row(measured_us, point, known.expected if known else frozenset())


def _known(batch: Batch, stream_id: int, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Level and lot of those that begin before the first of their points that is read."""
    read: dict[tuple[str, str], int] = {}
    for row in rows:
        read.setdefault((row.point.level, row.point.lot), row.measured_us)
    found = batch.execute("SELECT level, lot, first_us FROM qc_level WHERE stream = ?", (stream_id,))
    last = rows[-1].measured_us
    return [(level, lot) for level, lot, first_us in found if first_us < read.get((level, lot), last)]


def _with_resets(batch: Batch, stream: Stream, rows: Sequence[Row]) -> Iterator[Point]:
    """The points, each with whether an event before it lets the counts begin anew."""
    events = [
        at_us
        for (at_us,) in batch.execute(
            "SELECT at_us FROM qc_event WHERE channel = ? AND test IN ('', ?) AND resets = 1 AND at_us > ?"
            " ORDER BY at_us",
            (stream.channel, stream.test, rows[0].measured_us),
        )
    ]
    before = rows[0].measured_us
    for row in rows:
        yield row.point._replace(reset=True) if any(before < at <= row.measured_us for at in events) else row.point
        before = row.measured_us
