"""Worker processes that are forked from one that has imported what they need: a start costs a tenth.

What is forked is the interpreter after its imports, with the shipped mappings compiled, which never change. From there
on a worker is as ever: a process of its own with its own event loop, at the other end of the same pipe. Tests that
start a worker as an installation does have `engine.runtime.worker.process.launch` as it is.
"""

import array
import asyncio
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from unittest import mock

from engine.runtime.worker import __main__ as worker
from engine.runtime.worker import process as workers
from tests.support.before_forks import prepare

REQUEST_BYTES = 256 * 1024


# -- the process that forks ------------------------------------------------------------------------------------------


def _work(request: bytes, descriptors: list[int]) -> None:
    """The life of a worker, in the forked process."""
    asked = json.loads(request)
    pipe, out, err = descriptors
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["folder"])
    sys.argv = ["worker", str(pipe)]
    worker.main()


def serve(asking: socket.socket) -> None:
    """Fork a worker for each request, and say of each how it ended, until the test's process is gone."""
    worker.die_with_parent()
    prepare("engine.runtime.worker.child")
    woken, wakes = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ends: dict[int, int] = {}  # process -> the descriptor on which its end is said
    with selectors.DefaultSelector() as ready:
        ready.register(asking, selectors.EVENT_READ)
        ready.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is asking:
                    request, descriptors, *_ = socket.recv_fds(asking, REQUEST_BYTES, 4)
                    if not request:
                        return
                    pid = os.fork()
                    if pid == 0:
                        _live(request, descriptors, parent_of_it=[asking.fileno(), woken, wakes, *ends.values()])
                    for one in descriptors[:3]:
                        os.close(one)
                    ends[pid] = descriptors[3]
                    os.write(descriptors[3], f"{pid}\n".encode())
                else:
                    os.read(woken, 4096)
            for pid in list(ends):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    said = ends.pop(pid)
                    with contextlib.suppress(BrokenPipeError):
                        os.write(said, f"{os.waitstatus_to_exitcode(status)}\n".encode())
                    os.close(said)


def _live(request: bytes, descriptors: list[int], *, parent_of_it: list[int]) -> None:
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (*parent_of_it, descriptors[3]):
            os.close(one)
        _work(request, descriptors[:3])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        os._exit(code)


# -- the test's process ----------------------------------------------------------------------------------------------


class Forked:
    """A worker; what the main process asks of an `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, said: asyncio.StreamReader, line: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._said, self._line = said, line
        self._ended = asyncio.ensure_future(self._end())

    async def _end(self) -> int:
        self.returncode = int(await self._said.readline())
        self._line.close()
        await self._line.wait_closed()
        return self.returncode

    def kill(self) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)


@cache
def _forker() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The process that forks, and the socket to it; one for each process of a run."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked_workers", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
        )
    return ours, process


async def launch(descriptor: int, environ: Mapping[str, str]) -> Forked:
    """In place of `engine.runtime.worker.process.launch`."""
    ours, theirs = socket.socketpair()
    with theirs:
        request = json.dumps({"environ": dict(environ), "folder": os.getcwd()}).encode()
        passed = array.array("i", [descriptor, 1, 2, theirs.fileno()])
        _forker()[0].sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    said, line = await asyncio.open_unix_connection(sock=ours)
    try:
        return Forked(int(await said.readline()), said, line)
    except BaseException:  # it ends by itself: the caller closes its pipe
        line.close()
        raise


@contextlib.contextmanager
def forked_workers() -> Iterator[None]:
    """For sites with the shipped mappings."""
    with mock.patch.object(workers, "launch", launch):
        yield


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
