"""Bits flip, files vanish, old copies come back: loss is noticed and named, and what is left can be read."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from engine.model.errors import DamagedError, LossError, StoreError
from engine.model.texts.reasons import ReasonCode
from engine.store.core import anchor
from engine.store.core.anchor import ANCHOR_NAME, SLOT_BYTES
from engine.store.integrity import row_check, verify
from engine.store.journal.starting import unprocessed
from engine.store.operations import append, audit
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.acts import acts_page
from engine.store.queries.letters import dead_letters
from engine.store.queries.reader import stored_payload
from tests.faults.harness.trial import scale_asked_for
from tests.support.damage import flip, rows
from tests.support.journals import opened, queue, running, store

FLIPS = 250 if scale_asked_for() != "quick" else 120
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of many kinds of rows, closed in good order."""
    data = tmp_path_factory.mktemp("whole")

    async def fill() -> None:
        async with running(data) as journal:
            await queue(journal, *(os.urandom(size) for size in [10, 300, 1500, 9000, 30_000] * 6), to=("a", "b"))
            session = journal.new_session()
            for n in range(5):
                await journal.run(append.store_frame, "line", session, b"%dH" % n, 1)
            for delivery in await journal.run(claims.claim, "chem", "a", 10):
                await journal.run(attempts.bury, delivery.id, reason=ReasonCode.REFUSED, detail="422", answer=b"{}")
            await journal.run(audit.note, "ann", "unmask", {"message": 1})

    asyncio.run(fill())
    return data


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal whose process was killed: most rows are in the log only, and all of them were acknowledged."""
    while True:
        data = _killed(tmp_path_factory.mktemp("torn"))
        # A kill between the commit and the anchor leaves rows that nobody was promised.
        mark = anchor.read(data / ANCHOR_NAME).mark
        if mark is not None and mark.last_id == max(rows(data)):
            return data


def _killed(data: Path) -> Path:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.store_worker", str(data)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write("live\n")
        worker.stdin.flush()
        pid = int(worker.stdout.readline().split()[1])
        for _ in range(40):  # little enough for no checkpoint to have run
            worker.stdout.readline()
        os.kill(pid, signal.SIGKILL)
        worker.stdin.close()
        worker.stdout.read()
    return data


def copy(data: Path, to: Path) -> Path:
    shutil.copytree(data, to)
    return to


def named(findings: list[row_check.Finding]) -> set[int]:
    """The journal rows that findings name."""
    return {
        number
        for finding in findings
        if finding.table == "journal" and finding.first
        for number in range(finding.first, finding.last + 1)
    }


def test_a_whole_journal_has_no_findings(whole: Path, torn: Path) -> None:
    assert verify.run(whole, deep=True) == []
    assert verify.run(torn, deep=True) == []


def test_every_flipped_bit_that_harms_a_row_is_found_and_the_row_is_named(whole: Path, tmp_path: Path) -> None:
    chance = random.Random(1)
    before = rows(whole)
    bits = (whole / "journal.db").stat().st_size * 8
    harmed = 0
    for n in range(FLIPS):
        data = copy(whole, tmp_path / str(n))
        flip(data / "journal.db", chance.randrange(100 * 8, bits))
        after = rows(data)
        changed = {number for number in before if before[number] != after.get(number)}
        findings = look(data)
        if not any(finding.first == 0 and finding.table in ("", "journal") for finding in findings):
            # else the schema is damaged, and with it the way to the table: found, but no row can be named
            assert named(findings) == changed, (n, findings)
            harmed += bool(changed)
        shutil.rmtree(data)
    assert harmed > FLIPS // 20  # the test does test something


def look(data: Path) -> list[row_check.Finding]:
    """As a person would: what cannot even be opened is a finding, too."""
    try:
        return verify.run(data)
    except StoreError as error:
        return [row_check.Finding("structure", "", 0, 0, str(error))]


def alarm(data: Path) -> LossError:
    """The alarm that a start raises; verify must say the same, and the second start, too."""
    with pytest.raises(LossError) as raised:
        opened(data)
    with pytest.raises(LossError) as again:
        opened(data)
    assert str(again.value) == str(raised.value)
    return raised.value


async def goes_on_after_acceptance(data: Path, loss: LossError) -> None:
    """A person accepts the loss: recorded, numbers not given twice, and nothing left to complain of."""
    async with running(data, accept_loss=True) as journal:
        assert any(str(loss) in note for note in journal.notes)
        (act,) = [act for act in acts_page(journal) if act.verb == "accept-loss"]
        assert (act.what["first"], act.what["last"]) == (loss.first, loss.last)
        (stored,) = await store(journal, b"after")
        assert stored.id > max(loss.last, act.id - 1)
    assert verify.run(data, deep=True) == []
    async with running(data) as journal:
        assert journal.alarms == []
        assert stored_payload(journal, stored.id) == b"after"


async def test_every_flipped_bit_in_the_log_that_loses_rows_raises_an_alarm_with_the_range(
    torn: Path, tmp_path: Path
) -> None:
    chance = random.Random(2)
    before = rows(torn)
    last = max(before)
    bits = (torn / "journal.db-wal").stat().st_size * 8
    lost = 0
    for n in range(FLIPS // 2):
        data = copy(torn, tmp_path / str(n))
        (data / "journal.db-shm").unlink()  # made anew from the log, as after a power failure
        flip(data / "journal.db-wal", chance.randrange(bits))
        findings = look(data)
        after = rows(data)
        if after == before:
            assert named(findings) == set(), (n, findings)
            opened(data).close()
        elif after:
            assert after == {number: before[number] for number in after}
            assert [(f.kind, f.first, f.last) for f in findings] == [("anchor", len(after) + 1, last)], n
            loss = alarm(data)
            assert (loss.first, loss.last) == (len(after) + 1, last)
            lost += 1
            if lost % 20 == 1:
                await goes_on_after_acceptance(data, loss)
        else:
            assert alarm(data).last == last
            lost += 1
        shutil.rmtree(data)
    assert lost > FLIPS // 10


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
async def test_a_cut_log_raises_an_alarm_with_the_range(torn: Path, tmp_path: Path, share: float) -> None:
    data = copy(torn, tmp_path / "cut")
    wal = data / "journal.db-wal"
    (data / "journal.db-shm").unlink()
    os.truncate(wal, int(wal.stat().st_size * share))
    loss = alarm(data)
    assert loss.last == max(rows(torn))
    assert 1 <= loss.first <= loss.last
    await goes_on_after_acceptance(data, loss)


async def test_a_missing_log_raises_an_alarm(torn: Path, tmp_path: Path) -> None:
    data = copy(torn, tmp_path / "missing")
    (data / "journal.db-wal").unlink()
    (data / "journal.db-shm").unlink()
    loss = alarm(data)
    assert (loss.first, loss.last) == (1, max(rows(torn)))


async def test_a_missing_journal_is_never_taken_for_a_new_one(whole: Path, tmp_path: Path) -> None:
    data = copy(whole, tmp_path / "missing")
    (data / "journal.db").unlink()
    loss = alarm(data)
    assert (loss.first, loss.last) == (1, max(rows(whole)))
    async with running(data, accept_loss=True) as journal:
        await store(journal, b"after")
    assert verify.run(data) == []


async def test_an_old_copy_that_came_back_raises_an_alarm_with_the_range(whole: Path, tmp_path: Path) -> None:
    data = copy(whole, tmp_path / "old")
    async with running(data) as journal:
        stored = await store(journal, *(b"%d" % n for n in range(7)))
    shutil.copy(whole / "journal.db", data / "journal.db")
    loss = alarm(data)
    assert (loss.first, loss.last) == (stored[0].id, stored[-1].id)
    assert [(f.kind, f.first, f.last) for f in verify.run(data)] == [("anchor", loss.first, loss.last)]
    await goes_on_after_acceptance(data, loss)


async def test_an_old_copy_that_was_written_on_raises_an_alarm(whole: Path, tmp_path: Path) -> None:
    data, other = copy(whole, tmp_path / "one"), copy(whole, tmp_path / "other")
    async with running(data) as journal:
        await store(journal, b"1", b"2")
    async with running(other) as journal:
        await store(journal, b"3", b"4", b"5")
    shutil.copy(other / "journal.db", data / "journal.db")
    assert "not the one that was acknowledged" in str(alarm(data))


async def test_the_journal_of_another_site_raises_an_alarm(whole: Path, torn: Path, tmp_path: Path) -> None:
    data = copy(whole, tmp_path / "mixed")
    shutil.copy(torn / "journal.anchor", data / "journal.anchor")
    loss = alarm(data)
    assert "another journal" in str(loss)
    await goes_on_after_acceptance(data, loss)


async def test_one_damaged_slot_of_the_anchor_is_told_and_harmless(whole: Path, tmp_path: Path) -> None:
    for bit in range(0, 70 * 8, 7):  # every byte of a mark
        for slot in (0, 1):
            data = copy(whole, tmp_path / f"{slot}-{bit}")
            flip(data / "journal.anchor", slot * SLOT_BYTES * 8 + bit)
            assert [(f.kind, f.table, f.first) for f in verify.run(data)] == [("anchor", "anchor", slot)]
            shutil.rmtree(data)
    data = copy(whole, tmp_path / "slot")
    flip(data / "journal.anchor", 99)
    async with running(data):
        pass
    assert verify.run(data) == []


@pytest.mark.parametrize("what", ["both slots", "no file"])
async def test_an_anchor_that_cannot_be_read_raises_an_alarm(whole: Path, tmp_path: Path, what: str) -> None:
    data = copy(whole, tmp_path / "anchor")
    if what == "no file":
        (data / "journal.anchor").unlink()
    else:
        flip(data / "journal.anchor", 99)
        flip(data / "journal.anchor", SLOT_BYTES * 8 + 99)
    loss = alarm(data)
    await goes_on_after_acceptance(data, loss)


@pytest.mark.parametrize("what", [b"CREATE TABLE journal", b"CREATE TABLE meta", b"CREATE TABLE delivery"])
def test_a_damaged_schema_is_told_though_its_error_is_no_text(whole: Path, tmp_path: Path, what: bytes) -> None:
    data = copy(whole, tmp_path / "schema")
    content = (data / "journal.db").read_bytes()
    assert what in content
    (data / "journal.db").write_bytes(content.replace(what, what[:8] + b"\xe5\xff" + what[10:]))
    assert look(data)
    with pytest.raises(DamagedError, match="cannot be opened"):
        opened(data)


async def test_damaged_rows_are_told_at_the_start_and_the_rest_goes_on(whole: Path, tmp_path: Path) -> None:
    data = copy(whole, tmp_path / "rows")
    async with running(data) as journal:
        stored = await store(journal, *(b"%d" % n * 40 for n in range(3)))
        ids = await queue(journal, b"a" * 300, b"b" * 300)
    with closing(sqlite3.connect(data / "journal.db")) as connection:
        for table, row_id in (("journal", stored[1].id), ("document", 31)):
            connection.execute(f"UPDATE {table} SET body = zeroblob(length(body)) WHERE id = ?", (row_id,))
        connection.commit()
    assert [(f.kind, f.table, f.first, f.last) for f in verify.run(data)] == [
        ("changed", "journal", stored[1].id, stored[1].id),
        ("changed", "document", 31, 31),
    ]
    async with running(data) as journal:
        assert journal.alarms == [f"row {stored[1].id}: not what was stored"]
        assert [one.id for one in unprocessed(journal)] == [stored[0].id, stored[2].id]
        assert [one.message_id for one in await journal.run(claims.claim, "chem", "fhir", 10)] == [ids[1]]
        reasons = {letter.message_id: letter.reason for letter in dead_letters(journal)}
        assert reasons[stored[1].id] == "DAMAGED"
        assert reasons[ids[0]] == "DAMAGED"
