"""Trials of mappings for the page `/try`: one at a time, each in a process of its own that ends with it.

So a mapping that loops, or a message that takes all memory, costs a trial and not the daemon; and what a person pasted
is gone with the process. Request and answer are JSON behind their length (`HEAD`).
"""

import asyncio
import contextlib
import struct
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

MODULE = "engine.commands.shared.trying"
WITHIN_S = 10.0
MAX_ANSWER_BYTES = 128 * 1024 * 1024
HEAD = struct.Struct(">I")
BUSY = "another trial is running; try again in a few seconds"
ENDED = "this took more memory than it may, or failed, and was ended"


class SiteTrials:
    """Tries mappings as a site's channels would use them."""

    def __init__(self, site: Path, *, within_s: float = WITHIN_S) -> None:
        self._site = site
        self._within_s = within_s
        self._running = False

    async def __call__(self, channel: str, mapping: str, text: str, message: str, charset: str) -> Mapping[str, Any]:
        """As `engine.commands.shared.trying.tried` has it; ``{"trouble": ...}`` where there is nothing."""
        if self._running:
            return {"trouble": BUSY}
        self._running = True
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="labrelay-try-")
        request = {"site": str(self._site), "channel": channel, "scratch": folder.name}
        request |= {"mapping": mapping, "text": text, "message": message, "charset": charset}
        try:
            return await asyncio.wait_for(_answer(orjson.dumps(request)), self._within_s)
        except TimeoutError:
            return {"trouble": f"this took longer than {self._within_s:g} s and was ended"}
        except (OSError, asyncio.IncompleteReadError):
            return {"trouble": ENDED}
        finally:
            await asyncio.to_thread(folder.cleanup)
            self._running = False


async def _answer(request: bytes) -> Mapping[str, Any]:
    """What a new process answers; it is ended however this ends. ``-P`` keeps modules of the current folder out."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", MODULE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(HEAD.pack(len(request)) + request)
        await process.stdin.drain()
        (length,) = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
        if length > MAX_ANSWER_BYTES:
            raise OSError("an answer out of bounds")
        answer: Mapping[str, Any] = orjson.loads(await process.stdout.readexactly(length))
        return answer
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
