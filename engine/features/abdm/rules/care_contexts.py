"""Care contexts: one report of one laboratory is one. What becomes of each issue of a report, and whose it is. Pure.

A report is known by the identifier of its document: the mapping makes it of accession, patient, day and channel under
the site's key, and a correction of another day takes that of what it corrects. So each issue has the same one, and the
number of a tube that is given again, to another patient or on another day, has another. The laboratory is part of what
a context is known by: two laboratories of one account may count alike.

    step       an issue that comes    new, a later version of what is there, the same again, or older than it
    claim      a report whose number another patient's report has: given again, moved to another patient, or doubtful
    whose      the patient, as the network wants a person named; or why the context waits

An issue for another person than the one before is never a later version: the first person's app would get it. An
older issue never takes the place of a newer one. Of two numbers, or of one with a check digit that does not fit, no
link is made: a person decides, and no number is corrected.

A time of issue may be a day alone. Then it is not known which of two issues of that day is the newer one, and the one
that came later is; an issue that was there before is not.

Sources: NHA's pages on linking and on care contexts, V3. The text that the app shows names no test and no result.
"""

import base64
from collections.abc import Iterable
from dataclasses import field
from datetime import date, datetime, timedelta
from enum import StrEnum

from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.model.values import changed, value

MIN_REFERENCE_BYTES = 10
"""Of chance in a reference: it is not to be guessed."""
GENDERS = {"male": "M", "female": "F", "other": "O", "unknown": "U"}
"""Of FHIR, and as the network's interfaces have them."""
MOST_SEEN = 32
"""Earlier issues that a context remembers by their digest."""
MISTAKE = timedelta(days=7)
"""So long after a report a correction under its number, of another day, may still be one of it."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Step(StrEnum):
    """What an issue of a report is to the context of that report."""

    NEW = "new"
    AMENDED = "amended"
    REPEATED = "repeated"
    OLDER = "older"
    OTHER_PATIENT = "other_patient"


class Claim(StrEnum):
    """What a report is to another one whose number it has."""

    FREE = "free"  # the number was given again: each report is its own patient's
    MOVED = "moved"  # it was the other patient's by mistake, which the laboratory has corrected
    LATE = "late"  # the number was moved away from this one before it came
    DOUBT = "doubt"  # neither goes out until a person has looked


class Hold(StrEnum):
    """Why a context is not linked, beside `Wait`: of its patient, or of another report."""

    LEFT = "left"  # its patient has left the network
    SAME_NUMBER = "same_number"  # another patient's report has its number
    OTHER_NAME = "other_name"  # neither name, nor year and gender, are those of the patient with its ABHA


class Gone(StrEnum):
    """Why a context is given out no more."""

    MOVED = "moved"  # the laboratory has corrected the patient of the report; a person has yet to look
    WITHDRAWN = "withdrawn"  # a person has said so


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
        own_number: the one of them to look the patient up by.
        mobiles: ten digits each.
        accession: the laboratory's number of the report; several patients or days may have the same one.
        measured: the day of the measurement in the laboratory; None: only the time of issue is known.
        is_day_alone: ``issued`` is known as a day; its time is midnight.
        is_correction: it says that it corrects what was reported before.
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
    own_numbers: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)
    name: str = field(default="", repr=False)
    gender: str = field(default="U", repr=False)
    birth_year: int | None = field(default=None, repr=False)
    mobiles: frozenset[str] = field(default=frozenset(), repr=False)
    own_number: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    measured: date | None = None
    is_day_alone: bool = False
    is_correction: bool = False

    @property
    def day(self) -> date:
        return self.measured or self.issued.date()


@value(kw_only=True)
class Known:
    """A context so far: the laboratory and document that it is of, its newest version, and its patient.

    Attributes:
        version: from 1.
        issue, issued: `Report.version` and day of the newest issue; of days alone the newest that is known better.
        day: of the measurement.
        seen: digests of earlier issues, `MOST_SEEN` at most.
        numbers, addresses: of the patient, from the documents and from links by hand.
        overruled: numbers in the documents that a link by hand has set aside: they say nothing any more.
        is_by_hand: a person has said whose it is; the name in its documents does not count.
    """

    facility: str
    document: str
    version: int
    digest: bytes
    patient: str
    issue: int
    issued: date
    day: date
    is_day_alone: bool = False
    is_correction: bool = False
    seen: tuple[bytes, ...] = ()
    numbers: frozenset[AbhaNumber] = frozenset()
    addresses: frozenset[AbhaAddress] = frozenset()
    overruled: frozenset[AbhaNumber] = frozenset()
    is_by_hand: bool = False


@value(kw_only=True)
class Person:
    """A patient, as the network wants one named for a link token. ``number``: None of one who has an address alone."""

    address: AbhaAddress
    number: AbhaNumber | None
    name: str = field(repr=False)
    gender: str = field(repr=False)
    birth_year: int = field(repr=False)


def step(known: Known | None, report: Report, *, came_later: bool = True) -> Step:
    """What an issue is to the context with its key.

    Args:
        known: None: there is no such context yet.
        came_later: it was received after the newest issue. It decides where the times of issue do not.
    """
    if known is None:
        return Step.NEW
    age = _age(known, report)
    if age < 0 or (age == 0 and (not came_later or report.digest in known.seen)):
        return Step.REPEATED if report.digest == known.digest else Step.OLDER
    if is_another(known, report):
        return Step.OTHER_PATIENT
    return Step.REPEATED if report.digest == known.digest else Step.AMENDED


def followed(known: Known | None, report: Report, facility: str) -> Known:
    """The context with an issue that is new or amended."""
    if known is None:
        return Known(
            facility=facility,
            document=report.document,
            version=1,
            digest=report.digest,
            patient=report.patient,
            issue=report.version,
            issued=report.issued.date(),
            day=report.day,
            is_day_alone=report.is_day_alone,
            is_correction=report.is_correction,
            numbers=report.numbers,
            addresses=report.addresses,
        )
    return changed(
        known,
        version=known.version + 1,
        digest=report.digest,
        issue=max(report.version, known.issue),
        issued=max(report.issued.date(), known.issued),
        day=report.day,
        is_day_alone=report.is_day_alone,
        is_correction=report.is_correction,
        seen=(*known.seen, known.digest)[-MOST_SEEN:],
        numbers=(report.numbers - known.overruled) | known.numbers,
        addresses=report.addresses | known.addresses,
    )


def linked_by_hand(known: Known, number: AbhaNumber | None, address: AbhaAddress) -> Known:
    """The context after a person has said whose it is: other numbers in its documents say nothing any more."""
    if number is None:
        return changed(known, addresses=known.addresses | {address}, is_by_hand=True)
    said = frozenset({number})
    return changed(
        known,
        numbers=said,
        addresses=known.addresses | {address},
        overruled=(known.overruled | known.numbers) - said,
        is_by_hand=True,
    )


def is_another(known: Known, report: Report) -> bool:
    """Whether an issue is of another person, as far as both say who it is. One person may have several addresses."""
    if report.patient != known.patient:
        return True
    numbers = report.numbers - known.overruled
    if known.numbers and numbers:
        return known.numbers != numbers
    return bool(known.addresses and report.addresses and not known.addresses & report.addresses)


def claim(known: Known, report: Report) -> Claim:
    """What a report is to a context of another document, or of another patient, that has its accession.

    A correction under another patient is the laboratory's own word that the first one was a mistake. The same number
    on the same day without such a word may be a mistake or not: then neither patient gets a report that may be the
    other's. A number that is given again on another day is an everyday thing.
    """
    if known.patient == report.patient and known.document != report.document:
        return Claim.FREE  # of another day
    is_same = bool(known.numbers & report.numbers) or (
        not (known.numbers and report.numbers) and bool(known.addresses & report.addresses)
    )
    one_day = report.day == known.day or known.document == report.document
    if is_same and known.document != report.document:  # one person, under two numbers of the laboratory
        return Claim.MOVED if report.is_correction and one_day and _age(known, report) >= 0 else Claim.FREE
    is_older = _age(known, report) < 0
    if not one_day:
        if abs(report.issued.date() - known.issued) > MISTAKE:
            return Claim.FREE
        return Claim.LATE if is_older and known.is_correction else Claim.DOUBT if report.is_correction else Claim.FREE
    if is_older:
        return Claim.LATE if known.is_correction else Claim.DOUBT
    return Claim.MOVED if report.is_correction else Claim.DOUBT


def _age(known: Known, report: Report) -> int:
    """-1: issued before the newest issue; 1: after it; 0: the times of issue do not say it."""
    day = report.issued.date()
    if report.is_day_alone or (known.is_day_alone and day == known.issued and report.version >= known.issue):
        return (day > known.issued) - (day < known.issued)
    return (report.version > known.issue) - (report.version < known.issue)


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
