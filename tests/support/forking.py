"""A process that has imported the daemon and forks one life of it at a time, so that a thousand starts cost minutes.

    python -m tests.support.forking

Each line on stdin, ``SITE <tab> LOG [<tab> STEP <tab> before|after|hangs <tab> N]``, starts a life of `labrelay run`
in a process of its own, which ends itself at the N-th call of a named step (`failpoints`), if one is named; stdout says
``pid N``, and ``ended CODE`` once that life is over (the signal's negative number where it was killed). What is forked
is the interpreter after its imports, with the shipped mappings compiled, which never change: no event loop, thread,
file or connection of ours exists yet. Whatever ends the test ends both: a life that was left behind would go on looking
for its serial line, and answer an analyzer of the next test that gets the same pseudo-terminal.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from engine.__main__ import run
from engine.store.journal import Journal, upkeep
from tests.support.before_forks import prepare
from tests.support.failing_disk import IOERR_FSYNC
from tests.support.failpoints import When, arm
from tests.support.fragile_files import FragileFiles, nth

ROOT = Path(__file__).parents[2]
SYNC_FAILS = "sync fails"  # in place of a named step: the N-th sync of a file of SQLite's fails
NEVER_SYNCS = "never syncs"  # in place of a named step: a journal that commits without a sync
PR_SET_PDEATHSIG = 1  # prctl(2)
DAEMON = ("engine.runtime.app", "engine.commands.run", "engine.web.server", "engine.runtime.worker.process")


def _live(site: str, log: str, *point: str) -> int:
    if point:
        step, when, number = point
        if step == SYNC_FAILS:
            FragileFiles(nth(int(number), ("sync",), lambda file, call: IOERR_FSYNC))
        elif step == NEVER_SYNCS:
            _never_sync()
        else:
            arm(step, cast(When, when), int(number))
        upkeep.CHECKPOINT_BYTES = 400_000  # a short life is to see some
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.close(descriptor)
    return int(run(["--site", site, "run", "--log", "json"]))


def _never_sync() -> None:
    begin = Journal.start

    def start(journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        assert journal._connection is not None
        journal._connection.execute("PRAGMA synchronous = OFF")
        begin(journal, loop)

    setattr(Journal, "start", start)  # noqa: B010 - this process is the test's own


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    _end_with_parent()
    prepare(*DAEMON)
    for line in iter(sys.stdin.readline, ""):
        site, log, *point = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                _end_with_parent()
                code = _live(site, log, *point)
            finally:
                os._exit(code)
        _say(f"pid {pid}")
        _, status = os.waitpid(pid, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


class Life:
    """One life of the daemon; what `asyncio.subprocess.Process` offers, as far as `tests.support.live.Daemon` asks."""

    def __init__(self, pid: int, ended: "asyncio.Task[int]") -> None:
        self.pid = pid
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if not self._ended.done():
            os.kill(self.pid, number)

    async def wait(self) -> int:
        return await self._ended


class Mother:
    """The forking process, as the test sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, environ: Mapping[str, str] | None = None) -> "Mother":
        """``environ``: of the forking process and so of its lives; by default the test's own."""
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.forking", cwd=ROOT, env=environ,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip

    async def live(self, site: Path, log: Path, *point: str) -> Life:
        """Start a life; ``point`` is a named step, ``before`` or ``after``, and the number of the call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join([str(site), str(log), *point]).encode() + b"\n")
        return Life(int(await self._told("pid")), asyncio.create_task(self._end()))

    async def _end(self) -> int:
        return int(await self._told("ended"))

    async def _told(self, word: str) -> str:
        assert self._process.stdout is not None
        found, _, rest = (await self._process.stdout.readline()).decode().strip().partition(" ")
        assert found == word, f"the forking process said {found!r} in place of {word!r}"
        return rest

    async def stop(self) -> None:
        """Once no life is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


if __name__ == "__main__":
    main()
