"""Alerts over time, as the people who are sent may expect them: one start and one end, in any history."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import settings as how
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.features.alerts.rules.causes import CRITICAL, NETWORK, RULES, Cause, parents_of, rule_of
from engine.features.alerts.rules.machine import MAX_ALERTS, Escalation, Settings, step
from engine.model.site.alerts import MOST_CRITICAL, Alert, Changes, Line, Silence, State, What
from engine.model.texts.phrases import Phrase, Span, unpacked
from engine.monitoring.snapshot.states import Level
from tests.support.examples import examples

MINUTE, HOUR = 60_000_000, 3_600_000_000
START_US = 1_772_000_000_000_000
SINKS = frozenset({"mail", "chief"})
TO_MAIL = {name: replace(one, to=("mail",)) for name, one in RULES.items()}
SETTINGS = Settings(rules=TO_MAIL, sinks=SINKS, remind_s=4 * 3600.0, group_s=30.0)
ESCALATING = replace(SETTINGS, remind_s=0.0, escalation=(Escalation(after_s=900.0, to=("chief",)),))


def cause(key: str, count: int = 1) -> Cause:
    kind = key.partition("/")[0]
    name = NETWORK if kind == NETWORK else rule_of(kind)
    return Cause(key=key, rule=name, level=Level.PROBLEM, phrase=Phrase("{k}", {"k": key}), count=count)


def taken(alert: Alert, act: int, now_us: int) -> Alert:
    """As a row is once a person has taken its alert."""
    return replace(alert, taken=act, taken_us=now_us)


class Site:
    """Looks, and what they sent."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.alerts: dict[str, Alert] = {}
        self.silences: list[Silence] = []
        self.lines: list[Line] = []
        self.now_us = START_US

    def look(self, *causes: Cause | str) -> Changes:
        there = [cause(one) if isinstance(one, str) else one for one in causes]
        made = step(self.alerts, there, self.settings, self.silences, self.now_us)
        for alert in made.changed:
            self.alerts[alert.key] = alert
        for key in made.gone:
            del self.alerts[key]
        self.lines += made.lines
        return made

    def during(self, minutes: float, *causes: Cause | str, each_s: float = 30.0) -> None:
        """Looks until so much time has passed."""
        until_us = self.now_us + round(minutes * MINUTE)
        while self.now_us < until_us:
            self.look(*causes)
            self.now_us += round(each_s * 1e6)

    def restart(self) -> None:
        """Only what the journal has is left."""
        self.alerts = {key: kept(alert) for key, alert in self.alerts.items()}

    def sent(self, key: str = "", sink: str = "mail") -> list[str]:
        return [one.what.value for one in self.lines if one.sink == sink and (not key or one.key == key)]


def kept(alert: Alert) -> Alert:
    values: dict[str, Any] = json.loads(json.dumps(asdict(alert)))
    values["phrase"] = unpacked(alert.phrase.packed())
    return Alert(**{**values, "sent_to": tuple(values["sent_to"]), "starts": tuple(values["starts"])})


AWAY = "away/lis"
Phase = tuple[float, tuple[str, ...]]  # minutes, causes
# What happens -> what the sink hears. Of `away` the rule wants 10 min, and 5 min for its end.
SENT: dict[str, tuple[Sequence[Phase], list[str]]] = {
    "a short fault": ([(9, (AWAY,)), (60, ())], []),
    "a fault": ([(20, (AWAY,)), (60, ())], ["start", "end"]),
    "a fault and a short recovery": ([(20, (AWAY,)), (4, ()), (20, (AWAY,)), (10, ())], ["start", "end"]),
    "nine hours": ([(540, (AWAY,)), (10, ())], ["start", "still", "still", "end"]),
    "up and down each half minute, all day": ([(0.5, (AWAY,)), (0.5, ())] * 600, []),
    "away for 11 minutes, then there for 1, all day": (
        [(11, (AWAY,)), (1, ())] * 100 + [(61, ())],
        ["start", *["still"] * 4, "end"],
    ),
    "a silent analyzer": ([(3, ("silent/x",)), (6, ())], ["start", "end"]),
    "a damaged journal is sent at once": ([(1, ("journal",)), (6, ())], ["start", "end"]),
    "a critical value, taken": ([(1, ("critical/7",)), (0.5, ())], ["start", "end"]),
}


