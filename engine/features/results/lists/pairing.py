"""Which results of a message a document has: by their code, words, patient and time. Pure.

A mapping of the site may leave results out, and write others under its own times and units. So a result is of a
document only where that cannot be another one of the message.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from engine.model.content.facts import Result as Fact
from engine.model.content.results import Result, instant_of
from engine.model.routes import ChannelRoutes
from engine.succession.kinds import opened

_CLOSE, _AT_ANY_TIME, _IN_OTHER_WORDS = range(3)  # how alike two are


class Pair(NamedTuple):
    """What a document has of one result.

    Attributes:
        is_in: None: it may be another one of the same message.
        written: the first of it; None unless it surely has all.
    """

    is_in: bool | None
    written: Result | None = None


def paired(told: Sequence[Sequence[Result]], written: list[Result]) -> list[Pair]:
    """For each result of a message, which may have parts. Those found are taken out of ``written``."""
    flat = [part for parts in told for part in parts]
    places = _places(flat, written)
    found: list[Pair] = []
    at, taken = 0, set()
    for parts in told:
        of = [places.get(number, -1) for number in range(at, at + len(parts))]
        at += len(parts)
        if of and None not in of and -1 not in of:
            taken.update(of)
            found.append(Pair(True, written[of[0] or 0]))
        else:
            found.append(Pair(False if set(of) <= {-1} else None))
    written[:] = [one for number, one in enumerate(written) if number not in taken]
    return found


def _places(told: Sequence[Result], written: Sequence[Result]) -> dict[int, int | None]:
    """Of each that ``written`` may have, its place there; None: it may be another one of the same message."""
    found: dict[int, int | None] = {}
    taken: set[int] = set()
    persons = {one.subject for one in told}
    for how in (_CLOSE, _AT_ANY_TIME, _IN_OTHER_WORDS):
        known: dict[Any, list[int]] = defaultdict(list)
        for place, one in enumerate(written):
            for key in _keys(one, how) if place not in taken else ():
                known[key].append(place)
        fit: dict[frozenset[int], list[int]] = defaultdict(list)
        for number, one in enumerate(told):
            if number not in found:
                near = (place for key in _keys(one, how) for place in known.get(key, ()))
                fit[frozenset(at for at in near if _is_near(one, written[at], how, persons))].append(number)
        fit.pop(frozenset(), None)
        rivals: dict[int, list[int]] = defaultdict(list)
        for places, numbers in fit.items():
            for place in places:
                rivals[place] += numbers
        for places, numbers in fit.items():
            among, in_order = sorted({number for place in places for number in rivals[place]}), sorted(places)
            is_sure = len(among) <= len(places) and (how != _IN_OTHER_WORDS or len(places) == 1)
            found |= {number: in_order[among.index(number)] if is_sure else None for number in numbers}
            taken |= places
    return found


def _keys(one: Result, how: int) -> Iterable[Any]:
    return one.codes if how == _IN_OTHER_WORDS else [(code, one.text) for code in set(one.codes)]


def _is_near(one: Result, other: Result, how: int, persons: set[str]) -> bool:
    """A document may name the patient in another way, or no time."""
    is_same_person = other.subject not in persons or one.subject in ("", other.subject)
    return is_same_person and (how != _CLOSE or None in (one.at_us, other.at_us) or one.at_us == other.at_us)


def listed(body: bytes, media_type: str, routes: ChannelRoutes, destination: str) -> list[Result] | None:
    """The results of a list or of HL7 v2, by test and time; None: it cannot be opened."""
    zone = ZoneInfo(routes.context.timezone)
    for form in (*(route.form for route in routes.routes if route.form and destination in route.to), None):
        with suppress(ValueError):
            if found := opened(body, media_type, form, zone):
                return [
                    Result(codes=tuple(("", code.rpartition("|")[2]) for code in one.codes), at_us=instant_of(one.time))
                    for one in found.resources
                ]
    return None


def named(fact: Fact, results: Sequence[Result]) -> list[Result]:
    """A result as a list has it: by the names of its test."""
    names = {code.rpartition("|")[2] for code in fact.measure.own or ()} | {fact.measure.test or ""}
    return [Result(codes=tuple(("", name) for name in names if name), at_us=one.at_us) for one in results[:1]]


def in_list(told: Sequence[Sequence[Result]], rows: list[Result]) -> list[Pair]:
    """A list with other names does not say which results it lacks."""
    pairs = paired(told, rows)
    return [Pair(None) if rows and not one.is_in else one for one in pairs]
