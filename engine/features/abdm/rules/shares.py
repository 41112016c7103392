"""A profile that a patient has shared at a counter of a laboratory ("scan and share"), and the token that he got. Pure.

Only what names the patient beyond doubt is read: address, name, gender and year of birth must be there, as the app
sends them. The number counts where it is 14 digits whose check digit fits.

Source: NHA's OpenAPI documents of 2026-09-16 (patient share).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber

GENDERS = frozenset("MFODTU")
LONGEST = 255  # characters of a text
FIRST_YEAR, LAST_YEAR = 1880, 2200
COUNTER = re.compile(r"[0-9A-Za-z]{1,20}")
NO_PROFILE, NO_ADDRESS, OTHER_ENVIRONMENT, NO_NAME, NO_GENDER, NO_BIRTH_YEAR = (
    "no-profile",
    "no-address",
    "other-environment",
    "no-name",
    "no-gender",
    "no-birth-year",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A patient as the network has verified him.

    Attributes:
        address: ABHA address, in lower case.
        number: 14 digits; empty: he has none, or its check digit does not fit.
        born: YYYYMMDD; YYYY where no whole date was given.
        mobile: ten digits; empty: none of India was given.
    """

    address: str = field(repr=False)
    number: str = field(default="", repr=False)
    name: str = field(repr=False)
    gender: str = field(repr=False)
    born: str = field(repr=False)
    mobile: str = field(default="", repr=False)
    line: str = field(default="", repr=False)
    district: str = field(default="", repr=False)
    state: str = field(default="", repr=False)
    pincode: str = field(default="", repr=False)

    @property
    def year(self) -> int:
        return int(self.born[:4])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A token that was given, and to whom. ``day``: ISO date, in the site's zone."""

    number: int
    facility: str
    counter: str
    day: str
    token: int
    at_us: int
    profile: Profile = field(repr=False)


def read(said: object, environment: str) -> Profile | str:
    """The profile of a callback; a text says why it is none."""
    if not isinstance(said, Mapping) or not said:
        return NO_PROFILE
    address = AbhaAddress.read(_text(said, "abhaAddress"))
    if address is None:
        return NO_ADDRESS
    if address.domain != environment:
        return OTHER_ENVIRONMENT
    name, gender, born = _text(said, "name"), _text(said, "gender").upper(), _born(said)
    reason = (not name and NO_NAME) or (gender not in GENDERS and NO_GENDER) or (not born and NO_BIRTH_YEAR)
    if reason:
        return reason
    number = AbhaNumber.read(_text(said, "abhaNumber"))
    home = said.get("address")
    home = home if isinstance(home, Mapping) else {}
    return Profile(
        address=address.text,
        number=number.digits if number is not None and number.fits else "",
        name=name,
        gender=gender,
        born=born,
        mobile=mobile(_text(said, "phoneNumber")),
        **{part: _text(home, part) for part in ("line", "district", "state", "pincode")},
    )


def mobile(text: str) -> str:
    """The ten digits of a mobile number of India, however the country is written; empty: it is none."""
    digits = "".join(sign for sign in text if sign in "0123456789")
    is_one = len(digits) == 10 or (len(digits) in (11, 12, 13) and digits[:-10] in ("0", "91", "091"))
    return digits[-10:] if is_one and digits[-10] in "6789" else ""


def _text(said: Mapping[str, Any], name: str) -> str:
    """A text without control characters, blanks made one; empty: there is none, or it is too long."""
    value = said.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > LONGEST:
        return ""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in value).split())


def _born(said: Mapping[str, Any]) -> str:
    year, month, day = (_text(said, name) for name in ("yearOfBirth", "monthOfBirth", "dayOfBirth"))
    if not re.fullmatch("[0-9]{4}", year) or not FIRST_YEAR <= int(year) <= LAST_YEAR:
        return ""
    if re.fullmatch("[0-9]{1,2}", month) and re.fullmatch("[0-9]{1,2}", day):
        try:
            return date(int(year), int(month), int(day)).strftime("%Y%m%d")
        except ValueError:
            pass
    return year
