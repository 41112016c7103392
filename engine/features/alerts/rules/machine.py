"""From one look to the next: which alerts begin and end, and what is sent of them. Pure; the clock is an argument.

    (none) --cause--> pending --after--> firing --cause gone--> clearing --keep--> (none, or ok)
                         |                 |  ^                    |
                      cause gone        taken  +------- cause -----+
                         v                 v
                       (none)        acknowledged, at most a day

One start and one end. A start is sent once; the end goes to the sinks that got the start, and to no other.
A sink is not notified of its own failure. An alert that begins while it is silenced, or muted by its parent, is sent
when that is over, if it is there then. Where the configuration has none of the sinks any more that got the start, those
of now get it.

What flickers faster than its rule's `keep_s` stays open: two messages. What starts a fourth time within an hour is
unsteady, and ends after an hour of calm.

What gets worse is sent again: it is a problem now, or a count has doubled. The level of an alert is the worst one that
was sent of it. So is a critical value that is one no more, to the sinks that its start was sent to; a person
takes it all the same.

A parent that is open mutes its children: none of them begins, and none ends, until the parent has ended; then each has
its time anew. An urgent alert is never muted and never silenced, and has no times to wait: it begins and ends at once.

All of it is in `Alert`, which the journal keeps; so a restart changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.features.alerts.rules.causes import SINK, Cause, Rule, parents_of
from engine.model.site.alerts import MOST_CRITICAL, Alert, Changes, Line, Silence, What
from engine.model.texts.phrases import N_, Phrase
from engine.monitoring.snapshot.states import Level

HOUR_US = 3_600_000_000
UNSTEADY_STARTS = 4  # within an hour
TAKEN_AT_MOST_US = 24 * HOUR_US
UNSTEADY = N_("{what} (it comes and goes)")
OPEN = N_("{what} (critical values that wait: {n})")
MAX_ALERTS = 5000  # that are kept, and urgent ones beside them; causes beyond it, the mildest, are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """A step: who is notified where no person has taken an alert ``after_s`` after its start was sent."""

    after_s: float
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration of alerts.

    Attributes:
        rules: all of them, by name.
        sinks: all names; an alert is sent to those of its rule that are among them.
        only: sinks of a unit, with its channels: they get alerts about these alone.
        remind_s: how often an open alert that no person has taken is sent again; 0: never.
        group_s: how long a line waits for others that go with it.
    """

    rules: Mapping[str, Rule]
    sinks: frozenset[str] = frozenset()
    only: Mapping[str, Collection[str]] = field(default_factory=dict)
    escalation: Sequence[Escalation] = ()
    remind_s: float = 0.0
    group_s: float = 0.0


def step(
    alerts: Mapping[str, Alert], causes: Sequence[Cause], settings: Settings, silences: Sequence[Silence], now_us: int
) -> Changes:
    """One look.

    Args:
        alerts: all that are kept, by key.
        causes: those that are there now; of two with one key the first counts.
        silences: those that are in force.
    """
    done = Changes()
    ends: list[Line] = []
    present: dict[str, Cause] = {}
    room = MAX_ALERTS
    for cause in sorted(causes, key=lambda one: (one.level.rank, one.key)):
        is_urgent = settings.rules[cause.rule].urgent
        if cause.key not in present and (is_urgent or cause.key in alerts or room > 0):
            present[cause.key] = cause
            room -= not is_urgent
    urgent = sum(settings.rules[cause.rule].urgent for cause in present.values())
    muting = {key for key, alert in alerts.items() if _mutes(alert, settings, now_us)}
    for key in sorted({*alerts, *present}, key=lambda key: (len(parents_of(key)), key)):
        before = alerts.get(key)
        there = present.get(key)
        muted = not muting.isdisjoint(parents_of(key))
        silenced = any(one.covers(key) and now_us < one.until_us for one in silences)
        look = _Look(settings, now_us, muted, silenced, urgent)
        now = look.carry(before, there)
        (muting.add if now is not None and _mutes(now, settings, now_us) else muting.discard)(key)
        if now is None:
            if before is not None:
                done.gone.append(key)
        elif now != before:
            done.changed.append(now)
        done.lines.extend(one for one in look.lines if one.what is not What.END)
        ends.extend(one for one in look.lines if one.what is What.END)
    done.lines.extend(ends)
    return done


