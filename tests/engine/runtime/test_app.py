"""The running site: its start and stop, its reload, and what it survives. On real sockets, in the test's own loop."""

import asyncio
import contextlib
import json
import random
import socket
import sqlite3
import ssl
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from cryptography import x509

from engine.commands.shared.output import ExitCode
from engine.features.access.service.service import AccessService
from engine.features.rework.rows import dismissal
from engine.model.errors import ConfigError, IntegrityError, LockedError, StoreError
from engine.model.journal.records import Target
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, Level
from engine.runtime import app as app_module
from engine.runtime.app import App
from engine.store.core.vault import KEY_NAME, make_kek
from engine.store.operations import append, pauses
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import messages_page, trace_of
from tests.engine.actions.test_pause_resume import playing
from tests.support.certificates import Authority
from tests.support.command_line import Ran, labrelay
from tests.support.failing_disk import FULL, IOERR_FSYNC, FailingDisk
from tests.support.journals import replaced
from tests.support.live import Analyzer, Mood, Server
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.waiting import until
from workbench.bench.messages import control_id, oru

QUICK = {"retry": {"first": "20ms", "max": "100ms"}, "breaker": {"probe_after": "50ms"}}
Json = dict[str, Any]


@dataclass
class Folder:
    """A site's folder that a test rewrites; its channels pass raw messages on to servers."""

    path: Path
    ports: dict[str, int]

    def write(self, destinations: Mapping[str, Json], channels: Mapping[str, Json], **site: Any) -> None:
        for name in ("config", "channels"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        for old in (self.path / "channels").iterdir():
            old.unlink()
        whole = {"site": {"name": "Lab", "timezone": "Asia/Kolkata"}, "web": {"enabled": False}, **site}
        (self.path / "config" / "labrelay.yaml").write_text(_plain({**whole, "destinations": dict(destinations)}))
        for name, more in channels.items():
            self.channel(name, **more)

    def channel(self, name: str, *, to: str = "server", port: int = 0, **more: Any) -> None:
        listen = f"127.0.0.1:{port or self.ports[name]}"
        text = {"channel": name, "source": {"kind": "mllp", "listen": listen}, "routes": [{"to": to}], **more}
        (self.path / "channels" / f"{name}.yaml").write_text(_plain(text))


def _plain(content: Json) -> str:
    """YAML without anchors."""
    return yaml.safe_dump(json.loads(json.dumps(content)))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site", dict(zip(("c0", "c1", "c2"), quiet_ports(3), strict=True)))


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def run(folder: Path) -> Ran:
    """`labrelay run` in a process of its own, where it ends by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "--site", str(folder), "run", stdout=PIPE, stderr=PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 240.0)
    return Ran(process.returncode or 0, out.decode(), err.decode())


def look(app: App) -> SiteSnapshot:
    """What is shown, without waiting for the next second."""
    return app.observer.take()


def http(to: Server, **more: Any) -> Json:
    return {"kind": "http", "url": f"http://127.0.0.1:{to.port}/in", **QUICK, **more}


def check(to: Server, *analyzers: Analyzer) -> None:
    """Each acknowledged message arrived, in order, under one delivery key."""
    for analyzer in analyzers:
        arrived = to.arrived[analyzer.channel]
        assert set(analyzer.acked) <= set(arrived)
        assert arrived == sorted(arrived)
    assert all(len(set(keys)) == 1 for keys in to.keys.values())


async def exchange(port: int, number: int = 1, channel: int = 0) -> bytes:
    """Send one message on a connection of its own; the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"\x0b" + oru(channel, number, random.Random(number)) + b"\x1c\r")
        return await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 240.0)
    finally:
        writer.close()


# -- start ---------------------------------------------------------------------------------------------------------


async def test_a_second_daemon_on_the_same_data_is_refused(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path):
            with pytest.raises(LockedError):
                async with running_app(folder.path):
                    pass
            ran = await run(folder.path)
            assert ran.code == ExitCode.UNREACHABLE
            assert b"MSA|AA" in await exchange(folder.ports["c0"])  # and the first one has not noticed


