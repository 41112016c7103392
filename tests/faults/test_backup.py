"""Copies that are made while messages come, processes that die amid one, and what can be restored of it all (T28)."""

import asyncio
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from engine.model.outcome import Outcome
from engine.model.process.clock import SystemClock
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts
from engine.store.queries.reader import stored_payload
from engine.store.recovery.backups import checking, copying, increments, restoring
from engine.store.recovery.backups.catalog import Copy, Shelf, copies, read_copy
from tests.faults.harness.trial import Trial
from tests.support.backup_life import AMID, STEPS
from tests.support.copies import complete
from tests.support.journals import opened, received, routed, running

ROOT = Path(__file__).parents[2]


def copied(journal: Journal, making: Path, shelf: Shelf, site: Path) -> Copy:
    copy = complete(shelf, making, journal, site)
    assert checking.run(copy).findings == ()
    found = read_copy(copy.path)
    assert found is not None
    return found


async def test_a_site_is_restored_from_copies_and_pieces_made_under_load(tmp_path: Path, trial: Trial) -> None:
    """What was acknowledged before the last piece is there again, each row as it was, and the chain says so."""
    site, folder = tmp_path / "site", tmp_path / "copies"
    (site / "config").mkdir(parents=True)
    folder.mkdir()
    acknowledged: dict[int, bytes] = {}
    stop = asyncio.Event()
    slowest = 0.0

    async def send(journal: Journal, sender: int) -> None:
        nonlocal slowest
        number = 0
        while not stop.is_set():
            number += 1
            payload = b"MSH|%d|%d|" % (sender, number) + trial.chance.randbytes(1500)
            began = time.perf_counter()
            stored = await journal.run(
                append.store_message, received(payload, control_id=f"{sender}-{number}"), repeat_window_s=86_400.0
            )
            slowest = max(slowest, time.perf_counter() - began)
            acknowledged[stored.id] = payload
            outcome = await journal.run(
                record_outcome.record, stored.id, Outcome("mapped"), [routed(payload, claimed=True)]
            )
            if number % 3:
                await journal.run(attempts.settle, outcome.deliveries[0].id, delivered_us=stored.received_us)
            await asyncio.sleep(0.002)

    async with running(site / "var", clock=SystemClock()) as journal:
        shelf = Shelf(folder, journal.journal_id)
        shelf.open()
        senders = [asyncio.create_task(send(journal, n)) for n in range(3)]
        copy: Copy | None = None
        for _ in trial.rounds(quick=2, long=12, soak=100, unit="full copies"):
            making = await asyncio.to_thread(shelf.begin)
            await journal.lend(copying.job(making / JOURNAL_NAME))
            copy = await asyncio.to_thread(copied, journal, making, shelf, site)
            for _ in range(3):
                await asyncio.sleep(0.05)
                await asyncio.to_thread(increments.write, copy, site / "var" / JOURNAL_NAME)
            shelf.tidy(2)
        assert copy is not None
        await asyncio.to_thread(increments.write, copy, site / "var" / JOURNAL_NAME)
        stop.set()
        await asyncio.gather(*senders)
        assert len(copies(shelf.path)) <= 3

    rpo_s = (datetime.now(UTC) - copy.rows_at()).total_seconds()
    began = time.monotonic()
    restored = restoring.run(
        copy, tmp_path / "new", clock=SystemClock(), actor="anna", reason="drill", keys=site / "var",
        old_anchor=site / "var" / "journal.anchor",
    )  # fmt: skip
    took = time.monotonic() - began

    assert (restored.wrong, restored.findings) == ([], [])
    assert restored.last_id == copy.last_id()
    assert restored.lost in (None, (restored.last_id + 1, max(acknowledged)))
    assert verify.run(tmp_path / "new" / "var", deep=True) == []
    again = opened(tmp_path / "new" / "var")
    try:
        for number, payload in acknowledged.items():
            if number <= restored.last_id:
                assert stored_payload(again, number) == payload
    finally:
        again.close()
    trial.more |= {
        "messages": len(acknowledged),
        "rpo_s": round(rpo_s, 2),
        "restore_s": round(took, 2),
        "slowest_commit_ms": round(slowest * 1000, 1),
    }
    print(f"RPO {rpo_s:.2f} s, restored {restored.rows} rows in {took:.2f} s")


def test_whoever_dies_amid_a_backup_leaves_the_last_good_one(tmp_path: Path, trial: Trial) -> None:
    site, folder = tmp_path / "site", tmp_path / "copies"
    (site / "config").mkdir(parents=True)
    (site / "config" / "labrelay.yaml").write_text("site: {name: X}\n")
    folder.mkdir()
    assert _life(site, folder, "never")[-1] == "made"
    (path,) = folder.glob("labrelay-*")
    stored: set[int] = set()
    steps = [AMID, *STEPS]
    for n in trial.rounds(quick=len(steps), long=len(steps), unit="steps"):
        before = next(copy for copy in copies(path) if copy.is_whole)
        said = _life(site, folder, steps[n])
        stored.update(int(line.split()[1]) for line in said if line.startswith("stored"))
        assert said[-1] != "made", f"{steps[n]}: it did not die"
        whole = [copy for copy in copies(path) if copy.is_whole]
        assert whole[0].made_at >= before.made_at, steps[n]  # that one, or the new one where it came to its end
        assert checking.broken_pieces(whole[0]) == []
    assert verify.run(site / "var") == []
    journal = opened(site / "var")
    journal.close()
    newest = next(copy for copy in copies(path) if copy.is_whole)
    restored = restoring.run(
        newest, tmp_path / "new", clock=SystemClock(), actor="anna", reason="test", keys=site / "var",
        old_anchor=site / "var" / "journal.anchor",
    )  # fmt: skip
    assert (restored.wrong, restored.findings) == ([], [])
    missing = set(range(restored.lost[0], restored.lost[1] + 1)) if restored.lost else set()
    assert {number for number in stored if number > restored.last_id} <= missing
    assert _life(site, folder, "never")[-1] == "made"
    assert [entry.name for entry in path.iterdir() if entry.name.startswith("making-")] == []


def _life(site: Path, folder: Path, step: str) -> list[str]:
    """What a life said until it ended; by its own hand where ``step`` is one."""
    life = subprocess.run(
        [sys.executable, "-m", "tests.support.backup_life", str(site), str(folder), step],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert life.returncode == (0 if step == "never" else -signal.SIGKILL), life.stderr
    return life.stdout.splitlines()