def _mutes(alert: Alert, settings: Settings, now_us: int) -> bool:
    """Whether its children are muted: an unsteady one that is gone hides them for the usual time only."""
    rule = settings.rules.get(alert.rule)
    return alert.is_open and (not alert.gone_us or (rule is not None and now_us - alert.gone_us < _us(rule.keep_s)))


class _Look:
    """One alert at one look; `lines` is what is sent of it.

    Args:
        urgent: how many urgent causes are there.
    """

    def __init__(self, settings: Settings, now_us: int, muted: bool, silenced: bool, urgent: int) -> None:
        self._settings = settings
        self._now_us = now_us
        self._muted = muted
        self._silenced = silenced
        self._urgent = urgent
        self._is_another = False
        self.lines: list[Line] = []

    def carry(self, before: Alert | None, cause: Cause | None) -> Alert | None:
        """The alert now; None: there is nothing to keep about it."""
        alert = self._within_reason(before) if before is not None else None
        if cause is None:
            return self._without_cause(alert) if alert is not None else None
        rule = self._settings.rules[cause.rule]
        if alert is None or not alert.since_us:
            starts = alert.starts if alert is not None else ()
            alert = Alert(key=cause.key, rule=cause.rule, level="", since_us=self._now_us, starts=starts)
        was = Level(alert.level) if alert.sent_us else cause.level
        self._is_another = bool(alert.sent_us) and rule.urgent and cause.phrase.say() != alert.phrase.say()
        alert = replace(
            alert,
            rule=cause.rule,
            level=min(was, cause.level, key=lambda level: level.rank).value,
            phrase=cause.phrase if cause.phrase.say() != alert.phrase.say() else alert.phrase,
            subject=cause.subject,
            count=cause.count,
            urgent=rule.urgent,
        )
        if rule.urgent:
            self._muted = self._silenced = False
        if self._muted:
            alert = replace(alert, level=was.value) if alert.sent_us else alert
            return alert if alert.is_open else replace(alert, since_us=self._now_us)
        return self._with_cause(alert, rule, was)

    def _within_reason(self, alert: Alert) -> Alert:
        """No instant lies ahead: the clock was set back."""
        now_us = self._now_us
        if max(alert.since_us, alert.fired_us, alert.gone_us, alert.said_us, alert.taken_us, *alert.starts) <= now_us:
            return alert
        return replace(
            alert,
            since_us=min(alert.since_us, now_us),
            fired_us=min(alert.fired_us, now_us),
            gone_us=min(alert.gone_us, now_us),
            sent_us=min(alert.sent_us, now_us),
            said_us=min(alert.said_us, now_us),
            taken_us=min(alert.taken_us, now_us),
            starts=tuple(min(one, now_us) for one in alert.starts),
        )

    def _with_cause(self, alert: Alert, rule: Rule, was: Level) -> Alert:
        """``was``: the worst level that was sent."""
        now_us = self._now_us
        if not alert.is_open:
            if now_us - alert.since_us < _us(rule.after_s):
                return alert
            alert = self._started(replace(alert, fired_us=now_us), rule)
        elif alert.gone_us:
            alert = self._started(replace(alert, gone_us=0), rule)
        if alert.taken_us and now_us - alert.taken_us >= TAKEN_AT_MOST_US and not alert.urgent:
            alert = replace(alert, taken_us=0, taken=0)
        if self._silenced:
            return replace(alert, level=was.value) if alert.sent_us else alert
        to = self._others(alert, rule.to)
        if not alert.sent_us:
            alert = self._say(replace(alert, sent_us=now_us, sent_to=to), What.START, to)
        elif to and not alert.taken_us and not self._known(alert.sent_to):  # its sinks are configured no more
            alert = self._say(replace(alert, sent_to=to), What.START, to)
        elif self._is_another:
            alert = self._say(alert, What.NO_MORE, alert.sent_to)
        elif Level(alert.level).rank < was.rank:  # of what a person has taken, too: it was another thing then
            alert = self._say(alert, What.WORSE, alert.sent_to)
        elif not alert.taken_us:
            alert = self._again(alert, rule)
        return self._escalated(alert)

    def _started(self, alert: Alert, rule: Rule) -> Alert:
        starts = (*self._recent(alert.starts), self._now_us)[-UNSTEADY_STARTS:]
        unsteady = alert.unsteady or (len(starts) >= UNSTEADY_STARTS and not rule.urgent)
        return replace(alert, starts=starts, unsteady=unsteady)

    def _again(self, alert: Alert, rule: Rule) -> Alert:
        """Send that it is worse, or still there."""
        remind_us = _us(self._settings.remind_s)
        if rule.above is not None and alert.count >= 2 * alert.sent_count:
            return self._say(alert, What.WORSE, alert.sent_to)
        if remind_us and self._now_us - alert.said_us >= remind_us:
            return self._say(alert, What.STILL, alert.sent_to)
        return alert

    def _escalated(self, alert: Alert) -> Alert:
        """Notify those of the next steps, once each, where no person has taken it."""
        steps = self._settings.escalation
        while not alert.taken_us and alert.steps < len(steps):
            following = steps[alert.steps]
            if self._now_us - alert.sent_us < _us(following.after_s):
                break
            to = self._others(alert, following.to)
            said_us = alert.said_us
            alert = self._say(alert, What.ESCALATED, to)
            sent_to = tuple(dict.fromkeys((*alert.sent_to, *to)))
            alert = replace(alert, steps=alert.steps + 1, sent_to=sent_to, said_us=said_us)
        return alert

    def _without_cause(self, alert: Alert) -> Alert | None:
        now_us = self._now_us
        if not alert.is_open:
            return self._over(alert)
        if self._muted and not alert.urgent:
            return replace(alert, gone_us=0)
        if alert.urgent and not alert.taken and self._urgent >= MOST_CRITICAL:
            return alert  # it may wait beyond those that this look has
        if not alert.gone_us:
            alert = replace(alert, gone_us=now_us)
        rule = self._settings.rules.get(alert.rule)
        keep_us = HOUR_US if alert.unsteady else _us(rule.keep_s if rule is not None else 0.0)
        if now_us - alert.gone_us < keep_us:
            return alert
        self._say(alert, What.END, alert.sent_to, lasted_us=alert.gone_us - alert.fired_us)
        return self._over(alert)

    def _over(self, alert: Alert) -> Alert | None:
        starts = self._recent(alert.starts)
        if not starts or alert.urgent:
            return None
        return Alert(key=alert.key, rule=alert.rule, level=alert.level, phrase=alert.phrase, starts=starts)

    def _recent(self, starts: Iterable[int]) -> tuple[int, ...]:
        return tuple(one for one in starts if self._now_us - one < HOUR_US)

    def _others(self, alert: Alert, names: Iterable[str]) -> tuple[str, ...]:
        """Without the sink that the alert is about, and those of other units."""
        only, of = self._settings.only, alert.subject
        return self._known(
            name for name in names if not (alert.rule == SINK and name == of) and (name not in only or of in only[name])
        )

    def _known(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self._settings.sinks)

    def _say(self, alert: Alert, what: What, to: Iterable[str], *, lasted_us: int | None = None) -> Alert:
        now_us, phrase = self._now_us, alert.phrase
        if alert.unsteady:
            phrase = Phrase(UNSTEADY, {"what": phrase})
        if alert.urgent and self._urgent > 1 and what in (What.STILL, What.ESCALATED):
            phrase = Phrase(OPEN, {"what": phrase, "n": self._urgent})
        due_us = now_us if alert.urgent else now_us + _us(self._settings.group_s)
        self.lines += [
            Line(
                sink=sink,
                key=alert.key,
                what=what,
                level=alert.level,
                phrase=phrase,
                at_us=now_us,
                due_us=due_us,
                lasted_us=now_us - alert.fired_us if lasted_us is None else lasted_us,
                urgent=alert.urgent,
            )
            for sink in self._known(to)
        ]
        return replace(alert, said_us=now_us, sent_count=alert.count)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


@dataclass(frozen=True, slots=True)
class AlertsSnapshot:
    """What the metrics say of alerts.

    Attributes:
        open: (rule, level) -> open alerts; each rule that may send is there, also with 0.
        unsent_since_us: sink -> when the oldest line was queued that it has not taken, microseconds since 1970; None:
            nothing waits. Lines that a quiet window holds are left out.
    """

    open: Mapping[tuple[str, str], int]
    unsent_since_us: Mapping[str, int | None]
