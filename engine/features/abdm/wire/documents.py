"""A report as ABDM's document: what it says of its patient and its issue, and the form in which it goes out. Pure.

    read_report    the facts of a document for its care context
    going_out      the bytes to encrypt: version, the patient's ABHA, the profile, and no PDF above a limit

A document is changed in these places alone; each number keeps the digits that were sent. It is written once: the
checksum is of the bytes that are encrypted.

Sources: FHIR R4, documents; NRCeS' guide for DiagnosticReportRecord; NHA's pages on the data flow, V3.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from adapters.codecs import json_tree
from engine.features.abdm.rules import abha
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import GENDERS, Report
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode
from engine.model.values import value

Json = dict[str, Any]
MAX_VERSION_DIGITS = 18
WITHOUT_PDF = "The PDF of this report is too large, and is not part of this record. Ask the laboratory for it."
"""What the reader is told of a document without its PDF."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEAR = re.compile(r"([0-9]{4})(-[0-9]{2}){0,2}")
_MOBILE = re.compile(r"(?:91|0)?([6-9][0-9]{9})")  # of India


class LeftOut(StrEnum):
    """What of a report does not go out, and why."""

    PDF_TOO_LARGE = "pdf_too_large"


@value()
class Prepared:
    """A document as it goes out."""

    body: bytes = field(repr=False)
    left_out: LeftOut | None = None


def read_report(body: bytes, systems: Collection[str] = abha.ABHA_SYSTEMS) -> Report:
    """The facts of a document for its care context.

    Args:
        systems: of ABHA numbers.

    Raises:
        ContentError: UNREADABLE, TOO_LARGE, UNKNOWN_CHARSET; REQUIRED_ABSENT and BAD_VALUE with their ``place``.
    """
    bundle = _bundle(body)
    return _report(bundle, systems, _digest(bundle))


def _report(bundle: Json, systems: Collection[str], digest: bytes) -> Report:
    patient = _only(bundle, "Patient")
    composition = _only(bundle, "Composition")
    identifiers = _objects(patient, "identifier")
    numbers = [AbhaNumber.read(text) for text in abha.numbers_among(identifiers, systems)]
    addresses = [AbhaAddress.read(text) for text in abha.addresses_among(identifiers)]
    return Report(
        document=_text(_object(bundle, "identifier"), "value") or _absent("identifier.value"),
        version=_version(bundle),
        digest=digest,
        issued=_issued(bundle, composition),
        laboratory=frozenset(_laboratory(bundle, composition)),
        patient=_text(patient, "id") or _absent("Patient.id"),
        numbers=frozenset(filter(None, numbers)),
        addresses=frozenset(filter(None, addresses)),
        unreadable=[*numbers, *addresses].count(None),
        own_numbers=frozenset(
            (_text(one, "system"), number)
            for one in identifiers
            if not abha.is_abha(one, systems) and (number := _text(one, "value"))
        ),
        name=next((text for one in _objects(patient, "name") if (text := _name(one))), ""),
        gender=GENDERS.get(_text(patient, "gender"), "U"),
        birth_year=int(year[1]) if (year := _YEAR.fullmatch(_text(patient, "birthDate"))) else None,
        mobiles=frozenset(_mobiles(patient)),
        own_number=_own_number(identifiers, systems),
        accession=_accession(bundle),
        measured=_measured(bundle),
        is_day_alone=bool(_DAY.fullmatch(_text(composition, "date"))),
        is_correction=_text(composition, "status") == "amended",
    )


def going_out(
    body: bytes,
    *,
    version: int,
    max_bytes: int,
    profile: abha.Profile,
    system: str,
    number: AbhaNumber | None = None,
    address: AbhaAddress | None = None,
    are_all: bool = False,
) -> tuple[Report, Prepared, Json]:
    """A document as it goes out: its report without digest, the bytes to encrypt, and the tree of which they were
    written. The document is read once.

    Args:
        version: of its care context.
        system: URI of ABHA numbers.
        number, address: of the patient, where a person linked them; None leaves those of the document.
        are_all: a person has said whose it is: a number or address of the document goes out in no form, also where
            ``number`` is None.

    Raises:
        ContentError: as `read_report`; TOO_LARGE: it is longer than ``max_bytes``, and without its PDF still is, or is
            nothing else.
    """
    bundle = _bundle(body)
    report = _report(bundle, abha.ABHA_SYSTEMS | {system}, b"")
    if are_all:
        patient, systems = _only(bundle, "Patient"), abha.ABHA_SYSTEMS | {system}
        patient["identifier"] = [one for one in _objects(patient, "identifier") if not abha.is_abha(one, systems)]
    made = _prepared(bundle, version, max_bytes, profile, system, number, address)
    return report, made, bundle


