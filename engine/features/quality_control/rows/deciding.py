"""What people decide about controls: lots, targets, rules, points, events, failed runs.

Each act is a row of the audit trail with its person and reason; the tables name it.
"""

from collections.abc import Sequence
from typing import Any

from engine.features.quality_control.rows import closing, judging, points
from engine.features.quality_control.rules.lots import IN_FORCE, INTERIM, Lot
from engine.features.quality_control.rules.maintenance import AHEAD_US, Job
from engine.features.quality_control.rules.tables import TargetRow
from engine.features.quality_control.rules.westgard import RuleSet
from engine.model.content.quality_controls import ControlResult, spellings
from engine.model.errors import RefusedError
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

CAUSES = ("wrong control", "short sample", "clot", "air", "operator", "other")  # why a point is excluded
KINDS = ("calibration", "reagent lot", "control lot", "maintenance", "correction")  # of events
MINUTES_US = 5 * 60_000_000  # so far apart clocks of one site may be
_OF_TARGET = "channel, module, test, level, lot, unit, mean, sd, source"
_SAME_TARGET = "channel = ? AND module = ? AND test = ? AND level = ? AND lot = ?"


@operation(priority=Priority.SETTLE)
def load(
    batch: Batch, lots: Sequence[Lot], targets: Sequence[TargetRow], *, file: str, actor: str, reason: str
) -> dict[str, int]:
    """Take a table: a lot takes the place of the one under its number from now on; a target is proposed."""
    batch.tail.unused.discard(closing.UNUSED)
    new_lots = [one for one in lots if not _has(batch, one)]
    new_targets = [one for one in targets if not _is_proposed(batch, one)]
    done = {"lots": len(new_lots), "targets": len(new_targets), "known": len(lots) + len(targets)}
    done["known"] -= done["lots"] + done["targets"]
    act = audit.note(batch, actor, "quality-load", {"file": file, "reason": reason, **done})
    for lot in new_lots:
        ended = batch.execute(
            "UPDATE qc_lot SET until_us = ?, closed = ? WHERE channel = ? AND number = ? AND until_us = 0",
            (batch.now_us, act, lot.channel, lot.number),
        )
        batch.execute(
            "INSERT INTO qc_lot (channel, number, material, level, lot, expires, from_us, until_us, act, closed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, 0)",
            (*lot, batch.now_us if ended.rowcount else 0, act),
        )
    batch.executemany(
        f"INSERT INTO qc_target ({_OF_TARGET}, state, from_us, until_us, act, accepted, closed)"  # noqa: S608 - a constant
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'proposed', 0, 0, ?, 0, 0)",
        [(*one, act) for one in new_targets],
    )
    return {**done, "act": act}


def _has(batch: Batch, lot: Lot) -> bool:
    row = batch.execute(
        "SELECT 1 FROM qc_lot WHERE channel = ? AND number = ? AND material = ? AND level = ? AND lot = ?"
        " AND expires = ? AND until_us = 0",
        tuple(lot),
    ).fetchone()
    return row is not None


def _is_proposed(batch: Batch, one: TargetRow) -> bool:
    row = batch.execute(
        f"SELECT 1 FROM qc_target WHERE {_SAME_TARGET} AND unit = ? AND mean = ? AND sd = ? AND source = ?"  # noqa: S608
        " AND state <> 'closed'",
        tuple(one),
    ).fetchone()
    return row is not None


@operation(priority=Priority.SETTLE)
def accept(
    batch: Batch, targets: Sequence[int], state: str, from_us: int, *, actor: str, reason: str
) -> dict[str, int]:
    """Put proposed targets in force, or interim ones, from a date on. Those before each are closed on that date, and
    so is one whose time would begin later.

    Raises:
        RefusedError: one is not there, or is in force or closed already.
    """
    if state not in (INTERIM, IN_FORCE):
        raise RefusedError(f"a target is put {IN_FORCE}, or {INTERIM}")
    for target in targets:
        row = batch.execute("SELECT state FROM qc_target WHERE id = ?", (target,)).fetchone()
        if row is None or row[0] not in ("proposed", INTERIM) or row[0] == state:
            raise RefusedError(f"target {target} is {row[0] if row else 'not there'}")
    act = audit.note(
        batch, actor, "quality-target", {"targets": list(targets), "state": state, "from_us": from_us, "reason": reason}
    )
    for target in targets:
        key = batch.execute(
            "SELECT channel, module, test, level, lot FROM qc_target WHERE id = ?", (target,)
        ).fetchone()
        batch.execute(
            f"UPDATE qc_target SET state = 'closed', until_us = max(?, from_us + 1), closed = ? WHERE {_SAME_TARGET}"  # noqa: S608
            " AND from_us > 0 AND (until_us = 0 OR until_us > ?) AND id <> ?",
            (from_us, act, *key, from_us, target),
        )
        batch.execute(
            "UPDATE qc_target SET state = ?, from_us = CASE from_us WHEN 0 THEN ? ELSE from_us END, accepted = ?"
            " WHERE id = ?",
            (state, from_us, act, target),
        )
        channel, _, test, _, _ = key
        batch.executemany(
            "INSERT OR IGNORE INTO qc_code (channel, code, test) VALUES (?, ?, ?)",
            [(channel, code, test) for code in spellings(test)],
        )
    return {"targets": len(targets), "act": act}


