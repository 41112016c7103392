"""Decimals as text: from the field to the JSON without ever being a float, so that ``148.50`` stays ``148.50``.

A decimal's normal form is ``-?(0|[1-9]digits)(.digits)?``, which is also a JSON number.
"""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

MAX_DIGITS = 60  # no measurement has more; a longer run of digits is a text
_NORMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,3}))?", re.ASCII)
_EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)  # a product of two such numbers is exact
_QUOTIENT = Context(prec=30, rounding=ROUND_HALF_EVEN)


def normal(text: str) -> str | None:
    """The normal form of a number as a sender may write it (``+5``, ``007.5``, ``.5``, ``5.``); None if it is none.

    Digits behind the point are kept. An exponent is written out.
    """
    if len(text) > MAX_DIGITS:
        return None
    if _NORMAL.fullmatch(text):
        return text
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction, exponent = match.groups()
    if not whole and not fraction:
        return None
    if exponent:
        return _plain(Decimal(f"{sign}{whole or '0'}.{fraction or '0'}").scaleb(int(exponent)), fraction, int(exponent))
    whole = whole.lstrip("0") or "0"
    number = f"{whole}.{fraction}" if fraction else whole
    return f"-{number}" if sign == "-" and number.strip("0.") else number


def _plain(value: Decimal, fraction: str | None, exponent: int) -> str | None:
    if value.is_zero() or abs(value.adjusted()) > MAX_DIGITS // 2:
        return "0" if value.is_zero() else None
    places = max(0, len(fraction or "") - exponent)
    return format(value.quantize(Decimal(1).scaleb(-places), context=_EXACT), "f")


def convert(text: str, factor: Decimal | None, offset: Decimal | None, digits: int | None) -> str:
    """``text * factor + offset``, exactly, then rounded half-even to ``digits`` places, trailing zeros kept.

    Args:
        text: in normal form.
    """
    value = Decimal(text)
    if factor is not None:
        value = _EXACT.multiply(value, factor)
    if offset is not None:
        value = _EXACT.add(value, offset)
    if digits is not None:
        value = value.quantize(Decimal(1).scaleb(-digits), context=_EXACT)
    made = format(value, "f")
    return made.removeprefix("-") if value.is_zero() else made


def calculate(operator: str, left: str, right: str) -> str | None:
    """One of ``+ - * /`` on two decimals in normal form; None for a division by zero or a result out of range."""
    a, b = Decimal(left), Decimal(right)
    try:
        match operator:
            case "+":
                value = _EXACT.add(a, b)
            case "-":
                value = _EXACT.subtract(a, b)
            case "*":
                value = _EXACT.multiply(a, b)
            case _:
                value = _QUOTIENT.divide(a, b)
    except (InvalidOperation, ZeroDivisionError):
        return None
    made = format(value, "f")
    return made if len(made) <= 2 * MAX_DIGITS else None


def compare(left: str, right: str) -> int | None:
    """-1, 0 or 1; None where one of the two is no number."""
    first, second = normal(left.strip()), normal(right.strip())
    if first is None or second is None:
        return None
    a, b = Decimal(first), Decimal(second)
    return (a > b) - (a < b)
