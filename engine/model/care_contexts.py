"""Care contexts: one report of one laboratory is one. What becomes of each issue of a report, and whose it is. Pure.

A report is known by the identifier of its document: the mapping makes it of accession, patient and day under the site's
key, so each issue has the same one, and the number of a tube that is given again to another patient has another. The
laboratory is part of what a context is known by: two laboratories of one account may count alike.

    step       an issue that comes    new, a later version of what is there, the same again, or older than it
    whose      the patient, as the network wants a person named; or why the context waits

An issue for another person than the one before is never a later version: the first person's app would get it. An
older issue never takes the place of a newer one. Of two numbers, or of one with a check digit that does not fit, no
link is made: a person decides, and no number is corrected.

Sources: NHA's pages on linking and on care contexts, V3. The text that the app shows names no test and no result.
"""

import base64
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from engine.model.abha import AbhaAddress, AbhaNumber
from engine.model.values import value

MIN_REFERENCE_BYTES = 10
"""Of chance in a reference: it is not to be guessed."""
GENDERS = {"male": "M", "female": "F", "other": "O", "unknown": "U"}
"""Of FHIR, and as the network's interfaces have them."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Step(StrEnum):
    """What an issue of a report is to the context of that report."""

    NEW = "new"
    AMENDED = "amended"
    REPEATED = "repeated"
    OLDER = "older"
    OTHER_PATIENT = "other_patient"


class Wait(StrEnum):
    """Why a context is not linked, in the order in which they are looked for."""

    OTHER_LABORATORY = "other_laboratory"
    TWO_NUMBERS = "two_numbers"
    DOUBTFUL_NUMBER = "doubtful_number"
    OTHER_ENVIRONMENT = "other_environment"
    COUNTED = "counted"
    NO_ABHA = "no_abha"
    NO_NAME = "no_name"
    NO_BIRTH_YEAR = "no_birth_year"


ENDS = frozenset({Wait.OTHER_LABORATORY, Wait.COUNTED})
"""Those that no later link ends: a counter is another person's tomorrow."""


@value(kw_only=True)
class Report:
    """One issue of a report, as its document says it.

    Attributes:
        document: identifier of the document.
        version: of the document, from its time of issue; a later issue has a higher one, or the same by mistake.
        digest: of all that the document says, but for its version and the time at which it was sent.
        issued: with the zone of the laboratory.
        laboratory: its numbers in the registry of facilities.
        patient: keyed id of the patient in the documents of this site.
        unreadable: how many ABHA numbers or addresses are none: they are shown as unknown, and never corrected.
        own_numbers: system and number of the laboratory's own for the patient. Only those that last are in documents.
        mobiles: ten digits each.
    """

    document: str
    version: int
    digest: bytes
    issued: datetime
    laboratory: frozenset[str]
    patient: str
    numbers: frozenset[AbhaNumber] = frozenset()
    addresses: frozenset[AbhaAddress] = frozenset()
    unreadable: int = 0
    own_numbers: frozenset[tuple[str, str]] = frozenset()
    name: str = ""
    gender: str = "U"
    birth_year: int | None = None
    mobiles: frozenset[str] = frozenset()


@value(kw_only=True)
class Known:
    """A context so far: the laboratory and document that it is of, its newest version, and its patient.

    Attributes:
        numbers, addresses: of the patient, from the documents and from links by hand.
    """

    facility: str
    document: str
    version: int
    digest: bytes
    patient: str
    numbers: frozenset[AbhaNumber] = frozenset()
    addresses: frozenset[AbhaAddress] = frozenset()


@value(kw_only=True)
class Person:
    """A patient, as the network wants one named for a link token. ``number``: None of one who has an address alone."""

    address: AbhaAddress
    number: AbhaNumber | None
    name: str
    gender: str
    birth_year: int


def key(facility: str, report: Report) -> tuple[str, str]:
    """By which a context is found; the same accession of another facility, patient or day has another one."""
    return facility, report.document


def step(known: Known | None, report: Report) -> Step:
    """What an issue is to the context with its key; None: there is no such context yet."""
    if known is None:
        return Step.NEW
    if is_another(known, report):
        return Step.OTHER_PATIENT
    if report.digest == known.digest:
        return Step.REPEATED
    return Step.OLDER if report.version < known.version else Step.AMENDED


def followed(known: Known | None, report: Report, facility: str) -> Known:
    """The context with an issue that is new or amended. Its version rises, also where the time of issue stays."""
    return Known(
        facility=facility,
        document=report.document,
        version=max(report.version, known.version + 1) if known else report.version,
        digest=report.digest,
        patient=report.patient,
        numbers=report.numbers | (known.numbers if known else frozenset()),
        addresses=report.addresses | (known.addresses if known else frozenset()),
    )


def is_another(known: Known, report: Report) -> bool:
    """Whether an issue is of another person, as far as both say who it is. One person may have several addresses."""
    if report.patient != known.patient:
        return True
    if known.numbers and report.numbers:
        return known.numbers != report.numbers
    return bool(known.addresses and report.addresses and not known.addresses & report.addresses)


def whose(report: Report, facility_ids: Iterable[str], domain: str) -> Person | Wait:
    """The patient of a report; or why it cannot be linked.

    Args:
        facility_ids: of the laboratory, at the gateway and in the registry.
        domain: of the environment, ``sbx`` or ``abdm``: an address of the other one names no person here.
    """
    fitting = sorted(one for one in report.addresses if one.domain == domain)
    number = next(iter(report.numbers), None)
    holds = {
        Wait.OTHER_LABORATORY: not report.laboratory & frozenset(facility_ids),
        Wait.TWO_NUMBERS: len(report.numbers) > 1,
        Wait.DOUBTFUL_NUMBER: bool(report.unreadable) or (number is not None and not number.fits),
        Wait.OTHER_ENVIRONMENT: bool(report.addresses) and not fitting,
        Wait.COUNTED: number is None and not fitting and not report.own_numbers,
        Wait.NO_ABHA: number is None and not fitting,
        Wait.NO_NAME: not report.name,
        Wait.NO_BIRTH_YEAR: report.birth_year is None,
    }
    waits = next((one for one, is_so in holds.items() if is_so), None)
    address = fitting[0] if fitting else _first_address(number, domain)
    if waits is not None or address is None or report.birth_year is None:
        return waits or Wait.NO_ABHA
    return Person(address=address, number=number, name=report.name, gender=report.gender, birth_year=report.birth_year)


def display(issued: datetime) -> str:
    """The text that the patient's app shows for a context: ``Lab report 20 Nov 2026``."""
    return f"Lab report {issued.day} {_MONTHS[issued.month - 1]} {issued.year}"


def reference(chance: bytes) -> str:
    """The id of a context or patient at the network, of bytes that the caller draws.

    Raises:
        ValueError: fewer than `MIN_REFERENCE_BYTES`.
    """
    if len(chance) < MIN_REFERENCE_BYTES:
        raise ValueError(f"a reference is made of {MIN_REFERENCE_BYTES} bytes or more")
    return "LR-" + base64.b32encode(chance).decode("ascii").rstrip("=")


def _first_address(number: AbhaNumber | None, domain: str) -> AbhaAddress | None:
    """The address that each number has from the day on which it was given."""
    return AbhaAddress.read(f"{number.digits}@{domain}") if number else None
