"""The ``expected_downtime:`` of a destination: `engine.model.site.downtime_windows` says what a window means."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from engine.config.reading.values import Model, NotEmpty, Words
from engine.model.site.downtime_windows import DAY_MINUTES, Window


def _time_of_day(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text)
    minutes = int(found[1]) * 60 + int(found[2]) if found else DAY_MINUTES + 1
    if found is None or int(found[2]) > 59 or minutes > DAY_MINUTES:
        raise ValueError("expected a time of day from 00:00 to 24:00, as 02:00")
    return minutes


def _day_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


TimeOfDay = Annotated[
    int, BeforeValidator(lambda value: _time_of_day(value) if isinstance(value, str) else value), Words("time of day")
]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Days = Annotated[
    tuple[Day, ...],
    BeforeValidator(_day_list),
    NotEmpty,
    Words("day or list of days"),
]


class DowntimeWindow(Model):
    """A time in which the destination is expected to be down, by the clock of the site (`site.timezone`). A window that
    ends before it starts passes midnight; it belongs to the day on which it starts."""

    days: Days = DAYS
    """On which days it starts: `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`; else daily."""

    start: TimeOfDay
    """When it starts, as `02:00`."""

    end: TimeOfDay
    """When it ends, as `04:00`; that minute is not part of it."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start == DAY_MINUTES:
            raise ValueError("start: 24:00 is the end of a day; write 00:00 and the next day")
        if self.start == self.end:
            raise ValueError("start and end are the same; a whole day is 00:00 to 24:00")
        return self

    @property
    def window(self) -> Window:
        return Window(frozenset(DAYS.index(day) for day in self.days), self.start, self.end)

    @property
    def minutes(self) -> int:
        """How long it is in a week."""
        return len(set(self.days)) * ((self.end - self.start) % DAY_MINUTES or DAY_MINUTES)


def leaves_time(windows: tuple[DowntimeWindow, ...]) -> tuple[DowntimeWindow, ...]:
    """Refuse windows that leave no time in which an outage would be noticed."""
    if sum(window.minutes for window in windows) >= 7 * DAY_MINUTES:
        raise ValueError("these windows are as long as a week: a destination that is down would never be noticed")
    return windows
