"""The real daemon under attack: a full disk, crowds of connections, noise on every port, blocks without end."""

import asyncio
import contextlib
import operator
import random
import re
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.store.integrity.verify import run as verify
from tests.support.live import Analyzer, Daemon, Server
from tests.support.waiting import until
from workbench.bench.messages import control_id, oru

HOST = "127.0.0.1"
MiB = 1024 * 1024


@asynccontextmanager
async def running(tmp_path: Path, *protocols: str, limits: str = "") -> AsyncIterator[tuple[Daemon, Server]]:
    server = Server()
    await server.start()
    daemon = Daemon(
        tmp_path / "site",
        list(protocols),
        f'{{kind: http, url: "http://{HOST}:{server.port}/", retry: {{first: 50ms, max: 200ms}}}}',
        mapped=False,
    )
    if limits:
        for file in (daemon.folder / "channels").iterdir():
            file.write_text(re.sub(r"source: \{", "source: {" + limits + ", ", file.read_text()))
    await daemon.start()
    try:
        yield daemon, server
    finally:
        if daemon._process is not None and daemon._process.returncode is None:
            await daemon.kill()
        await server.stop()


async def exchange(port: int, number: int, *, channel: int = 0) -> bytes:
    """Send one message on a connection of its own; its answer, or nothing where the connection is closed."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(b"\x0b" + oru(channel, number, random.Random(number)) + b"\x1c\r")
        return await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 240.0)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    finally:
        writer.close()


async def status(daemon: Daemon) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{HOST}:{daemon.web_port}/status.json") as answer,
    ):
        found: dict[str, Any] = await answer.json()
        return found


async def shown(daemon: Daemon, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the page shows it: what it shows is up to a second old."""
    async with asyncio.timeout(240.0):
        while not condition(await status(daemon)):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.05)


async def refused_again(daemon: Daemon) -> None:
    """Wait until each channel has once more been unable to store something."""

    def refusals(found: dict[str, Any]) -> list[int]:
        return [row["link_faults"].get("not-stored", 0) for row in found["channels"]]

    before = refusals(await status(daemon))
    await shown(daemon, lambda found: all(map(operator.gt, refusals(found), before)))


def rss(daemon: Daemon) -> int:
    """Bytes."""
    text = Path(f"/proc/{daemon.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


# -- a full disk ---------------------------------------------------------------------------------------------------


async def test_while_the_disk_is_full_nothing_is_acknowledged_and_then_all_goes_on(tmp_path: Path) -> None:
    """No file of the daemon may grow any more, as on a full disk (EFBIG in place of ENOSPC)."""
    async with running(tmp_path, "mllp", "astm") as (daemon, server):
        analyzers = [Analyzer(n, daemon.port_of[n], kind, pause_s=0.02) for n, kind in enumerate(("mllp", "astm"))]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        await until(lambda: all(len(analyzer.acked) > 5 for analyzer in analyzers), 240.0)
        for _ in range(2):
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            # An analyzer sends one at a time: once one of its messages is refused, no answer to others is under way.
            await refused_again(daemon)
            held = [len(analyzer.acked) for analyzer in analyzers]
            await shown(daemon, lambda found: any("stored" in alarm for alarm in found["alarms"]))
            await refused_again(daemon)
            assert [len(analyzer.acked) for analyzer in analyzers] == held
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await until(
                lambda held=held: all(len(a.acked) > n + 5 for a, n in zip(analyzers, held, strict=True)), 240.0
            )
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        await until(lambda: all(set(a.acked) <= set(server.arrived[a.channel]) for a in analyzers), 240.0)
        assert all(server.arrived[a.channel] == sorted(server.arrived[a.channel]) for a in analyzers)
        assert all(len(set(keys)) == 1 for keys in server.keys.values())
        assert await daemon.terminate() == 0
        assert verify(daemon.folder / "var", deep=True) == []


# -- stopping ------------------------------------------------------------------------------------------------------


async def test_sigterm_under_load_ends_in_order_and_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, "mllp", "astm") as (daemon, server):
        analyzers = [Analyzer(n, daemon.port_of[n], kind, pause_s=0.02) for n, kind in enumerate(("mllp", "astm"))]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        for _ in range(2):
            before = [len(analyzer.acked) for analyzer in analyzers]
            await until(
                lambda before=before: all(len(a.acked) > n + 5 for a, n in zip(analyzers, before, strict=True)), 20.0
            )
            assert await daemon.terminate() == 0
            await daemon.start()
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        await until(lambda: all(set(a.acked) <= set(server.arrived[a.channel]) for a in analyzers), 240.0)
        assert all(server.arrived[a.channel] == sorted(server.arrived[a.channel]) for a in analyzers)
        assert all(len(set(keys)) == 1 for keys in server.keys.values())


