"""`labrelay backup` and `labrelay restore`: with a daemon and without one."""

import asyncio
import json
import logging
import sqlite3
import threading
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.errors import LabRelayError, RefusedError, StoreError
from engine.model.journal.records import DELIVERIES
from engine.model.process.clock import ManualClock, SystemClock, from_us
from engine.runtime.upkeep import backup_scheduler
from engine.store.core.vault import KEY_NAME
from engine.store.journal import Journal
from engine.store.operations import audit
from engine.store.operations.incarnation import Incarnation
from engine.store.queries.acts import acts_page
from engine.store.recovery.backups.catalog import SPARE_NAME, Shelf, write_json
from engine.store.recovery.salvage import saving
from tests.support.command_line import labrelay
from tests.support.filled_journal import CANARY, fill_journal
from tests.support.journals import opened
from tests.support.running import running_app
from tests.support.sites import SITE_YAML, make_site
from tests.support.waiting import until

BACKED_UP = SITE_YAML + "web: {enabled: false}\nbackup: {folder: ../copies, rows: 10s}\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = make_site(tmp_path / "site", site=BACKED_UP, channels={})
    fill_journal(folder / "var")
    (tmp_path / "copies").mkdir()
    return folder


def test_a_copy_is_made_listed_tried_and_restored_without_a_daemon(site: Path, tmp_path: Path) -> None:
    made = labrelay("backup", "now", "-o", "json", site=site)
    assert made.code == ExitCode.OK, made.err
    assert "the key is not in it" in made.err
    copy = Path(made.json["path"])
    assert not list(copy.rglob(KEY_NAME))
    assert not any(CANARY.encode() in path.read_bytes() for path in copy.rglob("*") if path.is_file())

    listed = labrelay("backup", "list", "-o", "json", site=site).json["copies"]
    assert [(row["copy"], row["whole"], row["last"]) for row in listed] == [(copy.name, True, 5)]
    assert "VERIFIED" in labrelay("backup", "list", site=site).out
    assert labrelay("backup", "verify", str(copy), site=site).code == ExitCode.OK

    tried = labrelay("backup", "drill", site=site)
    assert tried.code == ExitCode.OK
    assert "restored full-" in tried.out
    assert "would have been lost now:" in tried.out

    restored = labrelay("restore", "--to", str(tmp_path / "new"), "--reason", "a new disk", "-o", "json", site=site)
    assert restored.code == ExitCode.OK, restored.err
    assert restored.json["lost"] is None
    new = tmp_path / "new"
    assert (new / "config" / "labrelay.yaml").read_text() == BACKED_UP
    assert labrelay("verify", "--deep", site=new).code == ExitCode.OK
    assert labrelay("audit", "list", "-o", "json", site=new).json["acts"][0]["act"] == "restore"
    again = labrelay("restore", "--to", str(new), "--reason", "again", site=site)
    assert (again.code, "not empty" in again.err) == (ExitCode.FAILED, True)


def test_each_thing_that_is_wrong_with_a_copy_has_a_line_below_the_table(site: Path) -> None:
    whole, damaged = (Path(labrelay("backup", "now", "-o", "json", site=site).json["path"]) for _ in range(2))
    with closing(sqlite3.connect(damaged / "journal.db")) as connection, connection:
        connection.execute("DELETE FROM journal WHERE id = 2")
        connection.execute("UPDATE journal SET received_us = received_us + 1 WHERE id = 4")
    tried = labrelay("backup", "verify", str(damaged), "-o", "json", site=site)
    assert tried.code == ExitCode.INTEGRITY
    findings = tried.json["findings"]
    assert len(findings) > 2

    out = labrelay("backup", "list", site=site).out
    table, blank, below = out.partition("\n\n")
    assert [line.split()[0] for line in table.splitlines()] == ["COPY", damaged.name, whole.name]
    assert max(map(len, table.splitlines())) < 140
    assert blank
    assert below.splitlines() == [f"{damaged.name} is not whole:", *(f"  {text}" for text in findings)]
    listed = labrelay("backup", "list", "-o", "json", site=site).json["copies"]
    assert [row["findings"] for row in listed] == [findings, []]
    assert listed[0]["verified"] == "; ".join(findings)


