"""The circuit breaker of one destination: spare a peer that is down, and notice soon when it is back. Pure.

    closed     deliveries pass. N transient failures in a row, or one failure of the destination as a whole
               (log-in, address, a proxy's page), open it.
    open       nothing passes until `next_probe`.
    half-open  one delivery passes, the probe. If it succeeds the breaker closes, if it fails it opens again for
               twice as long, up to `max_open`.

One message must not stop the others. A refused document or a 409 proves that the peer is alive, and repeated 5xx
answers to the same delivery count once. Its lane backs off on its own (`engine.delivery.retry`). A delivery that keeps
failing after the destination has taken others is a suspect: its own document is at fault, however it fails (a receiver
may close the connection on it), and it does not count until it is delivered. A suspect is never the probe.

An outcome is credited to the destination, not to a request. So a late success of a delivery that was under way when the
breaker opened closes it, and a late failure while it is open changes nothing.
"""

from enum import Enum

from engine.model.errors import DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode

PROBE_PATIENCE_S = 300.0  # longer than any sensible `timeout`: a probe without an answer for so long will get none
# The peer answered with an error: it may be caused by this one document.
ANSWERED = frozenset({ReasonCode.BUSY, ReasonCode.NEGATIVE_ACK})
MAX_FAILING = 1000  # deliveries that are remembered as failing; the oldest is dropped first
# The peer works: two writes collided, and the other one won.
ALIVE = frozenset({ReasonCode.CONFLICT})


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Instants are monotonic seconds of one clock.

    Args:
        threshold: transient failures in a row that open it.
        first_open: seconds it stays open the first time.
        max_open: the longest time that it stays open.

    Attributes:
        next_probe: when one delivery may pass; None while it is closed. While a probe is under way, this is when it
            counts as lost: no breaker stays half-open without end.
    """

    def __init__(self, *, threshold: int = 5, first_open: float = 5.0, max_open: float = 60.0) -> None:
        self._threshold = threshold
        self._first_open = first_open
        self._max_open = max(max_open, first_open)
        self.state = BreakerState.CLOSED
        self._failures = 0
        self._blamed: int | None = None
        self._failing: dict[int, bool] = {}  # delivery -> whether others were taken since its first failure
        self._open_for = first_open
        self.next_probe: float | None = None

    def allow(self, now: float) -> bool:
        """May a delivery start? True from an open breaker makes it the probe: report its outcome, or `abandoned`."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.next_probe is None or now < self.next_probe:
            return False
        self.state = BreakerState.HALF_OPEN
        self.next_probe = now + PROBE_PATIENCE_S
        return True

    def heard(self, now: float, error: DeliveryError | None, *, delivery: int | None = None) -> None:
        """Record the outcome of a delivery: its error, or None if it was delivered.

        Args:
            delivery: its outbox number, to recognise one document that keeps failing.
        """
        if not isinstance(error, TransientDeliveryError) or error.reason in ALIVE:
            self.succeeded(now, delivery=delivery)
        elif not isinstance(error, DestinationDownError) and self.is_suspect(delivery):
            self.abandoned(now)
        else:
            if delivery is not None and delivery not in self._failing:
                self._failing[delivery] = False
                if len(self._failing) > MAX_FAILING:
                    del self._failing[next(iter(self._failing))]
            self.failed(
                now, isinstance(error, DestinationDownError), delivery=delivery if error.reason in ANSWERED else None
            )

    def is_suspect(self, delivery: int | None) -> bool:
        """Whether a delivery keeps failing while the destination takes others."""
        return delivery is not None and self._failing.get(delivery, False)

    def ended(self, delivery: int) -> None:
        """A delivery has no further attempt: forget it."""
        self._failing.pop(delivery, None)

    def succeeded(self, now: float, *, delivery: int | None = None) -> None:
        """The destination answered as it should, even with a refusal."""
        if self._failing:
            self._failing = {one: True for one in self._failing if one != delivery}
        self.state = BreakerState.CLOSED
        self._failures = 0
        self._blamed = None
        self._open_for = self._first_open
        self.next_probe = None

    def failed(self, now: float, at_once: bool = False, *, delivery: int | None = None) -> None:
        """A transient failure.

        Args:
            at_once: the destination as a whole is at fault; do not wait for the threshold.
            delivery: set where the peer answered and this one delivery may be at fault: in a row it counts once.
        """
        if self.state is BreakerState.OPEN:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._open_for = min(self._open_for * 2, self._max_open)
            self._open(now)
            return
        if not at_once and delivery is not None and delivery == self._blamed:
            return
        self._blamed = delivery
        self._failures += 1
        if at_once or self._failures >= self._threshold:
            self._open(now)

    def abandoned(self, now: float) -> None:
        """The probe ended without an outcome (cancelled, paused): the next delivery may probe at once."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN
            self.next_probe = now

    def _open(self, now: float) -> None:
        self.state = BreakerState.OPEN
        self.next_probe = now + self._open_for
