"""Downtime is noted as it was seen, over restarts and changes of the clock."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from engine.features.reports.rows import reading
from engine.features.reports.rows.reading import Downtime, downtimes
from engine.features.reports.service import not_working
from engine.model.process.clock import ManualClock
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState
from engine.store.journal import Journal
from tests.support.journals import opened
from tests.support.running import hl7_channel, running_site
from tests.support.status_sites import quiet_site
from tests.support.waiting import until

START = datetime(2026, 3, 1, 6, tzinfo=UTC)
BEGAN = round(START.timestamp())
EVER = 2**60
CHEM, LIS = ("channel", "chem"), ("destination", "lis")


class Noted:
    """A journal with its clock; times are seconds since the start."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(START)
        self.journal: Journal = opened(folder, clock=self.clock)

    def note(self, states: dict[tuple[str, str], str] | None, *, after: float = 60) -> None:
        self.clock.advance(after)
        self.journal.run_alone(reading.note, states)

    def found(self, since: int = 0, until: int = 10**9) -> list[tuple[str, str, int, int, bool]]:
        rows = downtimes(self.journal, (BEGAN + since) * 1_000_000, (BEGAN + until) * 1_000_000)
        return [(one.name, one.state, _s(one.since_us), _s(one.until_us), one.is_open) for one in rows]

    def observed(self) -> int:
        """Seconds in which LabRelay ran and looked."""
        ((ran,),) = self.journal.rows("SELECT sum(until_us - since_us) FROM downtime WHERE state = 'running'")
        return int(ran) // 1_000_000


def _s(at_us: int) -> int:
    return at_us // 1_000_000 - BEGAN


@pytest.fixture
def noted(tmp_path: Path) -> Iterator[Noted]:
    made = Noted(tmp_path)
    yield made
    made.journal.close()


def test_a_state_lasts_until_another_is_seen(noted: Noted) -> None:
    noted.note(None, after=0)
    noted.note({CHEM: "silent"})
    noted.note({CHEM: "silent", LIS: "breaker_open"})
    noted.note({CHEM: "paused", LIS: "breaker_open"})
    noted.note({LIS: "breaker_open"})
    assert noted.found() == [
        ("chem", "silent", 60, 180, False),
        ("lis", "breaker_open", 120, 240, True),
        ("chem", "paused", 180, 240, False),
    ]
    assert noted.found(100, 200) == [
        ("chem", "silent", 100, 180, False), ("lis", "breaker_open", 120, 200, False),
        ("chem", "paused", 180, 200, False),
    ]  # fmt: skip
    assert noted.observed() == 240


def test_a_time_in_which_labrelay_did_not_run_is_noted_by_the_next_start(noted: Noted) -> None:
    noted.note(None, after=0)
    noted.note({CHEM: "silent"})
    noted.note({CHEM: "silent"})
    noted.note(None, after=3600)
    noted.note({CHEM: "silent"})
    assert noted.found() == [
        ("chem", "silent", 60, 120, False), ("", "not_running", 120, 3720, False), ("chem", "silent", 3780, 3780, True),
    ]  # fmt: skip
    assert noted.observed() == 180


def test_a_quick_restart_is_no_downtime_and_cuts_none(noted: Noted) -> None:
    noted.note(None, after=0)
    noted.note({CHEM: "silent"})
    noted.note(None, after=90)
    noted.note({CHEM: "silent"})
    assert noted.found() == [("chem", "silent", 60, 210, True)]