def test_what_is_lost_is_partly_done_and_named(site: Path, tmp_path: Path) -> None:
    assert labrelay("backup", "now", site=site).code == ExitCode.OK
    assert (
        labrelay("messages", "show", "1", "--unmask", "--purpose", "a test", site=site).code == ExitCode.OK
    )  # one more row: an act
    restored = labrelay("restore", "--to", str(tmp_path / "new"), "--reason", "a new disk", site=site)
    assert restored.code == ExitCode.PARTLY
    assert "rows 6 to 6 were acknowledged and are missing" in restored.out


def test_without_a_folder_or_a_copy_it_is_said_what_to_do(tmp_path: Path) -> None:
    folder = make_site(tmp_path / "site", channels={})
    fill_journal(folder / "var")
    assert "backup: {folder:" in labrelay("backup", "list", site=folder).err
    assert "backup: {folder:" in labrelay("backup", "now", site=folder).err
    missing = labrelay("backup", "now", "--folder", str(tmp_path / "nowhere"), site=folder)
    assert "mount it, or make it" in missing.err
    (tmp_path / "empty").mkdir()
    none = labrelay("restore", str(tmp_path / "empty"), "--to", str(tmp_path / "new"), "--reason", "x", site=folder)
    assert (none.code, "no copy there" in none.err) == (ExitCode.FAILED, True)


async def test_the_daemon_makes_copies_by_itself_and_when_it_is_asked(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_scheduler, "FIRST_S", 0.0)
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    async with running_app(site) as app:
        await until(lambda: app.backup.snapshot().verified_at is not None, within_s=300.0)
        await until(lambda: app.backup.snapshot().rows_at is not None)
        assert app.backup.alarms() == []
        asked = await asyncio.to_thread(labrelay, "backup", "now", "-o", "json", site=site)
        assert asked.code == ExitCode.OK, asked.err
        assert asked.json["whole"]
        said: dict[str, Any] = {}
        async with asyncio.timeout(300.0):  # what people see is put together once a second
            while said.get("verified_at") is None:
                status = await asyncio.to_thread(labrelay, "status", "-o", "json", site=site)
                said = json.loads(status.out)["backup"]
        assert said["fault"] == ""
        app.backup.ask("drill")
        await until(lambda: app.backup.snapshot().drill_at is not None, within_s=300.0)
        assert app.backup.snapshot().drill_s is not None
        verbs = {act.verb for act in acts_page(app.journal)}
        assert {"backup", "drill"} <= verbs


async def test_where_rows_do_not_go_on_from_the_newest_copy_a_full_one_is_made(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_scheduler, "FIRST_S", 0.0)
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    first = await asyncio.to_thread(labrelay, "backup", "now", "-o", "json", site=site)
    (manifest,) = (site.parent / "copies").rglob("manifest.json")
    journal = opened(site / "var")
    journal.run_alone(partial(audit.note, actor="anna", verb="look", what={}))
    journal.close()
    manifest.write_text(manifest.read_text().replace(json.loads(manifest.read_text())["chain"], "ab" * 32))
    async with running_app(site) as app:
        old = datetime.fromisoformat(json.loads(manifest.read_text())["made_at"])
        await until(lambda: (app.backup.snapshot().verified_at or old) > old, within_s=300.0)
        await until(lambda: app.backup.snapshot().fault == "", within_s=300.0)
    assert first.code == ExitCode.OK


def salvaged(site: Path) -> Path:
    """A row of the journal is damaged after the copy, and what could be read of it is put in its place."""
    with closing(sqlite3.connect(site / "var" / "journal.db")) as connection, connection:
        connection.execute("UPDATE journal SET size = size + 1 WHERE id = 2")
    saving.run(site / "var", site / "new", clock=SystemClock(), actor="anna", reason="a bad page")
    (site / "var").rename(site / "old")
    return (site / "new").rename(site / "var")


