"""A laboratory system that orders over MLLP: a real socket, and the segments of its messages by hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

VT, END = b"\x0b", b"\x1c\r"
WITHIN_S = 60.0


class OrderingLis:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, message: bytes) -> None:
        self._writer.write(VT + message + END)
        await self._writer.drain()

    async def hear(self) -> bytes:
        """The next message; empty: the other side has closed the connection."""
        try:
            async with asyncio.timeout(WITHIN_S):
                block = await self._reader.readuntil(END)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        assert block[:1] == VT
        return block[1 : -len(END)]

    async def ask(self, message: bytes) -> bytes:
        await self.send(message)
        return await self.hear()

    async def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def ordering(port: int) -> AsyncIterator[OrderingLis]:
    lis = OrderingLis(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield lis
    finally:
        await lis.close()


def order(
    control_id: str,
    *lines: tuple[str, str, str],
    tube: str = "00042",
    patient: str = "P-17",
    version: str = "2.3.1",
    asks: tuple[str, str] = ("", ""),
    priority: str = "",
) -> bytes:
    """ORM^O01. ``lines``: ORC-1, ORC-2 and the test of each order; ``asks``: MSH-15, MSH-16; ``priority``: OBR-5."""
    segments = [
        f"MSH|^~\\&|HIS|HOSP|LR|LAB|20261124100000||ORM^O01|{control_id}|P|{version}|||{asks[0]}|{asks[1]}",
        f"PID|1||{patient}^^^HOSP^MR||Rao^Meera||19800412|F",
    ]
    for at, (control, placer, test) in enumerate(lines, start=1):
        segments += [f"ORC|{control}|{placer}", f"OBR|{at}|{placer}|{tube}|{test}|{priority}"]
    return "".join(f"{segment}\r" for segment in segments).encode()


def by_tube(kind: str, control_id: str, control: str, placer: str, test: str, tube: str = "00042") -> bytes:
    """OML^O21, OML^O33 or OML^O35 of one order."""
    order_of = [f"ORC|{control}|{placer}", f"OBR|1|{placer}||{test}"]
    specimen = ["SPM|1|S9||SER", f"SAC|||{tube}"]
    body = [*order_of, *specimen] if kind == "O21" else [*specimen, *order_of]
    head = [
        f"MSH|^~\\&|HIS|HOSP|LR|LAB|20261124100000||OML^{kind}^OML_{kind}|{control_id}|P|2.5.1",
        "PID|1||P-17^^^HOSP^MR||Rao^Meera||19800412|F",
    ]
    return "".join(f"{segment}\r" for segment in [*head, *body]).encode()


def segments(message: bytes, name: str) -> list[list[str]]:
    """The fields of each segment of a name, numbered as the standard does; of MSH, too."""
    found = [line.split("|") for line in message.decode().split("\r") if line.startswith(name)]
    return [[fields[0], "|", *fields[1:]] for fields in found] if name == "MSH" else found


def answered(message: bytes) -> list[str]:
    """ORC-1 of each order of an answer."""
    return [orc[1] for orc in segments(message, "ORC")]


def kinds(messages: Sequence[bytes]) -> list[str]:
    """MSA-1 and the type of each message, as ``CA ACK`` or ``AA ORR``."""
    return [f"{segments(one, 'MSA')[0][1]} {segments(one, 'MSH')[0][9].partition('^')[0]}" for one in messages]