def _prepared(
    bundle: Json,
    version: int,
    max_bytes: int,
    profile: abha.Profile,
    system: str,
    number: AbhaNumber | None,
    address: AbhaAddress | None,
) -> Prepared:
    patient = _only(bundle, "Patient")
    bundle["meta"] = {**_object(bundle, "meta"), "versionId": str(version)}
    patient["identifier"] = _identifiers(_objects(patient, "identifier"), number, address, system, profile)
    written = json_tree.write(bundle)
    if len(written) <= max_bytes:
        return Prepared(written)
    if not _without_pdf(bundle):
        raise ContentError(ReasonCode.TOO_LARGE, f"more than {max_bytes} bytes, and it has no results beside its PDF")
    written = json_tree.write(bundle)
    if len(written) > max_bytes:
        raise ContentError(ReasonCode.TOO_LARGE, f"more than {max_bytes} bytes, without its PDF, too")
    return Prepared(written, LeftOut.PDF_TOO_LARGE)


# -- reading -----------------------------------------------------------------------------------------------------------


def _bundle(body: bytes) -> Json:
    tree, _ = json_tree.read(body)
    if not isinstance(tree, dict) or tree.get("resourceType") != "Bundle":
        raise ContentError(ReasonCode.UNREADABLE, "no Bundle")
    return tree


def _entries(bundle: Json) -> list[Json]:
    return [one for one in _objects(bundle, "entry") if isinstance(one.get("resource"), dict)]


def _resources(bundle: Json, kind: str) -> list[Json]:
    return [one["resource"] for one in _entries(bundle) if one["resource"].get("resourceType") == kind]


def _only(bundle: Json, kind: str) -> Json:
    found = _resources(bundle, kind)
    if len(found) != 1:
        raise ContentError(ReasonCode.BAD_VALUE, f"{len(found)} and not one", place=kind)
    return found[0]


def _version(bundle: Json) -> int:
    text = _text(_object(bundle, "meta"), "versionId") or _absent("meta.versionId")
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_VERSION_DIGITS):
        raise ContentError(ReasonCode.BAD_VALUE, "no whole number", place="meta.versionId")
    return int(text)


def _issued(bundle: Json, composition: Json) -> datetime:
    """The time of the Composition. Of a day alone its midnight, in the zone in which the document was made."""
    said = _text(composition, "date") or _absent("Composition.date")
    try:
        if _DAY.fullmatch(said) and _TIME.fullmatch(made := _text(bundle, "timestamp")):
            return datetime.fromisoformat(f"{said}T00:00:00").replace(tzinfo=datetime.fromisoformat(made).tzinfo)
        if _TIME.fullmatch(said):
            return datetime.fromisoformat(said)
    except ValueError:
        pass
    raise ContentError(ReasonCode.BAD_VALUE, "no time with its zone", place="Composition.date")


def _measured(bundle: Json) -> date | None:
    """The day of the measurement, as the document has it: in the zone of the laboratory."""
    for report in _resources(bundle, "DiagnosticReport"):
        said = _text(report, "effectiveDateTime") or _text(_object(report, "effectivePeriod"), "start")
        with suppress(ValueError):
            return date.fromisoformat(said[:10])
    return None


def _accession(bundle: Json) -> str:
    """The laboratory's number of the report, else that of who ordered it: the Composition is known by its own."""
    reports = [*_resources(bundle, "DiagnosticReport"), *_resources(bundle, "DocumentReference")]
    numbers = [one for report in reports for one in _objects(report, "identifier")]
    own = [one for one in numbers if any(c.get("code") == "FILL" for c in _objects(_object(one, "type"), "coding"))]
    return next((text for one in (*own, *numbers) if (text := _text(one, "value"))), "")


