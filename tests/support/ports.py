"""Ports for servers that come and go within a test."""

import random
import socket

LOWEST, HIGHEST = 15_000, 32_000  # below what the kernel gives to outgoing connections, which might take them meanwhile


def quiet_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody uses, and that nobody is given while their server is away."""
    found: list[int] = []
    chance = random.SystemRandom()  # tests that run beside each other, and those with a seed of their own, draw others
    while len(found) < count:
        port = chance.randrange(LOWEST, HIGHEST)
        if port in found:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