async def test_a_port_in_use_costs_its_channel_and_is_opened_once_it_is_free(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.model.process.back_off.FIRST_S", 0.02)
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}, "c1": {}})
        with socket.create_server(("127.0.0.1", folder.ports["c0"])):
            app = App(folder.path)
            running = running_app(folder.path)
            app = await running.__aenter__()
            states = {row.name: row for row in app.observer.snapshot().channels}
            assert states["c0"].state is ChannelState.FAULTED
            assert "in use" in states["c0"].fault
            assert any("in use" in obstacle for obstacle in app.observer.obstacles())
            assert b"MSA|AA" in await exchange(folder.ports["c1"])
        try:
            await until(lambda: app.parts.sources["c0"].port is not None)
            assert b"MSA|AA" in await exchange(folder.ports["c0"], 2)
            assert app.observer.obstacles() == []
        finally:
            await running.__aexit__(None, None, None)


async def test_a_wrong_or_missing_key_is_told_and_nothing_is_made_anew(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path):
            await exchange(folder.ports["c0"])
        key = folder.path / "var" / KEY_NAME
        right = key.read_bytes()
        key.unlink()
        with pytest.raises(ConfigError, match="missing"):
            async with running_app(folder.path):
                pass
        make_kek(folder.path / "var")
        with pytest.raises(IntegrityError, match="key"):
            async with running_app(folder.path):
                pass
        assert (await run(folder.path)).code == ExitCode.INTEGRITY
        key.write_bytes(right)
        async with running_app(folder.path) as app:
            assert app.journal.last_id == 1


async def test_a_data_folder_that_cannot_be_written_is_told(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}}, data="var/deeper")
        (folder.path / "var").write_text("this is no folder")
        with pytest.raises((StoreError, OSError)):
            async with running_app(folder.path):
                pass
        ran = await run(folder.path)
        assert ran.code not in {ExitCode.OK, ExitCode.CONFIG}
        assert "var" in ran.err


async def test_a_start_that_fails_half_way_leaves_nothing_running(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: App, *given: object) -> None:
        raise RuntimeError("ours")

    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        with monkeypatch.context() as patched:
            patched.setattr(App, "_start_page", fail)
            with pytest.raises(RuntimeError):
                async with running_app(folder.path):
                    pass
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", folder.ports["c0"])
        async with running_app(folder.path):  # lock, port and socket are free
            assert b"MSA|AA" in await exchange(folder.ports["c0"])


# -- stop ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop may give what is under way ten minutes: one that waits for what it must not wait for does not end."""
    for grace in ("STOP_SOURCES_S", "STOP_WORKERS_S", "STOP_INTAKE_S"):
        monkeypatch.setattr(app_module, grace, 600.0)


async def test_a_stop_under_load_ends_and_loses_nothing(folder: Folder, all_the_time: None) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}, "c1": {}})
        first, second = (Analyzer(number, folder.ports[f"c{number}"], "mllp") for number in (0, 1))
        async with playing(first, second):
            for _ in range(3):
                async with running_app(folder.path):
                    before = len(first.acked) + len(second.acked)
                    await until(lambda before=before: len(first.acked) + len(second.acked) > before + 20)
        async with running_app(folder.path) as app:
            await until(lambda: not any(view.stored for view in list_channels(app.journal)), 240.0)
            await until(lambda: not any(view.open for view in list_lanes(app.journal)), 240.0)
            trace = [trace_of(app.journal, view.id) for view in messages_page(app.journal, limit=10)]
            assert all(one is not None for one in trace)
        check(to, first, second)


async def test_a_stop_does_not_wait_for_a_destination_that_does_not_answer(folder: Folder) -> None:
    with _deaf() as port:
        dead = {"kind": "http", "url": f"http://127.0.0.1:{port}/", "timeout": "600s"}
        folder.write({"server": dead}, {"c0": {}})
        async with running_app(folder.path) as app:
            await exchange(folder.ports["c0"])
            await until(lambda: app.parts.delivery_workers["server"].attempts.in_flight == 1)
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path) as app:
            await until(lambda: to.arrived[0] == [1])
            trace = trace_of(app.journal, 1)
            assert trace is not None
            assert trace.deliveries[0].maybe_delivered


