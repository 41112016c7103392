"""Analyzers that ask and are sent orders over HL7 v2: IHE LAW, Mindray BS and Cepheid GeneXpert.

law, law-own   QBP^Q11 -> RSP^K11, then an OML^O33 for each tube, on the question's connection or on one that the
               host opens; each is answered (ORL^O34). A work step that it has already it refuses (``UA``), and it
               gives up (``CR``) one that is taken back before it was measured.
mindray-bs     QRY^Q02 -> QCK^Q02, then a DSR^Q03 for each tube, each answered by ACK^Q03
genexpert      QBP^Z03, QBP^Z01 -> RSP^Z02; SSU^U03 says that it has the orders of a tube
"""

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import replace

from tests.histories.history import Result
from tests.histories.seen import Reply
from tests.histories.senders import AGAIN_AFTER_S, ANSWER_WITHIN_S, GIVE_UP_S

VT, END = b"\x0b", b"\x1c\r"
Rows = list[list[str]]
FIRST_TEST = 29  # DSP line of a DSR
UNORDERED = '""'  # the work step of a result that the analyzer made unasked


class Hl7TwoWay:
    """One analyzer: its line to the host, and where it takes orders, if that is another one.

    Attributes:
        tries, questions, unanswered, step: as of `tests.histories.two_way.TwoWay`.
        own: the port at which the host connects to give orders.
    """

    def __init__(self, host: str, port: int, speaks: str, own: int) -> None:
        self._host, self._port, self._speaks, self._own = host, port, speaks, own
        self.tries: list[tuple[int, bytes, bool]] = []
        self.questions: list[tuple[int, bytes, bool]] = []
        self.unanswered: list[int] = []
        self.step = -1
        self._given: list[tuple[str, Reply]] = []  # what it was sent, with the name of the question in that
        self._asked_by: dict[str, int] = {}  # that name -> the question
        self._part: Reply | None = None  # of an answer in several messages, what has come
        self._tubes: dict[int, str] = {}  # of each question, its tube; empty: for all
        self._heard = 0  # messages of the answer
        self._cut: tuple[int, bool] | None = None
        self._signs: asyncio.Queue[str] = asyncio.Queue()  # acknowledgements of results; empty: the line is lost
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Event()
        self._steps = WorkSteps()
        self._numbers = 0
        self._lines: set[asyncio.StreamWriter] = set()
        self._task = asyncio.create_task(self._run())
        self._taking: asyncio.Server | None = None

    @property
    def is_law(self) -> bool:
        return self._speaks.startswith("law")

    @property
    def replies(self) -> tuple[Reply, ...]:
        """What it was sent, in order."""
        return tuple(self._named(name, reply) for name, reply in self._given)

    def _named(self, name: str, reply: Reply) -> Reply:
        """With its question. Of IHE LAW the answer for a tube is whole, and one for all is never known to be."""
        asking = self._asked_by.get(name, -1)
        return replace(reply, asking=asking, whole=reply.whole and not (self.is_law and not self._tubes.get(asking)))

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._taking is not None:
            self._taking.close()
        for line in self._lines:
            line.close()

    # -- the lines -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        if self._own:
            self._taking = await asyncio.start_server(self._hear, self._host, self._own)
        while True:
            with contextlib.suppress(OSError):
                reader, self._writer = await asyncio.open_connection(self._host, self._port)
                self._tell()
                try:
                    await self._hear(reader, self._writer)
                finally:
                    self._writer = None
                    self._ended()
                    self._signs.put_nowait("")
                    self._tell()
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        try:
            while True:
                block = await reader.readuntil(END)
                if writer.is_closing():
                    return
                self._take([row.split("|") for row in block[1:-2].decode().split("\r") if row], writer)
                self._tell()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._lines.discard(writer)
            writer.close()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _take(self, rows: Rows, writer: asyncio.StreamWriter) -> None:
        kind = value(rows, "MSH", 8).partition("^")[0]
        if kind == "ACK":
            if not value(rows, "MSA", 2).startswith("u"):  # not of an SSU
                self._signs.put_nowait(value(rows, "MSA", 1))
            return
        taken_back = kind == "OML" and value(rows, "ORC", 1) == "CA"
        self._heard += not taken_back
        confirmation = {
            "RSP": self._response, "QCK": self._check, "DSR": self._display, "OML": self._order
        }[kind](rows)  # fmt: skip
        if self._cut is not None and self._heard >= self._cut[0] and not taken_back:
            if self._cut[1] and confirmation:
                writer.write(confirmation)
            writer.close()
        elif confirmation:
            writer.write(confirmation)

    # -- what it is sent -----------------------------------------------------------------------------------------------

    def _response(self, rows: Rows) -> bytes:
        name, asking = value(rows, "MSH", 9), int(value(rows, "MSA", 2)[1:])
        self._asked_by[name] = asking
        if self._speaks != "genexpert":
            return b""
        tubes = [row[2].partition("^")[0] for row in rows if row[0] == "SPM"]
        tests = [row[4] for row in rows if row[0] == "OBR"]
        self._put(name, Reply(step=self.step, asking=asking, orders=tuple(zip(tubes, tests, strict=True))))
        if not tubes:
            return b""
        named = [f"SPM|{at}|{tube}^{at}||ORH" for at, tube in enumerate(dict.fromkeys(tubes), 1)]
        head = f"MSH|^~\\&|GX||LIS||20260302080000||SSU^U03^SSU_U03|u{self._number()}|P|2.5|||AL|NE"
        return block([head, "EQU|GX", *named])

    def _check(self, rows: Rows) -> bytes:
        name, asking = value(rows, "MSH", 9), int(value(rows, "MSA", 2)[1:])
        self._asked_by[name] = asking
        self._part = Reply(step=self.step, asking=asking, orders=())
        if value(rows, "QAK", 2) == "NF":
            self._end_part(name)
        return b""

    def _display(self, rows: Rows) -> bytes:
        control = value(rows, "MSH", 9)
        name = control.partition(".")[0]
        said = {int(row[1]): row[3] for row in rows if row[0] == "DSP"}
        orders = tuple((said[21], said[at].partition("^")[0]) for at in sorted(said) if at >= FIRST_TEST)
        before = self._part or Reply(step=self.step, asking=-1, orders=())
        self._part = replace(before, orders=before.orders + orders)
        if not value(rows, "DSC", 1):
            self._end_part(name)
        head = f"MSH|^~\\&|Mindray|BS-200E|||20260302080000||ACK^Q03|a{self._number()}|P|2.3.1||||||ASCII|||"
        return block([head, f"MSA|AA|{control}|Message accepted|||0|", "ERR|0|"])

    def _order(self, rows: Rows) -> bytes:
        control, tube, how = value(rows, "MSH", 9), value(rows, "SAC", 3), value(rows, "ORC", 1)
        steps = [(row[2], row[4].partition("^")[0]) for row in rows if row[0] == "OBR"]
        orders = tuple((tube, test) for _, test in steps)
        name = control.partition(".")[0]
        reply = Reply(
            step=self.step, asking=-1, orders=() if how == "CA" else orders, back=orders if how == "CA" else (),
            steps=tuple(step for step, _ in steps), whole=how != "CA",
        )  # fmt: skip
        self._put(name if how != "CA" else "", reply)
        said = [(step, self._steps.take(step, tube, test, how)) for step, test in steps]
        head = f"MSH|^~\\&|AN|LAB|LR|H|20260302080000||ORL^O34^ORL_O42|a{self._number()}|P|2.5.1"
        told = [f"ORC|{code}|{step}|||{'SC' if code == 'OK' else 'CA'}" for step, code in said]
        return block([head, f"MSA|AA|{control}", *([f"SPM|1|{tube}", f"SAC|||{tube}", *told] if told else [])])

    def _put(self, name: str, reply: Reply) -> None:
        self._given.append((name, reply))

    def _end_part(self, name: str) -> None:
        assert self._part is not None
        self._put(name, self._part)
        self._part = None

    def _ended(self) -> None:
        """The line is lost: what has come of an answer is there."""
        if self._part is not None and self._part.orders:
            name = next((name for name, asking in self._asked_by.items() if asking == self._part.asking), "")
            self._put(name, replace(self._part, whole=False))
        self._part = None

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # -- what it says --------------------------------------------------------------------------------------------------

    async def send(self, ident: int, message: bytes) -> bool:
        """A result, until it is acknowledged."""
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                line = await self._connected()
                while not self._signs.empty():
                    self._signs.get_nowait()
                line.write(VT + message + END)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ANSWER_WITHIN_S):
                        if (sign := await self._signs.get()) and self._writer is line:
                            self.tries.append((ident, message, sign == "AA"))
                            return sign == "AA"
                self.tries.append((ident, message, False))
                line.close()

    async def ask(self, ident: int, message: bytes, tubes: tuple[str, ...], *, cut: int | None, acks: bool) -> None:
        """A question, until its answer is there; once alone where the line is to be ``cut``."""
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                line = await self._connected()
                self._tubes[ident], self._heard = "".join(tubes), 0
                self._cut = (cut, acks) if cut else None
                line.write(VT + message + END)
                if cut == 0:
                    await line.drain()
                    line.close()
                try:
                    async with asyncio.timeout(ANSWER_WITHIN_S):
                        while not (answered := self._is_answered(ident)) and self._writer is line:
                            await self._changed.wait()
                except TimeoutError:
                    self.unanswered.append(ident)
                    answered = True
                self._cut = None
                self.questions.append((ident, message, answered))
                if answered or cut is not None:
                    return

    def _is_answered(self, ident: int) -> bool:
        whole = [one.whole for one in self.replies if one.asking == ident]
        return any(whole) or (bool(whole) and not self._tubes[ident])

    async def _connected(self) -> asyncio.StreamWriter:
        while self._writer is None or self._writer.is_closing():
            await self._changed.wait()
        return self._writer

    def step_of(self, tube: str, result: Result) -> str:
        """The work step of a result: OBR-2 of LAB-29."""
        return self._steps.measure(tube, result)


