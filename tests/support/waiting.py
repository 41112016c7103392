"""Waiting for something to become true, with an end."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Return once ``condition`` holds. The time is far more than anything takes: a busy machine is no fault.

    Raises:
        TimeoutError: it did not within ``within_s`` seconds.
    """
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # whoever makes it true has no event to set
            await asyncio.sleep(0.005)
