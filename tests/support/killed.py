"""A daemon that a test kills and starts again."""

import asyncio
import sys
from pathlib import Path


class Daemon:
    """`labrelay run` on the site of this test."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self.site / "daemon.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "engine", "--site", str(self.site), "run", stdout=log, stderr=log
            )

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
