"""Find the messages in text of unknown kind, as far as guessing needs them: their kind, not their content. Pure.

ASTM E1394 records and HL7 v2 segments are recognised by their headers. A header in the middle of other text counts only
at the beginning of a line, and only with its delimiters after it.
"""

import re
from dataclasses import dataclass, field

# H, the field delimiter and the others; nearly always H|\^&.
_H_RECORD = re.compile(rb"\A[\x00 \t]*[Hh]([^\w\s])([^\w\s]{2,4})(?=\1|\Z|[\r\n])")
_DOUBLED = b"\\\\^&"
_RECORD = re.compile(rb"\A[\x00 \t]*([A-Za-z])([^\w\s])")
_LINES = re.compile(rb"[^\r\n]+")
_MSH = re.compile(rb"(?:\A|[\r\n\x0b])(?:\xef\xbb\xbf)?[\x00 \t]*(MSH([^\w\s])[^\r\n]*)")
_WIDE = (b"M\x00S\x00H\x00", b"\x00M\x00S\x00H")
_TYPE = re.compile(r"\A[A-Z]{3}(\^[A-Z0-9]{2,4}(\^[A-Z0-9_]{3,8})?)?")
_VERSION = re.compile(r"\A\d(\.\d){1,2}")
_CHARSET = re.compile(r"\A[A-Za-z0-9 _/.-]{1,24}\Z")
_QUERIES = ("QBP", "QRY", "QCN", "QSX")


@dataclass(slots=True)
class AstmText:
    """The records in a text.

    Attributes:
        headers: H records.
        types: the letters of the records from the first H on, in order.
        unfinished: messages (from an H to before the next) without an L record.
        doubled_escape: an H record declares ``\\\\^&``, a known fault of generators.
        odd_lines: lines that are no records.
    """

    headers: int = 0
    types: list[str] = field(default_factory=list)
    unfinished: int = 0
    doubled_escape: bool = False
    odd_lines: int = 0


@dataclass(frozen=True, slots=True)
class Hl7Message:
    """The header of one HL7 message. Each text is empty where the field is, or is not of the shape it must have.

    Attributes:
        charset: MSH-18.
    """

    type: str = ""
    version: str = ""
    charset: str = ""

    @property
    def is_query(self) -> bool:
        return self.type.startswith(_QUERIES)


def astm_text(text: bytes) -> AstmText:
    """The records in ``text``; no headers where it holds none."""
    found = AstmText()
    delimiter = b""
    open_message = False
    for match in _LINES.finditer(text):
        line = match[0]
        header = _H_RECORD.match(line)
        if header:
            found.unfinished += open_message
            found.headers += 1
            open_message = True
            delimiter = header[1]
            found.doubled_escape |= header[2].startswith(_DOUBLED)
            found.types.append("H")
            continue
        record = _RECORD.match(line)
        if not found.headers:
            continue
        if record is None or record[2] != delimiter:
            found.odd_lines += 1
            continue
        letter = record[1].decode().upper()
        found.types.append(letter)
        if letter == "L":
            open_message = False
    found.unfinished += open_message
    return found


def hl7_messages(text: bytes) -> list[Hl7Message]:
    """The headers in ``text``, also where it is UTF-16."""
    head = text[:64].lstrip(b"\xff\xfe")
    for mark, codec in zip(_WIDE, ("utf-16-le", "utf-16-be"), strict=True):
        if head.startswith(mark):
            text = text.decode(codec, "replace").lstrip("\ufeff").encode("utf-8")
    return [_header(match[1], match[2]) for match in _MSH.finditer(text)]


def _header(line: bytes, separator: bytes) -> Hl7Message:
    # MSH-1 is the separator itself, so item n of the split is MSH-(n+1).
    items = [item.decode("latin-1") for item in line.split(separator)]
    items += [""] * (18 - len(items))
    kind, version = _TYPE.match(items[8]), _VERSION.match(items[11])
    charset = items[17].split("~")[0] if len(items) > 17 else ""
    return Hl7Message(
        type=kind[0] if kind else "",
        version=version[0] if version else "",
        charset=charset if _CHARSET.match(charset) else "",
    )
