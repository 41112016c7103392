"""The process in which trials run: it compiles a mapping and maps a message while the user types, so it must be
possible to end it.

Requests and answers are JSON behind their length (4 bytes, big endian), one at a time. Where an answer takes too long,
the process is ended and another one begins with the next request.
"""

import asyncio
import contextlib
import resource
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import orjson

from engine.devtools.errors import ChildError

MAX_ANSWER_BYTES = 128 * 1024 * 1024
MAX_MEMORY_BYTES = 2 * 1024**3  # of addresses; a trial of a message of the largest size takes a tenth of it
PATIENCE_S = 10.0
_HEAD = struct.Struct(">I")

Json = dict[str, Any]


class Child:
    """Asks the process that ``arguments`` start. One question at a time."""

    def __init__(self, arguments: Sequence[str], *, patience_s: float = PATIENCE_S) -> None:
        self._arguments = tuple(arguments)
        self._patience_s = patience_s
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()

    async def ask(self, request: Json, *, wanted: Callable[[], bool] = lambda: True) -> Json:
        """The answer to a request; ``{"overtaken": true}`` where it is not wanted any more when its turn comes.

        Raises:
            ChildError: there is none.
        """
        async with self._asking:
            if not wanted():
                return {"overtaken": True}
            try:
                return await asyncio.wait_for(self._ask(request), self._patience_s)
            except TimeoutError as error:
                await self._end()
                raise ChildError(f"this took longer than {self._patience_s:g} s and was ended") from error
            except (OSError, asyncio.IncompleteReadError) as error:
                await self._end()
                raise ChildError("this took more memory than it may, or failed, and was ended") from error
            except asyncio.CancelledError:
                await self._end()  # its answer would be taken for that of the next request
                raise

    async def close(self) -> None:
        await self._end()

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._process.pid if self._process is not None else None

    async def _ask(self, request: Json) -> Json:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        data = orjson.dumps(request)
        self._process.stdin.write(_HEAD.pack(len(data)) + data)
        await self._process.stdin.drain()
        (length,) = _HEAD.unpack(await self._process.stdout.readexactly(_HEAD.size))
        if length > MAX_ANSWER_BYTES:
            raise OSError("an answer out of bounds")
        answer: Json = orjson.loads(await self._process.stdout.readexactly(length))
        return answer

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def serve(answer: Callable[[Json], Json], requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more: the other side of `Child`, in its process."""
    while len(head := requests.read(_HEAD.size)) == _HEAD.size:
        (length,) = _HEAD.unpack(head)
        data = orjson.dumps(answer(orjson.loads(requests.read(length))))
        answers.write(_HEAD.pack(len(data)) + data)
        answers.flush()


def limit_memory() -> None:
    """Let this process take so much and no more; where the system has no such limit, it goes without."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


def python(module: str) -> tuple[str, ...]:
    """The arguments that run one of our modules; ``-P`` keeps modules of the current folder out."""
    return (sys.executable, "-P", "-m", module)
