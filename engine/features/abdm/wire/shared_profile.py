"""A patient who has shared his ABHA profile at a counter, as a message for the laboratory system: ADT^A04. Pure.

    EVN-7    the laboratory's id at ABDM
    PID-3    ABHA address (type ABHA), ABHA number (type HIN); no number of the laboratory: it may not know him yet
    PID-5    the name as ABHA holds it, one text in PID-5.1: which part is the family's is not said
    PID-7    date of birth; the year alone where no more is known
    PID-8    M, F, O or U; D and T of ABHA are O, as table 0001 has no other
    PID-11   line, district, state, PIN code
    PID-13   mobile
    PV1-3    the counter whose code he has scanned
    PV1-19   his token at that counter, on this day
    PV1-44   when

A delimiter in a text is escaped.

Source: HL7 v2.5.1 chapter 3 (3.3.4, A04: register a patient), tables 0001, 0201 and 0203.
"""

from collections.abc import Mapping
from typing import Any

from adapters.codecs.hl7v2 import order_status
from adapters.codecs.hl7v2.text import escape
from engine.features.abdm.rules.shares import Shared
from engine.model.message import Delimiters

TYPE = "ADT^A04^ADT_A01"
_SIGNS = Delimiters()
_SEX = frozenset("MFU")


def control_id(shared: Shared) -> str:
    """MSH-10; no two tokens share one."""
    return f"T{shared.number}"


def message(shared: Shared, *, at: str, settings: Mapping[str, Any]) -> bytes:
    """The message, with a CR after each segment, as UTF-8.

    Args:
        at: when he has shared it, ``YYYYMMDDHHMMSS+ZZZZ``.
        settings: as of `order_status.message`; without ``sending_facility`` MSH-4 is the laboratory's id at ABDM.
    """
    one = shared.profile
    ids = [(one.address, "ABHA"), (one.number, "HIN")]
    home = _joined(one.line, "", one.district, one.state, one.pincode, "IND", "H") if one.line or one.pincode else ""
    known = "~".join(_joined(text, "", "", "ABDM", kind) for text, kind in ids if text)
    mobile = _joined(one.mobile, "PRN", "CP") if one.mobile else ""
    sex = one.gender if one.gender in _SEX else "O"
    segments = [
        order_status.header({"sending_facility": shared.facility, **settings}, at, TYPE, control_id(shared)),
        ["EVN", "A04", at, "", "", "", at, _text(shared.facility)],
        ["PID", "1", "", known, "", _text(one.name), "", one.born, sex, "", "", home, "", mobile],
        ["PV1", "1", "O", _text(shared.counter), *[""] * 15, str(shared.token), *[""] * 24, at],
    ]
    return "".join(f"{'|'.join(fields).rstrip('|')}\r" for fields in segments).encode("utf-8", "replace")


def _joined(*texts: str) -> str:
    return "^".join(map(_text, texts)).rstrip("^")


def _text(value: str) -> str:
    return escape(value, _SIGNS)
