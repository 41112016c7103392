"""Measured values: NM and SN fields, numbers with comparators, titers, and the marks of failed measurements.

    12.5   007.5   <5   >= 90   <^5   100^-^200   ^1^:^128   1-5   ----   ****   ERR

Numbers stay the text they were sent as (normalised, see `engine.mapping.values.decimals`). A conversion of the code
table applies to the value and to the reference range alike.
"""

import re
from typing import Any

from orjson import Fragment

from engine.mapping.code_tables.tables import VALUE_TYPES, Row, quantity_unit
from engine.mapping.code_tables.units import is_of_laboratories
from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext
from engine.mapping.values import decimals
from engine.model.texts.reasons import ReasonCode

Json = dict[str, Any]

_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?", re.ASCII).fullmatch
_COMPARED = re.compile(r"(<=|>=|=<|=>|[<>=≤≥])\s*(.+)", re.ASCII)
_FAILED = re.compile(
    r"(?:[-*+.!#?]{2,}|[*?!]|-|err(?:or)?|nan|invalid|-+\.-+|\*+\.\*+|\++\.\++)", re.ASCII | re.IGNORECASE
)
_SIGNS = re.compile(r"(?!---)(?:-|[+-]{2,4})|\+[1-4]|\+|[1-4]\+|[.,]+", re.ASCII).fullmatch
_WORDS = re.compile(r"\+|[1-4]\+", re.ASCII).fullmatch
_LIGHT = re.compile(r"(?:.*[^A-Z])?(?:RLUS?|CPS)", re.ASCII | re.IGNORECASE).fullmatch
_NUMBERS = ("NM", "SN")
_UNITS_KEPT, _LONGEST_UNIT = 1024, 100  # units as they were sent, with their rows; characters of one
_NO_RESULT = frozenset({"NO RESULT", "NORESULT", "NOT AVAILABLE", "N/A", "NA"})
_TYPES = VALUE_TYPES | {"auto"}
_COMPARATORS = {"=<": "<=", "=>": ">=", "≤": "<=", "≥": ">=", "=": ""}


class Measured:
    """A number as it was sent.

    Attributes:
        value: the number, None where there is no single one.
        comparator: ``<``, ``<=``, ``>=``, ``>`` or None.
        low, high: of a range (SN with ``-``).
        numerator, denominator: of a titer or ratio (SN with ``:`` or ``/``).
        failed: the analyzer says that it could not measure (``----``, ``ERR``).
        sign: it is a sign in the place of a number: a word, where it did not fail.
    """

    # Defaults of the class, because nearly every number is a value and nothing else.
    comparator: str | None = None
    low: str | None = None
    high: str | None = None
    numerator: str | None = None
    denominator: str | None = None
    failed = False
    sign = False

    def __init__(self, value: str | None = None) -> None:
        self.value = value


MEASURED_MEMBERS = {
    "value": "decimal",
    "comparator": "text",
    "low": "decimal",
    "high": "decimal",
    "numerator": "decimal",
    "denominator": "decimal",
    "failed": "flag",
    "sign": "flag",
}


def number(run: MessageContext, text: str | None) -> str | None:
    """A number in normal form; with a comma for the point where the channel says ``decimal_comma``."""
    if text is None:
        return None
    if run.numbers_with_comma and "," in text and "." not in text:
        text = text.replace(",", ".", 1)
    return decimals.normal(text.strip())


@function(
    "decimal(value: field, unit: field?, row: row?, type: text?) -> measured", steady=True, settings=("decimal_comma",)
)
def decimal(
    run: MessageContext, raw: str, unit: str | None = None, row: Row | None = None, kind: str | None = None
) -> Measured | None:
    """The number in an NM or SN field, or in a text that is one; see `value`, `comparator`, `low` ...

    Absent where the field holds words. `.failed` is true for the marks of a failed measurement (`----`, `****`, `ERR`).
    The signs of urine strips (`+++`, `+-`, `-`) and their grades (`+1` to `+4`) are words. Where the row of the code
    table says that the test is a number, signs are failures, but for `+` and `1+`; where `type` (OBX-2) alone says so,
    those without `+`. Full stops or commas alone are as `-` there.
    A grade is a number there, and beside a unit. `.sign` is true where any of the three says number of a sign.
    """
    if _PLAIN(raw):
        return Measured(raw)
    sign = raw.strip(f"{run.C} ")
    if _SIGNS(sign) and (_declares(row, kind) or not (_WORDS(sign) or sign[0] in ".,")):
        return _sign(run, sign, unit, row, kind)
    if run.C in raw and run.hl7:
        return _structured(run, raw)
    text = run.text(raw)
    return None if text is None else _measured(run, text)


