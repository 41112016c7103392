"""Waiting in streams and transports: for a future of one reader or writer, and for tasks to end."""

import asyncio
from collections.abc import Collection

Waiter = asyncio.Future[None]


def wake(waiter: Waiter | None) -> None:
    """Wake the waiting task."""
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def expire(waiter: Waiter) -> None:
    """End the wait with `TimeoutError`."""
    if not waiter.done():
        waiter.set_exception(TimeoutError())


async def finish(tasks: Collection["asyncio.Task[None]"], grace_s: float) -> None:
    """Let tasks end by themselves for ``grace_s``; then cancel them."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=1.0)
