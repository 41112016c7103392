"""Deliveries: order within a lane, retries, breaker, limits of memory, and one destination's trouble stays its own."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.delivery import attempts, worker
from engine.delivery import settlement as storing
from engine.delivery.breaker import Breaker, BreakerState
from engine.delivery.retry import RetryPolicy
from engine.features.rework.rows import dismissal
from engine.model.errors import (
    DestinationDownError,
    HeldBackError,
    OvertakenError,
    RefusedDeliveryError,
    StoreError,
    TransientDeliveryError,
)
from engine.model.message import Delivery
from engine.model.texts.reasons import ReasonCode
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal import Journal
from engine.store.operations.outbox import attempts as attempts_ops
from engine.store.operations.outbox import claims, decisions, queueing
from engine.store.queries.messages import messages_page, trace_of
from tests.support.plant import Plant, ScriptedDestination, all_taken, in_order, numbers, plant
from tests.support.waiting import until


def busy() -> TransientDeliveryError:
    return TransientDeliveryError(ReasonCode.BUSY, "503")


def silent() -> TransientDeliveryError:
    return TransientDeliveryError(ReasonCode.NO_ANSWER, "refused")


def refused() -> RefusedDeliveryError:
    return RefusedDeliveryError(ReasonCode.REFUSED, "422")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (storing, attempts):
        monkeypatch.setattr(module, "WRITE_RETRY_S", 0.01)


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path) as made:
        yield made


# -- order ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.promise("P3")
async def test_each_lane_keeps_its_order_whatever_fails(made: Plant, seed: int) -> None:
    rng = random.Random(seed)
    server = await made.destination(
        "server", memory_deliveries=rng.choice([3, 20, 256]), breaker=Breaker(threshold=rng.choice([2, 10_000]))
    )

    def sometimes(channel: str, body: str, attempt: int) -> Exception | None:
        if channel == "b" and body.endswith("7"):
            return refused()
        return rng.choice([None, None, busy(), silent()]) if attempt < 4 else None

    server.script = sometimes
    for channel in "abc":
        made.channel(channel, "server")
    for start in range(1, 31, 10):
        for channel in "abc":
            await made.send(channel, *numbers(10, start=start))
    await made.drain()
    assert server.of("a") == numbers(30)
    assert server.of("c") == numbers(30)
    assert server.of("b") == [body for body in numbers(30) if not body.endswith("7")]
    assert all(len(keys) == 1 for keys in server.keys.values())
    assert made.workers["server"].memory.deliveries == made.workers["server"].memory.bytes == 0
    assert sorted(set(made.states("server"))) == ["dead", "delivered"]


async def test_one_lane_has_one_delivery_under_way(made: Plant) -> None:
    server = await made.destination("server")
    made.channel("a", "server")
    made.channel("b", "server")
    server.gate.clear()
    await made.send("a", *numbers(5))
    await made.send("b", *numbers(5))
    await made.settle()
    assert sorted((d.channel, d.body) for d in server.inside) == [("a", b"00001"), ("b", b"00001")]
    server.gate.set()
    await made.drain()


async def test_a_destination_has_no_more_under_way_than_it_may(made: Plant) -> None:
    server = await made.destination("server", concurrency=3)
    server.gate.clear()
    for number in range(10):
        made.channel(f"c{number}", "server")
        await made.send(f"c{number}", *numbers(4))
    await made.settle()
    server.gate.set()
    await made.drain()
    assert server.most == 3
    assert len(server.taken) == 40


async def test_with_order_none_a_failed_delivery_does_not_hold_up_the_others(made: Plant) -> None:
    server = await made.destination("server", concurrency=4)
    server.script = lambda channel, body, attempt: busy() if body == "00002" and attempt < 2 else None
    made.channel("a", "server", order="none")
    await made.send("a", *numbers(20))
    await made.settle()
    assert sorted(server.of("a")) == [body for body in numbers(20) if body != "00002"]
    assert server.most > 1
    await made.drain()
    assert server.of("a")[-1] == "00002"


async def test_with_order_none_an_older_result_never_overwrites_its_correction(made: Plant) -> None:
    server = await made.destination("server", concurrency=4)
    server.script = lambda channel, body, attempt: busy() if body.startswith("00001") and attempt < 3 else None
    made.channel("a", "server", order="none")
    await made.send("a", "00001|report-1", "00002|report-1", "00003|report-2")
    await made.settle()
    assert sorted(server.of("a")) == ["00002|report-1", "00003|report-2"]
    await made.drain()
    assert sorted(server.of("a")) == ["00002|report-1", "00003|report-2"]
    assert made.states("server") == ["held", "delivered", "delivered"]  # nobody can tell what these documents say


async def test_with_order_none_two_documents_of_one_report_are_never_under_way_together(made: Plant) -> None:
    server = await made.destination("server", concurrency=8)
    together: list[bool] = []
    server.seen = lambda _: together.append(len({d.reports for d in server.inside}) < len(server.inside))
    made.channel("a", "server", order="none")
    await made.send("a", *[f"{number:05d}|report-{number % 5}" for number in range(40)])
    await made.drain()
    assert len(server.taken) == 40
    assert not any(together)
    assert server.most > 1


async def test_with_order_specimen_what_shares_a_report_keeps_its_order_and_the_rest_goes_on(made: Plant) -> None:
    server = await made.destination("server", concurrency=4)
    server.script = lambda channel, body, attempt: busy() if body == "00001|s1" and attempt < 2 else None
    made.channel("a", "server", order="specimen")
    await made.send("a", "00001|s1", "00002|s2", "00003|s1", "00004|s2", "00005|s3")
    await made.settle()
    assert sorted(server.of("a")) == ["00002|s2", "00004|s2", "00005|s3"]
    await made.drain()
    for specimen in ("s1", "s2", "s3"):
        assert in_order([body for body in server.of("a") if body.endswith(specimen)])


@pytest.mark.parametrize("order", ["specimen", "none"])
async def test_one_specimen_that_fails_for_ever_does_not_hold_up_the_others_in_the_store(
    made: Plant, order: str
) -> None:
    server = await made.destination("server", memory_deliveries=8, breaker=Breaker(threshold=10_000))
    server.script = lambda channel, body, attempt: busy() if body == "00001|s1" else None
    made.channel("a", "server", order=order)
    await made.send("a", "00001|s1", "00002|s1", *[f"{number:05d}|s{number}" for number in range(3, 60)])
    for _ in range(60):
        await made.advance(1.0)
    assert {body for body in server.of("a") if not body.endswith("s1")} == {f"{n:05d}|s{n}" for n in range(3, 60)}


async def test_with_order_specimen_what_names_no_report_is_alone(made: Plant) -> None:
    server = await made.destination("server", concurrency=4)
    server.gate.clear()
    made.channel("a", "server", order="specimen")
    await made.send("a", "00001|s1", "00002", "00003|s3")
    await made.settle()
    assert [d.body for d in server.inside] == [b"00001|s1"]
    server.gate.set()
    await made.drain()
    assert server.of("a") == ["00001|s1", "00002", "00003|s3"]


@pytest.mark.parametrize("order", ["none", "specimen"])
@pytest.mark.parametrize("seed", range(3))
async def test_looser_orders_lose_nothing_and_keep_what_they_promise(made: Plant, order: str, seed: int) -> None:
    rng = random.Random(seed)
    server = await made.destination("server", memory_deliveries=rng.choice([2, 10, 256]), concurrency=5)
    server.script = lambda channel, body, attempt: rng.choice([None, busy(), silent()]) if attempt < 5 else None
    made.channel("a", "server", order=order)
    await made.send("a", *[f"{number:05d}|report-{rng.randrange(6)}" for number in range(40)])
    await made.drain()
    reports: dict[str, list[str]] = {}
    for _, body in server.taken:
        reports.setdefault(body.partition("|")[2], []).append(body)
    assert all(in_order(bodies) for bodies in reports.values())
    states = made.states("server")
    assert set(states) <= ({"delivered", "held"} if order == "none" else {"delivered"})
    assert states.count("delivered") == len(server.taken)


# -- retries -------------------------------------------------------------------------------------------------------


async def test_attempts_follow_the_policy(made: Plant) -> None:
    retry = RetryPolicy(first=2.0, max=10.0)
    server = await made.destination("server", retry=retry, breaker=Breaker(threshold=1000))
    server.script = lambda channel, body, attempt: busy()
    made.channel("a", "server")
    await made.send("a", "00001", "00002")
    await made.settle()
    for attempt, wait in enumerate((1.0, 2.0, 4.0, 5.0, 5.0), 1):  # jitter 0.5 of 2, 4, 8, 10, 10
        assert server.attempts["a", "00001"] == attempt
        await made.advance(wait - 0.01)
        assert server.attempts["a", "00001"] == attempt
        await made.advance(0.02)
    assert server.attempts["a", "00002"] == 0
    (first, _) = made.views("server")
    assert (first.state, first.attempt, first.cause, len(first.attempts)) == ("waiting", 6, "BUSY", 6)


async def test_a_lane_names_the_delivery_that_was_tried_most_often(made: Plant) -> None:
    """Where only those of one specimen keep their order, one that cannot be digested stands beside others that fail."""
    server = await made.destination("server", retry=RetryPolicy(first=2.0, max=2.0), breaker=Breaker(threshold=1000))
    fails = {"00001|s1", "00002|s2"}
    server.script = lambda channel, body, attempt: busy() if body in fails else None
    made.channel("a", "server", order="specimen")
    first, second = await made.send("a", "00001|s1", "00002|s2")
    lane = made.workers["server"].memory.lanes["a"]

    def named() -> tuple[int, int] | None:
        return None if lane.failure is None else (lane.failure.message_id, lane.failure.attempt)

    await made.settle()
    assert named() == (first.id, 1)
    fails.remove("00001|s1")
    await made.advance(3.0)
    assert named() == (second.id, 2)  # the other one is delivered
    (third,) = await made.send("a", "00003|s3")
    fails.add("00004|s4")
    (fourth,) = await made.send("a", "00004|s4")
    await made.settle()
    assert third.id < fourth.id
    assert named() == (second.id, 2)  # what failed last is not what was tried most
    fails.clear()
    await made.drain()
    assert named() is None


async def test_what_the_destination_asked_for_is_waited_for(made: Plant) -> None:
    server = await made.destination("server")
    late = TransientDeliveryError(ReasonCode.BUSY, "429", retry_after=30.0)
    server.script = lambda channel, body, attempt: late if attempt == 0 else None
    made.channel("a", "server")
    await made.send("a", "00001")
    await made.settle()
    await made.advance(29.9)
    assert server.taken == []
    await made.advance(1.0)
    assert server.of("a") == ["00001"]


async def test_five_conflicts_in_a_row_are_enough_and_other_failures_do_not_count(made: Plant) -> None:
    server = await made.destination("server", breaker=Breaker(threshold=1000))
    conflict = TransientDeliveryError(ReasonCode.CONFLICT, "409", limit=5)
    answers: list[Exception] = [conflict, conflict, conflict, busy(), *[conflict] * 5]
    server.script = lambda channel, body, attempt: answers[attempt] if body == "00001" else None
    made.channel("a", "server")
    await made.send("a", "00001", "00002")
    await made.drain()
    assert server.attempts["a", "00001"] == 9
    assert [(view.state, view.cause) for view in made.views("server")] == [("dead", "CONFLICT"), ("delivered", "")]


async def test_giving_up_takes_the_message_by_its_age(made: Plant) -> None:
    server = await made.destination("server", retry=RetryPolicy(first=10.0, max=10.0, give_up_after=60.0))
    server.script = lambda channel, body, attempt: busy()
    made.channel("a", "server")
    await made.send("a", "00001")
    await made.drain(step_s=5.0)
    (view,) = made.views("server")
    assert (view.state, view.cause) == ("dead", "GAVE_UP")


async def test_a_fault_of_ours_costs_the_delivery_and_not_the_destination(made: Plant) -> None:
    server = await made.destination("server", breaker=Breaker(threshold=2))
    server.script = lambda channel, body, attempt: (
        ZeroDivisionError("ours") if (channel, body) == ("a", "00002") else None
    )
    made.channel("a", "server")
    made.channel("b", "server")
    await made.send("a", *numbers(3))
    await made.settle()
    for number in numbers(10):
        await made.send("b", number)
        await made.advance(20.0)
        assert made.workers["server"].breaker.state is BreakerState.CLOSED
    await made.drain()
    assert server.of("a") == ["00001", "00003"]
    assert server.of("b") == numbers(10)
    assert server.attempts["a", "00002"] == attempts.OUR_FAULT_ATTEMPTS
    assert made.states("server")[:3] == ["delivered", "dead", "delivered"]


async def test_after_a_long_outage_everything_comes_in_order_and_few_attempts_were_made(made: Plant) -> None:
    server = await made.destination(
        "server", retry=RetryPolicy(first=1.0, max=30.0), breaker=Breaker(threshold=5, first_open=5.0, max_open=30.0),
        memory_deliveries=16,
    )  # fmt: skip
    down = True
    server.script = lambda channel, body, attempt: silent() if down else None
    for channel in "abcd":
        made.channel(channel, "server")
    for minute in range(10):
        for channel in "abcd":
            await made.send(channel, *numbers(10, start=1 + minute * 10))
        for _ in range(6):
            await made.advance(10.0)
    assert server.taken == []
    assert sum(server.attempts.values()) < 100
    assert made.workers["server"].memory.deliveries <= 16 + 4
    down = False
    await made.drain()
    for channel in "abcd":
        assert server.of(channel) == numbers(100)


# -- the breaker ---------------------------------------------------------------------------------------------------


async def test_an_open_breaker_lets_exactly_one_probe_through(made: Plant) -> None:
    server = await made.destination("server", breaker=Breaker(threshold=3, first_open=10.0))
    server.script = lambda channel, body, attempt: silent()
    for number in range(8):
        made.channel(f"c{number}", "server")
        await made.send(f"c{number}", *numbers(3))
    await made.settle()
    breaker = made.workers["server"].breaker
    assert breaker.state is BreakerState.OPEN
    before = sum(server.attempts.values())
    await made.advance(9.0)
    assert sum(server.attempts.values()) == before
    server.gate.clear()
    await made.advance(1.5)
    assert breaker.state is BreakerState.HALF_OPEN
    assert len(server.inside) == 1
    await made.advance(3.0)
    assert len(server.inside) == 1
    server.gate.set()
    await until(lambda: breaker.state is BreakerState.OPEN)
    assert sum(server.attempts.values()) == before + 1
    server.script = lambda channel, body, attempt: None
    await made.drain()
    assert len(server.taken) == 24
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("seed", range(10))
async def test_a_document_that_opens_the_breaker_is_not_the_probe_again_while_others_wait(
    made: Plant, seed: int
) -> None:
    """The server closes the connection on one document. It was alone, so that the breaker could not know its fault."""
    rng = random.Random(seed)
    server = await made.destination(
        "server", retry=RetryPolicy(first=1.0, max=2.0), breaker=Breaker(threshold=5, first_open=10.0)
    )
    server.script = lambda channel, body, attempt: silent() if channel == "stuck" else None
    for channel in rng.sample(["stuck", "free", "other"], 3):
        made.channel(channel, "server")
    await made.send("stuck", *numbers(2))
    breaker = made.workers["server"].breaker
    while breaker.state is not BreakerState.OPEN:
        await made.advance(1.0)
    tried = server.attempts["stuck", "00001"]
    await made.send("free", *numbers(3))
    await made.send("other", *numbers(3))
    passed, longest = 0.0, 3.0
    while passed < (10.0 + longest) + (20.0 + longest):  # a probe, and a second one
        step = rng.choice([0.1, 0.5, 1.0, 2.0, longest])
        passed += step
        await made.advance(step)
        if not server.taken:
            assert server.attempts["stuck", "00001"] <= tried + 1
    assert server.of("free") == server.of("other") == numbers(3)
    assert breaker.state is BreakerState.CLOSED


async def test_an_outage_is_two_lines_however_many_probes_fail(made: Plant, caplog: pytest.LogCaptureFixture) -> None:
    def said() -> list[tuple[str, float | None]]:
        return [(r.msg, getattr(r, "duration_s", None)) for r in caplog.records if "reachable" in r.msg]

    caplog.set_level("INFO", "labrelay")
    server = await made.destination("server", breaker=Breaker(threshold=1, first_open=10.0, max_open=10.0))
    server.script = lambda channel, body, attempt: silent()
    made.channel("a", "server")
    await made.send("a", *numbers(2))
    await made.settle()
    for _ in range(5):
        await made.advance(10.0)
    assert server.attempts["a", "00001"] > 2
    server.script = lambda channel, body, attempt: None
    await made.drain()
    assert [text for text, _ in said()] == ["destination is not reachable", "destination is reachable again"]
    assert (said()[1][1] or 0) >= 50.0
    assert made.workers["server"].counts.breaker_opened == 1
    server.script = lambda channel, body, attempt: silent() if attempt < 2 else refused()
    await made.send("a", "00003")
    await made.drain()
    assert len(said()) == 4  # a refusal is an answer, too


async def test_a_probe_that_turns_out_to_be_overtaken_is_not_an_answer(made: Plant) -> None:
    server = await made.destination("server", breaker=Breaker(threshold=1, first_open=10.0))
    server.script = lambda channel, body, attempt: refused() if body.startswith("00001") else None
    made.channel("a", "server")
    await made.send("a", "00001|r", "00002|r")
    await made.settle()
    (dead, _) = made.views("server")
    assert dead.state == "dead"
    server.script = lambda channel, body, attempt: DestinationDownError(ReasonCode.NOT_AUTHORIZED, "401")
    await made.send("a", "00003|other")
    await made.settle()
    breaker = made.workers["server"].breaker
    assert breaker.state is BreakerState.OPEN
    await made.journal.run(decisions.requeue, [dead.id])
    made.look_for_open("server")
    await made.advance(11.0)  # the older of the two becomes the probe, and is kept back without being sent
    assert made.states("server")[0] == "held"
    assert breaker.state is BreakerState.OPEN  # and the next one has probed, and failed
    assert server.attempts["a", "00003|other"] == 2


# -- one destination's trouble stays its own -----------------------------------------------------------------------


@pytest.mark.promise("P6")
async def test_a_dead_destination_never_delays_another(made: Plant) -> None:
    dead = await made.destination("dead", memory_deliveries=4)
    alive = await made.destination("alive", memory_deliveries=4)
    dead.gate.clear()  # never answers
    for channel in "ab":
        made.channel(channel, "dead", "alive")
        await made.send(channel, *numbers(50))
    await all_taken(alive, 100)
    assert alive.of("a") == alive.of("b") == numbers(50)
    assert dead.taken == []
    assert made.workers["dead"].memory.deliveries <= 4 + 2
    dead.gate.set()
    await made.drain()
    assert dead.of("a") == dead.of("b") == numbers(50)


async def test_one_lane_that_waits_does_not_starve_the_memory_of_the_others(made: Plant) -> None:
    server = await made.destination("server", memory_deliveries=8, breaker=Breaker(threshold=10_000))
    server.script = lambda channel, body, attempt: busy() if channel == "stuck" else None
    made.channel("stuck", "server")
    made.channel("free", "server")
    await made.send("stuck", *numbers(50))
    await made.send("free", *numbers(50))
    await all_taken(server, 50)
    assert server.of("free") == numbers(50)


async def test_shared_resources_are_created_one_at_a_time_until_one_is_confirmed(made: Plant) -> None:
    server = await made.destination("server", concurrency=8)
    unconfirmed: list[int] = []
    server.seen = lambda delivery: unconfirmed.append(len(server.inside)) if not server.taken else None
    server.script = lambda channel, body, attempt: busy() if attempt == 0 and channel == "c0" else None
    for number in range(6):
        made.channel(f"c{number}", "server")
        await made.send(f"c{number}", *numbers(3, suffix=f"|r{number}|p|ward"))
    await made.drain()
    assert len(server.taken) == 18
    assert set(unconfirmed) == {1}
    server.gate.clear()  # and together, once it is known to be there
    for number in range(6):
        await made.send(f"c{number}", *numbers(4, suffix=f"|r{number}|p|ward")[3:])
    await until(lambda: len(server.inside) > 1)
    server.gate.set()
    await made.drain()
    assert len(server.taken) == 24


# -- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"memory_deliveries": 5}, {"memory_bytes": 60}], ids=["number", "bytes"])
async def test_what_has_no_place_in_memory_waits_in_the_store_in_order(made: Plant, limit: dict[str, int]) -> None:
    server = await made.destination("server", **limit)  # type: ignore[arg-type]  # limits only
    worker = made.workers["server"]
    most = [0, 0]

    def watch(_: Delivery) -> None:
        most[:] = [max(most[0], worker.memory.deliveries), max(most[1], worker.memory.bytes)]

    server.seen = watch
    server.gate.clear()
    for channel in "ab":
        made.channel(channel, "server")
        await made.send(channel, *numbers(60))
    await made.settle()
    server.gate.set()
    await made.send("a", *numbers(60, start=61))  # while the backlog is read back
    await made.drain()
    assert server.of("a") == numbers(120)
    assert server.of("b") == numbers(60)
    if "memory_deliveries" in limit:
        assert most[0] <= 5 + 2
    else:
        assert most[1] <= 60 + 2 * 16 * 5


async def test_a_claim_that_is_cut_short_by_bytes_is_not_taken_for_a_drained_lane(
    made: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "CLAIM_BYTES", 150)
    server = await made.destination("server", memory_deliveries=2)
    server.gate.clear()
    made.channel("a", "server")
    await made.send("a", *numbers(10, suffix="|" + "r" * 100))
    await made.settle()
    server.gate.set()
    await made.send("a", *numbers(3, start=11))
    await made.drain()
    assert [body[:5] for body in server.of("a")] == numbers(13)


# -- dead letters --------------------------------------------------------------------------------------------------


async def test_a_dead_letter_frees_its_lane(made: Plant) -> None:
    server = await made.destination("server")
    server.script = lambda channel, body, attempt: refused() if body == "00002" else None
    made.channel("a", "server")
    await made.send("a", *numbers(4))
    await made.drain()
    assert server.of("a") == ["00001", "00003", "00004"]
    (_, dead, *_) = made.views("server")
    assert (dead.state, dead.cause, dead.detail) == ("dead", "REFUSED", "422")


async def retry(made: Plant, delivery_id: int) -> None:
    await made.journal.run(decisions.requeue, [delivery_id])
    made.look_for_open("server")


@pytest.mark.parametrize("memory", [1, 2, 256])
async def test_a_held_lane_goes_on_where_it_stopped(made: Plant, memory: int) -> None:
    """What waits in memory behind the dead letter is newer than it, and must not go first."""
    server = await made.destination("server", memory_deliveries=memory)
    server.script = lambda channel, body, attempt: (
        refused() if (channel, body) == ("a", "00002") and not attempt else None
    )
    made.channel("a", "server", hold=True)
    made.channel("b", "server")
    await made.send("a", *numbers(6))
    await made.send("b", *numbers(3))
    await made.settle()
    assert server.of("a") == ["00001"]
    assert server.of("b") == numbers(3)
    await made.send("a", *numbers(2, start=7))
    await made.advance(3600.0)
    assert server.of("a") == ["00001"]
    await retry(made, made.views("server")[1].id)
    await made.drain()
    assert server.of("a") == numbers(8)


async def test_a_lane_is_held_also_where_somebody_looks_before_that_is_written(made: Plant) -> None:
    """A person's act for the lane reads its row while the dead letter is still on its way into the store."""
    gated = Gated(made.journal)
    server = await made.destination("server", journal=gated)

    def refuses_the_first(_channel: str, body: str, attempt: int) -> Exception | None:
        if body != "00001" or attempt:
            return None
        gated.open.clear()
        return refused()

    server.script = refuses_the_first
    made.channel("a", "server", hold=True)
    await made.send("a", *numbers(3))
    await until(lambda: gated.buried == 1)
    made.look_for_open("server")
    await made.settle()
    gated.open.set()
    await made.settle()
    await made.send("a", *numbers(3, start=4))
    await made.settle()
    assert server.of("a") == []
    await retry(made, made.views("server")[0].id)
    await made.drain()
    assert server.of("a") == numbers(6)


