"""Things that happen at once: reloads under load (T25), replay and retry beside live traffic (T27); and control ids
that come again (T19).

A whole site in the test's own process, on real sockets and a real journal.
"""

import asyncio
import contextlib
import json
import random
import re
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from aiohttp import web

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import ManualClock
from engine.runtime.app import App
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import messages_page
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import judge
from tests.faults.harness.tally import percentile
from tests.faults.harness.trial import Trial
from tests.faults.test_destination_away import Site, site_of
from tests.support.live import Analyzer, Mood, Server
from tests.support.ports import quiet_ports
from tests.support.senders import lines, send_blocks
from tests.support.waiting import until
from workbench.bench.messages import oru

# -- T25: reloads ------------------------------------------------------------------------------------------------

MAPPING = """\
mapping: stamped
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
steps:
  - create: Organization
    key: =MSH-10
    body:
      name: =concat(MSH-10, ' mapping {number} setting ', setting('number'), ' end')
  - each: PATIENT_RESULT
    do:
      - drop: results are not what this is about
"""
STAMP = re.compile(rb"mapping (\d+) setting (\d+) end")


@dataclass
class StampServer(Server):
    """A server that reads of each document under which configuration it was made.

    Attributes:
        made: the numbers of the configurations, as the mapping and as the channel's setting have them.
    """

    made: list[tuple[int, int]] = field(default_factory=list)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        stamp = STAMP.search(await request.read())
        assert stamp is not None
        self.made.append((int(stamp[1]), int(stamp[2])))
        return await super()._take(request)


