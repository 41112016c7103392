"""Processes of the daemon that are forked from one that has imported what they need: a start costs a tenth.

    python -m tests.support.forking FD

What is forked is the interpreter after its imports, with the shipped mappings compiled, which never change: no event
loop, thread, file or connection of ours exists yet. From there on it is a process of its own: a life of `labrelay run`,
which may end itself at the N-th call of a named step (`failpoints`), or the process
for large messages at the other end of the same pipe.

Whatever ends the test ends them all: a life that was left behind would go on looking for its serial line, and answer an
analyzer of the next test that gets the same pseudo-terminal. Tests that start a process as an installation does have
`tests.support.live.Daemon.interpreter`, and `engine.runtime.large.process.launch` as it is.
"""

import array
import asyncio
import atexit
import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, cast
from unittest import mock

from engine.model.process.parent import die_with_parent
from engine.runtime.large import __main__ as large
from engine.runtime.large import process as large_process
from tests.support.before_forks import compile_mappings_of, prepare

ROOT = Path(__file__).parents[2]
REQUEST_BYTES = 256 * 1024
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
SYNC_FAILS = "sync fails"  # in place of a named step: the N-th sync of a file of SQLite's fails
NEVER_SYNCS = "never syncs"  # in place of a named step: a journal that commits without a sync
DAEMON = ("engine.runtime.app", "engine.commands.daemon.run", "engine.web.server", "engine.runtime.large.child")


# -- the process that forks ------------------------------------------------------------------------------------------


def _work(pipe: int, out: int, err: int) -> None:
    """The life of a process for large messages, in the forked process."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv = ["large", str(pipe)]
    large.main()


def _live(site: str, log: str, point: list[str]) -> int:
    """A life of the daemon, in the forked process."""
    from engine.__main__ import run

    die_with_parent()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    if point:
        _arm(*point)
    return int(run(["--site", site, "run", "--log", "json"]))


def _arm(step: str, when: str, number: str) -> None:
    from engine.store.journal import upkeep
    from tests.support.failing_disk import IOERR_FSYNC
    from tests.support.failpoints import When, arm
    from tests.support.fragile_files import FragileFiles, nth

    if step == SYNC_FAILS:
        FragileFiles(nth(int(number), ("sync",), lambda file, call: IOERR_FSYNC))
    elif step == NEVER_SYNCS:
        _never_sync()
    else:
        arm(step, cast(When, when), int(number))
    upkeep.CHECKPOINT_BYTES = 400_000  # a short life is to see some


def _never_sync() -> None:
    from engine.store.journal import Journal

    begin = Journal.start

    def start(journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        assert journal._connection is not None
        journal._connection.execute("PRAGMA synchronous = OFF")
        begin(journal, loop)

    setattr(Journal, "start", start)  # noqa: B010 - this process is the test's own


def serve(asking: socket.socket) -> None:
    """Fork a process for each request, and say of each how it ended, until the asking process is gone.

    What a life leaves behind when it ends is a child of this process: its processor time is counted, too.
    """
    die_with_parent()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prepare(*DAEMON)
    woken, wakes = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    lives: dict[int, int] = {}  # the descriptor on which its end is said -> process
    with selectors.DefaultSelector() as ready:
        ready.register(asking, selectors.EVENT_READ)
        ready.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is asking:
                    request, descriptors, *_ = socket.recv_fds(asking, REQUEST_BYTES, 4)
                    if not request:
                        return
                    asked = json.loads(request)
                    if "site" in asked:
                        compile_mappings_of(Path(asked["site"]))
                    pid = os.fork()
                    if pid == 0:
                        ours = [asking.fileno(), woken, wakes, ready.fileno(), *lives]  # type: ignore[attr-defined]
                        _become(asked, descriptors, ours)
                    *given, said = descriptors
                    for one in given:
                        os.close(one)
                    lives[said] = pid
                    ready.register(said, selectors.EVENT_READ)
                    os.write(said, f"{pid}\n".encode())
                elif key.fileobj == woken:
                    os.read(woken, 4096)
                elif key.fd in lives:  # its test is gone
                    ready.unregister(key.fd)
                    os.kill(lives[key.fd], signal.SIGKILL)
            for pid, code in _ended():
                for said in [one for one, of in lives.items() if of == pid]:
                    with contextlib.suppress(OSError):
                        os.write(said, f"{code} {_processor_s()}\n".encode())
                    with contextlib.suppress(KeyError):
                        ready.unregister(said)
                    os.close(said)
                    del lives[said]


def _ended() -> Iterator[tuple[int, int]]:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)


def _processor_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def _become(asked: dict[str, Any], descriptors: list[int], parents: list[int]) -> None:
    """In the forked process: what is asked for, to its end."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        *given, said = descriptors
        for one in (*parents, said):
            os.close(one)
        os.environ.clear()
        os.environ.update(asked["environ"])
        os.chdir(asked["folder"])
        if "site" in asked:
            code = _live(asked["site"], asked["log"], asked["point"])
        else:
            _work(*given)
            code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        os._exit(code)


# -- the test's process ----------------------------------------------------------------------------------------------


class Forked:
    """What `tests.support.live.Daemon`, and `engine.runtime.large.process`, ask of an `asyncio.subprocess.Process`.

    Attributes:
        processor_s: what all of them have taken that have ended; for `tests.support.fast_set`.
    """

    processor_s: ClassVar[float] = 0.0

    def __init__(self, pid: int, said: asyncio.StreamReader, line: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._said, self._line = said, line
        self._ended = asyncio.ensure_future(self._end())

    async def _end(self) -> int:
        try:
            code, used = (await self._said.readline()).split()
            self.returncode, Forked.processor_s = int(code), float(used)
        finally:
            self._line.close()
        await self._line.wait_closed()
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)


@cache
def _forker() -> socket.socket:
    """The socket to the process that forks; there is one for each process of a run."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forking", str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
        )

    def end() -> None:
        ours.close()
        process.wait(60.0)

    atexit.register(end)
    return ours


async def _fork(asked: Mapping[str, Any], *descriptors: int) -> Forked:
    ours, theirs = socket.socketpair()
    with theirs:
        passed = array.array("i", [*descriptors, theirs.fileno()])
        _forker().sendmsg([json.dumps(asked).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    said, line = await asyncio.open_unix_connection(sock=ours)
    try:
        return Forked(int(await said.readline()), said, line)
    except BaseException:  # it ends by itself: the caller closes its pipe
        line.close()
        raise


async def live(site: Path, log: Path, *point: str, environ: Mapping[str, str] | None = None) -> Forked:
    """Start a life of `labrelay run`.

    Args:
        point: a named step, ``before``, ``after`` or ``hangs``, and the number of the call.
        environ: by default the test's own.
    """
    asked = {"environ": dict(os.environ if environ is None else environ), "folder": str(ROOT)}
    return await _fork({**asked, "site": str(site), "log": str(log), "point": point})


async def launch(descriptor: int, environ: Mapping[str, str]) -> Forked:
    """In place of `engine.runtime.large.process.launch`."""
    return await _fork({"environ": dict(environ), "folder": os.getcwd()}, descriptor, 1, 2)


@contextlib.contextmanager
def forked_large() -> Iterator[None]:
    """For sites with the shipped mappings."""
    with mock.patch.object(large_process, "launch", launch):
        yield


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
