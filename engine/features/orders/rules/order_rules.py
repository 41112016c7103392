"""The rules of the worklist: which state follows on which event, which lines are the same order, which are the same
patient. Pure; no store, no clock.

An item is *known* where an analyzer has it, or may have it: bytes of it went out. A cancelled item that is known is
measured all the same unless the analyzer gives it up, so it is ``cancel_pending`` until then.

Sources: HL7 v2.5.1 chapter 4 (table 0119: ``CA``, ``XO``, ``HD``, ``RL``), IHE Laboratory Technical Framework, LAB-28.

The codes of an analyzer's tests, read backwards from the table that its results are mapped by: LOINC -> its code.

Rows for several units of a code are one code. Two codes for one LOINC term are two tests of the analyzer: the site says
which of them is ordered (``orders: preferred:``).

How long a test usually takes on one analyzer, from the moment that it got the order to the final result. Pure.

The figure is learned from the newest results of that test on that analyzer. Median and ninth decile do not move with a
few odd ones: a tube left overnight, a result that was sent twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from engine.features.orders.config.orders import OrdersConfig
from engine.model.orders import ANSWERED_STATES, OPEN_STATES, ItemReason, ItemState, OrderedPatient, OrderLine, Status
from engine.model.values import value

if TYPE_CHECKING:
    from engine.mapping.code_tables.tables import Table


class ItemEvent(StrEnum):
    """What happens to an item."""

    SENT = "sent"  # its bytes went out, and the link confirmed them
    NOT_SENT = "not_sent"  # no byte of it went out
    MAYBE_SENT = "maybe_sent"  # its bytes went out, and nothing confirmed them
    ACCEPTED = "accepted"  # the analyzer said yes
    REFUSED = "refused"  # the analyzer said no
    UNSUPPORTED = "unsupported"  # the analyzer that would get it takes no such dilution
    PRELIMINARY = "preliminary"  # a result that is not final
    FINAL = "final"
    RESULT_HELD = "result_held"  # a result that waits for a person
    WITHDRAWN = "withdrawn"  # the analyzer takes its result back
    CANCEL = "cancel"
    CANCEL_CONFIRMED = "cancel_confirmed"  # the analyzer gave it up
    CLOSE = "close"  # a person says that a pending cancel is done, or that a refused order is given up
    HOLD = "hold"  # by the LIS
    RELEASE = "release"  # by the LIS
    FREE = "free"  # a person releases it
    CONFLICT = "conflict"  # its specimen number turned up with another patient
    REPLACE = "replace"  # a new version of the LIS takes its place
    RESEND = "resend"  # a person wants it sent once more
    EXPIRE = "expire"


@value()
class Standing:
    """State and reason of an item. ``known``: an analyzer has it, or may have it."""

    state: ItemState
    reason: ItemReason = ItemReason.NONE
    known: bool = False


@value()
class Step:
    """The answer of `step`.

    Attributes:
        standing: of the item now.
        done: the event did what it asks for. A result that is ``late`` did not.
        late: a result of an item that was given up. It is delivered all the same, and shown to a person.
    """

    standing: Standing
    done: bool = True
    late: bool = False


_S, _R, _E = ItemState, ItemReason, ItemEvent
_KEEP = None  # a reason of `_LASTS` stays, another one has had its time

# What is the same of an item that waits and of one that an analyzer has or may have.
_OPEN: dict[ItemEvent, tuple[ItemState, ItemReason | None]] = {
    _E.ACCEPTED: (_S.ACCEPTED, _R.NONE),
    _E.REFUSED: (_S.REFUSED, _R.ANALYZER_REFUSED),
    _E.PRELIMINARY: (_S.IN_PROGRESS, _R.NONE),
    _E.FINAL: (_S.RESULTED, _R.NONE),
    _E.RESULT_HELD: (_S.IN_PROGRESS, _R.RESULT_HELD),
    _E.CONFLICT: (_S.HELD, _R.SPECIMEN_CONFLICT),
    _E.EXPIRE: (_S.EXPIRED, _R.NONE),
}
# The same of one that an analyzer has or may have.
_AT_ANALYZER = _OPEN | {
    _E.CANCEL: (_S.CANCEL_PENDING, _R.NONE),
    _E.REPLACE: (_S.CANCEL_PENDING, _R.NONE),
    _E.RESEND: (_S.WAITING, _R.MAYBE_KNOWN),
}
# State -> event -> state and reason. An event that is missing changes nothing. Beside the table: `_special`.
TRANSITIONS: dict[ItemState, dict[ItemEvent, tuple[ItemState, ItemReason | None]]] = {
    _S.WAITING: _OPEN
    | {
        _E.SENT: (_S.OFFERED, _KEEP),
        _E.MAYBE_SENT: (_S.WAITING, _R.MAYBE_KNOWN),
        _E.UNSUPPORTED: (_S.REFUSED, _R.DILUTION_UNSUPPORTED),
        _E.CANCEL: (_S.CANCELLED, _R.NONE),
        _E.HOLD: (_S.HELD, _R.HELD_BY_LIS),
        _E.REPLACE: (_S.SUPERSEDED, _R.NONE),
        _E.RESEND: (_S.WAITING, _R.NONE),
    },
    _S.HELD: {
        _E.CANCEL: (_S.CANCELLED, _R.NONE),
        _E.FREE: (_S.WAITING, _R.NONE),
        _E.REPLACE: (_S.SUPERSEDED, _R.NONE),
        _E.EXPIRE: (_S.EXPIRED, _R.NONE),
    },
    _S.OFFERED: _AT_ANALYZER | {_E.SENT: (_S.OFFERED, _KEEP), _E.MAYBE_SENT: (_S.WAITING, _R.MAYBE_KNOWN)},
    _S.ACCEPTED: _AT_ANALYZER | {_E.SENT: (_S.ACCEPTED, _R.NONE)},
    _S.IN_PROGRESS: _AT_ANALYZER
    | dict.fromkeys((_E.SENT, _E.ACCEPTED, _E.PRELIMINARY), (_S.IN_PROGRESS, _KEEP))
    | dict.fromkeys((_E.CANCEL, _E.REPLACE), (_S.CANCEL_PENDING, _KEEP)),
    _S.CANCEL_PENDING: {
        _E.RESULT_HELD: (_S.CANCEL_PENDING, _R.RESULT_HELD),
        _E.CANCEL: (_S.CANCEL_PENDING, _KEEP),
        _E.REFUSED: (_S.CANCELLED, _R.NONE),  # the analyzer never runs it
        _E.CANCEL_CONFIRMED: (_S.CANCELLED, _R.NONE),
        _E.CLOSE: (_S.CANCELLED, _R.NONE),
        _E.EXPIRE: (_S.EXPIRED, _R.NONE),
    },
    _S.RESULTED: {_E.WITHDRAWN: (_S.IN_PROGRESS, _R.RESULT_WITHDRAWN)},
    _S.REFUSED: {_E.RESEND: (_S.WAITING, _R.NONE), _E.CLOSE: (_S.CANCELLED, _R.NONE)},
    _S.EXPIRED: {_E.RESEND: (_S.WAITING, _R.NONE)},
    _S.CANCELLED: {_E.CANCEL: (_S.CANCELLED, _R.NONE)},
}

MAKES_KNOWN = frozenset({_E.SENT, _E.MAYBE_SENT, _E.ACCEPTED, _E.PRELIMINARY, _E.FINAL, _E.RESULT_HELD})
PUT_BACK = "put_back"  # a held result of the item was not released: it is as before, which its history says
REOPENED = "reopened"  # the same of the result that had closed it
UNMATCHED = "unmatch"  # a person has undone that a result is of the item
_LASTS = frozenset({_R.MAYBE_KNOWN, _R.RESULT_HELD, _R.RESULT_WITHDRAWN})
_RESULTS = frozenset({_E.PRELIMINARY, _E.FINAL})
_LATE_IN = frozenset({_S.CANCELLED, _S.EXPIRED, _S.SUPERSEDED, _S.REFUSED})
_OWN_HOLD = frozenset({_R.HELD_BY_LIS})


def step(now: Standing, event: ItemEvent) -> Step:
    """The standing of an item after an event."""
    known = now.known or event in MAKES_KNOWN
    if special := _special(now, event):
        return special
    to = TRANSITIONS.get(now.state, {}).get(event)
    if to is None:
        late = event in _RESULTS and now.state in _LATE_IN
        return Step(Standing(now.state, now.reason, known), done=False, late=late)
    state, reason = to
    if now.known and event in (_E.CANCEL, _E.REPLACE) and now.state in (_S.WAITING, _S.HELD):
        state = _S.CANCEL_PENDING
    if reason is None:
        reason = now.reason if now.reason in _LASTS else _R.NONE
    if event is _E.FREE and now.known:  # an analyzer got it before it was held
        reason = _R.MAYBE_KNOWN
    return Step(Standing(state, reason, known))


def _special(now: Standing, event: ItemEvent) -> Step | None:
    """Rules that ask for the reason, or for whether the item is known."""
    state, reason, known = now.state, now.reason, now.known
    if state is _S.CANCEL_PENDING and event is _E.FINAL:
        return Step(Standing(_S.RESULTED, _R.NONE, known=True), late=True)
    if state is _S.CANCEL_PENDING and event is _E.NOT_SENT and not known:
        return Step(Standing(_S.CANCELLED))
    if state in (_S.WAITING, _S.OFFERED) and event is _E.REFUSED and reason is _R.MAYBE_KNOWN:
        # The analyzer refuses a number that it was sent twice: it has the first one.
        return Step(Standing(_S.OFFERED, known=True))
    if reason is _R.RESULT_HELD and event is _E.MAYBE_SENT:
        return Step(now)  # it is noted, for the case that the result is rejected
    if state is _S.HELD and reason in _OWN_HOLD:  # the LIS, or a result, ends its hold; of a conflict a person decides
        if event is _E.RELEASE:
            return Step(Standing(_S.WAITING, _R.MAYBE_KNOWN if known else _R.NONE, known))
        if event is _E.FINAL:
            return Step(Standing(_S.RESULTED, _R.NONE, known=True))
        if event is _E.CONFLICT:
            return Step(Standing(_S.HELD, _R.SPECIMEN_CONFLICT, known))
        if event is _E.HOLD:
            return Step(now)
    return None


# -- what the LIS hears ------------------------------------------------------------------------------------------

# Event and the state after it -> the news for the LIS. The end of a cancel that it asked for itself is none.
_HEARD: dict[tuple[str, ItemState], Status] = {
    (_E.ACCEPTED, _S.ACCEPTED): Status.ACCEPTED,
    (_E.PRELIMINARY, _S.IN_PROGRESS): Status.IN_PROGRESS,
    (_E.FINAL, _S.RESULTED): Status.COMPLETED,
    (_E.REFUSED, _S.REFUSED): Status.REFUSED,
    (_E.CANCEL, _S.CANCELLED): Status.CANCELLED,
    (_E.CLOSE, _S.CANCELLED): Status.CANCELLED,
    (_E.CANCEL_CONFIRMED, _S.CANCELLED): Status.CANCELLED,
    (_E.NOT_SENT, _S.CANCELLED): Status.CANCELLED,
    (_E.REFUSED, _S.CANCELLED): Status.CANCELLED,
    (_E.EXPIRE, _S.EXPIRED): Status.EXPIRED,
    (_E.FREE, _S.WAITING): Status.RELEASED,
    (_E.RESEND, _S.WAITING): Status.RELEASED,
    (REOPENED, _S.CANCELLED): Status.CANCELLED,  # of an order that the analyzer made itself
    (_E.WITHDRAWN, _S.IN_PROGRESS): Status.RELEASED,
    **{(event, state): Status.RELEASED for event in (REOPENED, UNMATCHED) for state in ANSWERED_STATES},
}
OF_ENDED = frozenset({_E.RESEND, UNMATCHED})
"""The LIS hears of these events only where the item had ended."""


def heard(event: str, state: ItemState) -> Status | None:
    """What the LIS hears of an event that left an item in this state; None: nothing."""
    return _HEARD.get((event, state))


# -- the same order ------------------------------------------------------------------------------------------------

# They say when and how the line was written, or help a person; the same order may come with others.
_PLACE = ("rack", "position", "tray", "tray_position")
_NOT_CONTENT = frozenset(
    ("action", "requested", "comment", "task", "test_name", "ordered", "panel", "panel_name", *_PLACE)
)
_CONTENT = tuple(one.name for one in fields(OrderLine) if one.name not in _NOT_CONTENT)


def same_content(one: OrderLine, other: OrderLine) -> bool:
    """Whether two lines of one order and test ask for the same. Priority, dilution, specimen and patient count."""
    return all(getattr(one, name) == getattr(other, name) for name in _CONTENT)


def same_placer(one: OrderLine, other: OrderLine) -> bool:
    """Whether two lines bear the same order number: of the placer, else of the filler, else none and the same tube.

    A namespace that one of them leaves out is no other one.
    """
    if one.placer or other.placer:
        return one.placer == other.placer and _agree(one.placer_namespace, other.placer_namespace)
    if one.filler or other.filler:
        return one.filler == other.filler
    return one.specimen == other.specimen


def has_number(line: OrderLine) -> bool:
    """Whether a line has an order number. The number on the tube is none, also where it is in the filler's place
    (setting ``order_specimen: OBR-3``): all orders of the tube have it, and those of a later tube with this number.
    """
    return bool(line.placer or (line.filler and line.filler != line.specimen))


def names(line: OrderLine, item: OrderLine) -> bool:
    """Whether a cancel, hold or release names this item. All that it says must agree: order number, test, tube."""
    if line.placer:
        if line.placer != item.placer or not _agree(line.placer_namespace, item.placer_namespace):
            return False
    elif line.filler and line.filler != item.filler:
        return False
    if line.specimen and line.specimen != item.specimen:
        return False
    if not same_patient(line.patient, item.patient) and line.patient != OrderedPatient():
        return False
    return not line.test or (line.test == item.test and _agree(line.test_system, item.test_system))


# -- the same patient ----------------------------------------------------------------------------------------------


def same_patient(one: OrderedPatient, other: OrderedPatient) -> bool:
    """Whether two orders are of one patient, as far as they tell.

    The numbers must be equal. A number beside none is another patient, since it cannot be known. Namespace and birth
    date must not contradict each other. Without any number, names and birth date must be equal.
    """
    if one.number or other.number:
        return (
            one.number == other.number
            and _agree(one.namespace, other.namespace)
            and _begins(one.birth_date, other.birth_date)
        )
    return (one.family, one.given, one.birth_date) == (other.family, other.given, other.birth_date)


def bears_patient(state: ItemState, *, known: bool, ended_us: int, now_us: int, reuse_us: int) -> bool:
    """Whether an item still ties its specimen number to its patient: it is open, or its tube may still be about.

    Args:
        ended_us: when it ended, for an item that is not open.
        reuse_us: how long after that the number may not be another patient's.
    """
    if state in OPEN_STATES:
        return True
    if state is ItemState.REJECTED:
        return False
    return (state is ItemState.RESULTED or known) and ended_us >= now_us - reuse_us


def _agree(one: str, other: str) -> bool:
    return not one or not other or one == other


def _begins(one: str, other: str) -> bool:
    """Whether two dates, each perhaps cut short, are one date."""
    return one.startswith(other) or other.startswith(one)


@dataclass(slots=True)
class PatientsOfTube:
    """The patients of the items of one specimen number, counted; `conflict` where they are two.

    The cost of one more item does not grow with the items: equal patients count once, and with one contradiction the
    rest is not compared.
    """

    counts: dict[OrderedPatient, int]
    conflict: bool = False

    def add(self, patient: OrderedPatient) -> None:
        key = _identity(patient)
        if key not in self.counts:
            self.conflict = self.conflict or self.contradicts(patient)
            self.counts[key] = 0
        self.counts[key] += 1

    def remove(self, patient: OrderedPatient) -> None:
        key = _identity(patient)
        self.counts[key] -= 1
        if not self.counts[key]:
            del self.counts[key]
            if self.conflict:
                first = list(self.counts)[:_FEW]
                self.conflict = len(self.counts) >= _FEW or any(
                    not same_patient(one, other) for one in first for other in first
                )

    def contradicts(self, patient: OrderedPatient) -> bool:
        """Whether this patient is another one than those of the tube, or they are two already."""
        if self.conflict or len(self.counts) >= _FEW:
            return True
        return any(not same_patient(patient, one) for one in self.counts)


_FEW = 8  # forms of one patient: with and without namespace, the birth date whole and cut short


def _identity(patient: OrderedPatient) -> OrderedPatient:
    """The parts of a patient that `same_patient` reads."""
    if patient.number:
        return OrderedPatient(number=patient.number, namespace=patient.namespace, birth_date=patient.birth_date)
    return OrderedPatient(family=patient.family, given=patient.given, birth_date=patient.birth_date)


WILDCARD = "*"


def codes_of(tables: "Iterable[Table]", orders: OrdersConfig) -> tuple[dict[str, str], tuple[str, ...]]:
    """LOINC -> the analyzer's code, and what is wrong: lines without a place, each with a way out.

    Args:
        tables: that the channel names for its results.
    """
    found: Mapping[str, dict[str, None]] = defaultdict(dict)
    for table in tables:
        for row in table.rows:
            code = row.cells.get("code", WILDCARD)
            if row.code and code != WILDCARD:
                found[row.code][code] = None
    problems = tuple(_problems(found, orders))
    preferred = frozenset(orders.preferred or ())
    return {
        test: next((code for code in codes if code in preferred), next(iter(codes))) for test, codes in found.items()
    }, problems


def _problems(found: Mapping[str, Mapping[str, None]], orders: OrdersConfig) -> Iterator[str]:
    if not found:
        yield "codes: is missing, and no table of this channel says the LOINC code of a test; give codes"
    preferred = frozenset(orders.preferred or ())
    for test, codes in sorted(found.items()):
        marked = preferred.intersection(codes)
        if len(codes) > 1 and len(marked) != 1:
            text = f"{' and '.join(sorted(codes))} are codes of {test}"
            yield f"{text}; name the one that is ordered in preferred, or give codes"
    for code in sorted(preferred - {code for codes in found.values() for code in codes}):
        yield f"preferred: no row of the table has the code '{code}'; take it out"


MINUTE_US = 60_000_000
NEWEST = 30  # durations that are kept of one test on one analyzer
ENOUGH = 10  # with fewer the default holds
DEFAULT_LATE_US = 120 * MINUTE_US
FLOOR_LATE_US = 10 * MINUTE_US  # no order is late before that, however quick the analyzer is


@value()
class UsualTime:
    """
    Attributes:
        usual_us: the median; 0: too little history.
        late_us: an order without a result is late after this time; a stat order after half of it.
    """

    usual_us: int = 0
    late_us: int = DEFAULT_LATE_US

    def late_after_us(self, *, stat: bool) -> int:
        return self.late_us // 2 if stat else self.late_us


def usual_time(took_us: Sequence[int]) -> UsualTime:
    """Of the newest durations, in any order: late is twice the time within which nine results of ten came."""
    if len(took_us) < ENOUGH:
        return UsualTime()
    ordered = sorted(took_us)
    return UsualTime(ordered[len(ordered) // 2], max(2 * ordered[len(ordered) * 9 // 10], FLOOR_LATE_US))
