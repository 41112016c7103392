"""Which delivery of a lane may go next: the orders, failures, places in memory. A lane is pure, so is its test."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.lane import AWAITED_ATTEMPTS, LOOK_AHEAD, Lane
from engine.model.message import Delivery
from engine.model.texts.reasons import ReasonCode

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def delivery(seq: int, *reports: bytes, **more: Any) -> Delivery:
    given: dict[str, Any] = {
        "id": seq,
        "message_id": seq,
        "channel": "chem",
        "destination": "fhir",
        "seq": seq,
        "key": f"key-{seq}",
        "body": b"{}",
        "media_type": "application/fhir+json",
        "received_us": 0,
        "reports": reports,
    }
    return Delivery(**given | more)


def lane(order: str, *waiting: Delivery, **more: Any) -> Lane:
    made = Lane("chem", order=order, **more)
    made.queue.extend(waiting)
    return made


def going(made: Lane) -> list[int]:
    """What goes without anything ending, by number."""
    found = []
    while (one := made.next()) is not None:
        made.in_flight[one.id] = one
        found.append(one.seq)
    return found


def test_one_at_a_time_by_their_numbers() -> None:
    made = lane("channel", delivery(1), delivery(2, A))
    assert going(made) == [1]
    made.in_flight.clear()
    made.delayed.append((5.0, delivery(1)))
    assert made.next() is None  # a failed one is tried again before the next
    assert made.take_due(4.9) == 5.0
    assert made.next() is None
    assert made.take_due(5.0) is None
    assert [one.seq for one in made.queue] == [1, 2]
    assert going(made) == [1]
    assert Lane("chem").next() is None


@pytest.mark.parametrize("order", ["specimen", "none"])
def test_what_shares_a_report_goes_one_after_the_other(order: str) -> None:
    made = lane(order, delivery(1, A), delivery(2, A, B), delivery(3, B), delivery(4, b"c" * 16))
    assert going(made) == [1, 4]  # 3 shares a report with 2, which is before it
    assert [one.seq for one in made.queue] == [2, 3]


def test_a_failed_one_keeps_back_what_shares_its_report_by_specimen_and_nothing_without_order() -> None:
    failed = (9.0, delivery(1, A))
    assert going(lane("specimen", delivery(2, A), delivery(3, B), delayed=[failed])) == [3]
    assert going(lane("none", delivery(2, A), delivery(3, B), delayed=[failed])) == [2, 3]


def test_a_delivery_that_names_no_report_stands_alone_by_specimen() -> None:
    assert going(lane("specimen", delivery(1, A), delivery(2), delivery(3, B))) == [1]
    assert going(lane("specimen", delivery(1), delivery(2, A))) == [1]
    assert going(lane("specimen", delivery(2, A), delayed=[(9.0, delivery(1))])) == []
    assert going(lane("none", delivery(1, A), delivery(2), delivery(3, A), delivery(4))) == [1, 2, 4]


def test_a_long_lane_is_looked_at_so_far_only() -> None:
    blocked = [delivery(seq, A) for seq in range(2, 2 + LOOK_AHEAD)]
    assert going(lane("none", delivery(1, A), *blocked[:-1], delivery(99, B))) == [1, 99]
    assert going(lane("none", delivery(1, A), *blocked, delivery(99, B))) == [1]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12), st.sampled_from(["channel", "specimen", "none"])
)
def test_of_one_report_nothing_overtakes_and_all_of_it_goes(given: list[tuple[int, bool]], order: str) -> None:
    """Whatever fails once: by channel and by specimen, what shares a report arrives by number."""
    keys = [bytes([number]) * 16 for number in range(4)]
    made = lane(order, *(delivery(seq, keys[key]) for seq, (key, _) in enumerate(given, 1)))
    fails = {seq for seq, (_, failing) in enumerate(given, 1) if failing}
    arrived: list[Delivery] = []
    for now in range(4 * len(given) + 1):
        made.take_due(float(now))
        while (one := made.next()) is not None:
            made.in_flight[one.id] = one
        for one in list(made.in_flight.values()):
            del made.in_flight[one.id]
            if one.seq in fails:
                fails.discard(one.seq)
                made.delayed.append((now + 1.5, one))
            else:
                arrived.append(one)
    assert made.drained
    assert sorted(one.seq for one in arrived) == list(range(1, len(given) + 1))
    if order != "none":
        for key in keys:
            of_it = [one.seq for one in arrived if key in one.reports]
            assert of_it == sorted(of_it)
    if order == "channel":
        assert [one.seq for one in arrived] == sorted(one.seq for one in arrived)


@given(st.permutations(range(1, 8)), st.integers(1, 7))
def test_what_is_put_back_stands_in_its_old_place(numbers: list[int], taken: int) -> None:
    made = lane("none", *(delivery(seq, bytes([seq]) * 16) for seq in sorted(numbers)))
    out = [made.next() for _ in range(taken)]
    for one in sorted((one for one in out if one), key=lambda one: numbers.index(one.seq)):
        made.put_back(one)
    assert [one.seq for one in made.queue] == sorted(numbers)


def test_the_newest_goes_first_where_that_is_wanted_and_reports_still_wait_for_each_other() -> None:
    made = lane("none", delivery(1, A), delivery(2, B), delivery(3, A), delivery(4), newest_first=True)
    assert going(made) == [4, 3, 2]
    made.in_flight.clear()
    assert going(made) == [1]
    blocked = [delivery(seq, A) for seq in range(2, 2 + LOOK_AHEAD)]
    assert going(lane("none", delivery(1, B), *blocked, in_flight={99: delivery(99, A)}, newest_first=True)) == []
    assert going(lane("none", delivery(1, B), *blocked[1:], in_flight={99: delivery(99, A)}, newest_first=True)) == [1]


def test_the_newest_rows_are_claimed_once_all_that_ended_is_written() -> None:
    made = Lane("chem", order="none", spilled=True, newest_first=True)
    assert made.may_claim
    states: list[dict[str, Any]] = [{"unwritten": 1}, {"reserved": 1}]
    for busy in states:
        assert not Lane("chem", order="none", spilled=True, newest_first=True, **busy).may_claim
    assert not lane("none", delivery(1), spilled=True, newest_first=True).may_claim


@pytest.mark.parametrize(("order", "waits"), [("channel", True), ("specimen", False), ("none", False)])
def test_a_lane_that_is_fed_waits_for_the_end_of_the_last_to_be_durable(order: str, waits: bool) -> None:
    made = lane(order, delivery(1, A), fed=True, unwritten=1)
    assert going(made) == ([] if waits else [1])
    made.unwritten = 0
    assert going(made) == ([1] if waits else [])
    assert going(lane(order, delivery(1, A), unwritten=1)) == [1]


def test_an_older_one_may_come_too_late_where_the_newest_goes_first() -> None:
    made = Lane("chem", order="none", newest_first=True)
    assert made.may_be_superseded(delivery(5, A))  # the first since the start: an earlier process may have sent newer
    made.begun(delivery(5, A))
    assert not made.may_be_superseded(delivery(6, A))
    assert made.may_be_superseded(delivery(4, A))
    assert made.may_be_superseded(delivery(5, A))
    assert not made.may_be_superseded(delivery(4))
    made.begun(delivery(3, A))
    assert made.highest == 5


def test_the_oldest_that_is_open_is_looked_for_everywhere() -> None:
    made = lane("none", delivery(3), delivery(4))
    assert made.oldest() == made.queue[0]
    made.in_flight[2] = delivery(2)
    assert made.oldest() == made.in_flight[2]
    made.delayed = [(1.0, delivery(5)), (9.0, delivery(1))]
    assert made.oldest() == made.delayed[1][1]
    assert Lane("chem").oldest() is None


def test_what_is_due_later_says_when() -> None:
    made = lane("channel", delayed=[(7.0, delivery(2)), (5.0, delivery(1)), (9.0, delivery(3))])
    assert made.take_due(4.0) == 5.0
    assert made.take_due(7.0) == 9.0
    assert [one.seq for one in made.queue] == [1, 2]
    assert lane("channel").take_due(1.0) is None


def test_all_that_waits_can_be_taken_out_and_nothing_else() -> None:
    made = lane("none", delivery(1), delayed=[(5.0, delivery(2))], in_flight={3: delivery(3)}, reserved=1)
    assert (made.in_memory, made.drained) == (4, False)
    assert [one.seq for one in made.take_all()] == [1, 2]
    assert (made.in_memory, made.take_all()) == (2, [])


def test_one_delivery_can_be_taken_out_wherever_it_waits_and_only_there() -> None:
    made = lane("none", delivery(1), delivery(2), delayed=[(5.0, delivery(3))], in_flight={4: delivery(4)})
    taken = [[one.seq for one in made.take(number)] for number in (1, 3, 4, 9)]
    assert (taken, made.in_memory) == ([[1], [3], [], []], 2)
    assert [one.seq for one in made.take_all()] == [2]


def test_rows_are_claimed_from_the_beginning_only_where_nothing_can_come_twice() -> None:
    assert not Lane("chem").may_claim  # nothing waits in the store
    assert Lane("chem", spilled=True).may_claim
    assert not Lane("chem", spilled=True, claiming=True).may_claim
    for order in ("channel", "specimen", "none"):
        for busy in ({"in_flight": {1: delivery(1)}}, {"delayed": [(1.0, delivery(1))]}, {"unwritten": 1}):
            made = Lane("chem", order=order, spilled=True, **busy)
            assert made.may_claim is (order != "channel")  # newer rows may come beside what is under way
            made.recalled = True
            assert not made.may_claim
        assert not lane(order, delivery(1), spilled=True).may_claim
        assert not Lane("chem", order=order, spilled=True, reserved=1).may_claim


def test_what_was_tried_once_may_come_too_late_only_where_others_overtake() -> None:
    tried = [delivery(1, A, attempt=1), delivery(1, A, maybe_delivered=True)]
    assert [Lane("chem", order="none").may_be_superseded(one) for one in tried] == [True, True]
    assert [Lane("chem", order="specimen").may_be_superseded(one) for one in tried] == [False, False]
    assert not Lane("chem", order="none").may_be_superseded(delivery(1, A))
    assert not Lane("chem", order="none").may_be_superseded(delivery(1, attempt=1))
    assert Lane("chem").may_be_superseded(delivery(1, manual=True))


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(
    ("tried", "heard", "waits"),
    [
        ({"maybe_delivered": True}, [], True),
        ({"attempt": 1}, [ReasonCode.NO_ANSWER], True),  # the server may have taken it before the line broke
        ({"attempt": 2}, [ReasonCode.BUSY, ReasonCode.CONFLICT], True),
        ({"attempt": 2}, [ReasonCode.CONFLICT, ReasonCode.NEGATIVE_ACK], False),
        ({"attempt": 1}, [ReasonCode.NOT_AUTHORIZED], False),
        ({"attempt": 1}, [], True),  # by an earlier process
        ({}, [], False),
    ],
)
def test_an_older_result_waits_for_a_newer_one_that_the_server_may_have(
    newest_first: bool, tried: dict[str, Any], heard: list[ReasonCode], waits: bool
) -> None:
    """The answer to the newer one was lost. Sent now, the older one would take its place until the next attempt."""
    older, other, newer = delivery(1, A), delivery(2, B), delivery(3, A, **tried)
    made = lane("none", older, other, delayed=[(9.0, newer)], newest_first=newest_first)
    for reason in heard:
        made.failed(newer, reason, 0)
    if not waits:
        assert sorted(going(made)) == [1, 2]
        return
    assert going(made) == [2]
    assert not made.queue, "so that rows behind it are claimed"
    made.take_due(9.0)
    assert going(made) == [3]
    made.begun(newer)
    made.in_flight.clear()
    assert going(made) == [1]
    assert made.may_be_superseded(older)


@pytest.mark.parametrize("newest_first", [True, False])
def test_after_many_attempts_it_is_asked_whether_an_older_one_has_to_wait(newest_first: bool) -> None:
    """A server that cannot digest one document keeps back no other session's tests of the specimen."""
    newer = delivery(3, A, attempt=AWAITED_ATTEMPTS)
    made = lane("none", delivery(1, A), delivery(2, B), delayed=[(9.0, newer)], newest_first=newest_first)
    assert sorted(going(made)) == [1, 2]
    assert made.may_be_there_before(delivery(1, A)) == {3: 9.0}
    assert made.may_be_there_before(delivery(1, A, B)) == {3: 9.0}
    assert made.may_be_there_before(delivery(2, B)) == made.may_be_there_before(delivery(4, A)) == {}
    made.take_due(9.0)
    assert made.may_be_there_before(delivery(1, A)) == {3: 0.0}
    for _ in range(AWAITED_ATTEMPTS):
        made.failed(newer, ReasonCode.NEGATIVE_ACK, 1)
    assert made.may_be_there_before(delivery(1, A)) == {}
    made.forget(3)
    assert (made.row, made.heard) == ({}, {})
    made.order = "specimen"
    assert made.may_be_there_before(delivery(1, A)) == {}


