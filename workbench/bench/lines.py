"""Simulated analyzers on pseudo-terminals, at the pace of a serial line. Run as ``python -m
workbench.bench.lines``.

Controlled by JSON lines: the answer to ``{"lines": 32}`` is their devices. With ``{"seconds": 10, "first": 1}`` each
sends message after message for that time, numbered from ``first``; the answers are a line at the beginning, and then
the acknowledged messages.
"""

import asyncio
import json
import os
import random
import sys
import time
import tty
from typing import Any

from workbench.bench.messages import astm
from workbench.simulator.astm import AstmPlayer
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.faults import plan_of
from workbench.simulator.wires import Serial, SerialLine

BAUD = 9600


class Lines:
    """So many pseudo-terminals; the ends that the daemon opens stay open here too, so that none ever hangs up."""

    def __init__(self, count: int) -> None:
        self._pairs = [os.openpty() for _ in range(count)]
        for ours, theirs in self._pairs:
            tty.setraw(ours)
            tty.setraw(theirs)
        self.devices = [os.ttyname(theirs) for _, theirs in self._pairs]

    async def play(self, seconds: float, first: int) -> dict[str, Any]:
        start = time.monotonic()
        print(json.dumps({"start": start}), flush=True)
        dialogue = Dialogue()
        acked: list[tuple[int, int, float]] = []
        await asyncio.gather(
            *(
                self._play_one(channel, ours, start + seconds, first, dialogue, acked)
                for channel, (ours, _) in enumerate(self._pairs)
            )
        )
        tally = dialogue.tally
        return {
            "acked": acked,
            "start": start,
            "end": time.monotonic(),
            "bytes": tally.bytes,
            "violations": tally.violations,
        }

    async def _play_one(
        self,
        channel: int,
        ours: int,
        until: float,
        number: int,
        dialogue: Dialogue,
        acked: list[tuple[int, int, float]],
    ) -> None:
        """Each begins at a moment of its own, as analyzers do."""
        rng = random.Random(channel)
        wire = SerialLine(ours, Serial(baud=BAUD))
        await wire.open()
        player = AstmPlayer(wire, dialogue)
        calm = plan_of(frozenset(), seed=0, session=0, transmissions=1)
        await asyncio.sleep(rng.random())
        while time.monotonic() < until:
            began = time.monotonic()
            if await player.send(b"".join(astm(channel, number, rng)), calm):
                acked.append((channel, number, began))
            number += 1
        await wire.close()


def main() -> None:
    lines: Lines | None = None
    for line in sys.stdin:
        told = json.loads(line)
        if lines is None:
            lines = Lines(told["lines"])
            print(json.dumps({"devices": lines.devices}), flush=True)
        else:
            print(json.dumps(asyncio.run(lines.play(told["seconds"], told["first"]))), flush=True)


if __name__ == "__main__":
    main()
