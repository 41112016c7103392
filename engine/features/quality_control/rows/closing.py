"""The effect of a verdict: a test whose control failed is closed, and its results wait until a person opens it again.

bracket    messages with a result of the test, noted as they come
closed     the test, since its newest run was rejected
look       those messages of the bracket since the last accepted run: a person is to look at them; none is taken back
repeat     an accepted run after it, of each level that failed: it proposes to open the test, and opens nothing

Controls may come late, or several runs at once. Only a run that also came after the points that failed is their repeat:
where a clock was set back, a new failure seems to be older than the accepted run before it. A result that was
measured while its control failed waits also where it comes afterwards.
"""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from engine.features.quality_control.rules.westgard import Verdict
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch

UNUSED = "quality_control"  # of `Tail.unused`
BEGAN = (  # a run r: results that say no time are not before it where the clock of the analyzer is ahead
    "min(r.first_us, coalesce((SELECT min(p.received_us) FROM qc_point p WHERE p.run = r.id), r.first_us))"
)
PASSES = (  # of a run r
    "(SELECT v.verdict FROM qc_verdict v WHERE v.run = r.id ORDER BY v.version DESC LIMIT 1) IN ('accept', 'warn')"
)


class Stream(NamedTuple):
    """The points of one test on one module of an analyzer."""

    id: int
    channel: str
    module: str
    test: str


class ClosedTest(NamedTuple):
    """A test whose results wait. ``run``: whose rejection closed it."""

    id: int
    test: str
    run: int


def follow(batch: Batch, stream: Stream, run: int, verdict: Verdict, *, is_newest: bool = True) -> None:
    """A run of a test has this verdict now, and had another one, or none. The newest one is reported."""
    named = {"channel": stream.channel, "test": stream.test, "run": run}
    if verdict is Verdict.REJECT:
        if _close(batch, stream, run) or is_newest:
            batch.tell("qc.rejected", **named)
    elif verdict.passes and is_newest:
        batch.tell("qc.accepted", **named)


def propose(batch: Batch, stream: Stream) -> None:
    """The repeat of a failed run is the newest accepted one behind it that has each level that failed there.

    Asked after each change of points: another level comes, is left out, or fails late, and no verdict is another one.
    """
    row = batch.execute(
        "SELECT c.id, c.run, c.since_us, c.repeat FROM qc_closed c JOIN qc_run f ON f.id = c.run"
        " WHERE c.channel = ? AND c.test = ? AND c.until_us = 0 AND f.stream = ?",
        (stream.channel, stream.test, stream.id),
    ).fetchone()
    if row is None:
        return
    number, failed, since, before = row
    rows = batch.execute(
        "SELECT r.id FROM qc_run r JOIN qc_run f ON f.id = ? WHERE r.stream = ? AND r.first_us > f.first_us"  # noqa: S608
        f" AND {PASSES} ORDER BY r.first_us DESC",
        (failed, stream.id),
    ).fetchall()
    levels = _failed_levels(batch, stream.id, failed, since) if rows else {}
    repeat = next((run for (run,) in rows if _repeats(batch, run, levels)), 0)
    if repeat != before:
        batch.execute("UPDATE qc_closed SET repeat = ? WHERE id = ?", (repeat, number))


def taken_out(batch: Batch, stream: Stream) -> None:
    """A point was left out, or erased. Where it was the last one accepted before a failure, more results are looked
    at; where it was the repeat by which a person has closed the failed run, the test is closed again."""
    row = batch.execute(
        "SELECT c.id, c.run, c.until_us FROM qc_closed c JOIN qc_run f ON f.id = c.run WHERE c.channel = ?"
        " AND c.test = ? AND f.stream = ? AND (c.until_us = 0 OR c.repeat > 0 AND c.act > 0)"
        " ORDER BY c.until_us = 0 DESC, f.first_us DESC, c.id DESC LIMIT 1",
        (stream.channel, stream.test, stream.id),
    ).fetchone()
    if row is None:
        return
    number, run, until_us = row
    if not until_us:
        since = _last_accepted(batch, stream.id, run)
        batch.execute("UPDATE qc_closed SET since_us = min(since_us, ?) WHERE id = ?", (since, number))
        _look_back(batch, stream, number, since)
    elif not _accepted_after(batch, stream.id, run)[0]:
        follow(batch, stream, run, Verdict.REJECT)


