"""The report of a shift: what each channel received, and what became of it, from the counts of whole hours."""

from collections.abc import Iterable, Sequence
from datetime import time, timedelta, tzinfo
from typing import NamedTuple

from engine.model.journal.journal_views import HourCount
from engine.model.process.clock import from_us
from engine.model.texts.phrases import N_
from engine.monitoring.usual_gaps import hour_of
from engine.views.shifts import began
from engine.views.text import age
from engine.views.view import Field, View

HANDOVER = timedelta(hours=1)  # so long after its end a shift is still reported
LONGEST_US = 31 * 86_400 * 1_000_000
TOO_LONG = N_("The report has 31 days at most, and ends after it begins.")


class Shift(NamedTuple):
    """Attributes:
    since_us, until_us: its first moment, at the start of an hour, and its end.
    """

    since_us: int
    until_us: int


class ChannelShift(NamedTuple):
    """One channel in a shift.

    Attributes:
        received, delivered, dead, held: as `HourCount`.
        longest_s: how old the last message became at most; None: no hour is noted.
    """

    channel: str
    received: int
    delivered: int
    dead: int
    held: int
    longest_s: int | None


CHANNEL_SHIFT = View[ChannelShift](
    "channels",
    Field("channel", "CHANNEL"),
    Field("received", "RECEIVED", right=True),
    Field("delivered", "DELIVERED", right=True),
    Field("dead", "DEAD", right=True),
    Field("held", "HELD", right=True),
    Field("longest_s", "LONGEST GAP", shown=lambda one: age(one.longest_s), right=True),
)


def shift_of(after_us: int | None, until_us: int, shifts: Sequence[time], zone: tzinfo) -> Shift:
    """The report that ends then, and begins with the hour of ``after_us``; None: with the shift that was under way
    `HANDOVER` before its end.

    Raises:
        ValueError: it is too long, or ends before it begins; with the sentence for people.
    """
    if after_us is None:
        after_us = round(began(from_us(until_us) - HANDOVER, shifts, zone).timestamp() * 1e6)
    if not 0 < until_us - after_us <= LONGEST_US:
        raise ValueError(TOO_LONG)
    return Shift(hour_us(after_us, zone), until_us)


def hour_us(at_us: int, zone: tzinfo) -> int:
    """When the hour began that an instant is in, in microseconds since 1970."""
    return round(hour_of(from_us(at_us), zone).timestamp() * 1e6)


def by_channel(hours: Iterable[HourCount], names: Iterable[str]) -> list[ChannelShift]:
    """A row for each channel of these names, and for each one that has an hour."""
    found: dict[str, list[HourCount]] = {name: [] for name in names}
    for hour in hours:
        found.setdefault(hour.channel, []).append(hour)
    return [
        ChannelShift(
            channel=name,
            received=sum(hour.received for hour in those),
            delivered=sum(hour.delivered for hour in those),
            dead=sum(hour.dead for hour in those),
            held=sum(hour.held for hour in those),
            longest_s=max((hour.age_s for hour in those), default=None),
        )
        for name, those in sorted(found.items())
    ]
