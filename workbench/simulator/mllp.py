"""One message over MLLP, and every answer read: framed, of the right message, one for each block, and in time.

In enhanced mode (HL7 v2 chapter 2, 2.9.3) a commit answer CA says that the message is kept; the application's result is
a second answer, AA, AE or AR. MSH-16 asks for it. Receivers send it unasked, too, so the first CA of a connection is
given `UNASKED_S` for it, and what this has shown holds for the connection.
"""

import asyncio

from engine.config import registry
from engine.model.errors import ContentError
from workbench.simulator import faults
from workbench.simulator.astm import Habits, Speaker
from workbench.simulator.dialogue import Dialogue, readable
from workbench.simulator.wires import Wire

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
END = FS + CR
MAX_ANSWER = 1024 * 1024
ACCEPTED = frozenset({"AA", "CA"})
REFUSED = frozenset({"AE", "AR", "CE", "CR"})
COMMIT = "CA"
OF_APPLICATION = frozenset({"AA", "AE", "AR"})
ASKS = frozenset({"AL", "ER", "SU"})  # table 0155, but for NE
UNASKED_S = 1.0


class MllpPlayer(Speaker):
    """Sends messages over one wire, one at a time."""

    def __init__(self, wire: Wire, dialogue: Dialogue, habits: Habits | None = None) -> None:
        super().__init__(wire, dialogue)
        self._answer_within = (habits or Habits()).block_answer_within
        self._read_ack = registry.load(registry.ACKNOWLEDGEMENTS, "hl7v2").read_ack
        self._buffer = b""
        self._committed: set[str] = set()  # messages whose application has not answered
        self._answers_twice: bool | None = None  # None: no CA has come yet

    def transmissions(self, message: bytes) -> int:
        return 1

    async def send(self, message: bytes, plan: faults.Plan) -> bool:
        """Whether the peer accepted the message.

        Raises:
            DroppedError: as planned. OSError: the line broke.
        """
        block = VT + message + END
        self._buffer = b""
        if said := self._take_late(self._wire.unread()):
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
        self._buffer = self._take_late(self._buffer)
        if self._buffer:
            self._talk.violation(f"{readable(self._buffer[:40])} behind the answer")
        return accepted

    async def _say(self, block: bytes, plan: faults.Plan) -> None:
        self._talk.tally.frames += 1
        await self._put(block, plan)

    async def _drop(self, block: bytes, plan: faults.Plan, share: float) -> None:
        part = block[: max(1, int(len(block) * share))]
        self._talk.sent(part)
        await self._wire.write([part])
        await self._break(plan, "before the answer" if len(part) == len(block) else "in the middle of a block")

    async def _accepted(self, message: bytes) -> bool:
        """Read and check one answer; after a commit answer that of the application, too."""
        try:
            code = await self._code(message, self._answer_within)
        except TimeoutError:
            self._talk.violation(f"no answer within {self._answer_within:g} s")
            return False
        if code != COMMIT:
            return code in ACCEPTED
        return await self._applied(message)

    async def _applied(self, message: bytes) -> bool:
        """Whether the application took a message that was committed, as far as it says."""
        asked = field(message, 16) if field(message, 16) in ASKS else ""
        within = self._answer_within if asked or self._answers_twice else UNASKED_S
        if not asked and self._answers_twice is False:
            within = 0.0
        self._committed.add(control_id(message))
        try:
            code = await self._code(message, within)
        except TimeoutError:
            if not asked:
                self._answers_twice = bool(self._answers_twice)
            elif asked == "AL":
                self._talk.violation(f"CA, and no answer of the application within {within:g} s, which MSH-16 asks for")
            return asked in ("", "ER")  # ER asks for refusals alone, SU for success alone
        except ConnectionError:
            if asked:
                raise
            return True  # committed; the next bytes that are sent find the line broken
        if not asked:
            self._answers_twice = True
        self._committed.discard(control_id(message))
        return code in ACCEPTED

    async def _code(self, message: bytes, within_s: float) -> str:
        """The code of the next answer to ``message``; empty where it is no answer. Raises: TimeoutError."""
        wanted = control_id(message)
        while True:
            answer = await self._answer(within_s)
            self._talk.came(VT + answer + END)
            try:
                ack = self._read_ack(answer)
            except ContentError:
                self._talk.violation("an answer that is no acknowledgement")
                return ""
            if ack.control_id != wanted and self._is_late(ack.control_id, ack.code):
                continue
            if ack.control_id != wanted:
                self._talk.violation(f"an answer to message '{ack.control_id}', where '{wanted}' was sent")
                return ""
            if ack.code in REFUSED:
                self._talk.tally.naks += 1
            elif ack.code not in ACCEPTED:
                self._talk.violation(f"'{ack.code}' is no acknowledgment code of table 0008")
            return str(ack.code)

    def _is_late(self, identity: str, code: str) -> bool:
        """Whether this is what the application says of an earlier message, which was committed and taken for sent."""
        if identity not in self._committed or code not in OF_APPLICATION:
            return False
        self._committed.discard(identity)
        if code in REFUSED:
            self._talk.tally.naks += 1
            self._talk.violation(f"{code} to message '{identity}' after the answer to it was waited for: it is refused")
        return True

    def _take_late(self, said: bytes) -> bytes:
        """Remove late answers of the application from bytes that came unasked; return the rest."""
        left = b""
        while END in said:
            block, _, said = said.partition(END)
            try:
                ack = self._read_ack(block.partition(VT)[2])
                late = self._is_late(ack.control_id, ack.code)
            except ContentError:
                late = False
            if late:
                self._talk.came(block + END)
            else:
                left += block + END
        return left + said

    async def _answer(self, within_s: float) -> bytes:
        """The content of the next block. Raises: TimeoutError."""
        loop = asyncio.get_running_loop()
        due = loop.time() + within_s
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
    return field(message, 10)


def field(message: bytes, number: int) -> str:
    """A field of a message's MSH by its number, from 2."""
    fields = message[:4096].split(b"\r", 1)[0].split(message[3:4])
    return fields[number - 1].decode("utf-8", "replace").strip() if len(fields) >= number else ""