@pytest.mark.parametrize(("phases", "sent"), SENT.values(), ids=SENT)
def test_one_start_and_one_end(phases: Sequence[Phase], sent: list[str]) -> None:
    site = Site()
    for minutes, causes in phases:
        site.during(minutes, *causes)
    assert site.sent() == sent


def test_what_goes_and_comes_back_slowly_becomes_unsteady_until_an_hour_of_calm() -> None:
    """Each time it lasts for 12 minutes and is gone for 6: a start and an end each time, but for the fourth."""
    site = Site(replace(SETTINGS, remind_s=0.0))
    for _ in range(40):
        site.during(12, AWAY)
        site.during(6)
    assert site.sent() == ["start", "end"] * 3 + ["start"]
    assert str(site.lines[-1].phrase) == f"{AWAY} (it comes and goes)"
    assert site.alerts[AWAY].state is State.UNSTEADY
    site.during(53)
    assert len(site.sent()) == 7
    site.during(2)
    assert site.sent()[-1] == "end"


def test_a_time_in_the_words_changes_the_alert_only_where_the_words_change() -> None:
    site = Site()
    for seconds, changes in ((0, True), (10, False), (20, False), (60, True)):
        phrase = Phrase("{name} silent {age}", {"name": "x", "age": Span(3600 + seconds)})
        there = replace(cause("silent/x"), phrase=phrase)
        assert bool(site.look(there)) is changes, seconds


def test_a_reminder_of_a_critical_value_says_how_many_wait() -> None:
    """Each is sent by itself; a reader of one reminder sees that there are others."""
    site = Site()
    site.during(239, "critical/7", "critical/8", "critical/9", AWAY)
    site.during(2, "critical/7", "critical/8", AWAY)
    said = {one.key: str(one.phrase) for one in site.lines if one.what is What.STILL}
    assert said["critical/7"] == "critical/7 (critical values that wait: 2)"
    assert said["critical/8"] == "critical/8 (critical values that wait: 2)"
    assert "wait" not in "".join(str(one.phrase) for one in site.lines if one.what is not What.STILL)
    site.during(241, "critical/8")
    assert [str(one.phrase) for one in site.lines if one.what is What.STILL][-1] == "critical/8"


def test_an_escalation_of_a_critical_value_says_how_many_wait() -> None:
    site = Site(ESCALATING)
    site.during(16, "critical/7", "critical/8")
    assert [str(one.phrase) for one in site.lines if one.sink == "chief"] == [
        "critical/7 (critical values that wait: 2)",
        "critical/8 (critical values that wait: 2)",
    ]


def test_a_flapping_destination_brings_two_messages() -> None:
    """Of any length of its flicker, as long as it is there for less than the rule's five minutes."""
    for away_s, back_s in ((700, 30), (900, 240), (1800, 60), (610, 290)):
        site = Site(replace(SETTINGS, remind_s=0.0))
        for _ in range(200):
            site.during(away_s / 60, AWAY)
            site.during(back_s / 60)
        site.during(61)
        assert site.sent() == ["start", "end"], (away_s, back_s)


def test_a_parent_mutes_its_children_and_they_have_their_time_after_it() -> None:
    site = Site()
    silent = [f"silent/{n}" for n in range(20)]
    site.during(30, NETWORK, *silent)
    assert [one.key for one in site.lines] == [NETWORK]
    site.during(6, "silent/3")
    assert site.sent() == ["start", "end"]
    site.during(3, "silent/3")
    assert [(one.key, one.what.value) for one in site.lines[2:]] == [("silent/3", "start")]


def test_a_child_that_was_told_ends_after_its_parent_only() -> None:
    site = Site()
    site.during(5, "silent/x")
    site.during(30, "down/x")
    site.during(4)
    assert site.sent("silent/x") == ["start"]
    site.during(10)
    assert (site.sent("down/x"), site.sent("silent/x")) == (["start", "end"], ["start", "end"])
    assert site.lines[-1].key == "silent/x"


