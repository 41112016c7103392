"""A process that writes a journal is killed at any moment, many times over: every promise it made is kept.

`LABRELAY_KILLS=1000 pytest tests/faults/test_store_kill.py` for a longer run.
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
from tests.support.journals import opened
from tests.support.store_worker import digest

KILLS = int(os.environ.get("LABRELAY_KILLS", "30"))
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

    def live_and_die(self, after_lines: int) -> list[list[str]]:
        """Start a life, kill it once it has said so many lines; all that it said."""
        self._in.write("live\n")
        self._in.flush()
        word, pid = self._out.readline().split()
        assert word == "pid"
        said = []
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


@pytest.mark.slow
@pytest.mark.timeout(60 + KILLS)
def test_every_promise_survives_being_killed(tmp_path: Path, worker: Worker) -> None:
    chance = random.Random(20)
    messages: dict[int, str] = {}
    promised: dict[str, set[int]] = {"f": set(), "q": set(), "d": set()}
    for _ in range(KILLS):
        for word, number, *rest in worker.live_and_die(chance.choice((1, 7, 60, 400))):
            if word == "m":
                messages[int(number)] = rest[0]
            else:
                promised[word].add(int(number))
        # What a torn life leaves is looked at as it is (a reader joins the log without the daemon) ...
        assert verify.run(tmp_path) == []
    # ... and the next start raises no alarm: the anchor is never ahead of what was lost, for nothing was.
    journal = opened(tmp_path)
    assert journal.alarms == []
    journal.recover()
    assert {number: digest(journal.payload(number)) for number in messages} == messages
    for number in promised["f"]:
        assert journal.payload(number) == b"1H"
    with journal.snapshot() as execute:
        queued = {row[0] for row in execute("SELECT id FROM message_state WHERE state = 'mapped'")}
        delivered = {row[0] for row in execute("SELECT id FROM delivery WHERE state = 'delivered'")}
        sending = execute("SELECT count(*) FROM delivery WHERE state = 'sending'").fetchone()[0]
    assert promised["q"] <= queued
    assert promised["d"] <= delivered
    assert sending == 0
    assert len(messages) > KILLS
    journal.close()
