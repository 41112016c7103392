"""Which order a result closes, by when it was measured: a table, walked on a real journal.

measured clearly before the order came        none: the order goes on as it was, and the result is without order
the analyzer's clock is wrong by little       it closes it: a clock differs by minutes, daylight saving by an hour
no time, or an impossible one                 it closes it
after the specimen of the order was taken     it closes it: a test that is added on to a tube that was measured
a rerun                                       none: the value before it is the reason of the rerun
measured before the order came, and before    none that is open: it is of the older order. So is one that was measured
the result of an older order                  at the same time and names no patient; if that cannot be compared, of none
the result of the older order is held,        as before: it counts if it came before the new order
or came after that was cancelled
clearly before the order came, and after      none: the clock may be wrong by a day, or the time is that of the
the result of an older order, or of one       collection. A person sees it among the results without order. One that
without a time by the same clock              corrects a value or takes it back is no other one
the same, and an older order waits for it     of that order
after the order came, by a clock that is      none: with the time of the older order's result it is of that order,
ahead, as that of the older order's result    with an older one a person sees it
it names the order (IHE LAW)                  it closes it, by any clock
an echo of an accepted result                 none that is open
a correction                                  the one whose result it corrects, and no rerun of it
taken back                                    the one that it closed is open again
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.rows import items, naming, reading
from engine.features.orders.rows.closing import CLOCK_US
from engine.features.orders.rows.reading import tube
from engine.features.orders.rules.order_rules import ItemEvent
from engine.model.content.order_results import TubeResults
from engine.model.orders import Action, OrderedPatient
from engine.model.process.clock import ManualClock, to_us
from engine.model.values import changed
from engine.model.worklist import ResultOf
from engine.store.core.writing.batch import Batch
from tests.engine.features.orders.rows.test_orders_in_and_out import ASHA, RAVI, Desk, numbers, order
from tests.support.journals import started

NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)  # when the order comes
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLOSED, OPEN = ("resulted", 0, False), ("offered", 1, True)  # its state; results without order; whether that is older


def at(when: timedelta, **more: Any) -> ResultOf:
    """A result measured so long after the order came."""
    return ResultOf(test="GLU", measured_us=to_us(NOW + when), **more)


CASES: dict[str, tuple[dict[str, Any], ResultOf, tuple[str, int, bool]]] = {
    "without a time": ({}, ResultOf(test="GLU"), CLOSED),
    "measured after the order": ({}, at(HOUR), CLOSED),
    "measured at the same moment": ({}, at(timedelta()), CLOSED),
    "a clock that is behind by minutes": ({}, at(-timedelta(minutes=14)), CLOSED),
    "a clock without daylight saving": ({}, at(-HOUR), CLOSED),
    "just within what a clock may differ": ({}, at(-timedelta(microseconds=CLOCK_US)), CLOSED),
    "just beyond it": ({}, at(-timedelta(microseconds=CLOCK_US + 1)), OPEN),
    "the result of yesterday's tube of this number": ({}, at(-DAY), OPEN),
    "of weeks ago": ({}, at(-30 * DAY), OPEN),
    "a clock that is ahead": ({}, at(400 * DAY), CLOSED),
    "yesterday's, final or not": ({}, at(-DAY, final=False), OPEN),
    "added on: the specimen was taken before it was measured": (
        {"collected": (NOW - 9 * HOUR).isoformat()},
        at(-8 * HOUR),
        CLOSED,
    ),
    "added on, and measured before the specimen was taken": (
        {"collected": (NOW - 9 * HOUR).isoformat()},
        at(-11 * HOUR),
        OPEN,
    ),
    "added on: only the day is known": ({"collected": "2026-03-01"}, at(-2 * HOUR), CLOSED),
    "added on: that is no time": ({"collected": "this morning"}, at(-2 * HOUR), OPEN),
    "yesterday's, which names the order": ({}, at(-DAY, item_id="W1"), CLOSED),
    "yesterday's, which names another order": ({}, at(-DAY, item_id="W9"), OPEN),
    "an echo": ({}, ResultOf(test="GLU", repeats=True), ("offered", 1, True)),
    "an echo that names the order": ({}, ResultOf(test="GLU", repeats=True, item_id="W1"), CLOSED),
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock(NOW)
    journal = await started(tmp_path / "data", clock=clock)
    try:
        yield Desk(journal, clock)
    finally:
        await journal.stop()


def without(desk: Desk, specimen: str = "S1") -> tuple[int, bool]:
    found = tube(desk.journal, specimen).without
    return sum(one.results for one in found), any(one.older for one in found)


@pytest.mark.parametrize("name", CASES)
async def test_a_result_closes_no_order_that_came_later(desk: Desk, name: str) -> None:
    more, result, wanted = CASES[name]
    await desk.take(order(**more))
    await desk.tell("S1")
    desk.clock.advance(60)

    await desk.result("S1", result)

    assert (desk.state(1)[0], *without(desk)) == wanted


async def test_an_old_result_can_be_matched_by_a_person(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", at(-DAY))
    (found,) = tube(desk.journal, "S1").without

    await desk.journal.run(worklist.match, 1, found.message_id, actor="asha", reason="the LIS was down")

    assert desk.state(1)[0] == "resulted"


@pytest.mark.parametrize(("has_own_time", "shown"), [(True, 0), (False, 1)])
async def test_an_old_result_is_of_the_order_of_its_time(desk: Desk, has_own_time: bool, shown: int) -> None:
    """The memory of an analyzer: today's tube of this number is another patient's. Where its order alone says when,
    that may be the collection of both tubes."""
    result = own(HOUR) if has_own_time else at(HOUR)
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", result)
    desk.wait(31)
    await desk.take(order(placer="O2", patient=RAVI))
    await desk.tell("S1")

    assert await desk.result("S1", result) == [(1, False)][shown:]

    assert desk.states() == ["resulted", "offered"]
    assert without(desk) == (shown, bool(shown))


async def test_a_value_from_before_a_rerun_does_not_end_the_rerun(desk: Desk) -> None:
    taken = {"collected": (NOW - 9 * HOUR).isoformat()}
    await desk.take(order(**taken))
    await desk.tell("S1")
    await desk.result("S1", at(HOUR))
    desk.clock.advance(5 * 3600)
    await desk.take(order(action="rerun", **taken))
    await desk.tell("S1")

    await desk.result("S1", at(HOUR))  # of the first run
    assert desk.states() == ["resulted", "offered"]

    await desk.result("S1", at(5 * HOUR))
    assert desk.states() == ["resulted", "resulted"]


async def test_an_old_result_is_no_late_one(desk: Desk) -> None:
    """A cancelled order is not measured before it came."""
    await desk.take(order())
    await desk.take(order(action="cancel"))

    assert await desk.result("S1", at(-DAY)) == []
    assert await desk.result("S1", at(timedelta())) == [(1, True)]


async def test_a_message_that_is_processed_again_is_of_its_first_order(desk: Desk) -> None:
    """Two orders for one test, of which one was given to the analyzer: the other one stays as it is."""
    await desk.take(order())
    await desk.tell("S1")
    await desk.take(order(placer="O2"))
    message = await desk.message()
    test = [ResultOf(test="GLU")]

    async def process(**more: Any) -> list[tuple[int, bool]]:
        return await desk.journal.run(worklist.result, message, "chem", "S1", "", test, **more)

    assert await process() == [(1, False)]
    assert await process(again=True) == [(1, False)]
    assert desk.states() == ["resulted", "waiting"]


async def test_the_time_of_the_message_of_an_order_counts(desk: Desk) -> None:
    """It was a dead letter at first: its item is younger than the result."""
    ordered = await desk.message()
    desk.clock.advance(7200)
    await desk.take(order(), message=ordered)

    assert await desk.result("S1", at(HOUR / 2)) == [(1, False)]
    assert desk.states() == ["resulted"]


def own(when: timedelta, **more: Any) -> ResultOf:
    """A result that says itself when it was measured."""
    return at(when, own_us=to_us(NOW + when), **more)


MINUTE = timedelta(minutes=1)
# The first order got its result, measured at +2 minutes; ten minutes later the number was ordered anew.
REUSED: dict[str, tuple[ResultOf, dict[str, Any], list[str]]] = {
    "the old result again": (own(2 * MINUTE), {}, ["resulted", "offered"]),
    # Times of collection: it may be the rerun. The old result itself is an echo, and does not come here.
    "it again, with its patient": (own(2 * MINUTE), {"patient": "P1"}, ["resulted", "resulted"]),
    "an older one, with its patient": (own(MINUTE), {"patient": "P1"}, ["resulted", "offered"]),
    "an older one": (own(MINUTE), {}, ["resulted", "offered"]),
    "it again, not final": (own(2 * MINUTE, final=False), {}, ["resulted", "offered"]),
    "only its order says when": (at(2 * MINUTE), {}, ["resulted", "offered"]),
    "only its order says when, and its patient is known": (at(2 * MINUTE), {"patient": "P1"}, ["resulted", "resulted"]),
    "of another analyzer, whose clock cannot be compared": (
        own(8 * MINUTE),
        {"channel": "chem2"},
        ["resulted", "offered"],
    ),
    "of another analyzer, and its patient is known": (
        own(8 * MINUTE),
        {"channel": "chem2", "patient": "P1"},
        ["resulted", "resulted"],
    ),
    "measured later by a clock that is behind": (own(8 * MINUTE), {}, ["resulted", "resulted"]),
    "measured after the order": (own(13 * MINUTE), {}, ["resulted", "resulted"]),
    "without a time": (ResultOf(test="GLU"), {}, ["resulted", "resulted"]),
    "it names the order": (own(2 * MINUTE, item_id="W2"), {}, ["resulted", "resulted"]),
}


OF_NONE = {"only its order says when", "of another analyzer, whose clock cannot be compared"}  # a person matches it


@pytest.mark.parametrize("name", REUSED)
async def test_an_old_result_is_not_of_a_newer_order_of_its_number(desk: Desk, name: str) -> None:
    result, more, wanted = REUSED[name]
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(180)
    await desk.result("S1", own(2 * MINUTE), patient="P1")
    desk.clock.advance(600)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")
    desk.clock.advance(180)

    await desk.result("S1", result, **more)

    assert desk.states() == wanted
    assert without(desk) == ((1, True) if name in OF_NONE else (0, False))


@pytest.mark.parametrize("patient", ["", "P1"])
@pytest.mark.parametrize("older", ["held", "cancelled", "refused"])
async def test_nor_where_the_older_order_was_given_up_or_its_result_is_held(
    desk: Desk, older: str, patient: str
) -> None:
    await desk.take(order())
    if older == "cancelled":
        await desk.take(order(action="cancel"))
    else:
        await desk.tell("S1")
    if older == "refused":
        await desk.journal.writer.submit(refuse)
    desk.clock.advance(180)
    await sent(desk, own(2 * MINUTE), held=older == "held")
    desk.clock.advance(600)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    assert await desk.result("S1", own((2 if not patient else 1) * MINUTE), patient=patient) == [(1, older != "held")]

    assert desk.states() == ["resulted" if older == "held" else older, "offered"]
    assert without(desk) == (0, False)


def refuse(batch: Batch) -> None:
    """The analyzer refuses the first order."""
    one = items.by_number(batch, 1)
    assert one is not None
    items.apply(batch, one, ItemEvent.REFUSED, channel="chem")


async def sent(
    desk: Desk, *results: ResultOf, specimen: str = "S1", channel: str = "chem", held: bool
) -> list[tuple[int, bool]]:
    message = await desk.message()
    return await desk.journal.run(worklist.result, message, channel, specimen, "", results, held=held)


BOTH: dict[str, tuple[ResultOf, bool, ResultOf]] = {
    "preliminary, then final": (own(2 * MINUTE, final=False), False, own(2 * MINUTE)),
    "preliminary, then final without a time": (own(2 * MINUTE, final=False), False, ResultOf(test="GLU")),
    "held, then corrected": (own(2 * MINUTE), True, own(2 * MINUTE, corrects=True)),
    "a later replicate, then the final one": (own(3 * MINUTE, final=False), False, own(2 * MINUTE)),
}


@pytest.mark.parametrize("name", BOTH)
async def test_two_orders_that_the_analyzer_got_before_have_the_same_result(desk: Desk, name: str) -> None:
    first, held, then = BOTH[name]
    desk.clock.advance(120)
    await desk.take(order())
    await desk.take(order(placer="O2"))
    await desk.tell("S1")
    await sent(desk, first, held=held)

    await desk.result("S1", then)

    assert desk.states() == ["resulted", "resulted"]
    assert without(desk) == (0, False)


async def test_a_result_that_names_its_order_is_of_it_beside_any_other(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", own(MINUTE))
    desk.clock.advance(600)
    await desk.take(order(placer="O2"))
    await desk.take(order(placer="O3"))
    await desk.tell("S1")

    assert await desk.result("S1", at(2 * MINUTE, item_id="W2")) == [(2, False)]

    assert desk.states() == ["resulted", "resulted", "offered"]
    assert without(desk) == (0, False)


async def test_a_time_of_the_future_is_not_that_of_the_older_result(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", own(365 * DAY), patient="P1")
    desk.clock.advance(600)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    await desk.result("S1", own(5 * MINUTE))
    assert desk.states() == ["resulted", "offered"]
    assert without(desk) == (1, True)  # a person matches it

    await desk.result("S1", own(5 * MINUTE), patient="P1")
    assert desk.states() == ["resulted", "resulted"]


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (own(2 * HOUR), (1, True)),
        (own(2 * HOUR, final=False), (1, True)),
        (own(MINUTE), (0, False)),  # the result that the first order has
        (own(2 * HOUR, repeats=True), (0, False)),
        (own(2 * HOUR, corrects=True), (1, True)),  # of the value that was shown, or of the first order
        (own(MINUTE, corrects=True), (0, False)),
        (own(2 * HOUR, final=False, corrects=True, withdrawn=True), (1, True)),
        (own(2 * HOUR, final=False, withdrawn=True), (1, True)),
        (at(2 * HOUR), (1, True)),  # of the collection, perhaps
    ],
    ids=[
        *("final", "preliminary", "the first one again", "an echo", "a correction", "a correction of the first one"),
        *("taken back", "it cannot be measured", "only its order says when"),
    ],
)
async def test_a_result_between_two_orders_of_a_number_is_shown_to_a_person(
    desk: Desk, result: ResultOf, wanted: tuple[int, bool]
) -> None:
    """It may be that of today's order, by a clock that is a day behind."""
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", own(MINUTE))
    desk.wait(1)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    found = await desk.result("S1", result)

    assert desk.states() == ["resulted", "offered"]
    assert without(desk) == wanted
    assert found == ([] if wanted[0] else [(1, False)])


