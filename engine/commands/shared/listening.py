"""Watch a line: incoming bytes in hex and text, with their time, and sentences about them.

    10:02:11.120  in   05                                               ENQ
                  *    ENQ: the analyzer asks to send (ASTM E1381) and says nothing more before it gets ACK: ...
    10:02:11.310  in   02 31 48 7C 5C 5E 26 7C 7C 7C .. .. .. ..        STX 1H|\\^&|||xxxx
                       .. 0D 03 34 41 0D 0A                             9 CR ETX 4A CR LF
                  =    frame 1, 21 bytes, ends in ETX, checksum 4A right

``*`` is about all that came so far, ``=`` about what was just shown, ``!`` about what we could not take.
"""

import asyncio
import contextlib
import errno
import logging
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import click

from engine.commands.shared.line_options import LineAt
from engine.commands.shared.output import SCHEMA_VERSION, Form, say, to_json
from engine.config import registry
from engine.diagnostics.lines.look import Inspection, Remark, look
from engine.diagnostics.lines.marks import Kind, Mark, Marks
from engine.mapping.trying.capture import NDJSON, CapturedBytes, Direction, line_of
from engine.model.errors import LabRelayError
from engine.model.link_events import Block, Frame, LinkEvent, LinkFault
from engine.model.ports import Stream
from engine.model.process.clock import from_us
from engine.model.texts import signs
from engine.views.view import printable

QUIET_S = 0.15  # bytes closer together than this are shown as one run
LOOK_EVERY_S = 1.0  # while bytes keep coming
RUN_BYTES = 1024
KEPT_BYTES = 256 * 1024  # that the sentences are about
SILENCE_S = 10.0  # before the first byte, until we say what may be wrong
HEX_WIDTH = signs.ROW_BYTES * 3 - 1
# The log messages of transports are shown here in words.
logging.getLogger("labrelay").addHandler(logging.NullHandler())
_DIGITS = re.compile(r"\d+")


class Save:
    """The capture file: every byte is on the disk before it is processed."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            LabRelayError: the file exists already, or cannot be made.
        """
        self._timed = path.suffix == NDJSON
        self._path = path
        try:
            self._file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)  # noqa: SIM115
        except FileExistsError:
            raise LabRelayError(
                f"{path}: exists already; a capture is never overwritten, choose another name"
            ) from None
        except OSError as error:
            raise LabRelayError(f"{path}: cannot be written: {error.strerror}") from error

    def add(self, piece: CapturedBytes) -> None:
        if self._timed or piece.way is not Direction.US:
            try:
                content = line_of(piece) if self._timed else piece.data
                if self._file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError as error:
                raise LabRelayError(
                    f"{self._path}: cannot be written, so nothing is answered: {error.strerror}"
                ) from error

    def close(self) -> None:
        self._file.close()


class Answerer:
    """Answers as a channel would: ACK and NAK to ASTM, an acknowledgement to HL7. Answered data must be saved."""

    def __init__(self, line: LineAt) -> None:
        self._link: Any = registry.load(registry.LINKS, line.source.link).links(line.source)()
        self._format: Any = registry.load(registry.FORMATS, line.source.format)
        self._acks: Any = registry.load(registry.ACKNOWLEDGEMENTS, "hl7v2")
        self._number = 0

    def receive(self, data: bytes, now: float) -> tuple[bytes, list[LinkFault]]:
        """(the answer, the faults)."""
        return self._act(self._link.receive(data, now), now)

    def tick(self, now: float) -> tuple[bytes, list[LinkFault]]:
        due = self._link.deadline()
        return self._act(self._link.tick(now), now) if due is not None and due <= now else (b"", [])

    def _act(self, events: list[LinkEvent], now: float) -> tuple[bytes, list[LinkFault]]:
        out, faults = b"", []
        while True:
            for event in events:
                if isinstance(event, Frame):
                    self._link.committed(now)
                elif isinstance(event, Block):
                    out += self._acknowledge(event.payload)
                elif isinstance(event, LinkFault):
                    faults.append(event)
            out += self._link.outgoing()
            if not events:
                return out, faults
            events = self._link.receive(b"", now)

    def _acknowledge(self, block: bytes) -> bytes:
        if self._format.format_of(block) != "hl7v2":
            return b""
        self._number += 1
        messages = self._format.split(block)
        now_text = datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")
        answer = self._acks.acknowledge_block(block, messages, now_text=now_text, control_id=f"LISTEN{self._number}")
        return self._link.wrap(answer) if answer is not None else b""


