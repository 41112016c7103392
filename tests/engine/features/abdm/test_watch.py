"""The watchdog: a fault begins and ends once, a lost look brings nothing, a gateway that is down is left alone."""

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.client.gateway import fault_of
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.rules.account import AbdmFault
from engine.features.abdm.service import preflight, service
from engine.features.abdm.service.service import SILENT, AbdmService, Silence, Track, Watch, is_soon, judged, silence
from engine.features.todo.service import TodoList
from engine.model.process.clock import Clock, SystemClock
from engine.model.texts.phrases import Phrase
from tests.support.abdm_reports import write_site
from tests.support.abdm_site import FACILITY, SECRET, AbdmSite, abdm_site, destination, person, report
from tests.support.clocks import MovedClock
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Settings

START = datetime(2026, 3, 1, tzinfo=UTC)
STOLEN = AbdmFault(code="url-other", text=Phrase("it is stolen"), remedy=Phrase("take it back"))

# Looks, one sign each: F found, . not found, ? could not see it -> whether it is in force after each of them.
LOOKS = {
    "....": "....",
    "F...": "....",
    "FF": ".X",
    "F.F": "..X",
    "F..F": "....",
    "F?F": "..X",
    "F??F": "...X",
    "?????": ".....",
    "FF.F": ".XXX",
    "FF..": ".XX.",
    "FF.F.F": ".XXXXX",
    "FF.F..": ".XXXX.",
    "FF?": ".XX",
    "FF????": ".XXXXX",
    "FF.?.": ".XXX.",
    "FF..F": ".XX..",
    "FF..FF": ".XX..X",
    "FF..F.F": ".XX...X",
    "F.?.F": ".....",
}


def in_force(looks: str) -> tuple[str, list[datetime | None]]:
    """The state after each look, and since when it is."""
    tracks: dict[service.Key, Track] = {}
    shown, since = "", []
    for n, sign in enumerate(looks):
        found, hidden = ([STOLEN] if sign == "F" else []), ({STOLEN.code} if sign == "?" else set())
        tracks = judged(tracks, found, hidden, START + timedelta(minutes=n))
        on = [track for track in tracks.values() if track.is_on]
        shown += "X" if on else "."
        since.append(on[0].fault.since if on else None)
    return shown, since


@pytest.mark.parametrize("looks", LOOKS)
def test_a_fault_begins_and_ends_by_looks_that_agree(looks: str) -> None:
    assert in_force(looks)[0] == LOOKS[looks]


def test_in_any_history_the_last_sure_word_counts() -> None:
    """Two of three begin a fault, two in a row end it: of both, the one that was said last is in force."""
    draw = random.Random(7)
    for _ in range(2_000):
        looks = "".join(draw.choices("F.?", (3, 3, 1), k=draw.randint(1, 12)))
        seen = looks.replace("?", "")
        begun = max((n + 2 for n in range(len(seen)) if seen[n : n + 2] == "FF"), default=0)
        begun = max(begun, *(n + 3 for n in range(len(seen)) if seen[n : n + 3] == "F.F"), 0)
        ended = max((n + 2 for n in range(len(seen)) if seen[n : n + 2] == ".."), default=0)
        shown, since = in_force(looks)
        assert (shown[-1] == "X") is (begun > ended), looks
        if since[-1] is not None:  # the first look that found it since it was over
            last = [n for n, sign in enumerate(looks) if sign != "?"]
            first = next(last[n] for n in range(ended, len(seen)) if seen[n] == "F")
            assert since[-1] == START + timedelta(minutes=first), looks


def test_a_look_follows_soon_where_it_may_change_something_and_never_twice() -> None:
    for looks, soon in {"F": True, "FF": False, "FF.": True, "F.": False, ".": False, "F?": True}.items():
        tracks: dict[service.Key, Track] = {}
        for sign in looks:
            hidden = {STOLEN.code} if sign == "?" else set()
            tracks = judged(tracks, [STOLEN] if sign == "F" else [], hidden, START)
        assert is_soon(tracks, False) is soon, looks
        assert not is_soon(tracks, True)


def test_a_fault_that_hides_others_neither_begins_nor_ends_them() -> None:
    down = AbdmFault(code="gateway-down", text=Phrase("it is down"), remedy=Phrase("wait"))
    hidden = preflight.HIDES["gateway-down"]
    assert {"url-other", "facility-missing", "session-refused"} <= hidden
    assert "callbacks-closed" not in hidden  # our own path is looked at all the same
    tracks = judged({}, [STOLEN], (), START)
    tracks = judged(tracks, [STOLEN], (), START)
    for _ in range(5):
        tracks = judged(tracks, [down], hidden, START)
    assert {key[0] for key, track in tracks.items() if track.is_on} == {"url-other", "gateway-down"}


