"""Messages processed in another process: in the order of asking, even if that is replaced meanwhile.

Processing is pure, so a message that was asked for twice costs only time. It goes to the other process once the one
before it has its answer. So a message that ends process after process is the only suspect, and after `STRIKES` of them
it is dead (`MAPPING_FAULT`) and the rest goes on.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.model.message import Stored
from engine.model.outcome import Outcome
from engine.model.packing import Packer, unpack
from engine.model.routes import ChannelRoutes, Processed
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.runtime.large import frames
from engine.runtime.large.wire import Frame

logger = logging.getLogger("labrelay.large")

STRIKES = 3

Answer = Callable[[Processed], None]


@dataclass(slots=True, eq=False)
class _PendingMessage:
    """``packed``: its payload, which ``stored`` does not have then."""

    number: int
    stored: Stored
    channel: ChannelRoutes
    answer: Answer
    packed: bytes | None = None
    sent: bool = False
    strikes: int = 0

    @property
    def whole(self) -> Stored:
        return self.stored if self.packed is None else replace(self.stored, payload=unpack(self.packed))

    def keep_packed(self, packing: "asyncio.Future[tuple[bytes, bool]]") -> None:
        if not packing.cancelled() and packing.exception() is None:
            packed, is_smaller = packing.result()
            if is_smaller:
                self.stored, self.packed = replace(self.stored, payload=b""), packed


class RemoteProcessor:
    """Has messages processed by the process that ``send`` reaches, which reports its starts and ends.

    The payload of the one that it has is compressed here meanwhile. Where there is no such process, all else of this
    one gets as much time after each message as it took.
    """

    def __init__(self, send: Callable[[list[bytes]], None]) -> None:
        self._send = send
        self._asked: deque[_PendingMessage] = deque()
        self._next = 1
        self._ready = False
        self._here = False
        self._turn_due = False
        self._rest_s = 0.0  # before the next turn of `_process_here`

    @property
    def outstanding(self) -> int:
        return len(self._asked)

    # -- intake's side -----------------------------------------------------------------------------------------

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Answer) -> None:
        """Process a message. ``answer`` is called once, in the order of asking, later on the event loop."""
        self._asked.append(_PendingMessage(self._next, stored, channel, answer))
        self._next += 1
        self._go_on()

    def forget(self) -> None:
        """Drop the answers to all messages so far."""
        if self._asked and self._ready:
            self._send(frames.FORGET)
        self._asked.clear()

    # -- the other process's side ------------------------------------------------------------------------------

    def ready(self) -> None:
        """It has taken the configuration."""
        self._ready, self._here = True, False
        self._go_on()

    def pause(self) -> None:
        """It gets another configuration: it drops its message and answers nothing until `ready`."""
        self._ready = False
        for one in self._asked:
            one.sent = False

    def lost(self) -> None:
        """It is gone; its message is asked again."""
        self._ready = False
        if not self._asked or not self._asked[0].sent:
            return
        suspect = self._asked[0]
        suspect.sent = False
        suspect.strikes += 1
        if suspect.strikes >= STRIKES:
            logger.error(
                "a message ends the process for large messages again and again",
                extra={"channel": suspect.stored.channel, "journal_id": suspect.stored.id},
            )
            detail = f"the process for large messages ended {suspect.strikes} times while it was processed"
            self._answer(Outcome("dead", ReasonCode.MAPPING_FAULT, detail))

    def process_here(self) -> None:
        """There is none: this process takes over."""
        self._ready, self._here = False, True
        self._go_on()

    def outcome(self, frame: Frame) -> None:
        """The outcome of the oldest message; that of a forgotten message is dropped."""
        if self._asked and frames.number_of(frame) == self._asked[0].number:
            self._answer(frames.read_outcome(frame, self._asked[0].channel))
            self._go_on()

    # -- inside ------------------------------------------------------------------------------------------------

    def _answer(self, outcome: Processed) -> None:
        self._asked.popleft().answer(outcome)

    def _go_on(self) -> None:
        if not self._asked:
            return
        if self._here and not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_later(self._rest_s, self._process_here)
        elif self._ready and not self._asked[0].sent:
            self._hand_over(self._asked[0])

    def _hand_over(self, one: _PendingMessage) -> None:
        one.sent = True
        self._send(frames.map_message(one.number, one.whole, one.channel.context.others))
        if one.packed is None:
            packing = asyncio.get_running_loop().run_in_executor(None, Packer().pack, one.stored.payload)
            packing.add_done_callback(one.keep_packed)

    def _process_here(self) -> None:
        self._turn_due = False
        if not self._asked or not self._here:
            return
        began = time.monotonic()
        self._answer(process(self._asked[0].whole, self._asked[0].channel))
        self._rest_s = time.monotonic() - began
        self._go_on()