class Screen:
    """Where runs and sentences are shown: lines for people, or objects for scripts; without a form nothing is shown."""

    def __init__(self, form: Form | None, *, masked: bool, zone: tzinfo) -> None:
        self._form = form
        self._masked = masked
        self._zone = zone

    def run(self, piece: CapturedBytes, before: bytes, marks: list[Mark]) -> None:
        if self._form is None:
            return
        way = "out" if piece.way is Direction.US else "in"
        at = from_us(piece.at_us)
        if self._form is Form.NDJSON:
            rows = list(signs.rows(piece.data, masked=self._masked, before=before, width=len(piece.data)))
            self._object(
                at=at.isoformat(timespec="milliseconds"),
                way=way,
                bytes=len(piece.data),
                hex=" ".join(row.hex for row in rows),
                text=" ".join(row.text for row in rows),
                seen=[_about(mark) for mark in marks],
            )
            return
        at = at.astimezone(self._zone)
        head = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}  {way:<3}"
        for row in signs.rows(piece.data, masked=self._masked, before=before):
            click.echo(f"{head}  {click.style(row.hex.ljust(HEX_WIDTH), dim=True)}  {printable(row.text)}")
            head = " " * len(head)
        for mark in marks:
            self._line("=", _about(mark))

    def remark(self, remark: Remark) -> None:
        if self._form is Form.NDJSON:
            self._object(about=remark.key, remark=remark.text, advice=remark.advice)
        else:
            self._line("*", str(remark), bold=True)

    def fault(self, fault: LinkFault) -> None:
        if self._form is Form.NDJSON:
            self._object(fault=fault.kind, detail=fault.detail)
        else:
            self._line("!", f"not taken ({fault.kind}): {fault.detail}")

    def note(self, text: str) -> None:
        if self._form is Form.NDJSON:
            self._object(note=text)
        else:
            self._line("-", text)

    def _line(self, sign: str, text: str, *, bold: bool = False) -> None:
        if self._form is not None:
            click.echo(f"{'':<12}  {sign:<3}  {click.style(printable(text), bold=bold)}")

    def _object(self, **what: Any) -> None:
        click.echo(to_json({"schema_version": SCHEMA_VERSION, **what}))


class WatchedConnection:
    """One connection, from its first byte to its end."""

    def __init__(self, screen: Screen, save: Save | None, answerer: Answerer | None, now_us: Callable[[], int]) -> None:
        self.pieces: deque[CapturedBytes] = deque()
        self.seen = Inspection()
        self._screen = screen
        self._save = save
        self._answerer = answerer
        self._now_us = now_us
        self._kept = 0
        self._run = b""  # not shown yet
        self._run_at = 0
        self._marks = Marks()
        self._before = {Direction.THEM: b"", Direction.US: b""}
        self._said: dict[str, str] = {}
        self._looked_at = time.monotonic()
        self._news = False

    async def serve(self, stream: Stream) -> None:
        while True:
            try:
                data = await stream.read(QUIET_S)
            except TimeoutError:
                self._show_run()
                await self._answer(stream, b"")
                self._look()
                continue
            if not data:
                break
            piece = self._take(data, Direction.THEM)
            if not self._run:
                self._run_at = piece.at_us
            self._run += data
            if len(self._run) >= RUN_BYTES:
                self._show_run()
            await self._answer(stream, data)
            if time.monotonic() - self._looked_at > LOOK_EVERY_S:
                self._show_run()
                self._look()
        self._show_run(final=True)
        self._look()

    def _take(self, data: bytes, way: Direction) -> CapturedBytes:
        """Keep it, on the disk first."""
        piece = CapturedBytes(data, way, self._now_us())
        if self._save is not None:
            self._save.add(piece)
        self.pieces.append(piece)
        self._kept += len(data)
        while self._kept > KEPT_BYTES and len(self.pieces) > 1:
            self._kept -= len(self.pieces.popleft().data)
        self._news = True
        return piece

    async def _answer(self, stream: Stream, data: bytes) -> None:
        if self._answerer is None:
            return
        now = time.monotonic()
        out, faults = self._answerer.receive(data, now) if data else self._answerer.tick(now)
        if faults or out:
            self._show_run()
        for fault in faults:
            self._screen.fault(fault)
        if out:
            await stream.write(out)
            self._screen.run(self._take(out, Direction.US), self._before[Direction.US], [])
            self._before[Direction.US] = out[-2:]

    def _show_run(self, *, final: bool = False) -> None:
        marks = self._marks.feed(self._run)
        marks += self._marks.finish() if final else [] if self._run else self._marks.quiet()
        if self._run:
            shown = [mark for mark in marks if mark.kind in (Kind.FRAME, Kind.BLOCK, Kind.PACKET)]
            self._screen.run(
                CapturedBytes(self._run, Direction.THEM, self._run_at), self._before[Direction.THEM], shown
            )
            self._before[Direction.THEM] = (self._before[Direction.THEM] + self._run)[-2:]
            self._run = b""

    def _look(self) -> None:
        """Examine all bytes again, and show new sentences: one whose numbers alone have changed is not new."""
        if not self._news:
            return
        self._news, self._looked_at = False, time.monotonic()
        self.seen = look(list(self.pieces))
        for remark in self.seen.remarks:
            plain = _DIGITS.sub("#", str(remark))
            if self._said.get(remark.key) != plain:
                self._said[remark.key] = plain
                self._screen.remark(remark)


