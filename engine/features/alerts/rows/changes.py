"""Alerts as the journal keeps them: their state, what is sent to which sink, silences, critical values.

A look at the site changes alerts and queues lines in one transaction (`look`). Lines go out as messages. A message is
made of lines when it is claimed for its first attempt, and is the same at each attempt. Before each attempt a
transaction says that it may reach the sink; so a kill at any moment loses none, and a repeat is marked as one.

    waiting --claim--> under way --sent--> ended
                          |  ^
                       postpone (later), or give_up (ended, not sent)

A person's acts are audit rows, as all acts are. So is the record of who was notified of a critical value.

Critical values and retention: none that no person has taken goes in silence.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.model.errors import RefusedError
from engine.model.journal.records import KIND_MESSAGE
from engine.model.site.alerts import Alert, Changes, Line, Message, Silence, What
from engine.model.texts.phrases import unpacked
from engine.store.core.connecting import Execute
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.lifecycle.retention import DAY_US, Need, Rows
from engine.store.operations import audit

KEPT_US = 90 * 86_400_000_000  # what was sent
CALLS_US = 800 * 86_400_000_000  # as other counts of the reports
MAX_SILENCES = 200
MAX_NAMED = 1000  # messages in one audit row
LONGEST_SILENCE_US = 30 * 86_400_000_000
PRUNED_AT_ONCE = 500
CRITICAL_KEY = "critical/{}"
ALERT = (
    "key, rule, level, phrase, subject, count, since_us, fired_us, gone_us, sent_us, sent_count, said_us, sent_to,"
    " steps, starts, unsteady, taken_us, taken, urgent"
)
# No line waits longer than so: one that is due later was queued before the clock was set back, and is due now.
URGENT_WAIT_US = 61_000_000
LONGEST_WAIT_US = 660_000_000
# Urgent lines of a sink, each behind the earlier ones of its alert.
URGENT = "l.id IN (SELECT min(id) FROM alert_line WHERE sink = ? AND ended_us = 0 AND urgent GROUP BY key)"
OF_MESSAGE = "id >= ? AND message = ?"  # its number is its first line's: no earlier line is looked at
REFUSED = ", "  # between two addresses
LINE = "sink, key, what, level, phrase, at_us, due_us, lasted_us, urgent"


def kept_alerts(execute: Execute) -> dict[str, Alert]:
    """All that are kept, by key."""
    return {row[0]: _alert(row) for row in execute(f"SELECT {ALERT} FROM alert ORDER BY key")}  # noqa: S608 - constants


def kept_silences(execute: Execute, now_us: int) -> list[Silence]:
    """Those that are in force, without people's words; one that a wrong clock made would be longer than any."""
    rows = execute(
        "SELECT act, pattern, until_us FROM alert_silence WHERE until_us > ? AND until_us <= ? ORDER BY act",
        (now_us, now_us + LONGEST_SILENCE_US),
    )
    return [Silence(act=act, pattern=pattern, until_us=until_us) for act, pattern, until_us in rows]


@operation(priority=Priority.SETTLE)
def look(batch: Batch, decide: Callable[[Mapping[str, Alert], Sequence[Silence]], Changes]) -> None:
    """Carry the alerts on by one look, and queue what is to be sent.

    Args:
        decide: what changes, by the alerts that are kept and the silences that are in force.
    """
    kept = kept_alerts(batch.execute)
    changes = decide(kept, kept_silences(batch.execute, batch.now_us))
    for alert in changes.changed:
        _tell(batch, kept.get(alert.key), alert)
    for key in changes.gone:
        _tell(batch, kept[key], None)
    batch.executemany("DELETE FROM alert WHERE key = ?", [(key,) for key in changes.gone])
    batch.executemany(
        f"INSERT OR REPLACE INTO alert ({ALERT}) VALUES ({', '.join('?' * 19)})",  # noqa: S608 - constants
        [_row(alert) for alert in changes.changed],
    )
    queue(batch, changes.lines)


