"""An analyzer at its end of one line. It writes and reads E1381 in a plain way of its own, and remembers what it was
told to run.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random

from tests.interleavings.desk import Cable
from tests.support.astm_host import StrictHost
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, cut_every, one_record_a_frame

ANSWER_WITHIN_S = 15.0
FRAME_WITHIN_S = 30.0  # so long a receiver waits for the next frame
MOST_TRIES = 6
_CONTROL = re.compile(r"Q(\d+)(?:-(\d+))?(?:\.(\d+))?\Z")


class Mode(Enum):
    IDLE = auto()
    ASKING_FOR_LINE = auto()
    SENDING = auto()


@dataclass(frozen=True, slots=True)
class Message:
    """Attributes:
    kind: ``question``, ``withdrawal`` or ``result``.
    tubes: of a question.
    """

    kind: str
    text: bytes
    tubes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the host has said of one question, as far as the analyzer has it.

    Attributes:
        question: the number that it names, and how often it was looked up for. part: of its messages, from 1.
        orders: (tube, code), in order. whole: with the last record.
        wanted: the tubes of each question that could be answered then.
    """

    question: int
    look: int
    part: int
    orders: tuple[tuple[str, str], ...]
    whole: bool
    wanted: tuple[tuple[str, ...], ...]


@dataclass(slots=True, eq=False)
class Analyzer:
    """Attributes:
    cable: None: it is not connected.
    asked: the question that waits for its answer, and the one that may have reached the host beside it.
    heard: answers as far as they have come, one for each frame, until they are judged.
    """

    random: Random
    cable: Cable | None = None
    jobs: deque[Message] = field(default_factory=deque)
    mode: Mode = Mode.IDLE
    host: StrictHost = field(default_factory=StrictHost)
    asked: list[Message] = field(default_factory=list)
    heard: list[Answer] = field(default_factory=list)
    out: bytearray = field(default_factory=bytearray)
    since: float = 0.0
    heard_at: float = 0.0
    interrupts: bool = False
    _frames: list[bytes] = field(default_factory=list)
    _at: int = 0
    _tries: int = 0

    @property
    def waits(self) -> bool:
        """For an answer to what it has sent."""
        return self.mode is not Mode.IDLE

    @property
    def rests(self) -> bool:
        return not self.waits and not self.jobs and not self.out and not self.host.receiving

    def plug(self, cable: Cable | None) -> None:
        self.cable, self.mode, self.host = cable, Mode.IDLE, StrictHost()
        self.asked, self.heard = [], []
        self.out.clear()
        self._tries = 0

    # -- sending -------------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Ask for the line, for the next message."""
        cut = self.random.random() < 0.2
        self._frames = cut_every(self.jobs[0].text, 40) if cut else one_record_a_frame(self.jobs[0].text)
        self._at = -1
        self.mode = Mode.ASKING_FOR_LINE
        self._say(ENQ, now)

    def hear(self, data: bytes, now: float) -> None:
        self.heard_at = now
        for byte in data:
            sign = bytes([byte])
            if self.mode is Mode.IDLE:
                self._receive(sign)
            else:
                self._answered(sign, now)

    def tick(self, now: float) -> None:
        """The host did not answer in time, or does not go on."""
        if self.host.receiving and now - self.heard_at >= FRAME_WITHIN_S:
            self.host = StrictHost()
        if self.waits and now - self.since >= ANSWER_WITHIN_S:
            self._give_up(now)

    def _say(self, data: bytes, now: float) -> None:
        self.out += data
        self.since = now

    def _answered(self, sign: bytes, now: float) -> None:
        if self.mode is Mode.ASKING_FOR_LINE:
            if sign == ACK:
                self.mode = Mode.SENDING
                self._next(now)
            elif sign == ENQ:  # the analyzer wins
                self._say(ENQ, now)
            elif sign == NAK:
                self.mode = Mode.IDLE
        elif sign == ACK:
            self._next(now)
        elif sign in (NAK, ENQ):
            self._tries += 1
            if self._tries >= MOST_TRIES:
                self._give_up(now)
            else:
                self._say(self._frames[self._at], now)

    def _next(self, now: float) -> None:
        self._at += 1
        self._tries = 0
        if self._at < len(self._frames):
            if self._at + 1 == len(self._frames):
                self._reached_perhaps()
            self._say(self._frames[self._at], now)
            return
        self._say(EOT, now)
        self.mode = Mode.IDLE
        self._reached(self.jobs.popleft())

    def _reached_perhaps(self) -> None:
        if self.jobs[0].kind in ("question", "withdrawal"):
            self.asked.append(self.jobs[0])

    def _reached(self, message: Message) -> None:
        if message.kind == "question":
            self.asked = [message]
        elif message.kind == "withdrawal":
            self.asked = []

    def _give_up(self, now: float) -> None:
        """The session; the message comes again in another one."""
        self._say(EOT, now)
        self.mode = Mode.IDLE

    # -- receiving -----------------------------------------------------------------------------------------------------

    def _receive(self, sign: bytes) -> None:
        before = self.host.frames
        answer = self.host.take(sign)
        if self.host.frames > before:
            self._note(self.host._text.decode())
            if self.interrupts and self.jobs:
                self.interrupts = False
                answer = EOT
        self.out += answer

    def _note(self, text: str) -> None:
        """Of the session that goes on, one frame more has come."""
        answer = answer_in(text, tuple(one.tubes for one in self.asked if one.kind == "question"))
        self.heard.append(answer)


def answer_in(text: str, wanted: tuple[tuple[str, ...], ...]) -> Answer:
    rows = [row.split("|") for row in text.split("\r") if row]
    assert rows[0][0] == "H", text
    found = _CONTROL.match(rows[0][2]) if len(rows[0]) > 2 else None
    assert found is not None, text
    orders = [(row[2], code.split("^")[3]) for row in rows if row[0] == "O" for code in row[4].split("\\")]
    return Answer(
        question=int(found[1]),
        look=int(found[2] or 1),
        part=int(found[3] or 1),
        orders=tuple(orders),
        whole=rows[-1][0] == "L",
        wanted=wanted,
    )
