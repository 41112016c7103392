"""What `doctor`, `check` and the page say of the copies: where they lie, how old they are, what would be lost now."""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.config.sitewide import BackupConfig
from engine.model.process.clock import SystemClock
from engine.model.site.health import Health, Line
from engine.store.operations import append
from engine.store.recovery.backups import catalog, recovery_point
from tests.support.command_line import labrelay
from tests.support.copies import Place
from tests.support.journals import received, running
from tests.support.sites import SITE_YAML, make_site


def config(folder: Path | None, **more: float) -> BackupConfig:
    return BackupConfig.model_construct(
        **{**BackupConfig().model_dump(), "folder": folder, **more},
    )


def told(place: Place, *, runs: bool = True, **more: float) -> list[Line]:
    return list(recovery_point.lines(config(place.copies, **more), place.data, runs=runs))


def texts(lines: list[Line]) -> str:
    return "\n".join(f"{line.health} {line.text} -> {line.advice}" for line in lines)


async def message(place: Place, body: bytes, *, standing: bool = False) -> None:
    async with running(place.data, clock=SystemClock()) as journal:
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        await journal.run(append.store_message, received(body, at_us=now_us), repeat_window_s=1.0)
        copy = await place.copy(journal) if not list(place.copies.rglob("manifest.json")) else place.newest(journal)
        if standing:
            place.standing(copy)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_copy_that_has_all_of_it_is_in_order_but_for_its_disk(place: Place) -> None:
    asyncio.run(message(place, b"one", standing=True))
    lines = told(place)
    assert [line.health for line in lines] == [Health.WARN, Health.OK, Health.OK, Health.OK], texts(lines)
    assert "on the journal's own disk" in lines[0].text
    assert "another disk" in lines[0].advice
    assert "every row is in the copies" in lines[2].text
    assert "no drill yet" in lines[3].text


def test_another_disk_is_no_word_worth(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recovery_point.is_on_one_disk(place.copies, place.site)
    assert not recovery_point.is_on_one_disk(Path("/proc"), place.site)
    assert not recovery_point.is_on_one_disk(place.copies / "missing", place.site)


@pytest.mark.parametrize(("runs", "health"), [(True, Health.FAIL), (False, Health.WARN)])
def test_what_would_be_lost_is_told_and_fails_once_it_is_too_old(
    place: Place, monkeypatch: pytest.MonkeyPatch, runs: bool, health: Health
) -> None:
    asyncio.run(message(place, b"one"))
    asyncio.run(message(place, b"two"))
    missing = told(place, runs=runs)[2]
    assert (missing.health, "would be lost now what came within" in missing.text) == (Health.OK, True)
    monkeypatch.setattr(recovery_point, "ROWS_OVERDUE_S", -2.0)
    missing = told(place, runs=runs, rows=-1.0)[2]
    assert missing.health is health
    assert missing.advice


def test_an_old_copy_and_a_drill_that_found_something_fail(place: Place) -> None:
    asyncio.run(message(place, b"one"))
    assert told(place, every=0.0)[1].health is Health.FAIL
    (drill,) = place.copies.glob("labrelay-*")
    at = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    (drill / catalog.DRILL_NAME).write_text(json.dumps({"at": at, "seconds": 2, "rows": 7, "wrong": []}))
    last = told(place)[3]
    assert (last.health, last.text) == (Health.OK, "the last drill was 3d ago, and took 2 s for 7 rows")
    (drill / catalog.DRILL_NAME).write_text(json.dumps({"at": at, "seconds": 2, "rows": 7, "wrong": ["row 3"]}))
    assert told(place)[3].health is Health.FAIL


def test_without_a_folder_or_a_copy_that_is_said(place: Place) -> None:
    [line] = recovery_point.lines(config(None), place.data, runs=True)
    assert (line.health, "backup: {folder:" in line.advice) == (Health.FAIL, True)
    [line] = recovery_point.lines(config(place.copies / "missing"), place.data, runs=True)
    assert (line.health, line.advice) == (Health.FAIL, "mount it, or make it")
    asyncio.run(message(place, b"one"))
    for found in place.copies.rglob("verified.json"):
        found.unlink()
    assert [line.health for line in told(place)] == [Health.WARN, Health.FAIL]


def test_check_and_doctor_say_it_with_its_place(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    site = make_site(tmp_path / "site", site=f"{SITE_YAML}backup: {{folder: '{copies}'}}\n")
    (site / "var").mkdir(mode=0o700)
    at = len(SITE_YAML.splitlines()) + 1
    ran = labrelay("check", site=site)
    assert f"config/labrelay.yaml:{at}:19: backup.folder: the copies lie on the journal's own disk" in ran.out + ran.err
    assert os.fspath(copies) in labrelay("doctor", site=site).out