@function("digits(value: field) -> text", pure=True)
def digits(raw: str) -> str | None:
    """A field that is a number and nothing else, which every channel reads as itself: `12.5`, not `+12.5`, `12,5`,
    `007`."""
    return raw if _PLAIN(raw) else None


@function("decimal_of(value: text) -> measured", steady=True, settings=("decimal_comma",))
def decimal_of(run: MessageContext, text: str) -> Measured | None:
    """As `decimal`, of a text that was cut out of a field."""
    return _measured(run, text)


@function("no_result(words: text) -> flag!", steady=True, settings=("no_result",))
def no_result(run: MessageContext, text: str) -> bool:
    """Whether words say that there is no result: one of those that the channel lists under `no_result`, in upper or
    lower case, as `[ERROR, NO RESULT]` (GeneXpert). Without the setting: `NO RESULT`, `NORESULT`, `NOT AVAILABLE`,
    `N/A`, `NA`."""
    if run.settings.get("no_result") is None:
        return " ".join(text.split()).upper() in _NO_RESULT
    return _is_listed(run, text)


@function("is_light(test: text) -> flag!")
def is_light(run: MessageContext, test: str) -> bool:
    """Whether a code ends with a word for the light that an instrument has counted (RLU, CPS); true once a code."""
    if _LIGHT(test) is None or ("light", test, "") in run.named:
        return False
    run.named.add(("light", test, ""))
    return True


@function("refusal(flags: text[]) -> text", steady=True, settings=("no_result",))
def refusal(run: MessageContext, flags: list[str]) -> str | None:
    """The flag beside a value that says that the value is none: only words that the channel lists under `no_result`
    say so, for `NA` may be said of the flag itself."""
    return next((flag for flag in flags if _is_listed(run, flag)), None)


def _is_listed(run: MessageContext, text: str) -> bool:
    listed = run.settings.get("no_result")
    if not listed:
        return False
    words = " ".join(text.split()).upper()
    return any(words == str(one).upper() for one in ([listed] if isinstance(listed, str) else listed))


@function("misfits(row: row, number: measured) -> flag!")
def misfits(run: MessageContext, row: Row, measured: Measured) -> bool:
    """Whether a row does not fit this number; then there is a warning. Either its column `scale` is `Ord` (present or
    not): an index of 0.32 is not the presence of an antibody. Or it makes a percentage of a fraction without a unit,
    and the number is no fraction: 40.5 is a percentage already.
    """
    if measured.value is None:
        return False
    if row.cells.get("scale") == "Ord":
        run.warn("ORDINAL", "a number for a test whose row in the code table is ordinal; the row was not used")
        return True
    if _of_fraction(row) and not _is_fraction(measured.value, row.digits):
        run.warn("NO_FRACTION", "a number without a unit that is no fraction of one; the code table's row was not used")
        return True
    return False


@function("may_misfit(row: row) -> flag!", pure=True)
def may_misfit(row: Row) -> bool:
    """Whether there are numbers that a row does not fit (see `misfits`)."""
    return row.cells.get("scale") == "Ord" or _of_fraction(row)


def _of_fraction(row: Row) -> bool:
    """Whether a row makes a percentage of a fraction without a unit."""
    return row.factor is not None and row.ucum == "%" and not row.cells.get("unit_in")


@function("converts(row: row) -> flag!", pure=True)
def converts(row: Row) -> bool:
    """Whether a row of the code table changes values: by a factor, an offset or a number of digits."""
    return row.converts


def _is_fraction(value: str, digits: int | None) -> bool:
    """Whether a number is at most 1, with as many decimals as a percentage of so many digits comes from.

    A basophil count of 0.5 may be 0.5 % or a half: written as a fraction it would be 0.500.
    """
    _, _, decimals_sent = value.partition(".")
    precise = digits is None or len(decimals_sent) >= digits + 2
    return float(value) == 0 or (float(value) <= 1 and precise)


