"""An ASTM E1381 peer for tests: writes and reads the wire in a plain way of its own, to share no mistakes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from adapters.codecs.astm.link import AstmReceiver
from engine.model.link_events import Frame, LinkEvent, LinkFault, SessionEnd

ENQ, ACK, NAK, EOT = b"\x05", b"\x06", b"\x15", b"\x04"


def sum_of(characters: bytes) -> str:
    total = 0
    for character in characters:
        total = (total + character) % 256
    return format(total, "02X")


def wire_frame(number: int, text: bytes, end: str = "ETX") -> bytes:
    inside = str(number).encode() + text + {"ETX": b"\x03", "ETB": b"\x17"}[end]
    return b"\x02" + inside + sum_of(inside).encode() + b"\r\n"


def wire_frames(pieces: Iterable[tuple[bytes, str]], first: int = 1) -> list[bytes]:
    return [wire_frame((first + n) % 8, text, end) for n, (text, end) in enumerate(pieces)]


def one_record_a_frame(message: bytes) -> list[bytes]:
    return wire_frames([(record + b"\r", "ETX") for record in message.split(b"\r") if record])


def cut_every(message: bytes, size: int) -> list[bytes]:
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return wire_frames([(piece, "ETB") for piece in pieces[:-1]] + [(pieces[-1], "ETX")])


def session(*frames: bytes) -> bytes:
    return ENQ + b"".join(frames) + EOT


def read_session(wire: bytes) -> bytes:
    """The text in a clean session, read the simple way."""
    text = b""
    assert wire[:1] == ENQ
    assert wire[-1:] == EOT
    for piece in wire[1:-1].split(b"\x02")[1:]:
        end = max(piece.rfind(b"\x03"), piece.rfind(b"\x17"))
        assert piece[end + 1 :] == sum_of(piece[: end + 1]).encode() + b"\r\n"
        text += piece[1:end]
    return text


@dataclass
class Line:
    """A receiver and the caller that it needs: stores each frame at once unless ``store`` says no."""

    receiver: AstmReceiver
    store: Callable[[Frame], bool] = lambda frame: True
    now: float = 100.0
    events: list[LinkEvent] = field(default_factory=list)
    answers: bytes = b""

    def send(self, data: bytes, *sizes: int) -> bytes:
        """Give the receiver ``data``, in chunks of these sizes if any, and return what it answered."""
        before = len(self.answers)
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)] if sizes else len(data)
            self._take(self.receiver.receive(data[at : at + size], self.now))
            at, turn = at + size, turn + 1
        return self.answers[before:]

    def wait(self, seconds: float) -> bytes:
        """Let time pass, waking the receiver when it asked for it."""
        before = len(self.answers)
        end = self.now + seconds
        while (due := self.receiver.deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            self._take(self.receiver.tick(self.now))
        self.now = end
        return self.answers[before:]

    def close(self) -> None:
        self.events += self.receiver.closed()

    def _take(self, events: list[LinkEvent]) -> None:
        while events:
            for event in events:
                self.events.append(event)
                if isinstance(event, Frame):
                    if self.store(event):
                        self.receiver.committed(self.now)
                    else:
                        self.receiver.failed(self.now)
            self.answers += self.receiver.outgoing()
            events = self.receiver.receive(b"", self.now)
        self.answers += self.receiver.outgoing()

    @property
    def messages(self) -> list[bytes]:
        return [text for event in self.events if isinstance(event, Frame | SessionEnd) for text in event.completes]

    @property
    def incomplete(self) -> list[bytes]:
        return [event.incomplete for event in self.events if isinstance(event, SessionEnd) and event.incomplete]

    @property
    def ends(self) -> list[str]:
        return [event.cause for event in self.events if isinstance(event, SessionEnd)]

    @property
    def faults(self) -> list[str]:
        return [event.kind for event in self.events if isinstance(event, LinkFault)]
