"""The gap between messages that is usual at each hour of the week, learned from a channel's own history. Pure.

The store notes of each hour how many of its twelve parts of five minutes had a message, and how old the last message
became (`engine.model.journal.journal_views.HourCount`). Of the same hour of the day in the last eight weeks this module
learns

    gap   how old the last message usually becomes at this hour: the third longest of the longest ages of these weeks.
          So two weeks of a broken analyzer teach no silence, and from the third on it is usual. While there are fewer
          than six weeks it is the second longest.
    rate  how improbable an hour without any message is, as -ln(probability), without the same weeks and the busiest

A channel is silent where its last message is older than three such gaps, and the hours since then are together less
probable than `IMPROBABLE`. The first alone would ring on each morning when work begins late; the second alone would
ring after each batch, since messages that come in runs are no random arrivals.

Days of the week on which the age is alike at this hour are learned from together: five working days say in three weeks
what one day says in fifteen. Hours are those of the site's zone, so a learned day follows a change of the clocks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from statistics import median, quantiles

from engine.model.journal.journal_views import HourCount
from engine.model.journal.records import HOUR_PARTS
from engine.monitoring.snapshot.states import SILENT_AFTER_GAPS

WEEKS = 8
LEAST_WEEKS = 3  # of the same hour of the week, before anything is said about it
TEACHING_PARTS = HOUR_PARTS // 2  # an hour that was watched for less teaches nothing
IMPROBABLE = -math.log(1e-4)
SHORTEST_GAP_S = 60.0
# Days are alike whose ages differ by no more than this factor and these seconds, and this share of hours with messages.
ALIKE, ALIKE_S, ALIKE_SHARE = 2.0, 600.0, 0.4
LIKELY, UNLIKELY = 2.0, 3.3  # of work that comes in a few hours only: those that count, and what they must add up to
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
    weeks: list[list[HourCount]] = [[] for _ in range(WEEKS)]
    for day in days:
        if day and _alike([hour for _, hour in day], [hour for _, hour in days[0]]):
            for week, hour in day:
                weeks[week].append(hour)
    weeks = [week for week in weeks if week]
    bad = 2 if len(weeks) >= 2 * LEAST_WEEKS else 1
    longest = sorted((max(hour.age_s for hour in week) for week in weeks), reverse=True)
    by_activity = sorted(weeks, key=lambda week: sum(hour.active for hour in week) / len(week))
    rate, missed = _chances([hour for week in by_activity[bad:-1] for hour in week])
    return UsualHour(max(longest[bad], SHORTEST_GAP_S), rate, missed)


def _alike(one: Sequence[HourCount], other: Sequence[HourCount]) -> bool:
    """Whether the last message is of much the same age at this hour of two days, and comes in it about as often."""
    young, old = sorted(median(hour.age_s for hour in day) for day in (one, other))
    rare, often = sorted(sum(hour.active > 0 for hour in day) / len(day) for day in (one, other))
    return old <= ALIKE * young + ALIKE_S and often - rare <= ALIKE_SHARE


def _chances(hours: Sequence[HourCount]) -> tuple[float, float]:
    """`UsualHour.rate` and `UsualHour.missed` of like hours.

    Messages that come in runs leave more parts empty together than random ones: where the counts of active parts
    differ by more than those of independent parts would, the rate is less by that factor.
    """
    shares = [hour.active / hour.parts for hour in hours]
    share = min(sum(shares) / len(shares), 1 - 1 / (HOUR_PARTS * len(hours) + 2))
    if not share:
        return 0.0, 0.0
    spread = HOUR_PARTS * sum((one - share) ** 2 for one in shares) / (len(shares) * share * (1 - share))
    rate = -HOUR_PARTS * math.log1p(-share) / max(1.0, spread)
    empty = sum(not one for one in shares)
    whole = -math.log((empty + 0.5) / (len(hours) + 1))
    return (whole, whole) if empty >= SEVERAL else (rate, max(rate, whole))


def band(counts: Sequence[int]) -> tuple[int, int] | None:
    """The usual number of messages in an hour of the week: from the 10th to the 90th percentile of the weeks before.

    Args:
        counts: of the same hour of the same day of the week; None where there are too few.
    """
    if len(counts) < LEAST_WEEKS:
        return None
    tenths = quantiles(counts, n=10, method="inclusive")
    return round(tenths[0]), round(tenths[-1])


def weeks_before(begins: datetime, zone: tzinfo, is_off: Callable[[date], bool] = lambda day: False) -> list[datetime]:
    """The same hour of the same day of the week in the weeks that are learned from, without days off."""
    return [then for ago, then in same_hours(begins, zone) if not ago % 7 and not is_off(then.astimezone(zone).date())]


def hours_of_day(at: datetime, zone: tzinfo) -> list[datetime]:
    """The starts, in UTC, of the hours of a day on the wall clock of a zone: 23 to 25."""
    day = at.astimezone(zone).date()
    found = [datetime.combine(day, time(), zone).astimezone(UTC)]
    while (later := found[-1] + HOUR).astimezone(zone).date() == day:
        found.append(later)
    return found


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
    if (now - since).total_seconds() <= SILENT_AFTER_GAPS * this.gap_s:
        return False
    evidence = scheduled = 0.0
    while ends > since and now - ends < LONGEST_LOOK:
        one = None if is_off(begins.astimezone(zone).date()) else usual(begins)
        if one is not None:
            whole = begins >= since and ends - begins >= HOUR
            evidence += one.missed if whole else one.rate * ((ends - max(begins, since)) / HOUR)
            scheduled += one.missed if whole and one.missed >= LIKELY else 0.0
        if evidence >= IMPROBABLE or (scheduled >= UNLIKELY and not this.rate):
            return True
        ends, begins = begins, hour_of(begins - timedelta(minutes=1), zone)
    return False


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