def _measured(run: MessageContext, text: str) -> Measured | None:
    if _PLAIN(text):
        return Measured(text)
    value = number(run, text)
    if value is not None:
        return Measured(value)
    if match := _COMPARED.fullmatch(text):
        value = number(run, match[2])
        if value is not None:
            return _compared(value, _COMPARATORS.get(match[1], match[1]))
        return None
    if _FAILED.fullmatch(text):
        failed = Measured()
        failed.failed = True
        return failed
    return None


def _sign(run: MessageContext, sign: str, unit: str | None, row: Row | None, kind: str | None) -> Measured | None:
    """What a urine strip writes, and a counter that could not measure: `-`, `+++`, `+1`."""
    meant = (row.cells.get("type") if row is not None else None) or ""
    declared = _declares(row, kind)
    named = unit_text(run, unit) if unit is not None and not (declared or meant) else None
    if not declared and (named is None or _is_scale(named, sign)):
        return None
    if sign[-1].isdigit():
        return Measured(sign[1:])
    made = Measured()
    made.sign = True
    made.failed = declared and not _WORDS(sign) and (bool(meant) or "+" not in sign)
    return made


def _declares(row: Row | None, kind: str | None) -> bool:
    """Whether a result is said to be a number, by its row or its type."""
    return ((row.cells.get("type") if row is not None else None) or kind) in _NUMBERS


def _is_scale(unit: str, word: str) -> bool:
    """Whether the words of a scale are in the place of the unit, as in ``neg/1+/2+/3+``, and this word is one; the
    number 100 is none of ``100/uL``."""
    return word in unit.split("/") and not _PLAIN(word)


def _compared(value: str, comparator: str | None) -> Measured:
    made = Measured(value)
    made.comparator = comparator or None
    return made


def _structured(run: MessageContext, raw: str) -> Measured | None:
    """SN: comparator ^ number ^ separator or suffix ^ number. None where a component is no part of that."""
    parts = [run.text(part) for part in raw.split(run.C)] + [None, None, None]
    comparator, first, separator, second = parts[:4]
    if any(parts[4:]) or (second is not None and separator is None):
        return None
    comparator = _COMPARATORS.get(comparator, comparator) if comparator else None
    value = number(run, first)
    if first is None and comparator is not None and separator is None:
        return _measured(run, comparator)  # a plain number, with delimiters behind it
    if value is None:
        return None
    if separator is None:
        if comparator in (None, "", "<", "<=", ">", ">="):
            return _compared(value, comparator)
        return None
    other = number(run, second)
    if other is None:
        return None
    made = Measured()
    if separator == "-" and not comparator:
        made.low, made.high = value, other
    elif separator in (":", "/") and not comparator:
        made.numerator, made.denominator = value, other
    else:
        return None
    return made


def amount(
    run: MessageContext, value: str, row: Row | None, unit: str | None, units: Row | None, comparator: str = ""
) -> Fragment:
    """A Quantity of a number, as JSON: converted and named by the row, else with the unit as sent.

    It is written at once, because there are three of them in every result.
    """
    if row is not None and row.converts:
        value = _converted(value, row, compared=bool(comparator))
    return Fragment(f'{{"value":{value}{comparator}{unit_of(run, row, unit, units)}}}')


@function("converted(number: measured, row: row?) -> decimal", steady=True)
def converted(run: MessageContext, measured: Measured, row: Row | None = None) -> str | None:
    """The number as the row of the code table converts it, as in `quantity`; without a row as it was sent."""
    if measured.value is None or row is None or not row.converts:
        return measured.value
    return _converted(measured.value, row, compared=measured.comparator is not None)


def _converted(sent: str, row: Row, *, compared: bool) -> str:
    value = decimals.convert(sent, row.factor, row.offset, row.digits)
    if compared and not value.strip("0.") and sent.strip("-0."):
        # Less than 0.4 is not less than 0: a limit is not rounded away.
        return decimals.convert(sent, row.factor, row.offset, None)
    return value