def behind(desk: Desk, by: timedelta, **more: Any) -> ResultOf:
    """A result measured now, by a clock that is behind."""
    at_us = desk.clock.now_us() - by // timedelta(microseconds=1)
    return ResultOf(test="GLU", measured_us=at_us, own_us=at_us, **more)


async def matched(desk: Desk, number: int) -> None:
    """A person says that the result without order is of this one."""
    (found,) = tube(desk.journal, "S1").without
    await desk.journal.run(worklist.match, number, found.message_id, actor="asha", reason="the clock is wrong")


def names(batch: Batch, message_id: int, result: ResultOf) -> list[int]:
    """The orders that the document of a message names."""
    found, _ = naming.orders_of(
        batch, message_id, "chem", [TubeResults(specimen="S1", tests=(result,))], came=message_id, again=False
    )
    return [one["item"] for one in found if "item" in one]


async def older_order(desk: Desk, how: str) -> None:
    """The first order, which has no result whose time is known by the clock of the analyzer."""
    await desk.take(order())
    if how == "cancelled":
        await desk.take(order(action="cancel"))
        return
    await desk.tell("S1")
    desk.clock.advance(300)
    if how == "another analyzer":
        await desk.result("S1", behind(desk, timedelta()), channel="chem2")
    elif how == "matched":
        await desk.result("S1", behind(desk, DAY))
        await matched(desk, 1)
    else:
        await desk.result("S1", ResultOf(test="GLU") if how == "without a time" else at(2 * MINUTE))


