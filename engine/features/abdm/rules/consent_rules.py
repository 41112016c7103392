"""The rules of consents: the state that follows on a notice, and the requests that a consent lets pass. Pure; no clock.

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
from datetime import datetime
from enum import StrEnum

from engine.features.abdm.rules import consents
from engine.model.values import value

_ORDER = {state: place for place, state in enumerate(consents.ConsentState)}


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

    state: consents.ConsentState = consents.ConsentState.REQUESTED
    artefact: consents.Artefact | None = None
    disputed: bool = False


@value()
class Chosen:
    """The care contexts of a consent, by what a request gets of them: references, in the order of the consent.

    Attributes:
        outside: of a report that is not of the time that was asked for.
        absent: of a report that is not there any more.
    """

    sent: tuple[str, ...]
    outside: tuple[str, ...]
    absent: tuple[str, ...]


def noticed(standing: Standing, notice: consents.Notice) -> Standing:
    """The consent after one more notice."""
    known = standing.artefact
    return Standing(
        state=max(standing.state, notice.state, key=_ORDER.__getitem__),
        artefact=known or notice.artefact,
        disputed=standing.disputed or (known is not None and notice.artefact not in (None, known)),
    )


def state_at(standing: Standing, now: datetime) -> consents.ConsentState:
    """Its state by our own clock, too: no notice has to say that it has ended. The end of a disputed one is unknown."""
    artefact = None if standing.disputed else standing.artefact
    if standing.state is consents.ConsentState.GRANTED and artefact and artefact.erase_at <= now:
        return consents.ConsentState.EXPIRED
    return standing.state


def unfit(
    artefact: consents.Artefact, facilities: Collection[str], held: Mapping[str, consents.Holding]
) -> Unfit | None:
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
    standing: Standing | None,
    request: consents.DataRequest,
    *,
    facility: str,
    now: datetime,
    served: Collection[datetime] = (),
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
    if state is consents.ConsentState.EXPIRED:
        return Refusal.EXPIRED
    if state is not consents.ConsentState.GRANTED or artefact is None:
        return Refusal.NOT_GRANTED
    asked, granted = request.period, artefact.period
    holds = {
        Refusal.DISPUTED: standing.disputed,
        Refusal.OTHER_FACILITY: facility != artefact.facility,
        Refusal.PURPOSE: artefact.purpose not in consents.PURPOSES,
        Refusal.HI_TYPE: consents.REPORT not in artefact.hi_types,
        Refusal.RANGE_INVERTED: asked.is_inverted,
        Refusal.RANGE: not granted.covers(asked),
        Refusal.FREQUENCY: is_used_up(artefact.frequency, served, now),
    }
    return next((one for one, is_so in holds.items() if is_so), None)


def is_used_up(frequency: consents.Frequency | None, served: Iterable[datetime], now: datetime) -> bool:
    """Whether a consent was used as often as it may be for now. A time ahead of the clock counts, too."""
    if frequency is None or not frequency.value or not frequency.repeats:
        return False
    lasts = consents.UNIT_LASTS[frequency.unit] * frequency.value
    return sum(now - one < lasts for one in served) >= frequency.repeats


def chosen(artefact: consents.Artefact, period: consents.Period, dates: Mapping[str, datetime]) -> Chosen:
    """The reports that a request gets, where nothing refuses it.

    Args:
        dates: when each report was issued, by its reference; one that is missing is not there any more.
    """
    references = tuple(dict.fromkeys(one.reference for one in artefact.care_contexts))
    return Chosen(
        sent=tuple(one for one in references if one in dates and period.has(dates[one])),
        outside=tuple(one for one in references if one in dates and not period.has(dates[one])),
        absent=tuple(one for one in references if one not in dates),
    )
