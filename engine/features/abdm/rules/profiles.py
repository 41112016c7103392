"""Releases of the profiles for ABDM's documents, and how each one writes a patient's ABHA. Pure.

    2.0.1   identifiers have types of HL7 table 0203 alone: the number is of type MR, the address has its type as text
    6.5     NRCeS has types of its own: HIN is the number, ABHA is the address

Receivers of 6.5 read the number by either type, so it is there twice.

Source: the guides of the National Resource Centre for EHR Standards (NRCeS), package ``ndhm.in``.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal, TypeGuard

from engine.features.abdm.rules.abha import AbhaNumber

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