def _about(mark: Mark) -> str:
    size = f"{len(mark.data)} bytes"
    if mark.frame is None:
        return f"block of {size}" if mark.kind is Kind.BLOCK else f"{size} from STX on, without frame number"
    number = "without a number" if mark.frame.number is None else f"{mark.frame.number}"
    return f"frame {number}, {size}, ends in {'ETB' if mark.frame.goes_on else 'ETX'}, {mark.frame.in_words()}"


def only_copy(save: Path) -> str:
    """The warning after an analyzer was answered."""
    return (
        f"the analyzer takes what was answered for delivered, and {save} is the only copy: bring it into a channel "
        f"with labrelay send {save} astm://HOST:PORT (or mllp://); labrelay detect {save} says what that "
        "channel must be"
    )


class Listener:
    """Opens a line and watches every connection of it.

    Attributes:
        watches: one a connection, in the order they came.
    """

    def __init__(self, line: LineAt, screen: Screen | None, *, save: Save | None = None, answer: bool = False) -> None:
        self._line = line
        self._screen = screen or Screen(None, masked=True, zone=UTC)
        self._save = save
        self._answers = answer
        self._failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.watches: list[WatchedConnection] = []
        self.port = 0

    @property
    def heard(self) -> bool:
        return any(watch.pieces for watch in self.watches)

    @contextlib.asynccontextmanager
    async def opened(self) -> "AsyncIterator[Listener]":
        """Raises LabRelayError: it cannot be opened."""
        transport, self.port = await self._line.open(self._serve)
        said = ""
        advised = asyncio.get_running_loop().time() + SILENCE_S

        async def tell() -> None:
            nonlocal said, advised
            while True:
                await asyncio.sleep(0.2)
                if transport.fault != said and transport.fault:
                    self._screen.note(f"{self._line.place}: {transport.fault}; trying again")
                said = transport.fault
                if advised and asyncio.get_running_loop().time() > advised:
                    advised = 0.0
                    if not self.heard:
                        for text in self._silent_advice():
                            self._screen.note(text)

        teller = asyncio.create_task(tell())
        try:
            yield self
        finally:
            teller.cancel()
            await asyncio.wait({teller})
            await transport.stop(1.0)
            if self._failed.done():
                self._failed.result()

    async def until(self, stop: asyncio.Event, within_s: float | None) -> None:
        """Wait for ``stop``, for the end of the time, or for an error.

        Raises:
            LabRelayError: a byte could not be saved.
        """
        stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        await asyncio.wait({stopped, self._failed}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()

    async def _serve(self, stream: Stream) -> None:
        watch = WatchedConnection(
            self._screen, self._save, Answerer(self._line) if self._answers else None, lambda: time.time_ns() // 1000
        )
        self.watches.append(watch)
        if self._line.listens:
            self._screen.note(f"{stream.peer} has connected")
        elif not self._line.is_serial:
            self._screen.note(f"connected to {stream.peer}")
        try:
            await watch.serve(stream)
        except LabRelayError as error:
            if not self._failed.done():
                self._failed.set_exception(error)
            return
        except OSError as error:
            self._screen.note(f"the line broke: {error.strerror or type(error).__name__}")
            return
        if not self._line.is_serial:
            self._screen.note(f"{stream.peer} has closed the connection")

    def _silent_advice(self) -> Iterator[str]:
        if not self.watches and self._line.listens:
            yield (
                f"no analyzer has connected yet: its host settings must name this machine's address and port "
                f"{self.port}, and a firewall must let it through"
            )
        elif not self.watches and not self._line.is_serial:
            yield (
                f"{self._line.place} cannot be connected to: is the analyzer on, is it the server (else listen without "
                "--connect), are address and port those of its menu? Trying again"
            )
        elif self.watches or self._line.is_serial:
            yield "nothing has come yet: send a result from the analyzer, or run a control"
            if self._line.is_serial:
                yield "if it has sent: is it the right port (labrelay ports), and are TX and RX crossed in the cable?"


@contextlib.asynccontextmanager
async def listening(line: LineAt, screen: Screen | None, *, save: Path | None, answer: bool) -> AsyncIterator[Listener]:
    """A line that is watched, and saved; after answers to an analyzer the person is warned."""
    kept = Save(save) if save is not None else None
    try:
        async with Listener(line, screen, save=kept, answer=answer).opened() as listener:
            yield listener
    finally:
        if kept is not None:
            kept.close()
    if answer and save is not None and listener.heard:
        say(only_copy(save))
