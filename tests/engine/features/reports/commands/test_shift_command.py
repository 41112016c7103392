"""`labrelay shift`: the counts of whole hours, as on the page; with the daemon also what is still open."""

from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.config.site import CONFIG_FILE
from engine.features.reports.config import site_shifts
from engine.features.reports.lists import LONGEST_US, ChannelShift, by_channel, shift_of
from engine.model.errors import ConfigError
from engine.model.journal.journal_views import HourCount
from engine.model.process.clock import ManualClock, from_us
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.views.shifts import began, ends
from tests.support.command_line import labrelay
from tests.support.running import hl7_channel, running_site
from tests.support.sites import make_site

ZONE = ZoneInfo("Asia/Kolkata")  # of the site
DAY = (datetime.now(ZONE) - timedelta(days=1)).date()


@operation(priority=Priority.SETTLE)
def filled(batch: Batch) -> None:
    """Each hour of a day of an analyzer, and of one that is configured no longer."""
    for hour in range(24):
        begins_us = round(datetime.combine(DAY, time(hour), ZONE).timestamp() * 1e6)
        for channel, row in {"haematology": (10, 9, 1, 0, 60 * hour), "gone": (1, 1, 0, 0, 5)}.items():
            batch.execute("INSERT INTO hour_count VALUES (?, ?, ?, ?, ?, ?, 12, 6, ?)", (begins_us, channel, *row))


def of_channel(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in document["channels"] if one["channel"] == name]
    return dict(found)


# Of the day: from, until -> the hours that count.
ASKED = {("09:10", "12:00"): range(9, 12), ("09:00", "12:01"): range(9, 13), ("00:00", "23:59"): range(24)}


async def test_it_counts_whole_hours_and_says_what_is_open(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"haematology": hl7_channel(), "idle": hl7_channel()}) as site:
        await site.app.journal.run(filled)
        assert (await site.labrelay("pause", "channel", "idle", "--reason", "holiday", "--yes")).code == ExitCode.OK
        status = (await site.labrelay("status", "-o", "json")).json
        for (begin, end), hours in ASKED.items():
            times = ("--from", f"{DAY}T{begin}", "--until", f"{DAY}T{end}")
            found = (await site.labrelay("shift", *times, "-o", "json")).json
            assert of_channel(found, "haematology") == {
                "channel": "haematology", "received": 10 * len(hours), "delivered": 9 * len(hours), "dead": len(hours),
                "held": 0, "longest_s": 60 * hours[-1],
            }  # fmt: skip
            assert of_channel(found, "gone")["received"] == len(hours)
            assert of_channel(found, "idle") == {
                "channel": "idle", "received": 0, "delivered": 0, "dead": 0, "held": 0, "longest_s": None,
            }  # fmt: skip
            assert [one["words"] for one in found["open"]] == [one["words"] for one in status["findings"]]
        lately = (await site.labrelay("shift", "-o", "json")).json
        text = (await site.labrelay("shift", *times)).out
    since, until = (datetime.fromisoformat(lately[name]) for name in ("since", "until"))
    assert timedelta(hours=1) <= until - since < timedelta(hours=9)
    assert since.astimezone(ZONE).time() in SHIFTS
    assert "idle paused" in text
    assert "haematology" in text