# -- crowds --------------------------------------------------------------------------------------------------------


async def test_crowds_of_useless_connections_do_not_keep_an_analyzer_out(tmp_path: Path) -> None:
    """500 that say nothing and 100 that say a byte now and then; the analyzer tries again as analyzers do."""
    async with running(tmp_path, "mllp") as (daemon, _):
        with contextlib.ExitStack() as crowd:
            slow = []
            for number in range(600):
                one = crowd.enter_context(socket.create_connection((HOST, daemon.port_of[0]), timeout=60.0))
                one.setblocking(False)
                if number % 6 == 0:
                    slow.append(one)
            answer, tries = b"", 0
            async with asyncio.timeout(240.0):
                while b"MSA|AA" not in answer:
                    for one in slow:
                        with contextlib.suppress(OSError):
                            one.send(b"\x0b"[: tries + 1] or b"M")
                    answer = await exchange(daemon.port_of[0], 1)
                    tries += 1
                    await asyncio.sleep(0.2)
            (row,) = (await status(daemon))["channels"]
            assert len(row["connections"]) <= 32
        lines = daemon.log.read_text().splitlines()
        assert len(lines) < 60  # one crowd is no reason to fill a log


@pytest.mark.promise("daemon")
async def test_running_out_of_files_costs_newcomers_and_not_those_who_work(tmp_path: Path) -> None:
    async with running(tmp_path, "mllp", limits="max_connections: 1000") as (daemon, server):
        reader, writer = await asyncio.open_connection(HOST, daemon.port_of[0])
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (64, 64))
        with contextlib.ExitStack() as crowd:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    crowd.enter_context(socket.create_connection((HOST, daemon.port_of[0]), timeout=60.0))
            for number in range(1, 6):  # a message needs files, too: for reading the journal, and for the server
                writer.write(b"\x0b" + oru(0, number, random.Random(number)) + b"\x1c\r")
                assert b"MSA|AA" in await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 240.0)
            await until(lambda: server.arrived[0] == [1, 2, 3, 4, 5])
            assert (await status(daemon))["channels"]
        async with asyncio.timeout(240.0):
            while b"MSA|AA" not in await exchange(daemon.port_of[0], 6):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        writer.close()
        assert len(daemon.log.read_text().splitlines()) < 60


async def test_a_peer_that_never_reads_costs_its_connection_only(tmp_path: Path) -> None:
    """Its answers pile up until no more fit; then nothing more is read of it, and so nothing more stored."""
    async with running(tmp_path, "mllp") as (daemon, _):
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((HOST, daemon.port_of[0]))
            deaf.setblocking(False)
            waiting, number, stuck = b"", 0, 0
            while stuck < 50:
                if not waiting:
                    number += 1
                    batch = b"".join(oru(0, 100 * number + n, random.Random(n))[:130] + b"\r" for n in range(100))
                    waiting = b"\x0bBHS|^~\\&|A|B|C|D\r" + batch + b"BTS|100\r\x1c\r"
                try:
                    waiting = waiting[deaf.send(waiting) :]
                    stuck = 0
                except BlockingIOError:
                    stuck += 1
                    await asyncio.sleep(0.01)
            assert b"MSA|AA" in await exchange(daemon.port_of[0], 99_999)
            assert rss(daemon) < 200 * MiB
            assert await daemon.terminate() == 0


# -- noise ---------------------------------------------------------------------------------------------------------


async def _pour(port: int, content: bytes, chunk: int) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            for at in range(0, len(content), chunk):
                writer.write(content[at : at + chunk])
                await asyncio.wait_for(writer.drain(), 2.0)
            writer.write_eof()
            while await asyncio.wait_for(reader.read(65536), 2.0):
                pass
        finally:
            writer.close()


