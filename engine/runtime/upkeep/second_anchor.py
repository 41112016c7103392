"""The anchor outside of the data folder, renewed in the background: its disk may be slow, full or gone.

It is at most a second behind, which is harmless: it has to reveal a data folder that was rolled back by hours
(`engine.store.integrity.rollback`).
"""

import asyncio
import contextlib
import logging

from engine.config.load import Site
from engine.model.errors import StoreError
from engine.runtime.upkeep import other_history
from engine.store import journal as journal_ops
from engine.store.core.anchor import Anchor
from engine.store.journal import Journal

logger = logging.getLogger("labrelay.journal")

EVERY_S = 1.0
AT_THE_END_S = 1.0


class SecondAnchor:
    """Renews it for one running site."""

    def __init__(self, journal: Journal, site: Site) -> None:
        """
        Args:
            site: the configuration of the start; a new place takes effect at the next one.
        """
        self._journal = journal
        self._path = other_history.anchor_path(site.config, journal.journal_id)
        self._asked = site.config.anchor is not None
        self._written = -1
        self._lock = asyncio.Lock()
        self.fault = ""

    def alarms(self) -> list[str]:
        """The alarm that it cannot be written, where the site asks for one."""
        if not self._asked or not self.fault:
            return []
        return [f"the second anchor cannot be written ({self.fault}): a data folder that is put back goes unnoticed"]

    async def run(self) -> None:
        """Run without end."""
        while True:
            await self._renew()
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        """Write it once more; a disk that hangs is not waited for."""
        with contextlib.suppress(TimeoutError, StoreError):
            async with asyncio.timeout(AT_THE_END_S):
                await self._renew()

    async def _renew(self) -> None:
        async with self._lock:
            if self._journal.last_id == self._written:
                return
            last_id, chain = await self._journal.run(journal_ops.head)
            try:
                await asyncio.to_thread(self._write, last_id, bytes.fromhex(chain))
            except (OSError, StoreError) as error:
                if not self.fault and self._asked:
                    logger.error("the second anchor cannot be written", extra={"detail": str(error)})
                self.fault = str(error)
            else:
                self._written, self.fault = last_id, ""

    def _write(self, last_id: int, chain: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)  # its own parents exist, or a disk is not mounted
        Anchor(self._path, self._journal.journal_id, last_id, chain, self._journal.vault.anchor_seal).close()
