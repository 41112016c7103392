"""A patient's consents of ABDM, and the requests made under them. Plain data; pure.

A `Notice` says what became of a consent; that of a grant carries the `Artefact`: who may read which records, and until
when. A `DataRequest` asks for records under one consent. `refusal` says which ones may be answered.

Sources: NHA's OpenAPI documents of the consent manager, V3 (2026-09-16).

The rules of consents: the state that follows on a notice, and the requests that a consent lets pass. Pure; no clock.

Notices come again and in any order. So a state is the furthest that any notice has said (`noticed`), and the order
makes no difference: a revocation that comes before its grant revokes it. Two grants of one consent with different
contents are a dispute, under which nothing goes out.

A request is looked at as a whole (`refusal`): where it asks for more than was granted it is refused, and never
narrowed. The same look comes before each page, with the clock and the notices of that moment.

Sources: NHA's pages on consent and data flow, V3. They say that records may be shared under a consent any number of
times until it ends, and do not say how ``frequency`` limits that; its numbers are read as India's framework for
electronic consent has them (MeitY: unit, value, repeats), and zero as no limit, as the sandbox sends it.
"""

from collections.abc import Collection, Iterable, Mapping
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
        reader, reader_name: who may read, for people to see. Gateways leave them out, so the names make no
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


_ORDER = {state: place for place, state in enumerate(ConsentState)}


class Refusal(StrEnum):
    """Why a request under a consent is refused, in the order in which they are looked for."""

    UNKNOWN = "unknown"
    NOT_GRANTED = "not_granted"
    EXPIRED = "expired"
    DISPUTED = "disputed"
    OTHER_FACILITY = "other_facility"
    PURPOSE = "purpose"
    HI_TYPE = "hi_type"
    RANGE_INVERTED = "range_inverted"
    RANGE = "range"
    FREQUENCY = "frequency"


CODES: Mapping[Refusal, str] = {
    Refusal.UNKNOWN: "ABDM-1062",
    Refusal.NOT_GRANTED: "ABDM-1062",
    Refusal.EXPIRED: "ABDM-1061",
    Refusal.RANGE: "ABDM-1063",
}
"""NHA's codes for them. It names none for the others."""


class Unfit(StrEnum):
    """Why a grant cannot be ours, in the order in which they are looked for. ``UNKNOWN_CONTEXT``: none of its care
    contexts is known here."""

    OTHER_FACILITY = "other_facility"
    NO_CONTEXT = "no_context"
    UNKNOWN_CONTEXT = "unknown_context"
    OTHER_PATIENT = "other_patient"


@value()
class Standing:
    """A consent, after all its notices so far."""

    state: ConsentState = ConsentState.REQUESTED
    artefact: Artefact | None = None
    disputed: bool = False


def noticed(standing: Standing, notice: Notice) -> Standing:
    """The consent after one more notice."""
    known = standing.artefact
    return Standing(
        state=max(standing.state, notice.state, key=_ORDER.__getitem__),
        artefact=known or notice.artefact,
        disputed=standing.disputed or (known is not None and notice.artefact not in (None, known)),
    )


def state_at(standing: Standing, now: datetime) -> ConsentState:
    """Its state by our own clock, too: no notice has to say that it has ended. The end of a disputed one is unknown."""
    artefact = None if standing.disputed else standing.artefact
    if standing.state is ConsentState.GRANTED and artefact and artefact.erase_at <= now:
        return ConsentState.EXPIRED
    return standing.state


def unfit(artefact: Artefact, facilities: Collection[str], held: Mapping[str, Holding]) -> Unfit | None:
    """Why a grant that came cannot be ours; None: it can, also where some of its care contexts are not known here, as
    after a restore. Of each request these stay here, and their lines say so.

    Args:
        facilities: ids of ours.
        held: our care contexts by reference, those of ``artefact`` at least.
    """
    if artefact.facility not in facilities:
        return Unfit.OTHER_FACILITY
    if not artefact.care_contexts:
        return Unfit.NO_CONTEXT
    found = [(one, held[one.reference]) for one in artefact.care_contexts if one.reference in held]
    if not found:
        return Unfit.UNKNOWN_CONTEXT
    if all(ours.patient == one.patient and artefact.patient in ours.addresses for one, ours in found):
        return None
    return Unfit.OTHER_PATIENT


def refusal(
    standing: Standing | None, request: DataRequest, *, facility: str, now: datetime, served: Collection[datetime] = ()
) -> Refusal | None:
    """Why a request gets nothing; None: it may be answered.

    Args:
        standing: of the consent that the request names; None where there is none.
        facility: that the request was sent to.
        served: when other requests were answered under this consent.
    """
    artefact = standing.artefact if standing else None
    if standing is None or request.consent_id != (artefact.consent_id if artefact else request.consent_id):
        return Refusal.UNKNOWN
    state = state_at(standing, now)
    if state is ConsentState.EXPIRED:
        return Refusal.EXPIRED
    if state is not ConsentState.GRANTED or artefact is None:
        return Refusal.NOT_GRANTED
    asked, granted = request.period, artefact.period
    holds = {
        Refusal.DISPUTED: standing.disputed,
        Refusal.OTHER_FACILITY: facility != artefact.facility,
        Refusal.PURPOSE: artefact.purpose not in PURPOSES,
        Refusal.HI_TYPE: REPORT not in artefact.hi_types,
        Refusal.RANGE_INVERTED: asked.is_inverted,
        Refusal.RANGE: not granted.covers(asked),
        Refusal.FREQUENCY: is_used_up(artefact.frequency, served, now),
    }
    return next((one for one, is_so in holds.items() if is_so), None)


def is_used_up(frequency: Frequency | None, served: Iterable[datetime], now: datetime) -> bool:
    """Whether a consent was used as often as it may be for now. A time ahead of the clock counts, too."""
    if frequency is None or not frequency.value or not frequency.repeats:
        return False
    lasts = UNIT_LASTS[frequency.unit] * frequency.value
    return sum(now - one < lasts for one in served) >= frequency.repeats