def is_unused(batch: Batch) -> bool:
    """Whether no lot and no target was ever taken, without a question to the journal for each message."""
    if UNUSED not in batch.tail.unused and not any(
        batch.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608 - our own words
        for table in ("qc_lot", "qc_target")
    ):
        batch.tail.unused.add(UNUSED)
    return UNUSED in batch.tail.unused


def codes_under_control(batch: Batch, channel: str) -> dict[str, set[str]]:
    """The tests of an analyzer that have controls with a target, by the codes of their results."""
    found: dict[str, set[str]] = {}
    for code, test in batch.execute("SELECT code, test FROM qc_code WHERE channel = ?", (channel,)):
        found.setdefault(code, set()).add(test)
    return found


def closed_tests(batch: Batch, channel: str) -> dict[str, ClosedTest]:
    """The closed tests of an analyzer, by name."""
    rows = batch.execute("SELECT id, test, run FROM qc_closed WHERE channel = ? AND until_us = 0", (channel,))
    return {test: ClosedTest(number, test, run) for number, test, run in rows}


def failed_then(batch: Batch, channel: str, measured: Mapping[str, int]) -> dict[str, ClosedTest]:
    """The tests of results that were measured between the last accepted control and the repeat of a failed one.

    Args:
        measured: when each test was, at the earliest.
    """
    found: dict[str, ClosedTest] = {}
    for test, at_us in measured.items():
        row = batch.execute(
            "SELECT c.id, c.run FROM qc_closed c JOIN qc_run f ON f.id = c.run JOIN qc_run r ON r.id = c.repeat"
            " WHERE c.channel = ? AND c.test = ? AND c.until_us > 0 AND r.first_us > ?"
            " AND CASE c.since_us WHEN 0 THEN f.first_us ELSE c.since_us END <= ? ORDER BY c.id DESC LIMIT 1",
            (channel, test, at_us, at_us),
        ).fetchone()
        if row is not None:
            found[test] = ClosedTest(row[0], test, row[1])
    return found


def note_results(
    batch: Batch,
    message_id: int,
    channel: str,
    tests: Mapping[str, int],
    measured: Mapping[str, int] = MappingProxyType({}),
    waiting: Collection[str] = (),
) -> None:
    """Note that a message has results of these tests.

    Args:
        tests: when they came, or were measured, where that is later. measured: when they were, where it says so.
        waiting: those of them that wait for a failed control.
    """
    batch.executemany(
        "INSERT INTO qc_bracket (message_id, channel, test, at_us, measured_us, waits) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET waits = min(waits, excluded.waits)",
        [
            (message_id, channel, test, at_us, measured.get(test, at_us), int(test in waiting))
            for test, at_us in tests.items()
        ],
    )


def decided(batch: Batch, message_id: int) -> None:
    """A person has released results that waited: a later failure of their control may be about them, too."""
    batch.execute(
        "UPDATE qc_bracket SET waits = 0 WHERE message_id = ? AND waits = 1 AND EXISTS (SELECT 1 FROM delivery d"
        " WHERE d.message_id = qc_bracket.message_id AND d.cause IN (?, ?) AND d.state = 'waiting')",
        (message_id, ReasonCode.CONTROL_FAILED.value, ReasonCode.CONTROL_NUMBER.value),
    )


def to_be_looked_at(batch: Batch, message_id: int, closed: Iterable[ClosedTest]) -> None:
    """Results of closed tests go out all the same, for their route says so."""
    batch.executemany(
        "INSERT OR IGNORE INTO qc_look (closed, message_id, act) VALUES (?, ?, 0)",
        [(one.id, message_id) for one in closed],
    )


def _close(batch: Batch, stream: Stream, run: int) -> bool:
    """Return whether results of the test wait for this run."""
    since = _last_accepted(batch, stream.id, run)
    repeat, until_us = _accepted_after(batch, stream.id, run)
    row = batch.execute(  # another module of the analyzer has failures of its own
        "SELECT c.id, f.first_us < n.first_us FROM qc_closed c JOIN qc_run f ON f.id = c.run JOIN qc_run n ON n.id = ?"
        " WHERE c.channel = ? AND c.test = ? AND c.until_us = 0 AND f.stream = ?",
        (run, stream.channel, stream.test, stream.id),
    ).fetchone()
    if row is not None and not repeat:
        number, is_newer = row
        batch.execute(
            "UPDATE qc_closed SET run = iif(?, ?, run), since_us = min(since_us, ?) WHERE id = ?",
            (is_newer, run, since, number),
        )
    else:
        (number,) = batch.execute(
            "INSERT INTO qc_closed (channel, test, run, since_us, from_us, repeat, until_us, act)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0) RETURNING id",
            (stream.channel, stream.test, run, since, batch.now_us, repeat, batch.now_us if repeat else 0),
        ).fetchone()
    _look_back(batch, stream, number, since, until_us)
    return not repeat


