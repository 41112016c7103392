"""Alerts that are open, silences, and what was sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.features.alerts.rows.changes import CRITICAL_KEY
from engine.features.alerts.rows.reading import CriticalValue, Sent
from engine.model.process.clock import from_us
from engine.model.site.alerts import Alert, Silence
from engine.model.site.todo import Mark
from engine.monitoring.snapshot.states import Level
from engine.views.view import Field, Row, View, local_time


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
    Field("key", "KEY", of=lambda one: one.alert.key),
    Field("state", "STATE", of=lambda one: one.alert.state.value),
    Field("level", "LEVEL", of=lambda one: one.alert.level),
    Field("words", "WHAT", of=lambda one: one.alert.phrase.say()),
    Field("rule", of=lambda one: one.alert.rule),
    Field("since", "SINCE", of=lambda one: _iso(one.alert.since_us)),
    Field("sent_at", of=lambda one: _iso(one.alert.sent_us)),
    Field("sent_to", "SENT TO", of=lambda one: list(one.alert.sent_to)),
    Field("taken_by", "TAKEN BY", of=lambda one: one.taker.by if one.taker else None),
    Field("taken_at", of=lambda one: _iso(one.alert.taken_us)),
    Field(
        "silence",
        "SILENCE",
        of=lambda one: one.silence.act if one.silence and not one.alert.urgent else None,
        right=True,
    ),
)
SILENCE = View[Silence](
    "silences",
    Field("silence", "SILENCE", of="act", right=True),
    Field("pattern", "ALERTS"),
    Field("until", "UNTIL", of=lambda one: _iso(one.until_us)),
    Field("by", "BY"),
    Field("at", of=lambda one: _iso(one.at_us)),
    Field("reason", "REASON"),
)
SENT = View[Sent](
    "sent",
    Field("at", "AT", of=lambda one: _iso(one.line.at_us)),
    Field("key", of=lambda one: one.line.key),
    Field("what", "WHAT", of=lambda one: one.line.what.value),
    Field("words", "ALERT", of=lambda one: one.line.phrase.say()),
    Field("sink", "SINK", of=lambda one: one.line.sink),
    Field("state", "STATE", of=lambda one: "sent" if one.is_sent else "given up" if one.ended_us else "waits"),
    Field("sent_at", "SENT AT", of=lambda one: _iso(one.ended_us) if one.is_sent else None),
    Field("refused", "REFUSED FOR"),
    Field("attempts", "ATTEMPTS", of="attempt", right=True),
)
# The same as they come from the daemon.
ALERT_TABLE = ALERT.of_rows("state level words since sent_to taken_by silence key", since=local_time)
SILENCE_TABLE = SILENCE.of_rows("silence pattern until by reason", until=local_time)
SENT_TABLE = SENT.of_rows("at what words sink state sent_at refused attempts", at=local_time, sent_at=local_time)
TEST_TABLE = View[Row](
    "tested",
    Field("sink", "SINK"),
    Field("place", "WHERE"),
    Field("detail", "RESULT", shown=lambda one: one["detail"] or "taken"),
)


def _iso(us: int) -> str | None:
    return from_us(us).isoformat(timespec="milliseconds") if us else None
