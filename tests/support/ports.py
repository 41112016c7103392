"""Ports for servers that come and go within a test."""

import fcntl
import os
import random
import socket
import tempfile
from collections import deque
from functools import cache
from pathlib import Path

LOWEST, HIGHEST = 15_000, 32_000  # below what the kernel gives to outgoing connections, which might take them meanwhile
BLOCK = 800  # ports of one process
_RECENT: deque[int] = deque(maxlen=BLOCK // 2)  # a server that is to listen there may not have begun


def quiet_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that are free, and that no other process of tests draws while their server is away: what a
    client of such a test sends there would reach the wrong server."""
    found: list[int] = []
    block = _own_block()
    chance = random.SystemRandom()  # tests with a seed of their own draw others, too
    while len(found) < count:
        port = chance.choice(block)
        if port in _RECENT:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        _RECENT.append(port)
    return found


@cache
def _own_block() -> range:
    """The ports of this process, as long as it lives; all of them where more processes draw than there are blocks."""
    folder = Path(tempfile.gettempdir()) / f"labrelay-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    starts = list(range(LOWEST, HIGHEST - BLOCK + 1, BLOCK))
    random.SystemRandom().shuffle(starts)
    for start in starts:
        held = os.open(folder / str(start), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            continue
        return range(start, start + BLOCK)  # the lock ends with the process
    return range(LOWEST, HIGHEST)
