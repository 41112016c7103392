"""Back-off: when to retry a port, a server, a folder, a task. One policy for all of them, by tenacity.

The wait doubles with each failure in a row, from ``first_s`` up to ``max_s``. Up to a fifth of it is taken off at
random, so that the lines of one server do not all come at once. Deliveries have a policy of their own
(`engine.delivery.retry`), which outlasts a restart.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import tenacity
from tenacity import RetryCallState

FIRST_S = 1.0
MAX_S = 30.0
SPREAD = 0.2

Retry = Callable[[RetryCallState], bool]

ALWAYS: Retry = tenacity.retry_if_exception_type(Exception) | tenacity.retry_if_result(lambda _: True)
UNREACHABLE: Retry = tenacity.retry_if_exception_type((OSError, TimeoutError))
NOT_YET: Retry = tenacity.retry_if_result(lambda done: not done)


def trying(
    retry: Retry,
    *,
    first_s: float | None = None,
    max_s: float | None = None,
    before_sleep: Callable[[RetryCallState], None] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tenacity.AsyncRetrying:
    """Try for as long as ``retry`` says so of the last try. The error of a last try is raised.

    Args:
        first_s, max_s: bounds of the wait; `FIRST_S` and `MAX_S`, if nothing else is given.
        before_sleep: called with each try that failed.
        sleep: waits for the seconds that it gets.
    """
    doubled = tenacity.wait_exponential(
        multiplier=FIRST_S if first_s is None else first_s,
        max=MAX_S if max_s is None else max_s,
        exp_base=2.0,  # a float: however many failures, it overflows to `max`
    )
    return tenacity.AsyncRetrying(
        retry=retry,
        wait=lambda state: doubled(state) * random.uniform(1 - SPREAD, 1),
        before_sleep=before_sleep,
        sleep=sleep,
    )


def error_of(state: RetryCallState) -> BaseException | None:
    """The error of a try; None if it ended without one."""
    return state.outcome.exception() if state.outcome is not None else None


def begin_anew(attempt: tenacity.AttemptManager, failures: int = 0) -> None:
    """Wait after this try as after this many failures in a row."""
    attempt.retry_state.attempt_number = max(failures, 1)
