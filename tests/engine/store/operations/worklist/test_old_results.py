"""Which order a result closes, by when it was measured: a table, walked on a real journal.

measured clearly before the order came        none: the order goes on as it was, and the result is without order
the analyzer's clock is wrong by little       it closes it: a clock differs by minutes, daylight saving by an hour
no time, or an impossible one                 it closes it, unless an older order's result has one
after the specimen of the order was taken     it closes it: a test that is added on to a tube that was measured
a rerun                                       none: the value before it is the reason of the rerun
measured before the order came, and before    none that is open: it is of the older order. So is one that was measured
the result of an older order                  at the same time and names no patient; if that cannot be compared, or it
                                              has no time while that result has one, of none
the tube had a result, and then its order     of none, if it was measured before the order came and names no patient
it names the order (IHE LAW)                  it closes it, by any clock
an echo of an accepted result                 none that is open
a correction                                  the one whose result it corrects, and no rerun of it
taken back                                    the one that it closed is open again
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.model.clock import ManualClock, to_us
from engine.model.orders import OrderedPatient
from engine.model.worklist import ResultOf
from engine.store.operations import worklist
from engine.store.operations.worklist.closing import CLOCK_US
from engine.store.queries.tube_timeline import tube
from tests.engine.store.operations.worklist.test_orders_in_and_out import Desk, numbers, order
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


async def test_an_old_result_is_of_the_order_of_its_time(desk: Desk) -> None:
    """The memory of an analyzer: today's tube of this number is another patient's."""
    await desk.take(order())
    await desk.tell("S1")
    await desk.result("S1", at(HOUR))
    desk.clock.advance(31 * DAY.total_seconds())
    await desk.take(order(placer="O2", patient=OrderedPatient(number="P2", family="KHAN")))
    await desk.tell("S1")

    assert await desk.result("S1", at(HOUR)) == [(1, False)]

    assert desk.states() == ["resulted", "offered"]
    assert without(desk) == (0, False)


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
    "without a time": (ResultOf(test="GLU"), {}, ["resulted", "offered"]),  # the one before had one
    "without a time, and its patient is known": (ResultOf(test="GLU"), {"patient": "P1"}, ["resulted", "resulted"]),
    "it names the order": (own(2 * MINUTE, item_id="W2"), {}, ["resulted", "resulted"]),
}
FIRST_RESULT = own(2 * MINUTE)
AHEAD = own(62 * MINUTE)  # the analyzer's clock is an hour ahead
UNDER_OTHER_CLOCKS: dict[str, tuple[ResultOf, ResultOf, dict[str, Any], list[str]]] = {
    "ahead, the old result again": (AHEAD, AHEAD, {}, ["resulted", "offered"]),
    "ahead, it again, with its patient": (AHEAD, AHEAD, {"patient": "P1"}, ["resulted", "resulted"]),
    "ahead, an older one": (AHEAD, own(61 * MINUTE), {}, ["resulted", "offered"]),
    "ahead, an older one, with its patient": (AHEAD, own(61 * MINUTE), {"patient": "P1"}, ["resulted", "resulted"]),
    "ahead, a new one": (AHEAD, own(75 * MINUTE), {}, ["resulted", "resulted"]),
    "it never says when": (ResultOf(test="GLU"), ResultOf(test="GLU"), {}, ["resulted", "resulted"]),
}
# A person matches it.
OF_NONE = {
    "only its order says when",
    "of another analyzer, whose clock cannot be compared",
    "without a time",
    "ahead, an older one",
}
SENT_AGAIN = {name: (FIRST_RESULT, *case) for name, case in REUSED.items()} | UNDER_OTHER_CLOCKS


@pytest.mark.parametrize("name", SENT_AGAIN)
async def test_an_old_result_is_not_of_a_newer_order_of_its_number(desk: Desk, name: str) -> None:
    first, result, more, wanted = SENT_AGAIN[name]
    await desk.take(order())
    await desk.tell("S1")
    desk.clock.advance(180)
    await desk.result("S1", first, patient="P1")
    desk.clock.advance(600)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")
    desk.clock.advance(180)

    await desk.result("S1", result, **more)

    assert desk.states() == wanted
    assert without(desk) == ((1, True) if name in OF_NONE else (0, False))


@pytest.mark.parametrize("older", ["held", "preliminary", "late"])
async def test_nor_where_the_older_order_is_open_or_was_given_up(desk: Desk, older: str) -> None:
    await desk.take(order())
    if older == "late":
        await desk.take(order(action="cancel"))
    else:
        await desk.tell("S1")
    desk.clock.advance(180)
    first = own(2 * MINUTE, final=older != "preliminary")
    about, message = [first], await desk.message()
    await desk.journal.run(worklist.result, message, "chem", "S1", "P1", about, held=older == "held")
    desk.clock.advance(600)
    await desk.take(order(placer="O2"))
    await desk.tell("S1")

    assert await desk.result("S1", own(2 * MINUTE)) == [(1, older == "late")]

    assert desk.states() == ["cancelled" if older == "late" else "resulted", "offered"]
    assert without(desk) == (0, False)


@pytest.mark.parametrize(
    ("patient", "again", "wanted"),
    [
        ("P1", own(2 * MINUTE), ("offered", 2, True)),
        ("P1", own(2 * MINUTE, corrects=True), ("offered", 2, True)),
        ("P1", own(13 * MINUTE), ("resulted", 1, False)),
        ("", own(2 * MINUTE), ("resulted", 1, False)),  # the same again is an echo, and does not come here
    ],
    ids=["again", "its correction", "a new one", "it named no patient"],
)
async def test_nor_where_the_tube_was_measured_before_its_order_came(
    desk: Desk, patient: str, again: ResultOf, wanted: tuple[str, int, bool]
) -> None:
    """The number may be another tube's by now."""
    desk.clock.advance(180)
    await desk.result("S1", own(2 * MINUTE), patient=patient)
    desk.clock.advance(600)
    await desk.take(order(patient=OrderedPatient(number="P2", family="KHAN")))
    await desk.tell("S1")
    desk.clock.advance(60)

    await desk.result("S1", again)

    assert (desk.state(1)[0], *without(desk)) == wanted


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
