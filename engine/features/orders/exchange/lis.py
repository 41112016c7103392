"""Answer the orders of a laboratory system (LIS) once they are on the worklist.

    message durable -> intake, beside its queue: the outcome and the orders in one transaction -> the answer

The channel waits here, and writes the answer itself (`engine.receiving.channel`): so what a LIS reads is always about
orders that are durable. What is not ready in time is not answered, or with a commit accept (CA) that says nothing of
the orders; the LIS sends the message again. That is a repeat: it is not processed, and gets the answer that the first
one has, from the note of its outcome in the journal.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from engine.features.orders.rows.announcing import Told, told_of
from engine.model.errors import ContentError, StoreError
from engine.model.journal.records import Recorded
from engine.model.message import Stored
from engine.model.orders import LineAnswer
from engine.model.process.clock import Clock, from_us
from engine.model.texts.reasons import ReasonCode
from engine.receiving.channel_parts import Answer
from engine.store.journal import Journal

logger = logging.getLogger("labrelay.orders")


class Writer(Protocol):
    """How the answers of one format are written; of a codec."""

    def said(self, payload: bytes, told: Sequence[LineAnswer], *, control_id: str, now: str) -> Sequence[bytes] | None:
        """What became of each order; None: the message is no order, and has the usual acknowledgement.

        Raises:
            ContentError: the message cannot be read any more.
        """

    def refused(self, payload: bytes, text: str, *, control_id: str, now: str) -> Sequence[bytes] | None:
        """That the message brought no orders, and why; None as for `said`."""

    def late(self, payload: bytes, *, control_id: str, now: str) -> bytes | None:
        """That the message is kept, and nothing of its orders; None: its sender asks for no such answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LisAnswers:
    """How the LIS of a channel is answered; made of the configuration.

    Attributes:
        usual: the acknowledgement of a message that is no order; None: the format has none.
        deadline_s: how long the LIS may wait.
    """

    writer: Writer
    usual: Answer | None
    timezone: str
    deadline_s: float


class OrderDesk:
    """Answers the orders of one channel (`engine.receiving.channel_parts.OrderAnswers`). Lives on the event loop."""

    def __init__(self, channel: str, answering: Callable[[], LisAnswers], *, journal: Journal, clock: Clock) -> None:
        """``answering``: as the configuration in force has it."""
        self._channel = channel
        self._answering = answering
        self._journal = journal
        self._clock = clock
        self._awaited: dict[int, asyncio.Future[Told]] = {}
        self._prefix = f"LO{clock.now_us():x}-"  # differs for each start, so that no two answers share a control id
        self._number = 0

    def expect(self, stored: Stored) -> "asyncio.Future[Told]":
        message = stored.id if stored.repeat_of is None else stored.repeat_of
        future = self._awaited.get(message)
        if future is None:
            future = self._awaited[message] = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda _: self._awaited.pop(message, None))
        if stored.repeat_of is not None and not future.done() and (told := self._told(message)) is not None:
            future.set_result(told)
        return future

    def recorded(self, stored: Stored, outcome: Recorded) -> None:
        """The outcome of a message is durable, with its orders."""
        future = self._awaited.get(stored.id)
        if future is None or future.done():
            return
        if outcome.reason is not ReasonCode.REPEAT:
            told = Told(state=outcome.state, reason=outcome.reason, answers=outcome.answers, detail=outcome.detail)
            future.set_result(told)
        elif (first := self._told(stored.id)) is not None:
            future.set_result(first)

    def _told(self, message: int) -> Told | None:
        """From the journal; None also where that cannot be read: then there is no answer in time."""
        try:
            return told_of(self._journal, message)
        except StoreError:
            return None

    async def answers(
        self, block: bytes, messages: Sequence[bytes], outcomes: "Sequence[asyncio.Future[Told]]"
    ) -> Sequence[bytes] | None:
        answering = self._answering()
        late: set[asyncio.Future[Told]] = set()
        if outcomes:
            _, late = await asyncio.wait(outcomes, timeout=answering.deadline_s)
        said: list[bytes] = []
        for payload, outcome in zip(messages, outcomes, strict=True):
            if outcome in late:
                logger.warning("orders are not answered in time", extra={"channel": self._channel})
                kept = answering.writer.late(payload, **self._stamps())
                if kept is None:
                    return None
                said.append(kept)
            elif (found := self._said(answering, payload, outcome.result())) is None:
                return None
            else:
                said += found
        return said

    def _said(self, answering: LisAnswers, payload: bytes, told: Told) -> Sequence[bytes] | None:
        """The answers to one message; None: an error of ours, and the connection has to be closed."""
        try:
            if told.state in ("mapped", "filtered"):
                found = answering.writer.said(payload, told.answers or (), **self._stamps())
            else:
                why = told.reason.value if told.reason is not None else ReasonCode.DAMAGED.value
                why = f"{why}: {told.detail}" if told.detail else why
                text = f"no order was taken, the message is kept as a dead letter: {why}"
                found = answering.writer.refused(payload, text, **self._stamps())
        except ContentError:
            found = None
        except Exception:
            logger.exception("an answer to orders cannot be written", extra={"channel": self._channel})
            return None
        if found is not None:
            return found
        if answering.usual is None:
            return ()
        return answering.usual(payload, [payload], stored=True, delivered=True)

    def _stamps(self) -> dict[str, str]:
        self._number += 1
        now: datetime = from_us(self._clock.now_us()).astimezone(ZoneInfo(self._answering().timezone))
        return {"control_id": f"{self._prefix}{self._number}", "now": now.strftime("%Y%m%d%H%M%S%z")}