def errors(records: list[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("way", ["salvage", "restore"])
async def test_a_journal_that_was_made_anew_begins_a_full_copy_and_is_no_damage(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    monkeypatch.setattr(backup_scheduler, "FIRST_S", 3600.0)
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    made = await asyncio.to_thread(labrelay, "backup", "now", "-o", "json", site=site)
    assert made.code == ExitCode.OK, made.err
    if way == "restore":  # of an older copy than the newest
        show = await asyncio.to_thread(labrelay, "messages", "show", "1", "--unmask", "--purpose", "a test", site=site)
        assert show.code == ExitCode.OK
        assert (await asyncio.to_thread(labrelay, "backup", "now", site=site)).code == ExitCode.OK
        told = await asyncio.to_thread(
            labrelay, "restore", made.json["path"], "--to", str(site.parent / "new"), "--reason", "x", site=site
        )
        assert told.code in {ExitCode.OK, ExitCode.PARTLY}, told.err
        (site / "var").rename(site / "old")
        (site.parent / "new" / "var").rename(site / "var")
        waits = await asyncio.to_thread(labrelay, "backup", "now", site=site)
        assert "copies wait, for this journal was restored. If this machine goes on" in waits.err
        assert "labrelay backup go-on --reason TEXT" in waits.err
        assert "labrelay backup go-on" in (await asyncio.to_thread(labrelay, "doctor", site=site)).out
        assert "labrelay backup go-on" in told.out
        goes_on = await asyncio.to_thread(labrelay, "backup", "go-on", "--reason", "a new disk", site=site)
        assert goes_on.code == ExitCode.OK, goes_on.err
    else:
        await asyncio.to_thread(salvaged, site)
    async with running_app(site) as app:
        shelf = Shelf(site.parent / "copies", app.journal.journal_id)
        before = {copy.name for copy in shelf.copies()}
        await until(
            lambda: bool(shelf.newest(whole=True)) and app.backup.snapshot().rows_at is not None, within_s=300.0
        )
        await until(lambda: any(c.name not in before and c.is_whole for c in shelf.copies()), within_s=300.0)
        await until(lambda: not app.backup.is_busy, within_s=300.0)
        assert app.backup.alarms() == []
    assert errors(caplog.records) == []
    said = [record.getMessage() for record in caplog.records if "a new full copy is begun" in record.getMessage()]
    words = {"salvage": "the journal was salvaged", "restore": "the journal goes on here"}
    assert said == [f"{words[way]}; a new full copy is begun"]


@pytest.mark.parametrize("since", ["nothing", "a salvage before the copy", "a salvage after the copy"])
async def test_a_row_that_differs_is_an_error_also_where_the_journal_was_salvaged(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, since: str
) -> None:
    monkeypatch.setattr(backup_scheduler, "FIRST_S", 3600.0)
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    if since == "a salvage before the copy":
        await asyncio.to_thread(salvaged, site)
    assert (await asyncio.to_thread(labrelay, "backup", "now", site=site)).code == ExitCode.OK
    if since == "a salvage after the copy":
        await asyncio.to_thread(salvaged, site)
    journal = opened(site / "var")
    last = journal.run_alone(partial(audit.note, actor="anna", verb="look", what={}))
    journal.close()
    if since == "a salvage after the copy":
        last -= 2  # the first that the backup does not have: the salvage's own, before the numbers it leaves out
    async with running_app(site) as app:
        with closing(sqlite3.connect(site / "var" / "journal.db")) as connection, connection:
            connection.execute("UPDATE journal SET size = size + 1 WHERE id = ?", (last,))
        await until(lambda: "new rows do not reach the backup" in errors(caplog.records), within_s=300.0)
        assert any("New rows do not reach the backup" in alarm or "not whole" in alarm for alarm in app.backup.alarms())


async def test_a_folder_that_is_gone_is_an_alarm_and_results_go_on(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_scheduler, "FIRST_S", 0.0)
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    (site.parent / "copies").rmdir()
    async with running_app(site) as app:
        await until(lambda: app.backup.alarms() != [], within_s=300.0)
        (alarm,) = app.backup.alarms()
        assert "mount it, or make it" in alarm
        await until(lambda: alarm in app.observer.snapshot().alarms)
        (site.parent / "copies").mkdir()
        app.backup.ask("now")
        await until(lambda: app.backup.snapshot().verified_at is not None, within_s=300.0)
        assert app.backup.alarms() == []


async def test_a_machine_whose_journal_went_on_elsewhere_writes_nothing_and_says_where(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_scheduler, "FIRST_S", 0.0)
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    assert labrelay("backup", "now", site=site).code == ExitCode.OK
    (folder,) = (site.parent / "copies").iterdir()
    journal = opened(site / "var")
    Shelf(site.parent / "copies", journal.journal_id).claim(Incarnation(2, "ab" * 8, "lab-pc2"))
    journal.close()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    async with running_app(site) as app:
        assert "goes on elsewhere, as incarnation 2" in app.parts.pauses[DELIVERIES].reason
        await until(lambda: app.backup.alarms() != [], within_s=300.0)
        (alarm,) = app.backup.alarms()
        assert "this journal goes on elsewhere, as incarnation 2 on lab-pc2" in alarm
        assert "labrelay backup go-on --reason TEXT" in alarm
    for verb in ("now", "drill"):
        told = labrelay("backup", verb, site=site)
        assert told.code != ExitCode.OK
        assert "incarnation 2 on lab-pc2" in told.err
    told = labrelay("restore", "--to", str(site.parent / "new"), "--reason", "x", site=site)
    assert told.code != ExitCode.OK
    assert "went on after it: incarnation 2 on lab-pc2" in told.err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    goes_on = ("backup", "go-on", "--reason", "that one was a trial")
    async with running_app(site) as app:
        told = await asyncio.to_thread(labrelay, *goes_on, site=site)
        assert (told.code, "labrelay resume deliveries" in told.err) == (ExitCode.OK, True), told.err
        await until(lambda: app.backup.snapshot().verified_at is not None, within_s=300.0)
        assert app.backup.alarms() == []
        assert acts_page(app.journal)[0].verb in {"go-on", "backup"}
        shelf = Shelf(site.parent / "copies", app.journal.journal_id)
        newest = shelf.newest(whole=True)
        assert newest is not None
        assert newest.incarnation.number == 3
        told = await asyncio.to_thread(labrelay, "resume", "deliveries", "--reason", "looked", "--yes", site=site)
        assert DELIVERIES not in app.parts.pauses, told.err
        shelf.claim(Incarnation(4, "cd" * 8, "lab-pc3"))
        await until(lambda: DELIVERIES in app.parts.pauses, within_s=300.0)  # before it writes there
        assert "goes on elsewhere, as incarnation 4 on lab-pc3" in app.parts.pauses[DELIVERIES].reason
        await until(lambda: not app.backup.is_busy, within_s=300.0)
        app.backup.ask("now")
        await until(lambda: not app.backup.is_busy, within_s=300.0)
        assert [act.verb for act in acts_page(app.journal)].count("rollback") == 2


async def test_how_far_behind_a_spare_is_stands_on_the_page_and_is_an_alarm(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    async with running_app(site, clock=SystemClock()) as app:
        shelf = Shelf(site.parent / "copies", app.journal.journal_id)
        shelf.open()
        assert app.backup.snapshot().spare_behind_s is None
        said = {"journal": app.journal.journal_id.hex(), "machine": "lab-pc2", "at": ""}
        write_json(shelf.path / SPARE_NAME, {**said, "row": app.journal.last_id})
        await until(lambda: app.backup.snapshot().spare == "lab-pc2")
        assert (app.backup.snapshot().spare_behind_s or 0.0) < 30.0
        assert app.backup.alarms() == []
        (first,) = await asyncio.to_thread(received_times, app.journal)
        monkeypatch.setattr(app.backup.spare, "_clock", ManualClock(from_us(first) + timedelta(minutes=9)))
        write_json(shelf.path / SPARE_NAME, {**said, "row": 0})
        await until(lambda: app.backup.alarms() != [])
        assert app.backup.alarms() == ["The spare machine lab-pc2 is behind by 9 minutes"]
        write_json(shelf.path / SPARE_NAME, {**said, "journal": "of another"})
        await until(lambda: app.backup.snapshot().spare_behind_s is None)
        assert app.backup.alarms() == []


def received_times(journal: Journal) -> list[int]:
    with journal.snapshot() as execute:
        return [row[0] for row in execute("SELECT received_us FROM journal ORDER BY id LIMIT 1").fetchall()]


def test_a_site_whose_copies_are_made_by_hand_goes_on_after_a_restore(site: Path, tmp_path: Path) -> None:
    usb, new = str(tmp_path / "copies"), tmp_path / "new"
    (site / "config" / "labrelay.yaml").write_text(SITE_YAML + "backup: {without: by hand}\n")
    assert labrelay("backup", "now", "--folder", usb, site=site).code == ExitCode.OK
    assert labrelay("restore", usb, "--to", str(new), "--reason", "a new disk", site=site).code == ExitCode.OK
    assert "copies wait, for this journal was restored" in labrelay("backup", "now", "--folder", usb, site=new).err
    assert labrelay("backup", "go-on", "--reason", "a new disk", site=new).code == ExitCode.OK
    assert labrelay("backup", "now", "--folder", usb, site=new).code == ExitCode.OK
    assert "incarnation 3" in labrelay("backup", "now", "--folder", usb, site=site).err
    config = new / "config" / "labrelay.yaml"
    config.write_text(config.read_text().replace("site: {", "site: {practice: true, "))
    told = labrelay("backup", "now", "--folder", usb, site=new)
    assert told.code == ExitCode.REFUSED
    assert "this site is for practice: name another folder for its copies" in told.err


async def test_a_folder_that_hangs_keeps_one_thread_however_often_a_person_asks(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def hang(*given: Any, **named: Any) -> list[Incarnation]:
        answers.wait(300.0)
        return []

    async with running_app(site) as app:
        Shelf(site.parent / "copies", app.journal.journal_id).open()
        monkeypatch.setattr(Shelf, "before", hang)
        first = asyncio.ensure_future(app.backup.go_on("anna", "it is right"))
        await asyncio.sleep(0)
        with pytest.raises(LabRelayError, match="one is under way"):
            await app.backup.go_on("anna", "it is right")
        with pytest.raises(RefusedError, match="needs a reason"):
            await app.backup.go_on("anna", " ")
        answers.set()
        await first
        await app.backup.go_on("anna", "it is right")


async def test_a_folder_that_hangs_keeps_no_other_task_waiting(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, answers = threading.Event(), threading.Event()

    def hang(shelf: Shelf, own: Incarnation, *, practice: bool) -> None:
        began.set()
        answers.wait(300.0)

    async with running_app(site) as app:
        shelf = Shelf(site.parent / "copies", app.journal.journal_id)
        monkeypatch.setattr(Shelf, "claim", hang)
        monkeypatch.setattr(backup_scheduler, "CLAIM_S", 0.01)
        first = asyncio.ensure_future(asyncio.to_thread(app.backup._claim, shelf))
        assert await asyncio.to_thread(began.wait, 120.0)
        with pytest.raises(StoreError, match="the folder of copies does not answer"):
            await asyncio.to_thread(app.backup._claim, shelf)
        answers.set()
        await asyncio.gather(first, return_exceptions=True)  # or the daemon's own task was there before it


async def test_what_is_asked_for_while_a_look_at_the_folder_fails_is_not_forgotten(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    loop, running, asked = asyncio.get_running_loop(), threading.Event(), threading.Event()
    really, looks = Shelf.open, list[Shelf]()

    def gone_at_first(shelf: Shelf) -> None:
        looks.append(shelf)
        if len(looks) == 1:
            assert running.wait(120.0)
            loop.call_soon_threadsafe(ask)
            assert asked.wait(120.0)
            raise StoreError("the folder is gone")
        really(shelf)

    def ask() -> None:
        app.backup.ask("now")
        asked.set()

    monkeypatch.setattr(Shelf, "open", gone_at_first)
    async with running_app(site) as app:
        running.set()
        await until(lambda: app.backup.snapshot().verified_at is not None, within_s=300.0)
        assert app.backup.alarms() == []


async def test_a_copy_of_a_damaged_journal_says_what_is_damaged(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For most sites this is how a bad page is noticed first: an exit code would tell nobody."""
    monkeypatch.setattr(backup_scheduler, "FIRST_S", 0.0)
    monkeypatch.setattr(backup_scheduler, "POLL_S", 0.02)
    with closing(sqlite3.connect(site / "var" / "journal.db")) as connection, connection:
        (document,) = connection.execute("SELECT min(id) FROM document").fetchone()
        connection.execute("UPDATE document SET body = x'00' WHERE id = ?", (document,))
    async with running_app(site) as app:
        await until(lambda: app.backup.alarms() != [], within_s=300.0)
        (alarm,) = app.backup.alarms()
    assert f"the copy is not whole (document {document}: not what was stored" in alarm
    assert "labrelay verify" in alarm
