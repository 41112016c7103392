"""Analyzers that send text of their own, neither HL7 v2 nor E1394: printers' lines, tagged fields.

Their samples are bytes as they come. Patterns (`shapes.yaml`) find the values to change; everything else stays. A
printer reads no answers, so nothing can be refused, and faults that no checksum shows are not made; a device that waits
for answers sends ENQ, the text, EOT.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from workbench.simulator import faults
from workbench.simulator.astm import ACK, ENQ, EOT, NAK, Speaker
from workbench.simulator.dialogue import Dialogue, readable
from workbench.simulator.panels import AGAIN
from workbench.simulator.people import Reception
from workbench.simulator.wires import Wire

ANSWER_WITHIN_S = 15.0
ATTEMPTS = 6
GS, ETX = "\x1d", "\x03"


@dataclass(frozen=True, slots=True)
class Shape:
    """How one analyzer's text is varied.

    Attributes:
        parts: patterns whose group is replaced; ``number``, ``patient``, ``name``, ``value``, or a format of times.
        answered: it waits for answers, and has a checksum.
    """

    parts: tuple[tuple[re.Pattern[str], str], ...]
    answered: bool = False


def _shape(read: dict[str, Any]) -> Shape:
    parts = tuple((re.compile(part["find"], re.MULTILINE), part["is"]) for part in read["parts"])
    return Shape(parts, answered=read.get("answered", False))


_FILE = Path(__file__).with_name("shapes.yaml")
SHAPES = {name: _shape(read) for name, read in yaml.safe_load(_FILE.read_text(encoding="utf-8")).items()}


def new_text(
    shape: Shape, sample: str, *, reception: Reception | None, at: datetime, rng: random.Random
) -> tuple[str, list[str]]:
    """A text like ``sample``, and the numbers of its specimens. Without ``reception``: the same specimens again."""
    numbers: dict[str, str] = {}
    person = reception.patient() if reception is not None else None

    def replacement(what: str) -> Callable[[re.Match[str]], str]:
        def replace(match: re.Match[str]) -> str:
            old = match[1]
            new = old
            if what == "value":
                whole = float(old.replace(",", "."))
                decimals = len(re.split("[.,]", old)[1]) if re.search("[.,]", old) else 0
                # Near the sample's: flags of values out of range stay true, and calculated values nearly so.
                new = f"{whole * rng.uniform(1 - AGAIN / 4, 1 + AGAIN / 4):.{decimals}f}"
                new = new.replace(".", "," if "," in old else ".").rjust(len(old))
            elif what.startswith("%"):
                new = at.strftime(what)
            elif reception is not None and person is not None:
                if what == "number":
                    new = numbers.setdefault(old, reception.number())
                else:
                    new = person.number if what == "patient" else person.family
            start = match.start(1) - match.start()
            return match[0][:start] + new + match[0][start + len(old) :]

        return replace

    text = sample
    for pattern, what in shape.parts:
        text = pattern.sub(replacement(what), text)
    return (_summed(text) if shape.answered else text), list(numbers.values())


def _summed(text: str) -> str:
    """With the checksum of what it says now: of all bytes between STX and GS, GS included, in small hex digits."""
    body, mark, _ = text[1:].rpartition(GS)
    return f"{text[:1]}{body}{mark}{sum((body + mark).encode('latin-1')) & 0xFF:02x}{ETX}"


class TextPlayer(Speaker):
    """Sends texts over one wire, one at a time."""

    def __init__(self, wire: Wire, dialogue: Dialogue, *, answered: bool) -> None:
        super().__init__(wire, dialogue)
        self._answered = answered

    def transmissions(self, message: bytes) -> int:
        return 1

    async def send(self, message: bytes, plan: faults.Plan) -> bool:
        """Whether the peer has it, as far as can be known: without answers always.

        Raises:
            DroppedError: as planned. OSError: the line broke.
        """
        if said := self._wire.unread():
            self._talk.came(said)
            self._talk.violation(f"{readable(said)} where nothing was asked")
        if plan.noise:
            self._talk.fault("garbage", f"noise before the text: {plan.noise.hex(' ')}")
            await self._wire.write([plan.noise])
        if self._answered and not await self._say(ENQ, plan):
            return False
        if plan.dropped is not None:
            await self._drop(message, plan, plan.dropped[1])
        if not self._answered:
            await self._write(message, plan)
            return True
        taken = await self._text(message, plan)
        await self._write(EOT, plan)
        return taken

    async def _text(self, message: bytes, plan: faults.Plan) -> bool:
        if plan.damaged is not None:
            at = plan.rng.randrange(1, len(message) - 5)
            wrong = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
            self._talk.fault("bad-checksum", "damaged on its way: the peer must answer NAK")
            if await self._say(wrong, plan):
                self._talk.violation("ACK to a text that was damaged: it may hold anything")
                return True
        if plan.deaf is not None and await self._say(message, plan):
            self._talk.fault("lost-ack", "ACK is lost on its way: the text again")
            self._talk.tally.repeated += 1
        for _ in range(ATTEMPTS):
            if await self._say(message, plan):
                return True
        return False

    async def _say(self, data: bytes, plan: faults.Plan) -> bool:
        """Write, and wait for the answer: True for ACK."""
        await self._write(data, plan)
        try:
            answer = await self._wire.read(ANSWER_WITHIN_S)
        except TimeoutError:
            self._talk.violation(f"no answer within {ANSWER_WITHIN_S:g} s")
            return False
        self._talk.came(answer)
        if answer not in (ACK, NAK):
            self._talk.violation(f"{readable(answer)}, where ACK or NAK was due")
        return answer[:1] == ACK

    async def _write(self, data: bytes, plan: faults.Plan) -> None:
        self._talk.tally.frames += len(data) > 1
        await self._put(data, plan)

    async def _drop(self, message: bytes, plan: faults.Plan, share: float) -> None:
        part = message[: max(1, int(len(message) * share))]
        await self._write(part, plan)
        if self._answered and len(part) == len(message):  # as an analyzer does: it waits, and the answer is lost
            try:
                await self._wire.read(ANSWER_WITHIN_S)
            except TimeoutError:
                self._talk.violation(f"no answer within {ANSWER_WITHIN_S:g} s")
        await self._break(plan, "in the middle of a text")