@contextlib.contextmanager
def _deaf() -> Iterator[int]:
    """A peer that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_an_idle_analyzer_does_not_hold_up_a_stop(folder: Folder, all_the_time: None) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        with contextlib.ExitStack() as crowd:
            async with running_app(folder.path) as app:
                for _ in range(20):
                    crowd.enter_context(socket.create_connection(("127.0.0.1", folder.ports["c0"])))
                await until(lambda: len(app.parts.sources["c0"].channel.connections) == 20)


# -- reload --------------------------------------------------------------------------------------------------------


async def test_a_bad_configuration_changes_nothing_and_says_why(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path) as app:
            reader, writer = await asyncio.open_connection("127.0.0.1", folder.ports["c0"])
            before = app.parts.built
            for text in ("channel: [", "channel: c0\nsource: {kind: mllp, listne: 1}\nroutes: []\n", "a: 1\na: 2\n"):
                (folder.path / "channels" / "c0.yaml").write_text(text)
                ran = await asyncio.to_thread(labrelay, "reload", site=folder.path)
                assert ran.code == ExitCode.CONFIG
                assert "c0.yaml" in ran.err
                assert app.parts.built is before
            writer.write(b"\x0b" + oru(0, 1, random.Random(1)) + b"\x1c\r")
            assert b"MSA|AA" in await reader.readuntil(b"\x1c\r")
            await until(lambda: to.arrived[0] == [1])
            writer.close()


async def test_a_reload_while_it_starts_waits_until_it_runs(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        app = App(folder.path)
        reload = asyncio.create_task(app.reload())
        await asyncio.sleep(0)  # it asks before the site is read
        running = asyncio.create_task(app.run(lambda up: folder.write({"server": http(to)}, {"c0": {}, "c1": {}})))
        try:
            async with asyncio.timeout(240.0):
                await reload
            assert set(app.parts.sources) == {"c0", "c1"}
        finally:
            app.stop()
            await running


async def test_what_needs_a_restart_is_refused(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path) as app:
            folder.write({"server": http(to)}, {"c0": {}}, data="elsewhere")
            with pytest.raises(ConfigError, match=r"data.*restart"):
                await app.reload()


async def test_what_takes_effect_at_the_next_start_only_is_said(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path):
            folder.write({"server": http(to)}, {"c0": {}}, web={"listen": "127.0.0.1:1"})
            ran = await asyncio.to_thread(labrelay, "reload", site=folder.path)
            assert ran.code == ExitCode.OK
            for key in ("enabled", "listen"):
                assert f"web: {key}: a change takes effect at the next start" in ran.err
            assert "web: tls" not in ran.err
            ran = await asyncio.to_thread(labrelay, "reload", site=folder.path)
            assert "web: listen" in ran.err, "it is said as long as it is so"


async def test_a_key_that_the_page_cannot_use_is_refused_as_check_refuses_it(folder: Folder, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    ours, other = authority.sign("ours"), authority.sign("other")
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path) as app:
            before = app.parts.built.site
            web = {"listen": "127.0.0.1:1", "tls": {"cert": str(ours.cert), "key": str(other.key)}}
            folder.write({"server": http(to)}, {"c0": {}}, web=web)
            ran = await asyncio.to_thread(labrelay, "reload", site=folder.path)
            checked = await asyncio.to_thread(labrelay, "check", site=folder.path)
            assert ran.code == ExitCode.CONFIG
            assert app.parts.built.site is before
    (line,) = [line for line in checked.out.splitlines() if "web.tls.key" in line]
    assert f"{other.key} is not the key of {ours.cert}" in line
    assert line in ran.err


async def test_what_the_page_follows_at_once(folder: Folder) -> None:
    (port,) = quiet_ports(1)
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}}, web={"listen": f"127.0.0.1:{port}"})
        async with running_app(folder.path) as app, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            named = {"headers": {"Host": "page.lab.example"}}
            async with client.get("/healthz", **named) as answer:
                assert answer.status == 421
            await app.service(AccessService).accounts.users.add("asha", "viewer", "correct horse battery", by="root")
            more = {"listen": f"127.0.0.1:{port}", "names": "page.lab.example", "idle": "1m", "session": "5m"}
            folder.write({"server": http(to)}, {"c0": {}}, web=more, access={"second_factor": "required"})
            ran = await asyncio.to_thread(labrelay, "reload", site=folder.path)
            assert (ran.code, "next start" in ran.err) == (ExitCode.OK, False)
            async with client.get("/healthz", **named) as answer:
                assert answer.status == 200
            done = await app.service(AccessService).accounts.log_in(
                "asha", "correct horse battery", address="127.0.0.1"
            )
            found = await app.service(AccessService).accounts.principal_of_session(done.secret, address="127.0.0.1")
            assert found is not None
            assert found.first == "second-factor"
            assert 0 < found.latest_us - app.clock.now_us() <= 300e6
            assert 0 < found.ends_us - app.clock.now_us() <= 60e6


async def test_what_did_not_change_keeps_its_connections(folder: Folder) -> None:
    """Channel c0 stays, c1 moves to another port, c2 goes, its messages wait, and the destination moves."""
    (elsewhere,) = quiet_ports(1)
    async with server() as old, server() as new:
        folder.write({"server": http(old)}, {"c0": {}, "c1": {}, "c2": {}})
        async with running_app(folder.path) as app:
            reader, writer = await asyncio.open_connection("127.0.0.1", folder.ports["c0"])
            for number in range(3):
                await exchange(folder.ports[f"c{number}"], 1, number)
            await until(lambda: old.arrived == {0: [1], 1: [1], 2: [1]})
            folder.write({"server": http(new)}, {"c0": {"description": "new"}, "c1": {"port": elsewhere}})
            ran = await asyncio.to_thread(labrelay, "reload", site=folder.path)
            assert ran.code == ExitCode.OK, ran.err
            writer.write(b"\x0b" + oru(0, 2, random.Random(2)) + b"\x1c\r")
            assert b"MSA|AA" in await reader.readuntil(b"\x1c\r")
            assert b"MSA|AA" in await exchange(elsewhere, 2, 1)
            for gone in (folder.ports["c1"], folder.ports["c2"]):
                with pytest.raises(OSError):
                    await asyncio.open_connection("127.0.0.1", gone)
            await until(lambda: new.arrived == {0: [2], 1: [2]})
            assert sorted(app.parts.sources) == ["c0", "c1"]
            assert old.arrived == {0: [1], 1: [1], 2: [1]}
            writer.close()


@pytest.mark.parametrize("what", ["changed", "taken away", "stopped"])
async def test_a_half_message_that_could_not_be_stored_outlasts_its_channel_or_is_said_to_be_lost(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Its sender may never send it again."""
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}, "c1": {}})
        async with running_app(folder.path) as app:
            is_full = True

            def full(run: Any, *given: Any, **named: Any) -> Any:
                if is_full:
                    raise StoreError("the journal cannot keep this: SQLITE_FULL: database or disk is full")
                return run(*given, **named)

            replaced(monkeypatch, app.journal, append.store_incomplete, by=full)
            _, writer = await asyncio.open_connection("127.0.0.1", folder.ports["c0"])
            writer.write(b"\x0bMSH|^~\\&|A|L|R|L|20260301101530||ORU^R01|1|P|2.5\rOBX|1|NM|718-7||13")
            await writer.drain()
            writer.close()
            await until(lambda: app.parts.sources["c0"].channel.unkept.waiting_bytes > 0)
            if what != "stopped":
                kept = {"c0": {"repeat_window": "2h"}} if what == "changed" else {}
                folder.write({"server": http(to)}, {"c1": {}, **kept})
                await app.reload()
            if what == "changed":
                is_full = False
                assert b"MSA|AA" in await exchange(folder.ports["c0"])
                (letter,) = dead_letters(app.journal)
                assert (letter.state, letter.channel) == ("incomplete", "c0")
    assert ("could not store is lost" in caplog.text) is (what != "changed")


