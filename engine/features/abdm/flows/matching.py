"""Whose reports an app asks for: the rows that may be of a person, and the decision
(`engine.features.abdm.rules.links`).

A report is judged by what it says itself, and by what is known of its patient since: of the network's patient that it
was given to, and of those with the same number of the laboratory. Reports that are linked are looked at, too: they show
that a number is another person's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from engine.features.abdm.rows import contexts, patients
from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rows.patients import Patient
from engine.features.abdm.rules.links import UNFIT, Asked, Held, Means, chosen, held
from engine.features.abdm.rules.network import ContextState
from engine.store.core.connecting import Rows

MOST_LOOKED = 200  # reports of one mobile or number: above it nothing can be said of a mobile, and no number is known
OPEN = (ContextState.WAITING, ContextState.READY, ContextState.FAILED)
"""States in which the patient may link a report: in no other one is nothing under way that does."""


@dataclass(frozen=True, slots=True)
class Found:
    """Reports of a person that he may link now, the newest first.

    Attributes:
        mobile: in the laboratory's file, by the newest of them that has one; empty: none has.
        own: the laboratory's number for him; empty: none.
    """

    contexts: tuple[Context, ...] = ()
    means: tuple[Means, ...] = ()
    mobile: str = field(default="", repr=False)
    own: str = field(default="", repr=False)


def find(rows: Rows, facility: str, asked: Asked) -> Found:
    """The reports of a person at a facility that are not linked yet."""
    found = {one.number: one for one in _that_may_be_his(rows, facility, asked)}
    people = {number: _held(rows, one) for number, one in found.items()}
    for n, patient in enumerate(_with_same_numbers(rows, facility, people.values()), start=1):
        people[-n] = _as_held(patient)
    his = chosen(asked, people)
    fit = [found[number] for number in his if number in found and _is_open(found[number])]
    newest = sorted(fit, key=lambda one: (one.issued_us, one.number), reverse=True)
    by = {his[one.number] for one in newest}
    return Found(
        tuple(newest),
        tuple(one for one in Means if one in by),
        next((people[one.number].mobile for one in newest if people[one.number].mobile), ""),
        next((min(people[one.number].own) for one in newest if people[one.number].own), ""),
    )


def _that_may_be_his(rows: Rows, facility: str, asked: Asked) -> Iterable[Context]:
    for mobile in sorted(asked.mobiles):
        yield from _all_or_none(contexts.by_mobile(rows, facility, mobile, MOST_LOOKED + 1))
    for number in sorted(asked.numbers):
        yield from _all_or_none(contexts.by_abha(rows, facility, number, MOST_LOOKED + 1))
    own = [one for number in sorted(asked.numbers) for one in patients.by_abha(rows, facility, number)]
    if (known := patients.by_address(rows, facility, asked.address)) is not None:
        own.append(known)
    for patient in {one.number for one in own}:
        for state in ContextState:
            if state is not ContextState.DROPPED:
                yield from contexts.of_patient(rows, patient, state, MOST_LOOKED)


def _all_or_none(found: list[Context]) -> list[Context]:
    """A doubt cannot be seen in a part of them."""
    return found if len(found) <= MOST_LOOKED else []


def _with_same_numbers(rows: Rows, facility: str, people: Iterable[Held]) -> list[Patient]:
    own = {number for one in people for number in one.own}
    found = [one for number in sorted(own) for one in patients.by_patient(rows, facility, number)]
    return [one for one in found if one.person is not None]


def _held(rows: Rows, context: Context) -> Held:
    """The person of a report, with the ABHA of the patient whom it was given to."""
    said = held(context.content)
    patient = patients.by_number(rows, context.patient) if context.patient else None
    if patient is None or patient.person is None:
        return said
    person = patient.person
    numbers = said.numbers | ({person.number} if person.number else frozenset())
    return replace(said, addresses=said.addresses | {person.address}, numbers=numbers)


def _as_held(patient: Patient) -> Held:
    person = patient.person
    assert person is not None
    return Held(
        addresses=frozenset({person.address}),
        numbers=frozenset({person.number} if person.number else ()),
        own=frozenset({person.patient} if person.patient else ()),
        mobile=person.mobile,
        name=person.name,
        gender=person.gender,
        year=person.year,
    )


def _is_open(context: Context) -> bool:
    return context.state in OPEN and not (context.state is ContextState.WAITING and context.reason in UNFIT)
