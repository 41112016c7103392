"""Events about states: each at a start, then each that is another one."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.features.events import rows as events
from engine.features.events import service
from engine.features.events.rules import wanted
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState
from tests.support.journals import running
from tests.support.status_sites import quiet_site
from tests.support.waiting import until


async def test_each_state_at_a_start_and_then_each_other_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STATES_S", 0.0)
    site = quiet_site()
    first = site.channels[0]
    looks = 0

    async def snapshot() -> SiteSnapshot:
        nonlocal looks
        looks += 1
        return site

    async with running(tmp_path) as journal:
        begin = events.newest(journal)
        task = asyncio.create_task(service.run(journal, snapshot))
        await until(lambda: looks > 3)
        silent = replace(first, state=ChannelState.SILENT)
        site = replace(site, channels=(silent, *site.channels[1:]))
        seen = looks
        await until(lambda: looks > seen + 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = events.page(journal, begin, wanted(["channel", "destination"])).events
    said = [(one.type, json.loads(one.data)) for one in found]
    quiet = quiet_site()
    assert said == [
        *(("channel.state", {"channel": one.name, "state": one.state.value, "was": ""}) for one in quiet.channels),
        *(
            ("destination.state", {"destination": one.name, "state": one.state.value, "was": ""})
            for one in quiet.destinations
        ),
        ("channel.state", {"channel": first.name, "state": "silent", "was": first.state.value}),
    ]
