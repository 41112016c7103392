"""One message of the lines that go to a sink together, in words. Pure.

A message of one line says it all in its subject. One of several has their number there, and a line for each, the worst
first, up to `SHOWN`. Below them are the time, and the next step with its address on the page.

The configuration of alerts as the machine takes it: the usual rules, and what a site has changed of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any

from engine.features.alerts.config import AlertsConfig
from engine.features.alerts.rules.causes import RULES, Rule
from engine.features.alerts.rules.machine import Escalation, Settings
from engine.model.site.alerts import Line, Message, Notification, What
from engine.model.texts.phrases import N_, Catalogue, PageText, Phrase, Span
from engine.monitoring.snapshot.states import Level

SHOWN = 20
LONGEST = 500  # characters of a line
REPEATED = N_("This may have been sent before.")
TEST = N_("A test of alerts: all is well")
OVER, BEGUN = N_(("Over: {n}", "Problems and notices: {n}"))
_ONE: dict[What, PageText] = {
    What.START: "{what}",
    What.STILL: "Still, for {age}: {what}",
    What.WORSE: "Worse, for {age}: {what}",
    What.ESCALATED: "Not taken for {age}: {what}",
    What.NO_MORE: "{what}",
    What.END: "Over, after {age}: {what}",
    What.TEST: "{what}",
}
# Kind of a cause -> its step, and the page of that; ``{}`` is the place in the key. Of others: the to-do list.
_ANALYZER: tuple[PageText, str] = N_("Look at the analyzer"), "/analyzer?name={}"
_DESTINATION: tuple[PageText, str] = N_("Look at the destination"), "/destinations/{}"
_STEPS: dict[str, tuple[PageText, str]] = {
    **dict.fromkeys(("silent", "not-connected", "down", "not-taking", "notice", "tee", "late", "paused"), _ANALYZER),
    **dict.fromkeys(("away", "paused-destination"), _DESTINATION),
    "same-bytes": _ANALYZER,
    "network": ("Look at the analyzers", "/"),
    "critical": ("Take it on the page of alerts", "/alerts"),
    "dead": ("Look at the dead letters", "/dead-letters"),
    "held": ("Held back", "/held"),
    "unmapped": ("Codes", "/codes"),
    "alert-sink": ("Look at what was sent", "/alerts"),
    "test": ("Alerts", "/alerts"),
}
_TODO: tuple[PageText, str] = N_("To do"), "/"
_RANK = {level.value: level.rank for level in Level}
_ORDER = list(What)


def notification(
    message: Message, site: str, journal: str, catalogue: Catalogue, *, zone: tzinfo, page: str
) -> Notification:
    """The message as its sink sends it.

    Args:
        journal: a few digits that set this site apart from others.
        zone: in which its people read times.
        page: the address of the page, without a path; empty where it is for its own machine alone.
    """
    lines = sorted(message.lines, key=lambda one: (_RANK.get(one.level, 0), _ORDER.index(one.what), one.key))
    first = lines[0]
    said = [_said(one, catalogue) for one in lines[:SHOWN]]
    count = len({one.key for one in lines})
    if len(lines) == 1:
        subject = said[0]
    else:
        subject = Phrase(OVER if first.what is What.END else BEGUN, {"n": count}).say(catalogue)
    more = [Phrase("... and {n} more", {"n": len(lines) - SHOWN}).say(catalogue)] if len(lines) > SHOWN else []
    repeat = [Phrase(REPEATED).say(catalogue)] if message.repeat else []
    at_us = min(one.at_us for one in lines)
    last = f"{datetime.fromtimestamp(at_us / 1e6, zone):%Y-%m-%d %H:%M}{_step(lines, catalogue, page)}"
    return Notification(
        # a restored journal counts on from an earlier number; mailboxes drop a mail with an id that they know
        id=f"labrelay-{journal}-{message.number}-{at_us:x}",
        site=site,
        state=first.what.value,
        level=first.level,
        subject=f"{site}: {subject}",
        text="\n".join((f"{site}: {said[0]}", *said[1:], *more, last, *repeat)),
        key=first.key,
        count=count,
        at_us=at_us,
        repeat=message.repeat,
    )


def _step(lines: Sequence[Line], catalogue: Catalogue, page: str) -> str:
    """The next step of a problem; of several that one page shows, that page's."""
    if all(one.what in (What.END, What.NO_MORE) for one in lines):
        return ""
    parts = {(kind, place.partition("/")[0]) for kind, _, place in (one.key.partition("/") for one in lines)}
    kind, place = parts.pop()
    words, path = _STEPS.get(kind, _TODO) if not parts else _TODO
    step = Phrase(words).say(catalogue)
    return f". {step}: {page}{path.format(place)}" if page else f". {step}"


def inactive(sink: str, now_us: int) -> Message:
    """What a machine says to a sink whose journal goes on elsewhere."""
    [line] = lines_of_a_test([sink], now_us)
    said = Phrase("This machine is not active: its journal goes on elsewhere. Stop it")
    line = replace(line, key="inactive", what=What.START, level=Level.PROBLEM.value, phrase=said)
    return Message(number=now_us, sink=sink, lines=(line,))


def lines_of_a_test(sinks: Sequence[str], now_us: int) -> list[Line]:
    """A line for each of these sinks that shows whether alerts reach it."""
    return [
        Line(
            sink=sink,
            key="test",
            what=What.TEST,
            level=Level.ATTENTION.value,
            phrase=Phrase(TEST),
            at_us=now_us,
            due_us=now_us,
            urgent=True,
        )
        for sink in sinks
    ]


def _said(line: Line, catalogue: Catalogue) -> str:
    words = " ".join(line.phrase.say(catalogue).split())[:LONGEST]
    return Phrase(_ONE[line.what], {"what": words, "age": Span(line.lasted_us / 1e6)}).say(catalogue)


def settings_of(config: AlertsConfig) -> Settings:
    return Settings(
        rules={name: _rule(name, rule, config) for name, rule in RULES.items()},
        sinks=frozenset(config.sinks),
        only={name: one.channels for name, one in config.sinks.items() if one.channels is not None},
        escalation=tuple(Escalation(after_s=one.after, to=one.to) for one in config.escalation),
        remind_s=config.remind,
        group_s=config.group,
    )


def _rule(name: str, rule: Rule, config: AlertsConfig) -> Rule:
    given = dict(config.rules).get(name)  # type: ignore[call-overload]  # its keys are the names of rules
    if given is None:
        return replace(rule, to=config.usual)
    changed: dict[str, Any] = {
        "after_s": given.after,
        "keep_s": given.keep,
        "above": given.above,
        "least": Level(given.least) if given.least is not None else None,
    }
    found = {key: value for key, value in changed.items() if value is not None}
    return replace(rule, enabled=given.enabled, to=given.to or config.usual, **found)
