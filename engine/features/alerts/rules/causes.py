"""Which entries of the to-do list are causes of alerts. Pure.

Each entry belongs to the rule that names its kind, else to `SERVICE`. A rule that sums makes one cause of all its
entries: ten kinds of dead letters are one alert. Where at least half of the channels go silent or lose their
connection within `TOGETHER_US`, that is one cause, `NETWORK`, which mutes theirs.

A critical value is a cause of its own, for each message that has one.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.model.site.alerts import Alert
from engine.model.texts.phrases import PageText, Phrase
from engine.monitoring.snapshot.site import About, SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, Level
from engine.monitoring.todo import Entry

SERVICE, CRITICAL, SINK, NETWORK = "service", "critical", "sink", "network"
TOGETHER_US = 120_000_000
FEWEST = 3  # channels
LOWER = 5  # a sum that fires above N ends at N less a fifth
MINUTE_S, HOUR_S = 60.0, 3600.0
_LINES = ("not-connected", "down", "not-taking", "tee")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule.

    Attributes:
        kinds: of entries (`Entry.kind`).
        after_s: how long the cause has to be there before the alert fires.
        keep_s: how long it has to be gone before the alert ends.
        least: entries below this level are no cause.
        above: of a sum: it is a cause above this count. None: each entry is a cause by itself.
        urgent: never grouped, muted, silenced or held.
        enabled: false: it makes no alerts.
        to: names of its sinks.
    """

    kinds: tuple[str, ...] = ()
    after_s: float = 0.0
    keep_s: float = 5 * MINUTE_S
    least: Level = Level.ATTENTION
    above: int | None = None
    urgent: bool = False
    enabled: bool = True
    to: tuple[str, ...] = ()


