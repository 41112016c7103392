"""T7 and T3: every write, truncation and sync of a short life fails in turn, or is the last before the power goes.

What was not synced is then lost, all of it or a part that chance chooses, in any order. Whatever the store had promised
before must be there.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.errors import LossError, StoreError
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import is_settled, judge
from tests.faults.harness.trial import Trial
from tests.support.failing_disk import FULL, IOERR_FSYNC, IOERR_WRITE
from tests.support.forking import SYNC_FAILS
from tests.support.fragile_files import reachable
from tests.support.journals import opened
from tests.support.live import Analyzer, Daemon, Server
from tests.support.store_lives import Promises, Worker
from tests.support.waiting import until

A_FOLDER_FOR = 40  # lives; then a new one, which covers the making of a journal, too

pytestmark = pytest.mark.skipif(not reachable(), reason="this Python has SQLite built in: its files cannot be reached")


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path / "0")
    yield worker
    worker.close()


class Lives:
    """One life after the other, each judged before the next begins."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker = worker
        self._folder = folder
        self._count = 0
        self.kept = 0  # messages that were promised
        self._begin()

    def _begin(self) -> None:
        self._data = self._folder / str(self._count)
        self._promises = Promises()

    def live(self, kind: str) -> list[list[str]]:
        if self._count % A_FOLDER_FOR == A_FOLDER_FOR - 1:
            self._count += 1
            self._begin()
            self._worker.move(self._data)
        self._count += 1
        before = len(self._promises.messages)
        said = self._worker.live(kind)
        self._promises.note([words for words in said if words[0] in ("m", "f", "q", "d")])
        self.kept += len(self._promises.messages) - before
        if not self._promises.messages:  # it may not have come to make a journal: the next start does
            opened(self._data).close()
        self._promises.are_kept(self._data)
        return said


def steps_in_a_life(lives: Lives) -> tuple[int, int]:
    """(writes and truncations, syncs) of a life in which nothing fails."""
    _, writes, syncs = next(words for words in lives.live(f"fail {10**9} {IOERR_WRITE}") if words[0] == "calls")
    return int(writes), int(syncs)


def step_of(trial: Trial, n: int) -> int:
    """Every step, or at the quick scale one in a few, so that each run of a sitting takes the same."""
    return 1 + n * (23 if trial.scale == "quick" else 1)


@pytest.mark.parametrize("code", [IOERR_WRITE, FULL], ids=["I/O error", "full disk"])
def test_each_write_that_fails_costs_only_what_was_not_promised(
    tmp_path: Path, worker: Worker, trial: Trial, code: int
) -> None:
    lives = Lives(worker, tmp_path)
    survived = 0
    writes, _ = steps_in_a_life(lives)
    for n in trial.rounds(quick=100, long=writes, unit="failed writes"):
        said = lives.live(f"fail {step_of(trial, n)} {code}")
        if ["closed"] in said and not any(words[0] == "at" for words in said):
            trial.no_more()
            break
        survived += ["closed"] in said
        assert ["fatal"] not in said or ["refused"] in said, said
    assert survived > 1
    assert lives.kept > 10


def test_after_each_sync_that_fails_the_process_ends_and_nothing_promised_is_missing(
    tmp_path: Path, worker: Worker, trial: Trial
) -> None:
    lives = Lives(worker, tmp_path)
    fatal = 0
    _, syncs = steps_in_a_life(lives)
    for n in trial.rounds(quick=100, long=syncs, unit="failed syncs"):
        step = 1 + n * (3 if trial.scale == "quick" else 1)
        said = lives.live(f"fail {step} {IOERR_FSYNC}")
        if not any(words[0] == "at" for words in said):
            assert ["closed"] in said
            trial.no_more()
            break
        assert ["closed"] not in said, "went on after a failed sync"
        fatal += ["fatal"] in said
    assert fatal > 1
    assert lives.kept > 10


@pytest.mark.parametrize("part", [False, True], ids=["all", "a part"])
def test_a_power_cut_at_each_step_costs_nothing_that_was_promised(
    tmp_path: Path, worker: Worker, trial: Trial, part: bool
) -> None:
    lives = Lives(worker, tmp_path)
    for n in trial.rounds(quick=100, long=sum(steps_in_a_life(lives)), unit="power cuts"):
        seed = trial.chance.randrange(1, 10**6) if part else 0
        said = lives.live(f"cut {step_of(trial, n)} {seed}")
        if ["closed"] in said:
            trial.no_more()
            break
    assert lives.kept > 10


def test_a_store_that_does_not_sync_is_noticed(tmp_path: Path, worker: Worker) -> None:
    """The tests above would fail, then: so they do show something."""
    lives = Lives(worker, tmp_path)
    with pytest.raises((AssertionError, LossError, StoreError)):
        for step in range(10, 60):
            lives.live(f"careless {step}")


async def test_the_daemon_ends_at_once_when_a_sync_fails_and_starts_again(tmp_path: Path, trial: Trial) -> None:
    """Under load; while nobody starts it again it answers nobody, and then all goes on."""
    ledger = Ledger()
    server = Server(ledger=ledger)
    await server.start()
    async with AsyncExitStack() as ending:
        ending.push_async_callback(server.stop)
        destination = f'{{kind: http, url: "http://127.0.0.1:{server.port}/", retry: {{first: 50ms, max: 200ms}}}}'
        daemon = Daemon(tmp_path / "site", ["mllp", "astm"], destination, mapped=False, page=False)
        ending.push_async_callback(daemon.end)
        await daemon.start()
        analyzers = [
            Analyzer(number, daemon.port_of[number], protocol, ledger=ledger)
            for number, protocol in enumerate(daemon.protocols)
        ]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        await until(lambda: all(analyzer.acked for analyzer in analyzers), 240.0)
        assert await daemon.terminate() == 0
        for _ in trial.rounds(quick=3, long=40, unit="daemons that ended"):
            daemon.dies_at = (SYNC_FAILS, "before", str(trial.chance.randrange(1, 60)))
            await daemon.launch()
            await until(lambda: daemon.code is not None, 240.0)
            assert daemon.code == ExitCode.INTEGRITY, daemon.log.read_text()[-2000:]
        daemon.dies_at = ()
        await daemon.start()
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        await until(lambda: all(set(a.acked) <= set(server.arrived[a.channel]) for a in analyzers), 240.0)
        await until(lambda: is_settled(tmp_path / "site" / "var"), 240.0)  # what was kept and not acknowledged, too
        assert await daemon.terminate() == 0
    found = judge(tmp_path / "site" / "var", ledger, settled=True)
    daemon.watch.into(found.tally)
    trial.note(found.must_pass())