async def test_a_destination_that_is_taken_away_leaves_its_deliveries_waiting_and_shown(folder: Folder) -> None:
    async with server() as to:
        to.mood = Mood.BUSY
        folder.write({"server": http(to), "other": http(to)}, {"c0": {"to": "other"}})
        async with running_app(folder.path) as app:
            await exchange(folder.ports["c0"])
            await until(lambda: app.parts.delivery_workers["other"].counts.failed.total() > 0)
            folder.write({"server": http(to)}, {"c0": {}})
            await app.reload()
            assert sorted(app.parts.delivery_workers) == ["server"]
            (note,) = [note for note in look(app).notes if "other" in note]
            assert "1" in note
            to.mood = Mood.WELL
            folder.write({"server": http(to), "other": http(to)}, {"c0": {}})
            await app.reload()
            await until(lambda: to.arrived[0] == [1])
            assert not [note for note in look(app).notes if "other" in note]


async def test_a_reload_takes_up_renewed_certificates(folder: Folder, tmp_path: Path) -> None:
    """The files have the same names as before; channels without TLS keep their connections."""
    authority = Authority(tmp_path / "pem")
    pair = authority.sign("lab")

    async def serial_number() -> int:
        context = ssl.create_default_context(cafile=authority.ca)
        _, writer = await asyncio.open_connection("127.0.0.1", folder.ports["c0"], ssl=context)
        try:
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return x509.load_der_x509_certificate(certificate).serial_number
        finally:
            writer.close()

    async with server() as to:
        source = {"kind": "mllp", "listen": f"127.0.0.1:{folder.ports['c0']}"}
        secured = {**source, "tls": {"cert": str(pair.cert), "key": str(pair.key)}}
        folder.write({"server": http(to)}, {"c0": {"source": secured}, "c1": {}})
        async with running_app(folder.path) as app:
            before = await serial_number()
            _, writer = await asyncio.open_connection("127.0.0.1", folder.ports["c1"])
            await until(lambda: len(app.parts.sources["c1"].channel.connections) == 1)
            await app.reload()
            assert await serial_number() == before
            authority.sign("lab")
            await app.reload()
            assert await serial_number() != before
            assert len(app.parts.sources["c1"].channel.connections) == 1
            writer.close()


