"""A daemon that a test kills and starts again."""

from pathlib import Path

from tests.support import forking


class Daemon:
    """`labrelay run` on the site of this test; each life is forked."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.process: forking.Forked | None = None

    async def start(self) -> None:
        self.process = await forking.live(self.site, self.site / "daemon.log")

    async def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
