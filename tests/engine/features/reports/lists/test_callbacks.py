"""From a critical value to the person who took it: figures of random histories against a model and the audit trail."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine.features.alerts.rows import changes, critical
from engine.features.alerts.rules.critical import Word
from engine.features.reports.lists import REPORTS, Asked, Period, about, callback, calls
from engine.features.reports.rules import CallTimes
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.acts import acts_page
from tests.support.journals import opened

KOLKATA = ZoneInfo("Asia/Kolkata")
BEGAN = datetime(2026, 2, 26, 3, tzinfo=UTC)
WHOLE = Period(date(2026, 2, 1), date(2026, 4, 30))
SHIFTS = (time(6), time(14), time(22))
HALF_HOUR_US = 1_800_000_000


@operation(priority=Priority.SETTLE)
def arrives(batch: Batch, number: int, channel: str, *words: Word) -> None:
    critical.note(batch, number, channel, words)


@operation(priority=Priority.SETTLE)
def deleted(batch: Batch, numbers: Sequence[int]) -> None:
    changes.prune_critical(batch, numbers)


@dataclass
class Call:
    message: int
    channel: str
    seen_us: int
    taken_us: int = 0


class Laboratory:
    """A journal with its clock, and what a model remembers of the same history."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.clock = ManualClock(BEGAN)
        self.journal = opened(folder, clock=self.clock)
        self.calls: dict[int, Call] = {}
        self.number = 0
        self.over: set[int] = set()
        self.gone: set[int] = set()

    def live(self) -> None:
        self.clock.advance(self.chance.choice((5.0, 1799.5, 1800.0, 1801.0, 9_000.0, 30_000.0, 60_000.0)))
        acts = (self.critical, self.critical, self.take, self.take, self.again, self.echo, self.corrected)
        self.chance.choice((*acts, self.restart, self.prune))()

    def critical(self) -> None:
        self.number += 1
        channel = self.chance.choice(("blood", "chem"))
        self.journal.run_alone(arrives, self.number, channel, Word((self.number, 1)))
        self.calls[self.number] = Call(self.number, channel, self.clock.now_us())

    def one(self) -> Call | None:
        left = [one for number, one in self.calls.items() if number not in self.gone]
        return self.chance.choice(left) if left else None

    def take(self) -> None:
        if (one := self.one()) is not None and (not one.taken_us or one.message in self.over):
            self.journal.run_alone(changes.take_critical, one.message, "asha", "")
            one.taken_us = one.taken_us or self.clock.now_us()
            self.over.discard(one.message)

    def again(self) -> None:
        """The message is processed once more, or replayed."""
        if (one := self.one()) is not None:
            self.journal.run_alone(arrives, one.message, one.channel, Word((one.message, 1)))

    def echo(self) -> None:
        """The result comes once more in another message: it rings for no second time."""
        if (one := self.one()) is not None:
            if not self.journal.rows(
                "SELECT 1 FROM critical_value WHERE message_id = ? AND over_us = 0", (one.message,)
            ):
                return
            self.number += 1
            again = Word((one.message, 1), repeats=(one.message,))
            self.journal.run_alone(arrives, self.number, one.channel, again)

    def corrected(self) -> None:
        if (one := self.one()) is not None:
            self.number += 1
            self.journal.run_alone(arrives, self.number, one.channel, Word((one.message, 1), critical=False))
            if one.taken_us and self.journal.rows(
                "SELECT 1 FROM critical_value WHERE message_id = ? AND taken_us = 0", (one.message,)
            ):
                self.over.add(one.message)

    def restart(self) -> None:
        self.journal.close()
        self.journal = opened(self.folder, clock=self.clock)

    def prune(self) -> None:
        """Retention deletes messages of which some person, or none, has taken the value."""
        if (one := self.one()) is not None:
            self.journal.run_alone(deleted, [one.message])
            self.gone.add(one.message)


def place_of(one: Call, by: str) -> str:
    at = datetime.fromtimestamp(one.seen_us / 1e6, KOLKATA)
    if by == "shift":
        return "06:00" if 6 <= at.hour < 14 else "14:00" if 14 <= at.hour < 22 else "22:00"
    return {"month": f"{at:%Y-%m}", "day": f"{at:%Y-%m-%d}", "channel": one.channel}[by]


