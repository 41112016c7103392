"""One message over E1381: the sender that the engine uses, with faults between it and the wire, and checks of the peer.

Every byte of the peer is checked against the bytes really sent, before the sender gets it (or another byte, where an
answer is to be lost). A damaged frame must be refused. One transmission gets one answer, in time. Between sessions only
an ENQ of a peer that wants the line may come. It gets NAK: nothing is received here.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal, NoReturn

from engine.config import registry
from workbench.errors import DroppedError
from workbench.simulator import faults
from workbench.simulator.dialogue import Dialogue, readable
from workbench.simulator.wires import Wire

ENQ, ACK, NAK, STX, EOT = b"\x05", b"\x06", b"\x15", b"\x02", b"\x04"
GARBLED = b"\x00"  # replaces an answer that is lost: by E1381 the sender repeats the frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How this analyzer sends.

    Attributes:
        frame_limit: bytes of text in a frame.
        pack: ``record`` begins a frame with each record, ``packed`` fills each frame.
        answer_within: seconds that ENQ and each frame wait for their answer.
        block_answer_within: seconds that a block of MLLP does.
        holds: factor of the waits before another ENQ (1, 10, 15 s by the standard); less for tests.
    """

    frame_limit: int = 240
    pack: Literal["record", "packed"] = "record"
    answer_within: float = 15.0
    block_answer_within: float = 30.0
    holds: float = 1.0


class Speaker:
    """The common part of players, for any protocol."""

    def __init__(self, wire: Wire, dialogue: Dialogue) -> None:
        self._wire = wire
        self._talk = dialogue

    async def _break(self, plan: faults.Plan, where: str) -> NoReturn:
        """Break the line off, as planned.

        Raises:
            DroppedError: always.
        """
        self._talk.fault("drop", f"the line breaks {where}")
        await (self._wire.drop() if plan.rng.random() < 0.5 else self._wire.hang_up())
        await asyncio.sleep(0)
        raise DroppedError

    async def _put(self, data: bytes, plan: faults.Plan) -> None:
        """Write, in as many pieces as planned."""
        self._talk.sent(data)
        pieces = plan.pieces(data)
        if len(pieces) > 1:
            self._talk.fault("slow" if plan.slow else "split", f"written in {len(pieces)} pieces")
        await self._wire.write(pieces, plan.pause_s)


