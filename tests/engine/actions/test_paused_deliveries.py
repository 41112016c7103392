"""A paused destination or lane: not one more attempt, whatever was about to happen, and then all of it in order."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.delivery.breaker import Breaker, BreakerState
from engine.delivery.conditional_keys import Conditions
from engine.delivery.retry import RetryPolicy
from engine.model.errors import TransientDeliveryError
from engine.model.journal.records import Target
from engine.model.message import Delivery
from engine.model.texts.reasons import ReasonCode
from engine.store.operations import pauses
from engine.store.queries.lanes import list_lanes
from tests.support.plant import Plant, ScriptedDestination, numbers, plant
from tests.support.waiting import until


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path) as made:
        yield made


def busy(*_: object) -> TransientDeliveryError:
    return TransientDeliveryError(ReasonCode.BUSY, "503")


def tries(server: ScriptedDestination) -> int:
    return sum(server.attempts.values()) + len(server.inside)


async def storm(made: Plant, lanes: str = "abcd") -> ScriptedDestination:
    """A destination that fails for every lane, with retries that come as often as they can."""
    server = await made.destination(
        "server", retry=RetryPolicy(first=0.1, max=0.1), breaker=Breaker(threshold=1_000_000)
    )
    server.script = busy
    for channel in lanes:
        made.channel(channel, "server")
        await made.send(channel, *numbers(5))
    await made.settle()
    for _ in range(20):
        await made.advance(0.1)
    assert tries(server) > 20 * len(lanes)
    return server


async def test_a_destination_paused_amid_a_storm_of_retries_makes_not_one_more_attempt(made: Plant) -> None:
    server = await storm(made)
    before = tries(server)
    made.workers["server"].pause()
    for _ in range(50):
        await made.advance(0.1)
    await made.send("a", *numbers(3, start=6))  # and new ones are queued
    await made.settle()
    assert tries(server) == before
    assert made.workers["server"].memory.deliveries == 0
    assert sum(view.open for view in list_lanes(made.journal)) == 23

    server.script = lambda *_: None
    made.workers["server"].resume()
    await made.drain()
    assert server.of("a") == numbers(8)
    assert all(server.of(channel) == numbers(5) for channel in "bcd")
    assert all(len(keys) == 1 for keys in server.keys.values())


async def test_an_attempt_that_was_about_to_begin_is_not_made(made: Plant) -> None:
    """The order comes between taking a delivery out of its lane and handing it over."""
    server = await made.destination("server")
    made.channel("a", "server")
    worker = made.workers["server"]
    pump = worker.memory.pump

    def pump_then_pause() -> None:
        pump()
        worker.pause()

    worker.memory.pump = pump_then_pause  # the seam between the two
    await made.send("a", *numbers(3))
    await until(lambda: worker.paused)
    await made.settle()
    assert tries(server) == 0
    worker.memory.pump = pump  # as before
    worker.resume()
    await made.drain()
    assert server.of("a") == numbers(3)
    assert worker.memory.deliveries == worker.memory.bytes == 0


async def test_an_attempt_that_is_being_given_its_conditions_is_not_made(made: Plant) -> None:
    """The order comes while the versions that the server has are looked up."""
    pausing = True

    class WhilePaused(Conditions):
        async def put_on(self, delivery: Delivery) -> Delivery:
            if pausing:
                made.workers["server"].pause()
            return await super().put_on(delivery)

    server = await made.destination("server", conditions=WhilePaused("server", made.journal))
    made.channel("a", "server")
    await made.send("a", *numbers(3))
    await made.settle()
    assert made.workers["server"].paused
    assert tries(server) == 0
    pausing = False
    made.workers["server"].resume()
    await made.drain()
    assert server.of("a") == numbers(3)


async def test_what_is_under_way_ends_and_counts(made: Plant) -> None:
    server = await made.destination("server")
    made.channel("a", "server")
    server.gate.clear()
    await made.send("a", *numbers(3))
    await until(lambda: len(server.inside) == 1)
    made.workers["server"].pause()
    server.gate.set()
    await made.settle()
    assert server.of("a") == ["00001"]
    assert made.states("server") == ["delivered", "waiting", "waiting"]


async def test_a_probe_of_an_open_breaker_is_not_made_either(made: Plant) -> None:
    server = await made.destination("server", breaker=Breaker(threshold=1, first_open=5.0))
    server.script = busy
    made.channel("a", "server")
    await made.send("a", "00001")
    await made.settle()
    breaker = made.workers["server"].breaker
    assert breaker.state is BreakerState.OPEN
    before = tries(server)
    made.workers["server"].pause()
    await made.advance(3600.0)
    assert tries(server) == before
    server.script = lambda *_: None
    made.workers["server"].resume()
    await made.drain()
    assert server.of("a") == ["00001"]
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("order", ["channel", "specimen", "none"])
async def test_a_paused_lane_stands_and_the_others_go_on(made: Plant, order: str) -> None:
    server = await made.destination("server", retry=RetryPolicy(first=0.1, max=0.1))
    server.script = lambda channel, body, attempt: busy() if channel == "a" else None
    made.channel("a", "server", order=order)
    made.channel("b", "server", order=order)
    await made.send("a", *(f"{body}|report-{body}" for body in numbers(4)))
    await made.advance(1.0)
    await made.journal.run(pauses.pause, Target(channel="a", destination="server"), actor="anita", reason="test")
    made.look_for_open("server")
    await made.settle()
    before = tries(server)
    await made.send("b", *numbers(5))
    await made.send("a", "00005|report-5")
    for _ in range(20):
        await made.advance(0.1)
    assert server.of("b") == numbers(5)
    assert tries(server) == before + 5
    server.script = lambda *_: None
    await made.journal.run(pauses.resume, Target(channel="a", destination="server"), actor="anita", reason="test")
    made.look_for_open("server")
    await made.drain()
    assert len(server.of("a")) == 5
    if order == "channel":
        assert [body[:5] for body in server.of("a")] == numbers(5)


async def test_what_waits_for_a_retry_is_tried_at_once_when_a_person_says_so(made: Plant) -> None:
    server = await made.destination("server", retry=RetryPolicy(first=3600.0, max=3600.0))
    server.script = busy
    for channel in "ab":
        made.channel(channel, "server")
        await made.send(channel, *numbers(2))
    await made.settle()
    server.script = lambda *_: None
    await made.advance(60.0)
    assert server.taken == []
    made.workers["server"].try_now("a")
    await made.settle()
    assert server.of("a") == numbers(2)
    assert server.of("b") == []
    made.workers["server"].try_now()
    await made.settle()
    assert server.of("b") == numbers(2)
    assert not any(lane.hasty for lane in made.workers["server"].memory.lanes.values())
