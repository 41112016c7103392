"""A channel to try things on: a stream in memory, a journal that answers when the test says so, real links and codecs.

Everything that happens is written into one list in the order in which it happens, for that order is what P1 is about.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from adapters.codecs.astm import link as astm_link
from adapters.codecs.astm import records as astm_records
from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.hl7v2 import acknowledgement as hl7v2_ack
from adapters.codecs.hl7v2 import message as hl7v2
from adapters.codecs.hl7v2 import mllp
from engine.model.errors import StoreError
from engine.model.message import Received, Stored
from engine.model.ports import Format, Link
from engine.model.process.clock import Clock, SystemClock
from engine.model.process.receive_memory import ReceiveMemory
from engine.model.texts.reasons import ReasonCode
from engine.receiving.channel import Channel
from engine.receiving.channel_parts import ChannelSettings
from engine.receiving.door import Opening
from engine.receiving.outcomes import Outcomes
from engine.store.operations.line_trace import LineRecord

T = TypeVar("T")
VT, END = b"\x0b", b"\x1c\r"
ENQ, ACK, NAK, EOT = b"\x05", b"\x06", b"\x15", b"\x04"


def hl7(control_id: str = "1", text: str = "one") -> bytes:
    return f"MSH|^~\\&|A|L|R|L|20260301101530||ORU^R01|{control_id}|P|2.5\rOBR|1|||{text}\r".encode()


def block(payload: bytes) -> bytes:
    return VT + payload + END


@dataclass
class MemoryStream:
    """One connection without a socket. ``log`` gets ("write", bytes) and ("close", b"")."""

    log: list[tuple[str, object]] = field(default_factory=list)
    peer: str = "127.0.0.1:50000"
    broken: bool = False  # the next write fails, as on a reset
    _chunks: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)
    _ended: bool = False
    closed: bool = False

    def feed(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self._chunks.put_nowait(chunk)

    def end(self) -> None:
        self._ended = True
        self._chunks.put_nowait(b"")

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as the contract says
        if self._ended and self._chunks.empty():
            return b""
        if timeout is not None and timeout <= 0 and self._chunks.empty():
            raise TimeoutError
        return await asyncio.wait_for(self._chunks.get(), timeout)

    async def write(self, data: bytes) -> None:
        if self.broken or self.closed:
            raise ConnectionResetError("the peer is gone")
        self.log.append(("write", data))

    async def close(self) -> None:
        if not self.closed:
            self.log.append(("close", b""))
        self.closed = True

    @property
    def written(self) -> bytes:
        return b"".join(data for kind, data in self.log if kind == "write" and isinstance(data, bytes))

    @property
    def codes(self) -> list[str]:
        """MSA-1 of every answer."""
        return [line.split(b"|")[1].decode() for line in self.written.split(b"\r") if line.startswith(b"MSA|")]


@dataclass
class ScriptedStore:
    """Keeps everything in memory. With ``manual`` nothing is durable before `release`; ``faults`` fail appends."""

    log: list[tuple[str, object]] = field(default_factory=list)
    manual: bool = False
    faults: list[StoreError | None] = field(default_factory=list)  # one per append; when used up, all is well
    at_once: bool = False  # faults are raised by the call, as for a full queue
    messages: list[Received] = field(default_factory=list)
    incomplete: list[Received] = field(default_factory=list)
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)
    lines: list[LineRecord] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # messages of which the channel said that they are answered
    _ids: "count[int]" = field(default_factory=lambda: count(1))
    _sessions: "count[int]" = field(default_factory=lambda: count(1))

    def run(self, function: Callable[..., object], *arguments: object, **more: object) -> "asyncio.Future[object]":
        """As `Journal.run`, of the operations that append."""
        found: asyncio.Future[object] = getattr(self, function.__name__)(*arguments, **more)
        return found

    def store_message(
        self, received: Received, *, repeat_window_s: float, session: int = 0
    ) -> "asyncio.Future[Stored]":
        def store() -> Stored:
            self.messages.append(received)
            self.sessions.append(session)
            return self._stored(received)

        return self._submit("stored", store)

    def store_frame(self, channel: str, session: int, raw: bytes, received_us: int) -> "asyncio.Future[int]":
        def store() -> int:
            self.frames.append((session, raw))
            return next(self._ids)

        return self._submit("frame", store)

    def store_completing_frame(
        self,
        channel: str,
        session: int,
        raw: bytes,
        received_us: int,
        messages: Sequence[Received],
        *,
        repeat_window_s: float,
    ) -> "asyncio.Future[list[Stored]]":
        def store() -> list[Stored]:
            self.frames.append((session, raw))
            self.messages.extend(messages)
            self.sessions.extend([session] * len(messages))
            return [self._stored(message) for message in messages]

        return self._submit("stored", store)

    def keep_line(self, record: LineRecord) -> None:
        self.lines.append(record)

    def store_incomplete(
        self, received: Received, reason: ReasonCode, *, session: int | None = None
    ) -> "asyncio.Future[Stored]":
        def store() -> Stored:
            assert reason is (ReasonCode.INCOMPLETE if received.cut is None else ReasonCode.TOO_LARGE)
            self.incomplete.append(received)
            self.sessions.append(session or 0)
            return self._stored(received)

        return self._submit("incomplete", store)

    def answered(self, channel: str, message_ids: Sequence[int]) -> None:
        self.answers.extend(message_ids)

    def new_session(self) -> int:
        return next(self._sessions)

    def release(self, number: int = 1) -> None:
        """Make the next ``number`` appends durable, in their order."""
        for _ in range(number):
            self.waiting.pop(0)()

    def _stored(self, received: Received) -> Stored:
        number = next(self._ids)
        return Stored(id=number, channel=received.channel, seq=number, payload=received.payload,
                      received_us=received.received_us, control_id=received.control_id)  # fmt: skip

    def _submit(self, kind: str, store: Callable[[], T]) -> "asyncio.Future[T]":
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and self.at_once:
            raise fault
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def resolve() -> None:
            if fault is not None:
                self.log.append(("fault", kind))
                future.set_exception(fault)
            else:
                result = store()
                self.log.append((kind, b""))
                future.set_result(result)

        if self.manual:
            self.waiting.append(resolve)
        else:
            asyncio.get_running_loop().call_soon(resolve)
        return future


def answer(
    payload: bytes, messages: Sequence[bytes], *, stored: bool, delivered: bool = True, commit: bool = False
) -> Sequence[bytes]:
    errors = () if stored and delivered else [hl7v2_ack.NOT_STORED] * len(messages)
    made = hl7v2_ack.acknowledge_block(payload, messages, now_text="20260301", control_id="9", errors=errors)
    return () if made is None else (made,)


def mllp_link() -> Link:
    return mllp.MllpLink(mllp.MllpOptions(max_message=1 << 20))


def astm_link_of(**options: object) -> Callable[[], Link]:
    chosen = AstmOptions(**options)  # type: ignore[arg-type]  # what a test says
    return lambda: astm_link.AstmReceiver(chosen)


def channel(
    store: Any,
    *,
    name: str = "chemistry",
    unjudged: Callable[[str], int] = lambda channel: 0,
    stored: Callable[[Stored], None] = lambda stored: None,
    new_link: Callable[[], Link] = mllp_link,
    clock: Clock | None = None,
    answer_store_fault: bool = False,
    max_connections: int = 4,
    idle_timeout_s: float | None = None,
    ack_timeout_s: float | None = None,
    outcomes: Outcomes | None = None,
    memory: ReceiveMemory | None = None,
    hl7_spoken: bool | None = None,
    opening: Opening | None = None,
) -> Channel:
    """``hl7_spoken``: whether messages are HL7 v2 and answered so; else the link says it."""
    hl7_spoken = new_link is mllp_link if hl7_spoken is None else hl7_spoken
    message_format: Format = hl7v2 if hl7_spoken else astm_records  # type: ignore[assignment]  # modules
    return Channel(
        ChannelSettings(
            name=name,
            repeat_window_s=86_400.0,
            idle_timeout_s=idle_timeout_s,
            max_connections=max_connections,
            answer_store_fault=answer_store_fault,
            ack_timeout_s=ack_timeout_s,
            opening=opening,
        ),
        new_link=new_link,
        message_format=message_format,
        answer=answer if hl7_spoken else None,
        journal=store,
        stored=stored,
        unjudged=unjudged,
        clock=clock or SystemClock(),
        outcomes=outcomes,
        memory=memory,
    )