async def test_a_held_lane_goes_on_without_its_dead_letter_once_a_person_has_dismissed_it(made: Plant) -> None:
    server = await made.destination("server")
    server.script = lambda channel, body, attempt: refused() if body == "00002" else None
    made.channel("a", "server", hold=True)
    await made.send("a", *numbers(4))
    await made.settle()
    await made.journal.run(dismissal.dismiss, deliveries=[made.views("server")[1].id], actor="ann", reason="a test")
    made.look_for_open("server")
    await made.drain()
    assert server.of("a") == ["00001", "00003", "00004"]


async def test_a_lane_stays_held_over_a_restart(tmp_path: Path) -> None:
    async with plant(tmp_path) as made:
        server = await made.destination("server")
        server.script = lambda channel, body, attempt: refused() if body == "00001" else None
        made.channel("a", "server", hold=True)
        await made.send("a", *numbers(3))
        await made.settle()
        assert server.taken == []
    async with plant(tmp_path) as made:
        server = await made.destination("server")
        made.channel("a", "server", hold=True)
        await made.send("a", *numbers(2, start=4))
        await made.advance(60.0)
        assert server.taken == []
        await retry(made, made.views("server")[0].id)
        await made.drain()
        assert server.of("a") == numbers(5)


async def test_the_first_of_a_lane_is_found_in_the_store_where_it_came_before_its_worker_ran(made: Plant) -> None:
    server = await made.destination("server", start=False)
    made.channel("a", "server")
    await made.send("a", *numbers(2))
    await made.settle()
    assert not server.attempts
    await made.workers["server"].start()
    await made.drain()
    assert server.of("a") == numbers(2)


