"""Peers that keep a connection for themselves: a byte now and then (T14), a message without an end (T15).

The real daemon in a process of its own.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store.integrity.verify import run as verify
from tests.faults.harness.tally import percentile
from tests.faults.harness.trial import Trial
from tests.faults.test_daemon import HOST, MiB, rss, running, shown, status
from workbench.bench.messages import oru

VT, END = b"\x0b", b"\x1c\r"
FIXED = 24 * MiB  # what any daemon grows by in its first seconds of work


async def exchange_timed(port: int, number: int) -> float:
    """Seconds for one message of an analyzer with a connection of its own; it must be served at once."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(VT + oru(0, number, random.Random(number)) + END)
    answer = await asyncio.wait_for(reader.readuntil(END), 240.0)
    writer.close()
    assert b"MSA|AA" in answer
    return loop.time() - began


async def test_peers_that_trickle_are_cut_at_their_deadline_and_analyzers_are_served(
    tmp_path: Path, trial: Trial
) -> None:
    """Each has a place and sends a byte now and then; 60 s after its first one a message must be whole."""
    crowd = trial.goal(quick=500, long=500, unit="connections")
    deadline_s, between_s = (4.0, 0.5) if trial.scale == "quick" else (60.0, 10.0)
    limits = f"max_connections: {crowd + 50}, block_timeout: {deadline_s:.0f}s"
    async with running(tmp_path, "mllp", limits=limits) as (daemon, _):
        loop = asyncio.get_running_loop()
        before, served = rss(daemon), 0
        waits: list[float] = []
        with contextlib.ExitStack() as opened:
            peers = []
            for _ in range(crowd):
                peer = opened.enter_context(socket.create_connection((HOST, daemon.port_of[0]), timeout=10.0))
                peer.setblocking(False)
                peers.append(peer)
            began = loop.time()
            message, at = VT + oru(9, 1, random.Random(1)), 0
            while loop.time() < began + deadline_s + between_s + 2.0:
                due = began + at * between_s
                if loop.time() >= due:
                    for peer in peers:
                        with contextlib.suppress(OSError):
                            peer.send(message[at : at + 1])
                    at += 1
                served += 1
                waits.append(await exchange_timed(daemon.port_of[0], served))
                await asyncio.sleep(0.1)
            grown = rss(daemon) - before
            await shown(daemon, lambda found: found["channels"][0]["link_faults"].get("block-timeout") == crowd)
            await shown(daemon, lambda found: not found["channels"][0]["connections"])
        assert grown < FIXED + crowd * 64 * 1024
        assert await daemon.terminate() == 0
        assert len(daemon.log.read_text().splitlines()) < 100  # a crowd is no reason to fill a log
        assert verify(daemon.folder / "var", deep=True) == []
    trial.figures(
        served=served, answer_p50_ms=round(percentile(waits, 0.5) * 1000), answer_max_ms=round(max(waits) * 1000),
        grown_mib=round(grown / MiB, 1),
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["mllp", "astm"])
async def test_a_stream_without_an_end_takes_no_more_than_a_message_may(
    tmp_path: Path, trial: Trial, protocol: str
) -> None:
    """A sender that never ends its message and comes back whenever it is cut off."""
    total = trial.goal(quick=48, long=1024, unit=f"MiB over {protocol}") * MiB
    cap = 4 * MiB
    begin = b"\x0bMSH|^~\\&|" if protocol == "mllp" else b"\x05\x021H|\\^&|"
    async with running(tmp_path, protocol, limits="max_message: 4MiB") as (daemon, _):
        before, peaks = rss(daemon), [0]
        watching = asyncio.create_task(_watch(lambda: rss(daemon), peaks))
        sent = connections = 0
        while sent < total:
            connections += 1
            sent += await _pour(daemon.port_of[0], begin, total - sent)
        watching.cancel()
        grown = max(peaks) - before
        assert grown < 2 * cap + FIXED
        assert (await status(daemon))["task_restarts"] == {}
        if protocol == "mllp":
            await shown(daemon, lambda found: found["channels"][0]["link_faults"].get("too-large", 0) > 0)
            await exchange_timed(daemon.port_of[0], 1)
        assert await daemon.terminate() == 0
        assert verify(daemon.folder / "var", deep=True) == []
    trial.figures(grown_mib=round(grown / MiB, 1), connections=connections)


async def _watch(look: Callable[[], int], seen: list[int]) -> None:
    while True:
        seen[0] = max(seen[0], look())
        await asyncio.sleep(0.02)


async def _pour(port: int, begin: bytes, most: int) -> int:
    """Send until ``most`` bytes are out or the connection is gone; how many went."""
    chunk, sent = b"x" * 65_536, 0
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(begin)
        while sent < most and not reader.at_eof():
            writer.write(chunk)
            await asyncio.wait_for(writer.drain(), 240.0)
            sent += len(chunk)
            if sent % (16 * len(chunk)) == 0:
                await asyncio.sleep(0)  # an answer or the end may have come
    except OSError:
        pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return max(sent, len(chunk))
