"""T6: a thousand random mutations of a journal, and a thousand runs without any: loss is found, and nothing else is.

The files of a journal that was closed in order, and of one whose process was killed, are damaged one at a time: bits
flipped, tails cut, pages overwritten, files missing, another key. The kinds and the files take turns; chance decides
the place only. What SQLite still reads of the rows afterwards tells whether any was harmed.
"""

import asyncio
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from engine.model.errors import LabRelayError, StoreError
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.integrity import verify
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.operations import audit
from engine.store.queries.reader import Reader, stored_payload
from tests.faults.harness.trial import Trial
from tests.support.damage import flip, rows
from tests.support.journals import opened, queue, running, store
from tests.support.store_lives import Promises, Worker

ROWS = 60  # more than the journals here have
WAL_NAME = JOURNAL_NAME + "-wal"

Mutation = Callable[[Path, random.Random], str]  # of one file


# -- mutations: each says what it did -------------------------------------------------------------------------------


def flip_a_bit(file: Path, chance: random.Random) -> str:
    bit = chance.randrange(file.stat().st_size * 8)
    flip(file, bit)
    return f"bit {bit} of {file.name}"


def cut_the_tail(file: Path, chance: random.Random) -> str:
    left = chance.randrange(file.stat().st_size)
    os.truncate(file, left)
    return f"{file.name} cut to {left}"


