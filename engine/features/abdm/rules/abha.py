"""The number and the address by which India's health network (ABDM) knows a person. Pure.

    number     14 digits, written 91-1234-5678-9015 or without dashes; the last one is a check digit of Luhn (ISO/IEC
               7812-1, modulo 10). Verhoeff's, which Aadhaar has, is another one.
    address    name@domain: abdm in production, sbx in the sandbox. Case makes no difference. A person may have an
               address alone, or several.

A number whose check digit does not fit is still a number: samples of the field have such ones. The digit is a question
to the person who typed it (`AbhaNumber.fits`), never a reason to drop a result.

Text of either is masked, so that no log and no error shows one; the full text has a name of its own.

Sources: NHA's pages on ABHA (milestone 1), its OpenAPI documents of 2026-09-16 (patient share allows ``-`` and ``!``).

Releases of the profiles for ABDM's documents, and how each one writes a patient's ABHA. Pure.

    2.0.1   identifiers have types of HL7 table 0203 alone: the number is of type MR, the address has its type as text
    6.5     NRCeS has types of its own: HIN is the number, ABHA is the address

Receivers of 6.5 read the number by either type, so it is there twice.

Source: the guides of the National Resource Centre for EHR Standards (NRCeS), package ``ndhm.in``.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeGuard

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


Json = dict[str, Any]
Profile = Literal["2.0.1", "6.5"]
PROFILES: tuple[Profile, ...] = ("2.0.1", "6.5")

IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
NDHM_IDENTIFIER_TYPE = "https://nrces.in/ndhm/fhir/r4/CodeSystem/ndhm-identifier-type-code"
NUMBER, ADDRESS = "HIN", "ABHA"
ABHA_SYSTEMS = frozenset({"https://healthid.abdm.gov.in", "https://healthid.ndhm.gov.in"})
"""Registers of ABHA numbers, as the guides' examples and later samples have them."""
ADDRESS_IN_WORDS = "ABHA address"  # 2.0.1 has no code for it
_DISPLAYS = {NUMBER: "Health ID issued by NDHM", ADDRESS: "ABHA"}


def is_profile(text: str) -> TypeGuard[Profile]:
    return text in PROFILES


def number_identifiers(number: AbhaNumber, system: str, profile: Profile) -> list[Json]:
    """The Identifiers of a number, with dashes. ``system``: URI of the register; no guide prescribes one."""
    in_table = {"coding": [{"system": IDENTIFIER_TYPE, "code": "MR", "display": "Medical record number"}]}
    types = [in_table] if profile == "2.0.1" else [in_table, _own(NUMBER)]
    return [{"type": one, "system": system, "value": number.dashed} for one in types]


def address_identifier(text: str, profile: Profile) -> Json:
    """The Identifier of an address, as it was written."""
    return {"type": {"text": ADDRESS_IN_WORDS} if profile == "2.0.1" else _own(ADDRESS), "value": text}


def numbers_among(identifiers: Iterable[Json], systems: Collection[str] = ABHA_SYSTEMS) -> Iterator[str]:
    """The texts of ABHA numbers among a Patient's identifiers: of these systems, or of type HIN."""
    for one in identifiers:
        if NUMBER in _codes(one) or str(one.get("system", "")) in systems:
            yield str(one.get("value", ""))


def addresses_among(identifiers: Iterable[Json]) -> Iterator[str]:
    """The texts of ABHA addresses among a Patient's identifiers."""
    for one in identifiers:
        if ADDRESS in _codes(one) or _type(one).get("text") == ADDRESS_IN_WORDS:
            yield str(one.get("value", ""))


def is_abha(identifier: Json, systems: Collection[str] = ABHA_SYSTEMS) -> bool:
    """Whether an Identifier is an ABHA number or address."""
    return any(True for _ in (*numbers_among([identifier], systems), *addresses_among([identifier])))


def _own(code: str) -> Json:
    return {"coding": [{"system": NDHM_IDENTIFIER_TYPE, "code": code, "display": _DISPLAYS[code]}]}


def _type(identifier: Json) -> Json:
    kind = identifier.get("type")
    return kind if isinstance(kind, dict) else {}


def _codes(identifier: Json) -> set[str]:
    """Codes of its type that are NRCeS' own."""
    codings = _type(identifier).get("coding")
    return {
        str(one.get("code", ""))
        for one in (codings if isinstance(codings, list) else [])
        if isinstance(one, dict) and one.get("system") == NDHM_IDENTIFIER_TYPE
    }
