"""Snapshots of a large site: while there are readers each is taken before it is asked for, with pauses for messages."""

import asyncio
import dataclasses
import random
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.observing import observe
from tests.support.running import RunningSite, hl7_channel, running_site
from tests.support.waiting import until

CHANNELS = 7


def seen_in_turns(site: RunningSite, monkeypatch: pytest.MonkeyPatch, turn: "Counter[str]") -> list[int]:
    """The turn of the event loop in which each channel is looked at, from now on."""
    turns: list[int] = []
    views = site.app.observer._traffic
    look = views.channel

    def noted(*args: Any, **more: Any) -> Any:
        turns.append(turn["now"])
        return look(*args, **more)

    monkeypatch.setattr(views, "channel", noted)
    return turns


async def test_the_loop_goes_on_between_the_channels_of_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "REFRESH_S", 0.05)
    monkeypatch.setattr(observe, "AT_ONCE", 2)
    async with running_site(tmp_path, {f"hema-{n}": hl7_channel() for n in range(CHANNELS)}) as site:
        turn, observer = Counter[str](), site.app.observer
        turns = seen_in_turns(site, monkeypatch, turn)

        async def go_round() -> None:
            for turn["now"] in count():
                await asyncio.sleep(0)

        going = asyncio.create_task(go_round())
        try:
            await until(lambda: observer.snapshot() is not None and len(set(turns[-CHANNELS:])) == 4)
        finally:
            going.cancel()
        assert [one.name for one in observer.snapshot().channels] == [f"hema-{n}" for n in range(CHANNELS)]


async def test_a_snapshot_that_is_late_is_waited_for_and_none_is_taken_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy site the next one may take seconds, for messages come first: readers get the one before."""
    monkeypatch.setattr(observe, "REFRESH_S", 0.0)
    async with running_site(tmp_path, {f"hema-{n}": hl7_channel() for n in range(CHANNELS)}) as site:
        observer = site.app.observer
        await until(lambda: observer.snapshot() is not None and observer._kept_fresh)
        taken = Counter[str]()
        take = observer.take
        monkeypatch.setattr(observer, "take", lambda: taken.update(["at once"]) or take())
        seen = {id(observer.snapshot()) for _ in range(100)}
        assert (len(seen), taken) == (1, Counter())
        monkeypatch.setattr(observe, "KEPT_S", 0.0)
        observer.snapshot()
        assert taken == {"at once": 1}, "one that is older than that is replaced at once"


async def test_without_a_reader_none_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "REFRESH_S", 0.0)
    monkeypatch.setattr(observe, "ASKED_S", 0.0)
    async with running_site(tmp_path, {"hema": hl7_channel()}) as site:
        await until(lambda: site.app.observer._snapshot is not None)  # that of the watchdog's first round
        turns = seen_in_turns(site, monkeypatch, Counter())
        site.app.observer.snapshot()
        asked = len(turns)
        for _ in range(200):  # turns of the loop, in each of which the task looks whether there is a reader
            await asyncio.sleep(0)
        assert len(turns) == asked


async def test_an_effect_that_was_seen_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a snapshot from before the order was being taken meanwhile."""
    monkeypatch.setattr(observe, "REFRESH_S", 0.005)
    monkeypatch.setattr(observe, "AT_ONCE", 1)
    async with running_site(tmp_path, {f"hema-{n}": hl7_channel() for n in range(CHANNELS)}) as site:
        observer, rng = site.app.observer, random.Random(3)
        for n in range(100):
            for _ in range(rng.randrange(12)):
                await asyncio.sleep(0)
            observer.page_fault = f"order {n}"
            observer.expire()
            for _ in range(rng.randrange(12)):
                assert f"order {n}" in observer.snapshot().notes
                await asyncio.sleep(0)


async def test_the_first_one_shows_what_was_done_while_it_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That for systemd is taken before a reader asks for one."""
    monkeypatch.setattr(observe, "AT_ONCE", 1)
    async with running_site(tmp_path, {f"hema-{n}": hl7_channel() for n in range(CHANNELS)}) as site:
        observer = site.app.observer
        observer.expire()
        line = asyncio.create_task(observer.status_line())
        await asyncio.sleep(0)
        observer.page_fault = "an order"
        observer.expire()
        await line
        assert "an order" in observer.snapshot().notes


async def test_a_new_configuration_shows_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page compares the configuration that a person has seen with the one in force."""
    monkeypatch.setattr(observe, "REFRESH_S", 3600.0)
    async with running_site(tmp_path, {"hema": hl7_channel()}) as site:
        observer, parts = site.app.observer, site.app.parts
        before = observer.snapshot()
        assert observer.snapshot() is before
        parts.built = dataclasses.replace(parts.built)
        assert observer.snapshot() is not before
