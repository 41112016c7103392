"""Scrub: read all of the journal soon after a start, and without copies of it once a day, so that bit rot is found
while analyzers still have the lost results.

A start checks the newest rows only, so that it listens at once, and a copy is read back as a whole
(`engine.runtime.upkeep.backup_scheduler`). Without a folder of copies an old page would not be read until it is needed.
The scrub is `labrelay verify` in a low-priority process; its findings are an alarm until the next scrub, or the next
start, finds otherwise. Each start of a journal that is read in minutes begins one. A start of a larger one within a day
of a look that found nothing, or within an hour of one that did not end, waits until then
(`engine.store.integrity.looks`).
The day does not count after a kill or power cut, nor where the start's own check found something.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress

from engine.config.load import Site
from engine.model.errors import StoreError
from engine.model.process.clock import Clock
from engine.runtime.upkeep.low_priority import run_gently
from engine.store.integrity import looks
from engine.store.journal import Journal

logger = logging.getLogger("labrelay.journal")

FIRST_S = 120.0  # after a start
EVERY_S = 24 * 3600.0
AGAIN_S = 3600.0  # after a look that failed, or was cut
AT_EACH_START_BYTES = 1 << 30  # read in minutes
POLL_S = 60.0
MOST = 20  # findings in the alarm; `labrelay verify` lists all
_READ = (0, 6)  # exit codes of `labrelay verify`: no problem, or problems


class Scrub:
    """Scrubs the journal of one running site, day by day."""

    def __init__(
        self,
        journal: Journal,
        site: Callable[[], Site],
        clock: Clock,
        *,
        killed: bool = False,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            site: returns the configuration in force; a reload changes it.
            killed: the process before this one did not stop in order.
            busy: whether large messages take memory; a look waits for their end, `AGAIN_S` at most.
        """
        self._busy = busy
        self._journal = journal
        self._site = site
        self._clock = clock
        self._first = True  # until a look has ended
        every_s = 0.0 if killed or journal.damage else EVERY_S
        with journal.snapshot() as execute:
            periods = {"every_us": round(every_s * 1e6), "again_us": round(AGAIN_S * 1e6)}
            kept_us = looks.wait_us(execute, clock.now_us(), **periods, small_bytes=AT_EACH_START_BYTES)
        self._next = clock.monotonic() + max(FIRST_S, kept_us / 1e6)

    @property
    def is_due(self) -> bool:
        return self._clock.monotonic() >= self._next

    def _may_begin(self) -> bool:
        return self.is_due and (not self._busy() or self._clock.monotonic() >= self._next + AGAIN_S)

    async def run(self) -> None:
        """Run without end."""
        while True:
            await asyncio.sleep(POLL_S)
            if self._may_begin() and (self._first or self._site().config.backup.folder is None):
                self._next = self._clock.monotonic() + AGAIN_S
                await self._verify()

    async def _verify(self) -> None:
        with suppress(StoreError):  # reported elsewhere
            await self._journal.run(looks.begin, self._clock.now_us())
        ended = await run_gently(self._site().folder, "verify", "--output", "json")
        if ended.code not in _READ:
            logger.warning("the journal was not looked through", extra={"detail": ended.words})
            return
        document = json.loads(ended.output)
        found = [finding["text"] for finding in document["findings"]]
        if len(found) > MOST:
            found[MOST:] = [f"and {len(found) - MOST} more: labrelay verify names them"]
        if found:
            logger.error("the journal is damaged", extra={"count": len(document["findings"]), "detail": found[0]})
        else:
            logger.info("the journal was looked through, nothing is wrong", extra={"count": document["rows"]})
        self._journal.looked_through(found)
        self._first, self._next = False, self._clock.monotonic() + EVERY_S
        with suppress(StoreError):
            if found:
                await self._journal.run(looks.end_with_findings)
            else:
                await self._journal.run(looks.end, document["rows"], self._clock.now_us())
