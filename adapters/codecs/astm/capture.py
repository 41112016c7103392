"""A recorded ASTM line, or a file of records, to message texts: for people who look at what an analyzer sent. Pure.

Captures are no clean streams. Tools drop the control bytes between frames, join frames and number them anew, or replace
each CR by LF; some record both directions. So nothing is refused here for its checksum or number; wrong sums are
counted. Where the sum fits once the line ends are put back, the text with those line ends is taken.
"""

import re
from dataclasses import dataclass

from adapters.codecs.astm.frames import ENQ, EOT, ETB, ETX, NAK, STX, checksum
from adapters.codecs.astm.messages import MessageAssembler, holds_header, may_be_joined, split
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode

_FRAME = re.compile(rb"\x02([^\x02\x03\x17]*[\x03\x17])([0-9A-Fa-f]{2})?")
_LINE_CONTROL = re.compile(rb"[\x04\x05\x06\x15]+")
_BLANKS = b"\0\n\r\t "


@dataclass(slots=True)
class Capture:
    """The content of a capture.

    Attributes:
        messages: their texts, in order; the last of a session may be without its end.
        frames: frames with an end, and ``continued`` how many of them ended in ETB.
        right_sums: frames whose checksum is right as stored; ``wrong_sums``: with another, or none; ``repaired``: how
            many of these fit once the line ends were put back.
        left_out: frames that were sent again, because of a NAK or because an ACK was lost.
    """

    messages: list[bytes]
    frames: int = 0
    continued: int = 0
    right_sums: int = 0
    wrong_sums: int = 0
    repaired: int = 0
    left_out: int = 0


def text_of_capture(data: bytes) -> list[bytes]:
    """The message texts in a capture or a file of records.

    Raises:
        ContentError: UNREADABLE, there is no H record in it.
    """
    return read_capture(data).messages


def read_capture(data: bytes) -> Capture:
    """The message texts in a capture or a file of records, and the state of its frames.

    Raises:
        ContentError: UNREADABLE, there is no H record in it.
    """
    capture = Capture([])
    frames = list(_FRAME.finditer(data)) if STX in data else []
    texts = _sessions(data, frames, capture) if frames else [_LINE_CONTROL.sub(b"", data)]
    capture.messages = [part for text in texts for part in split(text) if part.strip(_BLANKS)]
    if not any(map(holds_header, capture.messages)):
        raise ContentError(ReasonCode.UNREADABLE, "neither ASTM frames nor records: there is no H record")
    return capture


def _sessions(data: bytes, frames: list[re.Match[bytes]], capture: Capture) -> list[bytes]:
    """The text of each session: ENQ or EOT between two frames begins another."""
    sessions: list[list[tuple[bytes, bool]]] = [[]]
    previous: bytes | None = None
    for number, frame in enumerate(frames):
        right_before = capture.right_sums
        body = _read(frame, capture)
        after = data[frame.end() : frames[number + 1].start() if number + 1 < len(frames) else len(data)]
        if body == previous or after.lstrip(_BLANKS)[:1] == NAK:
            capture.left_out += 1
        else:
            sessions[-1].append((body[1:] if body[:1].isdigit() else body, capture.right_sums > right_before))
            previous = body
        if ENQ in after or EOT in after:
            sessions.append([])
            previous = None
    return [text for frames in sessions for text in _texts_of(frames)]


def _texts_of(frames: list[tuple[bytes, bool]]) -> list[bytes]:
    """The texts of one session, of its frames and whether their sums are right as stored.

    Where no record has a CR, each ends with its frame (`record_end: etx`). The sums say that none was lost on the way
    here: records of one frame, joined by the loss, would hide results or give them to another patient. For the same
    reason another text begins where a record begins and the one before, in its own frame, has no CR.
    """
    if not any(b"\r" in frame or b"\n" in frame for frame, _ in frames) and all(right for _, right in frames):
        messages = MessageAssembler(max_message=sum(len(frame) + 1 for frame, _ in frames), etx_ends_record=True)
        for frame, _ in frames:
            part, last = frame[:-1], frame[-1:] == ETX
            if messages.misplaced(part, last=last, behind_etx=True):
                break
            messages.keep(messages.take(part, last=last))
        else:
            return [b"".join(frame.replace(ETX, b"\r").replace(ETB, b"") for frame, _ in frames)]
    texts, behind_etx = [b""], False
    for frame, _ in frames:
        if behind_etx and may_be_joined(texts[-1], frame[:-1]):
            texts.append(b"")
        texts[-1] += frame[:-1]
        behind_etx = frame[-1:] == ETX
    return texts


def _read(frame: re.Match[bytes], capture: Capture) -> bytes:
    """The body of a frame, its number and end included, with its line ends put back if that makes the sum right."""
    body, given = frame[1], frame[2]
    capture.frames += 1
    capture.continued += body[-1:] == ETB
    if given is not None and int(given, 16) == checksum(body):
        capture.right_sums += 1
        return body
    capture.wrong_sums += 1
    for repaired in (body.replace(b"\n", b"\r"), body.replace(b"\n", b""), body.replace(b"\r\n", b"\r")):
        if given is not None and int(given, 16) == checksum(repaired):
            capture.repaired += 1
            return repaired
    return body
