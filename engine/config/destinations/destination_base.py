"""The keys that all ``destinations:`` of a site share, and the members that each kind declares.

`engine.model.site.downtime_windows` says what a window of ``expected_downtime:`` means.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from engine.config.reading.values import Duration, Model, NotEmpty, Whole, Words
from engine.config.reading.yaml_nodes import KeyPath
from engine.model.process.clock import Clock
from engine.model.site.downtime_windows import DAY_MINUTES, Window
from engine.model.texts.units import HostPort


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
Days = Annotated[tuple[Day, ...], BeforeValidator(_day_list), NotEmpty, Words("day or list of days")]


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


class RetryConfig(Model):
    """When a failed delivery is tried again: after `first`, then twice as long each time up to `max`, with jitter."""

    first: Duration = Field(default=1.0, gt=0, le=86_400)
    """Wait after the first failed attempt."""

    max: Duration = Field(default=300.0, gt=0, le=86_400)
    """Longest wait between two attempts."""

    give_up_after: Duration | None = Field(default=None, gt=0)
    """Age of a message at which a delivery that still fails becomes a dead letter (`GAVE_UP`). By default never: a
    destination that is down for a week loses nothing."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max < self.first:
            raise ValueError("max is shorter than first; make it at least as long")
        return self


class BreakerConfig(Model):
    """When to stop trying each delivery in turn and only probe: the destination is down, not the document bad."""

    failures: Whole = Field(default=5, ge=1, le=1000)
    """Failed attempts in a row that open the breaker."""

    probe_after: Duration = Field(default=10.0, gt=0, le=3600)
    """Wait before one delivery is let through as a probe."""


class DestinationBase(Model, ABC):
    """The base of each kind of destination. Documents, schemas, pages and checks read its fields and the members below.

    Attributes:
        adapter: the module of `adapters.destinations` whose ``build(name, config, clock)`` makes the destination. It is
            imported where a site has such a destination.
        takes: the one kind of document (``target`` of a mapping) that it takes; empty for any.
        example: one entry of ``destinations:``, for the documentation.
        probed: `check --online` starts it; else what its feature examines says more.
    """

    adapter: ClassVar[str]
    takes: ClassVar[Literal["", "fhir", "hl7v2"]] = ""
    example: ClassVar[str]
    probed: ClassVar[bool] = True

    timeout: Duration = Field(default=30.0, gt=0, le=3600)
    """Time for one attempt, connecting included."""

    contact: str = ""
    """Whom to call when it is down, as `help desk of the hospital, 022 5550 1234`: shown beside its state, and sent
    with its alerts."""

    retry: RetryConfig = Field(default_factory=RetryConfig)
    """When to try again."""

    breaker: BreakerConfig = Field(default_factory=BreakerConfig)
    """When to stop trying and only probe."""

    rate: Whole | None = Field(default=None, ge=1, le=100_000)
    """Attempts per second over all lanes, at most, so that a backlog does not flood a server that has just come
    back. By default as many as `concurrency` and the server's answers allow."""

    # a YAML list is a Python list; each window in it is still read strictly
    expected_downtime: Annotated[tuple[DowntimeWindow, ...], AfterValidator(leaves_time)] = Field(
        default=(), strict=False
    )
    """Windows in which it is expected to be down, as `- {days: [sun], start: 02:00, end: 04:00}`: failures within
    are shown calmly and are no alert, and nothing is given up."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for people and logs: nothing in it is secret."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of this machine that it fills."""
        return ()

    @property
    def listeners(self) -> tuple[tuple[KeyPath, HostPort, str], ...]:
        """The addresses of this machine that it listens on: the key, the address, and for what."""
        return ()

    @property
    def keeps_s(self) -> float:
        """How long it has a document that cannot be erased there by itself; 0: it can."""
        return 0.0

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        """Secrets and results that would go to another machine without TLS: the key that says so, and a sentence."""
        yield from ()

    def build(self, name: str, clock: Clock) -> Any:
        """The destination ``name`` of a site: an `engine.model.ports.Destination`.

        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        return import_module(self.adapter).build(name, self, clock)
