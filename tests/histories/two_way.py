"""The other ends of orders: an analyzer that asks and takes what it is sent, a laboratory system that orders, and the
place where it hears later what became of its orders.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from tests.histories.seen import News, Reply
from tests.histories.senders import ACK, AGAIN_AFTER_S, ANSWER_WITHIN_S, ENQ, EOT, ETX, GIVE_UP_S, STX, Sender
from tests.support.astm_host import StrictHost

NAK = b"\x15"
VT, END = b"\x0b", b"\x1c\r"
CANCELLED = "C"  # O-12
_OF_QUESTION = re.compile(r"Q\d")  # how an answer is named in H-3


def reply_in(text: bytes, step: int, asked: int) -> Reply | None:
    """``asked``: the last question. None: nothing that tells anything has come yet."""
    rows = [row.split("|") for row in text.decode().split("\r") if row]
    if not rows or rows[0][0] != "H":
        return None
    orders = [
        (row[2], test.split("^")[3], row[11]) for row in rows if row[0] == "O" for test in row[4].split("\\") if test
    ]
    return Reply(
        step=step,
        asking=asked if _OF_QUESTION.match(rows[0][2]) else -1,
        orders=tuple((tube, test) for tube, test, action in orders if action != CANCELLED),
        back=tuple((tube, test) for tube, test, action in orders if action == CANCELLED),
        whole=rows[-1][0] == "L",
    )


class TwoWay:
    """An analyzer on E1381, that listens at any time. Its end of the line is made again whenever it is lost.

    Attributes:
        tries: as of `Sender`, of results. questions: the same of questions.
        replies: what it was sent, in order.
        unanswered: questions that had no answer in time on a line that was there.
        step: of the history, that is under way.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.tries: list[tuple[int, bytes, bool]] = []
        self.questions: list[tuple[int, bytes, bool]] = []
        self.replies: list[Reply] = []
        self.unanswered: list[int] = []
        self.step = -1
        self._asked = -1
        self._writer: asyncio.StreamWriter | None = None
        self._line = StrictHost()
        self._sending = False
        self._signs: asyncio.Queue[bytes] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._cut: tuple[int, bool] | None = None
        self._frames = 0
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    # -- the line ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, self._writer = await asyncio.open_connection(self._host, self._port)
                self._line, self._sending = StrictHost(), False
                self._tell()
                try:
                    while data := await reader.read(4096):
                        for byte in data:
                            self._take(bytes([byte]))
                finally:
                    writer, self._writer = self._writer, None
                    writer.close()
                    if self._line.text:
                        self._note(self._line.text)
                    self._signs.put_nowait(b"")
                    self._tell()
            await asyncio.sleep(AGAIN_AFTER_S)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _take(self, sign: bytes) -> None:
        assert self._writer is not None
        if self._writer.is_closing():
            return
        if self._sending:
            self._signs.put_nowait(sign)
            return
        sessions, frames = len(self._line.sessions), self._line.frames
        answer = self._line.take(sign)
        if sign == ENQ:
            self._frames = 0
        self._frames += self._line.frames - frames
        if self._cut is not None and self._line.frames > frames and self._frames >= self._cut[0]:
            if self._cut[1]:
                self._writer.write(answer)
            self._writer.close()
            return
        if answer:
            self._writer.write(answer)
        if len(self._line.sessions) > sessions:
            self._note(self._line.sessions[-1])
        self._tell()

    def _note(self, text: bytes) -> None:
        reply = reply_in(text, self.step, self._asked)
        if reply is not None:
            self.replies.append(reply)

    # -- what it says --------------------------------------------------------------------------------------------------

    async def send(self, ident: int, message: bytes) -> bool:
        """A result, until it is acknowledged."""
        await self._until_told(ident, message, self.tries)
        return True

    async def ask(self, ident: int, message: bytes, tubes: tuple[str, ...], *, cut: int | None, acks: bool) -> None:
        """A question for ``tubes``, until its answer is there; once alone where the line is to be ``cut``."""
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                self._cut = None
                line = await self._until_told(ident, message, self.questions, cut=cut, acks=acks)
                if cut is None and not await self._is_answered(ident, line):
                    continue
                if cut is not None:
                    await self._is_cut(line)
                self._cut = None
                return

    async def _is_answered(self, ident: int, line: asyncio.StreamWriter) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                while self._writer is line:
                    if any(one.asking == ident and one.whole for one in self.replies):
                        return True
                    await self._changed.wait()
                return any(one.asking == ident and one.whole for one in self.replies)
        self.unanswered.append(ident)
        return True

    async def _is_cut(self, line: asyncio.StreamWriter) -> None:
        """Until the line is lost, or the answer is there before that."""
        before = len(self._line.sessions)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                while self._writer is line and len(self._line.sessions) == before:
                    await self._changed.wait()

    async def _until_told(
        self, ident: int, message: bytes, tries: list[tuple[int, bytes, bool]], *, cut: int | None = None,
        acks: bool = False,
    ) -> asyncio.StreamWriter:  # fmt: skip
        """The line on which it was acknowledged."""
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                try:
                    async with asyncio.timeout(ANSWER_WITHIN_S):
                        line = await self._told(ident if tries is self.questions else None, message, cut, acks)
                except (OSError, TimeoutError):
                    tries.append((ident, message, False))
                    if self._writer is not None:
                        self._writer.close()
                    await asyncio.sleep(AGAIN_AFTER_S)
                    continue
                tries.append((ident, message, True))
                return line

    async def _told(self, asks: int | None, message: bytes, cut: int | None, acks: bool) -> asyncio.StreamWriter:
        while self._writer is None or self._line.receiving or self._writer.is_closing():
            await self._changed.wait()
        line, self._sending = self._writer, True
        try:
            while not self._signs.empty():
                self._signs.get_nowait()
            while (sign := await self._say(line, ENQ)) != ACK:
                if sign not in (ENQ, NAK):  # to ENQ the analyzer says ENQ: it goes first
                    raise ConnectionResetError("the host says something else")
                if sign == NAK:
                    await asyncio.sleep(AGAIN_AFTER_S)
            for index, record in enumerate(message.split(b"\r")[:-1], 1):
                body = b"%d" % (index % 8) + record + b"\r" + ETX
                if await self._say(line, STX + body + b"%02X\r\n" % (sum(body) % 256)) != ACK:
                    raise ConnectionResetError("a frame is refused")
            if asks is not None:
                self._asked = asks
            self._cut = None if cut is None or cut == 0 else (cut, acks)
            line.write(EOT)
            if cut == 0:
                line.close()
            return line
        finally:
            self._sending = False

    async def _say(self, line: asyncio.StreamWriter, data: bytes) -> bytes:
        line.write(data)
        sign = await self._signs.get()
        if not sign or self._writer is not line:
            raise ConnectionResetError("the line is lost")
        return sign


