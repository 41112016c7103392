"""Links that a patient makes from his app: who he is to a laboratory, and which of its reports are his. Pure.

    asked     a person as the network names him who searches: address, number and mobile are verified there
    held      a person as a report of the laboratory has him
    means     by what a report is known to be his: ABHA address, ABHA number, or mobile with gender, year and name
    chosen    of all reports that may be his, those that are offered; or none

A wrong patient is worse than none found. So a doubt is no match:

- An address or a number alone is not enough: name, or year and gender, must fit, too. Files have slips.
- A mobile is a family's. Gender and name must be the same, and the year within one.
- Another ABHA number, or another address without a number, is another person, also where all else fits.
- Two people of the laboratory who both fit are no match. A number of the laboratory that the patient types is not
  verified: it takes reports away, and brings none.

A name fits another one where its words are the same in any order, or one has more words in its middle. A word is
the same in the usual spellings of one sound (Meera, Mira). An initial is no name: siblings share it.

Sources: NHA's pages on user-initiated linking, V3.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import Any

from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import GENDERS, Hold, Wait

YEARS = 1  # between the year of the network and that of the file
MOST_PEOPLE = 10  # of the laboratory with one mobile; above it the mobile is no family's
CODE_DIGITS = 6
TITLES = frozenset({"mr", "mrs", "ms", "miss", "dr", "smt", "shri", "shree", "mast", "master", "prof"})
UNFIT = frozenset({Wait.OTHER_LABORATORY, Wait.COUNTED, Wait.TWO_NUMBERS, Wait.DOUBTFUL_NUMBER, Hold.SAME_NUMBER})
"""Reasons why a report waits that a search of the patient does not end."""
_SOUNDS = (("aa", "a"), ("ee", "i"), ("oo", "u"), ("ph", "f"), ("ksh", "x"), ("w", "v"), ("th", "t"), ("dh", "d"))
_BETWEEN = re.compile(r"[\s.,;:/()'\"_-]+")  # not at each sign that is no letter: vowels of Indian scripts are none
_ABHA_ADDRESS, _ABHA_NUMBER, _OWN = "ABHA", "HIN", "MR"  # types of identifiers in documents


class CodeState(StrEnum):
    """Of the code of a link."""

    WAITING = "waiting"  # to be sent
    SENDING = "sending"  # under way, or a crash hides whether the service took it
    SENT = "sent"
    LINKED = "linked"
    OVER = "over"  # not sent, wrong too often, too late, or the reports are not his any more


class Means(StrEnum):
    """By what a report is known to be a person's; the values are the network's, in the order of their weight."""

    ADDRESS = "ABHA_ADDRESS"
    NUMBER = "ABHA_NUMBER"
    MOBILE = "MOBILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A person who searches.

    Attributes:
        address: in lower case.
        numbers: 14 digits each; mobiles: ten.
        own: numbers of the laboratory that he has typed: nothing has verified them.
    """

    address: str = field(repr=False)
    numbers: frozenset[str] = field(default=frozenset(), repr=False)
    mobiles: frozenset[str] = field(default=frozenset(), repr=False)
    own: frozenset[str] = field(default=frozenset(), repr=False)
    name: str = field(repr=False)
    gender: str = field(repr=False)
    year: int = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A person as a report has him, and the patient whose it is. ``year``: 0 where it is unknown."""

    addresses: frozenset[str] = field(default=frozenset(), repr=False)
    numbers: frozenset[str] = field(default=frozenset(), repr=False)
    own: frozenset[str] = field(default=frozenset(), repr=False)
    mobile: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    gender: str = field(default="", repr=False)
    year: int = field(default=0, repr=False)

    @property
    def may_be_linked(self) -> bool:
        """Whether it names a person for good: a number of the day is another person's tomorrow."""
        certain = len(self.numbers) < 2 and all(AbhaNumber(one).fits for one in self.numbers)
        return certain and bool(self.numbers or self.addresses or self.own)


