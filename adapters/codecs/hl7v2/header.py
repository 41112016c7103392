"""The MSH segment, read cheaply from the bytes: before a message is stored, and to acknowledge it. Pure.

    MSH | ^~\\& | sending application | ...      MSH-1 is the byte after ``MSH``; MSH-n is split index n-1

Nothing here raises: a header that cannot be read has a problem, and the message is then UNREADABLE. Source: HL7 v2.5
chapter 2, 2.5 (delimiters) and 2.15.9 (MSH). Values are text in which each byte is one character (ISO 8859-1, so that
encoding gives the sender's bytes back exactly), except in UTF-16 and UTF-32, which are decoded.

The parts of a message's type that may be shown: codes of HL7 v2's tables 0076 (types), 0003 (events), 0354
(structures), and local ones, which begin with Z (chapter 2, 2.11.5). Pure.

MSH-9 appears in lists, logs and answers. Other text that a sender puts there, even a name of three letters, is left
out.
"""

import re
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from adapters.codecs.hl7v2.charset import wide_codec
from adapters.codecs.minutes import to_the_minute
from engine.model.message import Delimiters, Header

HEAD_BYTES = 64 * 1024  # of a payload are looked at for its MSH segment
KEPT_BYTES = 1024  # of an MSH segment that is kept for those who ask for it next
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
        header: the values for the journal; without the time of a result.
    """

    fields: tuple[str, ...]
    delimiters: Delimiters
    wide: str = ""
    problem: str = ""
    header: Header = Header()

    def field(self, number: int) -> str:
        """MSH-``number`` (from 2), empty if absent."""
        return self.fields[number - 1] if number <= len(self.fields) else ""


@lru_cache(maxsize=256)
def delimiters_in(field: str, encoding: str) -> Delimiters | None:
    """Delimiters of MSH-1 and MSH-2, or None where they are not distinct or are letters, digits or blanks.

    Characters that a short MSH-2 does not give do not exist for the message; a fifth is the truncation character of
    v2.7, which we never need.
    """
    given = field + encoding[:5]
    if len(field) != 1 or not encoding or len(set(given)) != len(given) or not _PRINTABLE.issuperset(given):
        return None
    return Delimiters(field, *(encoding[at : at + 1] for at in range(4)))


def read_msh(payload: bytes) -> Msh:
    """The MSH segment that ``payload`` begins with, after blanks and a byte order mark."""
    if not payload.startswith(b"MSH"):
        return _msh_behind(payload[:HEAD_BYTES])
    end = payload.find(b"\r", 0, HEAD_BYTES)
    segment = payload[: HEAD_BYTES if end < 0 else end]
    end = segment.find(b"\n")
    if end >= 0:
        segment = segment[:end]
    return _kept(segment) if len(segment) <= KEPT_BYTES else _msh(str(segment, "latin-1"))


@lru_cache(maxsize=256)
def _kept(segment: bytes) -> Msh:
    """A message asks four times, other messages in between: for its row, its answer, its numbers and its fields."""
    return _msh(str(segment, "latin-1"))


def _msh_behind(head: bytes) -> Msh:
    """The MSH segment behind blanks or a byte order mark, or in UTF-16 or UTF-32."""
    wide = wide_codec(head)
    if wide:
        text = head.decode(wide, "replace").lstrip("\ufeff \t\r\n\x00")
    else:
        text = head.lstrip(_LEADING).decode("latin-1")
    if not text.startswith("MSH"):
        return Msh((), Delimiters(), wide, NO_MSH, Header(problem=NO_MSH))
    return _msh(text.split("\r", 1)[0].split("\n", 1)[0], wide)


def _msh(line: str, wide: str = "") -> Msh:
    separator = line[3:4]
    fields = tuple(line.split(separator)) if separator else (line,)
    delimiters = delimiters_in(separator, fields[1]) if len(fields) > 1 and len(fields[1]) < 12 else None
    if delimiters is None:
        return Msh(fields, Delimiters(), wide, BAD_DELIMITERS, Header(problem=BAD_DELIMITERS))
    control_id = fields[9].strip() if len(fields) > 9 else ""
    problem = ""
    if not control_id or control_id == '""':
        control_id, problem = "", NO_CONTROL_ID
    elif len(control_id) > MAX_CONTROL_ID:
        control_id, problem = "", LONG_CONTROL_ID
    found = Header(
        control_id if wide else readable(control_id),
        message_type(fields[8][:64], delimiters.component) if len(fields) > 8 else "",
        version(fields[11][:64]) if len(fields) > 11 else "",
        problem,
        to_the_minute(fields[6].strip()) if len(fields) > 6 else "",
    )
    return Msh(fields, delimiters, wide, problem, found)


def header(payload: bytes) -> Header:
    """Control id, message type and version. Never raises; see `engine.model.ports.Format`."""
    msh = read_msh(payload)
    found = msh.header
    if found.sent or msh.wide or msh.problem in (NO_MSH, BAD_DELIMITERS):
        return found
    measured = _measured(payload, msh.delimiters.field)
    return replace(found, measured=measured) if measured else found


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


_TABLE_0076 = """
ACK ADR ADT ARD BAR BPS BRP BRT BTS CCF CCI CCM CCQ CCU CNQ CQU CRM CSU DBC DBU DEL DEO DER DFT DOC DPR DRC
DSR EAC EAN EAR EDR EHC EQQ ERP ERQ ESR ESU INR INU LSR LSU MCF MDM MFD MFK MFN MFQ MFR NMD NMQ NMR OMB OMD
OMG OMI OML OMN OMP OMQ OMS OPL OPR OPU ORA ORB ORD ORF ORG ORI ORL ORM ORN ORP ORR ORS ORU ORX OSM OSQ OSR
OSU OUL PEX PGL PIN PMU PPG PPP PPR PPT PPV PRR PTR QBP QCK QCN QRY QSB QSX QVR RAR RAS RCI RCL RDE RDR RDS
RDY REF RER RGR RGV ROC ROD ROR RPA RPI RPL RPR RQA RQC RQI RQP RQQ RRA RRD RRE RRG RRI RSP RTB SCN SDN SDR
SIU SLN SLR SMD SPQ SQM SQR SRM SRR SSR SSU STC STI SUR TBR TCR TCU UDM VQQ VXQ VXR VXU VXX
"""
_TYPES = frozenset(_TABLE_0076.split())
_LOCAL_TYPE = re.compile(r"Z[A-Z0-9]{2}").fullmatch
# Table 0003: a letter and a number, and these.
_EVENT = re.compile(r"[ABCEIJKMNOPQRSTUVWXZ][0-9]{2}|CNQ|PC[1-9A-HJ-L]|R0R|RAR|RDR|RER|RGR|ROR").fullmatch


def type_code(text: str) -> str:
    """MSH-9.1, where it is a code of table 0076 or a local one; else empty."""
    return text if text in _TYPES or _LOCAL_TYPE(text) else ""


def event_code(text: str) -> str:
    """MSH-9.2, where it is a code of table 0003 or a local one; else empty."""
    return text if _EVENT(text) else ""


def structure_code(text: str) -> str:
    """MSH-9.3, where it is made of such codes, as those of table 0354 are; else empty."""
    kind, _, event = text.partition("_")
    known = type_code(kind) and (not event or event_code(event))
    return text if known else ""
