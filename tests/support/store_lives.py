"""Lives of a process that uses a journal (`tests.support.store_worker`), and whether their promises are kept."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from engine.store.integrity import verify
from engine.store.journal.starting import recover
from engine.store.queries.reader import stored_payload
from tests.support.journals import opened
from tests.support.store_worker import digest

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
        return self.live(f"die {at_step}" if at_step else "live", after_lines)

    def live(self, kind: str, after_lines: int = 0) -> list[list[str]]:
        """A life of any kind that `tests.support.store_worker` knows; all that it said."""
        self._in.write(f"{kind}\n")
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

    def move(self, data: Path) -> None:
        """Further lives are in another folder."""
        self._in.write(f"move {data}\n")
        self._in.flush()

    def close(self) -> None:
        self._in.close()
        self._out.close()
        self._process.wait(10)


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
        recover(journal)
        assert {number: digest(stored_payload(journal, number)) for number in self.messages} == self.messages
        assert {stored_payload(journal, number) for number in self.frames} <= {b"1H"}
        with journal.snapshot() as execute:
            queued = {row[0] for row in execute("SELECT id FROM message_state WHERE state = 'mapped'")}
            delivered = {row[0] for row in execute("SELECT id FROM delivery WHERE state = 'delivered'")}
            assert execute("SELECT count(*) FROM delivery WHERE state = 'sending'").fetchone() == (0,)
        assert self.queued <= queued
        assert self.delivered <= delivered
        journal.close()
