"""A FHIR server that only counts: answers every transaction Bundle with as many 201 as it has entries.

A bare HTTP/1.1 parser on a Protocol, so that the sink costs little of the two cores that daemon and load share. It
notes control id, delivery key and time of every document and writes them on request: the parent checks that
nothing was lost, came twice under another key, or out of order. Run as ``python -m workbench.bench.sink``.
"""

import asyncio
import json
import re
import sys
import time
from functools import cache
from typing import cast

from engine.runtime import event_loop

CONTROL_ID = re.compile(rb"B(\d{3})-(\d{8})")
KEY_HEADER = re.compile(rb"\r\n(?:Idempotency-Key|X-Request-Id): ([^\r\n]+)", re.IGNORECASE)
LENGTH_HEADER = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ENTRY = b'{"response":{"status":"201 Created"}}'


class Sink:
    """The received messages, and the delay of each answer."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.seen: list[tuple[int, int, str, float]] = []

    def count(self, *, first: int) -> int:
        """The messages from the number ``first`` on; one that came twice is one."""
        return len({(line, number) for line, number, _, _ in self.seen if number >= first})


@cache
def answer(entries: int) -> bytes:
    """To a transaction of so many entries."""
    listed = b",".join([ENTRY] * entries)
    body = b'{"resourceType":"Bundle","type":"transaction-response","entry":[' + listed + b"]}"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


class SinkConnection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while True:
            head = buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            length = LENGTH_HEADER.search(buffer, 0, head + 2)
            total = head + 4 + (int(length.group(1)) if length else 0)
            if len(buffer) < total:
                return
            request = bytes(buffer[:total])
            del buffer[:total]
            self._take(request, head)

    def _take(self, request: bytes, head: int) -> None:
        sink = self._sink
        entries = request.count(b'"fullUrl":')
        control = CONTROL_ID.search(request, head)
        key = KEY_HEADER.search(request, 0, head + 2)
        if control is not None:
            sink.seen.append(
                (int(control.group(1)), int(control.group(2)), key.group(1).decode() if key else "", time.monotonic())
            )
        if sink.delay_s:
            asyncio.get_running_loop().call_later(sink.delay_s, self._write, answer(entries))
        else:
            self._write(answer(entries))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


async def serve() -> None:
    """Serve until standard input says ``stop``; a line ``count N`` prints how many messages came, from number N."""
    loop = asyncio.get_running_loop()
    sink = Sink()
    server = await loop.create_server(lambda: SinkConnection(sink), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).strip():
        if line.startswith(b"count "):
            print(json.dumps({"count": sink.count(first=int(line[6:]))}), flush=True)
        elif line == b"take":
            seen, sink.seen = sink.seen, []
            print(json.dumps({"seen": seen}), flush=True)
        elif line.startswith(b"delay "):
            sink.delay_s = float(line[6:])
            print(json.dumps({"delay": sink.delay_s}), flush=True)
        else:
            break
    server.close()


if __name__ == "__main__":
    event_loop.run(serve())
