"""Whether the times of a result can be right (rule 5).

    measured or collected after the receipt     no clock is right that says so; a quarter of an hour is not counted
    measured half a year before it              a clock that was set to another year, or an old memory

An analyzer whose clock is wrong by a year files today's result under last year: the newest value is not the newest, a
trend is false. A memory of last year that is known is an echo and asked before. Such a time is used for nothing. Each
result is held, until a person has released one of a clock that is off by as many days; after that results go out, and
it is said of each. Where something is known under the same key it is held each time, for times are what would tell a
rerun from another sample.
"""

from calendar import monthrange
from collections.abc import Collection
from datetime import date, datetime, timedelta
from functools import lru_cache

from engine.succession.judge.samples import instant
from engine.succession.steps import AHEAD

WRONG = (
    "a time of it is after its receipt, or half a year before; released, it goes out without that time, and so do later"
    " results of this clock"
)
OLD = timedelta(days=182)
_DAY = len("2026-03-01")
_DAY_SENT = len("20260301")


def is_wrong(text: str, received: datetime, *, taken: bool = False) -> bool:
    """Whether a time of a result is not possible, or too old to be believed unasked.

    Args:
        taken: it is when the sample was taken, which may lie years back: of a tissue, of a frozen serum.
    """
    if not text:
        return False
    oldest = timedelta.max if taken else OLD
    at = instant(text)
    if at is not None:
        return (ahead := at - received) > AHEAD or -ahead > oldest
    if (period := _period(text)) is None:
        return is_ahead(text, received)
    today = received.date()
    return period[0] > today + timedelta(days=1) or today - period[1] > oldest


def is_early(measured: str, born: str, collected: Collection[str | None]) -> bool:
    """Whether a time of measurement is before the day of birth, or a quarter of an hour before each of collection."""
    if not measured:
        return False
    if measured[:_DAY] < born[:_DAY] and 0 < day_of(measured) < day_of(born):
        return True
    if measured in collected:
        return False
    at, drawn = instant(measured), [moment for text in collected if (moment := instant(text or "")) is not None]
    return at is not None and bool(drawn) and min(drawn) - at > AHEAD


def days_behind(text: str, received: datetime) -> int:
    """By how many days a time, in FHIR or as it was sent, lies before the receipt: of a month or a year its nearer end;
    0: it is no time."""
    day = day_of(text) or day_of(text[:_DAY_SENT])
    if not day and (period := _period(text)):
        day = (period[0] if period[0] > received.date() else period[1]).toordinal()
    return received.toordinal() - day if day else 0


def _period(text: str) -> tuple[date, date] | None:
    """The first and the last day of a FHIR date, a month or a year: all of it must be possible; None: it is none."""
    try:
        if len(text) >= _DAY:
            return (day := date.fromisoformat(text[:_DAY])), day
        year, month = (int(part or 0) for part in text.partition("-")[::2])
        return date(year, month or 1, 1), date(year, month or 12, monthrange(year, month or 12)[1])
    except ValueError:
        return None


@lru_cache(maxsize=256)
def day_of(text: str) -> int:
    """As `date.toordinal`; 0: a month or a year alone."""
    try:
        return date.fromisoformat(text[:_DAY]).toordinal()
    except ValueError:
        return 0


def is_ahead(sent: str, received: datetime) -> bool:
    """Whether a time as it was sent, of which the reader makes none, is of a day to come."""
    try:
        return date.fromisoformat(sent[:_DAY_SENT]) > received.date()
    except ValueError:
        return False