RULES: dict[str, Rule] = {
    CRITICAL: Rule(kinds=("critical",), urgent=True, keep_s=0.0),
    "silent": Rule(kinds=("silent",), after_s=2 * MINUTE_S),
    NETWORK: Rule(),
    "line": Rule(kinds=_LINES, after_s=5 * MINUTE_S, least=Level.PROBLEM),
    "behind": Rule(kinds=("behind", "gap")),
    "destination": Rule(kinds=("away",), after_s=10 * MINUTE_S),
    "dead": Rule(kinds=("dead",), above=0),
    "held": Rule(kinds=("held",), above=20),
    "unmapped": Rule(kinds=("unmapped",), above=0, after_s=10 * MINUTE_S),
    "repeat": Rule(kinds=("same-bytes",)),
    "control": Rule(kinds=("control-failed", "control-look")),
    "due": Rule(kinds=("control-due", "control-unknown"), after_s=HOUR_S),
    "lot": Rule(kinds=("control-lot",)),
    "disk": Rule(kinds=(About.DISK,), keep_s=HOUR_S),
    "clock": Rule(kinds=(About.CLOCK,)),
    "certificate": Rule(kinds=(About.CERTIFICATE,)),
    "integrity": Rule(kinds=(About.JOURNAL, About.ANCHOR)),
    "backup": Rule(kinds=(About.BACKUP,)),
    "paused": Rule(kinds=("paused", "paused-destination", About.DELIVERIES), after_s=4 * HOUR_S),
    SINK: Rule(kinds=("alert-sink",)),
    SERVICE: Rule(after_s=5 * MINUTE_S, least=Level.PROBLEM),
}
_SUMS: dict[str, PageText] = {
    "dead": "Dead letters: {n}",
    "held": "Results held back: {n}",
    "unmapped": "Codes without a mapping: {n}",
}
_OF_LINES = ("silent", "not-connected", "down")  # that a network takes away together


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A cause that is there now."""

    key: str
    rule: str
    level: Level
    phrase: Phrase
    subject: str = ""
    count: int = 1


def rule_of(kind: str) -> str:
    return next((name for name, rule in RULES.items() if kind in rule.kinds), SERVICE)


def causes(
    entries: Sequence[Entry], rules: Mapping[str, Rule], alerts: Mapping[str, Alert], site: SiteSnapshot, now_us: int
) -> list[Cause]:
    """The causes that are there now.

    Args:
        alerts: those that are kept.
    """
    single: list[Cause] = []
    sums: dict[str, list[Entry]] = {}
    for entry in entries:
        name = rule_of(entry.kind)
        rule = rules[name]
        if not rule.enabled or entry.level.rank > rule.least.rank:
            continue
        if rule.above is not None:
            sums.setdefault(name, []).append(entry)
        else:
            single.append(_cause(name, entry))
    single += _not_heard(rules, alerts, site, {one.key for one in single})
    found = [cause for name, some in sums.items() for cause in _sum(name, some, rules[name], alerts)]
    return [*_network(single, rules, alerts, site, now_us), *found, *single]


def _cause(name: str, entry: Entry) -> Cause:
    return Cause(
        key=entry.key, rule=name, level=entry.level, phrase=entry.phrase, subject=entry.subject, count=entry.count
    )


def parents_of(key: str) -> tuple[str, ...]:
    """Keys of the alerts that mute the one with this key while they are open: their causes explain its cause."""
    kind, _, place = key.partition("/")
    if kind in _OF_LINES:
        return (NETWORK, f"not-taking/{place}", *((f"down/{place}",) if kind != "down" else ()))
    if kind == "not-taking":
        return (About.DISK, About.JOURNAL)
    if kind == "away":
        return (About.DELIVERIES, f"paused-destination/{place}")
    if kind == "paused-destination":
        return (About.DELIVERIES,)
    if kind == "paused":
        destination = place.partition("/")[2]
        return (About.DELIVERIES, *((f"paused-destination/{destination}",) if destination else ()))
    return ()


def _sum(name: str, entries: Sequence[Entry], rule: Rule, alerts: Mapping[str, Alert]) -> Iterator[Cause]:
    count = sum(entry.count for entry in entries)
    level = min((entry.level for entry in entries), key=lambda level: level.rank)
    above = rule.above or 0
    fired = name in alerts and alerts[name].is_open
    if count > (above - above // LOWER if fired else above) or level is Level.PROBLEM:
        yield Cause(key=name, rule=name, level=level, phrase=Phrase(_SUMS[name], {"n": count}), count=count)


def _not_heard(
    rules: Mapping[str, Rule], alerts: Mapping[str, Alert], site: SiteSnapshot, present: Collection[str]
) -> Iterator[Cause]:
    """Channels that were silent before this start, and that were not heard since: a start gives senders time, and is
    no sign of life."""
    started_us = round(site.started_at.timestamp() * 1e6)
    for channel in site.channels:
        key = f"silent/{channel.name}"
        alert = alerts.get(key)
        if alert is None or not alert.is_open or alert.fired_us >= started_us or key in present:
            continue
        heard = channel.last_message_at is not None and channel.last_message_at >= site.started_at
        if rules["silent"].enabled and not heard and channel.state in (ChannelState.WAITING, ChannelState.QUIET):
            phrase = Phrase("{name} silent", {"name": channel.name})
            yield Cause(key=key, rule="silent", level=Level.PROBLEM, phrase=phrase, subject=channel.name)


def _network(
    found: Sequence[Cause], rules: Mapping[str, Rule], alerts: Mapping[str, Alert], site: SiteSnapshot, now_us: int
) -> Iterator[Cause]:
    """The cause of many lines that went away together.

    While its alert is open, those lines are its children that are away still: it ends when fewer than half are.
    """
    if not rules[NETWORK].enabled:
        return
    away = [one for one in found if one.key.partition("/")[0] in _OF_LINES]
    enabled = sum(channel.state is not ChannelState.DISABLED for channel in site.channels)
    enough = max(FEWEST, (enabled + 1) // 2)
    known = alerts.get(NETWORK)
    if known is None or not known.since_us:
        times = sorted(alerts[one.key].since_us if one.key in alerts else now_us for one in away)
        together = max((sum(begin <= time <= begin + TOGETHER_US for time in times) for begin in times), default=0)
        if together < enough:
            return
    if len({one.subject for one in away}) >= enough:
        yield Cause(
            key=NETWORK,
            rule=NETWORK,
            level=Level.PROBLEM,
            phrase=Phrase("Analyzers silent or not connected at once: {n}. Look at the network", {"n": len(away)}),
            count=len(away),
        )
