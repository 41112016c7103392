"""What is usual is read from the journal, a little at a time; the configuration has precedence over it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.config.channel import ChannelConfig, channel_model
from engine.monitoring.usual_gaps import same_hours
from engine.runtime.observing import link_view
from engine.runtime.observing.link_view import LEARNED_AT_ONCE, ArrivalsView
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.queries.tallies import hours_between, hours_of
from tests.support.journals import opened

KOLKATA = ZoneInfo("Asia/Kolkata")
NOON = datetime(2026, 3, 4, 6, 30, tzinfo=UTC)  # a Wednesday, 12:00 in Kolkata
STARTED = NOON - timedelta(days=10)
NAMES = [f"chem-{n}" for n in range(LEARNED_AT_ONCE + 10)]


def channel(name: str, **more: Any) -> ChannelConfig:
    source = {"kind": "mllp", "listen": "127.0.0.1:0"}
    return channel_model().model_validate(
        {"channel": name, "timezone": "Asia/Kolkata", "source": source, "routes": [{"to": "x"}], **more}
    )


def put_hours(batch: Batch) -> None:
    """Eight weeks in which each channel had a message every ten minutes or so from 8 to 18 o'clock."""
    today = NOON - timedelta(hours=12)
    rows = []
    for begins in [today + timedelta(hours=n) for n in range(13)] + [
        then for n in range(24) for _, then in same_hours(today + timedelta(hours=n), KOLKATA)
    ]:
        open_now = 8 <= begins.astimezone(KOLKATA).hour < 18
        counts = (6, 5, 1, 0, 12, 6, 900) if open_now else (0, 0, 0, 0, 12, 0, 3600 * 14)
        rows += [(round(begins.timestamp() * 1e6), name, *counts) for name in NAMES]
    batch.executemany("INSERT INTO hour_count VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = opened(tmp_path, zone=KOLKATA)
    journal.run_alone(put_hours)
    yield journal
    journal.close()


def read(
    view: ArrivalsView, *channels: ChannelConfig, now: datetime = NOON, age: timedelta = timedelta(hours=3), **more: Any
) -> None:
    last_us = {one.channel: round((now - age).timestamp() * 1e6) for one in channels}
    view.read(channels, more.get("last_us", last_us), now, more.get("started", STARTED), KOLKATA, more.get("off", ()))


def test_a_gap_is_learned_and_exceeded(journal: Journal) -> None:
    view = ArrivalsView(journal)
    read(view, channel("chem-1"), age=timedelta(minutes=20))
    usual = view.usual("chem-1")
    assert (usual.gap_s, usual.source, usual.silent) == (900, "learned", False)
    assert str(usual.words) == "usual 15 min at this hour"
    read(view, channel("chem-1"))
    assert view.usual("chem-1").silent
    read(view, channel("chem-1"), started=NOON - timedelta(minutes=30))  # its sender may still be connecting
    assert not view.usual("chem-1").silent


def test_nothing_is_expected_by_night(journal: Journal) -> None:
    view = ArrivalsView(journal)
    read(view, channel("chem-1"), now=NOON - timedelta(hours=10), age=timedelta(hours=8, minutes=10))
    assert not view.usual("chem-1").silent
    assert str(view.usual("chem-1").words) == "nothing expected at this hour"


def test_the_configured_gap_wins_and_a_day_off_is_said(journal: Journal) -> None:
    view, today = ArrivalsView(journal), date(2026, 3, 4)
    read(view, channel("chem-1", usual_gap="1h"), channel("chem-2", days_off=["2026-03-04"]), channel("other"))
    assert str(view.usual("chem-1").words) == "usual 1 h"
    assert str(view.usual("chem-2").words) == "nothing expected: day off"
    assert not view.usual("chem-2").silent
    assert (view.usual("other").source, view.usual("other").words) == ("unknown", None)
    read(ArrivalsView(journal), channel("chem-1", usual_gap="1h"), off=[today])
    view = ArrivalsView(journal)
    read(view, channel("chem-1"), off=[today])
    assert (view.usual("chem-1").day_off, view.usual("chem-1").silent) == (True, False)
    off = [today - timedelta(days=n) for n in range(1, 57)]
    view = ArrivalsView(journal)
    read(view, channel("chem-1"), off=off)
    assert view.usual("chem-1").source == "unknown"


def test_a_channel_without_a_message_is_not_judged(journal: Journal) -> None:
    view = ArrivalsView(journal)
    read(view, channel("chem-1"), last_us={"chem-1": 0})
    assert view.usual("chem-1").source == "unknown"


def test_one_reading_learns_a_few_hours_and_the_next_go_on(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noted(reader: Any, name: str, begins: Any) -> Any:
        asked.append(name)
        return hours_of(reader, name, begins)

    monkeypatch.setattr(link_view, "hours_of", noted)
    view, channels = ArrivalsView(journal), [channel(name) for name in NAMES]
    read(view, *channels, age=timedelta(minutes=5))
    assert len(asked) == LEARNED_AT_ONCE
    assert view.usual(NAMES[-1]).source == "unknown"
    read(view, *channels, age=timedelta(minutes=5))
    assert asked == NAMES
    assert view.usual(NAMES[-1]).source == "learned"
    read(view, *channels, age=timedelta(minutes=5))
    assert asked == NAMES
    read(view, *channels, now=NOON + timedelta(hours=1), age=timedelta(minutes=5))
    assert len(asked) == len(NAMES) + LEARNED_AT_ONCE
    assert view.usual(NAMES[-1]).source == "learned"  # what was said of the hour before


def test_what_is_known_stays_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_view, "HOURS_KNOWN", 3)
    view = ArrivalsView(journal)
    for n in range(8):
        read(view, channel("chem-1"), now=NOON + timedelta(hours=n), age=timedelta(minutes=5))
        assert len(view._known) <= 4


def test_the_last_day_is_read_once_in_five_minutes(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def noted(reader: Any, since_us: int, before_us: int) -> Any:
        asked.append((before_us - since_us) // 3_600_000_000 + 1)
        return hours_between(reader, since_us, before_us)

    monkeypatch.setattr(link_view, "hours_between", noted)
    view = ArrivalsView(journal)
    read(view, channel("chem-1"))
    read(view, channel("chem-1"), now=NOON + timedelta(seconds=200))
    assert asked == [24]
    day = view.last_day("chem-1")
    assert (len(day.received), len(day.dead)) == (24, 24)
    assert day.received[-1] == 6
    assert sum(day.received) == 6 * (5 + 5)  # 13:00 to 17:00 of yesterday, 8:00 to 12:00 of today
    assert sum(day.dead) == 10
    assert view.last_day("other").received == ()
    read(view, channel("chem-1"), now=NOON + timedelta(seconds=301))
    assert asked == [24, 2]  # what ended before the last hour is known
    assert view.last_day("chem-1") == day
    read(view, channel("chem-1"), now=NOON + timedelta(hours=1))
    assert asked == [24, 2, 3]
    assert sum(view.last_day("chem-1").received) == 6 * 9


def test_an_hour_that_was_under_way_when_it_was_read_is_read_again_however_late(journal: Journal) -> None:
    view = ArrivalsView(journal)
    read(view, channel("chem-1"))
    noon_us = round(NOON.timestamp() * 1e6)
    journal.run_alone(
        lambda batch: batch.execute("UPDATE hour_count SET received = 99 WHERE begins_us = ?", (noon_us,))
    )
    read(view, channel("chem-1"), now=NOON + timedelta(hours=5))
    assert view.last_day("chem-1").received[-6] == 99


def test_what_all_channels_usually_receive_is_read_hour_by_hour_of_a_day(journal: Journal) -> None:
    view = ArrivalsView(journal)
    for known in range(1, 25):
        read(view, channel(NAMES[0]))
        assert len(view.usual_by_hour()) == known
    read(view, channel(NAMES[0]))
    usual = 6 * len(NAMES)
    assert view.usual_by_hour() == tuple((usual, usual) if 8 <= hour < 18 else (0, 0) for hour in range(24))
    read(view, channel(NAMES[0]), now=NOON + timedelta(days=1))
    assert len(view.usual_by_hour()) == 1, "the day after begins anew"


def test_a_day_of_the_week_without_three_weeks_has_no_band(journal: Journal) -> None:
    view = ArrivalsView(journal)
    weeks = [NOON.date() - timedelta(weeks=n) for n in range(1, 7)]
    read(view, channel(NAMES[0]), off=weeks)
    assert view.usual_by_hour() == (None,)
