"""HL7 v2 or ASTM E1394, message by message: the first segment or record decides. Pure.

For a source where either may come (`auto_link`); see `hl7v2` and `astm_records`, which do the reading.
"""

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.message import FormatOptions, Header, Parsed

HL7, ASTM = "hl7v2", "astm"
_BLANKS = b"\x00\t\r\n "
_UTF8_MARK = b"\xef\xbb\xbf"
_HEADERS = (b"MSH", b"FHS", b"BHS")
_WIDE = tuple(
    start
    for codec in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
    for start in ("\ufeff".encode(codec), *(name[:2].encode(codec) for name in ("MSH", "FHS", "BHS")))
)


def format_of(payload: bytes) -> str:
    """``hl7v2`` or ``astm``; a text that begins like neither is taken for ASTM, whose reader says what is wrong."""
    if payload.startswith(_WIDE) or payload.removeprefix(_UTF8_MARK).lstrip(_BLANKS).startswith(_HEADERS):
        return HL7
    return ASTM


def header(payload: bytes) -> Header:
    return hl7v2.header(payload) if format_of(payload) == HL7 else astm_records.header(payload)


def split(payload: bytes) -> list[bytes]:
    return hl7v2.split(payload) if format_of(payload) == HL7 else astm_records.split(payload)


def parse(payload: bytes, options: FormatOptions) -> Parsed:
    read = hl7v2.parse if format_of(payload) == HL7 else astm_records.parse
    return read(payload, options)