def _tell(batch: Batch, before: Alert | None, now: Alert | None) -> None:
    """Note the event of an alert that has started, or ended."""
    was, is_open = before is not None and before.is_open, now is not None and now.is_open
    alert = now if is_open else before
    if alert is not None and was != is_open:
        named = {"alert": alert.key, "rule": alert.rule, "level": alert.level, "subject": alert.subject}
        batch.tell("alert.started" if is_open else "alert.ended", **named, count=alert.count)


@operation(priority=Priority.SETTLE)
def queue(batch: Batch, lines: Sequence[Line]) -> None:
    """Queue lines that are to be sent."""
    batch.executemany(
        f"INSERT INTO alert_line ({LINE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
        [
            (
                one.sink, one.key, one.what.value, one.level, one.phrase.packed(), one.at_us, one.due_us, one.lasted_us,
                one.urgent,
            )
            for one in lines
        ],
    )  # fmt: skip


@operation(priority=Priority.SETTLE)
def claim(batch: Batch, sink: str, *, held: bool) -> Message | None:
    """The next message for a sink, before an attempt; None: nothing is due.

    Urgent lines go first, each by itself: a start before any reminder of others. Those that are not urgent go
    together, starts or ends, in their order: a line that waits for its next attempt is overtaken by none of them.

    Args:
        held: a quiet window is open: only urgent lines go.
    """
    first = batch.execute(
        f"SELECT id, message, what, 1 FROM alert_line l WHERE {URGENT} AND due_us NOT BETWEEN ? AND ?"  # noqa: S608 - constant
        " ORDER BY what <> ?, id LIMIT 1",
        (sink, batch.now_us + 1, batch.now_us + URGENT_WAIT_US, What.START.value),
    ).fetchone()
    if first is None and not held:
        first = batch.execute(
            "SELECT id, message, what, 0 FROM (SELECT * FROM alert_line WHERE sink = ? AND ended_us = 0 AND NOT urgent"
            " ORDER BY id LIMIT 1) WHERE due_us NOT BETWEEN ? AND ?",
            (sink, batch.now_us + 1, batch.now_us + LONGEST_WAIT_US),
        ).fetchone()
    if first is None:
        return None
    number, message, what, urgent = first
    if not message:
        message = number
        _gather(batch, sink, number, is_end=what == What.END.value, urgent=urgent)
    rows = batch.execute(
        f"SELECT {LINE}, attempt, unsure FROM alert_line WHERE {OF_MESSAGE} ORDER BY id",  # noqa: S608 - constants
        (message, message),
    ).fetchall()
    batch.execute(
        f"UPDATE alert_line SET attempt = attempt + 1, unsure = 1 WHERE {OF_MESSAGE}",  # noqa: S608 - constant
        (message, message),
    )
    return Message(
        number=message,
        sink=sink,
        lines=tuple(line_of(row) for row in rows),
        attempt=1 + max(row[-2] for row in rows),
        repeat=any(row[-1] for row in rows),
    )


def _gather(batch: Batch, sink: str, number: int, *, is_end: bool, urgent: int) -> None:
    """Make a message of the first line and of those that follow it without one of the other kind in between."""
    if urgent:
        batch.execute("UPDATE alert_line SET message = id WHERE id = ?", (number,))
        return
    (until,) = batch.execute(
        "SELECT coalesce(min(id), 9223372036854775807) FROM alert_line"
        " WHERE sink = ? AND ended_us = 0 AND NOT urgent AND message = 0 AND id > ? AND (what = 'end') <> ?",
        (sink, number, is_end),
    ).fetchone()
    batch.execute(
        "UPDATE alert_line SET message = ? WHERE sink = ? AND ended_us = 0 AND NOT urgent AND message = 0"
        " AND id >= ? AND id < ? AND due_us NOT BETWEEN ? AND ?",
        (number, sink, number, until, batch.now_us + 1, batch.now_us + LONGEST_WAIT_US),
    )