@pytest.mark.parametrize("patient", [ASHA, RAVI], ids=["the same patient", "another patient"])
@pytest.mark.parametrize("how", ["matched", "another analyzer", "without a time", "only its order", "cancelled"])
async def test_a_clock_that_is_behind_is_seen_where_the_older_order_has_no_time(
    desk: Desk, how: str, patient: OrderedPatient
) -> None:
    await older_order(desk, how)
    (before,) = desk.states()
    desk.wait(31)
    await desk.take(order(placer="O2", patient=patient))
    await desk.tell("S1")
    desk.clock.advance(300)
    result, message = behind(desk, DAY), await desk.message()

    assert await desk.journal.writer.submit(lambda batch: names(batch, message, result)) == []
    assert await desk.result("S1", result) == []

    assert desk.states() == [before, "offered"]
    assert without(desk) == (1, True)


@pytest.mark.parametrize("is_own", [False, True])
async def test_a_rerun_whose_time_is_that_of_the_collection_is_shown_to_a_person(desk: Desk, is_own: bool) -> None:
    collected = own(-HOUR / 2) if is_own else at(-HOUR / 2)
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", collected, patient="P1")
    desk.clock.advance(3 * 3600)
    await desk.take(order(action="rerun"))
    await desk.tell("S1")

    assert await desk.result("S1", collected, patient="P1") == []
    assert desk.states() == ["resulted", "offered"]
    assert without(desk) == (1, True)

    correction = changed(collected, corrects=True)
    assert await desk.result("S1", correction, patient="P1") == ([(1, False)] if is_own else [])
    assert desk.states() == ["resulted", "offered"]