@pytest.mark.parametrize("newest_first", [True, False])
def test_so_does_an_older_one_that_a_person_sends_again(newest_first: bool) -> None:
    """It stands at the end of the lane."""
    again = delivery(3, A, message_id=1, manual=True)
    made = lane("none", again, delayed=[(9.0, delivery(2, A, attempt=1))], newest_first=newest_first)
    assert going(made) == []
    made.take_due(9.0)
    assert going(made) == [2]


@pytest.mark.parametrize("newest_first", [True, False])
def test_however_many_wait_for_newer_ones_these_go(newest_first: bool) -> None:
    """An outage that has begun in the midst of corrections: all of these are tried again first."""
    count = 2 * LOOK_AHEAD
    reports = [b"%d" % number for number in range(count)]
    older = [delivery(number, reports[number]) for number in range(count)]
    newer = [delivery(count + number, reports[number], attempt=1) for number in range(count)]
    made, gone = lane("none", *older, *newer, newest_first=newest_first), []
    while (one := made.next()) is not None:
        gone.append(one.seq)
    assert sorted(gone) == list(range(2 * count))
    assert all(gone.index(count + number) < gone.index(number) for number in range(count))


def test_with_order_specimen_what_waits_for_a_failed_one_waits_beside_the_queue() -> None:
    """So that rows of other specimens are claimed; and in its order."""
    made = lane("specimen", delivery(2, A), delivery(3, B), delivery(4, A, C), delayed=[(9.0, delivery(1, A))])
    made.delayed.append((7.0, delivery(0, C)))
    assert going(made) == [3]
    assert not made.queue
    assert sorted((at, one.seq) for at, one in made.delayed) == [(7.0, 0), (9.0, 1), (9.0, 2), (9.0, 4)]
    made.in_flight.clear()
    made.take_due(9.0)
    assert going(made) == [0, 1]