@operation(priority=Priority.SETTLE)
def sent(batch: Batch, message: Message, to: str, refused: Sequence[str] = ()) -> None:
    """The sink has taken a message, but for some addresses. Of a critical value an audit row says who was notified.

    Args:
        to: all addresses.
        refused: those of them that the sink has refused, with the reason.
    """
    batch.execute(
        "UPDATE alert_line SET ended_us = ?, is_sent = 1, unsure = 0, refused = ? WHERE message = ? AND ended_us = 0",
        (batch.now_us, REFUSED.join(refused), message.number),
    )
    for line in message.lines:
        if line.urgent:
            what: dict[str, object] = {"alert": line.key, "sent": line.what.value, "sink": message.sink, "to": to}
            if refused:
                what["refused"] = list(refused)
            audit.note(batch, "labrelay", "alert-sent", what)


@operation(priority=Priority.SETTLE)
def postpone(batch: Batch, message: Message, due_us: int, *, reached: bool) -> None:
    """An attempt failed.

    Args:
        reached: it may have reached the sink all the same.
    """
    batch.execute(
        "UPDATE alert_line SET due_us = ?, unsure = ?,"
        " failing_us = CASE failing_us WHEN 0 THEN ? ELSE failing_us END WHERE message = ? AND ended_us = 0",
        (due_us, reached or message.repeat, batch.now_us, message.number),
    )


@operation(priority=Priority.SETTLE)
def refused(batch: Batch, message: Message) -> None:
    """The sink refuses the message for good: it ends untold."""
    batch.execute(
        "UPDATE alert_line SET ended_us = ?, unsure = 0,"
        " failing_us = CASE failing_us WHEN 0 THEN ? ELSE failing_us END WHERE message = ? AND ended_us = 0",
        (batch.now_us, batch.now_us, message.number),
    )


@operation(priority=Priority.SETTLE)
def give_up(batch: Batch, *, before_us: int, sinks: Sequence[str], quiet: Sequence[str] = ()) -> int:
    """End lines that are older, and those of sinks that are not configured; return their number.

    Args:
        sinks: those that are configured.
        quiet: those of them whose quiet windows hold lines that are not urgent, however long.
    """
    marks, held = ", ".join("?" * len(sinks)), ", ".join("?" * len(quiet))
    return batch.execute(
        f"UPDATE alert_line SET ended_us = ? WHERE ended_us = 0 AND (sink NOT IN ({marks})"  # noqa: S608 - question marks
        f" OR (at_us < ? AND (urgent OR sink NOT IN ({held}))))",
        (batch.now_us, *sinks, before_us, *quiet),
    ).rowcount


@operation(priority=Priority.SETTLE)
def tidy(batch: Batch) -> None:
    """Delete what was sent long ago, and silences that are over."""
    batch.execute(
        "DELETE FROM alert_line WHERE id IN"
        " (SELECT id FROM alert_line WHERE ended_us > 0 AND ended_us < ? ORDER BY ended_us LIMIT ?)",
        (batch.now_us - KEPT_US, PRUNED_AT_ONCE),
    )
    batch.execute("DELETE FROM alert_silence WHERE until_us <= ?", (batch.now_us,))


@operation(priority=Priority.SETTLE)
def forget(batch: Batch) -> None:
    """Alerts are no longer configured: none is open. A critical value stays until a person takes it."""
    for alert in kept_alerts(batch.execute).values():
        _tell(batch, alert, None)
    batch.execute("DELETE FROM alert")
    batch.execute("UPDATE alert_line SET ended_us = ? WHERE ended_us = 0", (batch.now_us,))


# -- people ----------------------------------------------------------------------------------------------------------


