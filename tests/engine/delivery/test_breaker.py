"""The breaker: opens when it should, lets one probe through at a time, and never stays open for one message's sake."""

from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.breaker import Breaker, BreakerState
from engine.model.errors import DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode

NO_ANSWER = TransientDeliveryError(ReasonCode.NO_ANSWER)
BUSY = TransientDeliveryError(ReasonCode.BUSY)
CONFLICT = TransientDeliveryError(ReasonCode.CONFLICT, limit=5)
REFUSED = RefusedDeliveryError(ReasonCode.REFUSED)
LOGIN = DestinationDownError(ReasonCode.NOT_AUTHORIZED)


def opened(now: float = 100.0) -> Breaker:
    breaker = Breaker()
    breaker.failed(now, at_once=True)
    return breaker


def test_a_new_breaker_is_closed_and_lets_everything_pass() -> None:
    breaker = Breaker()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.next_probe is None
    assert all(breaker.allow(0.0) for _ in range(100))


def test_the_fifth_failure_in_a_row_opens_it() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.heard(1.0, NO_ANSWER)
    assert breaker.allow(1.0)
    breaker.heard(1.0, NO_ANSWER)
    assert breaker.state is BreakerState.OPEN
    assert breaker.next_probe == 6.0
    assert not breaker.allow(5.999)


def test_a_success_between_starts_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(20):
        for _ in range(4):
            breaker.heard(1.0, NO_ANSWER)
        breaker.heard(1.0, None)
    assert breaker.state is BreakerState.CLOSED


def test_a_fault_of_the_whole_destination_opens_it_at_once() -> None:
    breaker = Breaker()
    breaker.heard(1.0, LOGIN, delivery=7)
    assert breaker.state is BreakerState.OPEN


def test_refusals_and_conflicts_prove_that_the_peer_is_alive() -> None:
    breaker = Breaker()
    for error in (REFUSED, CONFLICT) * 10:
        for _ in range(4):
            breaker.heard(1.0, NO_ANSWER)
        breaker.heard(1.0, error)
    assert breaker.state is BreakerState.CLOSED
    assert breaker._failures == 0


def test_one_message_answered_with_5xx_again_and_again_does_not_open_it() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.heard(1.0, BUSY, delivery=7)
    assert breaker.state is BreakerState.CLOSED
    for delivery in (8, 9, 10, 11):
        breaker.heard(1.0, BUSY, delivery=delivery)
    assert breaker.state is BreakerState.OPEN


def test_one_probe_at_a_time() -> None:
    breaker = opened(100.0)
    assert [breaker.allow(105.0) for _ in range(5)] == [True, False, False, False, False]
    assert breaker.state is BreakerState.HALF_OPEN


def test_a_probe_that_never_reports_counts_as_lost() -> None:
    breaker = opened(100.0)
    assert breaker.allow(105.0)
    assert breaker.next_probe == 405.0
    assert not breaker.allow(404.9)
    assert breaker.allow(405.0)
    assert not breaker.allow(405.0)


def test_a_probe_that_succeeds_closes_it_and_forgets() -> None:
    breaker = opened(100.0)
    assert breaker.allow(105.0)
    breaker.heard(105.1, None)
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(200.0, at_once=True)
    assert breaker.next_probe == 205.0


def test_open_times_double_up_to_the_maximum() -> None:
    breaker, now, waits = opened(0.0), 0.0, []
    for _ in range(7):
        assert breaker.next_probe is not None
        waits.append(breaker.next_probe - now)
        now = breaker.next_probe
        assert breaker.allow(now)
        breaker.heard(now, NO_ANSWER)
    assert waits == [5, 10, 20, 40, 60, 60, 60]


def test_late_failures_of_deliveries_under_way_do_not_lengthen_the_open_time() -> None:
    breaker = opened(100.0)
    for _ in range(50):
        breaker.heard(103.0, NO_ANSWER)
    assert breaker.next_probe == 105.0


def test_a_late_success_of_a_delivery_under_way_closes_it() -> None:
    breaker = opened(100.0)
    breaker.heard(101.0, None)
    assert breaker.allow(101.0)
    assert breaker.state is BreakerState.CLOSED


def test_an_abandoned_probe_leaves_the_place_to_the_next() -> None:
    breaker = opened(100.0)
    assert breaker.allow(105.0)
    breaker.abandoned(105.5)
    assert breaker.allow(105.5)
    assert not breaker.allow(105.5)


def test_abandoning_in_a_closed_breaker_changes_nothing() -> None:
    breaker = Breaker()
    breaker.abandoned(1.0)
    assert breaker.state is BreakerState.CLOSED


outcomes = st.sampled_from([None, NO_ANSWER, BUSY, CONFLICT, REFUSED, LOGIN])


@given(st.lists(st.tuples(outcomes, st.floats(0, 120), st.integers(1, 3)), max_size=200))
def test_it_always_lets_a_delivery_through_within_a_minute(events: list[tuple[object, float, int]]) -> None:
    """Whatever happens, no delivery waits for ever: an open breaker has a next probe at most a minute away."""
    breaker, now, under_way = Breaker(), 0.0, 0
    for error, pause, delivery in events:
        now += pause
        if breaker.allow(now):
            under_way += 1
            breaker.heard(now, error, delivery=delivery)  # type: ignore[arg-type]  # sampled_from widens the type
        else:
            assert breaker.next_probe is not None
            assert now < breaker.next_probe <= now + 60.0
    assert breaker.state is not BreakerState.HALF_OPEN
    assert not events or under_way > 0