class AstmPlayer(Speaker):
    """Sends messages over one wire, one at a time."""

    def __init__(self, wire: Wire, dialogue: Dialogue, habits: Habits | None = None) -> None:
        super().__init__(wire, dialogue)
        self._habits = habits or Habits()
        self._module = registry.load(registry.SENDERS, "e1381")
        self._plan: faults.Plan
        self._out = b""  # what went out last, as it was meant
        self._frame = -1  # which frame that is, from 0
        self._damaged = False  # it was damaged on its way
        self._asked = False  # an answer is due
        self._done: set[faults.Fault] = set()  # what has happened in this session already

    def transmissions(self, message: bytes) -> int:
        """How many frames a message takes. Raises: ValueError: E1381 cannot carry it."""
        return len(self._module.frames_of(message, self._habits.frame_limit, self._habits.pack))

    async def send(self, message: bytes, plan: faults.Plan) -> bool:
        """Whether the peer acknowledged the last frame.

        Raises:
            DroppedError: as planned. OSError: the line broke.
        """
        habits, clock = self._habits, asyncio.get_running_loop().time
        sender = self._module.AstmSender(
            self._module.SenderOptions(
                role="instrument",
                frame_limit=habits.frame_limit,
                pack=habits.pack,
                enq_timeout=habits.answer_within,
                frame_timeout=habits.answer_within,
                nak_hold=10.0 * habits.holds,
                contention_wait=1.0 * habits.holds,
                interrupt_hold=15.0 * habits.holds,
            )
        )
        self._plan, self._frame, self._out = plan, -1, b""
        self._done.clear()
        await self._begin()
        sender.offer(message, clock())
        events: list[object] = []
        while True:
            began = clock()
            if out := sender.outgoing():
                await self._transmit(out)
            writing = clock() - began  # on a slow line; the peer's time begins when it has all of it
            for event in events:
                if isinstance(event, self._module.Failed):
                    self._talk.note(f"given up: {event.reason}")
                return isinstance(event, self._module.Sent)
            due = sender.deadline()
            try:
                data = await self._wire.read(max(0.0, due + writing - clock()))
            except TimeoutError:
                if self._asked:
                    self._talk.violation(f"no answer to {self._name()} within {habits.answer_within:g} s")
                    self._asked = False
                events = sender.tick(clock())
            else:
                events = sender.receive(self._judged(data), clock())

    # -- what goes out ---------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Before a session: read the peer's bytes since the last one, and send noise."""
        if said := self._wire.unread():
            self._talk.came(said)
            if said.strip(ENQ):
                self._talk.violation(f"{readable(said)} between two sessions, where nothing was asked")
            else:
                self._talk.note("the peer wants to send; nothing is received here")
                await self._say(NAK)
        if self._plan.noise:
            self._talk.fault("garbage", f"noise before the session: {self._plan.noise.hex(' ')}")
            await self._wire.write([self._plan.noise])

    async def _transmit(self, out: bytes) -> None:
        plan = self._plan
        if said := self._wire.unread():
            self._talk.came(said)
            self._talk.violation(f"{readable(said)} after the answer to {self._name()}")
        again = out == self._out
        self._out, self._damaged, self._asked = out, False, out != EOT
        if out == ENQ:
            self._frame = -1
        elif out[:1] == STX:
            if again:
                self._talk.tally.repeated += 1
            else:
                self._frame += 1
                self._talk.tally.frames += 1
                if plan.dropped is not None and plan.dropped[0] == self._frame:
                    await self._drop(out, plan, plan.dropped[1])
                if plan.damaged == self._frame and self._first(faults.Fault.BAD_CHECKSUM):
                    out, self._damaged = faults.damage(out, plan.rng), True
        await self._say(out)
        if self._damaged:
            self._talk.fault("bad-checksum", "damaged on its way: the peer must answer NAK")

    async def _say(self, data: bytes) -> None:
        self._talk.sent(data)
        pieces = self._plan.pieces(data)
        fault = faults.Fault.SLOW if self._plan.slow else faults.Fault.SPLIT
        if len(pieces) > 1 and self._first(fault):
            self._talk.fault(fault.value, f"written in {len(pieces)} pieces, and so on")
        await self._wire.write(pieces, self._plan.pause_s)

    async def _drop(self, out: bytes, plan: faults.Plan, share: float) -> None:
        part = out[: max(1, int(len(out) * share))]
        self._talk.sent(part)
        await self._wire.write([part])
        self._asked = False
        await self._break(plan, "before the answer" if len(part) == len(out) else "in the middle of a frame")

    def _first(self, fault: faults.Fault) -> bool:
        """Whether it has not happened in this session yet; from now on it has."""
        if fault in self._done:
            return False
        self._done.add(fault)
        return True

    # -- what comes back -------------------------------------------------------------------------------------------

    def _name(self) -> str:
        return "ENQ" if self._out == ENQ else "EOT" if self._out == EOT else f"frame {self._out[1:2].decode()}"

    def _judged(self, data: bytes) -> bytes:
        """The answer as the sender sees it."""
        self._talk.came(data)
        answer = data[:1]
        if not self._asked:
            if data != ENQ:
                self._talk.violation(f"{readable(data)}, where nothing was asked")
            return b""
        if len(data) > 1:
            self._talk.violation(f"{readable(data)} in answer to {self._name()}, which gets one answer")
        return self._to_enq(answer) if self._out == ENQ else self._to_frame(answer)

    def _to_enq(self, answer: bytes) -> bytes:
        if answer not in (ACK, NAK, ENQ):
            self._talk.violation(f"{readable(answer)} in answer to ENQ")
            return answer
        self._asked = False
        if answer == NAK:
            self._talk.tally.naks += 1
        if answer == ACK and self._plan.contended and self._first(faults.Fault.CONTENTION):
            self._talk.fault("contention", "both sides want the line: ENQ again")
            return ENQ
        return answer

    def _to_frame(self, answer: bytes) -> bytes:
        self._asked = False
        if answer not in (ACK, NAK, EOT):
            self._talk.violation(f"{readable(answer)} in answer to {self._name()}")
        elif self._damaged:
            if answer != NAK:
                self._talk.violation(f"{readable(answer)} to {self._name()}, which was damaged: it may hold anything")
        elif answer == NAK:
            self._talk.tally.naks += 1
        elif self._plan.deaf == self._frame and self._first(faults.Fault.LOST_ACK):
            self._talk.fault("lost-ack", f"{readable(answer)} is lost on its way: the frame again")
            return GARBLED
        return answer