@operation(priority=Priority.SETTLE)
def acknowledge(batch: Batch, key: str, actor: str, note: str) -> int:
    """A person takes an alert; return the id of the audit row. A critical value is done with by it.

    Raises:
        RefusedError: it is not open.
    """
    found = batch.execute("SELECT urgent FROM alert WHERE key = ? AND fired_us > 0", (key,)).fetchone()
    if found is None:
        raise RefusedError(f"no alert {key} is open")
    act = audit.note(batch, actor, "alert-acknowledge", {"alert": key, **({"reason": note} if note else {})})
    batch.execute("UPDATE alert SET taken = ?, taken_us = ? WHERE key = ?", (act, batch.now_us, key))
    if found[0]:
        _take(batch, int(key.partition("/")[2]), act)
    return act


@operation(priority=Priority.SETTLE)
def take_critical(batch: Batch, message_id: int, actor: str, note: str) -> int:
    """A person takes a critical value of a site that sends no alerts; return the id of the audit row.

    Raises:
        RefusedError: there is none, or a person has taken it.
    """
    key = CRITICAL_KEY.format(message_id)
    if not critical_untaken(batch.execute, message_id):
        raise RefusedError(f"no alert {key} is open")
    act = audit.note(batch, actor, "alert-acknowledge", {"alert": key, **({"reason": note} if note else {})})
    _take(batch, message_id, act)
    return act


def _take(batch: Batch, message_id: int, act: int) -> None:
    batch.execute(
        "UPDATE critical_value SET taken = ?, taken_us = ? WHERE message_id = ? AND taken_us = 0",
        (act, batch.now_us, message_id),
    )
    batch.execute(
        "UPDATE critical_call SET taken = ?, taken_us = ? WHERE message_id = ? AND taken_us = 0",
        (act, batch.now_us, message_id),
    )


@operation(priority=Priority.SETTLE)
def silence(batch: Batch, pattern: str, actor: str, reason: str, *, seconds: float) -> int:
    """Send nothing of these alerts for a time; return the id of the audit row, which is the silence's number.

    Raises:
        RefusedError: it is for critical values, or there are too many silences.
    """
    until_us = batch.now_us + min(round(seconds * 1e6), LONGEST_SILENCE_US)
    if Silence(act=0, pattern=pattern, until_us=0).covers(CRITICAL_KEY.format(1)) or pattern.startswith("critical/"):
        raise RefusedError("critical values are never silenced; name other alerts, as away/lab-fhir or silent/*")
    batch.execute("DELETE FROM alert_silence WHERE until_us <= ?", (batch.now_us,))
    if batch.execute("SELECT count(*) FROM alert_silence").fetchone()[0] >= MAX_SILENCES:
        raise RefusedError(f"{MAX_SILENCES} silences are in force; end some first: labrelay alert silences")
    act = audit.note(batch, actor, "alert-silence", {"pattern": pattern, "until_us": until_us, "reason": reason})
    batch.execute("INSERT INTO alert_silence (act, pattern, until_us) VALUES (?, ?, ?)", (act, pattern, until_us))
    return act


@operation(priority=Priority.SETTLE)
def unsilence(batch: Batch, number: int, actor: str) -> int:
    """End a silence; return the id of the audit row.

    Raises:
        RefusedError: there is none with this number.
    """
    found = batch.execute("SELECT pattern FROM alert_silence WHERE act = ?", (number,)).fetchone()
    if found is None:
        raise RefusedError(f"no silence {number} is in force")
    batch.execute("DELETE FROM alert_silence WHERE act = ?", (number,))
    return audit.note(batch, actor, "alert-unsilence", {"pattern": found[0], "silence": number})


# -- critical values -------------------------------------------------------------------------------------------------


def note_critical(batch: Batch, message_id: int, channel: str) -> bool:
    """A message has a critical value; once for each message, however often it is processed: whether it is the first
    time."""
    noted = batch.execute(
        "INSERT OR IGNORE INTO critical_value (message_id, channel, seen_us) VALUES (?, ?, ?)",
        (message_id, channel, batch.now_us),
    )
    if noted.rowcount:
        raise_call(batch, message_id, channel)
    return noted.rowcount == 1


