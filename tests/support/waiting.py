"""Waiting for something to become true, with an end."""

import asyncio
from collections.abc import Callable

# How long a test waits before it fails: far more than anything takes where two cores have the load of fifteen. A start
# of Python alone takes ten seconds there.
WITHIN_S = 240.0


async def until(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Return once ``condition`` holds.

    Raises:
        TimeoutError: it did not within ``within_s`` seconds.
    """
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # the condition has no event to wait for
            await asyncio.sleep(0.005)
