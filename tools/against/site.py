"""A site that gets one message at a time: each has arrived and is settled before the next is sent."""

import random
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.bench.cases import Bench
from workbench.bench.load import ACK, END, astm_frames, mllp_frames
from workbench.bench.messages import astm, oru
from workbench.bench.processes import Program, free_ports

ARRIVES_WITHIN_S = 60.0
LOOKS_EVERY_S = 0.002
SETTLES_WITHIN_S = 0.02  # once the sink has a message: the daemon reads the answer and notes that it is delivered


@dataclass(frozen=True, slots=True)
class Kind:
    """Messages of one kind, each of which differs. The channel of a kind is that of its place in `KINDS`."""

    name: str
    protocol: str
    mapping: str
    results: int

    def payload(self, line: int, number: int, rng: random.Random) -> bytes:
        if self.protocol == "astm":
            return b"".join(astm(line, number, rng))
        return oru(line, number, rng, results=self.results)

    def frames(self, line: int, number: int, rng: random.Random) -> list[bytes]:
        """What goes over the line, one by one."""
        if self.protocol == "astm":
            return astm_frames(line, number, rng)
        return mllp_frames(line, number, rng, results=self.results)


KINDS = (
    Kind("ORU 20", "mllp", "hl7-results", 20),
    Kind("ORU 1", "mllp", "hl7-results", 1),
    Kind("ASTM 20", "astm", "astm-results", 20),
)


class SerialBench(Bench):
    """A daemon with a channel for each of `KINDS`."""

    def __init__(self, folder: Path, program: Program, probe: str, wrapper: Sequence[str] = ()) -> None:
        web, *self._ports = free_ports(len(KINDS) + 1)
        sources = [
            (f'kind: {kind.protocol}, listen: "127.0.0.1:{port}"', kind.mapping)
            for kind, port in zip(KINDS, self._ports, strict=True)
        ]
        super().__init__(
            folder, None, sources, web=web, port=self._ports[-1], program=program, probe=probe, wrapper=wrapper
        )
        self._lines: list[socket.socket] = []
        self._sent = 0

    def send(self, kind: Kind, count: int) -> None:
        """So many messages, one after the other.

        Raises:
            RuntimeError: one is refused, or does not arrive.
        """
        line = KINDS.index(kind)
        rng = random.Random(f"{kind.name} {self._sent}")
        with socket.create_connection(("127.0.0.1", self._ports[line]), timeout=ARRIVES_WITHIN_S) as connection:
            for _ in range(count):
                self._sent += 1
                _exchange(connection, kind.frames(line, self._sent, rng))
                self._await_arrival()

    def _await_arrival(self) -> None:
        deadline = time.monotonic() + ARRIVES_WITHIN_S
        while not self.sink.ask(f"count {self._sent}")["count"]:
            if time.monotonic() > deadline:
                raise RuntimeError("a message did not arrive: see daemon.log of the bench's site")
            time.sleep(LOOKS_EVERY_S)
        time.sleep(SETTLES_WITHIN_S)


@contextmanager
def serial_bench(folder: Path, program: Program, probe: str, wrapper: Sequence[str] = ()) -> Iterator[Any]:
    bench = SerialBench(folder, program, probe, wrapper)
    try:
        yield bench
    finally:
        bench.close()


def _exchange(connection: socket.socket, frames: list[bytes]) -> None:
    if len(frames) == 1:
        connection.sendall(frames[0])
        answer = b""
        while not answer.endswith(END):
            answer += _received(connection, 4096)
        if b"|AA|" not in answer:
            raise RuntimeError("the daemon refused a message")
        return
    for frame in frames[:-1]:
        connection.sendall(frame)
        if _received(connection, 1) != ACK:
            raise RuntimeError("the daemon refused a frame")
    connection.sendall(frames[-1])


def _received(connection: socket.socket, most: int) -> bytes:
    if not (received := connection.recv(most)):
        raise RuntimeError("the daemon closed the connection")
    return received
