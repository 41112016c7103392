"""Several messages in one block: batches, and senders that put one MSH after another. Pure.

    [FHS] { [BHS] { message } [BTS] } [FTS]         HL7 v2.5 chapter 2, 2.10.3

Each message is journaled and answered on its own. Envelope segments are not part of any message; a block that holds
no message, and lines outside of any, are kept as parts of their own, so that nothing vanishes: they cannot be read,
and a person sees them.
"""

import re
from dataclasses import dataclass

from adapters.codecs.hl7v2.charset import wide_codec

_ENVELOPE = (b"FHS", b"BHS", b"BTS", b"FTS")
_NAMES = frozenset((b"MSH", *_ENVELOPE))
# A line that begins a message or an envelope: the name and a separator that is no letter, digit or blank. Runs of
# blanks are bounded, so that the search takes time in proportion to the payload whatever it holds.
_LINE = re.compile(
    rb"(?:\A[\xef\xbb\xbf \t\r\n\x00]*|(?<=[\r\n])[ \t\x00]{0,8})(MSH|FHS|BHS|BTS|FTS)(?=[!-/:-@\[-`{-~]|[\r\n]|\Z)"
)
_BLANKS = b"\xef\xbb\xbf \t\r\n\x00\x1a"


@dataclass(frozen=True, slots=True)
class _Part:
    name: bytes  # MSH, an envelope segment, or empty for lines outside of a message
    raw: bytes


def split(payload: bytes) -> list[bytes]:
    """The messages of one block, byte for byte, in order; at least one part. See `engine.model.ports.Format`."""
    if payload.startswith(b"MSH") and payload.find(b"MSH", 3) < 0:
        return [payload]  # the usual case, without a search by line
    if payload.startswith(b"MSH") and not _goes_on(payload):
        return [payload]  # three letters of an enclosed file
    wide = wide_codec(payload)
    if wide:
        return _split_wide(payload, wide)
    parts = _parts(payload)
    if len(parts) == 1:
        return [payload]
    return [part.raw for part in parts if part.name not in _ENVELOPE] or [payload]


def _goes_on(payload: bytes) -> bool:
    """Whether a later line begins with one of the names, or may do so. For enclosed files, which are long lines: there
    the ends of lines are found a hundred times faster than `_LINE` looks at each byte."""
    for end in (b"\r", b"\n"):
        at = payload.find(end)
        while at >= 0:
            if payload[at + 1 : at + 12].lstrip(b" \t\x00")[:3] in _NAMES:
                return True
            at = payload.find(end, at + 1)
    return False


def is_batch(payload: bytes) -> bool:
    """Whether the block begins with a file or batch header: such a block is answered with a batch."""
    return _narrow(payload).lstrip(_BLANKS)[:3] in (b"FHS", b"BHS")


@dataclass(frozen=True, slots=True)
class Envelope:
    """How the messages of a block were wrapped.

    Attributes:
        file: its FHS segment; None where it has none.
        batches: of each batch its BHS segment, None for messages outside of one, and how many parts it has, as `split`
            gives them.
    """

    file: bytes | None
    batches: list[tuple[bytes | None, int]]


def envelope(payload: bytes) -> Envelope | None:
    """The batches of a block; None where it is no batch (`is_batch`)."""
    if not is_batch(payload):
        return None
    file: bytes | None = None
    batches: list[tuple[bytes | None, int]] = [(None, 0)]
    for part in _parts(_narrow(payload)):
        if part.name == b"FHS":
            file = part.raw if file is None else file
        elif part.name in (b"BHS", b"BTS"):
            batches.append((part.raw if part.name == b"BHS" else None, 0))
        elif part.name != b"FTS":
            head, count = batches[-1]
            batches[-1] = (head, count + 1)
    return Envelope(file, [(head, count) for head, count in batches if count])


def _narrow(payload: bytes) -> bytes:
    """UTF-16 and UTF-32 as UTF-8, all else as it is."""
    wide = wide_codec(payload)
    return payload.decode(wide, "replace").encode("utf-8") if wide else payload


def _parts(payload: bytes) -> list[_Part]:
    parts: list[_Part] = []
    starts = [(found.start(1), found[1]) for found in _LINE.finditer(payload)]
    if not starts or payload[: starts[0][0]].strip(_BLANKS):
        parts.append(_Part(b"", payload[: starts[0][0]] if starts else payload))
    for number, (start, name) in enumerate(starts):
        end = starts[number + 1][0] if number + 1 < len(starts) else len(payload)
        raw = payload[start:end]
        if name == b"MSH":
            parts.append(_Part(name, raw))
            continue
        line = re.split(rb"[\r\n]", raw, maxsplit=1)
        parts.append(_Part(name, line[0]))
        if len(line) > 1 and line[1].strip(_BLANKS):
            parts.append(_Part(b"", line[1]))
    return parts


def _split_wide(payload: bytes, codec: str) -> list[bytes]:
    try:
        text = payload.decode(codec, "surrogatepass").removeprefix("\ufeff")
        whole = text.encode("utf-8", "surrogatepass")
        parts = split(whole)
        if parts == [whole]:
            return [payload]
        return [part.decode("utf-8", "surrogatepass").encode(codec, "surrogatepass") for part in parts]
    except UnicodeError:
        return [payload]