def _noise(rng: random.Random) -> bytes:
    """Anything at all, or something that begins well."""
    size = rng.choice([1, 10, 1000, 20_000])
    plain = rng.randbytes(size)
    control = bytes(rng.choice(b"\x00\x02\x03\x04\x05\x06\x0b\x0d\x0a\x15\x17\x1c|^&~\\MSHLPOR1") for _ in range(size))
    message = bytearray(b"\x0b" + oru(7, rng.randrange(10**6), rng) + b"\x1c\r")
    for _ in range(rng.randrange(30)):
        message[rng.randrange(len(message))] = rng.randrange(256)
    framed = b"\x05\x021H|\\^&|||" + plain + b"\x03" + b"00\r\n\x04"
    return rng.choice(
        [plain, control, bytes(message), framed, b"\x0b" + plain + b"\x1c\r", b"GET / HTTP/1.1\r\n" + control]
    )


async def test_noise_on_every_port_costs_nobody_else_anything(tmp_path: Path) -> None:
    rng = random.Random(2026)
    async with running(tmp_path, "mllp", "astm", "mllp") as (daemon, server):
        analyzers = [Analyzer(n, daemon.port_of[n], kind, pause_s=0.1) for n, kind in enumerate(("mllp", "astm"))]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        await until(lambda: all(len(analyzer.acked) > 3 for analyzer in analyzers), 240.0)
        before = rss(daemon)
        ports = [*daemon.port_of.values(), daemon.web_port]
        for _ in range(15):
            noise = [_pour(rng.choice(ports), _noise(rng), rng.choice([1, 7, 512, 65_536])) for _ in range(12)]
            await asyncio.wait_for(asyncio.gather(*noise), 240.0)
        held = [len(analyzer.acked) for analyzer in analyzers]
        await until(lambda: all(len(a.acked) > n + 3 for a, n in zip(analyzers, held, strict=True)), 240.0)
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        await until(lambda: all(set(a.acked) <= set(server.arrived[a.channel]) for a in analyzers), 240.0)
        assert rss(daemon) - before < 60 * MiB
        found = await status(daemon)
        assert found["alarms"] == []
        assert found["task_restarts"] == {}
        assert await daemon.terminate() == 0
        log = daemon.log.read_text()
        ours = [line for line in log.splitlines() if '"logger":"labrelay.' in line]
        assert not [line for line in ours if '"error":[' in line]
        assert control_id(7, 1)[:4] not in log
        assert verify(daemon.folder / "var", deep=True) == []


@pytest.mark.parametrize("protocol", ["mllp", "astm"])
async def test_a_block_without_end_is_cut_and_the_memory_with_it(tmp_path: Path, protocol: str) -> None:
    async with running(tmp_path, protocol, limits="max_message: 4MiB") as (daemon, _):
        before = rss(daemon)
        begin = b"\x0bMSH|^~\\&|" if protocol == "mllp" else b"\x05\x021H|\\^&|"
        peaks = []

        async def watch() -> None:
            while True:
                peaks.append(rss(daemon))
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(_pour(daemon.port_of[0], begin + b"x" * (48 * MiB), 65_536) for _ in range(2)))
        watching.cancel()
        assert max(peaks) - before < 2 * 2 * 4 * MiB + 24 * MiB
        if protocol == "mllp":
            assert b"MSA|AA" in await exchange(daemon.port_of[0], 1)
            await shown(daemon, lambda found: bool(found["channels"][0]["link_faults"]))
        assert await daemon.terminate() == 0


async def test_many_blocks_without_end_share_one_memory(tmp_path: Path) -> None:
    """Each is smaller than a message may be; together they are far larger than what may be held."""
    async with running(tmp_path, "mllp", limits="max_message: 16MiB") as (daemon, _):
        before = rss(daemon)
        peaks = []

        async def watch() -> None:
            while True:
                peaks.append(rss(daemon))
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        opened = [await asyncio.open_connection(HOST, daemon.port_of[0]) for _ in range(16)]
        try:
            for _ in range(12):
                for _, writer in opened:
                    with contextlib.suppress(OSError):
                        writer.write(b"\x0bMSH|^~\\&|" + b"x" * MiB)
                        await asyncio.wait_for(writer.drain(), 5.0)
            await shown(daemon, lambda found: found["channels"][0]["link_faults"].get("memory", 0) > 0)
            assert b"MSA|AA" in await exchange(daemon.port_of[0], 1)
        finally:
            for _, writer in opened:
                writer.close()
        watching.cancel()
        assert max(peaks) - before < 64 * MiB + 3 * 12 * MiB + 24 * MiB  # what is cut is copied, packed and sealed
        assert await daemon.terminate() == 0
