"""A verb of ours beside a running daemon: in a process of its own, at the lowest priority."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import NamedTuple

LONGEST_WORDS = 300


class Ended(NamedTuple):
    """How the process ended.

    Attributes:
        code: its exit code.
        output: what it printed.
        words: the last line that it said beside that, cut where it is long; never empty.
    """

    code: int
    output: bytes
    words: str


async def run_gently(site: Path, *arguments: str) -> Ended:
    """Run ``labrelay --site SITE ARGUMENTS --gently`` until it ends; whoever is cancelled ends it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "engine", "--site", str(site), *arguments, "--gently",
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    try:
        output, said = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    code = process.returncode or 0
    words = said.decode(errors="replace").strip().splitlines() or [f"ended with code {code}"]
    return Ended(code=code, output=output, words=words[-1][:LONGEST_WORDS])