@function("unit_code(unit: field?, row: row?, units: row?) -> text", steady=True)
def unit_code(run: MessageContext, unit: str | None, row: Row | None = None, units: Row | None = None) -> str | None:
    """The UCUM code of a number's unit, as `quantity` names it: of the row, of a table of units, of the sender where
    it can be meant (`K/uL` would be kelvin)."""
    return _named_unit(run, row, unit, units)[1]


@function("unit_words(unit: field?, row: row?, units: row?) -> text", steady=True)
def unit_words(run: MessageContext, unit: str | None, row: Row | None = None, units: Row | None = None) -> str | None:
    """The unit of a number in words, as `quantity` names it."""
    return _named_unit(run, row, unit, units)[0]


def unit_of(run: MessageContext, row: Row | None, unit: str | None, units: Row | None) -> str:
    """The members of a Quantity besides its value, as the rest of a JSON object."""
    if row is not None:
        if row.unit_missing:
            raise run.dead(
                ReasonCode.UNMAPPED_UNIT, f"the code is in the table ({row.name}) and the result has no unit"
            )
        if row.quantity is not None and (row.quantity_unit is None or row.quantity_unit == unit):
            return row.quantity
    texts, key = run.reading.units, (row, unit, units)
    named = texts.get(key)
    if named is None:
        named = quantity_unit(*_named_unit(run, row, unit, units))
        if len(texts) < _UNITS_KEPT and len(unit or "") <= _LONGEST_UNIT:
            texts[key] = named
    return named


def _named_unit(
    run: MessageContext, row: Row | None, unit: str | None, units: Row | None
) -> tuple[str | None, str | None]:
    """A unit in words, and its UCUM code."""
    words, code = (None, None) if unit is None else sent_unit(run, unit)
    if code is not None and not is_of_laboratories(code):
        code = None
    if units is not None and units.ucum and (code is None or _spelled(code) != _spelled(units.ucum)):
        code = units.ucum
    if row is not None:
        words = row.unit or words or row.ucum
        code = row.ucum or (None if row.unit or row.converts else code)
    return words, code


def _spelled(code: str) -> str:
    """A code of UCUM, of which some signs may be written in two ways."""
    return code.replace("10^", "10*").replace("l", "L")


def sent_unit(run: MessageContext, raw: str) -> tuple[str | None, str | None]:
    """The unit's text and, where the sender says that it is UCUM, its code. Units of ASTM may hold any sign."""
    if run.hl7 and run.C in raw:
        if power := _power(run, raw):
            return run.whole(power), None
        parts = raw.split(run.C)
        code, words, system = run.text(parts[0]), run.part_text(parts, 1), run.part_text(parts, 2)
        if (system or "").upper() in ("UCUM", "2.16.840.1.113883.6.8"):
            return words or code, code
        return code or words, None
    text = run.whole(raw)
    return (text.strip() or None if text else None), None


def _power(run: MessageContext, raw: str) -> str:
    """A unit in which the sign of a power was not escaped, so that it delimits: `10^3/uL`, `mL/min/1.73m^2`; else
    empty."""
    parts = raw.split(run.C)
    size = 1
    while size < len(parts) and (
        (parts[size - 1].endswith("10") and parts[size].strip()[:1].isdigit())
        or (parts[size - 1].endswith("m") and parts[size] in ("2", "3"))
    ):
        size += 1
    return run.C.join(parts[:size]) if size > 1 else ""


@function("unit_text(unit: field) -> text", steady=True)
def unit_text(run: MessageContext, raw: str) -> str | None:
    """A unit as one text, for code tables: `10^3/uL` stays whole even where the sender did not escape it."""
    if run.C not in raw and run.X not in raw:
        return raw.strip() or None
    if run.hl7 and run.C in raw and not _power(run, raw):
        return run.text(raw) or sent_unit(run, raw)[0]
    return sent_unit(run, raw)[0]


@function("quantity(number: measured, row: row?, unit: field?, units: row?) -> Quantity", steady=True)
def quantity(
    run: MessageContext, measured: Measured, row: Row | None, unit: str | None, units: Row | None = None
) -> Fragment | None:
    """A number as Quantity: converted by the table row, which also names the unit; without a row as it was sent.

    `units` is a row of a table of units, for the UCUM code where `row` names none.
    """
    if measured.value is None:
        return None
    comparator = f',"comparator":"{measured.comparator}"' if measured.comparator is not None else ""
    return amount(run, measured.value, row, unit, units, comparator)


