"""Run calls that may block in threads that can be abandoned."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], undo: Callable[[T], None] = lambda result: None) -> T:
    """Run ``call`` in a thread of its own.

    Not in a pool: a driver that hangs would occupy a place in it permanently, and keep the process from ending. A
    thread costs some 50 us, so this is for rare calls.

    Args:
        undo: reverts the effect of ``call`` if its result is no longer awaited.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def take_back(result: T) -> None:
        threading.Thread(target=undo, args=(result,), daemon=True).start()

    def resolve(result: T) -> None:
        if future.done():  # cancelled
            take_back(result)
        else:
            future.set_result(result)

    def fail(error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        try:
            result = call()
        except Exception as error:
            _call_soon(loop, partial(fail, error))
            return
        if not _call_soon(loop, partial(resolve, result)):
            undo(result)

    threading.Thread(target=run, daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        if not future.cancelled() and future.exception() is None:  # it was done in the same moment
            take_back(future.result())
        raise


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> bool:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # the loop has closed meanwhile
        return False
    return True
