r"""The text of an E1394 record: delimiters, characters, escapes, and the helpers that take a field apart. Pure.

    H | \^& | ...          H-1, then H-2: repeat, component and escape delimiter, in this order
      ^ the character after the type letter is the field delimiter

Each H record declares its own delimiters; they are read from it, never assumed. Fields keep their escapes until a value
is taken out of them: split first, unescape once, last.

Lines of seven data bits, where a byte carries the parity in bit 7, or nothing.

A UART that is set to seven bits hands on bytes whose bit 7 is clear. Some lines have none: a device server whose port
is set to 8N1 passes the analyzer's parity bit on as bit 7 of each byte, and a checksum over such bytes is wrong
although no bit was damaged. So bit 7 of every byte from a line of seven bits is cleared, which changes nothing where a
UART has done it already.

On the way out the parity goes into bit 7: a server that is set to seven bits drops it and makes its own, one that is
set to eight sends it as it is. The analyzer receives the right parity in both cases.
"""

import re
from functools import lru_cache

from engine.model.errors import ContentError
from engine.model.message import Delimiters
from engine.model.texts.reasons import ReasonCode

_CLEAR = bytes(byte & 0x7F for byte in range(256))
_EVEN = bytes((byte & 0x7F) | (((byte & 0x7F).bit_count() & 1) << 7) for byte in range(256))
_PARITY = {
    "none": _CLEAR,
    "space": _CLEAR,
    "even": _EVEN,
    "odd": bytes(byte ^ 0x80 for byte in _EVEN),
    "mark": bytes(byte | 0x80 for byte in _CLEAR),
}


def strip(data: bytes) -> bytes:
    """``data`` with bit 7 of each byte clear."""
    return data.translate(_CLEAR)


def with_parity(data: bytes, parity: str) -> bytes:
    """``data`` as seven bits with the parity in bit 7.

    Args:
        parity: ``none``, ``even``, ``odd``, ``mark`` or ``space``; bit 7 is clear for ``none`` and ``space``.
    """
    return data.translate(_PARITY[parity])


BLANKS = "\0\n\r\t "  # characters without meaning before a record
CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # what no FHIR string may hold
FALLBACK_CHARSETS = ("utf-8", "cp1252", "latin-1")  # after the channel's own; the last one reads any bytes


def delimiters_of(record: str) -> Delimiters:
    """The delimiters that an H record declares.

    A definition that begins with its repeat delimiter twice is a known generator fault, read as if it had it once.
    A missing escape delimiter means that nothing is escaped.

    Raises:
        ContentError: UNREADABLE, the record is no H record or its delimiters are not distinct.
    """
    if record[:1] not in ("H", "h") or len(record) < 2 or not _may_delimit(record[1]):
        raise ContentError(ReasonCode.UNREADABLE, "the text does not begin with an H record", place="H")
    definition = record[2:].split(record[1], 1)[0].strip()
    if len(definition) > 2 and definition[0] == definition[1]:
        definition = definition[1:]
    declared = record[1] + definition[:3]
    if len(declared) < 3 or len(set(declared)) != len(declared) or not all(map(_may_delimit, declared)):
        raise ContentError(ReasonCode.UNREADABLE, "the H record declares no usable delimiters", place="H-2")
    return Delimiters(
        field=declared[0], repetition=declared[1], component=declared[2], escape=declared[3:], subcomponent=""
    )


def decode(data: bytes, charsets: tuple[str, ...]) -> tuple[str, str]:
    """Decode a whole message at once; return its text and the charset that read it.

    E1394 declares no character set. The channel's list is tried strictly and in order, then UTF-8, which other text
    hardly ever is by accident, then Windows-1252 and Latin-1.

    Raises:
        ContentError: UNKNOWN_CHARSET, the channel names a charset that does not exist.
    """
    for name in (*charsets, *FALLBACK_CHARSETS):
        try:
            return data.decode(name), name
        except UnicodeDecodeError:
            continue
        except (LookupError, ValueError) as error:
            raise ContentError(ReasonCode.UNKNOWN_CHARSET, f"no character set is called {name!r}") from error
    raise AssertionError("latin-1 reads any bytes")


def unescape(text: str, delimiters: Delimiters) -> str:
    """Replace the escape sequences of one component, once.

    ``&F& &R& &S& &E&`` are the delimiters, ``&Xhh..&`` bytes in hexadecimal (UTF-8 if they are, else Windows-1252; a
    control character becomes U+FFFD, a line end LF). ``&H&`` and ``&N&`` switch highlighting and vanish. ``&Z..&`` is
    agreed between two sides, so it stays as it is, as does an escape character that begins no sequence: units and
    addresses contain ``&``.
    """
    escape = delimiters.escape
    if not escape or escape not in text:
        return text
    letters = {
        "F": delimiters.field,
        "R": delimiters.repetition,
        "S": delimiters.component,
        "E": escape,
        "H": "",
        "N": "",
    }

    def replacement(match: re.Match[str]) -> str:
        sequence = match[1]
        return _text_of_hex(sequence[1:]) if sequence[0] == "X" else letters[sequence]

    return _escape_pattern(escape).sub(replacement, text)


def repetitions(value: str, delimiters: Delimiters) -> list[str]:
    """The repetitions of a field, still escaped; one empty repetition for an empty field."""
    return value.split(delimiters.repetition) if delimiters.repetition else [value]


def components(value: str, delimiters: Delimiters) -> list[str]:
    """The components of one repetition, still escaped."""
    return value.split(delimiters.component) if delimiters.component else [value]


def _may_delimit(character: str) -> bool:
    return "!" <= character <= "~" and not character.isalnum()


@lru_cache(maxsize=32)
def _escape_pattern(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    return re.compile(f"{mark}([FRSEHN]|X(?:[0-9A-Fa-f]{{2}})+){mark}")


def _text_of_hex(digits: str) -> str:
    text, _ = decode(bytes.fromhex(digits), ())
    return CONTROL_CHARACTER.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
