"""Waiting for something to become true, with an end."""

import asyncio
import time
from collections.abc import Callable

# How long a test waits before it fails: far more than anything takes where two cores have the load of fifteen. A start
# of Python alone takes ten seconds there.
WITHIN_S = 240.0
EVERY_S, RARELY_S = 0.005, 0.25


async def until(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Return once ``condition`` holds. A look that costs much is taken rarely: it leaves the processor to what works.

    Raises:
        TimeoutError: it did not within ``within_s`` seconds.
    """
    async with asyncio.timeout(within_s):
        began = time.thread_time()
        while not condition():
            cost_s = time.thread_time() - began
            await asyncio.sleep(min(max(EVERY_S, 4 * cost_s), RARELY_S))
            began = time.thread_time()
