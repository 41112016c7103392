"""Reports on a period: rows by day, analyzer or test add up to the same, and days are those of the site's zone."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from engine.features.reports.lists import (
    BAD_MONTH,
    BAD_PERIOD,
    COUNTED,
    REPORTS,
    Asked,
    Period,
    downtime,
    hours_down,
    month_of,
    period_of,
    turnaround,
    unmapped,
    utilisation,
    volume,
)
from engine.features.reports.rules import STAGES, ResultCounts
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations.hour_counts import PART_US
from tests.support.journals import opened

BERLIN = ZoneInfo("Europe/Berlin")
MARCH = Period(date(2026, 3, 1), date(2026, 3, 31))
TODAY = date(2026, 3, 20)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = opened(tmp_path, zone=BERLIN)
    yield made
    made.close()


def asked(by: str = "channel", channel: str | None = None, period: Period = MARCH) -> Asked:
    return Asked(period, by, channel, BERLIN)


class Filled:
    """A journal with made-up figures, and their sums as they were made up: (day, channel, code) -> n."""

    def __init__(self, journal: Journal, seed: int) -> None:
        self.final: Counter[tuple[str, str, str]] = Counter()
        self.times: dict[tuple[str, str, str], list[int]] = {}
        self.received: Counter[tuple[str, str]] = Counter()
        chance = random.Random(seed)
        for n in range(-3, 34):  # some days are not of March
            day = (date(2026, 3, 1) + timedelta(days=n)).isoformat()
            for channel in ("blood", "chem"):
                self.received[day, channel] = chance.randrange(1, 90)
                for code in ("", "GLU", "NA"):
                    self.times[day, channel, code] = [chance.randrange(100) for _ in range(chance.randrange(1, 6))]
        journal.run_alone(self._write)

    def _write(self, batch: Batch) -> None:
        for (day, channel), n in self.received.items():
            put = "INSERT INTO counter VALUES (?, ?, ?, ?, ?)"
            batch.execute(put, (day, channel, "", "received", n))
            batch.execute(put, (day, channel, "lis", "dead", 1))
            batch.execute(put, (day, channel, "lis", "delivered", 7))  # deliveries, no messages
        for place, times in self.times.items():
            counts = ResultCounts(final=len(times))
            for seconds in times:
                counts.stages["collected-resulted"].note(1, 1 + seconds * 1_000_000)
            said = orjson.dumps(counts.as_json()).decode()
            batch.execute("INSERT INTO result_day VALUES (?, ?, ?, 1, ?)", (*place, said))

    def of(self, **wanted: str) -> list[int]:
        """All times of a day, a channel, a code in March."""
        names = ("day", "channel", "code")
        return sorted(
            one
            for place, times in self.times.items()
            if place[0].startswith("2026-03")
            and all(place[names.index(name)] == value for name, value in wanted.items())
            for one in times
        )


@pytest.mark.parametrize("seed", range(3))
def test_rows_add_up_whatever_they_are_by(journal: Journal, seed: int) -> None:
    made = Filled(journal, seed)
    days = {f"2026-03-{n:02}" for n in range(1, 32)}
    of_march = sum(n for (day, _), n in made.received.items() if day in days)
    for by, places in (("channel", 2), ("day", 31)):
        rows = volume(journal, asked(by))
        assert len(rows) == places
        assert sum(row.counters["received"] for row in rows) == of_march
        assert sum(row.counters["dead"] for row in rows) == 62
        assert all(row.counters.get("delivered", 0) == 0 for row in rows)
        assert sum(row.results.final for row in rows) == len(made.of())
    assert sum(row.results.final for row in volume(journal, asked("test"))) == len(made.of())
    for row in turnaround(journal, asked("test")):
        code = "" if row.place.code == "*" else row.place.code
        times = made.of(channel=row.place.channel, code=code)
        if row.stage == "collected-resulted":
            assert row.times.count == len(times)
            assert row.times.percentile_s(50) == times[-(-len(times) * 50 // 100) - 1]
            assert row.times.percentile_s(95) == times[-(-len(times) * 95 // 100) - 1]
    for row in turnaround(journal, asked("day", "chem")):
        if row.stage == "collected-resulted":
            assert row.times.count == len(made.of(day=row.place.day, channel="chem"))
    assert [(row.place.channel, row.results) for row in unmapped(journal, asked())] == [
        (channel, len(made.of(channel=channel, code=""))) for channel in ("blood", "chem")
    ]


def test_each_stage_has_a_row_for_each_place_with_a_final_result(journal: Journal) -> None:
    Filled(journal, 1)
    assert [row.stage for row in turnaround(journal, asked())] == [*STAGES, *STAGES]


def test_each_report_is_read_by_each_of_its_ways(journal: Journal) -> None:
    Filled(journal, 1)
    for report in REPORTS.values():
        for by in report.by:
            for row in report.view.rows(report.read(journal, asked(by))):
                assert list(row) == [field.name for field in report.view.fields]
    assert set(COUNTED) <= {field.name for field in REPORTS["volume"].view.fields}


def test_use_of_an_analyzer_is_that_of_the_parts_in_which_it_was_seen(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 3, 28, 21, tzinfo=UTC))  # two hours before midnight in Berlin
    journal = opened(tmp_path, clock=clock, zone=BERLIN)
    journal.upkeep.idle()
    busy: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    chance = random.Random(7)
    journal.run_alone(_known, clock.now_us())
    for _ in range(12 * 9):
        day = clock.now().astimezone(BERLIN).date().isoformat()
        if chance.random() < 0.4:
            journal.run_alone(_came)
            busy[day] += 1
        seen[day] += 1
        clock.advance(PART_US / 1e6)
        journal.upkeep.idle()
    found = utilisation(journal, asked("day", period=Period(date(2026, 3, 28), date(2026, 3, 29))))
    assert {one.place.day: (one.seen, one.busy) for one in found} == {day: (seen[day], busy[day]) for day in seen}
    (whole,) = utilisation(journal, asked())
    assert (whole.seen, whole.busy) == (108, busy.total())
    assert whole.percent == round(100 * busy.total() / 108, 1)
    journal.close()


def _known(batch: Batch, now_us: int) -> None:
    batch.channel("chem").last_us = now_us


def _came(batch: Batch) -> None:
    batch.count("chem", "", "received")


def test_downtime_is_cut_to_the_days_of_the_zone_where_the_clock_changes(journal: Journal) -> None:
    begin = round(datetime(2026, 3, 27, tzinfo=UTC).timestamp() * 1e6)
    journal.run_alone(_down, begin)
    day = Period(date(2026, 3, 29), date(2026, 3, 29))  # it has 23 hours
    assert hours_down(downtime(journal, asked(period=day))) == {("channel", "chem", "silent"): (1, 23 * 3600)}
    assert downtime(journal, asked(channel="blood", period=day)) == []


def _down(batch: Batch, begin_us: int) -> None:
    batch.execute(
        "INSERT INTO downtime VALUES (1, 'channel', 'chem', 'silent', ?, ?, 0)",
        (begin_us, begin_us + 5 * 86_400_000_000),
    )


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (None, None, ("2026-03-01", "2026-03-20")),
        (None, "2026-02-10", ("2026-02-01", "2026-02-10")),
        ("2026-01-05", None, ("2026-01-05", "2026-03-20")),
        ("2026-03-05", "2026-03-05", ("2026-03-05", "2026-03-05")),
        ("2025-02-14", "2026-03-20", ("2025-02-14", "2026-03-20")),
        ("2025-02-13", "2026-03-20", BAD_PERIOD),
        ("2026-03-06", "2026-03-05", BAD_PERIOD),
        ("yesterday", None, BAD_PERIOD),
    ],
)
def test_a_period(begin: str | None, end: str | None, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match="400 days"):
            period_of(begin, end, TODAY)
    else:
        assert period_of(begin, end, TODAY).days == expected


def test_a_month() -> None:
    assert month_of("2026-02").days == ("2026-02-01", "2026-02-28")
    assert month_of("2026-12").days == ("2026-12-01", "2026-12-31")
    for text in ("2026-13", "2026", "x", "9999-12"):
        with pytest.raises(ValueError, match=BAD_MONTH[:10]):
            month_of(text)