def figures_of(found: Sequence[Call]) -> tuple[int, int, int, float, int | None]:
    """Values, taken, within half an hour, per cent, median; written anew, one sorted list with holes at its end."""
    times = sorted(one.taken_us - one.seen_us for one in found if one.taken_us)
    within = len([one for one in times if one <= HALF_HOUR_US])
    with_open: list[int | None] = [*(one // 1_000_000 for one in times), *[None] * (len(found) - len(times))]
    return len(found), len(times), within, round(100 * within / len(found), 1), with_open[(len(found) + 1) // 2 - 1]


@pytest.mark.parametrize("seed", range(6))
def test_no_critical_value_is_left_out_whatever_happens_to_it(tmp_path: Path, seed: int) -> None:
    home = Laboratory(tmp_path, seed)
    for _ in range(80):
        home.live()
    asked = Asked(WHOLE, "", None, KOLKATA, SHIFTS)
    for by in REPORTS["callback"].by:
        model: dict[str, list[Call]] = defaultdict(list)
        for one in home.calls.values():
            model[place_of(one, by)].append(one)
        rows = callback(home.journal, asked._replace(by=by))
        assert {
            about(one.place): (one.times.count, one.times.taken, one.times.within, one.times.percent_within,
                              one.times.percentile_s(50))
            for one in rows
        } == {name: figures_of(found) for name, found in model.items()}  # fmt: skip
        assert sum(one.times.never for one in rows) == sum(not one.taken_us for one in home.calls.values())
    listed = [(one.message, one.channel, one.seen_us, one.taken_us) for one in calls(home.journal, asked)]
    assert sorted(listed) == sorted(
        (one.message, one.channel, one.seen_us, one.taken_us) for one in home.calls.values()
    )
    is_open = [not taken_us for *_, taken_us in listed]
    assert is_open == sorted(is_open, reverse=True)  # those that no person took are the first
    first_taken: dict[str, tuple[int, int]] = {}
    for act in acts_page(home.journal, limit=10_000):  # the newest first
        if act.verb == "alert-acknowledge":
            first_taken[act.what["alert"]] = (act.id, act.at_us)
    assert {
        f"critical/{one.message}": (one.act, one.taken_us) for one in calls(home.journal, asked) if one.act
    } == first_taken
    home.journal.close()


def test_a_value_that_is_critical_anew_is_counted_anew(tmp_path: Path) -> None:
    """It was corrected after it was taken, and the correction is no more."""
    home = Laboratory(tmp_path, 0)
    home.critical()
    home.clock.advance(60)
    home.take()
    for words in ([Word((1, 1), critical=False)], []):
        home.journal.run_alone(arrives, 2, "chem", *words)
    found = calls(home.journal, Asked(WHOLE, "", None, KOLKATA, SHIFTS))
    assert [(one.message, bool(one.taken_us)) for one in found] == [(1, False), (1, True)]
    home.again()
    assert len(calls(home.journal, Asked(WHOLE, "", None, KOLKATA, SHIFTS))) == 2
    home.journal.close()


def test_a_clock_that_was_set_back_makes_no_time_short() -> None:
    times = CallTimes()
    times.note(10_000_000, 4_000_000)
    times.note(10_000_000, 10_000_000 + HALF_HOUR_US)
    times.note(10_000_000, 10_000_001 + HALF_HOUR_US)
    assert (times.count, times.taken, times.within, times.impossible) == (3, 3, 1, 1)
    assert (times.percent_within, times.percentile_s(50), times.percentile_s(90)) == (33.3, 1800, None)
    assert CallTimes().percent_within is None


def test_a_period_has_the_days_of_the_site_and_one_analyzer(tmp_path: Path) -> None:
    home = Laboratory(tmp_path, 0)
    for at in (datetime(2026, 2, 28, 18, 29, 59, tzinfo=UTC), datetime(2026, 2, 28, 18, 30, tzinfo=UTC)):
        home.clock.advance((at - home.clock.now()).total_seconds())
        home.critical()
    march = Asked(Period(date(2026, 3, 1), date(2026, 3, 31)), "", None, KOLKATA, SHIFTS)
    assert [one.message for one in calls(home.journal, march)] == [2]
    (row,) = callback(home.journal, march._replace(by="shift"))
    assert (row.place.shift, row.times.never) == ("22:00", 1)  # midnight is in the shift of the evening before
    assert calls(home.journal, march._replace(channel="none")) == []
    home.journal.close()


def test_they_are_kept_as_long_as_other_counts(tmp_path: Path) -> None:
    home = Laboratory(tmp_path, 0)
    home.critical()
    for days, left in ((799, 1), (2, 0)):
        home.clock.advance(timedelta(days=days).total_seconds())
        home.critical() if left else None
        home.journal.run_alone(swept)
    found = home.journal.rows("SELECT message_id FROM critical_call")
    assert found == [(2,)]
    home.journal.close()


@operation(priority=Priority.SETTLE)
def swept(batch: Batch) -> None:
    batch.steady_us = batch.now_us
    for sweep in changes.EVERY:
        assert sweep(batch)
