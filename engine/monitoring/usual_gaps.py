"""The gap between messages that is usual at each hour of the week, learned from a channel's own history. Pure.

The store notes of each hour how many of its twelve parts of five minutes had a message, and how old the last message
became (`engine.model.records.HourCount`). Of the same hour of the day in the last eight weeks this module learns

    gap       how old the last message usually becomes at this hour: the third longest of the longest ages of these
              weeks. So no two weeks of a broken analyzer teach silence, and from the third on it is usual.
    evidence  how improbable an hour without any message is, as -ln(probability)

A channel is silent where its last message is older than three such gaps, and the hours since then are together less
probable than `IMPROBABLE`. The first alone would ring on each morning when work begins late; the second alone would
ring after each batch, since messages that come in runs are no random arrivals.

Days of the week on which the age is alike at this hour are learned from together: five working days say in three weeks
what one day says in fifteen. Hours are those of the site's zone, so a learned day follows a change of the clocks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from statistics import median

from engine.model.records import HOUR_PARTS, HourCount

WEEKS = 8
LEAST_WEEKS = 3  # of the same hour of the week, before anything is said about it
TEACHING_PARTS = HOUR_PARTS // 2  # an hour that was watched for less teaches nothing
SILENT_GAPS = 3
IMPROBABLE = -math.log(1e-4)
SHORTEST_GAP_S = 60.0
ALIKE, ALIKE_S = 2.0, 600.0  # ages are alike that differ by no more than this factor and these seconds
IMPROBABLE_AT_REST = -math.log(0.05)  # in an hour without work no more evidence would come until the next
SEVERAL = 3  # with so many empty hours their own share is known well enough
LONGEST_LOOK = timedelta(days=15)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class UsualHour:
    """What is usual at one hour of the week.

    Attributes:
        gap_s: how old the last message usually becomes.
        rate: -ln of the probability of an hour without a message, if they came at random; 0: none is expected.
        missed: the same of the whole hour, from how often there was none.
    """

    gap_s: float
    rate: float
    missed: float


def learn(hours: Sequence[tuple[int, HourCount]]) -> UsualHour | None:
    """Learn from the same hour of the day, on days without days off; None while there is too little history.

    Args:
        hours: of each, how many days ago (from 1 to 7 * `WEEKS`).
    """
    days: list[list[tuple[int, HourCount]]] = [[] for _ in range(7)]
    for ago, hour in hours:
        if hour.parts >= TEACHING_PARTS:
            days[ago % 7].append(((ago - 1) // 7, hour))
    if len(days[0]) < LEAST_WEEKS:
        return None
    ages = [median(hour.age_s for _, hour in day) if day else -math.inf for day in days]
    weeks: list[list[HourCount]] = [[] for _ in range(WEEKS)]
    for day, age in zip(days, ages, strict=True):
        if age <= ALIKE * ages[0] + ALIKE_S and ages[0] <= ALIKE * age + ALIKE_S:
            for week, hour in day:
                weeks[week].append(hour)
    weeks = [week for week in weeks if week]
    longest = sorted((max(hour.age_s for hour in week) for week in weeks), reverse=True)
    gap_s = longest[2] if len(longest) >= 2 * LEAST_WEEKS else longest[min(1, len(longest) - 1)]
    random = _random(weeks)
    empty, of = _empty(weeks)
    whole = -math.log((empty + 0.5) / (of + 1))
    if empty >= SEVERAL:
        return UsualHour(max(gap_s, SHORTEST_GAP_S), whole, whole)
    return UsualHour(max(gap_s, SHORTEST_GAP_S), random, max(random, whole))


def _random(weeks: Sequence[Sequence[HourCount]]) -> float:
    """If messages came at random: of the share of parts with one, over all weeks but the busiest and the quietest."""
    shares = sorted(sum(hour.active for hour in week) / sum(hour.parts for hour in week) for week in weeks)
    kept = shares[1:-1] or shares
    share = sum(kept) / len(kept)
    parts = sum(hour.parts for week in weeks for hour in week)
    return -HOUR_PARTS * math.log1p(-min(share, 1 - 1 / (parts + 2)))


def _empty(weeks: Sequence[Sequence[HourCount]]) -> tuple[int, int]:
    """How many hours had no message, and of how many, over all weeks but the worst."""
    kept = sorted((sum(not hour.active for hour in week), len(week)) for week in weeks)[:-1]
    return sum(empty for empty, _ in kept), sum(of for _, of in kept)


def is_silent(
    since: datetime,
    now: datetime,
    zone: tzinfo,
    usual: Callable[[datetime], UsualHour | None],
    is_off: Callable[[date], bool],
) -> bool:
    """Whether a channel whose last message came at ``since`` is silent.

    Args:
        usual: the start of an hour -> what is usual then.
        is_off: whether a day of the site is a day off; nothing is expected on it.
    """
    begins, ends = hour_of(now, zone), now
    this = usual(begins)
    if this is None or is_off(now.astimezone(zone).date()):
        return False
    if (now - since).total_seconds() <= SILENT_GAPS * this.gap_s:
        return False
    evidence, enough = 0.0, IMPROBABLE if this.rate else IMPROBABLE_AT_REST
    while ends > since and now - ends < LONGEST_LOOK and evidence < enough:
        one = None if is_off(begins.astimezone(zone).date()) else usual(begins)
        if one is not None:
            whole = begins >= since and ends - begins >= HOUR
            evidence += one.missed if whole else one.rate * ((ends - max(begins, since)) / HOUR)
        ends, begins = begins, hour_of(begins - timedelta(minutes=1), zone)
    return evidence >= enough


def hour_of(at: datetime, zone: tzinfo) -> datetime:
    """The start, in UTC, of the hour on the wall clock of a zone."""
    local = at.astimezone(zone)
    return local.replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def same_hours(begins: datetime, zone: tzinfo) -> Iterator[tuple[int, datetime]]:
    """The same hour of the wall clock on the days before, where there was one: how many days ago, and its start."""
    local = begins.astimezone(zone)
    for ago in range(1, 7 * WEEKS + 1):
        then = local.replace(tzinfo=None, fold=0) - timedelta(days=ago)
        start = then.replace(tzinfo=zone).astimezone(UTC)
        if start.astimezone(zone).replace(tzinfo=None) == then:
            yield ago, start