def write_site(folder: Path, number: int, server: Server, ports: list[int]) -> None:
    """Configuration ``number``: its mapping, its channels and its destination all differ from those of any other."""
    for name in ("config", "channels", "mappings"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    destination = {
        "kind": "http",
        "url": f"http://127.0.0.1:{server.port}/{number}",
        "retry": {"first": "20ms", "max": "100ms"},
        "breaker": {"probe_after": "50ms"},
    }
    site = {
        "site": {"name": "Lab", "timezone": "Asia/Kolkata"},
        "web": {"enabled": False},
        "destinations": {"server": destination},
    }
    (folder / "config" / "labrelay.yaml").write_text(yaml.safe_dump(site))
    (folder / "mappings" / "stamped.yaml").write_text(MAPPING.replace("{number}", str(number)))
    for channel, port in enumerate(ports):
        route = {"mapping": "stamped", "to": "server"}
        content = {
            "channel": f"c{channel}",
            "source": {"kind": "mllp", "listen": f"127.0.0.1:{port}"},
            "settings": {"number": str(number)},
            "routes": [route],
        }
        (folder / "channels" / f"c{channel}.yaml").write_text(yaml.safe_dump(content))


@contextlib.asynccontextmanager
async def started(folder: Path) -> AsyncIterator[App]:
    app, up = App(folder), asyncio.Event()
    task = asyncio.create_task(app.run(lambda _: up.set()))
    try:
        await asyncio.wait_for(up.wait(), 240.0)
        yield app
    finally:
        app.stop()
        await asyncio.wait_for(task, 240.0)


async def test_no_message_is_lost_or_made_under_two_configurations_by_a_reload(tmp_path: Path, trial: Trial) -> None:
    server = StampServer(ledger=Ledger())
    await server.start()
    ports = quiet_ports(2)
    write_site(tmp_path, 0, server, ports)
    try:
        async with started(tmp_path) as app:
            analyzers = [Analyzer(n, port, "mllp", ledger=server.ledger) for n, port in enumerate(ports)]
            playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
            reloads = 0
            for number in trial.rounds(quick=12, long=1_000, unit="reloads"):
                server.mood = trial.chance.choice([Mood.WELL, Mood.WELL, Mood.BUSY, Mood.LOST])
                write_site(tmp_path, number + 1, server, ports)
                before = [len(analyzer.acked) for analyzer in analyzers]
                await app.reload()
                reloads += 1
                await until(lambda before=before: _each_got_on(analyzers, before), 240.0)
            server.mood = Mood.WELL
            for analyzer in analyzers:
                analyzer.stop()
            await asyncio.gather(*playing)
            await until(lambda: not any(view.open for view in list_lanes(app.journal)), 240.0)
            assert all(view.stored == view.dead == 0 for view in list_channels(app.journal))
        tally = judge(tmp_path / "var", server.ledger, settled=True).must_pass()
    finally:
        await server.stop()
    mixed = [stamp for stamp in server.made if stamp[0] != stamp[1]]
    assert mixed == []
    assert len({stamp[0] for stamp in server.made}) > reloads * 0.8  # else the reloads changed nothing
    trial.note(tally, reloads=reloads, mixed_config=len(mixed))


def _each_got_on(analyzers: list[Analyzer], before: list[int]) -> bool:
    return all(len(analyzer.acked) > count for analyzer, count in zip(analyzers, before, strict=True))


# -- T27: replay, retry and live traffic ---------------------------------------------------------------------------


async def test_replay_and_retry_of_the_same_deliveries_leave_live_traffic_alone(tmp_path: Path, trial: Trial) -> None:
    quick = {"retry": {"first": "5ms", "max": "20ms"}, "breaker": {"probe_after": "20ms"}}
    async with site_of(tmp_path, [["server"], ["server"]], **quick) as site:
        server = site.servers["server"]
        server.refuse = {(0, number) for number in range(5, 10_000, 10)}
        async with site.sender(0) as old, site.sender(1) as live:
            for _ in trial.rounds(quick=60, long=600, unit="messages replayed, and as many live"):
                await old.send()
                await live.send()
            count = old.sent
            await until(lambda: not site.open("server"), 240.0)
            usual = percentile(live.answered_s, 0.99)
            live.answered_s.clear()

            server.refuse = set()
            server.choose = lambda: Mood.LOST if trial.chance.random() < 0.1 else Mood.WELL
            began = time.perf_counter()
            acts = [
                asyncio.create_task(_act(site, "replay", "--channel", "c0", "--rate", "1000", "--yes")),
                asyncio.create_task(_act(site, "dlq", "retry", "--channel", "c0", "--yes")),
                asyncio.create_task(_act(site, "replay", "--channel", "c0", "--rate", "1000", "--yes")),
            ]
            sent = 0
            while sent < count or (sent < 4 * count and not all(act.done() for act in acts)):
                await live.send()  # a replay yields to it, so it ends before a long replay does
                sent += 1
            took = time.perf_counter() - began
            await asyncio.gather(*acts)
            server.choose, server.mood = None, Mood.WELL
            held = percentile(live.answered_s, 0.99)
            await until(lambda: not site.open("server"), 240.0)
            assert server.arrived[1] == list(range(1, live.sent + 1))  # live: all there, in order
        assert sorted(server.arrived[0]) == list(range(1, count + 1))  # the dead ones have come as well
        assert [len(set(keys)) for keys in server.keys.values()] == [1] * (count + live.sent)
        assert sum(len(keys) > 1 for (channel, _), keys in server.keys.items() if channel == 0) > count // 2
        tally = judge(site.folder / "var", site.ledger, settled=True).must_pass()
        assert tally.dead == 0
    trial.note(
        tally, live=sent, seconds=round(took, 1), ack_p99_ms=round(usual * 1000, 1),
        ack_p99_ms_beside_a_replay=round(held * 1000, 1),
    )  # fmt: skip


async def _act(site: Site, *arguments: str) -> None:
    """A command in a process of its own, as several people at once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "--site", str(site.folder), *arguments, "-o", "json", stdout=PIPE, stderr=PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 300.0)
    assert process.returncode in {ExitCode.OK, ExitCode.PARTLY}, err.decode()
    assert json.loads(out)["count"] > 0


# -- T19: control ids ----------------------------------------------------------------------------------------------


async def test_a_control_id_that_comes_again_is_a_repeat_or_another_message(tmp_path: Path, trial: Trial) -> None:
    """The same bytes within a day, on a channel whose control ids and times change: answered again, and not sent on.
    Other bytes: sent on, and told. After a year an analyzer has begun to count anew: a message of its own; even where
    every byte is the same, it is sent on, under the key that the destination knows. At once it is a repeat again, for
    its time to the minute is the same."""
    trial.goal(quick=6, long=6, unit="messages with one control id")
    clock = ManualClock(datetime.now(UTC))
    first, other, next_year = (oru(0, 1, random.Random(n), results=1) for n in range(3))
    sent = (first, first, other, next_year, first, first)
    async with site_of(tmp_path, [["server"]], clock=clock) as site:
        port, journal = site.sender(0).port, site.app.journal
        for number in (2, 3):  # the channel is known by then
            await send_blocks(port, [oru(0, number, random.Random(number), results=1)])
        for number, message in enumerate(sent):
            if number == 3:
                clock.advance(timedelta(days=365).total_seconds())
            site.ledger.note_sent("c0", message)
            (answer,) = await send_blocks(port, [message])
            assert lines(answer)["MSA"][1] == "AA"
            site.ledger.note_acked("c0", message)
            await until(lambda: not site.open("server"), 240.0)

        views = messages_page(journal, limit=10)[-3::-1]
        assert [(view.state, view.reason) for view in views] == [
            ("mapped", ""), ("filtered", "REPEAT"),
            ("mapped", ""), ("mapped", ""), ("mapped", ""), ("filtered", "REPEAT"),
        ]  # fmt: skip
        assert [view.repeat_of for view in views] == [None, views[0].id, None, None, None, views[4].id]
        assert [view.equal_to for view in views] == [None] * 6
        assert [view.same_id_other_bytes for view in views] == [False, False, True, False, True, False]
        keys = site.servers["server"].keys[0, 1]
        assert [keys.index(key) for key in keys] == [0, 1, 2, 0]
        tally = judge(site.folder / "var", site.ledger, settled=True, repeats_are_known=False).must_pass()
    trial.note(tally)