@operation(priority=Priority.SETTLE)
def close_target(batch: Batch, target: int, until_us: int, *, actor: str, reason: str) -> int:
    """End a target on a date: from then on its controls are not evaluated."""
    row = batch.execute("SELECT state FROM qc_target WHERE id = ?", (target,)).fetchone()
    if row is None or row[0] == "closed":
        raise RefusedError(f"target {target} is {row[0] if row else 'not there'}")
    act = audit.note(
        batch, actor, "quality-target", {"targets": [target], "state": "closed", "until_us": until_us, "reason": reason}
    )
    batch.execute(
        "UPDATE qc_target SET state = 'closed', until_us = max(?, from_us + 1), closed = ? WHERE id = ?",
        (until_us, act, target),
    )
    return act


@operation(priority=Priority.SETTLE)
def set_rules(batch: Batch, channel: str, test: str, rules: RuleSet, *, actor: str, reason: str) -> int:
    """Another version of the rules of a test, an analyzer (no test) or all; the verdicts from now on are by it.

    Raises:
        RefusedError: it is no set of rules.
    """
    if why := rules.problem():
        raise RefusedError(why)
    said = {"channel": channel, "test": test, "rules": list(rules.rules), "r4s": rules.r4s, "reason": reason}
    act = audit.note(batch, actor, "quality-rules", {**said, "warnings": sorted(rules.warnings)})
    (version,) = batch.execute(
        "INSERT INTO qc_rules (channel, test, rules, warnings, r4s, act) VALUES (?, ?, ?, ?, ?, ?) RETURNING version",
        (channel, test, " ".join(rules.rules), " ".join(sorted(rules.warnings)), rules.r4s, act),
    ).fetchone()
    return int(version)


@operation(priority=Priority.SETTLE)
def exclude(batch: Batch, point: int, code: str, *, actor: str, reason: str) -> int:
    """Leave a point out of all counts; it stays in sight. The verdict on a failed run stays.

    Raises:
        RefusedError: it is not there, or excluded already.
    """
    if code not in CAUSES:
        raise RefusedError(f"the cause is one of {', '.join(CAUSES)}")
    stream, order, excluded = _point(batch, point)
    if excluded:
        raise RefusedError(f"point {point} is excluded already")
    act = audit.note(batch, actor, "quality-exclude", {"point": point, "code": code, "reason": reason})
    batch.execute("INSERT INTO qc_excluded (point, code, act, back) VALUES (?, ?, ?, 0)", (point, code, act))
    judging.settle(batch, stream, order, judging.EXCLUDED, act=act)
    return act


@operation(priority=Priority.SETTLE)
def take_back(batch: Batch, point: int, *, actor: str, reason: str) -> int:
    """An excluded point counts again.

    Raises:
        RefusedError: it is not excluded.
    """
    stream, order, excluded = _point(batch, point)
    if not excluded:
        raise RefusedError(f"point {point} is not excluded")
    act = audit.note(batch, actor, "quality-include", {"point": point, "reason": reason})
    batch.execute("UPDATE qc_excluded SET back = ? WHERE point = ? AND back = 0", (act, point))
    judging.settle(batch, stream, order, judging.TAKEN_BACK, act=act)
    return act


def _point(batch: Batch, point: int) -> tuple[int, tuple[int, int], bool]:
    row = batch.execute(
        "SELECT stream, measured_us, EXISTS (SELECT 1 FROM qc_excluded x WHERE x.point = p.id AND x.back = 0)"
        " FROM qc_point p WHERE id = ?",
        (point,),
    ).fetchone()
    if row is None:
        raise RefusedError(f"there is no point {point}")
    return row[0], (row[1], point), bool(row[2])