YEARS = 10 * 365 * 86_400


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_leaps_ahead_and_is_put_right_makes_no_downtime_of_the_years_between(
    noted: Noted, restart: bool
) -> None:
    noted.note(None, after=0)
    noted.note({CHEM: "silent"})
    noted.note({CHEM: "silent"})
    noted.clock._now += timedelta(seconds=YEARS)
    if restart:
        noted.note(None)
    noted.note({CHEM: "silent"})
    noted.clock._now -= timedelta(seconds=YEARS)
    noted.note({CHEM: "silent"})
    noted.note({CHEM: "silent"})
    noted.note({})
    down = [one for one in noted.found(0, YEARS // 2) if one[1] == "silent"]
    now = _s(noted.clock.now_us())
    assert down == [("chem", "silent", 60, 120, False), ("chem", "silent", now - 120, now, False)]
    assert all(until <= now for _, _, _, until, _ in noted.found(0, YEARS // 2))
    noted.note(None, after=7200)  # ... and a time in which it does not run is noted as before
    assert ("", "not_running", now, now + 7200, False) in noted.found(0, YEARS // 2)


def test_a_clock_of_1970_takes_nothing_of_what_was_seen(noted: Noted) -> None:
    noted.note(None, after=0)
    noted.note({CHEM: "silent"})
    noted.note({CHEM: "paused"}, after=90)
    noted.note({CHEM: "paused"})
    seen = noted.found()
    noted.clock._now -= timedelta(seconds=BEGAN - 60)
    noted.note(None)
    noted.note({})
    assert [one[:4] for one in noted.found()] == [one[:4] for one in seen]


def test_a_machine_that_sleeps_is_not_seen_meanwhile(noted: Noted) -> None:
    noted.note(None, after=0)
    noted.note({CHEM: "silent"})
    noted.note({CHEM: "silent"}, after=8 * 3600)
    noted.note({CHEM: "silent"})
    woke = 8 * 3600 + 60
    assert noted.found() == [("chem", "silent", 60, 60, False), ("chem", "silent", woke, woke + 60, True)]


def test_a_clock_that_is_set_back_makes_no_time_shorter_than_nothing(noted: Noted) -> None:
    noted.note(None, after=0)
    noted.note({CHEM: "silent"}, after=7200)
    noted.clock._now -= timedelta(hours=1)
    noted.note({CHEM: "silent"})
    noted.note({})
    assert all(until >= since for _, _, since, until, _ in noted.found())


def test_it_has_a_limit(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_ROWS", 5)
    for n in range(20):
        noted.note({CHEM: "silent"} if n % 2 else {})
    assert len(noted.found()) <= 5
    assert noted.observed() == 19 * 60  # what is open stays
    noted.note({})
    noted.note({}, after=reading.KEPT_DAYS * 86_400 + 60)
    assert noted.found() == []


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_seen_the_times_are_those_of_each_look(noted: Noted, seed: int) -> None:
    chance, looks = random.Random(seed), list[tuple[int, dict[tuple[str, str], str]]]()
    noted.note(None, after=0)
    for _ in range(40):
        states = {one: chance.choice(("silent", "paused")) for one in (CHEM, LIS) if chance.random() < 0.6}
        noted.note(dict(states), after=chance.choice((30, 60)))
        looks.append((_s(noted.clock.now_us()), states))
    for subject in (CHEM, LIS):
        for state in ("silent", "paused"):
            expected = sum(
                later - at for (at, states), (later, _) in pairwise(looks)
                if states.get(subject) == state
            )  # fmt: skip
            rows = [one for one in noted.found() if (one[0], one[1]) == (subject[1], state)]
            assert sum(end - begin for _, _, begin, end, _ in rows) == expected


def test_which_states_are_downtime() -> None:
    channels = [ChannelSnapshot(name=one.value, kind="mllp", address="", state=one) for one in ChannelState]
    ends = [DestinationSnapshot(name=one.value, kind="http", address="", state=one) for one in DestinationState]
    found = not_working(replace(quiet_site(), channels=tuple(channels), destinations=tuple(ends)))
    assert {state for (kind, _), state in found.items() if kind == "channel"} == {
        "silent", "waiting_for_connection", "faulted", "refusing", "paused",
    }  # fmt: skip
    assert {name: state for (kind, name), state in found.items() if kind == "destination"} == {
        "breaker_open": "breaker_open", "probing": "breaker_open", "expected_downtime": "expected_downtime",
        "paused": "paused",
    }  # fmt: skip


async def test_the_daemon_notes_a_paused_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.features.reports.service.LOOK_S", 0.05)
    async with running_site(tmp_path, {"lab": hl7_channel()}) as site:
        await site.labrelay("pause", "channel", "lab", "--reason", "service", "--yes")

        def paused() -> list[Downtime]:
            return [one for one in downtimes(site.app.journal, 0, EVER) if one.state == "paused"]

        await until(lambda: len(paused()) == 1)
        assert (paused()[0].kind, paused()[0].name, paused()[0].is_open) == ("channel", "lab", True)
        await site.labrelay("resume", "channel", "lab", "--reason", "done", "--yes")
        await until(lambda: not paused()[0].is_open)