async def test_fifty_reloads_under_load_lose_nothing(folder: Folder) -> None:
    rng = random.Random(1)
    async with server() as to:
        destinations = {"server": http(to)}
        folder.write(destinations, {"c0": {}, "c1": {}})
        first, second = (Analyzer(number, folder.ports[f"c{number}"], "mllp") for number in (0, 1))
        async with running_app(folder.path) as app:
            async with playing(first, second):
                for number in range(50):
                    to.mood = rng.choice([Mood.WELL, Mood.WELL, Mood.BUSY, Mood.LOST])
                    change = rng.choice(["destination", "channel", "both", "routes"])
                    if change in ("destination", "both"):
                        destinations = {"server": http(to, timeout=f"{5 + number}s")}
                    window = {"repeat_window": f"{number % 20 + 1}h"} if change in ("channel", "both") else {}
                    order = {"routes": [{"to": "server", "on_dead": rng.choice(["hold", "continue"])}]}
                    folder.write(destinations, {"c0": {**window, **order}, "c1": {}})
                    before = len(second.acked)
                    await app.reload()
                    await until(lambda before=before: len(second.acked) > before, 240.0)
                to.mood = Mood.WELL
            await until(lambda: not any(view.open for view in list_lanes(app.journal)), 240.0)
            assert all(view.stored == view.dead == 0 for view in list_channels(app.journal))
        check(to, first, second)
        assert min(len(first.acked), len(second.acked)) > 20


# -- what is shown -------------------------------------------------------------------------------------------------


async def test_a_journal_that_cannot_keep_anything_is_an_alarm(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path) as app:

            def full(*_: object, **__: object) -> None:
                raise StoreError("the journal cannot keep this: SQLITE_FULL: database or disk is full")

            with monkeypatch.context() as patched:
                replaced(patched, app.journal, append.store_message, by=full)
                with pytest.raises(asyncio.IncompleteReadError):
                    await exchange(folder.ports["c0"])
                assert any("full" in alarm for alarm in look(app).alarms)
                assert any("full" in obstacle for obstacle in app.observer.obstacles())
                (row,) = look(app).channels
                assert (row.state, row.level) == (ChannelState.REFUSING, Level.PROBLEM)
            assert b"MSA|AA" in await exchange(folder.ports["c0"])
            assert look(app).alarms == ()
            assert [row.state for row in look(app).channels] == [ChannelState.RECEIVING]
            assert app.observer.obstacles() == []