@operation(priority=Priority.SETTLE)
def add_event(
    batch: Batch,
    channel: str,
    test: str,
    at_us: int,
    kind: str,
    *,
    resets: bool = False,
    job: Job | None = None,
    actor: str,
    reason: str,
) -> int:
    """A line on the chart, of one test or all of an analyzer.

    Args:
        resets: rules count anew from it on.
        job: of maintenance, that was done.
    """
    if kind not in KINDS:
        raise RefusedError(f"an event is one of {', '.join(KINDS)}")
    what = {"channel": channel, "test": test, "at_us": at_us, "kind": kind, "resets": resets, "reason": reason}
    if job is not None and at_us > batch.now_us + AHEAD_US:
        raise RefusedError("it was not done yet: this time is to come")
    name, due = ("", kind != "control lot") if job is None else (job.job, job.control)
    act = audit.note(batch, actor, "quality-event", {**what, "job": name} if name else what)
    batch.execute(
        "INSERT INTO qc_event (channel, test, at_us, kind, resets, job, due, act) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (channel, test, at_us, kind, int(resets), name, int(due), act),
    )
    streams = batch.execute(
        "SELECT id FROM qc_stream WHERE channel = ? AND ? IN ('', test)", (channel, test)
    ).fetchall()
    for (stream,) in streams if resets else ():
        judging.settle(batch, stream, (at_us, 0), judging.EVENT, act=act)
    return act


@operation(priority=Priority.SETTLE)
def enter(batch: Batch, channel: str, control: ControlResult, *, actor: str, reason: str) -> dict[str, Any]:
    """A control result that no message brings: a lateral-flow test, an analyzer without a line.

    Raises:
        RefusedError: its time is still to come.
    """
    if control.at_us > batch.now_us + MINUTES_US:
        raise RefusedError("the time of this control is still to come")
    what = {"channel": channel, "test": control.test, "number": control.number, "value": control.value}
    act = audit.note(batch, actor, "quality-enter", {**what, "unit": control.unit, "reason": reason})
    made = points.add(batch, 0, channel, batch.now_us, control, act=act)
    if made is None:
        raise RefusedError("this point is there already")
    stream, order = made
    judging.settle(batch, stream, order, judging.MEASURED, act=act)
    return {"point": order[1], "act": act}


@operation(priority=Priority.SETTLE)
def open_test(batch: Batch, number: int, *, cause: str, action: str, actor: str, reason: str) -> dict[str, int]:
    """Close a failed run: results of its test go on from now. It releases no held result.

    Raises:
        RefusedError: it is closed already, or no repeat with each level that failed was accepted. Where all targets of
            the test have ended it needs none.
    """
    row = batch.execute("SELECT channel, test, run, repeat, until_us FROM qc_closed WHERE id = ?", (number,)).fetchone()
    if row is None or row[4]:
        raise RefusedError(f"failure {number} is {'closed already' if row else 'not there'}")
    channel, test, run, repeat, _ = row
    if not repeat and _is_judged(batch, channel, test):
        raise RefusedError(f"no repeat of run {run} was accepted: measure each level that failed again")
    what = {"failure": number, "channel": channel, "test": test, "run": run, "repeat": repeat}
    act = audit.note(batch, actor, "quality-close", {**what, "cause": cause, "action": action, "reason": reason})
    batch.execute("UPDATE qc_closed SET until_us = ?, act = ? WHERE id = ?", (batch.now_us, act, number))
    return {"run": run, "repeat": repeat, "act": act}


def _is_judged(batch: Batch, channel: str, test: str) -> bool:
    row = batch.execute(
        "SELECT 1 FROM qc_target WHERE channel = ? AND test = ? AND state IN ('interim', 'in force')", (channel, test)
    ).fetchone()
    return row is not None


@operation(priority=Priority.SETTLE)
def looked_at(batch: Batch, number: int, messages: Sequence[int], *, actor: str, reason: str) -> dict[str, int]:
    """A person has looked at results that went out before the failure of their control was known."""
    open_ones = [
        message
        for message in messages
        if batch.execute(
            "SELECT 1 FROM qc_look WHERE closed = ? AND message_id = ? AND act = 0", (number, message)
        ).fetchone()
    ]
    if not open_ones:
        raise RefusedError(f"none of these is to be looked at for failure {number}")
    act = audit.note(batch, actor, "quality-look", {"failure": number, "messages": open_ones, "reason": reason})
    batch.executemany(
        "UPDATE qc_look SET act = ? WHERE closed = ? AND message_id = ?", [(act, number, one) for one in open_ones]
    )
    return {"messages": len(open_ones), "act": act}