async def test_what_waits_for_its_next_attempt_waits_on_and_in_its_place_after_a_restart(tmp_path: Path) -> None:
    """Also where its channel is configured no more: that is a lane in order, which no dead letter holds."""
    hour = RetryPolicy(first=3600.0, max=3600.0)
    async with plant(tmp_path) as made:
        server = await made.destination("server", retry=hour)
        server.script = lambda channel, body, attempt: busy()
        made.channel("a", "server")
        await made.send("a", *numbers(3))
        await made.settle()
    async with plant(tmp_path) as made:
        server = await made.destination("server", retry=hour)
        server.script = lambda channel, body, attempt: refused() if body == "00002" else None
        await made.advance(60.0)
        assert not server.attempts
        await made.advance(3600.0)
        assert server.of("a") == ["00001", "00003"]
        assert made.states("server") == ["delivered", "dead", "delivered"]


@pytest.mark.parametrize("damaged", [1, 3])
async def test_a_damaged_document_holds_its_lane_as_every_dead_letter_does(tmp_path: Path, damaged: int) -> None:
    async with plant(tmp_path) as made:
        await made.destination("server", start=False)
        made.channel("a", "server", hold=True)
        await made.send("a", *numbers(6))
        await made.settle()
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as connection, connection:
        connection.execute("UPDATE document SET body = zeroblob(40) WHERE message_id = ?", (damaged,))
    async with plant(tmp_path) as made:
        server = await made.destination("server", start=False)
        made.channel("a", "server", hold=True)
        await made.workers["server"].start()
        await made.send("a", *numbers(3, start=7))
        await made.advance(60.0)
        assert server.of("a") == numbers(damaged - 1)
        assert made.workers["server"].lane("a").held
        dead = made.views("server")[damaged - 1]
        assert (dead.state, dead.cause) == ("dead", "DAMAGED")
        await made.journal.run(dismissal.dismiss, deliveries=[dead.id], actor="ann", reason="sent again")
        made.look_for_open("server")
        await made.drain()
        assert server.of("a") == [one for one in numbers(9) if one != f"{damaged:05d}"]