class Lis(Sender):
    """A laboratory system that sends each message until it is answered. ``said``: ORC-1 of each line of an answer."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, "hl7")
        self.said: dict[int, tuple[str, ...]] = {}

    async def order(self, ident: int, message: bytes) -> None:
        await self.send(ident, message)
        self.said[ident] = tuple(
            row.split("|")[1] for row in self.answer.decode().split("\r") if row.startswith("ORC|")
        )


class Hearing:
    """Where all laboratory systems hear of their orders. ``up``: else it closes each connection."""

    def __init__(self) -> None:
        self.up = True
        self.news: list[News] = []
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, host, port)

    def set_up(self, up: bool) -> None:
        self.up = up
        if not up:
            for line in self._lines:
                line.close()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.set_up(False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        try:
            while self.up:
                block = await reader.readuntil(END)
                if not self.up:
                    return
                rows = {row[:3]: row.split("|") for row in block[1:-2].decode().split("\r") if row}
                head, order, test = rows["MSH"], rows["ORC"], rows["OBR"]
                self.news.append(
                    News(control=head[9], order=order[1], placer=order[2], status=order[5], test=test[4].split("^")[0])
                )
                ack = f"MSH|^~\\&|||||20260302||ACK|{head[9]}|P|2.5.1\rMSA|AA|{head[9]}\r"
                writer.write(VT + ack.encode() + END)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._lines.discard(writer)
            writer.close()


@contextlib.asynccontextmanager
async def hearing_at(port: int) -> AsyncIterator[Hearing]:
    hearing = Hearing()
    await hearing.start("127.0.0.1", port)
    try:
        yield hearing
    finally:
        await hearing.stop()
