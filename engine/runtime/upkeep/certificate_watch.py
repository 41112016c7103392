"""Notice certificates of ours that have ended, or soon will: then peers refuse to talk to us, all at once."""

import asyncio
from collections.abc import Callable, Iterator

from engine.config.findings.tls_files import certificate_files
from engine.config.load import Site
from engine.diagnostics import examine
from engine.model.process.clock import Clock
from engine.model.site.health import Health, Line
from engine.model.texts.phrases import Said

EVERY_S = 60.0


class CertificateWatch:
    """Watches the certificate files of one running site."""

    def __init__(self, site: Callable[[], Site], clock: Clock) -> None:
        """
        Args:
            site: returns the configuration in force; a reload changes it.
        """
        self._site = site
        self._clock = clock
        self._found: list[Line] = []

    def alarms(self) -> Iterator[str]:
        """Those that have ended, or cannot be read."""
        return self._said(Health.FAIL)

    def notes(self) -> Iterator[str]:
        """Those that end soon."""
        return self._said(Health.WARN)

    def _said(self, health: Health) -> Iterator[str]:
        return (
            Said("the certificate {what}: {advice}", what=line.text, advice=line.advice)
            for line in self._found
            if line.health is health
        )

    async def run(self) -> None:
        """Run without end."""
        while True:
            self._found = await asyncio.to_thread(self._look)
            await asyncio.sleep(EVERY_S)

    def _look(self) -> list[Line]:
        now = self._clock.now()
        return [examine.certificate(one.cert, one.owner, now) for one in certificate_files(self._site())]
