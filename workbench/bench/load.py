"""The load: analyzers that send and wait for their answers. Run as ``python -m workbench.bench.load``, controlled
by JSON lines.

Closed loop (``rate`` 0): each connection sends its next message when the last was answered; that gives the highest
rate, but its answer times are only connections / rate. For latency the load is *offered*: ``rate`` messages a second
over all connections, each at its own time, and the answer time runs from when it was due.
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.config import registry
from engine.runtime import event_loop
from workbench.bench.messages import astm, oru

CONNECT_WITHIN_S = 30.0
VT, END = b"\x0b", b"\x1c\r"
ENQ, ACK, EOT = b"\x05", b"\x06", b"\x04"
E1381 = registry.load(registry.SENDERS, "e1381")


@dataclass(slots=True)
class Outcome:
    """The result of one case: (connection, number) acknowledged with the time they were sent, and answer times in
    seconds."""

    start: float
    end: float = 0.0
    acked: list[tuple[int, int, float]] = field(default_factory=list)
    answer_s: list[float] = field(default_factory=list)
    refused: int = 0


def mllp_frames(line: int, number: int, rng: random.Random, *, results: int = 20) -> list[bytes]:
    return [VT + oru(line, number, rng, results=results) + END]


def astm_frames(line: int, number: int, rng: random.Random) -> list[bytes]:
    return [ENQ, *E1381.frames_of(b"".join(astm(line, number, rng))), EOT]


async def play(
    line: int,
    port: int,
    protocol: str,
    messages: list[tuple[int, list[bytes]]],
    period_s: float,
    out: Outcome,
) -> None:
    """Send ``messages`` over one connection; ``period_s`` 0 is a closed loop."""
    reader, writer = await _connected(port)
    await _until(out.start)
    due = out.start + (random.Random(line).random() * period_s)
    try:
        for number, frames in messages:
            if period_s:
                await _until(due)
                began, due = due, due + period_s
            else:
                began = time.monotonic()
            if protocol == "mllp":
                writer.write(frames[0])
                answer = await reader.readuntil(END)
                good = b"|AA|" in answer or b"|CA|" in answer
            else:
                good = True
                for frame in frames[:-1]:
                    writer.write(frame)
                    good = good and await reader.readexactly(1) == ACK
                writer.write(frames[-1])
            now = time.monotonic()
            if good:
                out.acked.append((line, number, began))
                out.answer_s.append(now - began)
            else:
                out.refused += 1
    except (OSError, asyncio.IncompleteReadError):
        out.refused += 1
    finally:
        writer.close()


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, as an analyzer does: on a busy machine some listeners of a daemon open later than the first one."""
    deadline = time.monotonic() + CONNECT_WITHIN_S
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def _until(at: float) -> None:
    wait = at - time.monotonic()
    if wait > 0:
        await asyncio.sleep(wait)


async def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """``case``: ports, protocol(s), connections, first (number), count per connection, rate, seed.

    Connections beyond the number of ports share channels. Each has ids and numbers of its own: the same order number
    with another patient would be a conflict of identity.
    """
    connections: int = case["connections"]
    numbers = range(case["first"], case["first"] + case["count"])
    work: list[tuple[int, int, str, list[tuple[int, list[bytes]]]]] = []
    for line in range(connections):
        port, protocol = case["ports"][line % len(case["ports"])]
        rng = random.Random(case["seed"] * 1_000_003 + line)
        make = mllp_frames if protocol == "mllp" else astm_frames
        work.append((line, port, protocol, [(number, make(line, number, rng)) for number in numbers]))
    out = Outcome(start=time.monotonic() + 0.3)
    period_s = connections / case["rate"] if case.get("rate") else 0.0
    print(json.dumps({"start": out.start}), flush=True)
    await asyncio.gather(*(play(*one, period_s, out) for one in work))
    out.end = time.monotonic()
    return asdict(out)


if __name__ == "__main__":
    print(json.dumps({"ready": True}), flush=True)
    for told in sys.stdin:
        print(json.dumps(event_loop.run(run_case(json.loads(told)))), flush=True)
