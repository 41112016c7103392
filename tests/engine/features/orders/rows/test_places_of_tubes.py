"""Where a tube is: the newest place that its laboratory system named, of any of its orders. A place is no content of an
order, so an order that comes again with another one is the same order.

    A, then again A at 2           at 2, no more at 1
    A at 1, then B at 2            both at 2
    A at 1, then B without         both at 1
    an old message, again          changes nothing
    another patient's tube         is no tube that was meant
"""

from typing import Any

import pytest

from engine.features.orders import rows as worklist
from engine.model.orders import OrderLine, Question
from tests.engine.features.orders.rows.test_matching import act
from tests.engine.features.orders.rows.test_orders_in_and_out import RAVI, Desk, order


def at(position: str, rack: str = "R7") -> dict[str, str]:
    return {"rack": rack, "position": position}


def on_tray(position: str) -> dict[str, str]:
    return {"tray": "Y7", "tray_position": position}


async def found(desk: Desk, place: dict[str, str], **more: Any) -> list[int]:
    """The orders that an analyzer gets which knows the place alone."""
    kind = next(iter(place))
    carrier, position = place.values()
    answered = await desk.ask_for(Question(kind=kind, carrier=carrier, position=position), **more)
    return [item.number for tube in answered.tubes for item in tube.items]


PLACES = [at("3"), at("4"), at("3", "R8"), on_tray("3")]


async def check(desk: Desk, where: dict[str, str] | None, numbers: list[int]) -> None:
    for place in PLACES:
        assert await found(desk, place) == (numbers if place == where else []), place


@pytest.mark.parametrize("second", PLACES[1:])
async def test_an_order_that_comes_again_is_where_it_says(desk: Desk, second: dict[str, str]) -> None:
    await desk.take(order(**at("3")))
    await check(desk, at("3"), [1])
    (again,) = await desk.take(order(**second))
    assert (again.number, again.repeat) == (1, True)
    await check(desk, second, [1])
    await desk.take(order(**at("3")))  # and back
    await check(desk, at("3"), [1])


async def test_an_order_without_a_place_gets_one_and_keeps_it(desk: Desk) -> None:
    await desk.take(order())
    await check(desk, None, [])
    await desk.take(order(**at("4")))
    await check(desk, at("4"), [1])
    await desk.take(order())  # says nothing of the place
    await check(desk, at("4"), [1])


@pytest.mark.parametrize(
    "second", [order("UREA", **at("4")), order("UREA", placer="O2", **at("4"))], ids=["one order", "another order"]
)
async def test_the_place_is_one_of_the_tube(desk: Desk, second: OrderLine) -> None:
    await desk.take(order(**at("3")))
    await desk.take(second)
    await check(desk, at("4"), [1, 2])
    await desk.take(order("NA", placer="O3"))
    await check(desk, at("4"), [1, 2, 3])
    await desk.take(order("UREA", placer=second.placer, action="cancel"))
    await check(desk, at("4"), [1, 3])  # its LIS named the place of the tube, and that holds after the test has ended


@pytest.mark.parametrize("named", [{}, at("4")])
async def test_a_change_moves_the_tube_only_where_it_names_a_place(desk: Desk, named: dict[str, str]) -> None:
    await desk.take(order(**at("3")))
    await desk.take(order(action="change", priority="stat", **named))
    await check(desk, named or at("3"), [2])


async def test_an_old_message_that_is_processed_again_moves_no_tube(desk: Desk) -> None:
    old = await desk.message()
    first = await desk.message()
    await desk.take(order(**at("3")), message=first)
    second = await desk.message()
    await desk.take(order(**at("4")), message=second)
    for message, line in ((first, order(**at("3"))), (second, order(**at("4"))), (old, order(**at("3")))):
        await desk.take(line, message=message)
        await check(desk, at("4"), [1])
    await desk.take(order("UREA", placer="O0", **at("3")), message=old)  # had been a dead letter
    await check(desk, at("4"), [1, 2])


async def test_a_place_of_another_patient_is_none_of_the_tube(desk: Desk) -> None:
    await desk.take(order(**at("3")))
    await desk.take(order(placer="O2", patient=RAVI, **at("4")))
    await check(desk, None, [])  # two patients have the number
    await desk.take(order(placer="O2", patient=RAVI, action="cancel"))
    await act(desk, worklist.release, 1)
    await check(desk, at("3"), [1])


async def test_two_tubes_at_one_place_are_no_work_until_one_is_elsewhere(desk: Desk) -> None:
    await desk.take(order(**at("3")))
    await desk.take(order(specimen="S2", placer="O2", **at("3")))
    await check(desk, None, [])
    await desk.take(order(**at("4")))
    assert await found(desk, at("3")) == [2]
    assert await found(desk, at("4")) == [1]


async def test_a_place_counts_on_the_day_on_which_it_was_named(desk: Desk) -> None:
    await desk.take(order(**at("3")))
    desk.wait(1)
    today = desk.clock.now_us() - 1_000_000
    assert await found(desk, at("3"), today_us=today) == []
    await desk.take(order(**at("3")))  # named again
    assert await found(desk, at("3"), today_us=today) == [1]
    assert desk.state(1) == ("waiting", "")
    desk.wait(1)
    await desk.take(order())
    assert await found(desk, at("3"), today_us=desk.clock.now_us() - 1_000_000) == []


async def test_a_held_order_that_comes_again_is_moved_too(desk: Desk) -> None:
    await desk.take(order(action="hold", **at("3")))
    await desk.take(order(**at("4")))  # ends the hold
    await check(desk, at("4"), [1])
