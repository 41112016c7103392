"""Decimals travel as text: digits are kept, conversions are exact."""

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mapping.values.decimals import calculate, compare, convert, normal


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("5", "5"),
        ("1.50", "1.50"),
        ("148.00", "148.00"),
        ("+5", "5"),
        ("-0.10", "-0.10"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007.5", "7.5"),
        ("000", "0"),
        ("-0", "-0"),
        ("1.5E3", "1500"),
        ("1.50e-2", "0.0150"),
        ("2E2", "200"),
        ("1e99", None),
        ("1e500", None),
        ("", None),
        (".", None),
        ("-", None),
        ("5,4", None),
        ("1 000", None),
        ("0x10", None),
        ("1_0", None),
        ("NaN", None),
        ("٣", None),
        ("9" * 61, None),
        ("9" * 60, "9" * 60),
        ("-.0", "0.0"),
        ("-00", "0"),
        ("-007", "-7"),
        ("0e5", "0"),
        ("-0e0", "0"),
        ("0.00e9", "0"),
        ("e5", None),
        (".e5", None),
        ("1e30", "1" + "0" * 30),
        ("1e31", None),
        ("1e-30", "0." + "0" * 29 + "1"),
        ("1e-31", None),
        (".5e1", "5"),
        ("5.e1", "50"),
        ("12.345e1", "123.45"),
    ],
)
def test_normal_form(sent: str, expected: str | None) -> None:
    assert normal(sent) == expected


def test_conversion_is_exact_and_rounds_half_to_even() -> None:
    assert convert("14.8", Decimal("10"), None, 0) == "148"
    assert convert("14.8", Decimal("10"), None, None) == "148.0"
    assert convert("0.1", Decimal("0.2"), None, None) == "0.02"
    assert convert("98.6", Decimal("0.5555555556"), Decimal("-17.7777777778"), 1) == "37.0"
    assert [convert(value, None, None, 0) for value in ("0.5", "1.5", "2.5")] == ["0", "2", "2"]
    assert convert("-0.04", None, None, 1) == "0.0"


def test_arithmetic_never_uses_floats() -> None:
    assert calculate("+", "0.1", "0.2") == "0.3"
    assert calculate("*", "1.10", "3") == "3.30"
    assert calculate("-", "1", "0.9") == "0.1"
    assert calculate("/", "1", "3") == "0.333333333333333333333333333333"
    assert calculate("/", "1", "0") is None


def test_comparison_is_by_value() -> None:
    assert compare("1.0", "1") == 0
    assert compare(" 2", "10") == -1
    assert compare("x", "1") is None
    assert compare("1", "x") is None
    assert compare("10", "2") == 1


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_a_decimal_keeps_its_value_and_is_json(value: Decimal) -> None:
    text = normal(format(value, "f"))
    assert text is not None
    assert Decimal(text) == value
    assert orjson.loads(text) == pytest.approx(float(value))


@given(st.text(alphabet="0123456789.+-eE, ", max_size=20))
def test_whatever_is_sent_the_normal_form_is_a_json_number(sent: str) -> None:
    text = normal(sent)
    assert text is None or orjson.dumps(orjson.Fragment(text)) == text.encode()
    assert text is None or Decimal(text) == Decimal(sent)