def held(content: Mapping[str, Any]) -> Held:
    """The person of a care context, from its content (``patient``: parts of a FHIR Patient)."""
    patient = content.get("patient")
    if not isinstance(patient, Mapping):
        return Held()
    numbers = [AbhaNumber.read(text) for text in _identifiers(patient, _ABHA_NUMBER)]
    addresses = [AbhaAddress.read(text) for text in _identifiers(patient, _ABHA_ADDRESS)]
    born = str(patient.get("birthDate") or "")[:4]
    return Held(
        addresses=frozenset(one.text for one in addresses if one is not None),
        numbers=frozenset(one.digits for one in numbers if one is not None),
        own=frozenset(text for text in _identifiers(patient, _OWN) if text and AbhaNumber.read(text) is None),
        mobile=next((digits for one in _list(patient.get("telecom")) if (digits := _phone(one))), ""),
        name=_full_name(patient),
        gender=GENDERS.get(str(patient.get("gender")), ""),
        year=int(born) if len(born) == 4 and born.isdecimal() else 0,
    )


def mobile_of(text: str) -> str:
    """The ten digits of an Indian mobile, which begins with 6 to 9; empty: it is none."""
    digits = "".join(sign for sign in text if sign in "0123456789")
    found = digits[-10:]
    return found if len(found) == 10 and found[0] in "6789" and digits[:-10] in ("", "0", "91", "091", "0091") else ""


def means(asked: Asked, of: Held) -> Means | None:
    """By what a report is known to be of the person who asks; None: it is not."""
    if not of.may_be_linked or is_another(asked, of):
        return None
    if fits(of, asked.name, asked.gender, asked.year):
        if asked.address in of.addresses:
            return Means.ADDRESS
        if asked.numbers & of.numbers:
            return Means.NUMBER
    if of.mobile in asked.mobiles and same_name(asked.name, of.name) and _fits_birth(of, asked.gender, asked.year):
        return Means.MOBILE
    return None


def fits(of: Held, name: str, gender: str, year: int) -> bool:
    """Whether a report says of its patient the name of this person, or his year of birth and gender: beside an ABHA,
    which files may have by a slip."""
    return same_name(name, of.name) or _fits_birth(of, gender, year)


def may_be(of: Held, name: str, gender: str, year: int, *, own: str | None = None) -> bool:
    """As `fits`, of a report that the laboratory has under this person's ABHA: initials of the name will do, too, where
    the year fits.

    Args:
        own: the laboratory's number for him; empty: it is not known. A report with another number must have his name,
            and nothing that is not his. None: numbers are not looked at.
    """
    is_one_gender = of.gender in ("", "U", gender) or gender == "U"
    by_initials = _fits_initials(name, of.name) and _fits_year(of, year) and is_one_gender
    if own is None or (own and own in of.own):
        return fits(of, name, gender, year) or by_initials
    has_name = same_name(name, of.name) and (not of.year or _fits_year(of, year)) and is_one_gender
    return has_name or by_initials


def _fits_birth(of: Held, gender: str, year: int) -> bool:
    return _fits_year(of, year) and of.gender not in ("", "U") and gender == of.gender


def _fits_year(of: Held, year: int) -> bool:
    return bool(of.year) and abs(year - of.year) <= YEARS


def is_another(asked: Asked, of: Held) -> bool:
    """Whether what both say of ABHA makes another person of them. One person may have several addresses, one number."""
    if asked.numbers and of.numbers:
        return not asked.numbers & of.numbers
    return bool(of.addresses) and asked.address not in of.addresses


def chosen(asked: Asked, reports: Mapping[int, Held]) -> dict[int, Means]:
    """Those of the reports, by their number, that are of the person who asks, and by what; empty: none, or a doubt.

    Args:
        reports: all that the laboratory has of people with an ABHA or a mobile of his, also those that are linked.
    """
    known = {number: by for number, of in reports.items() if (by := means(asked, of)) is not None}
    own_of_others = {number for of in reports.values() if is_another(asked, of) for number in of.own}
    known = {number: by for number, by in known.items() if not reports[number].own & own_of_others}
    sure = [number for number, by in known.items() if by is not Means.MOBILE]
    if not _is_one(reports[number] for number in sure):
        return {}
    by_mobile = [
        number
        for number, by in known.items()
        if by is Means.MOBILE and all(_may_be_one(reports[number], reports[one]) for one in sure)
    ]
    people = {one for of in reports.values() if of.mobile in asked.mobiles for one in of.own}
    if len(people) > MOST_PEOPLE or not _is_one(reports[number] for number in by_mobile):
        by_mobile = []
    found = {*sure, *by_mobile}
    if asked.own:
        found = {number for number in found if not reports[number].own or reports[number].own & asked.own}
    return {number: known[number] for number in sorted(found)}


