"""The MSH segment, read cheaply from the bytes: before a message is stored, and to acknowledge it. Pure.

    MSH | ^~\\& | sending application | ...      MSH-1 is the byte after ``MSH``; MSH-n is split index n-1

Nothing here raises: a header that cannot be read has a problem, and the message is then UNREADABLE. Source: HL7 v2.5
chapter 2, 2.5 (delimiters) and 2.15.9 (MSH). Values are text in which each byte is one character (ISO 8859-1, so that
encoding gives the sender's bytes back exactly), except in UTF-16 and UTF-32, which are decoded.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from adapters.codecs.hl7v2_charset import wide_codec
from adapters.codecs.hl7v2_types import event_code, type_code
from adapters.codecs.minutes import to_the_minute
from engine.message import Delimiters, Header

HEAD_BYTES = 64 * 1024  # of a payload are looked at for its MSH segment
MAX_CONTROL_ID = 250  # characters; the standard allows 20, since v2.7 199

NO_MSH = "no MSH segment"
BAD_DELIMITERS = "MSH-1 and MSH-2 are not usable as delimiters"
NO_CONTROL_ID = "MSH-10 is missing"
LONG_CONTROL_ID = f"MSH-10 is longer than {MAX_CONTROL_ID} characters"

_LEADING = b"\xef\xbb\xbf \t\r\n\x00"
_PRINTABLE = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_VERSION = re.compile(r"[0-9]+(\.[0-9A-Za-z]{1,4}){0,3}").match
_RESULT = re.compile(rb"[\r\n](OBX|OBR)([^\r\n]*)")
_MEASURED = {b"OBX": 14, b"OBR": 22}


class Msh(NamedTuple):
    """A message's MSH segment.

    Attributes:
        fields: split at the field separator, still escaped; MSH-n is ``fields[n - 1]``, use `field`.
        wide: the UTF-16 or UTF-32 codec of the message, else empty.
        problem: why the message cannot be read, else empty.
    """

    fields: list[str]
    delimiters: Delimiters
    wide: str = ""
    problem: str = ""

    def field(self, number: int) -> str:
        """MSH-``number`` (from 2), empty if absent."""
        return self.fields[number - 1] if number <= len(self.fields) else ""


@lru_cache(maxsize=256)
def delimiters_in(field: str, encoding: str) -> Delimiters | None:
    """Delimiters of MSH-1 and MSH-2, or None where they cannot be told apart or are letters, digits or blanks.

    Characters that a short MSH-2 does not give do not exist for the message; a fifth is the truncation character of
    v2.7, which we never need.
    """
    given = field + encoding[:5]
    if len(field) != 1 or not encoding or len(set(given)) != len(given) or not _PRINTABLE.issuperset(given):
        return None
    return Delimiters(field, *(encoding[at : at + 1] for at in range(4)))


def read_msh(payload: bytes) -> Msh:
    """The MSH segment that ``payload`` begins with, after blanks and a byte order mark."""
    head = payload if len(payload) <= HEAD_BYTES else payload[:HEAD_BYTES]
    wide = ""
    if not head.startswith(b"MSH"):
        wide = wide_codec(head)
        if wide:
            text = head.decode(wide, "replace").lstrip("\ufeff \t\r\n\x00")
        else:
            text = head.lstrip(_LEADING).decode("latin-1")
        if not text.startswith("MSH"):
            return Msh([], Delimiters(), wide, NO_MSH)
        line = text.split("\r", 1)[0].split("\n", 1)[0]
    else:
        end = head.find(b"\r")
        segment = head[:end] if end >= 0 else head
        end = segment.find(b"\n")
        line = str(segment[:end] if end >= 0 else segment, "latin-1")
    separator = line[3:4]
    fields = line.split(separator) if separator else [line]
    delimiters = delimiters_in(separator, fields[1]) if len(fields) > 1 and len(fields[1]) < 12 else None
    if delimiters is None:
        return Msh(fields, Delimiters(), wide, BAD_DELIMITERS)
    control_id = fields[9].strip() if len(fields) > 9 else ""
    problem = ""
    if not control_id or control_id == '""':
        problem = NO_CONTROL_ID
    elif len(control_id) > MAX_CONTROL_ID:
        problem = LONG_CONTROL_ID
    return Msh(fields, delimiters, wide, problem)


def header(payload: bytes) -> Header:
    """Control id, message type and version. Never raises; see `engine.ports.Format`."""
    msh = read_msh(payload)
    fields = msh.fields
    if msh.problem == NO_MSH or msh.problem == BAD_DELIMITERS:
        return Header(problem=msh.problem)
    control_id = fields[9].strip() if len(fields) > 9 and msh.problem != LONG_CONTROL_ID else ""
    if control_id == '""':
        control_id = ""
    if not msh.wide:
        control_id = readable(control_id)
    sent = to_the_minute(fields[6].strip()) if len(fields) > 6 else ""
    return Header(
        control_id,
        message_type(fields[8][:64], msh.delimiters.component) if len(fields) > 8 else "",
        version(fields[11][:64]) if len(fields) > 11 else "",
        msh.problem,
        sent,
        "" if sent or msh.wide else _measured(payload, fields[0][3:] or msh.delimiters.field),
    )


def _measured(payload: bytes, separator: str) -> str:
    """The first time of a result in the first 64 KiB: OBX-14, or OBR-22 (when results were reported)."""
    for found in _RESULT.finditer(payload, 0, HEAD_BYTES):
        number = _MEASURED[found[1]]
        fields = found[2].split(separator.encode("latin-1"), number + 1)
        if len(fields) > number and (said := to_the_minute(str(fields[number].strip(), "latin-1"))):
            return said
    return ""


@lru_cache(maxsize=256)
def message_type(msh9: str, component: str) -> str:
    """``ORU^R01`` of an MSH-9, in the usual notation; parts that are no codes are left out."""
    parts = msh9.split(component) if component else [msh9]
    kind, event = [*(part.strip() for part in parts[:2]), ""][:2]
    return f"{type_code(kind)}^{event_code(event)}".strip("^")


@lru_cache(maxsize=256)
def version(msh12: str) -> str:
    """``2.5.1`` of an MSH-12, without what follows."""
    found = _VERSION(msh12.strip())
    return found[0][:16] if found else ""


def readable(text: str) -> str:
    """Text of bytes that were read as ISO 8859-1: as UTF-8 if that is what they are."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text