def overwrite_a_page(file: Path, chance: random.Random) -> str:
    at = chance.randrange(max(1, file.stat().st_size // PAGE_BYTES)) * PAGE_BYTES
    size = min(PAGE_BYTES, file.stat().st_size - at)
    with file.open("r+b") as content:
        content.seek(at)
        content.write(chance.choice([bytes(size), chance.randbytes(size)]))
    return f"page at {at} of {file.name}"


def lose_the_file(file: Path, chance: random.Random) -> str:
    file.unlink()
    return f"{file.name} missing"


def put_another_key(file: Path, chance: random.Random) -> str:
    other = bytearray(file.read_bytes())
    at = next(n for n, byte in enumerate(other) if chr(byte).isalnum())
    other[at] = ord("7") if other[at] != ord("7") else ord("3")
    file.write_bytes(other)
    return "another key"


# The two that harm for certain come first in each turn, so that a run that ends early has them, too.
TURN: Sequence[Mutation] = (
    [lose_the_file, put_another_key] + [flip_a_bit] * 6 + [cut_the_tail] * 2 + [overwrite_a_page] * 2
)
# Of 8 mutations one harms for certain: each turn of 12 has another key, and of the turns of the files of a closed
# journal (database, anchor, key) two of three lose one that is needed, of a killed one (with the log) three of four.
CERTAIN = 8


def damage(data: Path, number: int, chance: random.Random) -> str:
    """Carry out one mutation; kinds take turns, and with each turn the files do."""
    turn, kind = divmod(number, len(TURN))
    mutation, key = TURN[kind], data / KEY_NAME
    if mutation is put_another_key:
        return mutation(key, chance)
    named = (data / name for name in (JOURNAL_NAME, WAL_NAME, ANCHOR_NAME))
    files = [file for file in named if file.exists() and file.stat().st_size]
    if mutation is lose_the_file:
        files.append(key)
    return mutation(files[turn % len(files)], chance)


# -- journals to damage --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Closed in order: all of it is in the database."""
    data = tmp_path_factory.mktemp("whole")

    async def fill() -> None:
        async with running(data) as journal:
            await queue(journal, *(os.urandom(size) for size in [10, 300, 1500, 9000] * 6), to=("a", "b"))
            await journal.run(audit.note, "ann", "unmask", {"message": 1})

    asyncio.run(fill())
    return data


@pytest.fixture(scope="module")
def torn(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a killed process leaves it: what was acknowledged last is in the log only."""
    data = tmp_path_factory.mktemp("torn") / "data"
    live = tmp_path_factory.mktemp("live") / "data"
    shutil.copytree(whole, live)

    async def fill() -> None:
        async with running(live) as journal:
            await store(journal, *(os.urandom(size) for size in [20, 700, 5000] * 5))
            shutil.copytree(live, data, ignore=shutil.ignore_patterns("*-shm", "labrelay.lock"))

    asyncio.run(fill())
    return data


def what_is_found(data: Path) -> list[str]:
    """What `labrelay verify` says, then what a start says; nothing but errors of ours may come."""
    found: list[str] = []
    try:
        found += [finding.text for finding in verify.run(data)]
    except LabRelayError as error:
        found.append(str(error))
    try:
        journal = opened(data)
    except LabRelayError as error:
        return [*found, str(error)]
    found += journal.alarms
    journal.close()
    return found


def served(data: Path, unharmed: set[int]) -> dict[int, bytes]:
    """The payloads of rows that are whole, where the journal can be read at all."""
    try:
        journal = Reader.beside(data)
    except LabRelayError:
        return {}
    try:
        return {number: stored_payload(journal, number) for number in unharmed}
    except StoreError:  # the way to them is damaged: the schema, the table's own pages
        return {}
    finally:
        journal.close()


@pytest.mark.parametrize("state", ["closed", "killed"])
def test_every_mutation_that_harms_an_acknowledged_row_is_found(
    whole: Path, torn: Path, tmp_path: Path, trial: Trial, state: str
) -> None:
    source = whole if state == "closed" else torn
    before = rows(_copy(source, tmp_path / "before"), ROWS)
    journal = opened(_copy(source, tmp_path / "read"))
    payloads = {number: stored_payload(journal, number) for number in before}
    journal.close()
    counts: Counter[str] = Counter()
    for n in trial.rounds(quick=40, long=500, unit="mutations"):
        data = _copy(source, tmp_path / str(n))
        did = damage(data, n, trial.chance)
        key_harmed = "key" in did
        after = rows(_copy(data, tmp_path / f"{n} raw"), ROWS) if (data / JOURNAL_NAME).exists() else {}
        unharmed = {number for number in before if before[number] == after.get(number)}
        harmed = len(unharmed) < len(before)
        if not key_harmed:
            readable = served(_copy(data, tmp_path / f"{n} served"), unharmed)
            assert {number: payloads[number] for number in readable} == readable, did
            counts["served"] += len(readable)
        found = what_is_found(data)
        counts["harmful"] += harmed or key_harmed
        counts["found"] += bool(found)
        counts["harmful and found"] += (harmed or key_harmed) and bool(found)
        assert found or not (harmed or key_harmed), f"not found: {did}"
        for folder in (str(n), f"{n} raw", f"{n} served"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
    trial.figures(
        **{f"{state}_harmful": counts["harmful"], f"{state}_harmful_found": counts["harmful and found"]},
        **{f"{state}_rows_served": counts["served"]},
    )
    assert counts["harmful"] >= trial.reached[0].done // CERTAIN
    assert counts["served"] > 0


def _copy(data: Path, to: Path) -> Path:
    shutil.copytree(data, to, ignore=shutil.ignore_patterns("*-shm", "labrelay.lock"))
    return to


def test_runs_without_damage_raise_no_alarm(tmp_path: Path, trial: Trial) -> None:
    """Each ends by a kill at any moment; then it is verified, and started."""
    worker, promises, data = Worker(tmp_path / "0"), Promises(), tmp_path / "0"
    for n in trial.rounds(quick=20, long=1000, unit="clean runs"):
        if n % 50 == 49:
            promises, data = Promises(), tmp_path / str(n)
            worker.move(data)
        promises.note(worker.live_and_die(after_lines=trial.chance.choice((1, 5, 20, 60))))
        promises.are_kept(data)  # no finding, no alarm
    worker.close()
    trial.figures(false_alarms=0)
