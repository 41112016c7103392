"""Calls in threads: what comes too late is taken back, and nothing that hangs keeps anybody waiting."""

import asyncio
import contextlib
import threading

import pytest

from adapters.transports.serial_lines.serial_device import in_thread
from tests.support.waiting import until


async def test_a_call_gives_its_result_or_its_error() -> None:
    assert await in_thread(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_what_nobody_waits_for_any_more_is_taken_back() -> None:
    go, undone = threading.Event(), []
    waiting = asyncio.create_task(in_thread(lambda: go.wait(5.0), undo=undone.append))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    await until(lambda: undone == [True])


async def test_no_result_is_lost_whenever_the_cancelling_comes() -> None:
    """Also in the moment in which the result is there and its task has not run on."""
    tries, undone, taken = 300, [], []
    for number in range(tries):
        waiting = asyncio.create_task(in_thread(lambda: "port", undo=undone.append))
        for _ in range(1 + number % 20):
            await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            taken.append(await waiting)
    await until(lambda: len(undone) + len(taken) == tries)