SILENT_4H = Silence(act=1, pattern="away/*", until_us=START_US + 4 * HOUR, by="asha", reason="they move")


def test_a_silence_tells_nothing_and_what_outlasts_it_is_told_then() -> None:
    site = Site(replace(SETTINGS, remind_s=0.0))
    site.silences = [SILENT_4H]
    site.during(239, AWAY, "silent/x")
    assert site.sent(AWAY) == []
    assert site.sent("silent/x") == ["start"]
    site.during(10, AWAY)
    assert site.sent(AWAY) == ["start"]


def test_the_end_of_what_was_told_is_told_within_a_silence() -> None:
    site = Site()
    site.during(20, AWAY)
    site.silences = [replace(SILENT_4H, until_us=site.now_us + HOUR)]
    site.during(10)
    assert site.sent() == ["start", "end"]


def test_escalation_goes_on_until_a_person_takes_it() -> None:
    site = Site(ESCALATING)
    site.during(26, AWAY)
    assert site.sent(sink="chief") == ["escalated"]
    site.during(6)
    assert site.sent(sink="chief") == ["escalated", "end"]
    assert site.sent() == ["start", "end"]


def test_a_sink_is_not_sent_its_own_failure_by_the_escalation_either() -> None:
    site = Site(ESCALATING)
    for name in ("chief", "mail"):
        site.during(40, replace(cause(f"alert-sink/{name}"), subject=name))
    assert site.sent("alert-sink/chief", "chief") == []
    assert site.sent("alert-sink/chief") == ["start", "end"]
    assert site.sent("alert-sink/mail") == []
    assert site.sent("alert-sink/mail", "chief") == ["escalated"]


def test_what_a_person_has_taken_is_not_escalated_for_a_day() -> None:
    site = Site(ESCALATING)
    site.during(12, AWAY)
    site.alerts[AWAY] = taken(site.alerts[AWAY], 5, site.now_us)
    assert site.alerts[AWAY].state is State.ACKNOWLEDGED
    site.during(24 * 60 - 1, AWAY)
    assert site.sent(sink="chief") == []
    site.during(2, AWAY)
    assert site.sent(sink="chief") == ["escalated"]


def test_a_sum_is_told_again_once_it_has_doubled() -> None:
    site = Site()
    for count in (2, 3, 4, 5, 7, 8, 2):
        site.during(1, cause("dead", count))
    assert site.sent() == ["start", "worse", "worse"]


def test_what_becomes_a_problem_is_told_again_once_also_where_a_person_has_taken_the_notice() -> None:
    site = Site(replace(SETTINGS, remind_s=0.0))
    soon, over = replace(cause("certificate"), level=Level.ATTENTION), cause("certificate")
    site.during(5, soon)
    site.alerts["certificate"] = taken(site.alerts["certificate"], 5, site.now_us)
    site.silences = [replace(SILENT_4H, pattern="certificate")]
    site.during(5, over)
    assert site.sent() == ["start"]
    site.silences = []
    for _ in range(3):
        site.during(5, over)
        site.during(5, soon)
    assert [(one.what.value, one.level) for one in site.lines] == [("start", "attention"), ("worse", "problem")]


@pytest.mark.parametrize("key", ["critical/7", "journal"])
def test_an_alert_whose_sinks_were_taken_away_is_told_to_those_of_now(key: str) -> None:
    site = Site(replace(SETTINGS, remind_s=0.0))
    site.during(1, key)
    chief = {name: replace(one, to=("chief",)) for name, one in RULES.items()}
    site.settings = replace(site.settings, rules=chief, sinks=frozenset({"chief"}))
    site.during(5, key)
    site.during(6)
    assert site.sent() == ["start"]
    assert site.sent(sink="chief") == ["start", "end"]


def test_a_critical_value_has_room_behind_any_number_of_others() -> None:
    site = Site(replace(SETTINGS, rules={**TO_MAIL, "service": replace(TO_MAIL["service"], after_s=0.0)}))
    site.look(*(f"a{n}" for n in range(MAX_ALERTS + 1)), "critical/7")
    assert site.sent("critical/7") == ["start"]


