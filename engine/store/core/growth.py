"""The journal's growth, and the days until the disk is full at that rate.

The file never shrinks by itself: freed space in it is used again. The bytes of the last days are estimated from their
share of all rows, which costs a few look-ups, whatever the size of the file. Once the oldest messages reach the age
that retention allows, as much is deleted as comes in, and the file stops growing.
"""

from dataclasses import dataclass

from engine.store.core.connecting import Execute

DAYS = 7
DAY_US = 86_400 * 1_000_000
LEAST_US = DAY_US // 4  # of history; with less there is no forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The journal's rows: all of them, and the recent ones.

    Attributes:
        file_bytes: of the database file; ``unused_bytes`` of them are free and used again.
        kept_us: when the oldest remaining message was received; 0 without one.
        rows: of the journal; ``first_us`` and ``last_us``: when the oldest and newest were received, 0 without rows.
        recent: rows of the last `DAYS` days before ``now_us``.
    """

    file_bytes: int
    rows: int
    first_us: int
    last_us: int
    recent: int
    now_us: int
    unused_bytes: int = 0
    kept_us: int = 0

    @property
    def bytes_a_day(self) -> float | None:
        """Bytes per day at the recent rate; None where that is not known yet."""
        span = min(self.now_us - self.first_us, DAYS * DAY_US)
        if not self.rows or not self.recent or span < LEAST_US:
            return None
        return self.used_bytes * (self.recent / self.rows) / (span / DAY_US)

    @property
    def used_bytes(self) -> int:
        return self.file_bytes - self.unused_bytes

    def days_left(self, free_bytes: int, keep_s: float | None = None) -> float | None:
        """Days until the disk is full at this rate; None where that is not known, or it never will be.

        Args:
            keep_s: the age at which messages are deleted.
        """
        rate = self.bytes_a_day
        if not rate:
            return None
        days = (free_bytes + self.unused_bytes) / rate
        return None if keep_s is not None and days >= self._days_to_go(keep_s) else days

    def largest_bytes(self, keep_s: float) -> int | None:
        """The size of the journal once as much is deleted as comes in; None where that is not known."""
        rate = self.bytes_a_day
        return None if rate is None else round(self.used_bytes + rate * self._days_to_go(keep_s))

    def _days_to_go(self, keep_s: float) -> float:
        """Days until the oldest message is deleted."""
        return max(0.0, keep_s / 86_400 - (self.now_us - (self.kept_us or self.now_us)) / DAY_US)


def used_bytes(execute: Execute) -> int:
    """Bytes of the file that are in use."""
    pages, free, page_bytes = pages_of(execute)
    return (pages - free) * page_bytes


def pages_of(execute: Execute) -> tuple[int, int, int]:
    """The pages of the file, those without content among them, and the bytes of one."""
    row: tuple[int, int, int] = execute(
        "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    ).fetchone()
    return row
