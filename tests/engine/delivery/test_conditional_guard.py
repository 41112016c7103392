"""Conditional keys: never two unconfirmed ones in flight together, no waiter forgotten, memory bounded."""

from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.conditional_keys import ConditionalGuard

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def test_an_unconfirmed_key_is_in_flight_once() -> None:
    guard = ConditionalGuard(10)
    assert guard.try_enter((A, B))
    assert not guard.try_enter((B, C))
    assert guard.try_enter((C,))


def test_a_refused_entry_claims_nothing() -> None:
    guard = ConditionalGuard(10)
    assert guard.try_enter((B,))
    assert not guard.try_enter((A, B))
    assert guard.try_enter((A,))


def test_a_confirmed_key_lets_deliveries_run_together() -> None:
    guard = ConditionalGuard(10)
    assert guard.try_enter((A,))
    guard.leave((A,), True)
    assert guard.try_enter((A,))
    assert guard.try_enter((A,))


def test_a_failed_delivery_confirms_nothing() -> None:
    guard = ConditionalGuard(10)
    assert guard.try_enter((A,))
    guard.leave((A,), False)
    assert guard.try_enter((A,))
    assert not guard.try_enter((A,))


def test_one_delivery_may_name_a_key_twice() -> None:
    guard = ConditionalGuard(10)
    assert guard.try_enter((A, A))
    guard.leave((A, A), False)
    assert guard.try_enter((A,))


def test_no_keys_never_wait() -> None:
    guard = ConditionalGuard(10)
    assert guard.try_enter(())
    assert guard.try_enter(())
    assert guard.leave((), True) == []


def test_waiters_are_woken_in_the_order_they_came_and_once() -> None:
    guard = ConditionalGuard(10)
    assert guard.try_enter((A, B))
    assert not guard.try_enter((A,), waiter="lane 2")
    assert not guard.try_enter((A,), waiter="lane 1")
    assert not guard.try_enter((B,), waiter="lane 3")
    assert not guard.try_enter((A,), waiter="lane 2")
    assert guard.leave((A, B), True) == ["lane 2", "lane 1", "lane 3"]
    assert guard.try_enter((A,))
    assert guard.leave((A,), True) == []


def test_a_waiter_that_loses_again_is_woken_again() -> None:
    guard = ConditionalGuard(10)
    assert guard.try_enter((A,))
    assert not guard.try_enter((A,), waiter="lane 1")
    assert not guard.try_enter((A,), waiter="lane 2")
    assert guard.leave((A,), False) == ["lane 1", "lane 2"]
    assert guard.try_enter((A,), waiter="lane 1")
    assert not guard.try_enter((A,), waiter="lane 2")
    assert guard.leave((A,), True) == ["lane 2"]


def test_the_least_recently_used_confirmation_is_forgotten() -> None:
    guard = ConditionalGuard(2)
    for key in (A, B):
        assert guard.try_enter((key,))
        guard.leave((key,), True)
    assert guard.try_enter((A,))
    assert guard.try_enter((A,))  # a use of A, so that B is the oldest
    guard.leave((A,), True)
    guard.leave((A,), True)
    assert guard.try_enter((C,))
    guard.leave((C,), True)
    assert len(guard._confirmed) == 2
    assert guard.try_enter((B,))
    assert not guard.try_enter((B,))
    assert guard.try_enter((A,))
    assert guard.try_enter((A,))


def test_a_confirmation_ages_out() -> None:
    guard = ConditionalGuard(10, max_age=60)
    assert guard.try_enter((A,), now=0)
    guard.leave((A,), True, now=0)
    assert guard.try_enter((A,), now=60)
    assert guard.try_enter((A,), now=60)
    assert not guard.try_enter((A,), now=61)


def test_forgetting_a_key_in_flight_keeps_it_exclusive() -> None:
    guard = ConditionalGuard(1)
    assert guard.try_enter((A,))
    guard.leave((A,), True)
    assert guard.try_enter((A,))
    assert guard.try_enter((A,))
    guard._confirmed.clear()
    assert not guard.try_enter((A,))
    guard.leave((A,), False)
    assert not guard.try_enter((A,))
    guard.leave((A,), False)
    assert guard.try_enter((A,))


keys = st.lists(st.sampled_from([A, B, C, b"d" * 16]), min_size=1, max_size=3).map(tuple)
steps = st.lists(st.one_of(keys, st.tuples(st.integers(0, 9), st.booleans())), max_size=60)


@given(steps, st.integers(1, 3))
def test_whatever_happens_unconfirmed_keys_are_exclusive(steps: list[tuple[object, ...]], capacity: int) -> None:
    guard, flying, ever_confirmed = ConditionalGuard(capacity), [], set()
    for step in steps:
        if isinstance(step[0], bytes):
            wanted: tuple[bytes, ...] = step  # type: ignore[assignment]  # the strategy gives bytes only
            if guard.try_enter(wanted, waiter=object()):
                busy = {key for other in flying for key in other}
                assert not (busy & set(wanted)) - ever_confirmed
                flying.append(wanted)
            else:
                assert {key for other in flying for key in other} & set(wanted)
        elif flying:
            at, confirmed = step
            left = flying.pop(at % len(flying))  # type: ignore[operator]  # an integer, by the strategy
            guard.leave(left, bool(confirmed))
            if confirmed:
                ever_confirmed |= set(left)
        assert len(guard._confirmed) <= capacity
    for left in flying:
        guard.leave(left, False)
    assert guard.try_enter((A, B, C))
