"""Where E1394 messages begin and end in the text of a session. Bytes, before any character is decoded; pure.

A message begins with its H record and ends with its L record. Frames cut the text anywhere, and neither ETB nor ETX nor
EOT says that a message is over: a sender that gives up sends EOT too.

    ... L|1|N CR     the end, in whichever frame the CR comes
    ... L|1|N ETX    the end too: some analyzers leave out the last CR
    ... L|1| ETB     not yet: the code may be cut off, and T there means that the message must not be used

A frame that begins like a record is refused where the record before it has no end: joined, they would hide a result, or
give it to another patient.

Several H records before one L are one message. Text that belongs to no message (before H, after L, never ended) is set
aside as evidence and never becomes a result.
"""

import re
from dataclasses import dataclass

_PUNCTUATION = rb"[!-/:-@\\[-`{-~]"
_HEADER = re.compile(rb"[Hh](" + _PUNCTUATION + rb")" + _PUNCTUATION)
_HEADER_RECORD = re.compile(rb"(?:\A|[\r\n])[\0\t ]*(?=[Hh]" + _PUNCTUATION + _PUNCTUATION + rb")")
_NUMBERED = re.compile(rb"[A-Za-z](" + _PUNCTUATION + rb") *[0-9]+ *(?:\1|[\r\n]|\Z)")
_UNNUMBERED = re.compile(rb"[HPOQRCMSLhpoqrcmsl](" + _PUNCTUATION + rb") *(?:\1|[\r\n]|\Z)")
_PATIENT_OR_ORDER = re.compile(rb"[POpo](" + _PUNCTUATION + rb") *(?:\1|[\r\n]|\Z)")
_RESULT = re.compile(rb"[Rr](" + _PUNCTUATION + rb") *\1" + _PUNCTUATION)  # without a number: `R||^^^GLU`
_LETTER = re.compile(rb"[A-Za-z]\Z")
_RECORD_END = re.compile(rb"[\r\n]")
_RECORD = re.compile(rb"[^\r\n]+")
_BLANKS = b"\0\n\r\t "
_PADDING = b"\0\t "
_INNER = frozenset(b"ABCDEFGIJKMNOPQRSTUVWXYZ")  # what records between H and L begin with
_HEAD_BYTES = 64  # of a record: enough to recognise H and L


def field_delimiter(record: bytes) -> bytes:
    """The field delimiter that an H record declares; empty if ``record`` does not begin like one."""
    match = _HEADER.match(record)
    return match[1] if match else b""


def holds_header(text: bytes) -> bool:
    """Whether there is an H record anywhere in ``text``."""
    return _HEADER_RECORD.search(text) is not None


def begins_with_header(text: bytes) -> bool:
    return bool(field_delimiter(text.lstrip(_BLANKS)))


def begins_with_record(text: bytes) -> bool:
    """Whether ``text`` may be the beginning of a record, blanks before it or not.

    It begins with a letter and a sequence number, with a letter of E1394 and no sequence number, or with an H record.
    """
    text = text.lstrip(_BLANKS)
    return bool(_NUMBERED.match(text) or _UNNUMBERED.match(text) or begins_with_header(text))


def may_be_joined(end: bytes, text: bytes) -> bool:
    """Whether the frame ``text`` begins like a record, and the one before, which ended in ETX, has no line end.

    ``end``: of the one before, all of it or more than `_HEAD_BYTES`. A line end has its effect on either side of the
    ETX. Some senders cut a record with ETX, so a letter alone says nothing: it may be a flag.
    """
    text = text.lstrip(_PADDING)
    if text[:1] in (b"\r", b"\n"):
        return False
    begins = _NUMBERED.match(text) or _PATIENT_OR_ORDER.match(text) or _RESULT.match(text) or begins_with_header(text)
    end = end[-_HEAD_BYTES:].rstrip(_PADDING) or end[:-_HEAD_BYTES]
    return end[-1:] not in (b"", b"\r", b"\n") and bool(begins)


