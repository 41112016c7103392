"""Run a labrelay command as a low-priority subprocess of the daemon."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import NamedTuple

LONGEST_WORDS = 300


class ProcessExit(NamedTuple):
    """The result of the process.

    Attributes:
        code: its exit code.
        output: its standard output.
        words: the last line of its error output, shortened if long; never empty.
    """

    code: int
    output: bytes
    words: str


async def run_gently(site: Path, *arguments: str) -> ProcessExit:
    """Run ``labrelay --site SITE ARGUMENTS --gently``. Wait for it to exit; kill it if the caller is cancelled."""
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
    return ProcessExit(code=code, output=output, words=words[-1][:LONGEST_WORDS])
