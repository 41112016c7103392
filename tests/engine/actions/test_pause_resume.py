"""Pause, resume and restart, as people give these orders: commands beside the daemon, real sockets, real results."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from engine.commands.shared.output import ExitCode
from engine.model.journal.records import Target
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level
from engine.runtime.app import App
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_pauses
from tests.support.command_line import Ran, labrelay
from tests.support.live import Analyzer, Mood, Server
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.waiting import until

Json = dict[str, Any]
WHY = ("--reason", "new firmware", "--yes")
QUICK = {"retry": {"first": "20ms", "max": "50ms"}, "breaker": {"failures": 1000, "probe_after": "50ms"}}


class Lab:
    """Two analyzers (one of each protocol) and a server."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.ports = quiet_ports(2)
        (folder / "config").mkdir(parents=True)
        (folder / "channels").mkdir()
        url = f"http://127.0.0.1:{server.port}/in"
        self.write("config/labrelay", {
            "site": {"name": "Lab", "timezone": "Asia/Kolkata"},
            "web": {"enabled": False},
            "destinations": {"server": {"kind": "http", "url": url, **QUICK}},
        })  # fmt: skip
        for number, kind in enumerate(("mllp", "astm")):
            source = {"kind": kind, "listen": f"127.0.0.1:{self.ports[number]}"}
            self.write(f"channels/c{number}", {"channel": f"c{number}", "source": source, "routes": [{"to": "server"}]})

    def write(self, name: str, content: Json) -> None:
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(content))))

    def analyzer(self, number: int) -> Analyzer:
        return Analyzer(number, self.ports[number], ("mllp", "astm")[number])

    async def labrelay(self, *arguments: str) -> Ran:
        return await asyncio.to_thread(labrelay, *arguments, site=self.folder)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    server = Server()
    await server.start()
    yield Lab(tmp_path / "site", server)
    await server.stop()


def look(app: App) -> SiteSnapshot:
    return app.observer.take()


@contextlib.asynccontextmanager
async def playing(*analyzers: Analyzer) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
    try:
        yield
    finally:
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*tasks)


def whole(server: Server, analyzer: Analyzer) -> bool:
    """Everything acknowledged has arrived: in order, and under one key."""
    arrived = server.arrived[analyzer.channel]
    assert arrived == sorted(arrived)
    assert all(len(set(keys)) == 1 for keys in server.keys.values())
    return set(analyzer.acked) <= set(arrived)


async def refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


# -- channels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["mllp", "astm"])
async def test_a_paused_channel_is_closed_and_its_analyzer_keeps_its_results(lab: Lab, number: int) -> None:
    name, analyzer = f"c{number}", lab.analyzer(number)
    async with running_app(lab.folder) as app:
        async with playing(analyzer):
            await until(lambda: len(analyzer.acked) > 5)
            ran = await lab.labrelay("pause", "channel", name, *WHY, "--drain")
            assert ran.code == ExitCode.OK, ran.err
            assert ran.out.startswith(f"channel {name} is paused")
            # Drained: nothing is acknowledged any more, and all that was has arrived.
            acked = list(analyzer.acked)
            assert whole(lab.server, analyzer)
            assert await refused(lab.ports[number])
            assert look(app).channels[number].state is ChannelState.PAUSED
            assert analyzer.acked == acked

            assert (await lab.labrelay("resume", "channel", name, *WHY)).code == ExitCode.OK
            await until(lambda: len(analyzer.acked) > len(acked) + 5)
            assert look(app).channels[number].state is ChannelState.RECEIVING
        await until(lambda: whole(lab.server, analyzer))


async def test_a_pause_outlives_the_daemon_and_reloads(lab: Lab) -> None:
    async with running_app(lab.folder):
        await lab.labrelay("pause", "channel", "c0", *WHY)
        await lab.labrelay("pause", "destination", "server", *WHY)
    async with running_app(lab.folder) as app:
        assert await refused(lab.ports[0])
        lab.write("channels/c1", {
            "channel": "c1", "source": {"kind": "mllp", "listen": f"127.0.0.1:{lab.ports[1]}"},
            "routes": [{"to": "server"}], "usual_gap": "1h",
        })  # fmt: skip
        lab.write("config/labrelay", {
            "site": {"name": "Lab", "timezone": "Asia/Kolkata"}, "web": {"enabled": False},
            "destinations": {
                "server": {"kind": "http", "url": f"http://127.0.0.1:{lab.server.port}/moved", **QUICK}
            },
        })  # fmt: skip
        assert (await lab.labrelay("reload")).code == ExitCode.OK
        assert await refused(lab.ports[0])
        assert app.parts.delivery_workers["server"].paused
        analyzer = Analyzer(1, lab.ports[1], "mllp")
        async with playing(analyzer):
            await until(lambda: len(analyzer.acked) > 5)
        assert lab.server.keys == {}
        for kind, name in (("destination", "server"), ("channel", "c0")):
            assert (await lab.labrelay("resume", kind, name, *WHY)).code == ExitCode.OK
        await until(lambda: whole(lab.server, analyzer))
        assert not await refused(lab.ports[0])


