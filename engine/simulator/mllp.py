"""One message over MLLP, and every answer read: framed, of the right message, one for each block, and in time."""

import asyncio

from engine import registry
from engine.errors import ContentError
from engine.simulator import faults
from engine.simulator.astm import DroppedError, Habits
from engine.simulator.dialogue import Dialogue, readable
from engine.simulator.wires import Wire

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
END = FS + CR
MAX_ANSWER = 1024 * 1024
ACCEPTED = frozenset({"AA", "CA"})
REFUSED = frozenset({"AE", "AR", "CE", "CR"})


class MllpPlayer:
    """Sends messages over one wire, one at a time."""

    def __init__(self, wire: Wire, dialogue: Dialogue, habits: Habits | None = None) -> None:
        self._wire = wire
        self._talk = dialogue
        self._answer_within = (habits or Habits()).block_answer_within
        self._read_ack = registry.load(registry.ACKNOWLEDGEMENTS, "hl7v2").read_ack
        self._buffer = b""

    def transmissions(self, message: bytes) -> int:
        return 1

    async def send(self, message: bytes, plan: faults.Plan) -> bool:
        """Whether the peer accepted the message.

        Raises:
            DroppedError: as planned. OSError: the line broke.
        """
        block = VT + message + END
        self._buffer = b""
        if said := self._wire.unread():
            self._talk.came(said)
            self._talk.violation(f"{readable(said[:40])} although no message waits for an answer")
        if plan.noise:
            self._talk.fault("garbage", f"noise between blocks: {plan.noise.hex(' ')}")
            await self._wire.write([plan.noise])
        if plan.damaged is not None:
            part = block[: plan.rng.randrange(1, max(2, len(block) - 2))]
            self._talk.sent(part)
            self._talk.fault("bad-checksum", "the block breaks off and is begun again")
            await self._wire.write([part])
        if plan.dropped is not None:
            await self._drop(block, plan, plan.dropped[1])
        await self._say(block, plan)
        answers = 1
        if plan.contended:
            self._talk.fault("contention", "the message again, before the answer")
            self._talk.tally.repeated += 1
            await self._say(block, plan)
            answers = 2
        accepted = True
        for _ in range(answers):
            accepted = await self._accepted(message) and accepted
        if accepted and plan.deaf is not None:
            self._talk.fault("lost-ack", "the answer is lost on its way: the message again")
            self._talk.tally.repeated += 1
            await self._say(block, plan)
            accepted = await self._accepted(message)
        if self._buffer:
            self._talk.violation(f"{readable(self._buffer[:40])} behind the answer")
        return accepted

    async def _say(self, block: bytes, plan: faults.Plan) -> None:
        self._talk.sent(block)
        self._talk.tally.frames += 1
        pieces = plan.pieces(block)
        if len(pieces) > 1:
            name = "slow" if plan.slow else "split"
            self._talk.fault(name, f"written in {len(pieces)} pieces")
        await self._wire.write(pieces, plan.pause_s)

    async def _drop(self, block: bytes, plan: faults.Plan, share: float) -> None:
        part = block[: max(1, int(len(block) * share))]
        self._talk.sent(part)
        await self._wire.write([part])
        whole = len(part) == len(block)
        self._talk.fault("drop", f"the line breaks {'before the answer' if whole else 'in the middle of a block'}")
        await (self._wire.drop() if plan.rng.random() < 0.5 else self._wire.hang_up())
        raise DroppedError

    async def _accepted(self, message: bytes) -> bool:
        """Read one answer and judge it."""
        try:
            answer = await self._answer()
        except TimeoutError:
            self._talk.violation(f"no answer within {self._answer_within:g} s")
            return False
        self._talk.came(VT + answer + END)
        try:
            ack = self._read_ack(answer)
        except ContentError:
            self._talk.violation("an answer that is no acknowledgement")
            return False
        wanted = control_id(message)
        if ack.control_id != wanted:
            self._talk.violation(f"an answer to message '{ack.control_id}', where '{wanted}' was sent")
            return False
        if ack.code in REFUSED:
            self._talk.tally.naks += 1
        elif ack.code not in ACCEPTED:
            self._talk.violation(f"'{ack.code}' is no acknowledgment code of table 0008")
        return ack.code in ACCEPTED

    async def _answer(self) -> bytes:
        """The content of the next block. Raises: TimeoutError."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._answer_within
        while END not in self._buffer:
            if len(self._buffer) > MAX_ANSWER:
                raise ConnectionError("an answer without an end")
            self._buffer += await self._wire.read(max(0.0, due - loop.time()))
        answer, _, self._buffer = self._buffer.partition(END)
        before, start, content = answer.partition(VT)
        if before.strip(b"\x00\r\n") or not start:
            self._talk.violation(f"{readable(before[:40])} before the answer's VT")
        return content if start else answer


def control_id(message: bytes) -> str:
    """MSH-10 of a message."""
    fields = message[:4096].split(b"\r", 1)[0].split(message[3:4])
    return fields[9].decode("utf-8", "replace").strip() if len(fields) > 9 else ""