async def test_retried_letters_go_in_their_old_order_before_what_waits(made: Plant) -> None:
    server = await made.destination("server")
    down = True
    server.script = lambda channel, body, attempt: (refused() if body < "00004" else busy()) if down else None
    made.channel("a", "server")
    await made.send("a", *numbers(6))
    await made.settle()
    dead = [view.id for view in made.views("server") if view.state == "dead"]
    assert len(dead) == 3
    down = False
    await made.journal.run(decisions.requeue, reversed(dead))
    made.look_for_open("server")
    await made.drain()
    assert server.of("a") == numbers(6)


@pytest.mark.parametrize("order", ["channel", "none", "specimen"])
@pytest.mark.parametrize("when", ["while places are reserved", "while rows are claimed"])
async def test_a_retry_is_found_whenever_it_comes(made: Plant, order: str, when: str) -> None:
    """What is on its way into memory at that moment is newer, and must not hide the older row in the store."""
    gated = Gated(made.journal)
    server = await made.destination("server", journal=gated, memory_deliveries=6, concurrency=1)
    server.script = lambda channel, body, attempt: refused() if body == "00001|r1" and attempt == 0 else None
    made.channel("a", "server", order=order)
    await made.send("a", "00001|r1")
    await made.settle()
    (dead,) = made.views("server")
    assert dead.state == "dead"
    if when == "while rows are claimed":
        server.gate.clear()
        await made.send("a", *[f"{number:05d}|r{number}" for number in range(2, 40)])
        await made.settle()
        gated.open.clear()
        server.gate.set()
        await until(lambda: gated.held > 0)
        await made.journal.run(decisions.requeue, [dead.id])
        made.look_for_open("server")
        gated.open.set()
    else:
        requeued = made.journal.run(decisions.requeue, [dead.id])
        sending = [made.send("a", f"{number:05d}|r{number}") for number in range(2, 40)]
        await asyncio.gather(*sending)
        await requeued
        made.look_for_open("server")
    await made.drain()
    assert sorted(server.of("a")) == [f"{number:05d}|r{number}" for number in range(1, 40)]
    assert len(server.taken) == 39
    assert set(made.states("server")) == {"delivered"}
    assert made.workers["server"].memory.deliveries == made.workers["server"].memory.bytes == 0


