"""The effect of a verdict: a test whose control failed is closed, and its results wait until a person opens it again.

bracket    messages with a result of the test, noted as they come
closed     the test, since its newest run was rejected
look       those messages of the bracket since the last accepted run: a person is to look at them; none is taken back
repeat     an accepted run after it, of each level that failed: it proposes to open the test, and opens nothing
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from engine.features.quality_control.rules.westgard import Verdict
from engine.store.core.writing.batch import Batch


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


def follow(batch: Batch, stream: Stream, run: int, verdict: Verdict) -> None:
    """The newest run of a test has this verdict now, and had another one, or none."""
    named = {"channel": stream.channel, "test": stream.test, "run": run}
    if verdict is Verdict.REJECT:
        _close(batch, stream, run)
        batch.tell("qc.rejected", **named)
    elif verdict.passes:
        _propose(batch, stream, run)
        batch.tell("qc.accepted", **named)


def no_repeat(batch: Batch, run: int) -> None:
    """A run that was accepted is so no more: another point of it came, or a late one before it."""
    batch.execute("UPDATE qc_closed SET repeat = 0 WHERE repeat = ? AND until_us = 0", (run,))


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


def note_results(batch: Batch, message_id: int, channel: str, tests: Mapping[str, int]) -> None:
    """Note that a message has results of these tests; when they were measured."""
    batch.executemany(
        "INSERT INTO qc_bracket (message_id, channel, test, at_us) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(message_id, channel, test, at_us) for test, at_us in tests.items()],
    )


def to_be_looked_at(batch: Batch, message_id: int, closed: Iterable[ClosedTest]) -> None:
    """Results of closed tests go out all the same, for their route says so."""
    batch.executemany(
        "INSERT OR IGNORE INTO qc_look (closed, message_id, act) VALUES (?, ?, 0)",
        [(one.id, message_id) for one in closed],
    )


def _close(batch: Batch, stream: Stream, run: int) -> None:
    row = batch.execute(  # another module of the analyzer has failures of its own
        "SELECT c.id FROM qc_closed c JOIN qc_run r ON r.id = c.run"
        " WHERE c.channel = ? AND c.test = ? AND c.until_us = 0 AND r.stream = ?",
        (stream.channel, stream.test, stream.id),
    ).fetchone()
    if row is not None:  # one repeat that was accepted counts no more
        batch.execute("UPDATE qc_closed SET run = ?, repeat = 0 WHERE id = ?", (run, row[0]))
        return
    since = _last_accepted(batch, stream.id, run)
    (number,) = batch.execute(
        "INSERT INTO qc_closed (channel, test, run, since_us, from_us, repeat, until_us, act)"
        " VALUES (?, ?, ?, ?, ?, 0, 0, 0) RETURNING id",
        (stream.channel, stream.test, run, since, batch.now_us),
    ).fetchone()
    batch.execute(
        "INSERT INTO qc_look (closed, message_id, act)"
        " SELECT ?, message_id, 0 FROM qc_bracket WHERE channel = ? AND test = ? AND at_us >= ?",
        (number, stream.channel, stream.test, since),
    )


def _last_accepted(batch: Batch, stream_id: int, run: int) -> int:
    """When the last accepted run before this one began; 0: there was none."""
    row = batch.execute(
        "SELECT r.first_us FROM qc_run r JOIN qc_run n ON n.id = ? WHERE r.stream = ? AND r.first_us < n.first_us"
        " AND (SELECT v.verdict FROM qc_verdict v WHERE v.run = r.id ORDER BY v.version DESC LIMIT 1)"
        " IN ('accept', 'warn') ORDER BY r.first_us DESC LIMIT 1",
        (run, stream_id),
    ).fetchone()
    return 0 if row is None else int(row[0])


def _propose(batch: Batch, stream: Stream, run: int) -> None:
    """An accepted run is the repeat of a failed one where it has each level that failed there."""
    row = batch.execute(
        "SELECT c.id, c.run FROM qc_closed c JOIN qc_run f ON f.id = c.run JOIN qc_run r ON r.id = ?"
        " WHERE c.channel = ? AND c.test = ? AND c.until_us = 0 AND f.stream = r.stream AND r.first_us > f.first_us",
        (run, stream.channel, stream.test),
    ).fetchone()
    if row is None:
        return
    number, failed = row
    levels = {level for (level,) in batch.execute("SELECT DISTINCT level FROM qc_point WHERE run = ?", (run,))}
    if _failed_levels(batch, failed) <= levels:
        batch.execute("UPDATE qc_closed SET repeat = ? WHERE id = ?", (run, number))


def _failed_levels(batch: Batch, run: int) -> set[str]:
    """The levels of a run at whose points a rule fired."""
    rows = batch.execute(
        "SELECT DISTINCT p.level FROM qc_verdict v, json_each(v.fired) f"
        " JOIN qc_point p ON p.id = json_extract(f.value, '$[0]')"
        " WHERE v.run = ? AND v.version = (SELECT max(version) FROM qc_verdict WHERE run = v.run)",
        (run,),
    )
    return {level for (level,) in rows}
