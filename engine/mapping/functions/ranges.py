"""Reference ranges, as they are written: ``4.5-11.0``, ``3.5 to 5.1``, ``<5``, ``up to 40``.

A conversion of the code table applies to them as to the value beside them (`engine.mapping.functions.numbers`).
"""

import re
from functools import lru_cache

import orjson
from orjson import Fragment

from engine.mapping.code_tables.tables import Row
from engine.mapping.functions.numbers import Json, amount, number, unit_of, unit_text
from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext
from engine.mapping.values.json_text import as_text

_RANGE = re.compile(r"(-?[0-9.,eE]+)\s*(?:-|–|\.\.|to|TO|To|~)\s*(-?[0-9.,eE]+)(?:\s*(\D[^\s]*))?", re.ASCII)
_PLAIN_RANGE = re.compile(
    r"((?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?)(?: ?- ?| to )((?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?)", re.ASCII
).fullmatch
_BOUND = re.compile(r"(<=|>=|=<|=>|[<>≤≥])\s*(-?[0-9.,eE]+)(?:\s*(\D[^\s]*))?", re.ASCII)
_WORD_BOUND = re.compile(r"(?:up to|bis)\s+(-?[0-9.,eE]+)", re.ASCII | re.IGNORECASE)


@function(
    "reference_range(range: field, row: row?, unit: field?, units: row?) -> Observation.referenceRange",
    steady=True,
    settings=("decimal_comma",),
)
def reference_range(
    run: MessageContext, raw: str, row: Row | None, unit: str | None, units: Row | None = None
) -> Json | Fragment | None:
    """A reference range as it is written: `a-b`, `a to b`, `<b`, `>=a` give low and high with the result's unit and
    conversion; the text always stays, unless the row converts. A range that names another unit than the result, or
    whose ends are the wrong way round, stays text. In ASTM words behind the range say which one it is
    (`50 to 100^therapeutic`; E1394, 9.4.7)."""
    if run.C not in raw or run.hl7:
        return _limits(run, raw, row, unit, units)
    head, _, words = raw.partition(run.C)
    told = run.whole(words.strip(f"{run.C} "))
    if told is not None and (run.C in told or any(sign.isdigit() for sign in told)):
        return _limits(run, raw, row, unit, units)  # may be an upper limit: all of it is one text
    made = _limits(run, head, row, unit, units)
    if told is None or made is None:
        return made
    if isinstance(made, Fragment):
        text = orjson.dumps(made).decode()
        return Fragment(f'{text[:-1]},"type":{{"text":{orjson.dumps(told).decode()}}}}}')
    return {**made, "type": {"text": told}}


@function("range_limits(ranges: field[], row: row?, unit: field?) -> text[]", steady=True, settings=("decimal_comma",))
def range_limits(
    run: MessageContext, ranges: list[str], row: Row | None = None, unit: str | None = None
) -> list[str] | None:
    """Low and high of a reference range as `reference_range` reads them, with the conversion of the row; an end that
    there is not is empty. Absent where there are several ranges, or one without such ends."""
    if len(ranges) != 1:
        return None
    if (row is None or not row.converts) and (plain := _plain_ends(ranges[0])) is not None:
        return list(plain)
    made = reference_range(run, ranges[0], row, unit)
    told: Json = {} if made is None else as_text(orjson.dumps(made))
    ends = [told.get(end, {}).get("value", "") for end in ("low", "high")]
    return ends if any(ends) else None


@function("whole_ranges(ranges: field[]) -> field[]", steady=True)
def whole_ranges(run: MessageContext, ranges: list[str]) -> list[str]:
    """The repetitions of R-6; one text where they are no ranges of their own, as in `4.5\\.4^12.5\\24` (two limits of
    two ranges each)."""
    if len(ranges) < 2 or any(is_range(run, raw.partition(run.C)[0]) for raw in ranges):
        return ranges
    halves = (raw.partition(run.C) for raw in ranges)
    return [run.R.join(ranges)] if any(_has_digit(head) and _has_digit(rest) for head, _, rest in halves) else ranges


def is_range(run: MessageContext, text: str) -> bool:
    return _ends(run, (run.text(text) or "").strip())[:2] != (None, None)


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _limits(
    run: MessageContext, raw: str, row: Row | None, unit: str | None, units: Row | None
) -> Json | Fragment | None:
    """A reference range without the words behind it."""
    if (row is None or not row.converts) and (match := _PLAIN_RANGE(raw)) and _ascends(*match.groups()):
        if row is not None and row.unit_missing:
            row = None
        # Nearly every range is this: two numbers, a dash or `to`, nothing to convert and nothing to escape.
        named = unit_of(run, row, unit, units)
        low, high = match.groups()
        return Fragment(f'{{"low":{{"value":{low}{named}}},"high":{{"value":{high}{named}}},"text":"{raw}"}}')
    if run.X in raw:
        raw = run.whole(raw) or ""
    text = raw.strip()
    if not text:
        return None
    low, high, words = _ends(run, text)
    sent = unit_text(run, unit) if unit is not None else None
    if words and words.casefold() != (sent or "").casefold():
        run.warn("RANGE_UNIT", "a reference range in another unit than its result; its text was kept")
        low = high = None
    elif low is not None and high is not None and not _ascends(low, high):
        run.warn("RANGE_REVERSED", "a reference range that ends below its start; its text was kept")
        low = high = None
    if row is not None and row.unit_missing:
        row = None
    if low is None and high is None:
        if row is not None and row.converts and not words:
            run.warn(
                "RANGE_NOT_CONVERTED", "a reference range that is no numbers cannot be converted; its text was kept"
            )
            # The result beside it is in another unit now: numbers in words say theirs.
            if sent and any(sign.isdigit() for sign in text):
                text = f"{text} ({sent})"
        return {"text": text}
    made: Json = {}
    if low is not None:
        made["low"] = amount(run, low, row, unit, units)
    if high is not None:
        made["high"] = amount(run, high, row, unit, units)
    # After a conversion the sender's words name other numbers than the range does.
    if row is None or not row.converts:
        made["text"] = text
    return made


def _ends(run: MessageContext, text: str) -> tuple[str | None, str | None, str]:
    """Low, high, and the words behind them; no numbers where the text is no range."""
    if match := _RANGE.fullmatch(text):
        low, high = number(run, match[1]), number(run, match[2])
        if low is not None and high is not None:
            return low, high, _words(run, match[3])
    elif match := _BOUND.fullmatch(text):
        bound = number(run, match[2])
        if bound is not None and (match[1][0] in "<≤" or match[1] == "=<"):
            return None, bound, _words(run, match[3])
        if bound is not None:
            return bound, None, _words(run, match[3])
    elif match := _WORD_BOUND.fullmatch(text):
        return None, number(run, match[1]), ""
    return None, None, ""


def _words(run: MessageContext, text: str | None) -> str:
    """The text after the numbers, without empty components."""
    return (text or "").strip(f"{run.C}{run.S} ")


@lru_cache(maxsize=4096)
def _plain_ends(raw: str) -> tuple[str, str] | None:
    found = _PLAIN_RANGE(raw)
    return (found[1], found[2]) if found and _ascends(*found.groups()) else None


def _ascends(low: str, high: str) -> bool:
    return float(low) <= float(high)  # a difference too small for floats does not matter