def is_terminator(record: bytes, delimiter: bytes) -> bool:
    """Whether a record is an L record: L, then a sequence number if anything."""
    name, _, rest = record.partition(delimiter)
    number = rest.split(delimiter, 1)[0].strip(_BLANKS)
    return name.strip(_BLANKS) in (b"L", b"l") and (not number or number.isdigit())


def split(payload: bytes) -> list[bytes]:
    """The messages of one text, cut before each H that follows an L. The parts join to ``payload``.

    H records that come before any L share it, so they stay in one part.
    """
    cuts, delimiter, ended = [0], b"|", False
    for match in _RECORD.finditer(payload):
        record = match[0].lstrip(b"\0\t ")
        if found := field_delimiter(record):
            if ended:
                cuts.append(match.start())
            delimiter, ended = found, False
        elif is_terminator(record, delimiter):
            ended = True
    return [payload[start:end] for start, end in zip(cuts, [*cuts[1:], len(payload)], strict=True)]


@dataclass(slots=True)
class Assembled:
    """The effect of one more piece of text on a session. Nothing changes until `MessageAssembler.keep`.

    Attributes:
        completes: the messages that the piece ends, in order.
        opens: the text of the message that is open after the last of them; None if the piece only continues one.
        piece: the text that continues, if ``opens`` is None.
        record_at: where in the open message its unfinished record begins.
        delimiter: the field delimiter in force.
        aside: text that belongs to no message.
        torn: the text has a hole, and no H record has come since.
    """

    completes: tuple[bytes, ...]
    opens: bytes | None
    piece: bytes
    record_at: int
    delimiter: bytes
    aside: bytes
    torn: bool = False