@function("range(number: measured, row: row?, unit: field?, units: row?) -> Range", steady=True)
def range_of(
    run: MessageContext, measured: Measured, row: Row | None, unit: str | None, units: Row | None = None
) -> Json | None:
    """A range of values (SN `100^-^200`) as Range."""
    made: Json = {}
    if measured.low is not None:
        made["low"] = amount(run, measured.low, row, unit, units)
    if measured.high is not None:
        made["high"] = amount(run, measured.high, row, unit, units)
    return made or None


@function("ratio(number: measured) -> Ratio", steady=True)
def ratio(run: MessageContext, measured: Measured) -> Json | None:
    """A titer or ratio (SN `^1^:^128`) as Ratio; no unit applies to it."""
    if measured.numerator is None or measured.denominator is None:
        return None
    return {
        "numerator": {"value": Fragment(measured.numerator)},
        "denominator": {"value": Fragment(measured.denominator)},
    }


@function("numeric_range(value: field, row: row?, unit: field?) -> Range", steady=True, settings=("decimal_comma",))
def numeric_range(run: MessageContext, raw: str, row: Row | None, unit: str | None) -> Json | None:
    """An NR field (low ^ high) as Range."""
    parts = raw.split(run.C)
    made = Measured()
    made.low, made.high = number(run, run.text(parts[0])), number(run, run.part_text(parts, 1))
    return range_of(run, made, row, unit)


@function("in_words(words: text, type: text, unit: text?) -> text", steady=True, settings=("decimal_comma",))
def in_words(run: MessageContext, words: str, kind: str, unit: str | None = None) -> str:
    """A value as words, followed by its unit; on each line, where every line is a number.

    `type` is that of the value (OBX-2; `auto` where none is declared). Several numbers in one result, and a type that
    HL7 table 0125 does not have, give a warning (`SEVERAL_VALUES`, `VALUE_TYPE`).
    """
    if kind not in _TYPES:
        run.warn("VALUE_TYPE", "OBX-2 names a type of value that HL7 does not have; the value was kept as text")
    lines = words.split("\n")
    if len(lines) > 1:
        numbers = [number(run, line) is not None for line in lines]
        if kind in ("NM", "SN") or (kind == "auto" and numbers[0]):
            run.warn("SEVERAL_VALUES", "one result with several numbers; all of them were kept as text")
        if unit and all(numbers):
            return "\n".join(f"{line} {unit}" for line in lines)
    if unit and _is_scale(unit, words):
        return words
    return f"{words} {unit}" if unit else words


@function("quantity_of(value: field, unit: field?) -> Quantity", steady=True, settings=("decimal_comma",))
def quantity_of(run: MessageContext, raw: str, beside: str | None = None) -> Json | None:
    """A CQ field (number ^ unit) as Quantity. `unit` is the one beside it (OBX-6), for a value that names none."""
    parts = raw.split(run.C)
    value = number(run, run.text(parts[0]))
    if value is None:
        return None
    unit = run.text(parts[1].replace(run.S, run.C)) if len(parts) > 1 else None
    if beside is not None and (other := unit_text(run, beside)) is not None and other != unit:
        if unit:
            run.warn("UNIT", "a value with a unit of its own (CQ), and another one beside it; its own was taken")
        else:
            unit = other
    return {"value": Fragment(value), "unit": unit} if unit else {"value": Fragment(value)}


@function("volume(amount: field) -> Quantity", steady=True, settings=("decimal_comma",))
def volume(run: MessageContext, raw: str) -> Json | None:
    """As `quantity_of`, where nothing else holds what is no number: it is left out, with a warning."""
    found = quantity_of(run, raw)
    if found is None:
        run.bad_value("an amount that is no number; left out")
    return found


@function("number(value: text) -> decimal", steady=True, settings=("decimal_comma",))
def number_of(run: MessageContext, text: str) -> str | None:
    """A text as a plain decimal for a FHIR element of that type or for arithmetic; absent where it is none."""
    return number(run, text)