@pytest.mark.parametrize(("by", "verb"), [("reload", "pause"), ("reload", "resume"), ("restart", "pause")])
async def test_an_order_amid_the_change_of_a_destination_holds(lab: Lab, verb: str, by: str) -> None:
    """The new worker is made already and has no lanes yet when the order comes."""
    async with running_app(lab.folder) as app:
        if verb == "resume":
            await lab.labrelay("pause", "destination", "server", *WHY)
        lab.write("config/labrelay", {
            "site": {"name": "Lab", "timezone": "Asia/Kolkata"}, "web": {"enabled": False},
            "destinations": {
                "server": {"kind": "http", "url": f"http://127.0.0.1:{lab.server.port}/moved", **QUICK}
            },
        })  # fmt: skip
        made = app.parts._worker
        orders: list[asyncio.Task[Ran]] = []

        def then_the_order(*args: Any) -> Any:
            worker = made(*args)
            orders.append(asyncio.create_task(lab.labrelay(verb, "destination", "server", *WHY)))
            return worker

        app.parts._worker = then_the_order  # type: ignore[method-assign]  # the moment after it is made
        between = app.parts.intake.between_messages

        @contextlib.asynccontextmanager
        async def after_the_order() -> AsyncIterator[None]:
            (ran,) = await asyncio.gather(*orders)
            assert ran.code == ExitCode.OK, ran.err
            async with between():
                yield

        app.parts.intake.between_messages = after_the_order  # type: ignore[method-assign]
        command = ("reload",) if by == "reload" else ("restart", "destination", "server", *WHY)
        ran = await lab.labrelay(*command)
        assert ran.code == ExitCode.OK, ran.err
        assert app.parts.delivery_workers["server"].paused is (verb == "pause")
        assert [pause.target.destination for pause in list_pauses(app.journal)] == (
            ["server"] if verb == "pause" else []
        )
        app.parts.intake.between_messages = between  # type: ignore[method-assign]


async def test_a_restarted_channel_takes_up_its_analyzer_again(lab: Lab) -> None:
    analyzer = lab.analyzer(0)
    async with running_app(lab.folder) as app:
        async with playing(analyzer):
            await until(lambda: len(analyzer.acked) > 5)
            ran = await lab.labrelay("restart", "channel", "c0", *WHY)
            assert (ran.code, ran.out.startswith("channel c0 was restarted")) == (ExitCode.OK, True)
            before = len(analyzer.acked)
            await until(lambda: len(analyzer.acked) > before + 5)
        assert acts_page(app.journal, limit=1)[0].verb == "restart"
        await until(lambda: whole(lab.server, analyzer))


async def test_a_tee_is_never_paused(lab: Lab) -> None:
    middleware, listen = quiet_ports(2)
    tee = {"analyzer": {"listen": f"127.0.0.1:{listen}"}, "middleware": {"connect": f"127.0.0.1:{middleware}"}}
    lab.write("channels/c0", {
        "channel": "c0", "source": {"kind": "mllp", "tee": tee}, "routes": [{"to": "server"}],
    })  # fmt: skip
    async with running_app(lab.folder):
        ran = await lab.labrelay("pause", "channel", "c0", *WHY)
    assert ran.code == ExitCode.REFUSED
    assert "cut the line" in ran.err


async def test_what_an_analyzer_would_lose_is_said_before_it_is_paused(lab: Lab) -> None:
    source = {"kind": "astm", "listen": f"127.0.0.1:{lab.ports[1]}", "acks": "none"}
    lab.write("channels/c1", {"channel": "c1", "source": source, "routes": [{"to": "server"}]})
    async with running_app(lab.folder):
        ran = await lab.labrelay("pause", "channel", "c1", *WHY, "--dry-run")
        assert "data that it sends meanwhile is lost" in ran.err
        assert "lost" not in (await lab.labrelay("pause", "channel", "c0", *WHY, "--dry-run")).err


# -- destinations and lanes ----------------------------------------------------------------------------------------


