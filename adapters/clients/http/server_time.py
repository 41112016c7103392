"""The time of a server's clock, by the Date headers of its answers (RFC 9110, 6.6.1).

Signatures and assertions are valid for minutes, and a laboratory's machine may be off by more: without a battery, or
without a time server behind its firewall. The server checks them by its own clock, so that clock is used.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from engine.model.process.clock import Clock

TOLERATED_S = 20.0  # a header of whole seconds, and the way of the answer
BELIEVED_YEARS = range(2020, 2200)


class ServerTime:
    """Our clock, and by how much a server's differs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ahead_s = 0.0  # of the server, before ours

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self.ahead_s)

    def heard(self, date: str) -> bool:
        """Take in the Date header of an answer that has just come. True: the time is another one than we thought."""
        said = http_date(date)
        if said is None or said.year not in BELIEVED_YEARS:
            return False
        ahead_s = (said - self._clock.now()).total_seconds()
        if abs(ahead_s - self.ahead_s) <= TOLERATED_S:
            return False
        self.ahead_s = ahead_s if abs(ahead_s) > TOLERATED_S else 0.0
        return True


def http_date(text: str) -> datetime | None:
    """An HTTP date (RFC 9110, 5.6.7); None where it is none."""
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
