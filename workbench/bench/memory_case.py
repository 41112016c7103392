"""Memory of the daemon's own process under what hostile senders and readers do, and how soon it comes back.

One site in one run: each attack after the other, then quiet. Nothing that an attack sends is a result of a patient.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from workbench.bench.box import report
from workbench.bench.cases import Case, TcpBench
from workbench.bench.messages import oru
from workbench.bench.page_case import user_of
from workbench.bench.readers import log_in

SITE = 8  # channels, every other one ASTM
SOME = Case(scenario="mixed", connections=SITE)
LARGE_RESULTS = 85_000  # 12 MB, below the bound of a message
BACK_MIB, BACK_WITHIN_S, EVERY_S = 30.0, 300.0, 1.0
MIB = 1024 * 1024


def run(folder: Path, *, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report.

    Args:
        seconds: of each attack.
    """
    return report(folder, [_case(folder / "memory", seconds, say)])


def _case(site: Path, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    bench = TcpBench(site, SOME.scenario, SOME.commit, channels=SITE)
    try:
        played = bench.run(SOME, 1_000 // SITE)
        person = user_of(site)
        attacks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "lists": partial(_read, bench, person, seconds),
            "requests": partial(_fuzz, bench, person, seconds),
            "garbage": partial(_garbage, bench, seconds),
            "endless": partial(_endless, bench, seconds),
            "large": partial(_large, bench, seconds),
        }
        before = bench.daemon.main_mib()
        reached, peaks = {}, list[float]()
        for name, attack in attacks.items():
            say(name)
            bench.daemon.peak_from_now()
            asyncio.run(attack())
            peaks.append(bench.daemon.main_mib("VmHWM"))
            reached[name] = {"peak": round(peaks[-1], 1), "after": round(bench.daemon.main_mib(), 1)}
        say(f"quiet, for {BACK_WITHIN_S:.0f} s at most")
        began = time.monotonic()
        while bench.daemon.main_mib() > before + BACK_MIB and time.monotonic() - began < BACK_WITHIN_S:
            time.sleep(EVERY_S)
        return {
            "scenario": "memory",
            "messages": played.messages,
            "rss_mib_before": round(before, 1),
            "attacks": reached,
            "rss_mib_max": round(max(peaks), 1),
            "rss_mib_after": round(bench.daemon.main_mib(), 1),
            "back_s": round(time.monotonic() - began),
            "lost": played.lost,
            "repeats_same_key": played.repeats_same_key,
            "repeats_other_key": played.repeats_other_key,
            "reordered": played.reordered,
        }
    finally:
        bench.close()


async def _each(seconds: float, at_once: int, play: Callable[[int], Awaitable[None]]) -> None:
    """``at_once`` of them, each again and again for so many seconds; what the daemon refuses is refused."""

    async def go_on(number: int) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(OSError, TimeoutError, aiohttp.ClientError, asyncio.IncompleteReadError):
                await asyncio.wait_for(play(number), seconds)

    await asyncio.gather(*(go_on(number) for number in range(at_once)))


async def _send(bench: TcpBench, number: int, content: bytes, *, answered: bool = False) -> None:
    port, _ = bench.ports[number % SITE]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(content)
        await writer.drain()
        if answered:
            await reader.readuntil(b"\x1c\r")
    finally:
        writer.transport.abort()


async def _garbage(bench: TcpBench, seconds: float) -> None:
    rng = random.Random(1)
    starts = (b"\x0b", b"\x05\x02", b"", b"\x0bMSH|^~\\&|")
    await _each(seconds, 16, lambda number: _send(bench, number, rng.choice(starts) + rng.randbytes(4 * MIB)))


async def _endless(bench: TcpBench, seconds: float) -> None:
    """Half a message over each of 200 connections, which stay open."""
    half = b"\x0bMSH|^~\\&|A|B|C|D|20260101||ORU^R01|1|P|2.5\r" + b"OBX|1|ST|A||" + b"x" * MIB

    async def hold(number: int) -> None:
        port, _ = bench.ports[2 * number % SITE]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(half)
            await writer.drain()
            await asyncio.sleep(seconds)
        finally:
            writer.transport.abort()

    await asyncio.gather(*(hold(number) for number in range(200)), return_exceptions=True)


async def _large(bench: TcpBench, seconds: float) -> None:
    numbers = count(2)  # none comes twice

    async def send(line: int) -> None:
        content = oru(line, next(numbers), random.Random(line), results=LARGE_RESULTS)
        await _send(bench, 2 * line, b"\x0b" + content + b"\x1c\r", answered=True)

    await _each(seconds, 4, send)


async def _ask(bench: TcpBench, person: dict[str, str], seconds: float, path: Callable[[], str]) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{bench.web}", cookie_jar=jar) as session:
        await log_in(session, person["name"], person["password"])
        program = {"Authorization": f"Bearer {person['token']}"}

        async def once(_: int) -> None:
            at = path()
            async with session.get(at, headers=program if at.startswith("/api") else {}) as answer:
                await answer.read()

        await _each(seconds, 8, once)


async def _read(bench: TcpBench, person: dict[str, str], seconds: float) -> None:
    rng = random.Random(1)
    lists = ("/", "/messages?limit=500", "/api/v1/messages?limit=500", "/api/v1/status", "/dead-letters", "/help")
    await _ask(bench, person, seconds, lambda: rng.choice(lists))


async def _fuzz(bench: TcpBench, person: dict[str, str], seconds: float) -> None:
    rng = random.Random(1)
    words = ("limit", "after", "channel", "q", "since", "until", "state", "order", "key")

    def path() -> str:
        place = rng.choice(("/api/v1/messages", "/messages", "/api/v1/deliveries", "/api/v1/", "/messages/"))
        said = "&".join(f"{rng.choice(words)}={rng.randbytes(rng.randrange(400)).hex()}" for _ in range(6))
        return f"{place}{rng.choice(('', '%00', '-1', '9' * 30))}?{said}"

    await _ask(bench, person, seconds, path)