async def test_a_destination_paused_amid_retries_gets_not_one_more_request(lab: Lab) -> None:
    lab.server.mood = Mood.BUSY
    analyzers = [lab.analyzer(0), lab.analyzer(1)]
    async with running_app(lab.folder) as app:
        async with playing(*analyzers):
            await until(lambda: all(len(analyzer.acked) > 3 for analyzer in analyzers))
            worker = app.parts.delivery_workers["server"]
            await until(lambda: sum(worker.counts.failed.values()) > 20)
            ran = await lab.labrelay("pause", "destination", "server", *WHY, "--drain", "-o", "json")
            assert (ran.code, ran.json["drained"], ran.json["in_flight"]) == (ExitCode.OK, True, 0)
            before = sum(worker.counts.failed.values())
            lab.server.mood = Mood.WELL  # from here on each request would be seen
            # Messages are received, mapped and queued as ever.
            acked = [len(analyzer.acked) for analyzer in analyzers]
            await until(lambda: all(len(one.acked) > n + 5 for one, n in zip(analyzers, acked, strict=True)))
            assert (sum(worker.counts.failed.values()), dict(lab.server.keys)) == (before, {})
        site = look(app)
        (destination,) = site.destinations
        assert destination.state is DestinationState.PAUSED
        assert destination.paused is not None
        assert destination.paused.reason == "new firmware"
        assert destination.waiting > 0
        assert f"server paused by {destination.paused.by}, {destination.waiting} waiting" in {
            str(finding.phrase) for finding in site.findings() if finding.level is Level.ATTENTION
        }

        assert (await lab.labrelay("resume", "destination", "server", *WHY)).code == ExitCode.OK
        for analyzer in analyzers:
            await until(lambda analyzer=analyzer: whole(lab.server, analyzer))


async def test_a_paused_lane_waits_and_the_other_channel_goes_on(lab: Lab) -> None:
    first, second = lab.analyzer(0), lab.analyzer(1)
    async with running_app(lab.folder) as app:
        ran = await lab.labrelay("pause", "lane", "c0/server", *WHY)
        assert (ran.code, ran.out) == (ExitCode.OK, "lane c0/server is paused\n")
        async with playing(first, second):
            await until(lambda: len(first.acked) > 5 and len(second.acked) > 5)
        await until(lambda: whole(lab.server, second))
        assert 0 not in lab.server.arrived
        # A message is mapped after its answer: the last one may be on its way into the lane still.
        await until(lambda: look(app).channels[0].lanes[0].waiting >= len(first.acked))
        (lane,) = look(app).channels[0].lanes
        assert lane.paused is not None
        status = await lab.labrelay("status")
        assert "c0/server paused by" in status.out
        assert (await lab.labrelay("resume", "lane", "c0/server", *WHY)).code == ExitCode.OK
        await until(lambda: whole(lab.server, first))


async def test_a_restarted_destination_tries_at_once_what_waited_for_a_retry(lab: Lab) -> None:
    url = f"http://127.0.0.1:{lab.server.port}/in"
    slow = {"retry": {"first": "1h", "max": "1h"}, "breaker": {"failures": 1, "probe_after": "1h"}}
    lab.write("config/labrelay", {
        "site": {"name": "Lab", "timezone": "Asia/Kolkata"}, "web": {"enabled": False},
        "destinations": {"server": {"kind": "http", "url": url, **slow}},
    })  # fmt: skip
    lab.server.mood = Mood.BUSY
    analyzers = [lab.analyzer(0), lab.analyzer(1)]
    async with running_app(lab.folder) as app:
        async with playing(*analyzers):
            await until(lambda: all(len(analyzer.acked) > 3 for analyzer in analyzers))
        await until(lambda: app.parts.delivery_workers["server"].breaker.next_probe is not None)
        lab.server.mood = Mood.WELL
        assert (await lab.labrelay("restart", "destination", "server", *WHY)).code == ExitCode.OK
        for analyzer in analyzers:
            await until(lambda analyzer=analyzer: whole(lab.server, analyzer))


# -- how the commands answer ---------------------------------------------------------------------------------------


