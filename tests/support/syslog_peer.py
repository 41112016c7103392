"""A syslog server for tests (RFC 5424 lines over UDP, or TCP and TLS with octet counting)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.certificates import Authority


@dataclass
class Server(asyncio.DatagramProtocol):
    """A syslog server: what came, each datagram or each counted frame by itself."""

    port: int = 0
    lines: list[bytes] = field(default_factory=list)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.lines.append(data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while count := await reader.read(1):
            while (sign := await reader.readexactly(1)) != b" ":
                count += sign
            self.lines.append(await reader.readexactly(int(count)))
            if writer.get_extra_info("ssl_object") is not None:
                break
        writer.close()


@asynccontextmanager
async def udp() -> AsyncIterator[Server]:
    server = Server()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()


@asynccontextmanager
async def tcp(authority: Authority | None = None) -> AsyncIterator[Server]:
    server = Server()
    context = authority.server_context() if authority is not None else None
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
