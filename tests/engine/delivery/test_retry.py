"""Back-off: bounded, jittered, honouring what the destination asked for, and never silently endless or short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.delivery.retry import LONGEST_RETRY_AFTER_S, SHORTEST_DELAY_S, RetryPolicy, decide
from engine.model.errors import DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode

jitters = st.floats(0, 1, exclude_max=True)
attempts = st.integers(1, 1_000_000)
policies = st.builds(
    lambda first, factor: RetryPolicy(first=first, max=first * factor), st.floats(0.1, 60), st.floats(1, 1000)
)


@given(policies, attempts, jitters)
def test_a_back_off_stays_under_its_ceiling_and_never_spins(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    delay = policy.next_attempt(attempt=attempt, age=0.0, jitter=jitter)
    assert delay is not None
    assert SHORTEST_DELAY_S <= delay <= policy.ceiling(attempt) <= policy.max


@given(policies, attempts)
def test_ceilings_double_until_max(policy: RetryPolicy, attempt: int) -> None:
    assert policy.ceiling(1) == policy.first
    assert policy.ceiling(attempt + 1) == min(policy.max, policy.ceiling(attempt) * 2)


def test_full_jitter_spreads_over_the_whole_ceiling() -> None:
    policy = RetryPolicy(first=1, max=300)
    delays = [policy.next_attempt(attempt=6, age=0, jitter=step / 100) for step in range(100)]
    assert delays == [max(32 * step / 100, SHORTEST_DELAY_S) for step in range(100)]


def test_without_give_up_after_nothing_is_ever_buried() -> None:
    assert RetryPolicy().next_attempt(attempt=10**6, age=10 * 365 * 86400.0, jitter=0.5) == 150.0


@given(st.floats(0, 3599), jitters)
def test_the_last_attempt_falls_before_give_up_after(age: float, jitter: float) -> None:
    policy = RetryPolicy(first=60, max=7200, give_up_after=3600)
    delay = policy.next_attempt(attempt=20, age=age, jitter=jitter)
    assert delay is not None
    assert age + delay <= 3600.001


def test_at_give_up_after_the_delivery_is_buried() -> None:
    policy = RetryPolicy(give_up_after=3600)
    assert policy.next_attempt(attempt=3, age=3600, jitter=0.5) is None


@given(st.floats(0, 1e12), attempts, jitters)
def test_retry_after_is_a_lower_bound_with_a_cap(asked: float, attempt: int, jitter: float) -> None:
    policy = RetryPolicy(first=1, max=300)
    delay = policy.next_attempt(attempt=attempt, age=0, jitter=jitter, retry_after=asked)
    assert delay is not None
    assert min(asked, LONGEST_RETRY_AFTER_S) <= delay <= LONGEST_RETRY_AFTER_S + policy.first


def test_a_negative_retry_after_counts_as_none() -> None:
    delay = RetryPolicy(first=1).next_attempt(attempt=1, age=0, jitter=0.0, retry_after=-50)
    assert delay == SHORTEST_DELAY_S


@pytest.mark.parametrize(("in_a_row", "buried"), [(4, False), (5, True), (6, True)])
def test_a_limit_counts_failures_in_a_row_for_one_reason(in_a_row: int, buried: bool) -> None:
    delay = RetryPolicy().next_attempt(attempt=40, age=0, jitter=0.5, limit=5, in_a_row=in_a_row)
    assert (delay is None) == buried


def test_a_limit_without_a_count_uses_all_attempts() -> None:
    assert RetryPolicy().next_attempt(attempt=5, age=0, jitter=0.5, limit=5) is None
    assert RetryPolicy().next_attempt(attempt=4, age=0, jitter=0.5, limit=5) is not None


def test_a_refusal_is_dead_at_once_with_its_own_reason() -> None:
    error = RefusedDeliveryError(ReasonCode.AMBIGUOUS_ON_SERVER)
    assert decide(error, RetryPolicy(), attempt=1, age=0, jitter=0) == ReasonCode.AMBIGUOUS_ON_SERVER


def test_a_transient_failure_comes_again() -> None:
    error = TransientDeliveryError(ReasonCode.BUSY, retry_after=120)
    assert decide(error, RetryPolicy(first=1), attempt=1, age=0, jitter=0.5) == 120.5
    down = DestinationDownError(ReasonCode.NOT_AUTHORIZED)
    assert decide(down, RetryPolicy(first=1), attempt=2, age=0, jitter=0.5) == 1.0


def test_the_fifth_conflict_is_dead_as_a_conflict() -> None:
    error = TransientDeliveryError(ReasonCode.CONFLICT, limit=5)
    assert decide(error, RetryPolicy(), attempt=9, age=0, jitter=0, in_a_row=5) == ReasonCode.CONFLICT


def test_an_old_delivery_is_dead_as_given_up() -> None:
    error = TransientDeliveryError(ReasonCode.NO_ANSWER)
    policy = RetryPolicy(give_up_after=60)
    assert decide(error, policy, attempt=9, age=61, jitter=0) == ReasonCode.GAVE_UP
