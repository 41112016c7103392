"""ABHA numbers and addresses: a table of texts as people, cards and programs write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber

# text -> dashed, does the check digit fit; None: no number
NUMBERS: dict[str, tuple[str, bool] | None] = {
    "91-1234-5678-9015": ("91-1234-5678-9015", True),
    "91123456789015": ("91-1234-5678-9015", True),
    " 91-1234-5678-9015 ": ("91-1234-5678-9015", True),
    "91-12345678-9015": ("91-1234-5678-9015", True),
    "91-1234-5678-9012": ("91-1234-5678-9012", False),  # shown in documents of the field
    "21-1521-3828-3227": ("21-1521-3828-3227", False),  # of NRCeS' examples
    "91-1234-5678-901": None,
    "91-1234-5678-90150": None,
    "911234-5678-901-5": None,
    "91 1234 5678 9015": None,
    "00-0000-0000-0000": None,
    "९११२३४५६७८९०१५": None,  # digits of another script are no digits of the wire
    "91-1234-5678-9015\n91-1234-5678-9015": None,
    "meera.rao@abdm": None,
    "": None,
}

# text -> as it is compared; None: no address
ADDRESSES: dict[str, str | None] = {
    "meera.rao@abdm": "meera.rao@abdm",
    "Meera.Rao@ABDM": "meera.rao@abdm",
    " meera_rao@sbx ": "meera_rao@sbx",
    "91123456789015@abdm": "91123456789015@abdm",
    "meera-rao@abdm": "meera-rao@abdm",
    "meera!rao@abdm": "meera!rao@abdm",
    "abc@abdm": "abc@abdm",
    "ab@abdm": None,
    ".meera@abdm": None,
    "meera.@abdm": None,
    "meera rao@abdm": None,
    "meera@rao@abdm": None,
    "meera@example.org": None,
    "meera@abdm\n": "meera@abdm",
    "meera@abdm\nx@abdm": None,
    "मीरा@abdm": None,
    "meera": None,
    "@abdm": None,
    f"{'a' * 300}@abdm": None,
    "": None,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_read_or_is_none(text: str) -> None:
    read = AbhaNumber.read(text)
    assert (None if read is None else (read.dashed, read.fits)) == NUMBERS[text]


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_read_or_is_none(text: str) -> None:
    read = AbhaAddress.read(text)
    assert (None if read is None else read.text) == ADDRESSES[text]


def luhn(digits: str) -> int:
    """The check digit of 13 digits, written out as ISO/IEC 7812-1, annex B, describes it."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if place % 2 == 0 else 1)
        total += number - 9 if number > 9 else number
    return -total % 10


digits = st.text("0123456789", min_size=13, max_size=13).filter(lambda text: text.strip("0") != "")


@given(digits)
def test_one_check_digit_of_ten_fits(first: str) -> None:
    fitting = [last for last in range(10) if (read := AbhaNumber.read(f"{first}{last}")) is not None and read.fits]
    assert fitting == [luhn(first)]


@given(digits, st.integers(0, 13), st.integers(1, 9))
def test_one_wrong_digit_is_noticed(first: str, at: int, by: int) -> None:
    right = f"{first}{luhn(first)}"
    wrong = right[:at] + str((int(right[at]) + by) % 10) + right[at + 1 :]
    read = AbhaNumber.read(wrong)
    assert read is None or not read.fits


@given(digits, st.integers(0, 12))
def test_two_neighbours_in_the_wrong_order_are_noticed_but_for_0_and_9(first: str, at: int) -> None:
    right = f"{first}{luhn(first)}"
    one, other = right[at], right[at + 1]
    read = AbhaNumber.read(right[:at] + other + one + right[at + 2 :])
    assert read is not None
    assert read.fits is (one == other or {one, other} == {"0", "9"})


@given(digits, st.integers(0, 9))
def test_a_number_is_the_same_with_and_without_dashes(first: str, last: int) -> None:
    number = AbhaNumber.read(f"{first}{last}")
    assert number is not None
    assert AbhaNumber.read(number.dashed) == number == AbhaNumber.read(number.digits)


@given(st.text(max_size=40))
def test_any_text_is_read_or_is_none(text: str) -> None:
    number, address = AbhaNumber.read(text), AbhaAddress.read(text)
    assert number is None or AbhaNumber.read(number.digits) == number
    assert address is None or AbhaAddress.read(address.text) == address


def test_texts_of_both_are_masked_wherever_they_are_shown_by_chance() -> None:
    number, address = AbhaNumber.read("91-1234-5678-9015"), AbhaAddress.read("meera.rao@sbx")
    assert number is not None
    assert address is not None
    shown = f"{number} {number!r} {[number]} {address} {address!r} {(address,)}"
    assert (number.masked, address.masked) == ("**-****-****-9015", "m***@sbx")
    assert not any(part in shown for part in ("1234", "5678", "eera", "rao"))
    assert (address.domain, number.digits, address.text) == ("sbx", "91123456789015", "meera.rao@sbx")


def test_an_address_that_is_a_number_shows_no_digits_of_it() -> None:
    address = AbhaAddress.read("91123456789015@abdm")
    assert address is not None
    assert address.masked == "9***@abdm"