def test_other_causes_have_room_beside_any_number_of_critical_values() -> None:
    site = Site()
    site.look(*(f"critical/{n}" for n in range(MAX_ALERTS)), "journal", "disk")
    assert (site.sent("journal"), site.sent("disk")) == (["start"], ["start"])


def test_a_critical_value_that_newer_ones_take_off_the_list_is_not_over() -> None:
    site = Site()
    newer = [f"critical/{number}" for number in range(100, 100 + MOST_CRITICAL)]
    site.look("critical/7", "critical/8")
    site.alerts["critical/8"] = taken(site.alerts["critical/8"], act=1, now_us=site.now_us)
    site.look(*newer)
    assert (site.sent("critical/7"), site.sent("critical/8")) == (["start"], ["start", "end"])
    site.look("critical/7", *newer[1:])
    assert site.sent("critical/7") == ["start"]
    site.look(*newer[1:])
    assert site.sent("critical/7") == ["start", "end"]


@pytest.mark.parametrize("pattern", ["critical/7", "critical/*", "*"])
def test_a_critical_value_is_never_muted_silenced_or_held(pattern: str) -> None:
    site = Site(ESCALATING)
    site.silences = [replace(SILENT_4H, pattern=pattern)]
    site.look("critical/7", NETWORK, "disk", "journal", "deliveries")
    (line,) = [one for one in site.lines if one.key == "critical/7"]
    assert (line.what, line.urgent, line.due_us) == (What.START, True, site.now_us)


def test_a_clock_that_was_set_back_ends_alerts_all_the_same() -> None:
    site = Site()
    site.during(20, AWAY)
    site.look()
    site.now_us -= 24 * 365 * HOUR
    site.during(6)
    assert site.sent() == ["start", "end"]


@pytest.mark.parametrize("is_open", [True, False])
def test_starts_of_a_clock_that_was_ahead_make_nothing_unsteady_for_longer_than_an_hour(is_open: bool) -> None:
    site = Site(replace(SETTINGS, remind_s=0.0))
    site.during(11, AWAY)
    if not is_open:
        site.during(6)
    ahead = tuple(START_US + 24 * 365 * HOUR + n for n in range(3))
    site.alerts[AWAY] = replace(site.alerts[AWAY], starts=ahead)
    site.during(61, *([AWAY] if is_open else []))
    site.during(6)
    site.during(11, AWAY)
    assert site.alerts[AWAY].state is State.FIRING


def test_a_thousand_causes_are_a_thousand_lines_of_one_time() -> None:
    site = Site()
    site.look(*(f"certificate/{n}" for n in range(1000)))
    assert len({(one.sink, one.what, one.due_us) for one in site.lines}) == 1
    assert len(site.lines) == 1000


KEYS = ("away/a", "silent/x", "silent/y", "down/x", NETWORK, "deliveries", "dead", "critical/1", "critical/2", "disk")
CRITICALS = {key for key in KEYS if key.startswith("critical/")}


