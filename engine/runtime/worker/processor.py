"""Messages processed by the worker: in the order of asking, even if the worker is replaced meanwhile.

Processing is pure, so a message that was asked for twice costs only time. Messages without an answer when a worker ends
go to the next one, oldest first, *one at a time*: if a message ends worker after worker, it is then the only suspect,
and after `STRIKES` of them it is dead (`MAPPING_FAULT`) and the rest goes on.
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
from engine.runtime.worker import frames
from engine.runtime.worker.wire import Frame

logger = logging.getLogger("labrelay.worker")

WINDOW_MESSAGES = 512  # asked and not answered ...
WINDOW_BYTES = 8 * 1024 * 1024  # ... with payloads of so many bytes together
STRIKES = 3
HERE_AT_ONCE = 4  # messages processed by this process in one turn of its loop

Answer = Callable[[Processed], None]


@dataclass(slots=True, eq=False)
class _PendingMessage:
    """``packed``: its payload, which ``stored`` does not have then; see `RemoteProcessor.__init__`."""

    number: int
    stored: Stored
    channel: ChannelRoutes
    answer: Answer
    size: int
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
    """See `engine.processing.process.Processor`. The worker process sends it frames, and reports its starts and
    ends.
    """

    burst = 64

    def __init__(self, send: Callable[[list[bytes]], None], *, one_by_one: bool = False) -> None:
        """``one_by_one``: the worker gets a message once it has answered the one before, so that it holds one; here its
        payload is compressed meanwhile. Where there is no worker, all else of this process gets as much time after
        each as it took."""
        self._send = send
        self._one_by_one = one_by_one
        self._asked: deque[_PendingMessage] = deque()
        self._bytes = 0
        self._next = 1
        self._ready = False
        self._here = False
        self._careful_to = 0  # up to this number, messages are sent one at a time
        self._turn_due = False
        self._rest_s = 0.0  # before the next turn of `_process_here`

    @property
    def _is_careful(self) -> bool:
        """Whether messages are sent one at a time."""
        return self._one_by_one or self._careful_to > 0

    @property
    def outstanding(self) -> int:
        return len(self._asked)

    # -- intake's side -----------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        return len(self._asked) < WINDOW_MESSAGES and self._bytes < WINDOW_BYTES

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Answer) -> None:
        one = _PendingMessage(self._next, stored, channel, answer, size=len(stored.payload))
        self._next += 1
        self._asked.append(one)
        self._bytes += one.size
        if self._here:
            self._process_here_soon()
        elif self._ready and not self._is_careful:
            self._hand_over(one)
        else:
            self._send_some()

    def forget(self) -> None:
        if self._asked and self._ready:
            self._send(frames.FORGET)
        self._asked.clear()
        self._bytes = 0

    # -- the worker process's side -----------------------------------------------------------------------------

    def ready(self) -> None:
        """A worker has taken the configuration."""
        self._ready, self._here = True, False
        self._send_some()

    def pause(self) -> None:
        """The worker gets another configuration: it drops its messages and answers nothing until `ready`."""
        self._ready = False
        for one in self._asked:
            one.sent = False

    def lost(self) -> None:
        """The worker is gone; its messages are asked again."""
        self._ready = False
        sent = [one for one in self._asked if one.sent]
        if not sent:
            return
        for one in sent:
            one.sent = False
        self._careful_to = max(self._careful_to, sent[-1].number)
        if len(sent) > 1:
            return
        (suspect,) = sent
        suspect.strikes += 1
        if suspect.strikes >= STRIKES:
            logger.error(
                "a message ends the worker process again and again",
                extra={"channel": suspect.stored.channel, "journal_id": suspect.stored.id},
            )
            detail = f"the worker process ended {suspect.strikes} times while it was processed"
            self._answer(Outcome("dead", ReasonCode.MAPPING_FAULT, detail))

    def process_here(self) -> None:
        """No worker is available: this process takes over."""
        self._ready, self._here = False, True
        self._process_here_soon()

    def outcome(self, frame: Frame) -> None:
        """The worker's outcome of the oldest message; an outcome of a forgotten message is dropped."""
        if self._asked and frames.number_of(frame) == self._asked[0].number:
            self._answer(frames.read_outcome(frame, self._asked[0].channel))
            if self._is_careful:
                self._send_some()

    # -- inside ------------------------------------------------------------------------------------------------

    def _answer(self, outcome: Processed) -> None:
        one = self._asked.popleft()
        self._bytes -= one.size
        one.answer(outcome)

    def _hand_over(self, one: _PendingMessage) -> None:
        one.sent = True
        self._send(frames.map_message(one.number, one.whole, one.channel.context.others))
        if self._one_by_one and one.packed is None:
            packing = asyncio.get_running_loop().run_in_executor(None, Packer().pack, one.stored.payload)
            packing.add_done_callback(one.keep_packed)

    def _send_some(self) -> None:
        if not self._ready or not self._asked:
            return
        if self._asked[0].number > self._careful_to:
            self._careful_to = 0
        if self._is_careful:
            if not self._asked[0].sent:
                self._hand_over(self._asked[0])
            return
        for one in self._asked:
            if not one.sent:
                self._hand_over(one)

    def _process_here_soon(self) -> None:
        if not self._turn_due and self._asked:
            self._turn_due = True
            loop = asyncio.get_running_loop()
            if self._one_by_one:
                loop.call_later(self._rest_s, self._process_here)
            else:
                loop.call_soon(self._process_here)

    def _process_here(self) -> None:
        self._turn_due = False
        began = time.monotonic()
        for _ in range(1 if self._one_by_one else HERE_AT_ONCE):
            if not self._asked or not self._here:
                return
            self._answer(process(self._asked[0].whole, self._asked[0].channel))
        if self._one_by_one:
            self._rest_s = time.monotonic() - began
        self._process_here_soon()