@pytest.mark.parametrize("more", [{}, {"corrects": True}, {"final": False, "corrects": True, "withdrawn": True}])
async def test_nor_does_it_reach_the_older_order_where_a_person_has_matched_the_first_one(
    desk: Desk, more: dict[str, Any]
) -> None:
    """The clock is a day behind: that is known now."""
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", own(MINUTE))
    desk.wait(3)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")
    result = behind(desk, DAY)
    await desk.result("S1", result)
    await matched(desk, 2)

    assert await desk.result("S1", changed(result, **more)) == []

    assert desk.states() == ["resulted", "resulted"]
    assert without(desk) == (1, True)


@pytest.mark.parametrize("patient", ["", "P1"])
async def test_a_newer_order_takes_no_result_from_the_order_that_it_is_of(desk: Desk, patient: str) -> None:
    """The third order came after the second one was measured."""
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(300)
    await desk.result("S1", own(2 * MINUTE))
    desk.wait(1)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")
    desk.clock.advance(600)
    result = behind(desk, timedelta())
    desk.clock.advance(7200)
    await desk.take(order(placer="O3"))

    assert await desk.result("S1", result, patient=patient) == [(2, False)]

    assert desk.states() == ["resulted", "resulted", "waiting"]
    assert without(desk) == (0, False)


