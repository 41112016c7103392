r"""Bytes as people read them: control characters by name, hex beside text, patient data masked.

Masked means: each letter is ``x``, each digit ``9``, its hex ``..``; a byte with bit 7 set is ``?`` with hex ``^^``.
Unmasked are the signs needed to judge a line: control characters, delimiters, blanks, lengths, and letters and digits
of the protocol itself (frame numbers, checksums, the names of records and segments).

    02 31 48 7C 5C 5E 26 7C 7C 7C .. .. .. ..      STX 1H|\^&|||xxxx
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

ROW_BYTES = 16

_C0 = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI "
    "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
)
NAMES = dict(enumerate(_C0.split())) | {0x7F: "DEL"}

# The protocol's own letters and digits. A record's name only where its delimiter follows, so that nothing of a field
# that was cut between two frames is shown.
_OWN = re.compile(
    rb"(?<=\x02)[0-7]"  # the frame number
    rb"|(?:(?<=[\r\n])|(?<=\x02[0-7])|(?<=\A\x02[0-7])|\A)[HPORCQMSL](?=[|@!^~\\])"
    rb"|(?<=[\x03\x17\x1d])[0-9A-Fa-f]{2}"  # the checksum
    rb"|(?:(?<=[\r\n\x0b])|\A)(?:MSH|MSA|ERR|EVN|PID|PV1|PV2|ORC|OBR|OBX|NTE|SPM|SAC|TCD|INV|EQU|TQ1|QPD|QRD|QRF|RCP"
    rb"|QAK|QID|DSP|DSC|FHS|BHS|BTS|FTS)(?=[|])"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a dump: the same bytes twice."""

    hex: str
    text: str


def rows(data: bytes, *, masked: bool, before: bytes = b"", width: int = ROW_BYTES) -> Iterator[Row]:
    """``data`` as rows of ``width`` bytes; a row ends early after a line end, so that records begin rows.

    Args:
        before: the byte in front of ``data``, which shows whether a record begins.
    """
    shown = masks(data, before) if masked else bytes(len(data))
    at = 0
    while at < len(data):
        end = _row_end(data, at, width)
        yield Row(_hex(data[at:end], shown[at:end]), _text(data[at:end], shown[at:end]))
        at = end


def text(data: bytes, *, masked: bool, before: bytes = b"") -> str:
    """``data`` in one line."""
    return _text(data, masks(data, before) if masked else bytes(len(data)))


def masks(data: bytes, before: bytes = b"") -> bytes:
    """For each byte, 1 where it is not to be shown."""
    hidden = bytearray(byte >= 0x80 or (byte < 0x7F and chr(byte).isalnum()) for byte in data)
    joined = before[-2:] + data
    shift = len(joined) - len(data)
    for own in _OWN.finditer(joined):
        if own.start() >= shift and (own.start() > 0 or not before):
            for at in range(own.start() - shift, own.end() - shift):
                hidden[at] = 0
    return bytes(hidden)


def name(byte: int) -> str:
    """``ENQ``, ``A``, ``é`` is ``\\xE9``: a sign for one byte."""
    if byte in NAMES:
        return NAMES[byte]
    return chr(byte) if byte < 0x80 else f"\\x{byte:02X}"


def _row_end(data: bytes, at: int, width: int) -> int:
    stop = min(at + width, len(data))
    for end in range(at + 1, stop):
        if data[end - 1] in b"\r\n" and data[end] not in b"\r\n\x03\x17":
            return end
    return stop


def _hex(data: bytes, hidden: bytes) -> str:
    return " ".join(
        f"{byte:02X}" if not hide else "^^" if byte >= 0x80 else ".." for byte, hide in zip(data, hidden, strict=True)
    )


def _text(data: bytes, hidden: bytes) -> str:
    parts: list[str] = []
    run = ""
    for byte, hide in zip(data, hidden, strict=True):
        if byte in NAMES:
            parts += [run, NAMES[byte]] if run else [NAMES[byte]]
            run = ""
        elif not hide:
            run += name(byte)
        else:
            run += "?" if byte >= 0x80 else "9" if chr(byte).isdigit() else "x"
    return " ".join([*parts, run] if run else parts)
