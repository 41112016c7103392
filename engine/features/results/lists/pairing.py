"""Which results of a message a document has: by their code, words, patient and time. Pure.

A mapping of the site may leave results out, and write others under its own times and units. So a result is of a
document only where that cannot be another one of the message.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from engine.model.content.results import Result

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
