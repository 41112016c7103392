"""The result of an append, for the connection that waits for it; a durable message goes on whether it waits or not."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from engine.receiving.link_monitor import LinkMonitor

T = TypeVar("T")


def append_result(
    future: "asyncio.Future[T]", monitor: LinkMonitor, hand_on: Callable[[T], None]
) -> "asyncio.Future[BaseException | None]":
    """None, or the error.

    ``hand_on`` is a callback of the journal's own future: a durable message is processed in journal order, also
    after the connection is gone. For the same reason the wait uses a future of its own: cancelling a wait cancels
    its future.
    """
    waiter: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def resolved(done: "asyncio.Future[T]") -> None:
        error = done.exception()
        if not waiter.done():
            waiter.set_result(error)  # first, so that the answer is sent before the message is processed
        if error is None:
            if monitor.counts.store_fault is not None:
                monitor.stores_again()
            hand_on(done.result())

    future.add_done_callback(resolved)
    return waiter
