"""Outages of a destination: logged once when one begins, and once when it is over."""

from collections.abc import Callable

from engine.delivery.breaker import Breaker, BreakerState
from engine.delivery.events import DestinationCounts, logger
from engine.model.clock import from_us
from engine.model.reasons import ReasonCode


class Outage:
    """Log when a destination goes down and comes back; failed probes in between are not logged.

    Args:
        back: called when the destination is up again.
    """

    def __init__(self, destination: str, breaker: Breaker, counts: DestinationCounts, back: Callable[[], None]) -> None:
        self._destination = destination
        self._breaker = breaker
        self._counts = counts
        self._back = back
        self._down_since: float | None = None  # when the breaker left its closed state ...
        self._down_said = False  # ... and whether a warning was logged: not in a window of expected downtime
        self._calm_until: int | None = None  # the window of expected downtime in which failures were last noted

    def attempt_failed(self, now: float, reason: ReasonCode, until_us: int | None) -> None:
        """Log once if the destination as a whole is down. The breaker has recorded the attempt before.

        Args:
            until_us: the end of the present window of expected downtime; then one calm line is logged, and the warning
                follows only if the destination is still down after it.
        """
        if until_us is not None and until_us != self._calm_until:
            self._calm_until = until_us
            logger.info(
                "destination fails in its expected downtime",
                extra={
                    "destination": self._destination,
                    "reason": reason.value,
                    "until": from_us(until_us).isoformat(timespec="seconds"),
                },
            )
        if self._down_since is not None:
            self.answered(now)  # a conflict is an answer, too
        elif self._breaker.state is BreakerState.OPEN:
            self._down_since = now
            self._counts.breaker_opened += 1
        if self._down_since is not None and not self._down_said and until_us is None:
            self._down_said = True
            logger.warning(
                "destination is not reachable", extra={"destination": self._destination, "reason": reason.value}
            )

    def answered(self, now: float) -> None:
        """The destination has answered; if that closed the breaker, it is back."""
        if self._down_since is None or self._breaker.state is not BreakerState.CLOSED:
            return
        if self._down_said:
            logger.info(
                "destination is reachable again",
                extra={"destination": self._destination, "duration_s": round(now - self._down_since, 1)},
            )
        self._down_since, self._down_said = None, False
        self._back()
