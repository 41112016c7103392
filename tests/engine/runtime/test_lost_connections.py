"""Senders that leave without their answer: the daemon remembers their messages, and not all else that they sent."""

import asyncio
import gc
import random
import socket
import struct
from pathlib import Path

from adapters.transports.sockets.tcp_stream import TcpStream
from tests.support.running import hl7_channel, running_site
from tests.support.waiting import until
from workbench.bench.messages import oru

SENDERS = 20
AT_ONCE = struct.pack("ii", 1, 0)  # a reset, in place of the end of what was sent


def streams() -> list[TcpStream]:
    return [one for one in gc.get_objects() if type(one) is TcpStream]


async def test_what_a_sender_sent_goes_with_its_connection(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"c": hl7_channel()}) as site:
        before = len(streams())
        for number in range(SENDERS):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port("c"))
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.write(b"\x0b" + oru(0, number, random.Random(number)) + b"\x1c\r" + b"x" * 100_000)
            await until(lambda number=number: len(site.messages("c")) > number)
            writer.transport.abort()
        await until(lambda: len(streams()) <= before)
