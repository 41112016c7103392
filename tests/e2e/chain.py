"""A chain of laboratories: three gateways write a topic of three brokers, two feeders read it for one server.

Each of them dies, one is frozen, and two brokers are away at once. What must hold:

| where | of each lane |
|---|---|
| in the log | each message that was answered, in order; repeats under their keys alone |
| after an outage of the brokers | at most two repeats more |
| at the server | each message, in order; none comes after a newer one |

`make soak-kafka` lets that outage last ten minutes.
"""

import asyncio
import contextlib
import os
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from itertools import accumulate
from pathlib import Path

from tests.support.http_sender import sender
from tests.support.kafka_chain import LANES, TOPIC, count, delivered, lanes_of, write_feeder, write_site
from tests.support.kafka_engine import Engine, kafka_engine
from tests.support.killed import Daemon
from tests.support.scripted_http import http, scripted
from tests.support.waiting import until
from workbench.bench.messages import oru

GATEWAYS = 3
OUTAGE_S = float(os.environ.get("LABRELAY_OUTAGE_S") or 8.0)
PAUSE_S = 0.1 if OUTAGE_S < 60 else 0.5  # between two messages of a lane
FROZEN_S = 10.0  # the others miss a broker after six

Answered = list[list[int]]


async def send_on(port: int, lane: int, answered: list[int], ended: asyncio.Event) -> None:
    """Send a message each `PAUSE_S`, each until it is answered."""
    rng = random.Random(lane)
    text = b""
    while not ended.is_set() or text:
        with contextlib.suppress(OSError):
            async with sender(port) as one:
                while not ended.is_set() or text:
                    text = text or oru(lane, len(answered), rng)
                    if (said := await one.post(text)) is None:
                        break
                    assert said.status == 200
                    answered.append(len(answered))
                    text = b""
                    await asyncio.sleep(PAUSE_S)
        await asyncio.sleep(0.02)  # while nothing listens


def repeats(engine: Engine) -> Counter[str]:
    """Of each lane, how many records came more than once."""
    return Counter({name: len(of) - len(dict(of)) for name, of in lanes_of(engine).items()})


def numbers_of(bodies: Iterable[bytes]) -> dict[int, list[int]]:
    """Of each lane the numbers of its messages, as they came to the server."""
    found: dict[int, list[int]] = {}
    for body in bodies:
        lane, number = re.findall(rb"B([0-9]{3})-([0-9]{8})", body)[0]
        found.setdefault(int(lane), []).append(int(number))
    return found


async def troubles(
    engine: Engine, gateways: list[Daemon], feeders: list[Daemon], more: Callable[[float], Awaitable[None]]
) -> Counter[str]:
    """All but the outage, one after the other, while messages come; returns the repeats by then."""
    engine.kill(1)
    await more(2.0)
    engine.start(1)
    await more(2.0)
    for daemon in (*gateways[:2], feeders[0]):
        await daemon.kill()
        await daemon.start()
        await more(2.0)
    engine.freeze(2)
    await more(FROZEN_S)
    engine.freeze(2, on=False)
    await more(2.0)
    return await asyncio.to_thread(repeats, engine)


async def outage(engine: Engine, more: Callable[[float], Awaitable[None]]) -> None:
    """Two of three brokers are away: the third takes nothing alone."""
    for node in (2, 3):
        engine.kill(node)
    await more(OUTAGE_S)
    for node in (2, 3):
        engine.start(node)
    await more(2.0)


async def test_three_gateways_three_brokers_and_two_feeders_lose_nothing_whatever_dies(tmp_path: Path) -> None:
    gateways = [Daemon(tmp_path / name) for name in ("a", "b", "c")]
    with kafka_engine(tmp_path, brokers=3, life_s=900 + OUTAGE_S) as engine:
        await engine.ready()
        engine.make(TOPIC, 5)  # whichever half a feeder has, some lane is in it
        ports = [port for n, one in enumerate(gateways) for port in write_site(one.site, engine, f"lab{n}", n * LANES)]
        answered: Answered = [[] for _ in ports]

        async def more(seconds: float) -> None:
            """Wait until each lane has had so many seconds' messages answered: some time to send them on."""
            before = [len(one) + seconds / PAUSE_S for one in answered]
            await until(lambda: all(len(now) >= n for now, n in zip(answered, before, strict=True)), 240.0 + seconds)

        async with scripted(http(200)) as server, AsyncExitStack() as ending:
            feeders = [Daemon(write_feeder(tmp_path / name, engine, server.url)) for name in ("one", "two")]
            for daemon in (*feeders, *gateways):
                ending.push_async_callback(daemon.kill)
                await daemon.start()
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as sending:
                for lane, port in enumerate(ports):
                    sending.create_task(send_on(port, lane, answered[lane], ended))
                await until(lambda: all(count(one.site) for one in feeders), 240.0)  # each has partitions
                before = await troubles(engine, gateways, feeders, more)
                await outage(engine, more)
                ended.set()
            for daemon in gateways:
                await asyncio.to_thread(delivered, daemon.site)
            log, after = lanes_of(engine), repeats(engine)
            in_log = sum(map(len, log.values()))
            await until(lambda: sum(map(count, (one.site for one in feeders))) >= in_log, 240.0)
            for daemon in feeders:
                await asyncio.to_thread(delivered, daemon.site)
    all_of = {lane: list(range(len(one))) for lane, one in enumerate(answered)}
    of_log = {int(key.rpartition("lane")[2]): list(dict(records).values()) for key, records in log.items()}
    assert of_log == all_of, "lost or reordered in the log"
    came = numbers_of(one.body for one in server.requests)
    assert {lane: sorted(set(one)) for lane, one in came.items()} == all_of, "lost on the way to the server"
    stale = sum(n < newest for one in came.values() for n, newest in zip(one, accumulate(one, max), strict=True))
    written, sent = sum(map(len, all_of.values())), len(server.requests)
    most = max((after - before).values(), default=0)
    print(
        f"{written} answered, {in_log - written} repeats in the log, {sent - written} at the server, {stale} stale;"
        f" {OUTAGE_S:g} s without brokers added {sum((after - before).values())}, {most} to one lane"
    )
    assert not stale, "overtaken on the way to the server"
    assert most <= 2, "an outage adds two repeats to a lane at most"
    assert sum(before.values()) <= len(ports) * 5, "each trouble adds one repeat to a lane at most"
    assert sent - written <= 2 * len(ports), (
        "what a feeder took after its last note, and an attempt that its kill cut short"
    )
