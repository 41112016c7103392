"""How the analyzer of a channel asks, and which orders it may get; made of the configuration.

What happens to an answer is noted in the journal, and in the log by item ids alone.

Answer the orders of a laboratory system (LIS) once they are on the worklist.

    message durable -> intake, beside its queue: the outcome and the orders in one transaction -> the answer

The channel waits here, and writes the answer itself (`engine.receiving.channel`): so what a LIS reads is always about
orders that are durable. What is not ready in time is not answered, or with a commit accept (CA) that says nothing of
the orders; the LIS sends the message again. That is a repeat: it is not processed, and gets the answer that the first
one has, from the note of its outcome in the journal.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from engine.features.orders.rows.announcing import Told, told_of
from engine.model.errors import ContentError, StoreError
from engine.model.journal.records import Recorded
from engine.model.message import FormatOptions, Parsed, Stored
from engine.model.orders import AnswerContext, LineAnswer, Question, item_id
from engine.model.ports import Dialogue, Format
from engine.model.process.clock import Clock, from_us
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import AskSettings
from engine.receiving.channel_parts import Answer
from engine.store.journal import Journal

ACCEPT = frozenset({"AL", "SU"})  # table 0155: of MSH-15, a commit accept is asked for
ACCEPT_AT = 15
SECOND_US = 1_000_000
QUESTION_BYTES = 64 * 1024  # a longer message is no question
# At the begin of a record or segment; ORC-1 RF asks, too (Mindray BC).
_ASKS = re.compile(rb"(?:^|[\r\n])(?:Q|QPD|QRD|QRF|QID|ORC.RF)[^A-Za-z0-9]")
_RESULT = re.compile(rb"(?:^|[\r\n])(?:R|OBX)[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A channel whose questions are answered.

    Attributes:
        settings: for the look-up, without the day.
        deadline_s: so long after its question an answer may begin.
        closes: the connection is closed where a question gets no answer, as MLLP wants it. There both sides may speak
            at once, and an answer waits for no line.
        ends: the analyzer sees the end of its connection, as on no serial line.
        commits: a question gets a commit accept where it asks for one.
        own_line: orders go out on a connection that we open (`engine.features.orders.exchange.lines`).
        host: our name, where the analyzer gave none.
        download: when waiting orders are sent unasked; None: never. download_every_s: of ``batch``.
        cancels: the analyzer has a message that makes it give up an order.
        texts: of the channel, for the dialogue (`engine.model.orders.AnswerContext.settings`).
    """

    message_format: Format
    options: FormatOptions
    dialogue: Dialogue
    settings: AskSettings
    timezone: str
    demographics: bool
    deadline_s: float
    closes: bool
    ends: bool = True
    commits: bool = True
    own_line: bool = False
    host: str = "LabRelay"
    download: Literal["on_order", "on_connect", "batch"] | None = None
    download_every_s: float = 600.0
    cancels: bool = False
    texts: tuple[tuple[str, str], ...] = ()

    def context(self, now_us: int, control_id: str, *, unasked: bool = False) -> AnswerContext:
        return AnswerContext(
            now=self.local(now_us),
            control_id=control_id,
            host=self.host,
            demographics=self.demographics,
            unasked=unasked,
            settings=self.texts,
        )

    def local(self, at_us: int) -> str:
        """A time as the analyzer has it: YYYYMMDDHHMMSS, in the channel's zone."""
        return from_us(at_us).astimezone(ZoneInfo(self.timezone)).strftime("%Y%m%d%H%M%S")

    def look_up(self, now_us: int, question: Question) -> AskSettings:
        """The settings of a look-up at this time, for this question."""
        now = from_us(now_us).astimezone(ZoneInfo(self.timezone))
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        since, until = self._second(question.since, 0), self._second(question.until, 1)
        between = None if since is None or until is None else (since, until + SECOND_US - 1)
        return replace(self.settings, today_us=int(midnight.timestamp()) * SECOND_US, between_us=between)

    def _second(self, text: str, fold: int) -> int | None:
        """When a second of the channel's zone begins, in microseconds; of one that comes twice as ``fold`` says
        (`datetime.datetime.fold`); None: the text is no such time.
        """
        if len(text) != 14 or not text.isascii() or not text.isdigit():
            return None
        try:
            at = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=ZoneInfo(self.timezone), fold=fold)
            return int(at.timestamp()) * SECOND_US
        except (ValueError, OverflowError):
            return None

    def waits_s(self, question: Question) -> float:
        """Seconds within which the answer must begin."""
        return min(self.deadline_s, question.within_s or self.deadline_s)

    def is_committed(self, parsed: Parsed) -> bool:
        """Whether the message gets a commit accept before its answer (HL7 v2.5 chapter 2, 2.9.3)."""
        if not self.commits or parsed.format != "hl7v2":
            return False
        return parsed.segments[0].get(ACCEPT_AT).strip().upper() in ACCEPT


def may_ask(payload: bytes) -> bool:
    """Whether bytes that could not be read may be a question: they have a record or segment of one, and no result."""
    return len(payload) <= QUESTION_BYTES and bool(_ASKS.search(payload)) and not _RESULT.search(payload)


def is_answer(parsed: Parsed) -> bool:
    """Whether an HL7 v2 message answers one of ours: such a message is never acknowledged as a message is."""
    return any(segment.name == "MSA" for segment in parsed.segments)


logger = logging.getLogger("labrelay.orders")

ITEMS_LOGGED = 20


class Notes:
    """Of one channel."""

    def __init__(self, channel: str, journal: Journal) -> None:
        self._channel = channel
        self._journal = journal

    def note(self, operation: Callable[..., Any], /, *arguments: Any, **more: Any) -> None:
        """Have the journal note what has happened. Where it cannot, the next start finds an answer without an end."""
        try:
            future = self._journal.run(operation, *arguments, **more)
        except StoreError as error:
            self._not_noted(error)
            return
        future.add_done_callback(self._noted)

    def _noted(self, done: "asyncio.Future[Any]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._not_noted(error)

    def _not_noted(self, error: BaseException) -> None:
        logger.error(
            "the end of an answer cannot be stored", extra={"channel": self._channel, "detail": type(error).__name__}
        )


def about(channel: str, items: Sequence[int] = ()) -> dict[str, Any]:
    """The fields of a log line about some items."""
    more = {"detail": " ".join(map(item_id, items[:ITEMS_LOGGED]))} if items else {}
    return {"channel": channel, **more}


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