class MessageAssembler:
    """The text of one session so far, and the message in it that is still open.

    Attributes:
        header_restarts: an H record before the L sets aside what came before it. That is for peers without frames:
            there, nothing else shows that the sender began anew.
    """

    def __init__(self, *, max_message: int, etx_ends_record: bool = False) -> None:
        """``etx_ends_record``: a record without CR ends with the ETX of its frame; the message gets the CR."""
        self.header_restarts = False
        self._max_message = max_message
        self._etx_ends_record = etx_ends_record
        self._open = bytearray()
        self._record_at = 0
        self._delimiter = b"|"
        self._aside = bytearray()
        self._torn = False

    @property
    def held(self) -> int:
        """Bytes of text that is no whole message yet."""
        return len(self._open) + len(self._aside)

    @property
    def blank(self) -> bool:
        """Whether nothing is open and nothing set aside."""
        return not self._aside and not self._open.strip(_BLANKS)

    @property
    def terminator_pending(self) -> bool:
        """Whether the open record is an L record with its code, so that only the CR is missing."""
        parts = bytes(self._open[self._record_at :][:_HEAD_BYTES]).split(self._delimiter)
        return len(parts) > 2 and bool(parts[2].strip(_BLANKS)) and is_terminator(parts[0], self._delimiter)

    def misplaced(self, text: bytes, *, last: bool, behind_etx: bool) -> str:
        """Why ``text`` cannot come next, ``behind_etx`` or else ETB; empty if it can.

        Joined with the record before it, or cut from it, it would give a record that was never sent.
        """
        if not self._etx_ends_record:
            end = bytes(self._open[-_HEAD_BYTES - 1 :])
            joined = behind_etx and self._record_at < len(self._open) and may_be_joined(end, text)
            return "a record begins behind ETX, and the one before has no CR" if joined else ""
        text = text.lstrip(b"\0\t ")
        if not self._open or not text or text[:1] in b"\r\n":
            return ""
        begins = begins_with_record(text) or (not last and _LETTER.match(text) is not None)
        long = len(self._open) > self._record_at + _HEAD_BYTES
        if long or self._open[self._record_at :].strip(_BLANKS):
            return "a record begins behind ETB, and the one before has no end" if begins else ""
        if begins or _LETTER.match(text) or is_terminator(text, self._delimiter):
            return ""
        return "no record begins behind the end of another"

    def room_for(self, text: bytes) -> bool:
        return len(self._open) + len(text) <= self._max_message

    def take(self, text: bytes, *, last: bool) -> Assembled:
        """The effect of ``text``, the content of one frame, on the session.

        ``last``: the frame ended in ETX, so that an L record needs no CR any more.
        """
        if self._etx_ends_record and last and text and text[-1:] not in b"\r\n":
            text += b"\r"
        if (
            self._record_at == len(self._open)
            and not self._torn
            and text
            and text[0] in _INNER
            and text.find(b"\r") == len(text) - 1
            and b"\n" not in text
        ):  # one record between H and L, whole: nearly all that a session sees
            return Assembled((), None, text, self._record_at + len(text), self._delimiter, b"")
        if self._torn and not begins_with_header(text):
            return Assembled((), None, b"", self._record_at, self._delimiter, text, torn=True)
        completes: list[bytes] = []
        aside: list[bytes] = []
        delimiter = self._delimiter
        prefix: bytes | bytearray = self._open  # of the open message, before ``text``
        head = bytes(self._open[self._record_at :][:_HEAD_BYTES])  # of the record that ``text`` goes on
        unfinished = len(self._open) - self._record_at
        start = record_at = 0  # in ``text``: where the open message goes on, where the current record does

        def complete(end: int) -> None:
            nonlocal prefix, start
            before, message = self._from_header(bytes(prefix) + text[start:end])
            aside.append(before)
            completes.append(message)
            prefix, start = b"", end

        for match in _RECORD_END.finditer(text):
            record = (head + text[record_at : min(match.start(), record_at + _HEAD_BYTES)]).lstrip(_BLANKS)
            if found := field_delimiter(record):
                delimiter = found
            elif is_terminator(record, delimiter):
                complete(match.end())
            head, unfinished, record_at = b"", 0, match.end()
        unfinished += len(text) - record_at
        if last and unfinished <= _HEAD_BYTES:
            record = head + text[record_at:]
            if delimiter in record and is_terminator(record, delimiter):
                complete(len(text))
                unfinished = 0
        opens = text[start:] if completes else None
        length = len(opens) if opens is not None else len(self._open) + len(text)
        return Assembled(tuple(completes), opens, text, length - unfinished, delimiter, b"".join(aside))

    def keep(self, assembled: Assembled) -> None:
        """Make it so: the piece is durable."""
        if assembled.opens is None:
            self._open += assembled.piece
        else:
            self._open[:] = assembled.opens
        self._record_at = assembled.record_at
        self._delimiter = assembled.delimiter
        self._torn = assembled.torn
        self._set_aside(assembled.aside)

    def tear(self, lost: bytes = b"") -> None:
        """A piece was lost and will not be sent again: the open message can never be whole."""
        self._set_aside(bytes(self._open) + lost)
        self._open.clear()
        self._record_at = 0
        self._torn = True

    def end(self, *, complete: bool) -> tuple[tuple[bytes, ...], bytes]:
        """End the session: the messages that its end completes, and the text that never became one (or empty).

        ``complete``: the end of the session is as good as an L record.
        """
        rest = bytes(self._open)
        completes: tuple[bytes, ...] = ()
        if complete and not self._torn:
            before, message = self._from_header(rest)
            if field_delimiter(message):
                rest, completes = before, (message,)
        self._set_aside(rest)
        incomplete = bytes(self._aside)
        self._open.clear()
        self._aside.clear()
        self._record_at = 0
        self._delimiter = b"|"
        self._torn = False
        return completes, incomplete if incomplete.strip(_BLANKS) else b""

    def _from_header(self, text: bytes) -> tuple[bytes, bytes]:
        """The text before the message, and the message. Without any H record all of it is the message."""
        headers = list(_HEADER_RECORD.finditer(text)) if self.header_restarts else [_HEADER_RECORD.search(text)]
        header = headers[-1] if headers else None
        if header is None:
            return b"", text.lstrip(_BLANKS)
        before = text[: header.end()]
        return before if before.strip(_BLANKS) else b"", text[header.end() :]

    def _set_aside(self, text: bytes) -> None:
        self._aside += text[: self._max_message - len(self._aside)]