@pytest.mark.parametrize("held", [False, True])
async def test_replicates_in_one_message_are_of_one_order(desk: Desk, held: bool) -> None:
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(7500)
    await desk.take(order(placer="O2"))

    assert await sent(desk, own(2 * MINUTE), own(4 * MINUTE), held=held) == [(1, False)]

    assert desk.states() == ["in_progress" if held else "resulted", "waiting"]
    assert without(desk) == (0, False)


async def test_a_held_result_of_the_older_order_does_not_make_the_next_one_its_own(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await sent(desk, own(2 * MINUTE), held=True)
    desk.wait(2)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    assert await desk.result("S1", own(DAY)) == []
    assert desk.states() == ["in_progress", "offered"]
    assert without(desk) == (1, True)

    assert await desk.result("S1", own(2 * MINUTE)) == [(1, False)]
    assert desk.states() == ["resulted", "offered"]


async def test_the_time_of_the_newest_result_of_the_older_order_counts(desk: Desk) -> None:
    """It had one already, so the second one has no row of its own."""
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(300)
    await desk.result("S1", own(2 * MINUTE))
    await desk.result("S1", own(4 * MINUTE))
    await desk.result("S1", own(3 * MINUTE))
    await desk.result("S1", own(DAY))  # of the future
    desk.clock.advance(600)
    await desk.take(order(action="rerun"))
    await desk.tell("S1")

    await desk.result("S1", own(4 * MINUTE))
    assert desk.states() == ["resulted", "offered"]

    desk.clock.advance(300)
    await desk.result("S1", own(18 * MINUTE))
    assert desk.states() == ["resulted", "resulted"]

    await desk.result("S1", own(2 * MINUTE, **GONE))
    assert desk.states() == ["in_progress", "resulted"]


@pytest.mark.parametrize("how", ["corrects", "final", "preliminary at first"])
@pytest.mark.parametrize("action", ["rerun", "new"])
async def test_the_time_of_a_result_that_came_long_after_the_first_one_counts(
    desk: Desk, action: Action, how: str
) -> None:
    """It is shown in the order's history, and a memory that is read again later ends no rerun."""
    again = own(199 * MINUTE, corrects=how == "corrects")
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(300)
    await desk.result("S1", own(4 * MINUTE))
    desk.clock.advance(195 * 60)
    for _ in range(2):
        await desk.result("S1", again if how != "preliminary at first" else changed(again, final=False))
    desk.clock.advance(600)
    await desk.take(order(action=action, placer="O1" if action == "rerun" else "O2"))
    await desk.tell("S1")

    assert await desk.result("S1", again) == [(1, False)]

    assert desk.states() == ["resulted", "offered"]
    found = reading.item(desk.journal, 1)
    assert found is not None
    assert [one.event for one in found.history] == ["taken", "sent", "final", "one_more"]


async def test_a_time_of_the_future_that_came_first_hides_no_later_one(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", own(365 * DAY))
    desk.clock.advance(600)
    await desk.result("S1", own(8 * MINUTE))
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    assert await desk.result("S1", own(8 * MINUTE)) == [(1, False)]
    assert desk.states() == ["resulted", "offered"]


@pytest.mark.parametrize(
    ("when", "patient", "wanted", "shown"),
    [
        (22 * MINUTE, "", "offered", 0),  # the old result
        (22 * MINUTE, "P1", "resulted", 0),  # of the collection, perhaps
        (21 * MINUTE, "", "offered", 1),  # an older one, or the clock was put back
        (21 * MINUTE, "P1", "offered", 1),
        (23 * MINUTE, "", "resulted", 0),
    ],
)
async def test_the_memory_of_an_analyzer_whose_clock_is_ahead_ends_no_order_that_came_since(
    desk: Desk, when: timedelta, patient: str, wanted: str, shown: int
) -> None:
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(180)
    await desk.result("S1", own(22 * MINUTE), patient="P1")
    desk.clock.advance(420)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    await desk.result("S1", own(when), patient=patient)

    assert desk.states() == ["resulted", wanted]
    assert without(desk) == (shown, bool(shown))


@pytest.mark.parametrize(("patient", "wanted"), [("", "offered"), ("P1", "resulted")])
async def test_the_newest_of_the_older_results_must_be_comparable(desk: Desk, patient: str, wanted: str) -> None:
    """It is another analyzer's; that this one has measured the tube long before says nothing."""
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(300)
    await desk.result("S1", own(4 * MINUTE))
    for _ in range(2):
        desk.clock.advance(7200)
        await desk.take(order(action="rerun"))
        await desk.tell("S1", channel="chem2")
        if len(desk.states()) == 2:
            desk.clock.advance(600)
            await desk.result("S1", own(134 * MINUTE), channel="chem2")

    await desk.result("S1", own(250 * MINUTE), patient=patient)

    assert desk.states() == ["resulted", "resulted", wanted]
    assert without(desk) == ((0, False) if patient else (1, True))


async def test_a_value_that_was_taken_back_ends_no_order_that_came_since(desk: Desk) -> None:
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(300)
    await desk.result("S1", own(4 * MINUTE))
    await desk.result("S1", own(4 * MINUTE, **GONE))
    desk.clock.advance(1800)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    assert await desk.result("S1", own(4 * MINUTE)) == [(1, False)]
    assert desk.states() == ["resulted", "offered"]


async def test_the_final_result_of_a_cancelled_order_ends_none_that_came_since(desk: Desk) -> None:
    """Its preliminary one says when it was measured."""
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(300)
    await desk.result("S1", own(4 * MINUTE, final=False))
    await desk.journal.writer.submit(refuse)
    desk.clock.advance(1800)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    assert await desk.result("S1", own(4 * MINUTE)) == [(1, True)]
    assert desk.states() == ["refused", "offered"]


async def test_replicates_end_the_order_that_their_document_names(desk: Desk) -> None:
    """The second order is not at the analyzer, and waits for a measurement of its own."""
    await desk.take(order())
    await desk.tell("S1")
    await desk.take(order(placer="O2"))
    desk.clock.advance(300)

    assert await sent(desk, own(3 * MINUTE), own(4 * MINUTE), held=False) == [(1, False)]
    assert desk.states() == ["resulted", "waiting"]


HISTORIES, STEPS = 8, 18


async def test_random_histories_of_one_number(desk: Desk) -> None:
    """Measurements of two analyzers, with and without a time of their own, each sent at once or later and perhaps
    again, once or twice in a message, held or not, by clocks that are right or wrong. A person matches some of them."""
    closed_any = hidden_any = 0
    for name in range(HISTORIES):
        closed, hidden = await history(desk, Random(name), f"S{name}")
        closed_any, hidden_any = closed_any + closed, hidden_any + hidden
    assert min(closed_any, hidden_any) > HISTORIES / 2


async def history(desk: Desk, random: Random, tube_number: str) -> tuple[int, int]:
    """How many orders were closed, and how many results were of none."""
    behind_us = random.choice((0, 0, 20, 1440)) * 60_000_000
    orders: dict[int, tuple[int, str]] = {}  # number -> when it came, and the analyzer that has it
    accepted: dict[tuple[str, int], int] = {}  # analyzer and time of a result -> the newest order when it came
    closed_any = hidden_any = 0
    for _ in range(STEPS):
        desk.clock.advance(60 * random.choice((1, 5, 30, 100)))
        now_us = desk.clock.now_us()
        kind = random.choice(("order", "order", "now", "now", "late", "again", "match"))
        before = {one for one in orders if desk.state(one)[0] != "resulted"}
        if kind == "order":
            (taken,) = await desk.take(order(specimen=tube_number, placer=f"{tube_number}-{len(orders)}"))
            orders[taken.number] = now_us, ""
            for number in await desk.tell(tube_number) if random.random() < 0.7 else ():
                orders[number] = orders[number][0], "chem"
            continue
        if kind == "match":
            shown = tube(desk.journal, tube_number).without
            if shown and before:
                number, message = min(before), random.choice(shown).message_id
                await desk.journal.run(worklist.match, number, message, actor="asha", reason="it is of this one")
                assert desk.state(number)[0] == "resulted"
            continue
        channel = random.choice(("chem", "chem", "chem2"))
        at_us = now_us - behind_us - (random.randrange(300) * 60_000_000 if kind == "late" else 0)
        if kind == "again" and (again := [when for of, when in accepted if of == channel]):
            at_us = random.choice(again)
        own_us, measured_us = random.choice(((at_us, at_us), (at_us, at_us), (0, at_us), (0, 0)))
        results = [ResultOf(test="GLU", measured_us=measured_us, own_us=own_us)] * random.choice((1, 1, 1, 2))
        held = kind == "now" and random.random() < 0.3
        was_shown = without(desk, tube_number)[0]

        about = await sent(desk, *results, specimen=tube_number, channel=channel, held=held)

        closed = {one for one in before if desk.state(one)[0] == "resulted"}
        assert not (held and closed)
        for number in closed if measured_us else ():
            came_us = orders[number][0]
            assert measured_us + CLOCK_US >= came_us  # never one that surely came later
            if (channel, own_us) in accepted and own_us < came_us:
                assert number <= accepted[channel, own_us]  # the older order had this very result
        if kind == "now" and not behind_us and not held:  # the clock is right: what is open is closed
            here = {one for one in before if orders[one][1] == channel}
            wanted = here or {one for one in before if orders[one][1]} or before
            assert closed == wanted  # replicates are of one order
        is_shown = without(desk, tube_number)[0] > was_shown
        assert is_shown == (not about) if len(results) == 1 else is_shown or about  # none is lost
        for number, _ in about if held else ():
            orders[number] = orders[number][0], orders[number][1] or channel
        if own_us and (closed or (held and not before.isdisjoint(number for number, _ in about))):
            accepted.setdefault((channel, own_us), max(orders))
        closed_any, hidden_any = closed_any + len(closed), hidden_any + is_shown
    return closed_any, hidden_any


GONE = {"final": False, "corrects": True, "withdrawn": True}  # D or W; without ``corrects`` X
AGAIN = ("in_progress", "RESULT_WITHDRAWN")
DONE, ASKED = ("resulted", ""), ("offered", "")
FIRST, RERUN = MINUTE, 11 * MINUTE  # when the first run was measured, and its rerun
# The first run has its result, and perhaps a rerun is at the analyzer, or has its result, too. Then this comes.
CORRECTIONS: dict[str, tuple[str, ResultOf, list[tuple[str, str]]]] = {
    "the rerun": ("asked", own(RERUN), [DONE, DONE]),
    "of the first run": ("asked", own(FIRST, corrects=True), [DONE, ASKED]),
    "of the first run, without a time": ("asked", ResultOf(test="GLU", corrects=True), [DONE, ASKED]),
    "the time of the order alone is later": ("asked", at(RERUN, corrects=True), [DONE, ASKED]),
    "a rerun that is sent as a correction": ("asked", own(RERUN, corrects=True), [DONE, DONE]),
    "it names the rerun": ("asked", own(FIRST, corrects=True, item_id="W2"), [DONE, DONE]),
    "it names the first run": ("asked", own(RERUN, corrects=True, item_id="W1"), [DONE, ASKED]),
    "of an order that has no result yet": ("none", own(FIRST, corrects=True), [DONE]),
    "of the only run": ("once", own(RERUN, corrects=True), [DONE]),
    "the only run is wrong": ("once", own(FIRST, **GONE), [AGAIN]),
    "it cannot be measured after all": ("once", own(FIRST, final=False, withdrawn=True), [AGAIN]),
    "the only run is wrong, from memory": ("once", own(FIRST, repeats=True, **GONE), [DONE]),
    "the first run is wrong, its rerun goes on": ("asked", own(FIRST, **GONE), [AGAIN, ASKED]),
    "the rerun cannot be measured": ("asked", own(RERUN, final=False, withdrawn=True), [DONE, ("in_progress", "")]),
    "the first of two results is wrong": ("twice", own(FIRST, **GONE), [AGAIN, DONE]),
    "the second of two results is wrong": ("twice", own(RERUN, **GONE), [DONE, AGAIN]),
    "one of two results is wrong: the newest": ("twice", ResultOf(test="GLU", **GONE), [DONE, AGAIN]),
    "a result that never was is wrong": ("none", own(FIRST, **GONE), [ASKED]),
    "it cannot be measured": ("none", own(FIRST, final=False, withdrawn=True), [("in_progress", "")]),
}


async def measured(desk: Desk, runs: str) -> None:
    await desk.take(order())
    await desk.tell("S1")
    if runs == "none":
        return
    desk.clock.advance(120)
    await desk.result("S1", own(FIRST))
    if runs == "once":
        return
    desk.clock.advance(480)
    await desk.take(order(action="rerun"))
    await desk.tell("S1")
    desk.clock.advance(120)
    if runs == "twice":
        await desk.result("S1", own(RERUN))


@pytest.mark.parametrize("name", CORRECTIONS)
async def test_a_correction_is_of_the_order_whose_result_it_corrects(desk: Desk, name: str) -> None:
    runs, result, wanted = CORRECTIONS[name]
    await measured(desk, runs)
    desk.clock.advance(60)

    await desk.result("S1", result)

    assert [desk.state(number) for number in range(1, len(wanted) + 1)] == wanted
    assert without(desk) == (0, False)


async def test_an_order_whose_result_was_taken_back_is_measured_again(desk: Desk) -> None:
    """Also one that the analyzer measured unasked; there, and at no other one, for as long as a new order."""
    await desk.take(order())
    await desk.result("S1", own(FIRST))
    desk.wait(40)

    await desk.result("S1", own(FIRST, **GONE))

    assert await desk.journal.run(worklist.expire) == 0
    assert numbers(await desk.ask("S1", channel="chem2")) == []
    assert numbers(await desk.ask("S1")) == [1]
    await desk.result("S1", own(RERUN))
    assert desk.states() == ["resulted"]


async def test_a_result_is_taken_back_by_its_own_analyzer_and_never_by_an_older_message(desk: Desk) -> None:
    await measured(desk, "once")
    await desk.result("S1", own(FIRST, **GONE), channel="chem2")
    assert desk.states() == ["resulted"]

    wrong, gone = await desk.message(), [own(FIRST, **GONE)]
    await desk.journal.run(worklist.result, wrong, "chem", "S1", "", gone)
    await desk.result("S1", own(RERUN))
    await desk.journal.run(worklist.result, wrong, "chem", "S1", "", gone, again=True)
    assert desk.states() == ["resulted"]


async def test_a_value_beside_a_withdrawal_takes_its_place(desk: Desk) -> None:
    """In one message, in any order of the two."""
    await measured(desk, "once")

    await desk.result("S1", own(RERUN), own(FIRST, **GONE))

    assert desk.states() == ["resulted"]
