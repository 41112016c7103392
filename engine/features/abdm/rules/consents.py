"""A patient's consents of ABDM, and the requests made under them. Plain data; pure.

A `Notice` says what became of a consent; that of a grant carries the `Artefact`: who may read which records, and until
when. A `DataRequest` asks for records under one consent. `engine.features.abdm.rules.consent_rules` says which ones may
be answered.

Sources: NHA's OpenAPI documents of the consent manager, V3 (2026-09-16).
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from engine.features.abdm.rules.abha import AbhaAddress
from engine.model.texts.phrases import PageText
from engine.model.values import value

REPORT = "DiagnosticReport"
"""The only type of health information that a laboratory has."""

SELF_REQUESTED = "PATRQT"
PURPOSES: Mapping[str, PageText] = {
    "CAREMGT": "Care management",
    "BTG": "Break the glass",
    "PUBHLTH": "Public health",
    "HPAYMT": "Healthcare payment",
    "DSRCH": "Disease specific healthcare research",
    SELF_REQUESTED: "Self requested",
}


class ConsentState(StrEnum):
    """As the consent manager names them. None is undone by one that is listed before it."""

    REQUESTED = "REQUESTED"
    GRANTED = "GRANTED"
    EXPIRED = "EXPIRED"
    DENIED = "DENIED"
    REVOKED = "REVOKED"


class FrequencyUnit(StrEnum):
    """Of a `Frequency`."""

    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


UNIT_LASTS: Mapping[FrequencyUnit, timedelta] = {
    FrequencyUnit.HOUR: timedelta(hours=1),
    FrequencyUnit.DAY: timedelta(days=1),
    FrequencyUnit.WEEK: timedelta(days=7),
    FrequencyUnit.MONTH: timedelta(days=31),  # the longest: a limit is never looser than it was meant
    FrequencyUnit.YEAR: timedelta(days=366),
}
MOST_OF_A_FREQUENCY = 10_000
"""Of ``value`` and ``repeats``; a larger number is no frequency."""


@value()
class Period:
    """From ``begin`` to ``end``, both with it; in UTC."""

    begin: datetime
    end: datetime

    @property
    def is_inverted(self) -> bool:
        return self.begin > self.end

    def has(self, at: datetime) -> bool:
        return self.begin <= at <= self.end

    def covers(self, other: "Period") -> bool:
        return self.begin <= other.begin and other.end <= self.end


@value()
class Frequency:
    """How often a consent may be used: ``repeats`` times in ``value`` units. With a zero it is no limit."""

    unit: FrequencyUnit
    value: int
    repeats: int


@value()
class CareContext:
    """One report: the number of the patient and that of the report, as they were linked."""

    patient: str
    reference: str


@value(kw_only=True)
class Artefact:
    """What a patient has granted.

    Attributes:
        facility: id of the laboratory that may give records.
        hi_types: of health information.
        erase_at: the consent ends then, by our own clock.
        care_contexts: each one once, in the order of their texts.
        reader, reader_name, requester: who may read, for people to see. Gateways leave them out, so the names make no
            other grant.
    """

    consent_id: str
    patient: AbhaAddress
    facility: str
    care_contexts: tuple[CareContext, ...]
    purpose: str
    hi_types: frozenset[str]
    period: Period
    erase_at: datetime
    access_mode: str = ""
    frequency: Frequency | None = None
    reader: str = ""
    reader_name: str = field(default="", compare=False, repr=False)
    requester: str = field(default="", compare=False, repr=False)

    @property
    def shown_reader(self) -> str:
        """The reader's name; empty where a patient asks for his own records, for then it may be his."""
        return "" if self.purpose == SELF_REQUESTED else self.reader_name


@value(kw_only=True)
class Notice:
    """The consent manager's word on one consent.

    Attributes:
        artefact: of a grant; the other words need the id alone, and often come without it.
        signature: the consent manager's, over bytes that are not published: kept.
    """

    consent_id: str
    state: ConsentState
    artefact: Artefact | None = None
    signature: str = field(default="", repr=False)


@value(kw_only=True)
class DataRequest:
    """A reader asks for records.

    Attributes:
        push_url: where they are to go; not checked yet.
        key_material: for `engine.features.abdm.wire.fidelius.read_key_material`.
    """

    transaction_id: str
    consent_id: str
    period: Period
    push_url: str = field(repr=False)
    key_material: Mapping[str, Any] = field(repr=False)


@value()
class Holding:
    """A care context as the laboratory has it: the number of its patient, and this patient's addresses."""

    patient: str
    addresses: frozenset[AbhaAddress]
