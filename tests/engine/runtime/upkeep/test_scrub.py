"""Bit rot beneath a running daemon without copies: a look at all rows finds it, and says so until it is gone."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from engine.config.load import Site, load_site
from engine.model.process.clock import ManualClock, SystemClock
from engine.runtime.upkeep import scrub
from engine.runtime.upkeep.scrub import MOST, Scrub
from engine.store.core.writing.batch import Batch
from tests.support.journals import opened, running
from tests.support.running import hl7_channel, make_running_site, running_site
from tests.support.senders import send_blocks
from tests.support.waiting import until

LOOKED_WITHIN_S = 300.0  # each look is a process, at the lowest priority


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "FIRST_S", 0.0)
    monkeypatch.setattr(scrub, "EVERY_S", 0.0)
    monkeypatch.setattr(scrub, "AGAIN_S", 0.0)
    monkeypatch.setattr(scrub, "POLL_S", 0.01)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Another program in the place of `labrelay verify`."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


def site_of(folder: Path, *, copies: Path | None = None) -> Site:
    make_running_site(folder, {"chem": hl7_channel()}, {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9"}})
    if copies is not None:
        file = folder / "config" / "labrelay.yaml"
        file.write_text(file.read_text() + yaml.safe_dump({"backup": {"folder": str(copies)}}))
    return load_site(folder)


async def test_a_row_that_changed_on_the_disk_is_an_alarm_until_it_is_whole_again(tmp_path: Path) -> None:
    def spoil(batch: Batch) -> None:
        batch.execute("UPDATE journal SET size = size + 1 WHERE id = 2")

    def mend(batch: Batch) -> None:
        batch.execute("UPDATE journal SET size = size - 1 WHERE id = 2")

    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        message = b"MSH|^~\\&|A|L|||20260301101530||ORU^R01|M%d|P|2.5\rPID|1||P1\rOBR|1|O1|F1|GLU\r"
        await send_blocks(site.port("chem"), [message % number for number in range(3)])
        await site.settled()
        journal = site.app.journal
        assert journal.writer is not None
        assert journal.damage == []
        await journal.writer.submit(spoil)
        await until(lambda: bool(journal.damage), LOOKED_WITHIN_S)
        assert journal.damage == ["row 2: not what was stored"]
        shown = site.app.observer.snapshot
        await until(lambda: shown().alarms == ("row 2: not what was stored",))
        assert shown().journal.integrity == "row 2: not what was stored"
        await journal.writer.submit(mend)
        await until(lambda: not journal.damage, LOOKED_WITHIN_S)
        await until(lambda: not shown().alarms)


@pytest.mark.parametrize("copies", [False, True], ids=["no copies", "copies"])
async def test_who_has_copies_has_them_read_back_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    site = site_of(tmp_path / "site", copies=tmp_path / "copies" if copies else None)
    asked = 0

    def current() -> Site:
        nonlocal asked
        asked += 1
        return site

    stand_in(tmp_path, monkeypatch, f'echo . >> {tmp_path}/looks; echo \'{{"findings": [], "rows": 0}}\'')
    journal = opened(tmp_path / "var")
    task = asyncio.create_task(Scrub(journal, current, SystemClock()).run())
    await until(lambda: asked > 5, LOOKED_WITHIN_S)
    task.cancel()
    await asyncio.wait({task})
    journal.close()
    looks = len((tmp_path / "looks").read_text().splitlines())
    assert looks == 1 if copies else looks > 1, "after a start all rows are looked at, also where there are copies"


async def test_many_findings_are_cut_short_and_a_look_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = site_of(tmp_path / "site")
    found = {"rows": 100, "findings": [{"text": f"row {number}: gone"} for number in range(1, 31)]}
    (tmp_path / "answer").write_text(json.dumps(found))
    stand_in(
        tmp_path,
        monkeypatch,
        f"cat {tmp_path}/answer 2>/dev/null || {{ echo 'no room' >&2; exit 1; }}\nrm {tmp_path}/answer; exit 6",
    )
    journal = opened(tmp_path / "var")
    task = asyncio.create_task(Scrub(journal, lambda: site, SystemClock()).run())
    await until(lambda: "not looked through" in caplog.text, LOOKED_WITHIN_S)
    task.cancel()
    await asyncio.wait({task})
    assert journal.damage[0] == "row 1: gone"
    assert journal.damage[MOST:] == ["and 10 more: labrelay verify names them"]
    journal.close()
    levels = {(record.levelname, record.getMessage()) for record in caplog.records}
    assert ("ERROR", "the journal is damaged") in levels
    assert ("WARNING", "the journal was not looked through") in levels
    assert any(getattr(record, "detail", "") == "no room" for record in caplog.records)


async def test_a_look_under_way_ends_with_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 600")
    site, journal = site_of(tmp_path / "site"), opened(tmp_path / "var")
    task = asyncio.create_task(Scrub(journal, lambda: site, SystemClock()).run())
    await until((tmp_path / "pid").exists, LOOKED_WITHIN_S)
    task.cancel()
    await asyncio.wait({task})
    journal.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_look_that_fails_is_not_made_again_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "AGAIN_S", 3600.0)
    stand_in(tmp_path, monkeypatch, f"echo . >> {tmp_path}/looks; echo 'no JSON'")
    site, journal, asked = site_of(tmp_path / "site"), opened(tmp_path / "var"), 0

    def current() -> Site:
        nonlocal asked
        asked += 1
        return site

    ticks = 0

    class Counted(SystemClock):
        def monotonic(self) -> float:
            nonlocal ticks
            ticks += 1
            return super().monotonic()

    look = Scrub(journal, current, Counted())
    with pytest.raises(json.JSONDecodeError):
        await look.run()
    ticks = 0
    again = asyncio.create_task(look.run())  # as the supervisor does
    await until(lambda: again.done() or ticks > 5, LOOKED_WITHIN_S)
    again.cancel()
    await asyncio.wait({again})
    journal.close()
    assert (tmp_path / "looks").read_text() == ".\n"


@pytest.mark.parametrize("small", [False, True], ids=["large", "small"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "failed"])
async def test_the_next_process_waits_for_the_time_of_the_next_look_of_a_large_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, small: bool
) -> None:
    """A row may have gone while none ran: a small journal is looked through by each start."""
    monkeypatch.setattr(scrub, "EVERY_S", 24 * 3600.0)
    monkeypatch.setattr(scrub, "AGAIN_S", 3600.0)
    if not small:
        monkeypatch.setattr(scrub, "AT_EACH_START_BYTES", 0)
    answer = 'echo \'{"findings": [], "rows": 0}\'' if whole else "exit 1"
    stand_in(tmp_path, monkeypatch, f"echo . >> {tmp_path}/looks; {answer}")
    kept = "look_ended_us" if whole else "look_begun_us"
    site, clock = site_of(tmp_path / "site"), ManualClock()

    def names() -> set[str]:
        with journal.snapshot() as execute:
            return {row[0] for row in execute("SELECT name FROM meta")}

    async with running(tmp_path / "var", clock=clock) as journal:
        first = asyncio.create_task(Scrub(journal, lambda: site, clock).run())
        await until(lambda: (tmp_path / "looks").exists() and kept in names(), LOOKED_WITHIN_S)
        first.cancel()
        await asyncio.wait({first})
        for later_s, due in [(3599.0, small), (1.0, small or not whole), (82_800.0, True)]:
            clock.advance(later_s)
            assert Scrub(journal, lambda: site, clock).is_due == due
            # After a kill, or with damage that the start has found, a look that ended is no reason to wait.
            assert Scrub(journal, lambda: site, clock, killed=True).is_due == (due or whole)
            journal.looked_through(["row 2: not what was stored"])
            assert Scrub(journal, lambda: site, clock).is_due == (due or whole)
            journal.looked_through([])


async def test_a_look_waits_while_large_messages_take_memory_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process takes 40 MiB."""
    monkeypatch.setattr(scrub, "AGAIN_S", 3600.0)
    looked, clock, asked, large = tmp_path / "looked", ManualClock(), 0, True
    stand_in(tmp_path, monkeypatch, f'echo >> {looked}; echo \'{{"findings": [], "rows": 0}}\'')
    site = site_of(tmp_path / "site")

    def busy() -> bool:
        nonlocal asked
        asked += 1
        return large

    def looks() -> int:
        return looked.read_text().count("\n") if looked.exists() else 0

    async with running(tmp_path / "journal.db") as journal:
        look = Scrub(journal, lambda: site, clock, busy=busy)
        task = asyncio.create_task(look.run())
        await until(lambda: asked > 3)
        assert looks() == 0
        clock.advance(3600.0)
        await until(lambda: looks() == 1, LOOKED_WITHIN_S)
        await until(lambda: look._first is False, LOOKED_WITHIN_S)
        large = False
        await until(lambda: looks() > 1, LOOKED_WITHIN_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