class Histories(RuleBasedStateMachine):
    """Any history: causes come and go, people take and silence, the process restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site(ESCALATING)
        self.causes: set[str] = set()
        self.came_us: dict[str, int] = {}

    @rule(keys=st.sets(st.sampled_from(KEYS), max_size=4))
    def causes_change(self, keys: set[str]) -> None:
        for key in keys:
            self.causes.symmetric_difference_update({key})
        self._look()

    @rule(seconds=st.sampled_from((15, 30, 60, 130, 310, 620, 1000, 3700)))
    def time_passes(self, seconds: int) -> None:
        """With looks in between."""
        for _ in range(4):
            self.site.now_us += seconds * 250_000
            self._look()

    @rule(key=st.sampled_from(KEYS))
    def a_person_takes(self, key: str) -> None:
        alert = self.site.alerts.get(key)
        if alert is not None and alert.is_open:
            self.site.alerts[key] = taken(alert, 9, self.site.now_us)

    @rule(pattern=st.sampled_from((*KEYS, "*", "silent/*")), hours=st.integers(0, 3))
    def a_person_silences(self, pattern: str, hours: int) -> None:
        until_us = self.site.now_us + hours * HOUR
        self.site.silences = [Silence(act=1, pattern=pattern, until_us=until_us)]

    @rule()
    def the_process_restarts(self) -> None:
        self.site.restart()

    def _look(self) -> None:
        site = self.site
        before = dict(site.alerts)
        made = site.look(*self.causes)
        for key in KEYS:
            if key not in self.causes:
                self.came_us.pop(key, None)
            else:
                self.came_us.setdefault(key, site.now_us)
        self._silenced_ones_are_not_told(made.lines)
        self._muted_ones_neither_begin_nor_end(before, made.lines)
        for line in made.lines:
            if line.key in CRITICALS:
                assert line.urgent
                assert line.due_us == site.now_us
        for key in CRITICALS & self.causes:
            assert site.alerts[key].sent_us == self.came_us[key]

    def _silenced_ones_are_not_told(self, lines: Iterable[Line]) -> None:
        for silence in self.site.silences:
            if self.site.now_us < silence.until_us:
                sent = {one.what for one in lines if silence.covers(one.key) and one.key not in CRITICALS}
                assert sent <= {What.END}

    def _muted_ones_neither_begin_nor_end(self, before: Mapping[str, Alert], lines: Iterable[Line]) -> None:
        for line in lines:
            for parent in parents_of(line.key):
                was, now = before.get(parent), self.site.alerts.get(parent)
                stands = was is not None and was.is_open and now is not None and now.is_open
                assert not (stands and parent in self.causes), (line, parent)

    @invariant()
    def each_sink_hears_starts_and_ends_in_turn(self) -> None:
        for sink in SINKS:
            for key in KEYS:
                is_open = False
                for what in self.site.sent(key, sink):
                    if what == "end":
                        assert is_open
                        is_open = False
                    elif what in ("start", "escalated"):
                        assert not is_open, (sink, key)
                        is_open = True
                    else:
                        assert is_open

    @invariant()
    def at_most_four_starts_an_hour(self) -> None:
        for key in set(KEYS) - CRITICALS:
            times = [one.at_us for one in self.site.lines if one.key == key and one.what is What.START]
            for first, fifth in zip(times, times[4:], strict=False):
                assert fifth - first >= HOUR

    def teardown(self) -> None:
        """All is well again: everything that was sent has its end, and nothing is kept."""
        self.causes.clear()
        for _ in range(40):
            self.site.now_us += 5 * MINUTE
            self._look()
        self.each_sink_hears_starts_and_ends_in_turn()
        assert self.site.alerts == {}
        for sink in SINKS:
            for key in KEYS:
                assert self.site.sent(key, sink)[-1:] in ([], ["end"])


Histories.TestCase.settings = how(max_examples=examples(60), stateful_step_count=30, deadline=None)
test_any_history = Histories.TestCase
assert RULES[CRITICAL].urgent


@pytest.mark.parametrize(
    ("subject", "starts", "escalated"),
    [("sysmex", {"mail", "east"}, set()), ("architect", {"mail"}, {"west"}), ("", {"mail"}, set())],
)
def test_a_sink_of_a_unit_gets_start_step_and_end_of_its_channels_alone(
    subject: str, starts: set[str], escalated: set[str]
) -> None:
    settings = replace(
        SETTINGS,
        rules={name: replace(one, to=("mail", "east")) for name, one in RULES.items()},
        sinks=frozenset({"mail", "east", "west"}),
        only={"east": ("sysmex",), "west": ("architect",)},
        escalation=(Escalation(after_s=900.0, to=("west",)),),
    )
    site, about = Site(settings), replace(cause("silent/x"), subject=subject)
    site.during(60, about)
    site.during(30)
    to = {what: {one.sink for one in site.lines if one.what is what} for what in What}
    assert (to[What.START], to[What.ESCALATED], to[What.END]) == (starts, escalated, starts | escalated)
