"""Which entries of the to-do list are causes of alerts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from engine.features.alerts.rules.causes import NETWORK, RULES, Rule, causes, rule_of
from engine.model.process.clock import to_us
from engine.model.site.alerts import Alert
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.site import About
from engine.monitoring.snapshot.states import ChannelState, Level
from engine.monitoring.todo import Entry
from tests.support.status_sites import NOW, quiet_site

RED, AMBER = Level.PROBLEM, Level.ATTENTION
NOW_US = to_us(NOW)
# Kind of entry -> its rule, and the least level that is a cause.
KINDS = {
    "critical": ("critical", AMBER),
    "silent": ("silent", AMBER),
    "not-connected": ("line", RED),
    "down": ("line", RED),
    "not-taking": ("line", RED),
    "tee": ("line", RED),
    "late": ("service", RED),
    "behind": ("behind", AMBER),
    "gap": ("behind", AMBER),
    "away": ("destination", AMBER),
    "dead": ("dead", AMBER),
    "held": ("held", AMBER),
    "unmapped": ("unmapped", AMBER),
    "same-bytes": ("repeat", AMBER),
    "disk": ("disk", AMBER),
    "clock": ("clock", AMBER),
    "certificate": ("certificate", AMBER),
    "journal": ("integrity", AMBER),
    "second-anchor": ("integrity", AMBER),
    "backup": ("backup", AMBER),
    "paused": ("paused", AMBER),
    "paused-destination": ("paused", AMBER),
    "deliveries": ("paused", AMBER),
    "alert-sink": ("sink", AMBER),
    "orders-refused": ("service", RED),
    "abdm-callbacks": ("service", RED),
    "page": ("service", RED),
    "notice": ("service", RED),
}


def entry(key: str, level: Level = RED, count: int = 1) -> Entry:
    return Entry(key=key, level=level, phrase=Phrase(key), step="", count=count, subject=key.partition("/")[2])


def found(
    *entries: Entry, alerts: dict[str, Alert] | None = None, rules: dict[str, Rule] = RULES, channels: int = 0
) -> list[str]:
    one = quiet_site().channels[0]
    named = tuple(replace(one, name=f"c{number}", state=ChannelState.QUIET) for number in range(channels))
    site = replace(quiet_site(), channels=named)
    return [cause.key for cause in causes(entries, rules, alerts or {}, site, NOW_US)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_entry_has_its_rule_and_level(kind: str) -> None:
    name, least = KINDS[kind]
    assert rule_of(kind) == name
    assert RULES[name].least is least
    assert bool(found(entry(f"{kind}/x", AMBER, count=30))) is (least is AMBER)
    assert found(entry(f"{kind}/x", RED, count=30)) != []


def test_each_kind_of_notice_has_a_rule() -> None:
    assert {rule_of(about.value) for about in About} <= set(RULES)


def test_a_sum_is_one_cause_above_its_count_and_ends_a_fifth_below() -> None:
    rules = {**RULES, "dead": replace(RULES["dead"], above=10)}
    some = [entry("dead/A/1", AMBER, 6), entry("dead/B/2", AMBER, 4)]
    assert found(*some, rules=rules) == []
    assert found(*some, entry("dead/C", AMBER, 1), rules=rules) == ["dead"]
    fired = {"dead": Alert(key="dead", rule="dead", level="attention", since_us=1, fired_us=1)}
    assert found(entry("dead/A", AMBER, 9), alerts=fired, rules=rules) == ["dead"]
    assert found(entry("dead/A", AMBER, 8), alerts=fired, rules=rules) == []


def test_held_results_are_a_cause_where_there_are_many_or_one_is_a_problem() -> None:
    assert found(entry("held/x/lis", AMBER, 20)) == []
    assert found(entry("held/x/lis", AMBER, 11), entry("held/y/lis", AMBER, 10)) == ["held"]
    assert found(entry("held/x/lis", RED, 1)) == ["held"]


def test_a_rule_that_is_switched_off_has_no_cause() -> None:
    rules = {**RULES, "silent": replace(RULES["silent"], enabled=False)}
    assert found(entry("silent/x"), rules=rules) == []


# Channels, silent ones, whether they are one cause.
TOGETHER = [(10, 5, True), (10, 4, False), (3, 2, False), (3, 3, True), (1, 1, False), (500, 250, True)]


@pytest.mark.parametrize(("channels", "silent", "network"), TOGETHER)
def test_half_of_the_channels_at_once_are_one_cause(channels: int, silent: int, network: bool) -> None:
    away = [entry(f"silent/c{number}") for number in range(silent)]
    assert (NETWORK in found(*away, channels=channels)) is network


def test_channels_that_went_silent_one_after_the_other_are_no_network() -> None:
    away = [entry(f"silent/c{number}") for number in range(6)]
    earlier = {
        one.key: Alert(key=one.key, rule="silent", level="problem", since_us=NOW_US - number * 600_000_000)
        for number, one in enumerate(away)
    }
    assert NETWORK not in found(*away, alerts=earlier, channels=10)


def test_the_network_is_a_cause_as_long_as_half_are_away() -> None:
    known = {NETWORK: Alert(key=NETWORK, rule=NETWORK, level="problem", since_us=1, fired_us=1)}
    assert NETWORK in found(*(entry(f"silent/c{number}") for number in range(5)), alerts=known, channels=10)
    assert NETWORK not in found(*(entry(f"silent/c{number}") for number in range(4)), alerts=known, channels=10)


def test_a_channel_that_was_silent_before_a_start_is_silent_until_it_sends() -> None:
    site = quiet_site()
    started = site.started_at
    channel = replace(site.channels[0], name="x", state=ChannelState.QUIET, last_message_at=started - timedelta(days=1))
    before = Alert(key="silent/x", rule="silent", level="problem", since_us=1, fired_us=to_us(started) - 1)

    def silent(**changed: object) -> bool:
        now = replace(site, channels=(replace(channel, **changed),))  # type: ignore[arg-type]
        return bool(causes([], RULES, {"silent/x": before}, now, NOW_US))

    assert silent()
    assert silent(state=ChannelState.WAITING, last_message_at=None)
    assert not silent(last_message_at=started)
    assert not silent(state=ChannelState.DISABLED)
