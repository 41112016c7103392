"""Two feeders of one topic, whose server is away: no older document goes out behind a newer one of another feeder.

Documents 0 to 9 of each lane wait at the first feeder; the others come when something has happened to it:

| what happens | at the server | held for a person |
|---|---|---|
| another feeder comes | all, in order | none |
| it is killed, and back within the group's time | all, in order | none |
| it is killed, or frozen, until another has delivered newer ones | those of the other, in order | all that waited |
"""

import asyncio
import os
import re
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from itertools import accumulate
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

from engine.model.texts.reasons import ReasonCode
from engine.store.queries.lanes import has_open
from engine.store.queries.reader import Reader
from tests.e2e.kafka import produce
from tests.support.kafka_chain import TOPIC, count, delivered, write_feeder
from tests.support.kafka_engine import Engine, kafka_engine
from tests.support.killed import Daemon
from tests.support.scripted_http import Request, http, scripted
from tests.support.waiting import until

FEW = 2  # lanes
EACH = 10
PARTITIONS = 5  # of two feeders each has some lane's
HAPPENS = {"another comes": 0, "it is back soon": 0, "it is back late": FEW * EACH, "it is frozen": FEW * EACH}
WITHIN_S = 180.0


def held(site: Path) -> int:
    """By the guard of its topic; anything else that waits is none."""
    journal = Reader.beside(site / "var")
    try:
        sql = "SELECT count(*) FROM delivery WHERE state = 'held' AND cause = ?"
        return -1 if has_open(journal, "feed") else int(journal.row(sql, (ReasonCode.OVERTAKEN.value,))[0])
    finally:
        journal.close()


async def send(engine: Engine, numbers: Iterable[int]) -> None:
    for lane in range(FEW):
        await asyncio.to_thread(produce, engine, f"lane{lane}", numbers)


def state(engine: Engine) -> str:
    """Of the group."""
    admin = AdminClient(engine.client())
    asked = admin.describe_consumer_groups(["feeder"], request_timeout=10)
    return str(asked["feeder"].result(20).state.name)


def noted(engine: Engine) -> int:
    """How many records the group knows to be taken."""
    consumer = confluent_kafka.Consumer(engine.client(**{"group.id": "feeder"}))
    try:
        asked = [confluent_kafka.TopicPartition(TOPIC, one) for one in range(PARTITIONS)]
        return sum(max(0, one.offset) for one in consumer.committed(asked, timeout=10))
    finally:
        consumer.close()


async def late(engine: Engine, one: Daemon, other: Daemon, *, frozen: bool) -> None:
    """The other reads on."""
    assert one.process is not None
    if frozen:
        os.kill(one.process.pid, signal.SIGSTOP)
    else:
        await one.kill()
    await other.start()
    await send(engine, range(EACH, 2 * EACH))
    await until(lambda: count(other.site) == FEW * EACH, WITHIN_S)


@pytest.mark.parametrize("happens", HAPPENS)
async def test_nothing_older_goes_out_behind_what_another_feeder_has_sent(tmp_path: Path, happens: str) -> None:
    came: dict[int, list[int]] = {lane: [] for lane in range(FEW)}
    is_away = True

    def answer(request: Request) -> bytes:
        if is_away:
            return http(503)
        lane, number = re.findall(rb"B([0-9]{3})-([0-9]{8})", request.body)[0]
        came[int(lane)].append(int(number))
        return http(200)

    with kafka_engine(tmp_path) as engine:
        await engine.ready()
        engine.make(TOPIC, PARTITIONS)
        async with scripted(answer) as server, AsyncExitStack() as ending:
            one, other = (Daemon(write_feeder(tmp_path / name, engine, server.url)) for name in ("one", "two"))
            for daemon in (one, other):
                ending.push_async_callback(daemon.kill)
            await one.start()
            await send(engine, range(EACH))
            await until(lambda: count(one.site) == FEW * EACH, WITHIN_S)
            await until(lambda: noted(engine) == FEW * EACH, WITHIN_S)
            if happens == "another comes":
                await other.start()
                await until(lambda: state(engine) == "PREPARING_REBALANCING", WITHIN_S)
                await send(engine, range(EACH, 2 * EACH))
                is_away = False
            elif happens == "it is back soon":
                await one.kill()
                await one.start()
                await send(engine, range(EACH, 2 * EACH))
                is_away = False
            else:
                await late(engine, one, other, frozen=happens == "it is frozen")
                is_away = False
                await until(lambda: all(2 * EACH - 1 in each for each in came.values()), WITHIN_S)
                if happens == "it is frozen":
                    assert one.process is not None
                    os.kill(one.process.pid, signal.SIGCONT)
                else:
                    await one.start()
                await until(lambda: held(one.site) == HAPPENS[happens], WITHIN_S)
            first = 0 if not HAPPENS[happens] else EACH
            wanted = set(range(first, 2 * EACH))
            await until(lambda: all(set(each) >= wanted for each in came.values()), WITHIN_S)
            await asyncio.to_thread(delivered, one.site)
            assert held(one.site) == HAPPENS[happens]
    stale = {
        lane: [n for n, top in zip(each, accumulate(each, max), strict=True) if n < top] for lane, each in came.items()
    }
    assert not any(stale.values()), (stale, came)
    assert all(set(each) == wanted for each in came.values()), came
