"""A person closes or corrects what is just being sent: what is on its way cannot be called back, but nothing of it is
sent once more, how it ended is known, and nothing newer goes out before it."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from engine.actions import underway
from engine.actions.underway import Acts
from engine.features.rework.acts.edit import edit_message
from engine.features.rework.rows import dismissal
from engine.model.errors import LabRelayError, RefusedDeliveryError, RefusedError, TransientDeliveryError
from engine.model.journal.journal_views import DeliveryView
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.lanes import list_lanes
from engine.store.queries.messages import trace_of
from tests.support.plant import Plant, ScriptedDestination, plant
from tests.support.waiting import until

WRONG, RIGHT = "00001|R1|P1", "00001|R1|P1|right"


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path) as made:
        yield made


def refused(channel: str, body: str, attempt: int) -> Exception | None:
    return RefusedDeliveryError(ReasonCode.REFUSED, "422") if body == WRONG else None


def busy(channel: str, body: str, attempt: int) -> Exception | None:
    return TransientDeliveryError(ReasonCode.BUSY, "503")


async def one_dead_one_under_way(made: Plant, order: str = "none") -> tuple[Acts, int, ScriptedDestination]:
    """A message that one destination has refused, while the other has its document inside."""
    strict, slow = await made.destination("strict"), await made.destination("slow")
    strict.script = refused
    made.channel("a", "strict", "slow", order=order)
    slow.gate.clear()
    (stored,) = await made.send("a", WRONG)
    await until(lambda: bool(slow.inside) and made.states("strict") == ["dead"])
    acts = Acts(
        made.journal,
        channels=lambda: made.channels,
        reclaim=lambda channel, destination: made.workers[destination].reclaim(channel),
        accept=made.intake.accept,
        clock=made.clock,
        attempts=lambda message: [name for name, worker in made.workers.items() if worker.attempts_of(message)],
    )
    return acts, stored.id, slow


def delivery(made: Plant, message: int, destination: str) -> DeliveryView:
    trace = trace_of(made.journal, message)
    assert trace is not None
    (found,) = [one for one in trace.deliveries if one.destination == destination]
    return found


@pytest.mark.parametrize("order", ["none", "specimen", "channel"])
async def test_an_edit_waits_for_an_attempt_and_nothing_goes_out_before_its_end(made: Plant, order: str) -> None:
    acts, message, slow = await one_dead_one_under_way(made, order)
    asked: list[int] = []
    attempts = acts.attempts
    acts.attempts = lambda one: (asked.append(one), attempts(one))[1]  # type: ignore[func-returns-value]
    edit = asyncio.create_task(edit_message(acts, message, RIGHT.encode(), actor="anna", reason="wrong unit"))
    await until(lambda: bool(asked))
    assert not edit.done()
    assert slow.taken == []
    slow.gate.set()
    told = await edit
    await made.drain()

    assert told["awaited"] == ["slow"]
    assert slow.taken == [("a", WRONG), ("a", RIGHT)], "what was on its way ended first"
    assert delivery(made, message, "slow").state == "delivered", "and how it ended is known"
    assert delivery(made, message, "strict").state == "dismissed"


async def test_an_edit_is_made_with_the_configuration_that_its_person_has_seen(made: Plant) -> None:
    acts, message, slow = await one_dead_one_under_way(made)
    acts.journal.upkeep.config_hash = "0123456789ab"
    wanted = partial(edit_message, acts, message, RIGHT.encode(), actor="anna", reason="wrong unit")
    seen = (await wanted(dry_run=True))["config_hash"]
    with pytest.raises(RefusedError, match="configuration has changed"):
        await wanted(seen_with="ba9876543210")

    asked: list[int] = []
    attempts = acts.attempts
    acts.attempts = lambda one: (asked.append(one), attempts(one))[1]  # type: ignore[func-returns-value]
    edit = asyncio.create_task(wanted(seen_with=seen + 52 * "0"))  # the whole hash
    await until(lambda: bool(asked))
    acts.journal.upkeep.config_hash = "ba9876543210"
    slow.gate.set()
    with pytest.raises(RefusedError, match="configuration has changed"):
        await edit
    assert delivery(made, message, "strict").state == "dead"
    await wanted(seen_with="ba9876543210")
    await made.drain()
    assert delivery(made, message, "strict").state == "dismissed"


async def test_what_failed_while_an_edit_waited_for_it_is_not_sent_again(made: Plant) -> None:
    acts, message, slow = await one_dead_one_under_way(made)
    slow.script = lambda channel, body, attempt: busy(channel, body, attempt) if body == WRONG else None
    edit = asyncio.create_task(edit_message(acts, message, RIGHT.encode(), actor="anna", reason="wrong unit"))
    await made.settle()
    slow.gate.set()
    await edit
    await made.drain()

    assert slow.taken == [("a", RIGHT)]
    assert slow.attempts[("a", WRONG)] == 1
    ended = delivery(made, message, "slow")
    assert (ended.state, [one.cause for one in ended.attempts]) == ("dismissed", ["BUSY"])


async def test_an_edit_of_what_takes_too_long_changes_nothing_and_says_so(
    made: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(underway, "ATTEMPT_ENDS_WITHIN_S", 0.1)
    acts, message, slow = await one_dead_one_under_way(made)
    with pytest.raises(LabRelayError, match="an attempt to deliver message 1 to slow is under way") as caught:
        await edit_message(acts, message, RIGHT.encode(), actor="anna", reason="wrong unit")
    assert "nothing was changed" in str(caught.value)
    assert made.states("strict") == ["dead"]
    assert made.journal.last_id == message
    slow.gate.set()
    await made.drain()
    assert slow.taken == [("a", WRONG)]


@pytest.mark.parametrize("order", ["none", "channel"])
async def test_what_only_waits_in_memory_for_a_destination_does_not_go_out_after_an_edit(
    made: Plant, order: str
) -> None:
    strict, slow = await made.destination("strict"), await made.destination("slow", concurrency=1)
    strict.script = refused
    made.channel("b", "slow")
    made.channel("a", "strict", "slow", order=order)
    slow.gate.clear()
    await made.send("b", "00009")
    await until(lambda: bool(slow.inside))
    (stored,) = await made.send("a", WRONG)
    await until(lambda: made.states("strict") == ["dead"])
    assert delivery(made, stored.id, "slow").claimed, "it is in memory, and no attempt has begun"
    acts = Acts(
        made.journal,
        channels=lambda: made.channels,
        reclaim=lambda channel, destination: made.workers[destination].reclaim(channel),
        accept=made.intake.accept,
        clock=made.clock,
        attempts=lambda message: [name for name, worker in made.workers.items() if worker.attempts_of(message)],
    )
    told = await edit_message(acts, stored.id, RIGHT.encode(), actor="anna", reason="wrong unit")
    slow.gate.set()
    await made.drain()

    assert told["awaited"] == []
    assert slow.taken == [("b", "00009"), ("a", RIGHT)]
    assert delivery(made, stored.id, "slow").state == "dismissed"


async def test_a_delivery_that_is_closed_while_its_attempt_is_under_way_is_not_tried_again(made: Plant) -> None:
    """Two people at once: one tries a dead letter again, the other closes it."""
    server = await made.destination("server")
    made.channel("a", "server")
    server.script = busy
    (stored,) = await made.send("a", "00001")
    await until(lambda: server.attempts[("a", "00001")] == 1)
    await made.settle()
    server.gate.clear()
    await made.advance(2.0)  # the second attempt: in the store the delivery waits
    await until(lambda: bool(server.inside))
    one = delivery(made, stored.id, "server")
    assert await made.journal.run(dismissal.dismiss, deliveries=[one.id], actor="anna", reason="seen") == 1
    server.gate.set()
    await made.settle()
    for _ in range(20):
        await made.advance(60.0)

    assert server.attempts[("a", "00001")] == 2
    ended = delivery(made, stored.id, "server")
    assert (ended.state, len(ended.attempts)) == ("dismissed", 2), "how the last one ended is known"
    assert made.workers["server"].memory.deliveries == 0
    (lane,) = list_lanes(made.journal)
    assert lane.open == 0
