"""How fast the journal grows, and how long the disk will last at that rate.

The file never shrinks by itself: space that becomes free in it is used again. What the rows of the last days took is
told from their share of all rows, which costs a few look-ups, whatever the size of the file.
"""

from dataclasses import dataclass

DAYS = 7
DAY_US = 86_400 * 1_000_000
LEAST_US = DAY_US // 4  # of history, below which nothing is foretold


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Rows of the journal, all of them and those of late.

    Attributes:
        file_bytes: of the database file.
        rows: of the journal; ``first_us`` and ``last_us`` when the oldest and newest were received, 0 without rows.
        recent: rows of the last `DAYS` days before ``now_us``.
    """

    file_bytes: int
    rows: int
    first_us: int
    last_us: int
    recent: int
    now_us: int

    @property
    def bytes_a_day(self) -> float | None:
        """At the rate of late; None where that is not known yet."""
        span = min(self.now_us - self.first_us, DAYS * DAY_US)
        if not self.rows or not self.recent or span < LEAST_US:
            return None
        return self.file_bytes * (self.recent / self.rows) / (span / DAY_US)

    def days_left(self, free_bytes: int) -> float | None:
        """Until the disk is full at this rate; None where that is not known, or nothing grows."""
        rate = self.bytes_a_day
        return free_bytes / rate if rate else None
