"""Two network namespaces with a cable between them that can be cut without a word: no FIN, no RST, no ICMP.

Only for root on Linux with iproute2. Nothing leaves the machine: the addresses are those of RFC 5737, and the cable
has no other end. A direction is cut by giving the other end a hardware address that nobody has.
"""

import asyncio
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000
NOBODY = "02:00:00:00:00:99"

T = TypeVar("T")


def why_not() -> str:
    """Why this machine cannot do it; empty where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "the kernel makes no network namespaces here"


@dataclass(frozen=True)
class Side:
    """One end of the cable."""

    name: str
    address: str
    device: str

    def run(self, make: Callable[[], T]) -> T:
        """Call ``make`` in a thread inside the namespace; sockets and threads made there stay there."""
        found: list[T] = []
        failed: list[BaseException] = []

        def inside() -> None:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                with Path(f"/run/netns/{self.name}").open("rb") as namespace:
                    if libc.setns(namespace.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                found.append(make())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    def run_loop(self, main: Callable[[], Awaitable[T]]) -> T:
        """The same for a coroutine, in an event loop of its own."""

        async def whole() -> T:
            return await main()

        return self.run(lambda: asyncio.run(whole()))


@dataclass(frozen=True)
class Cable:
    """What one end sends arrives at the other, until it is cut."""

    near: Side
    far: Side

    def cut(self, sender: Side, receiver: Side) -> None:
        """From now on nothing that ``sender`` sends arrives."""
        _ip(f"-n {sender.name} neigh replace {receiver.address} lladdr {NOBODY} nud permanent dev {sender.device}")


@contextmanager
def cable() -> Iterator[Cable]:
    names = [f"lr{os.getpid()}{end}" for end in "ab"]
    near, far = (Side(name, f"192.0.2.{n}", f"v{name}") for n, name in enumerate(names, 1))
    try:
        for side in (near, far):
            _ip(f"netns add {side.name}")
        _ip(f"link add {near.device} netns {near.name} type veth peer name {far.device} netns {far.name}")
        for side in (near, far):
            _ip(f"-n {side.name} address add {side.address}/24 dev {side.device}")
            for device in ("lo", side.device):
                _ip(f"-n {side.name} link set {device} up")
        yield Cable(near, far)
    finally:
        for side in (near, far):
            subprocess.run(["ip", "netns", "del", side.name], capture_output=True, check=False)


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, text=True)