async def test_a_message_that_was_broken_off_is_shown_until_a_person_has_decided(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path) as app:
            _, writer = await asyncio.open_connection("127.0.0.1", folder.ports["c0"])
            writer.write(b"\x0bMSH|^~\\&|A|L|R|L|20260301101530||ORU^R01|1|P|2.5\rOBX|1|NM|718-7||13")
            await writer.drain()
            writer.close()
            await until(lambda: look(app).incomplete_total == 1)
            site = look(app)
            assert [(row.incomplete, row.level) for row in site.channels] == [(1, Level.ATTENTION)]
            assert "Incomplete messages: 1" in [str(found.phrase) for found in site.findings()]
            app.observer.expire()
            ran = await asyncio.to_thread(labrelay, "status", site=folder.path)
            assert ran.code == 0  # the daemon answered, however the site is
            assert "Incomplete messages: 1" in ran.out
            assert "INCOMPLETE" in ran.out
            assert "labrelay dlq list" in ran.out
            (letter,) = dead_letters(app.journal)
            await app.journal.run(dismissal.dismiss, messages=[letter.message_id], actor="anita", reason="came again")
            site = look(app)
            assert (site.incomplete_total, site.channels[0].incomplete) == (0, 0)
            app.observer.expire()
            ran = await asyncio.to_thread(labrelay, "status", site=folder.path)
            assert "INCOMPLETE" not in ran.out.upper()


async def test_a_disk_that_is_full_beneath_deliveries_is_an_alarm_until_a_write_succeeds(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path) as app:
            assert b"MSA|AA" in await exchange(folder.ports["c0"])
            await until(lambda: not any(view.open for view in list_lanes(app.journal)))
            connection = app.journal._connection
            assert connection is not None
            disk = FailingDisk(connection, lambda file, what: FULL if what == "write" else 0)
            lane = Target(channel="c0", destination="server")
            with pytest.raises(StoreError):
                await app.journal.run(pauses.pause, lane, actor="anita", reason="test")
            site = look(app)
            assert any("nothing can be stored" in alarm for alarm in site.alarms)
            assert (site.journal.writable, site.journal.integrity) == (False, "ok")
            assert [row.state for row in site.channels] == [ChannelState.REFUSING]  # a message would not be kept either
            assert any("nothing can be stored" in obstacle for obstacle in app.observer.obstacles())
            disk.decide = lambda file, what: 0
            await app.journal.run(pauses.pause, lane, actor="anita", reason="test")
            assert look(app).alarms == ()
            assert look(app).journal.writable
            assert app.observer.obstacles() == []
            disk.restore()


async def test_a_journal_that_cannot_be_read_is_not_ready(folder: Folder) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}})
        async with running_app(folder.path) as app:
            execute = sqlite3.connect(folder.path / "var" / "journal.db", isolation_level=None).execute
            execute("ALTER TABLE counter RENAME TO elsewhere")
            site = look(app)
            assert any("cannot be read" in obstacle for obstacle in app.observer.obstacles())
            assert "cannot be read" in site.journal.integrity
            assert any("cannot be read" in alarm for alarm in site.alarms)
            execute("ALTER TABLE elsewhere RENAME TO counter").connection.close()
            assert look(app).journal.integrity == "ok"
            assert app.observer.obstacles() == []


async def test_delivered_today_is_what_reached_every_destination(folder: Folder) -> None:
    def delivered(app: App) -> dict[str, int]:
        return {lane.destination: lane.delivered_today for lane in look(app).channels[0].lanes}

    async with server() as to, server() as slow:
        slow.mood = Mood.BUSY
        routes = {"routes": [{"to": ["server", "slow"]}, {"to": "never", "when": "=MSH-9.1 == 'ADT'"}]}
        folder.write({"server": http(to), "slow": http(slow), "never": http(to)}, {"c0": routes})
        async with running_app(folder.path) as app:
            assert b"MSA|AA" in await exchange(folder.ports["c0"], 1)
            await until(lambda: delivered(app) == {"server": 1, "slow": 0, "never": 0})
            assert look(app).channels[0].today_delivered == 0
            slow.mood = Mood.WELL
            await until(lambda: look(app).channels[0].today_delivered == 1)
            assert delivered(app) == {"server": 1, "slow": 1, "never": 0}


