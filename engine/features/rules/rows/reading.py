"""Read what rules have said, for lists and pages. Days are those of the site's zone, as ``2026-03-01``."""

from datetime import date, datetime, timedelta, tzinfo
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from engine.store.queries.reader import Reader

MOST = 5000  # rows


class RuleView(NamedTuple):
    """What one rule said, on one day or in a time.

    Attributes:
        day: the one; of a time, the first that this version was asked on, also before that time.
        counts: seen, hit, unknown, confirmed and overturned, as ``rule_day`` has them.
    """

    day: str
    channel: str
    rule: str
    version: str
    shadow: bool
    seen: int
    hit: int
    unknown: int
    confirmed: int
    overturned: int


class UntouchedView(NamedTuple):
    """Results of a test in a month.

    Attributes:
        untouched: those that no person had to look at.
    """

    month: str
    channel: str
    test: str
    results: int
    untouched: int

    @property
    def percent(self) -> str:
        """To one place, rounded down: 100.0 are all."""
        share = Decimal(100 * self.untouched) / self.results
        return str(share.quantize(Decimal("0.1"), rounding=ROUND_FLOOR))


def first_day(days: int, now: datetime, zone: tzinfo) -> str:
    """Of so many days up to today."""
    today: date = now.astimezone(zone).date()
    return (today - timedelta(days=days - 1)).isoformat()


def list_rules(reader: Reader, since: str, channel: str | None = None) -> list[RuleView]:
    """Each version of each rule that was asked since this day, the newest first."""
    rows = reader.rows(
        "SELECT min(day) AS first, channel, rule, version, shadow, sum(seen * (day >= ?1)), sum(hit * (day >= ?1)),"
        " sum(unknown * (day >= ?1)), sum(confirmed * (day >= ?1)), sum(overturned * (day >= ?1)) FROM rule_day"
        " WHERE ?2 IS NULL OR channel = ?2 GROUP BY channel, rule, version, shadow HAVING max(day) >= ?1"
        " ORDER BY channel, rule, first DESC, version, shadow LIMIT ?3",
        (since, channel, MOST),
    )
    return [RuleView._make((*row[:4], bool(row[4]), *row[5:])) for row in rows]


def list_days(reader: Reader, since: str, channel: str | None = None, rule: str | None = None) -> list[RuleView]:
    """What each rule said on each day since this one, the newest first."""
    rows = reader.rows(
        "SELECT day, channel, rule, version, shadow, seen, hit, unknown, confirmed, overturned FROM rule_day"
        " WHERE day >= ?1 AND (?2 IS NULL OR channel = ?2) AND (?3 IS NULL OR rule = ?3)"
        " ORDER BY day DESC, channel, rule, version, shadow LIMIT ?4",
        (since, channel, rule, MOST),
    )
    return [RuleView._make((*row[:4], bool(row[4]), *row[5:])) for row in rows]


def list_untouched(reader: Reader, since: str, channel: str | None = None) -> list[UntouchedView]:
    """Whole months, from that of this day on, the newest first."""
    rows = reader.rows(
        "SELECT substr(day, 1, 7) AS month, channel, test, sum(seen), sum(seen - touched) FROM rule_test_day"
        " WHERE day >= ?1 AND (?2 IS NULL OR channel = ?2) GROUP BY month, channel, test"
        " ORDER BY month DESC, channel, test LIMIT ?3",
        (f"{since[:7]}-01", channel, MOST),
    )
    return [UntouchedView._make(row) for row in rows]
