"""The system's clock, which a test moves."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.model.process.clock import SystemClock


@dataclass
class MovedClock(SystemClock):
    """Attributes:
    passed_s: seconds that have passed besides: both clocks move.
    jumped_s: seconds by which wall time alone is another one, as after a person has set the clock.
    """

    passed_s: float = 0.0
    jumped_s: float = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.passed_s + self.jumped_s)

    def now_us(self) -> int:
        return super().now_us() + round((self.passed_s + self.jumped_s) * 1_000_000)

    def monotonic(self) -> float:
        return super().monotonic() + self.passed_s
