"""The verdict on two records: one person, one person as it seems, two persons, or nothing to compare.

    birth date              names                                           verdict
    equal                   given name equal or alike                       same
    equal                   one of family and given name alike              flagged
    equal                   both differ                                     conflict
    differs                 full name alike, same mark of a child           flagged
    differs                 else                                            conflict
    absent on one side      full name alike                                 same
    absent on one side      given name alike, family name differs           flagged (marriage)
    absent on one side      only the family name alike, or neither          conflict
    absent on one side      a name absent, too                              nothing to compare

A sex that differs is a conflict, unless full name and birth date agree; of two children without a name of their own it
always is: they are twins. The mark of a child is part of every name: a child is never its mother, nor another child.

A single name may be a given or a family name. Against a full name it decides nothing unless the birth date helps.
"""

from enum import IntEnum
from functools import cache
from typing import Literal

from engine.model.persons.record import Name, Person
from engine.model.tables import table_lines

Verdict = Literal["same", "nothing_to_compare", "flagged", "conflict"]
SAME: Verdict = "same"
NOTHING: Verdict = "nothing_to_compare"
FLAGGED: Verdict = "flagged"
CONFLICT: Verdict = "conflict"

EDITED_FROM = 5  # letters: one edit makes another name of a shorter one (ANIL, SUNIL; RITA, GITA)
CUT_FROM = 4  # letters that are left of a name cut short


class _Alike(IntEnum):
    """How far two names agree. PART: a single name against a full one."""

    NONE = 0
    FAMILY = 1
    PART = 2
    GIVEN_PART = 3
    GIVEN = 4
    FULL = 5


_EQUAL_BIRTH: dict[_Alike, Verdict] = {_Alike.NONE: CONFLICT, _Alike.FAMILY: FLAGGED, _Alike.PART: FLAGGED}
_NO_BIRTH: dict[_Alike, Verdict] = {
    _Alike.NONE: CONFLICT,
    _Alike.FAMILY: CONFLICT,
    _Alike.PART: NOTHING,
    _Alike.GIVEN_PART: NOTHING,
    _Alike.GIVEN: FLAGGED,
    _Alike.FULL: SAME,
}


def compare(one: Person, other: Person) -> Verdict:
    """The verdict on two records. Which is the first does not matter."""
    named = (one.names or one.child) and (other.names or other.child)
    if named and one.child != other.child:
        return CONFLICT
    pairs = [(first, second) for first in one.names for second in other.names]
    alike = max((_alike_names(*pair) for pair in pairs), default=None)
    equal_birth = bool(one.born) and one.born == other.born
    as_written = equal_birth and alike is _Alike.FULL and not one.child
    if one.sex and other.sex and one.sex != other.sex and not as_written:
        return CONFLICT
    if equal_birth:
        return SAME if alike is None else _EQUAL_BIRTH.get(alike, SAME)
    if one.born and other.born:
        return FLAGGED if alike is _Alike.FULL else CONFLICT
    return NOTHING if alike is None else _NO_BIRTH[alike]


def _alike_names(one: Name, other: Name) -> _Alike:
    if _alike(one.parts, other.parts, at_least=2):
        return _Alike.FULL
    if one.family and other.family:
        given, family = _alike(one.given, other.given), _alike(one.family, other.family)
        if given:
            return _Alike.FULL if family else _Alike.GIVEN
        return _Alike.FAMILY if family else _Alike.NONE
    if one.family or (not other.family and len(one.parts) > len(other.parts)):
        one, other = other, one  # the first is the name without a family name, or the shorter of two such
    if len(one.given) == 1:
        if _any_alike(one.given, other.given):
            return _Alike.GIVEN_PART if other.family else _Alike.PART
        return _Alike.PART if _any_alike(one.given, other.family) else _Alike.NONE
    if other.family and _all_alike(other.given, one.given) and sum(map(len, other.given)) >= CUT_FROM:
        return _Alike.GIVEN
    return _Alike.FAMILY if _any_alike(one.parts, other.parts) else _Alike.NONE


def _alike(one: tuple[str, ...], other: tuple[str, ...], *, at_least: int = 1) -> bool:
    """Whether two names are equal or alike, or one is contained in the other.

    Args:
        at_least: how many parts must agree where one has more than the other.
    """
    if one == other or "".join(one) == "".join(other):
        return True
    if len(one) > len(other):
        one, other = other, one
    if len(one) < len(other) and (len(one) < at_least or sum(map(len, one)) < CUT_FROM):
        return False
    return _all_alike(one, other)


def _any_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return any(_alike_parts(first, second) for first in one for second in other)


def _all_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether each part of the first is alike another part of the second."""
    if not one:
        return True
    return any(
        _alike_parts(one[0], part) and _all_alike(one[1:], other[:at] + other[at + 1 :])
        for at, part in enumerate(other)
    )


def _alike_parts(one: str, other: str) -> bool:
    if len(one) > len(other):
        one, other = other, one
    if one == other or (len(one) >= CUT_FROM and other.startswith(one)):
        return True
    spellings = _spellings()
    if spellings.get(one, one) == spellings.get(other, other):
        return True
    return len(one) >= EDITED_FROM and one[0] == other[0] and _one_edit(one, other)


def _one_edit(one: str, other: str) -> bool:
    """Whether a letter more, less or another one makes one word of the other; ``one`` is not the longer."""
    if len(other) - len(one) > 1:
        return False
    at = next((at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), len(one))
    return one[at + (len(one) == len(other)) :] == other[at + 1 :]


@cache
def _spellings() -> dict[str, str]:
    """Word -> the first of its line in the table of spellings."""
    lines = table_lines(__file__, "spellings.txt")
    return {word: words[0] for words in map(str.split, lines) for word in words}