class Gated:
    """An outbox whose claims are answered, and whose dead letters are written, only while it is open."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.open = asyncio.Event()
        self.open.set()
        self.held = 0
        self.buried = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def run(self, function: Any, *arguments: Any, **more: Any) -> "asyncio.Future[Any]":
        async def claimed() -> Any:
            found = await self._journal.run(function, *arguments, **more)
            self.held += not self.open.is_set()
            await self.open.wait()
            return found

        async def buried() -> Any:
            self.buried += 1
            await self.open.wait()
            return await self._journal.run(function, *arguments, **more)

        gates = {claims.claim: claimed, attempts_ops.bury: buried}
        if function in gates:
            return asyncio.ensure_future(gates[function]())
        return self._journal.run(function, *arguments, **more)


async def test_a_held_lane_keeps_no_memory_from_the_others(made: Plant) -> None:
    server = await made.destination("server", memory_deliveries=64)
    server.script = lambda channel, body, attempt: refused() if channel == "held" else None
    server.gate.clear()
    made.channel("held", "server", hold=True)
    made.channel("free", "server")
    await made.send("held", *numbers(100))
    await made.settle()
    assert made.workers["server"].memory.deliveries <= 64 // 4 + 1
    server.gate.set()
    await made.settle()
    assert made.workers["server"].memory.deliveries == 0
    await made.send("held", *numbers(10, start=101))
    await made.send("free", *numbers(100))
    await all_taken(server, 100)
    await made.settle()  # a last claim finds nothing
    assert made.workers["server"].memory.deliveries == 0
    assert server.of("free") == numbers(100)


async def test_an_old_result_is_not_sent_over_its_correction(made: Plant) -> None:
    """T32: dead letter, correction delivered, old one tried again."""
    server = await made.destination("server")
    server.script = lambda channel, body, attempt: refused() if body == "00001|report" and attempt == 0 else None
    made.channel("a", "server")
    await made.send("a", "00001|report", "00002|report", "00003|another")
    await made.drain()
    await retry(made, made.views("server")[0].id)
    await made.drain()
    assert server.of("a") == ["00002|report", "00003|another"]
    assert made.states("server") == ["held", "delivered", "delivered"]


# -- whose journal it is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.promise("P3")
async def test_nothing_is_sent_before_it_is_proven_whose_journal_it_is(made: Plant, stale: bool) -> None:
    """A proof that is there, that is on its way, that fails for a while; then with ``stale`` never comes."""
    asked, answers = asyncio.Event(), asyncio.Queue[bool]()

    async def look() -> None:
        asked.set()
        if not await answers.get():
            raise OvertakenError("elsewhere")

    fresh = True
    server = await made.destination("server", unproven=lambda delivery: None if fresh else look())
    made.channel("a", "server")
    await made.send("a", *numbers(2))
    await made.settle()
    assert server.of("a") == numbers(2)  # a proof is there
    fresh = False
    await made.send("a", *numbers(2, start=3))
    await asyncio.wait_for(asked.wait(), 10.0)
    await made.settle()
    assert server.of("a") == numbers(2)
    for _ in range(3):
        answers.put_nowait(False)
        await made.advance(1.0)
    assert server.attempts.total() == 2, "sent without a proof"
    if stale:
        made.workers["server"].pause()  # as the site does once it has seen that
        answers.put_nowait(True)
        await made.advance(60.0)
        assert server.attempts.total() == 2
        return
    fresh = True
    answers.put_nowait(True)
    await made.drain()
    assert server.of("a") == numbers(4)


async def test_what_others_may_have_overtaken_is_held_and_a_person_may_send_it(made: Plant) -> None:
    def unproven(delivery: Delivery) -> None:
        if delivery.seq == 1 and not delivery.manual:
            raise HeldBackError("another feeder has read on")

    server = await made.destination("server", unproven=unproven)
    made.channel("a", "server")
    await made.send("a", *numbers(2))
    await made.drain()
    assert made.states("server") == ["held", "delivered"]
    assert server.of("a") == numbers(1, start=2)


# -- stopping ------------------------------------------------------------------------------------------------------


async def test_a_stop_gives_back_what_waits_and_marks_what_was_cut_off(tmp_path: Path) -> None:
    async with plant(tmp_path) as made:
        server = await made.destination("server", memory_deliveries=4)
        server.gate.clear()
        for channel in "ab":
            made.channel(channel, "server")
            await made.send(channel, *numbers(6))
        await made.settle()
        await asyncio.wait_for(made.workers["server"].stop(0.1), 240.0)  # the gate stays shut
        assert server.closed == 1
        views = made.views("server")
        assert {view.state for view in views} == {"waiting"}
        assert [(v.channel, v.seq) for v in views if v.maybe_delivered] == [("a", 1), ("b", 1)]
        # As at a reload: another worker for the same destination, in the same process.
        server = await made.destination("server")
        made.intake.configure(dict(made.channels), made.workers)
        await made.send("a", *numbers(2, start=7))
        await made.drain()
        assert server.of("a") == numbers(8)
        assert server.of("b") == numbers(6)


async def test_what_is_committed_before_a_worker_runs_waits_for_it(made: Plant) -> None:
    server = await made.destination("server", start=False)
    made.channel("a", "server")
    await made.send("a", *numbers(5))
    await made.settle()
    assert made.states("server") == ["waiting"] * 5
    await made.workers["server"].start()
    await made.drain()
    assert server.of("a") == numbers(5)


async def test_a_destination_that_hangs_while_it_closes_does_not_hang_the_stop(
    made: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "CLOSE_S", 0.05)
    server = await made.destination("server")
    monkeypatch.setattr(server, "close", asyncio.Event().wait)
    await asyncio.wait_for(made.workers["server"].stop(0.05), 240.0)


async def test_a_destination_that_cannot_be_opened_is_tried_again_and_nothing_is_dead(
    made: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "REOPEN_S", 0.01)
    server = await made.destination("server", start=False)
    tries = 0

    async def start() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("ours")

    monkeypatch.setattr(server, "start", start)
    made.channel("a", "server")
    await made.workers["server"].start()
    await made.send("a", *numbers(3))
    await made.drain()
    assert server.of("a") == numbers(3)
    assert tries == 3


# -- the store fails -----------------------------------------------------------------------------------------------


class Flaky:
    """An outbox that fails now and then, at once or later."""

    def __init__(self, journal: Journal, rng: random.Random, share: float) -> None:
        self._journal = journal
        self._rng = rng
        self.share = share
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._journal, name)

        def call(*arguments: Any, **more: Any) -> Any:
            if self._rng.random() >= self.share:
                return real(*arguments, **more)
            self.failed += 1
            error = StoreError("the journal cannot keep this: database or disk is full")
            if self._rng.random() < 0.5:
                raise error
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            future.get_loop().call_soon(future.set_exception, error)
            return future

        return call


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_or_out_of_order_where_the_store_fails_now_and_then(made: Plant, seed: int) -> None:
    rng = random.Random(seed)
    flaky = Flaky(made.journal, rng, 0.3)
    server = await made.destination("server", journal=flaky, memory_deliveries=4, breaker=Breaker(threshold=10_000))
    server.script = lambda channel, body, attempt: rng.choice([None, busy(), None]) if attempt < 4 else None
    for channel in "ab":
        made.channel(channel, "server", hold=channel == "b")
        await made.send(channel, *numbers(30))
    await made.drain(within_s=60.0)
    assert flaky.failed > 10
    assert server.of("a") == server.of("b") == numbers(30)
    assert len(server.taken) == 60  # none twice
    assert set(made.states("server")) == {"delivered"}
    # The last claim may be under way, or be made again after a failure: it holds places until it has found nothing.
    await until(lambda: made.workers["server"].memory.deliveries == made.workers["server"].memory.bytes == 0)


async def test_while_the_guard_cannot_be_asked_nothing_is_sent(made: Plant) -> None:
    flaky = Flaky(made.journal, random.Random(1), 0.0)
    server = await made.destination("server", journal=flaky)
    made.channel("a", "server")
    await made.send("a", "00001|r")
    await made.drain()
    await made.journal.run(queueing.replay, [1])
    flaky.share = 1.0
    made.look_for_open("server")
    await made.advance(1.0)
    assert len(server.taken) == 1
    flaky.share = 0.0
    await made.drain()
    assert server.of("a") == ["00001|r"]
    assert len(server.taken) == 2


class Full:
    """A disk so full that some outcomes cannot be written, while everything can be read as ever."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.full = True
        self.failed = 0

    def run(self, function: Any, delivery_id: Any, *arguments: Any, **more: Any) -> "asyncio.Future[Any]":
        if function is not attempts_ops.settle:
            return self._journal.run(function, delivery_id, *arguments, **more)
        (delivery,) = [one for one in trace_of(self._journal, delivery_id).deliveries if one.id == delivery_id]
        if self.full and delivery.channel == "a":
            self.failed += 1
            raise StoreError("the journal cannot keep this: database or disk is full")
        return self._journal.run(function, delivery_id, *arguments, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_an_older_result_waits_while_it_cannot_be_written_that_its_correction_was_delivered(
    made: Plant, newest_first: bool
) -> None:
    full = Full(made.journal)
    server = await made.destination("server", journal=full)
    server.script = lambda channel, body, attempt: busy() if body == "00001|r" and attempt == 0 else None
    made.channel("a", "server", order="none")
    made.channel("b", "server")
    made.workers["server"].lane("a").newest_first = newest_first
    await made.send("a", "00001|r", "00002|r")
    for number in range(5):
        await made.advance(10.0)
        await made.send("b", str(number))  # what can be written says nothing about what cannot
    assert server.of("a") == ["00002|r"]
    full.full = False
    await made.drain()
    assert server.of("a") == ["00002|r"]
    assert full.failed > 0


# -- everything at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_people_and_peers_do_at_once_order_and_every_message_are_kept(tmp_path: Path, seed: int) -> None:
    """Failures, refusals, retries, replays, held lanes and restarts, in any mixture (T10, T27)."""
    rng = random.Random(seed)
    sent: dict[str, int] = {"a": 0, "b": 0}
    hold = {"a": rng.random() < 0.5, "b": rng.random() < 0.5}
    memory = rng.choice([2, 10, 256])
    first: dict[str, list[str]] = {"a": [], "b": []}
    troubled = True

    def trouble(channel: str, body: str, attempt: int) -> Exception | None:
        if not troubled:
            return None
        return rng.choice([None, None, None, busy(), silent(), refused()])

    def order_of(server: ScriptedDestination) -> None:
        for channel in first:
            for body in server.of(channel):
                if body not in first[channel]:
                    first[channel].append(body)

    for _ in range(3):
        async with plant(tmp_path) as made:
            server = await made.destination("server", memory_deliveries=memory, breaker=Breaker(threshold=4))
            server.script = trouble
            for channel in "ab":
                made.channel(channel, "server", hold=hold[channel])
            for _ in range(12):
                match rng.choice(["send", "send", "time", "retry", "replay", "time"]):
                    case "send":
                        channel = rng.choice("ab")
                        count = rng.randrange(1, 12)
                        await made.send(channel, *numbers(count, start=1 + sent[channel]))
                        sent[channel] += count
                    case "time":
                        await made.advance(rng.choice([0.1, 1.0, 30.0]))
                    case "retry":
                        dead = [view.id for view in made.views("server") if view.state == "dead"]
                        await made.journal.run(decisions.requeue, rng.sample(dead, min(len(dead), 3)))
                        made.look_for_open("server")
                    case "replay":
                        ids = [view.id for view in messages_page(made.journal, limit=1000)]
                        await made.journal.run(queueing.replay, rng.sample(ids, min(len(ids), 3)))
                        made.look_for_open("server")
            await made.settle()
            order_of(server)
    troubled = False
    async with plant(tmp_path) as made:
        server = await made.destination("server", memory_deliveries=memory)
        for channel in "ab":
            made.channel(channel, "server", hold=hold[channel])
        await made.journal.run(decisions.requeue, [view.id for view in made.views("server") if view.state == "dead"])
        made.look_for_open("server")
        await made.drain()
        order_of(server)
        views = made.views("server")
    for channel, count in sent.items():
        assert sorted(first[channel]) == numbers(count)
        if hold[channel]:  # nothing may pass a dead letter, so the first deliveries are in order whatever happened
            assert first[channel] == numbers(count)
    assert {view.state for view in views} == {"delivered"}
    keys: dict[int, set[str]] = {}
    for view in views:
        keys.setdefault(view.message_id, set()).add(view.key)
    assert all(len(found) == 1 for found in keys.values())