class WorkSteps:
    """Of an analyzer of IHE LAW: those that it has been given."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[str, str]] = {}  # step -> its tube and test
        self._over: set[str] = set()  # measured, or given up
        self._results: dict[tuple[str, str, str], str] = {}  # a result, by its tube, its test and its value
        self._latest: dict[tuple[str, str], list[str]] = defaultdict(list)

    def take(self, step: str, tube: str, test: str, how: str) -> str:
        """ORC-1 of the answer."""
        if how == "CA":
            if step not in self._of or step in self._over:
                return "UC"
            self._over.add(step)
            self._latest[tube, test].remove(step)
            return "CR"
        if step in self._of:
            return "UA"
        self._of[step] = (tube, test)
        self._latest[tube, test].append(step)
        return "OK"

    def measure(self, tube: str, result: Result) -> str:
        """The step of a result: the same for one that is sent again; `UNORDERED` where the host has ordered none."""
        key = (tube, result.test, result.value)
        if key not in self._results:
            steps = self._latest[tube, result.test]
            self._results[key] = steps[-1] if steps else UNORDERED
            if result.status in "FC":
                self._over.update(steps[-1:])
        return self._results[key]


def value(rows: Rows, name: str, at: int) -> str:
    """A field of the first segment of a name, as it is counted from its name on; empty where it is not there."""
    row = next((one for one in rows if one[0] == name), [])
    return row[at] if len(row) > at else ""


def block(rows: list[str]) -> bytes:
    return VT + "".join(f"{row}\r" for row in rows).encode() + END