def _look_back(batch: Batch, stream: Stream, number: int, since_us: int, until_us: int = 0) -> None:
    """A person is to look at the results that went out since then; ``until_us``: when a repeat was; 0: not yet."""
    batch.execute(
        "INSERT OR IGNORE INTO qc_look (closed, message_id, act) SELECT ?, message_id, 0 FROM qc_bracket"
        " WHERE channel = ? AND test = ? AND waits = 0 AND at_us >= ? AND (? = 0 OR measured_us < ?)",
        (number, stream.channel, stream.test, since_us, until_us, until_us),
    )


def _accepted_after(batch: Batch, stream_id: int, run: int) -> tuple[int, int]:
    """The first accepted run behind this one that has each level that failed, and when it began; zeros without one."""
    rows = batch.execute(
        "SELECT r.id, r.first_us FROM qc_run r JOIN qc_run f ON f.id = ? WHERE r.stream = ?"  # noqa: S608 - a constant
        f" AND r.first_us > f.first_us AND r.first_us <= ? AND {PASSES} ORDER BY r.first_us",
        (run, stream_id, batch.now_us),
    ).fetchall()
    failed = _failed_levels(batch, stream_id, run, _last_accepted(batch, stream_id, run)) if rows else {}
    return next(((one, at_us) for one, at_us in rows if _repeats(batch, one, failed)), (0, 0))


def _last_accepted(batch: Batch, stream_id: int, run: int) -> int:
    """When the last accepted run before this one began, or came where its clock is ahead; 0: there was none."""
    row = batch.execute(
        f"SELECT {BEGAN} FROM qc_run r JOIN qc_run n ON n.id = ?"  # noqa: S608 - a constant
        " WHERE r.stream = ? AND r.first_us < n.first_us"
        f" AND {PASSES} ORDER BY r.first_us DESC LIMIT 1",
        (run, stream_id),
    ).fetchone()
    return 0 if row is None else int(row[0])


def _repeats(batch: Batch, run: int, failed: Mapping[str, int]) -> bool:
    """Whether each of these levels has a point in a run that came after the one that failed. One that is left out
    repeats nothing."""
    rows = batch.execute(
        "SELECT level, max(id) FROM qc_point p WHERE run = ?"
        " AND NOT EXISTS (SELECT 1 FROM qc_excluded x WHERE x.point = p.id AND x.back = 0) GROUP BY level",
        (run,),
    )
    came = dict(rows.fetchall())
    return all(came.get(level, 0) > point for level, point in failed.items())


def _failed_levels(batch: Batch, stream_id: int, run: int, since_us: int) -> dict[str, int]:
    """The last points, by level, that a rule fired about, of this run and the failed ones before it since then, in any
    verdict that rejected them: an excluded point does not take that back. Where the level has no target, or is not
    known (erased, a control of no list), they are all levels that have one."""
    rows = batch.execute(
        "SELECT p.level, max(p.id) FROM qc_run n JOIN qc_run r ON r.stream = ? AND r.first_us BETWEEN ? AND n.first_us"
        " JOIN qc_verdict v ON v.run = r.id AND v.verdict = 'reject',"
        " json_each(v.fired) f, json_each(f.value, '$[3]') at JOIN qc_point p ON p.id = at.value AND p.run = r.id"
        " WHERE n.id = ? GROUP BY p.level",
        (stream_id, since_us, run),
    )
    levels: dict[str, int] = dict(rows.fetchall())
    judged = {
        level
        for (level,) in batch.execute(
            "SELECT t.level FROM qc_target t JOIN qc_stream s ON s.channel = t.channel AND s.test = t.test"
            " WHERE s.id = ? AND t.module IN ('', s.module) AND t.state IN ('interim', 'in force')",
            (stream_id,),
        )
    }
    if others := levels.keys() - judged:
        last = max(map(levels.__getitem__, others))
        levels = {level: max(last, levels.get(level, 0)) for level in judged}
    return levels
