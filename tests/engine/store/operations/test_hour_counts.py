"""Hours of channels: they add up to the day's counters, over restarts, and say when messages came."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.model.journal.journal_views import HourCount
from engine.model.journal.records import HOUR_PARTS, Target
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.operations import append, pauses, record_outcome
from engine.store.operations.hour_counts import DAY_US, KEPT_DAYS, PART_US
from engine.store.queries.tallies import counters_of, hours_between, hours_of
from tests.support.journals import WINDOW_S, opened, received

KOLKATA = ZoneInfo("Asia/Kolkata")
START = datetime(2026, 3, 1, 5, 30, tzinfo=UTC)  # 11:00 in Kolkata, where hours begin at half past of UTC
EVER = 2**62


@contextmanager
def journal_at(folder: Path, clock: ManualClock) -> Iterator[Journal]:
    """Without its thread: the test itself carries out the upkeep."""
    journal = opened(folder, clock=clock, zone=KOLKATA)
    try:
        journal.upkeep.idle()
        yield journal
    finally:
        journal.close()


def put(journal: Journal, clock: ManualClock, channel: str = "chem", *, dead: bool = False) -> None:
    one = received(str(clock.now_us()).encode(), channel=channel, at_us=clock.now_us())
    stored = journal.run_alone(append.store_message, one, repeat_window_s=WINDOW_S)
    if dead:
        journal.run_alone(record_outcome.record, stored.id, Outcome("dead", ReasonCode.NO_ROUTE, "none"))


def pass_part(journal: Journal, clock: ManualClock, parts: int = 1) -> None:
    for _ in range(parts):
        clock.advance(PART_US / 1e6)
        journal.upkeep.idle()


def all_hours(journal: Journal) -> list[HourCount]:
    return hours_between(journal, 0, EVER)


def test_an_hour_has_its_parts_those_with_a_message_and_the_greatest_age(tmp_path: Path) -> None:
    clock = ManualClock(START)
    with journal_at(tmp_path, clock) as journal:
        put(journal, clock)
        put(journal, clock, dead=True)
        pass_part(journal, clock, 3)
        clock.advance(60)
        put(journal, clock)
        clock.advance(240)
        journal.upkeep.idle()
        pass_part(journal, clock, 9)
        begins_us = round(START.timestamp() * 1e6)
        first, second = all_hours(journal)
        assert first == HourCount("chem", begins_us, 3, 0, 1, 0, HOUR_PARTS, 2, 44 * 60)
        assert (second.begins_us, second.received, second.parts, second.age_s) == (
            begins_us + HOUR_PARTS * PART_US, 0, 1, 49 * 60,
        )  # fmt: skip
        assert hours_of(journal, "chem", [begins_us, begins_us + 1]) == [first]
        assert hours_of(journal, "other", [begins_us]) == []


def test_the_hours_of_a_day_add_up_to_its_counters_whatever_is_restarted(tmp_path: Path) -> None:
    rnd, clock = random.Random(4), ManualClock(START)
    came: Counter[tuple[str, str]] = Counter()  # day of Kolkata, channel
    for _ in range(12):
        with journal_at(tmp_path, clock) as journal:
            for _ in range(rnd.randrange(1, 30)):
                for channel in ("chem", "blood"):
                    if rnd.random() < 0.3:
                        put(journal, clock, channel)
                        came[f"{clock.now().astimezone(KOLKATA):%Y-%m-%d}", channel] += 1
                clock.advance(rnd.choice((7.0, 299.0, 300.0, 301.0)))
                journal.upkeep.idle()
            pass_part(journal, clock)
    with journal_at(tmp_path, clock) as journal:
        assert len({day for day, _ in came}) == 1
        summed = Counter[str]()
        for hour in all_hours(journal):
            summed[hour.channel] += hour.received
            assert 0 <= hour.active <= hour.parts <= HOUR_PARTS
        ((day, _), *_) = came
        counted = {one.channel: one.n for one in counters_of(journal, day) if one.name == "received"}
        assert summed == counted == {channel: n for (_, channel), n in came.items()}


def test_the_last_part_of_a_day_counts_for_that_day(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 3, 1, 18, 26, tzinfo=UTC))  # 23:56 in Kolkata
    with journal_at(tmp_path, clock) as journal:
        put(journal, clock)
        pass_part(journal, clock)
        put(journal, clock)
        pass_part(journal, clock)
        before, after = all_hours(journal)
        assert (before.received, after.received) == (1, 1)
        assert after.begins_us - before.begins_us == HOUR_PARTS * PART_US


def test_a_paused_channel_has_no_hours_and_one_long_gone_neither(tmp_path: Path) -> None:
    clock = ManualClock(START)
    with journal_at(tmp_path, clock) as journal:
        put(journal, clock)
        put(journal, clock, "blood")
        act = journal.run_alone(pauses.pause, Target(channel="blood"), actor="anita", reason="service")
        assert act is not None
        pass_part(journal, clock)
        assert {hour.channel for hour in all_hours(journal)} == {"chem"}
        journal.run_alone(pauses.resume, Target(channel="blood"), actor="anita", reason="done")
        pass_part(journal, clock)
        assert {hour.channel for hour in all_hours(journal)} == {"chem", "blood"}
    clock.advance((KEPT_DAYS + 1) * DAY_US / 1e6)
    with journal_at(tmp_path, clock) as journal:
        put(journal, clock, "new")
        pass_part(journal, clock)
        assert [hour.channel for hour in all_hours(journal)] == ["new"]


def test_a_clock_that_leaps_ahead_and_back_deletes_no_hour_and_counts_nothing_twice(tmp_path: Path) -> None:
    clock = ManualClock(START)
    with journal_at(tmp_path, clock) as journal:
        put(journal, clock)
        pass_part(journal, clock)
        (true,) = all_hours(journal)
        clock._now += timedelta(days=9000)
        journal.upkeep.idle()
        pass_part(journal, clock, 2)
        assert all_hours(journal) == [true]
        clock._now = START + timedelta(minutes=2)
        journal.upkeep.idle()
        put(journal, clock)
        pass_part(journal, clock)
        (again,) = all_hours(journal)
        assert (again.received, again.parts) == (2, 2)
