"""The number and the address by which India's health network (ABDM) knows a person. Pure.

    number     14 digits, written 91-1234-5678-9015 or without dashes; the last one is a check digit of Luhn (ISO/IEC
               7812-1, modulo 10). Verhoeff's, which Aadhaar has, is another one.
    address    name@domain: abdm in production, sbx in the sandbox. Case makes no difference. A person may have an
               address alone, or several.

A number whose check digit does not fit is still a number: samples of the field have such ones. The digit is a question
to the person who typed it (`AbhaNumber.fits`), never a reason to drop a result.

Text of either is masked, so that no log and no error shows one; the full text has a name of its own.

Sources: NHA's pages on ABHA (milestone 1), its OpenAPI documents of 2026-09-16 (patient share allows ``-`` and ``!``).
"""

import re
from dataclasses import dataclass
from typing import Self

MASK = "***"

_NUMBER = re.compile(r"([0-9]{2})-?([0-9]{4})-?([0-9]{4})-?([0-9]{4})")
_ADDRESS = re.compile(r"([0-9A-Za-z][0-9A-Za-z_.!-]{1,253}[0-9A-Za-z])@([0-9A-Za-z]{2,63})")
_NO_NUMBER = "0" * 14  # a placeholder, and the one that Luhn's check lets pass


@dataclass(frozen=True, slots=True, order=True)
class AbhaNumber:
    """``digits``: 14 of them, as the interfaces for links want the number."""

    digits: str

    @classmethod
    def read(cls, text: str) -> Self | None:
        """A number with or without dashes and outer blanks; None where the text is none."""
        found = _NUMBER.fullmatch(text.strip())
        digits = "".join(found.groups()) if found else ""
        return cls(digits) if digits not in ("", _NO_NUMBER) else None

    @property
    def dashed(self) -> str:
        """As cards and FHIR documents have it."""
        return f"{self.digits[:2]}-{self.digits[2:6]}-{self.digits[6:10]}-{self.digits[10:]}"

    @property
    def fits(self) -> bool:
        """Whether the check digit does."""
        plain, doubled = self.digits[1::2], self.digits[0::2]
        return (sum(map(int, plain)) + sum(sum(divmod(2 * int(digit), 10)) for digit in doubled)) % 10 == 0

    @property
    def masked(self) -> str:
        """The last four digits, which a person compares with a card."""
        return f"**-****-****-{self.digits[10:]}"

    def __str__(self) -> str:
        return self.masked

    __repr__ = __str__


@dataclass(frozen=True, slots=True, order=True)
class AbhaAddress:
    """``text`` is in lower case, the form to compare and to look up."""

    text: str

    @classmethod
    def read(cls, text: str) -> Self | None:
        """An address with or without outer blanks; None where the text is none."""
        text = text.strip()
        return cls(text.lower()) if _ADDRESS.fullmatch(text) else None

    @property
    def domain(self) -> str:
        """Of the environment: an address of the sandbox names no person in production."""
        return self.text.partition("@")[2]

    @property
    def masked(self) -> str:
        """The first letter and the domain; it does not show how long the name is."""
        return f"{self.text[0]}{MASK}@{self.domain}"

    def __str__(self) -> str:
        return self.masked

    __repr__ = __str__


def masked_name(name: str) -> str:
    """The first letter of each word; it does not show how long they are."""
    return " ".join(f"{word[0]}{MASK}" for word in name.split())