def _name(name: Json) -> str:
    """Given names and family name, without title; where they are one piece, that."""
    given = name.get("given")
    parts = [one.strip() for one in given if isinstance(one, str)] if isinstance(given, list) else []
    return " ".join(filter(None, [*parts, _text(name, "family")])) or _text(name, "text")


def _own_number(identifiers: list[Json], systems: Collection[str]) -> str:
    """The laboratory's own number of the patient: of type MR, else the first."""
    own = [one for one in identifiers if not abha.is_abha(one, systems) and _text(one, "value")]
    typed = [one for one in own if any(c.get("code") == "MR" for c in _objects(_object(one, "type"), "coding"))]
    return next((_text(one, "value") for one in (*typed, *own)), "")


def _digest(bundle: Json) -> bytes:
    """Of a document without its version and the time at which it was made."""
    meta = {name: said for name, said in _object(bundle, "meta").items() if name != "versionId"}
    said = {name: value for name, value in bundle.items() if name != "timestamp"} | {"meta": meta}
    return hashlib.sha256(json_tree.write(said)).digest()


def _laboratory(bundle: Json, composition: Json) -> Iterator[str]:
    """The registered numbers (type PRN) of who answers for the document."""
    named = _text(_object(composition, "custodian"), "reference")
    for entry in _entries(bundle):
        organization = entry["resource"]
        if organization.get("resourceType") == "Organization" and entry.get("fullUrl") == named:
            for one in _objects(organization, "identifier"):
                codings = _objects(_object(one, "type"), "coding")
                if any(
                    coding.get("system") == abha.IDENTIFIER_TYPE and coding.get("code") == "PRN" for coding in codings
                ):
                    yield _text(one, "value")


def _mobiles(patient: Json) -> Iterator[str]:
    for one in _objects(patient, "telecom"):
        if one.get("system") in ("phone", "sms"):
            found = _MOBILE.fullmatch(re.sub(r"[^0-9]", "", _text(one, "value")))
            if found:
                yield found[1]


def _object(within: Json, name: str) -> Json:
    """Empty where there is none."""
    said = within.get(name)
    return said if isinstance(said, dict) else {}


def _objects(within: Json, name: str) -> list[Json]:
    said = within.get(name)
    return [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []


def _text(within: Json, name: str) -> str:
    said = within.get(name)
    return said.strip() if isinstance(said, str) else ""


def _absent(place: str) -> str:
    raise ContentError(ReasonCode.REQUIRED_ABSENT, place=place)


# -- what is changed ---------------------------------------------------------------------------------------------------


def _identifiers(
    given: list[Json], number: AbhaNumber | None, address: AbhaAddress | None, system: str, profile: abha.Profile
) -> list[Json]:
    """A Patient's identifiers, ABHA first, in the types of the profile. A text that is no ABHA goes out in no form."""
    systems = abha.ABHA_SYSTEMS | {system}
    numbers = [number] if number else [AbhaNumber.read(text) for text in abha.numbers_among(given, systems)]
    addresses = [address.text] if address else list(abha.addresses_among(given))
    return [
        *(one for read in dict.fromkeys(numbers) if read for one in abha.number_identifiers(read, system, profile)),
        *(abha.address_identifier(text, profile) for text in dict.fromkeys(addresses) if AbhaAddress.read(text)),
        *(one for one in given if not abha.is_abha(one, systems)),
    ]


def _without_pdf(bundle: Json) -> bool:
    """Take the finished documents out; False: nothing else would be left, or there are none."""
    section = next(iter(_objects(_only(bundle, "Composition"), "section")), {})
    others = [one for one in _objects(section, "entry") if one.get("type") != "DocumentReference"]
    if not others or not _resources(bundle, "DocumentReference"):
        return False
    section["entry"] = others
    bundle["entry"] = [one for one in _entries(bundle) if one["resource"].get("resourceType") != "DocumentReference"]
    narrative = _object(_only(bundle, "Composition"), "text")
    if _text(narrative, "div").endswith("</div>"):
        narrative["div"] = f"{_text(narrative, 'div').removesuffix('</div>')}<p>{WITHOUT_PDF}</p></div>"
    return True
