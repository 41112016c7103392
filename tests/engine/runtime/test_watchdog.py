"""Notifications to a service manager, received on a real datagram socket."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime.watchdog import Notifier, watch


class Manager:
    """Stands in for systemd: a bound NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": address}

    def said(self) -> str:
        return self.socket.recv(4096).decode()

    def forget(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.said()

    async def hears(self) -> str:
        return (await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 4096), 240.0)).decode()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def test_states_are_said_as_systemd_expects_them(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    notifier.ready("in order\nsecond line")
    assert manager.said() == "READY=1\nSTATUS=in order second line"
    notifier.reloading()
    first, second = manager.said().split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.alive()
    assert manager.said() == "WATCHDOG=1"
    notifier.stopping()
    assert manager.said() == "STOPPING=1"


def test_abstract_sockets_are_reached() -> None:
    manager = Manager(f"@labrelay-test-{os.getpid()}")
    with manager.socket:
        Notifier(manager.environ).ready()
        assert manager.said() == "READY=1"


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier({})
    assert notifier._address is None
    notifier.ready()
    notifier.alive("x")


def test_a_manager_that_went_away_does_not_hurt(manager: Manager, tmp_path: Path) -> None:
    notifier = Notifier(manager.environ)
    manager.socket.close()
    (tmp_path / "notify").unlink()
    notifier.alive()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_interval_is_the_one_asked_of_this_process(environ: dict[str, str], expected: float | None) -> None:
    assert Notifier(environ).watchdog_s == expected


async def test_the_watchdog_is_fed_only_while_nobody_is_stale(manager: Manager) -> None:
    stale: list[str] = []
    rounds: asyncio.Queue[None] = asyncio.Queue()

    def who() -> list[str]:
        rounds.put_nowait(None)
        return stale

    async def two_rounds() -> None:
        """From a moment after this call on, at least one whole round has passed."""
        while not rounds.empty():
            rounds.get_nowait()
        await rounds.get()
        await rounds.get()

    async def said() -> str:
        return "in order"

    task = asyncio.create_task(watch(Notifier(manager.environ | {"WATCHDOG_USEC": "2000"}), who, said))
    try:
        assert await manager.hears() == "WATCHDOG=1\nSTATUS=in order"
        assert await manager.hears() == "WATCHDOG=1\nSTATUS=in order"
        stale.append("lane chemistry")
        await asyncio.wait_for(two_rounds(), 240.0)
        manager.forget()
        await asyncio.wait_for(two_rounds(), 240.0)
        with pytest.raises(BlockingIOError):
            manager.said()
        stale.clear()
        assert await manager.hears() == "WATCHDOG=1\nSTATUS=in order"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