# Minutes: the oldest call that waits for a callback (None: none does), whether one was given up, since when callbacks
# can be heard, the present -> whether they are missed. They are after 20 minutes.
SILENCES: dict[str, tuple[int | None, bool, int, int, Silence]] = {
    "no call expects one": (None, False, 0, 10_000, Silence.NO),
    "a call was taken a minute ago": (100, False, 0, 101, Silence.NO),
    "just not yet": (100, False, 0, 119, Silence.NO),
    "since 20 minutes": (100, False, 0, 120, Silence.YES),
    "since a day": (100, False, 0, 1540, Silence.YES),
    "we were switched off meanwhile": (100, False, 500, 501, Silence.UNKNOWN),
    "we are back for 20 minutes": (100, False, 500, 520, Silence.YES),
    "the calls were given up": (None, True, 0, 10_000, Silence.UNKNOWN),
    "given up, and another one was made": (100, True, 0, 101, Silence.UNKNOWN),
    "given up, and another one waits as long": (100, True, 0, 120, Silence.YES),
}


@pytest.mark.parametrize("case", SILENCES)
def test_no_callback_is_a_fault_where_a_call_waits_for_one(case: str) -> None:
    oldest, given_up, listening, now, expected = SILENCES[case]
    minute = 60_000_000
    oldest_us = 0 if oldest is None else oldest * minute
    said = silence(oldest_us, given_up, listening_us=listening * minute, now_us=now * minute, after_s=1200)
    assert said[0] is expected


def _watch(site: AbdmSite, clock: Clock | None = None, **other: Any) -> Watch:
    ours: AbdmDestination = destination(site.sandbox.url, callbacks={"url": site.ours.url}, **other)
    return Watch("abdm", ours, site.ours.gateway, site.ours.journal, clock or SystemClock(), fault_of)


def _codes(one: Watch) -> list[str]:
    return [fault.code for fault in one.snapshot.faults]


async def test_a_stolen_url_is_noticed_and_said_once_and_is_over_once_it_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "FIRST_S", 0.01)
    monkeypatch.setattr(service, "SOON_S", 0.01)
    async with abdm_site(tmp_path, monkeypatch) as site:
        mine = _watch(site)
        assert mine.snapshot.looked_at is None
        await site.ask("/bridge", {"url": site.sandbox.url})
        looking = asyncio.create_task(mine.run())
        with caplog.at_level(logging.INFO, "labrelay.abdm"):
            await until(lambda: _codes(mine) == ["url-other"])
            looks = [call for call in await site.ask("/calls") if call["call"] == "bridge-services"]
            assert len(looks) == 2  # the next one comes after `EVERY_S`
            looking.cancel()
            site.ours.dispatcher.is_elsewhere = lambda: mine.is_elsewhere
            number = await site.ours.offer(report(), person())
            await until(lambda: site.ours.rows("abdm_call WHERE state = 'waiting' AND not_before_us > made_us"))
            assert site.ours.rows("abdm_request") == [], "its result would go to the other system"
            await mine.look()
            await site.ask("/bridge", {"url": site.ours.url})
            await mine.look()
            assert _codes(mine) == ["url-other"]
            await mine.look()
        assert mine.snapshot.faults == ()
        await site.ours.is_told(number)
        lines = [(one.levelname, one.message, getattr(one, "reason", "")) for one in caplog.records]
        assert [one for one in lines if "our account" in one[1]] == [
            ("ERROR", "a fault of our account at ABDM has begun", "url-other"),
            ("INFO", "a fault of our account at ABDM is over", "url-other"),
        ]


async def test_a_wrong_clock_is_named_without_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        mine = _watch(site)
        assert _codes(mine) == []
        monkeypatch.setattr(type(site.ours.gateway), "ahead_s", 600.0)
        assert _codes(mine) == ["clock-off"]


async def test_callbacks_that_stay_away_are_missed_until_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        clock = MovedClock()
        mine = _watch(site, clock)
        await site.fail(callbacks={"on-generate-token": ["dropped"] * 2})
        await site.ours.offer(report(), person())
        await until(lambda: site.ours.states("abdm_call") == ["accepted"])
        await mine.look()
        await mine.look()
        assert _codes(mine) == []
        clock.jumped_s = 3600  # a clock that is set ahead measures no silence
        await mine.look()
        await mine.look()
        assert _codes(mine) == []
        clock.passed_s = 1200
        await mine.look()
        assert _codes(mine) == []
        await mine.look()
        assert _codes(mine) == [SILENT]
        await site.fail()
        await site.ask("/app/share", {"patient": person().address, "facility": FACILITY, "counter": "1"})
        await until(lambda: len(site.ours.rows("abdm_callback")) > 0)
        await mine.look()
        await mine.look()
        assert _codes(mine) == []


async def test_a_fault_is_on_the_to_do_list_of_the_daemon_until_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FIRST_S", 0.01)
    monkeypatch.setattr(service, "SOON_S", 0.01)
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox(settings=Settings())
    await sandbox.start()
    (port,) = quiet_ports(1)
    try:
        sandbox.state.bridge_url = sandbox.url
        async with running_app(write_site(tmp_path, sandbox.url, port)) as app:
            abdm = app.service(AbdmService).abdm
            assert abdm is not None
            mine = abdm.watch
            await until(lambda: _codes(mine) == ["url-other"])
            app.observer.expire()
            assert "abdm-account/url-other" in [one.entry.key for one in await app.service(TodoList).look()]
            sandbox.state.bridge_url = f"http://127.0.0.1:{port}/abdm"
            await mine.look()
            await mine.look()
            app.observer.expire()
            assert "abdm-account/url-other" not in [one.entry.key for one in await app.service(TodoList).look()]
    finally:
        await sandbox.stop()