def same_name(one: str, other: str) -> bool:
    """Whether two names are one person's, as far as names can say it."""
    a, b = _words(one), _words(other)
    if not a or not b:
        return False
    if sorted(a) == sorted(b):
        return any(len(word) > 1 for word in a)
    short, long = sorted((a, b), key=len)
    if len(short) < 2 or len(short) == len(long) or any(len(word) < 2 for word in short):
        return False
    left = list(long)
    for word in short:
        if word not in left:
            return False
        left.remove(word)
    return long[0] in short and long[-1] in short


def _fits_initials(one: str, other: str) -> bool:
    """Whether each word of the shorter name is one of the other, or the first letter of one; not all are letters."""
    short, long = sorted((_words(one), _words(other)), key=len)
    left = list(long)
    for word in sorted(short, key=len, reverse=True):
        found = next((its for its in left if word == its or (1 in (len(word), len(its)) and word[0] == its[0])), None)
        if found is None:
            return False
        left.remove(found)
    return any(len(word) > 1 and word in long for word in short)


def six_digits(token: object) -> str:
    """A code as it was typed, with the zeros before it; empty: it is no code. Apps send a number or a text."""
    if isinstance(token, bool) or not isinstance(token, int | str):
        return ""
    text = str(token).strip()
    is_code = text.isascii() and text.isdecimal() and len(text) <= CODE_DIGITS
    return text.zfill(CODE_DIGITS) if is_code else ""


def hint(mobile: str) -> str:
    """A mobile as its owner knows it, and no other: its last two digits."""
    return f"********{mobile[-2:]}"


def _is_one(people: Iterable[Held]) -> bool:
    return all(_may_be_one(one, other) for one, other in combinations(tuple(people), 2))


def _may_be_one(one: Held, other: Held) -> bool:
    """Whether nothing makes two people of the laboratory of them."""
    if one.own and other.own and not one.own & other.own:
        return False
    if one.numbers and other.numbers and not one.numbers & other.numbers:
        return False
    if one.gender and other.gender and one.gender != other.gender and "U" not in (one.gender, other.gender):
        return False
    if one.year and other.year and abs(one.year - other.year) > YEARS and not same_name(one.name, other.name):
        return False
    # Where number and address tie them together, a name may have changed, as by a marriage.
    tied = bool(one.own & other.own or one.numbers & other.numbers or one.addresses & other.addresses)
    return tied or same_name(one.name, other.name)


def _words(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign) or ord(sign) > 0x0900)
    words = [word for word in _BETWEEN.split(plain) if word]
    if len(words) > 1 and words[0] in TITLES:
        words = words[1:]
    return [_sound(word) for word in words]


def _sound(word: str) -> str:
    """A word in one of its spellings in Latin letters."""
    for several, one in _SOUNDS:
        word = word.replace(several, one)
    return re.sub(r"(.)\1+", r"\1", word)


def _identifiers(patient: Mapping[str, Any], kind: str) -> Iterator[str]:
    for one in _list(patient.get("identifier")):
        coded = one.get("type") if isinstance(one.get("type"), Mapping) else {}
        codes = [coding.get("code") for coding in _list(coded.get("coding"))]
        if kind in codes and isinstance(one.get("value"), str):
            yield one["value"]


def _full_name(patient: Mapping[str, Any]) -> str:
    one: Mapping[str, Any] = next(iter(_list(patient.get("name"))), {})
    given = one.get("given")
    parts = [*(given if isinstance(given, list) else ()), one.get("family")]
    text = one.get("text")
    return " ".join(part for part in parts if isinstance(part, str) and part) or (text if isinstance(text, str) else "")


def _phone(one: Mapping[str, Any]) -> str:
    return mobile_of(str(one.get("value") or "")) if one.get("system") == "phone" else ""


def _list(value: object) -> Sequence[Any]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else ()
