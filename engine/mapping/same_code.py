"""The net below all rules about test codes: one code for several results of an order. It warns, and changes nothing.

Several results of an order may have one code where each has a time of its own (OBX-14, R-13: a run anew) or a number
of its own (OBX-4). Numbers without either, and results in different units, are different tests, perhaps, whose code
is read at the wrong place: the setting `test_code` says where it is.
"""

from engine.mapping.functions.astm import astm_test_code
from engine.mapping.functions.numbers import decimal
from engine.mapping.functions.relations import SUSCEPTIBILITY, is_head
from engine.mapping.message_context import MessageContext
from engine.model.message import Segment

_NO_ISOLATE = "susceptibilities (S, I, R) of which nothing says to which isolate they belong: the setting head_codes"
_WORDS = "one code for several results of an order"
_WHERE = "; where the code is read at the wrong place, the setting test_code says where it is (ASTM)"


def warn_of_same_codes(run: MessageContext) -> None:
    """A warning at the first result of each message that has the code of another one."""
    result, order = ("OBX", "OBR") if run.hl7 else ("R", "O")
    units: dict[str, str] = {}
    seen: set[tuple[str, str, str]] = set()
    taken = set(run.controls)
    heads = not run.hl7 and run.settings.get("head_codes")
    for segment in run.parsed.segments:
        name = segment.name
        if name == order or name in ("P", "PID"):
            units.clear()
            seen.clear()
        elif name == result and segment.position not in taken and segment.position in run.accounted:
            if heads and is_head(run, segment):
                units.clear()
                seen.clear()
            code, number = _code(run, segment)
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


def _code(run: MessageContext, segment: Segment) -> tuple[str, str]:
    """The code of a result, and its own number (OBX-4)."""
    raw = segment.get(3)
    if not run.hl7:
        return (astm_test_code(run, raw) or "") if raw else "", ""
    number = segment.get(4).strip()
    code = raw.partition(run.C)[0].strip() or raw
    return (f"{code}/{number}" if run.S in code else code), number
