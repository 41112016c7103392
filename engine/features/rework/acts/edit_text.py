r"""A message as text that any editor can keep, and back to the same bytes. Pure.

    MSH|^~\&|XN|...        a line is a segment or record: its end means the message's own (CR, CR LF or LF)
    OBX|1|TX|||a<0A>b      <HH>, two upper-case hexadecimal digits: one byte that an editor would hide or change
    <3C>0A>                text that only looks so: its first character is written as a byte

Control characters, other line ends, bytes that are not text in the message's character set, and invisible characters (a
byte order mark, marks that change the writing direction) are written as bytes. Everything else is shown as it is, in
UTF-8, and encoded in the message's own character set again. Unchanged text gives the same bytes, whatever they were.
"""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from engine.model.errors import EditedTextError

HEAD = "# labrelay: "  # lines at the top with this prefix are ours and no part of the message
CR, CR_LF, LF = "\r", "\r\n", "\n"

_BREAK = re.compile(r"\r\n|\r|\n")
_BYTE = re.compile(r"<([0-9A-F]{2})>")
_BYTE_MARK = "\ufeff"
_SURROGATES = 0xDC00  # where the error handler "surrogateescape" keeps a byte that does not decode (PEP 383)


@dataclass(frozen=True, slots=True)
class Shape:
    """Properties of a message that its text does not show.

    Attributes:
        charset: Python's name of it.
        line_end: the bytes of a line end.
        ended: the last line has one, too.
    """

    charset: str
    line_end: str = CR
    ended: bool = True


def shown(payload: bytes, charsets: Iterable[str] = ()) -> tuple[str, Shape]:
    """A message as text, and the shape that `read` needs to restore its bytes.

    Args:
        charsets: Python's names of its possible character sets, the likeliest first; UTF-8 comes after them.
    """
    for charset in (*charsets, "utf-8"):
        try:
            codecs.lookup(charset)  # an empty payload decodes in any, also an unknown one
            decoded = payload.decode(charset)
        except (UnicodeDecodeError, LookupError):
            continue
        if (found := _shown(payload, decoded, charset)) is not None:
            return found
    found = _shown(payload, payload.decode("utf-8", "surrogateescape"), "utf-8")
    return found or _as_ascii(payload)


def _as_ascii(payload: bytes) -> tuple[str, Shape]:
    found = _shown(payload, payload.decode("ascii", "surrogateescape"), "ascii")
    assert found is not None, "each byte is a sign or is written as a byte"
    return found


def read(text: str, shape: Shape) -> bytes:
    """The bytes of an edited text.

    Raises:
        EditedTextError: it has a character that the message's character set lacks.
    """
    lines = _BREAK.sub("\n", text.removeprefix(_BYTE_MARK)).split("\n")
    ours = next((number for number, line in enumerate(lines) if not line.startswith(HEAD)), len(lines))
    del lines[:ours]
    if len(lines) > 1 and not lines[-1]:
        del lines[-1]  # the end of the last line is no line of its own
    signs = shape.line_end.join(_BYTE.sub(_signs_of, line) for line in lines)
    if shape.ended:
        signs += shape.line_end
    try:
        return signs.encode(shape.charset, "surrogateescape")
    except UnicodeEncodeError as error:
        sign = signs[error.start]
        number = signs.count(shape.line_end, 0, error.start) + 1
        raise EditedTextError(
            f"line {number}: the sign {sign!r} (U+{ord(sign):04X}) is not in the message's character set "
            f"({shape.charset}); write another one, or its bytes as <HH>"
        ) from None


def _shown(payload: bytes, decoded: str, charset: str) -> tuple[str, Shape] | None:
    """None where the way back would give other bytes."""
    ends = Counter(_BREAK.findall(decoded))
    line_end = ends.most_common(1)[0][0] if ends else CR
    lines = decoded.split(line_end)
    ended = len(lines) > 1 and not lines[-1]
    if ended:
        del lines[-1]
    shape = Shape(charset, line_end, ended)
    text = "".join(f"{_plain(line, charset)}\n" for line in lines)
    try:
        return (text, shape) if read(text, shape) == payload else None
    except EditedTextError:
        return None


def _plain(line: str, charset: str) -> str:
    if "<" in line:
        line = _BYTE.sub(lambda found: f"<3C>{found[1]}>", line)
    if line.startswith(HEAD):
        line = f"<23>{line[1:]}"
    if line.isprintable():
        return line
    return "".join(sign if _is_seen(sign) else _bytes_of(sign, charset) for sign in line)


def _is_seen(sign: str) -> bool:
    return sign.isprintable() or unicodedata.category(sign) == "Zs"


def _bytes_of(sign: str, charset: str) -> str:
    code = ord(sign)
    if code < 0x80:
        return f"<{code:02X}>"
    return "".join(f"<{byte:02X}>" for byte in sign.encode(charset, "surrogateescape"))


def _signs_of(found: re.Match[str]) -> str:
    byte = int(found[1], 16)
    return chr(byte if byte < 0x80 else _SURROGATES + byte)