def test_without_a_daemon_it_has_the_counts_alone(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with closing(Journal.open(site / "var", clock=ManualClock())) as journal:
        journal.run_alone(filled)
    ran = labrelay("shift", "--from", f"{DAY}T09:00", "--until", f"{DAY}T12:00", "-o", "json", site=site)
    assert ran.code == ExitCode.OK
    assert ran.json["open"] is None
    assert of_channel(ran.json, "gone")["received"] == 3
    assert "haematology" in {one["channel"] for one in ran.json["channels"]}


@pytest.mark.parametrize("asked", [("--from", "40d"), ("--from", "1h", "--until", "2h"), ("--from", "never")])
def test_a_time_that_cannot_be_is_refused(tmp_path: Path, asked: tuple[str, ...]) -> None:
    ran = labrelay("shift", *asked, site=make_site(tmp_path))
    assert ran.code == ExitCode.USAGE


HOUR_US = 3_600_000_000
SHIFTS = (time(6), time(14), time(22))
KOLKATA = ZoneInfo("Asia/Kolkata")
# Now on the site's clock -> when the shift began, when it ends, and where the report of it begins.
TIMES = {
    "2026-03-02T05:59": ("2026-03-01T22:00", "2026-03-02T06:00", "2026-03-01T22:00"),
    "2026-03-02T06:00": ("2026-03-02T06:00", "2026-03-02T14:00", "2026-03-01T22:00"),
    "2026-03-02T06:59": ("2026-03-02T06:00", "2026-03-02T14:00", "2026-03-01T22:00"),
    "2026-03-02T07:00": ("2026-03-02T06:00", "2026-03-02T14:00", "2026-03-02T06:00"),
    "2026-03-02T23:30": ("2026-03-02T22:00", "2026-03-03T06:00", "2026-03-02T22:00"),
}


@pytest.mark.parametrize("now", TIMES)
def test_a_shift_begins_and_ends_by_the_clock_of_the_site(now: str) -> None:
    at, *expected = (datetime.fromisoformat(text).replace(tzinfo=KOLKATA) for text in (now, *TIMES[now]))
    reported = shift_of(None, round(at.timestamp() * 1e6), SHIFTS, KOLKATA)
    found = [began(at, SHIFTS, KOLKATA), ends(at, SHIFTS, KOLKATA), from_us(reported.since_us)]
    assert found == expected


def test_one_shift_is_a_day() -> None:
    at = datetime(2026, 3, 2, 5, tzinfo=KOLKATA)
    assert began(at, (time(7, 30),), KOLKATA) == datetime(2026, 3, 1, 7, 30, tzinfo=KOLKATA)
    assert ends(at, (time(7, 30),), KOLKATA) == datetime(2026, 3, 2, 7, 30, tzinfo=KOLKATA)


def with_shifts(folder: Path, text: str) -> Path:
    site = make_site(folder)
    config = site / CONFIG_FILE
    config.write_text(f"{config.read_text(encoding='utf-8')}\nweb:\n  shifts: {text}\n", encoding="utf-8")
    return site


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[06:00, 25:00]", "expected a time of day from 00:00 to 23:59, as 06:00"),
        ("[]", "is empty"),
        ("[14:00, 06:00]", "expected times in the order of the day, each once"),
        ("[06:00, 6:00]", "expected times in the order of the day, each once"),
        ("night", "expected a time of day"),
    ],
)
def test_what_is_no_shift_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    site = with_shifts(tmp_path, text)
    line = (site / CONFIG_FILE).read_text(encoding="utf-8").splitlines().index(f"  shifts: {text}") + 1
    with pytest.raises(ConfigError) as caught:
        load_site(site)
    assert any(one.startswith(f"{CONFIG_FILE}:{line}:") and said in one for one in caught.value.problems)
    assert site_shifts(site) == SHIFTS, "the report works while the file is wrong"


def test_the_shifts_of_a_site_are_read(tmp_path: Path) -> None:
    assert site_shifts(with_shifts(tmp_path, "[07:30, 19:30]")) == (time(7, 30), time(19, 30))


# Begin (None: of the shift), end -> whether there is such a shift.
PERIODS = {
    (None, 10 * HOUR_US): True,
    (100 * HOUR_US - LONGEST_US, 100 * HOUR_US): True,
    (100 * HOUR_US - LONGEST_US - 1, 100 * HOUR_US): False,
    (5, 5): False,
    (6, 5): False,
}


@pytest.mark.parametrize("period", PERIODS)
def test_a_shift_begins_with_an_hour_and_has_31_days_at_most(period: tuple[int | None, int]) -> None:
    after_us, until_us = period
    if not PERIODS[period]:
        with pytest.raises(ValueError, match="31 days"):
            shift_of(after_us, until_us, SHIFTS, UTC)
        return
    shift = shift_of(after_us, until_us, SHIFTS, UTC)
    assert shift.since_us % 3_600_000_000 == 0
    assert shift.until_us == until_us


def test_a_channel_without_an_hour_has_a_row_and_no_gap() -> None:
    hour = HourCount("a", 0, 3, 2, 1, 0, 12, 6, 90)
    assert by_channel([hour, hour._replace(age_s=30)], ["b"]) == [
        ChannelShift("a", 6, 4, 2, 0, 90),
        ChannelShift("b", 0, 0, 0, 0, None),
    ]
