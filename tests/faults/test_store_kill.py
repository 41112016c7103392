"""A process that writes a journal is killed at any moment, many times over: every promise it made is kept.

`LABRELAY_KILLS=1000 LABRELAY_STRIDE=1 pytest tests/faults/test_store_kill.py` for a longer run.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import verify
from tests.support.failing_disk import file_control
from tests.support.journals import opened
from tests.support.store_worker import digest

KILLS = int(os.environ.get("LABRELAY_KILLS", "30"))
STRIDE = int(os.environ.get("LABRELAY_STRIDE", "5"))
ROOT = Path(__file__).parents[2]


class Worker:
    """The forking worker process; everything it says is kept."""

    def __init__(self, data: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.store_worker", str(data)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    def live_and_die(self, *, after_lines: int = 0, at_step: int = 0) -> list[list[str]]:
        """Start a life and have it killed: once it has said so many lines, or by itself at a step of its disk's work.

        Returns:
            All that it said.
        """
        self._in.write(f"die {at_step}\n" if at_step else "live\n")
        self._in.flush()
        word, pid = self._out.readline().split()
        assert word == "pid"
        said: list[list[str]] = []
        for line in self._out:
            words = line.split()
            if words == ["ended"]:
                return said
            assert words[0] != "failed", line
            said.append(words)
            if len(said) == after_lines:
                os.kill(int(pid), signal.SIGKILL)
        raise AssertionError("the worker has ended")

    def close(self) -> None:
        self._in.close()
        self._out.close()
        self._process.wait(10)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path)
    yield worker
    worker.close()


class Promises:
    """What a life was told to be durable."""

    def __init__(self) -> None:
        self.messages: dict[int, str] = {}
        self.frames: set[int] = set()
        self.queued: set[int] = set()
        self.delivered: set[int] = set()

    def note(self, said: list[list[str]]) -> None:
        for word, number, *rest in said:
            match word:
                case "m":
                    self.messages[int(number)] = rest[0]
                case "f":
                    self.frames.add(int(number))
                case "q":
                    self.queued.add(int(number))
                case "d":
                    self.delivered.add(int(number))

    def are_kept(self, data: Path) -> None:
        """Look at what is there: as a reader beside no daemon, then as the next daemon, which must raise no alarm."""
        assert verify.run(data) == []
        journal = opened(data)
        assert journal.alarms == []
        journal.recover()
        assert {number: digest(journal.payload(number)) for number in self.messages} == self.messages
        assert {journal.payload(number) for number in self.frames} <= {b"1H"}
        with journal.snapshot() as execute:
            queued = {row[0] for row in execute("SELECT id FROM message_state WHERE state = 'mapped'")}
            delivered = {row[0] for row in execute("SELECT id FROM delivery WHERE state = 'delivered'")}
            assert execute("SELECT count(*) FROM delivery WHERE state = 'sending'").fetchone() == (0,)
        assert self.queued <= queued
        assert self.delivered <= delivered
        journal.close()


@pytest.mark.slow
@pytest.mark.timeout(60 + KILLS)
def test_every_promise_survives_being_killed_at_any_moment(tmp_path: Path, worker: Worker) -> None:
    chance = random.Random(20)
    promises = Promises()
    for _ in range(KILLS):
        promises.note(worker.live_and_die(after_lines=chance.choice((1, 7, 60, 400))))
        assert verify.run(tmp_path) == []
    promises.are_kept(tmp_path)
    assert len(promises.messages) > KILLS


@pytest.mark.slow
def test_every_promise_survives_being_killed_before_each_write_and_sync(tmp_path: Path, worker: Worker) -> None:
    file_control()
    promises = Promises()
    step, survived = 1 - STRIDE, False
    while not survived:
        step += STRIDE
        said = worker.live_and_die(at_step=step)
        survived = said[-1][0] == "survived"
        promises.note(said)
        promises.are_kept(tmp_path)
    assert step > 50
    assert promises.delivered
