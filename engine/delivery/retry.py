"""When to try a delivery again, and when to stop trying. Pure: the clock and the random number are arguments.

Exponential back-off with *full* jitter: attempt n waits a random part of ``min(max, first * 2**(n-1))``, so that lanes
that failed together do not come back together. The destination's own request (Retry-After) is a lower bound, up to
`LONGEST_RETRY_AFTER_S`; a date far in the future is an error of the server and must not park a laboratory's results.

A refusal is dead at once. A transient failure is dead only where its error carries a limit (409: five in a row) or the
site sets ``give_up_after``; without that setting it is retried without end, since nothing may vanish.
"""

from dataclasses import dataclass

from engine.model.errors import DeliveryError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode

LONGEST_RETRY_AFTER_S = 3600.0
SHORTEST_DELAY_S = 0.05  # full jitter may draw nearly 0; a lane must not spin while its peer refuses connections
LARGEST_EXPONENT = 60  # first * 2**60 is beyond every `max`, and a float still holds it


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The ``retry:`` block of a destination; all in seconds.

    Attributes:
        first: the ceiling of the first back-off.
        max: the ceiling of every back-off.
        give_up_after: age of the message at which its delivery is buried; None: never.
    """

    first: float = 1.0
    max: float = 300.0
    give_up_after: float | None = None

    def ceiling(self, attempt: int) -> float:
        """The longest back-off after ``attempt`` failures (from 1)."""
        return min(self.max, self.first * 2.0 ** min(max(attempt - 1, 0), LARGEST_EXPONENT))

    def next_attempt(
        self,
        *,
        attempt: int,
        age: float,
        jitter: float,
        retry_after: float | None = None,
        limit: int | None = None,
        in_a_row: int | None = None,
    ) -> float | None:
        """Seconds to wait before the next attempt, or None to bury the delivery.

        Args:
            attempt: how many attempts have failed, this one included, from 1.
            age: seconds since the message was journaled.
            jitter: a number in [0, 1), drawn by the caller.
            retry_after: seconds that the destination asked us to wait.
            limit: bury after so many failures in a row for this reason.
            in_a_row: failures in a row for this reason, this one included; by default ``attempt``.
        """
        if limit is not None and (attempt if in_a_row is None else in_a_row) >= limit:
            return None
        if self.give_up_after is not None and age >= self.give_up_after:
            return None
        ceiling = self.ceiling(attempt)
        delay = max(jitter * ceiling, min(SHORTEST_DELAY_S, ceiling))
        if self.give_up_after is not None:
            delay = min(delay, self.give_up_after - age)  # the last attempt is made at the very end, not before
        if retry_after is None:
            return delay
        # All clients got the same number: spread the return by the first back-off.
        return max(delay, min(max(retry_after, 0.0), LONGEST_RETRY_AFTER_S) + jitter * self.first)


def decide(
    error: DeliveryError, policy: RetryPolicy, *, attempt: int, age: float, jitter: float, in_a_row: int | None = None
) -> float | ReasonCode:
    """In how many seconds a delivery that failed with ``error`` is tried again, or why it is dead.

    The arguments are those of `RetryPolicy.next_attempt`.
    """
    if not isinstance(error, TransientDeliveryError):
        return error.reason
    delay = policy.next_attempt(
        attempt=attempt, age=age, jitter=jitter, retry_after=error.retry_after, limit=error.limit, in_a_row=in_a_row
    )
    if delay is not None:
        return delay
    gave_up = policy.give_up_after is not None and age >= policy.give_up_after
    return ReasonCode.GAVE_UP if gave_up else error.reason
