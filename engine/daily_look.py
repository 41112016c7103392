"""Where no copies of the journal are made, all of it is read through once a day: bit rot is found while analyzers still
have what was lost.

A start looks at the newest rows only, and a copy is read back as a whole (`engine.backup_keeper`). Without a folder of
copies nobody would read an old page before somebody needs it. It is `labrelay verify` in a process of its own, at the
lowest priority; what it finds is an alarm until the next look, or the next start, finds otherwise.
"""

import asyncio
import contextlib
import json
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable

from engine.clock import Clock
from engine.config import Site
from engine.journal import Journal

logger = logging.getLogger("labrelay." + __name__)

FIRST_S = 3600.0  # after a start
EVERY_S = 24 * 3600.0
LOOK_S = 60.0
MOST = 20  # findings that are told; `labrelay verify` names all
LONGEST_ERROR = 300
_LOOKED = (0, 6)  # exit codes of `labrelay verify`: nothing is wrong, something is


class DailyLook:
    """Has the journal of one running site read through, day by day."""

    def __init__(self, journal: Journal, site: Callable[[], Site], clock: Clock) -> None:
        """
        Args:
            site: the configuration in force; a reload changes it.
        """
        self._journal = journal
        self._site = site
        self._clock = clock
        self._next = clock.monotonic() + FIRST_S

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._clock.monotonic() >= self._next and self._site().config.backup.folder is None:
                self._next = self._clock.monotonic() + EVERY_S  # also where it fails: not again with each restart
                await self._look()

    async def _look(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "engine", "--site", str(self._site().folder),
            "verify", "--gently", "--output", "json",
            stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        try:
            answer, said = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode not in _LOOKED:
            words = said.decode(errors="replace").strip().splitlines() or [f"ended with code {process.returncode}"]
            logger.warning("the journal was not looked through", extra={"detail": words[-1][:LONGEST_ERROR]})
            return
        document = json.loads(answer)
        found = [finding["text"] for finding in document["findings"]]
        if len(found) > MOST:
            found[MOST:] = [f"and {len(found) - MOST} more: labrelay verify names them"]
        if found:
            logger.error("the journal is damaged", extra={"count": len(document["findings"]), "detail": found[0]})
        else:
            logger.info("the journal was looked through, nothing is wrong", extra={"count": document["rows"]})
        self._journal.looked_through(found)