async def test_messages_of_two_routes_are_counted_and_a_replay_takes_none_back(folder: Folder) -> None:
    async with server() as to, server() as new:
        routes = [
            {"to": "second", "when": f"=MSH-10 == '{control_id(0, 2)}'"},
            {"to": "server", "when": f"=MSH-10 != '{control_id(0, 2)}'"},
            {"to": "new", "when": "=MSH-9.1 == 'ADT'"},
        ]
        folder.write({"server": http(to), "second": http(to), "new": http(new)}, {"c0": {"routes": routes}})
        async with running_app(folder.path) as app:
            for number in range(1, 5):
                assert b"MSA|AA" in await exchange(folder.ports["c0"], number)
            await until(lambda: look(app).channels[0].today_delivered == 4)
            assert sorted(lane.delivered_today for lane in look(app).channels[0].lanes) == [0, 1, 3]
            new.mood = Mood.BUSY
            asked = ("replay", "--all", "--channel", "c0", "--to", "new", "--yes")
            replay = asyncio.create_task(asyncio.to_thread(labrelay, *asked, site=folder.path))
            await until(lambda: sum(lane.waiting for lane in look(app).channels[0].lanes) > 0)
            assert (look(app).channels[0].today_received, look(app).channels[0].today_delivered) == (4, 4)
            new.mood = Mood.WELL
            assert (await replay).code == ExitCode.OK
            await until(lambda: [lane.delivered_today for lane in look(app).channels[0].lanes].count(4) == 1)
            assert look(app).channels[0].today_delivered == 4


# -- ack: on_delivery ----------------------------------------------------------------------------------------------


async def test_an_answer_can_wait_for_the_destination(folder: Folder) -> None:
    async with server() as to:
        waits = {"ack": "on_delivery", "ack_timeout": "60s"}
        folder.write({"server": http(to)}, {"c0": waits, "c1": {**waits, "ack_timeout": "1s"}})
        async with running_app(folder.path) as app:
            assert b"MSA|AA" in await exchange(folder.ports["c0"], 1)
            assert to.arrived[0] == [1]
            to.refuse.add((0, 2))
            assert b"MSA|AE" in await exchange(folder.ports["c0"], 2)
            to.mood = Mood.BUSY
            assert b"MSA|AE" in await exchange(folder.ports["c1"], 3, channel=1)
            to.mood = Mood.WELL
            while b"MSA|AA" not in await exchange(folder.ports["c1"], 3, channel=1):  # sent again: a repeat
                pass
            assert (to.arrived[0], to.arrived[1]) == ([1], [3])
            assert len(to.keys[1, 3]) == 1
            assert len(app.parts.outcomes) == 0


# -- the one exception to staying up -------------------------------------------------------------------------------


async def test_after_a_failed_sync_the_site_ends_at_once_and_answers_nobody(folder: Folder, all_the_time: None) -> None:
    async with server() as to:
        folder.write({"server": http(to)}, {"c0": {}, "c1": {"on_store_fault": "ae"}})
        app = App(folder.path)
        up = asyncio.Event()
        running = asyncio.create_task(app.run(lambda _: up.set()))
        await up.wait()
        assert b"MSA|AA" in await exchange(folder.ports["c0"], 1)
        assert app.journal._connection is not None
        FailingDisk(app.journal._connection, lambda file, what: IOERR_FSYNC if what == "sync" else 0)
        for number, name in ((2, "c0"), (3, "c1")):
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                assert b"MSA|AA" not in await exchange(folder.ports[name], number)
        with pytest.raises(StoreError) as failure:
            await asyncio.wait_for(running, 240.0)
        assert failure.value.fatal
        assert app.parts.sources["c0"].channel.counts.messages == 1