def raise_call(batch: Batch, message_id: int, channel: str) -> None:
    """A person is to take it, by when the reports say; one that waits for that goes on to wait."""
    waits = batch.execute("UPDATE critical_call SET over_us = 0 WHERE message_id = ? AND taken_us = 0", (message_id,))
    if not waits.rowcount:
        batch.execute(
            "INSERT INTO critical_call (message_id, channel, seen_us) VALUES (?, ?, ?)",
            (message_id, channel, batch.now_us),
        )


def sweep_calls(batch: Batch) -> bool:
    """Delete a few hundred old ones; return True when none is left."""
    old = "SELECT id FROM critical_call WHERE seen_us < ? ORDER BY seen_us LIMIT ?"
    before_us = batch.steady_us - CALLS_US
    gone = batch.execute(f"DELETE FROM critical_call WHERE id IN ({old})", (before_us, PRUNED_AT_ONCE))  # noqa: S608 - constant
    return gone.rowcount < PRUNED_AT_ONCE


EVERY = (sweep_calls,)


def critical_untaken(execute: Execute, message_id: int) -> bool:
    """Whether a message has a critical value that no person has taken."""
    rows = execute("SELECT 1 FROM critical_value WHERE message_id = ? AND taken_us = 0", (message_id,))
    return rows.fetchone() is not None


def prune_critical(batch: Batch, messages: Sequence[int]) -> None:
    """Messages are deleted; an audit row says which of them had a critical value that no person has taken."""
    untaken = [one for one in messages if critical_untaken(batch.execute, one)]
    if untaken:
        audit.note(batch, "labrelay", "critical-pruned", {"messages": untaken, "count": len(untaken)})
    batch.executemany("DELETE FROM critical_value WHERE message_id = ?", [(one,) for one in messages])


@operation(priority=Priority.SETTLE)
def close_critical(batch: Batch) -> None:
    """The site wants no alerts of critical values any more; an audit row says which ones no person had taken."""
    open_ones = [row[0] for row in batch.execute("SELECT message_id FROM critical_value WHERE taken_us = 0").fetchall()]
    if open_ones:
        what = {"messages": open_ones[:MAX_NAMED], "count": len(open_ones)}
        audit.note(batch, "labrelay", "critical-closed", what)
        batch.execute("UPDATE critical_value SET taken_us = ? WHERE taken_us = 0", (batch.now_us,))


def _row(alert: Alert) -> tuple[object, ...]:
    return (
        alert.key, alert.rule, alert.level, alert.phrase.packed(), alert.subject, alert.count, alert.since_us,
        alert.fired_us, alert.gone_us, alert.sent_us, alert.sent_count, alert.said_us, " ".join(alert.sent_to),
        alert.steps, " ".join(map(str, alert.starts)), alert.unsteady, alert.taken_us, alert.taken, alert.urgent,
    )  # fmt: skip


def _alert(row: Sequence[Any]) -> Alert:
    values = dict(zip(ALERT.split(", "), row, strict=True))
    values["phrase"] = unpacked(values["phrase"])
    values["sent_to"] = tuple(values["sent_to"].split())
    values["starts"] = tuple(map(int, values["starts"].split()))
    return Alert(**{**values, "unsteady": bool(values["unsteady"]), "urgent": bool(values["urgent"])})


def line_of(row: Sequence[Any]) -> Line:
    """A line, of its columns `LINE` and any behind them."""
    values = dict(zip(LINE.split(", "), row, strict=False))
    values |= {"what": What(values["what"]), "phrase": unpacked(values["phrase"]), "urgent": bool(values["urgent"])}
    return Line(**values)


_UNTAKEN = Need(why="critical value not taken", for_us=366 * DAY_US)


def keeps(rows: Rows, row_id: int, kind: int) -> Need:
    untaken = kind == KIND_MESSAGE and critical_untaken(rows.execute, row_id)
    return _UNTAKEN if untaken else Need()
