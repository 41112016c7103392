"""Analyzers that ask for the orders of tubes, over ASTM. Run as ``python -m workbench.bench.askers``, controlled
by JSON lines.

Each question has its own time; the answer time runs from the last byte of the question (EOT) to the first of the answer
(ENQ).
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
from workbench.bench.worklist import CODES, tube

ENQ, ACK, EOT = b"\x05", b"\x06", b"\x04"
E1381 = registry.load(registry.SENDERS, "e1381")
ANSWER_WITHIN_S = 30.0


@dataclass(slots=True)
class Outcome:
    """Answer times in seconds; questions without an answer, and with another one than ordered."""

    start: float
    end: float = 0.0
    answer_s: list[float] = field(default_factory=list)
    unanswered: int = 0
    wrong: int = 0


def question(line: int, number: int) -> list[bytes]:
    text = (
        f"H|\\^&|||ASK{line:03d}^1|||||LIS||P|1|{time.time_ns()}\rQ|1|^{tube(number)}||ALL||||||||O\rL|1|N\r".encode()
    )
    return [ENQ, *E1381.frames_of(text)]


async def play(line: int, port: int, tubes: list[int], period_s: float, out: Outcome) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = out.start + random.Random(line).random() * period_s
    try:
        for number in tubes:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += period_s
            for frame in question(line, number):
                writer.write(frame)
                if await reader.readexactly(1) != ACK:
                    raise ConnectionError("a frame was refused")
            writer.write(EOT)
            asked = time.monotonic()
            async with asyncio.timeout(ANSWER_WITHIN_S):
                if await reader.readexactly(1) != ENQ:
                    raise ConnectionError("no ENQ")
                out.answer_s.append(time.monotonic() - asked)
                text = await _answer(reader, writer)
            wanted = "\\".join(f"^^^{code}" for code in CODES.values())
            if f"|{tube(number)}||{wanted}|".encode() not in text:
                out.wrong += 1
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        out.unanswered += 1
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    text = b""
    while True:
        writer.write(ACK)
        if (begin := await reader.readexactly(1)) == EOT:
            return text
        text += begin + await reader.readuntil(b"\n")


async def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """``case``: ports, connections, rate (questions a second of all), count per connection, tubes (how many), seed."""
    out = Outcome(start=time.monotonic() + 0.3)
    connections: int = case["connections"]
    print(json.dumps({"start": out.start}), flush=True)
    work = []
    for line in range(connections):
        rng = random.Random(case["seed"] * 1_000_003 + line)
        mine = range(line, case["tubes"], connections)  # a tube is one analyzer's
        tubes = [rng.choice(mine) for _ in range(case["count"])]
        work.append(play(line, case["ports"][line], tubes, connections / case["rate"], out))
    await asyncio.gather(*work)
    out.end = time.monotonic()
    return asdict(out)


if __name__ == "__main__":
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(event_loop.run(run_case(json.loads(line)))), flush=True)
