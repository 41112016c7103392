"""Alerts that are open, silences, and what was sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.features.alerts.rows.changes import CRITICAL_KEY
from engine.features.alerts.rows.reading import CriticalValue, Sent
from engine.model.alerts import Alert, Silence
from engine.model.clock import from_us
from engine.model.todo import Mark
from engine.monitoring.snapshot.states import Level
from engine.views.text import local_time
from engine.views.view import Field, Row, View


@dataclass(frozen=True, slots=True)
class Shown:
    """An alert with people's words about it.

    Attributes:
        silence: the one that covers it, if there is one.
    """

    alert: Alert
    taker: Mark | None = None
    silence: Silence | None = None


def critical_alert(one: CriticalValue) -> Alert:
    """A critical value that no person has taken, as the alert that it would be."""
    return Alert(
        key=CRITICAL_KEY.format(one.message),
        rule="critical",
        level=Level.PROBLEM.value,
        phrase=one.phrase,
        subject=one.channel,
        since_us=one.seen_us,
        fired_us=one.seen_us,
        urgent=True,
    )


def shown(kept: Mapping[str, Alert], takers: Mapping[str, Mark], silences: Sequence[Silence]) -> list[Shown]:
    """The alerts that are pending or open, the open ones first, the oldest first."""
    found = [
        Shown(one, takers.get(one.key), next((silence for silence in silences if silence.covers(one.key)), None))
        for one in kept.values()
        if one.since_us
    ]
    return sorted(found, key=lambda one: (not one.alert.is_open, one.alert.since_us, one.alert.key))


ALERT = View[Shown](
    "alerts",
    Field("key", of=lambda one: one.alert.key),
    Field("state", of=lambda one: one.alert.state.value),
    Field("level", of=lambda one: one.alert.level),
    Field("words", of=lambda one: one.alert.phrase.say()),
    Field("rule", of=lambda one: one.alert.rule),
    Field("since", of=lambda one: _iso(one.alert.since_us)),
    Field("sent_at", of=lambda one: _iso(one.alert.sent_us)),
    Field("sent_to", of=lambda one: list(one.alert.sent_to)),
    Field("taken_by", of=lambda one: one.taker.by if one.taker else None),
    Field("taken_at", of=lambda one: _iso(one.alert.taken_us)),
    Field("silence", of=lambda one: one.silence.act if one.silence and not one.alert.urgent else None),
)
SILENCE = View[Silence](
    "silences",
    Field("silence", of="act"),
    Field("pattern"),
    Field("until", of=lambda one: _iso(one.until_us)),
    Field("by"),
    Field("at", of=lambda one: _iso(one.at_us)),
    Field("reason"),
)
SENT = View[Sent](
    "sent",
    Field("at", of=lambda one: _iso(one.line.at_us)),
    Field("key", of=lambda one: one.line.key),
    Field("what", of=lambda one: one.line.what.value),
    Field("words", of=lambda one: one.line.phrase.say()),
    Field("sink", of=lambda one: one.line.sink),
    Field("state", of=lambda one: "sent" if one.is_sent else "given up" if one.ended_us else "waits"),
    Field("sent_at", of=lambda one: _iso(one.ended_us) if one.is_sent else None),
    Field("refused"),
    Field("attempts", of="attempt"),
)
# The same as they come from the daemon.
ALERT_TABLE = View[Row](
    "alerts",
    Field("state", "STATE"),
    Field("level", "LEVEL"),
    Field("words", "WHAT"),
    Field("since", "SINCE", shown=lambda one: local_time(one["since"])),
    Field("sent_to", "SENT TO"),
    Field("taken_by", "TAKEN BY"),
    Field("silence", "SILENCE", right=True),
    Field("key", "KEY"),
)
SILENCE_TABLE = View[Row](
    "silences",
    Field("silence", "SILENCE", right=True),
    Field("pattern", "ALERTS"),
    Field("until", "UNTIL", shown=lambda one: local_time(one["until"])),
    Field("by", "BY"),
    Field("reason", "REASON"),
)
SENT_TABLE = View[Row](
    "sent",
    Field("at", "AT", shown=lambda one: local_time(one["at"])),
    Field("what", "WHAT"),
    Field("words", "ALERT"),
    Field("sink", "SINK"),
    Field("state", "STATE"),
    Field("sent_at", "SENT AT", shown=lambda one: local_time(one["sent_at"])),
    Field("refused", "REFUSED FOR"),
    Field("attempts", "ATTEMPTS", right=True),
)
TEST_TABLE = View[Row](
    "tested",
    Field("sink", "SINK"),
    Field("place", "WHERE"),
    Field("detail", "RESULT", shown=lambda one: one["detail"] or "taken"),
)


def _iso(us: int) -> str | None:
    return from_us(us).isoformat(timespec="milliseconds") if us else None
