"""The snapshot: what is said about channels, what comes first, and that its JSON is a promise."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from engine.model.journal.records import UNMAPPED_ROWS
from engine.model.texts.phrases import Phrase, Span
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot, LaneSnapshot
from engine.monitoring.snapshot.site import JournalSnapshot, SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level, channel_state
from tests.support.status_sites import NOW, quiet_site, troubled_site

HOUR = 3600.0


def state(**facts: object) -> ChannelState:
    """The state of a connected channel that had a message a minute ago, where ``facts`` say nothing else."""
    usual: dict[str, object] = {
        "enabled": True,
        "fault": "",
        "connected": True,
        "connects": False,
        "last_message_age_s": 60.0,
        "usual_gap_s": None,
        "up_s": 24 * HOUR,
    }
    return channel_state(**(usual | facts))  # type: ignore[arg-type]  # a table of mixed facts


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ChannelState.RECEIVING),
        ({"last_message_age_s": HOUR}, ChannelState.QUIET),
        ({"enabled": False, "fault": "address in use"}, ChannelState.DISABLED),
        ({"fault": "address in use"}, ChannelState.FAULTED),
        ({"storing": False}, ChannelState.REFUSING),
        ({"storing": False, "last_message_age_s": 48 * HOUR, "usual_gap_s": 60.0}, ChannelState.REFUSING),
        ({"storing": False, "connected": False, "connects": True}, ChannelState.REFUSING),
        ({"storing": False, "fault": "address in use"}, ChannelState.FAULTED),
        ({"storing": False, "paused": True}, ChannelState.PAUSED),
        ({"usual_gap_s": 30.0}, ChannelState.QUIET),
        ({"usual_gap_s": 19.0}, ChannelState.SILENT),
        ({"usual_gap_s": 120.0}, ChannelState.RECEIVING),
        # A sender that connects for each message is not "not connected" between messages; one that we dial is.
        ({"connected": False}, ChannelState.RECEIVING),
        ({"connected": False, "connects": True}, ChannelState.WAITING),
        ({"connected": False, "last_message_age_s": None}, ChannelState.WAITING),
        ({"last_message_age_s": None}, ChannelState.QUIET),
        # Nothing ever came: silent once the usual time is long over, counted from the start.
        ({"last_message_age_s": None, "usual_gap_s": HOUR}, ChannelState.SILENT),
        # Just started: senders may connect again before anyone is called silent.
        ({"last_message_age_s": 48 * HOUR, "usual_gap_s": HOUR, "up_s": 30.0}, ChannelState.QUIET),
    ],
)
def test_state_follows_from_the_facts(facts: dict[str, object], expected: ChannelState) -> None:
    assert state(**facts) is expected


def test_a_site_in_order_says_so() -> None:
    overall = quiet_site().overall()
    assert (overall.level, str(overall.phrase)) == (Level.OK, "Everything works")
    assert quiet_site().findings() == []


def test_the_worst_comes_first_and_is_the_headline() -> None:
    site = troubled_site()
    found = site.findings()
    ranks = [finding.level.rank for finding in found]
    assert ranks == sorted(ranks)
    assert found[0] == site.overall()
    assert str(site.overall().phrase) == "haematology-1 silent 47 min"
    said = [str(finding.phrase) for finding in found]
    assert "lab-fhir not reachable, 40 waiting" in said
    assert "coagulation down: device not found" in said
    assert "Dead letters: 3" in said
    assert "Codes without a mapping: 5" in said


def test_the_longest_silence_comes_first() -> None:
    ages = {"a": 600.0, "b": 7200.0, "c": None, "d": 900.0}
    channels = tuple(
        ChannelSnapshot(name=name, kind="mllp", address="", state=ChannelState.SILENT, last_message_age_s=age)
        for name, age in ages.items()
    )
    said = [str(finding.phrase) for finding in replace(quiet_site(), channels=channels).findings()]
    assert said == ["b silent 2 h", "d silent 15 min", "a silent 10 min", "c silent"]


def test_who_never_sent_anything_stands_behind_what_concerns_results() -> None:
    ages = {"new": None, "known": 900.0}
    channels = tuple(
        ChannelSnapshot(name=name, kind="mllp", address="", state=ChannelState.WAITING, last_message_age_s=age)
        for name, age in ages.items()
    )
    site = replace(quiet_site(), channels=channels, dead_total=24)
    said = [str(finding.phrase) for finding in site.findings()]
    assert said == ["known not connected", "Dead letters: 24", "new not connected"]
    assert str(site.overall().phrase) == said[0]


def test_codes_that_are_counted_no_further_are_so_many_or_more() -> None:
    for total, said in ((5, "5"), (UNMAPPED_ROWS, "10000 or more")):
        site = replace(troubled_site(), unmapped_total=total)
        assert f"Codes without a mapping: {said}" in [str(finding.phrase) for finding in site.findings()]


@pytest.mark.parametrize("alarms", [("The disk is full: nothing is stored",), ()])
def test_channels_that_take_nothing_are_red_and_an_alarm_speaks_for_all(alarms: tuple[str, ...]) -> None:
    site = quiet_site()
    refusing = tuple(replace(channel, state=ChannelState.REFUSING) for channel in site.channels)
    site = replace(site, channels=refusing, alarms=alarms)
    assert {(channel.level, str(channel.words)) for channel in refusing} == {(Level.PROBLEM, "not taking messages")}
    said = [str(finding.phrase) for finding in site.findings()]
    assert said == list(alarms or (f"{channel.name} not taking messages" for channel in refusing))


def test_integrity_comes_before_everything_else() -> None:
    site = replace(troubled_site(), journal=JournalSnapshot(integrity="messages 5-9 are missing"))
    assert str(site.overall().phrase) == "The journal is damaged: messages 5-9 are missing"


@pytest.mark.parametrize(
    ("free", "days", "level"),
    [
        (None, None, None),
        (50 << 30, 400.0, None),
        (50 << 30, 20.0, Level.ATTENTION),
        (50 << 30, 3.0, Level.PROBLEM),
        (500 << 20, None, Level.PROBLEM),
        (500 << 20, 400.0, Level.PROBLEM),
    ],
)
def test_disk_is_told_before_it_is_full(free: int | None, days: float | None, level: Level | None) -> None:
    found = replace(quiet_site(), disk_free_bytes=free, disk_days_left=days).findings()
    assert [finding.level for finding in found] == ([] if level is None else [level])


def test_a_dead_letter_raises_the_level_of_its_rows() -> None:
    lane = LaneSnapshot(destination="x", dead=1)
    channel = ChannelSnapshot(name="c", kind="mllp", address="", state=ChannelState.RECEIVING, lanes=(lane,))
    assert channel.level is Level.ATTENTION
    destination = DestinationSnapshot(name="x", kind="file", address="", state=DestinationState.OK, dead=1)
    assert destination.level is Level.ATTENTION


def test_a_message_that_was_broken_off_waits_for_a_person() -> None:
    """An analyzer that does not send it again has lost a result, unless somebody looks."""
    site = quiet_site()
    first, *others = site.channels
    site = replace(site, channels=(replace(first, incomplete=2), *others), incomplete_total=2)
    assert [(found.level, str(found.phrase)) for found in site.findings()] == [
        (Level.ATTENTION, "Incomplete messages: 2")
    ]
    assert [channel.level for channel in site.channels] == [Level.ATTENTION, *[Level.OK] * len(others)]
    assert (site.to_json()["incomplete_total"], site.to_json()["dead_total"]) == (2, 0)


def test_channel_totals_count_what_has_no_lane_yet() -> None:
    lanes = (LaneSnapshot(destination="x", waiting=2, dead=1), LaneSnapshot(destination="y", waiting=3))
    channel = ChannelSnapshot(name="c", kind="mllp", address="", stored_waiting=4, dead=5, lanes=lanes)
    assert (channel.waiting, channel.dead_total) == (9, 6)


def test_json_is_plain_and_says_instants_with_their_zone() -> None:
    told = json.loads(json.dumps(troubled_site().to_json()))
    assert told["schema_version"] == 1
    assert told["now"] == "2026-03-02T04:42:07.000+00:00"
    assert told["overall"] == {"level": "problem", "words": "haematology-1 silent 47 min"}
    chemistry = next(channel for channel in told["channels"] if channel["name"] == "chemistry")
    assert chemistry["state"] == "receiving"
    assert chemistry["lanes"][0]["retrying"] == {
        "attempt": 7,
        "code": "NO_ANSWER",
        "next_at": None,
        "channel": "chemistry",
        "message": 458,
        "others_taken": False,
    }
    until = (NOW + timedelta(seconds=28)).isoformat(timespec="milliseconds")
    assert told["destinations"][0]["breaker_until"] == until
    link = next(channel for channel in told["channels"] if channel["name"] == "haematology-1")["link"]
    assert (link["state"], link["words"], link["stray_bytes"]) == ("unconnected", "no connection", 17)
    assert link["faults"][0] == {"kind": "bad-checksum", "n": 3, "words": "frame with a wrong checksum, refused"}
    assert link["steps"][2] == {
        "at": "2026-03-02T03:54:58.000+00:00",
        "way": "in",
        "words": "frame 1, 57 bytes",
        "verdict": "checksum wrong",
        "good": False,
    }
    assert chemistry["connections"] == ["10.20.4.17:50213", "10.20.4.18:50871"]


def test_json_fields_are_never_lost() -> None:
    """Scripts rely on these: taking one away, or renaming it, needs a new SCHEMA_VERSION."""
    told = troubled_site().to_json()
    assert set(told) >= {
        *("schema_version", "overall", "findings", "site_name", "version", "started_at", "now", "timezone"),
        *("config_hash", "channels", "destinations", "dead_total", "unmapped_total", "disk_free_bytes"),
        *("disk_days_left", "journal", "task_restarts", "alarms", "notes"),
    }
    assert set(told["channels"][0]) >= {
        *("name", "description", "kind", "address", "state", "level", "words", "fault", "connections"),
        *("last_message_at", "last_message_age_s", "usual_gap_s", "today_received", "today_delivered", "today_dead"),
        *(
            "today_filtered",
            "today_repeat",
            "today_same_bytes",
            "today_incomplete",
            "stored_waiting",
            "dead",
            "link_faults",
            "lanes",
        ),
    }
    assert set(told["channels"][0]["lanes"][0]) >= {
        *("destination", "waiting", "oldest_age_s", "retrying", "dead", "held", "delivered_today"),
    }
    assert set(told["destinations"][0]) >= {
        *("name", "kind", "address", "state", "level"),
        *("words", "breaker_until", "waiting", "oldest_age_s", "in_flight"),
        *("dead", "held", "delivered_today", "last_delivered_at", "last_error", "retrying", "rate_per_min"),
    }
    assert set(told["journal"]) >= {
        *("last_id", "size_bytes", "wal_bytes", "fsync_ms_p50", "fsync_ms_p99", "integrity", "writable"),
    }


def test_an_empty_site_is_a_snapshot_too() -> None:
    site = SiteSnapshot(site_name="New", version="0", started_at=NOW, now=NOW)
    assert site.overall().level is Level.OK
    assert site.to_json()["channels"] == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (86400, "1 d"),
        (86400 + 3599, "1 d"),
        (2 * 86400 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_spans_are_said_with_two_units_at_most(seconds: float, words: str) -> None:
    assert Span(seconds).say() == words


def test_a_phrase_is_said_in_the_readers_language_with_all_its_parts() -> None:
    phrase = Phrase("{name} {state}, {age}", {"name": "a", "state": Phrase("silent"), "age": Span(60)})
    catalogue = {"{name} {state}, {age}": "{age} / {state} / {name}", "silent": "stumm", "{n} min": "{n} Minuten"}
    assert phrase.say(catalogue.__getitem__) == "1 Minuten / stumm / a"
    assert str(phrase) == "a silent, 1 min"


def test_braces_in_a_value_are_only_text() -> None:
    assert str(Phrase("{text}", {"text": "{name} {0}"})) == "{name} {0}"


@pytest.mark.parametrize(("age_s", "level"), [(3600.0, Level.ATTENTION), (86_401.0, Level.PROBLEM)])
def test_what_is_held_too_long_is_a_problem(age_s: float, level: Level) -> None:
    young = DestinationSnapshot(name="b", kind="fhir", address="", held=1, held_age_s=1.0)
    old = DestinationSnapshot(name="a", kind="fhir", address="", held=2, held_age_s=age_s)
    site = SiteSnapshot(site_name="New", version="0", started_at=NOW, now=NOW, destinations=(young, old))
    (finding,) = [one for one in site.findings() if "Held" in str(one.phrase)]
    assert (finding.level, str(finding.phrase)) == (level, f"Held back: 3, the oldest for {Span(age_s).say()}")