async def test_orders_are_counted_asked_for_and_given_once(lab: Lab) -> None:
    async with running_app(lab.folder) as app:
        tried = await lab.labrelay("pause", "destination", "server", "--reason", "x", "--dry-run", "-o", "json")
        assert (tried.json["changed"], tried.json["act"], tried.json["dry_run"]) == (True, None, True)
        unsure = await lab.labrelay("pause", "destination", "server", "--reason", "x")
        assert (unsure.code, "--yes" in unsure.err) == (ExitCode.REFUSED, True)
        assert list_pauses(app.journal) == []

        done = await lab.labrelay("pause", "destination", "server", *WHY, "-o", "json")
        assert (done.code, done.json["changed"]) == (ExitCode.OK, True)
        assert acts_page(app.journal, limit=1)[0].id == done.json["act"]
        again = await lab.labrelay("pause", "destination", "server", *WHY)
        assert (again.code, "was paused already by" in again.out, "new firmware" in again.out) == (0, True, True)
        assert (await lab.labrelay("restart", "destination", "server", *WHY)).code == ExitCode.REFUSED
        assert (await lab.labrelay("restart", "lane", "c0/server", *WHY)).code == ExitCode.REFUSED
        await lab.labrelay("resume", "destination", "server", *WHY)
        assert "was not paused" in (await lab.labrelay("resume", "destination", "server", *WHY)).out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("channel", "c9"), ExitCode.FAILED, "there is no channel c9; there are: c0, c1"),
        (("destination", "nowhere"), ExitCode.FAILED, "there are: server"),
        (("lane", "c0"), ExitCode.FAILED, "channel/destination"),
        (("lane", "c0/nowhere"), ExitCode.FAILED, "there is no lane c0/nowhere"),
        (("printer", "c0"), ExitCode.USAGE, "printer"),
    ],
)
async def test_a_name_that_is_none_is_told(lab: Lab, arguments: tuple[str, ...], code: ExitCode, said: str) -> None:
    async with running_app(lab.folder) as app:
        ran = await lab.labrelay("pause", *arguments, *WHY)
        assert ran.code == code
        assert said in ran.err
        assert (await lab.labrelay("pause", "channel", "c0", "--reason", " ", "--yes")).code == ExitCode.REFUSED
        assert (await lab.labrelay("pause", "channel", "c0", "--yes")).code == ExitCode.USAGE
        assert list_pauses(app.journal) == []


async def test_without_a_daemon_the_order_is_kept_for_its_next_start(lab: Lab) -> None:
    async with running_app(lab.folder):
        pass
    ran = await lab.labrelay("pause", "channel", "c0", *WHY, "-o", "json")
    assert (ran.code, ran.json["daemon"], ran.json["changed"]) == (ExitCode.OK, False, True)
    assert (await lab.labrelay("restart", "channel", "c0", *WHY)).code == ExitCode.UNREACHABLE
    assert (await lab.labrelay("pause", "destination", "server", *WHY, "--drain")).code == ExitCode.UNREACHABLE
    status = await lab.labrelay("status", "--offline")
    assert "channel c0" in status.out
    assert "new firmware" in status.out
    async with running_app(lab.folder) as app:
        assert set(app.parts.pauses) == {Target(channel="c0"), Target(destination="server")}
        assert await refused(lab.ports[0])


async def test_a_drain_that_takes_too_long_says_what_is_left(lab: Lab) -> None:
    lab.server.mood = Mood.BUSY
    analyzer = lab.analyzer(0)
    async with running_app(lab.folder) as app:
        async with playing(analyzer):
            await until(lambda: len(analyzer.acked) > 3)
        ran = await lab.labrelay("pause", "channel", "c0", *WHY, "--drain", "--within", "300ms", "-o", "json")
        assert ran.code == ExitCode.TIMEOUT
        assert ran.json["drained"] is False
        assert "waiting" in ran.err
        assert Target(channel="c0") in app.parts.pauses


# -- expected downtime ---------------------------------------------------------------------------------------------


async def test_a_destination_that_is_down_when_it_is_expected_to_be_is_shown_calmly(lab: Lab) -> None:
    now = datetime.now(ZoneInfo("Asia/Kolkata"))
    window = {name: f"{now + timedelta(hours=hours):%H:%M}" for name, hours in (("start", -2), ("end", 2))}
    destination = {"kind": "http", "url": f"http://127.0.0.1:{lab.server.port}/in", **QUICK}
    site = {"site": {"name": "Lab", "timezone": "Asia/Kolkata", "practice": True}, "web": {"enabled": False}}
    lab.write("config/labrelay", {**site, "destinations": {"server": {**destination, "expected_downtime": [window]}}})
    lab.server.mood = Mood.BUSY
    analyzer = lab.analyzer(0)
    async with running_app(lab.folder) as app:
        async with playing(analyzer):
            await until(lambda: len(analyzer.acked) > 3)
            await until(lambda: look(app).destinations[0].state is DestinationState.EXPECTED)
            (shown,) = look(app).destinations
            assert shown.expected_until is not None
            assert (shown.level, look(app).channels[0].level) == (Level.OK, Level.OK)
            begun_us = round((now.replace(second=0, microsecond=0) - timedelta(hours=2)).timestamp() * 1e6)
            assert (
                app.parts.delivery_workers["server"].downtime.spared_us(begun_us - 3_600_000_000, begun_us + 60_000_000)
                == 60_000_000
            )
            assert [finding.subject for finding in look(app).findings()] == ["c1"]  # which has no analyzer yet
            # A reload that takes the window out makes an alarm of it at once.
            lab.write("config/labrelay", {**site, "destinations": {"server": destination}})
            assert (await lab.labrelay("reload")).code == ExitCode.OK
            await until(lambda: look(app).destinations[0].state is DestinationState.RETRYING)
        lab.server.mood = Mood.WELL
        await until(lambda: whole(lab.server, analyzer))
