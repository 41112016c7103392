"""The net below all rules about test codes: one code for several results of an order. It warns, and changes nothing.

Several results of an order may have one code where each has a time of its own (OBX-14, R-13: a run anew) or a number
of its own (OBX-4). Numbers without either, results in different units, and results of different names, are different
tests, perhaps, whose code is read at the wrong place: the setting `test_code` says where it is.
"""

import re

from engine.mapping.functions.astm import SETTING, astm_test_code
from engine.mapping.functions.numbers import decimal
from engine.mapping.functions.relations import SUSCEPTIBILITY, is_head
from engine.mapping.message_context import MessageContext
from engine.model.message import Segment

_NO_ISOLATE = "susceptibilities (S, I, R) of which nothing says to which isolate they belong: the setting head_codes"
_WORDS = "one code for several results of an order"
_WHERE = "; where the code is read at the wrong place, the setting test_code says where it is (ASTM)"
_OTHER = ("TX", "FT", "ED", "RP")  # OBX-2: lines of a text, documents, pictures
_NUMBER = re.compile(r"[0-9][-0-9./]*[A-Za-z]?", re.ASCII).fullmatch  # of a result in OBX-4: else that is a name
_LETTER = re.compile(r"[^\W\d_]").search


def warn_of_same_codes(run: MessageContext) -> None:
    """A warning at the first result of each message that has the code of another one."""
    result, order = ("OBX", "OBR") if run.hl7 else ("R", "O")
    units: dict[str, str] = {}
    names: dict[tuple[str, int], str] = {}
    seen: set[tuple[str, str, str]] = set()
    taken = set(run.controls)
    heads = not run.hl7 and run.settings.get("head_codes")
    for segment in run.parsed.segments:
        name = segment.name
        if name == order or name in ("P", "PID"):
            units.clear()
            names.clear()
            seen.clear()
        elif name == result and segment.position not in taken and segment.position in run.accounted:
            if run.hl7 and segment.get(2) in _OTHER:
                continue
            if heads and is_head(run, segment):
                units.clear()
                names.clear()
                seen.clear()
            code, number, own = _code(run, segment)
            if any(one and names.setdefault((code, at), one) != one for at, one in enumerate(map(str.casefold, own))):
                _warn(run, segment, "with different names")
                return
            unit = segment.get(6 if run.hl7 else 5).strip()
            # A code table may have a row for each unit (HbA1c in % and in mmol/mol).
            if unit and units.setdefault(code, unit) != unit and segment.position in run.without_row:
                _warn(run, segment, "with different units")
                return
            raw = segment.get(5 if run.hl7 else 4).partition(run.R)[0]
            tested = not run.hl7 and not SUSCEPTIBILITY.isdisjoint((segment.get(7), raw))
            if tested or (raw and (found := decimal(run, raw)) is not None and found.value is not None):
                key = code, number, segment.get(14 if run.hl7 else 13).strip()
                if key in seen and tested:
                    run.at = segment
                    run.warn("UNLINKED", _NO_ISOLATE)
                    return
                if key in seen:
                    _warn(run, segment, "and neither a time nor a number of their own")
                    return
                seen.add(key)


def _warn(run: MessageContext, segment: Segment, why: str) -> None:
    run.at = segment
    run.warn("SAME_CODE", f"{_WORDS}, {why}{_WHERE}")


def _code(run: MessageContext, segment: Segment) -> tuple[str, str, tuple[str, str]]:
    """The code of a result, its own number (OBX-4), and names beside the code: OBX-3.2 and OBX-4; components 1 and 5 of
    R-3, where the channel does not say itself which of them count."""
    raw = segment.get(3)
    parts = [part.strip() for part in raw.split(run.C)] + [""] * 5
    if not run.hl7:
        own = [parts[at] if _LETTER(parts[at]) and not run.settings.get(SETTING) else "" for at in (0, 4)]
        return (astm_test_code(run, raw) or "") if raw else "", "", (own[0], own[1])
    number = segment.get(4).strip()
    code = parts[0] or raw
    if run.S in code:
        return f"{code}/{number}", number, ("", "")
    return code, number, (parts[1], number if _LETTER(number) and not _NUMBER(number) else "")
