"""Trials of mappings for the page of a running site: one at a time, each in a process of its own that ends with it.

So a mapping that loops, or a message that takes all memory, costs a trial and not the daemon; and what a person pasted
is gone with the process.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODULE = "engine.commands.shared.trying"
WITHIN_S = 10.0
BUSY = "another trial is running; try again in a few seconds"


class SiteTrials:
    """Tries mappings as a site's channels would use them."""

    def __init__(self, site: Path, *, within_s: float = WITHIN_S) -> None:
        self._site = site
        self._within_s = within_s
        self._running = False

    async def __call__(
        self, channel: str, mapping: str, texts: Mapping[str, str], message: str, charset: str
    ) -> Mapping[str, Any]:
        """As `engine.devtools.playground.trial.Bench.run` has it; ``{"trouble": ...}`` where there is nothing."""
        from engine.devtools.errors import ChildError
        from engine.devtools.playground.child import Child, python

        if self._running:
            return {"trouble": BUSY}
        self._running = True
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="labrelay-try-")
        child = Child(python(MODULE), patience_s=self._within_s)
        try:
            setting = {"site": str(self._site), "channel": channel}
            trial = {"mapping": mapping, "texts": dict(texts), "message": message, "charset": charset}
            return await child.ask({"setting": setting, "scratch": folder.name, **trial})
        except ChildError as error:
            return {"trouble": str(error)}
        finally:
            await child.close()
            await asyncio.to_thread(folder.cleanup)
            self._running = False
