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

A message's data on the person behind a patient number: parts of the name, birth date, sex, mark of a child.

A placeholder counts as absent: UNKNOWN for a name, 1 January for a birth date. Parts of a name are kept as they were
written, in capitals and without accents, so that a later, better table of spellings also applies to stored records.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from enum import IntEnum
from functools import cache
from itertools import takewhile
from typing import Literal, NamedTuple
from unicodedata import combining, normalize

import orjson

from engine.model.tables import table_lines

MOST_NAMES = 4  # alternatives that are read: repetitions of PID-5
MOST_PARTS = 8  # of one name

_TITLES = frozenset(["MR", "MRS", "MS", "MISS", "SMT", "SHRI", "SRI", "SHREE", "DR", "PROF", "MASTER", "MST"])
_SEX_WORDS = ("MALE", "FEMALE")
_NO_NAMES = frozenset(
    ("UNKNOWN", "UNK", "UNIDENTIFIED", "UNNAMED", "ANONYMOUS", "NONAME", "PATIENT", "NONE", "NULL", "NIL", *_SEX_WORDS)
)
_NO_WORDS = _TITLES | _NO_NAMES
# Who the father, husband or carer is says nothing of who the person is.
_RELATION = re.compile(r"(?<!\w)[DSWCH]\s*[/\\]\s*O(?!\w).*", re.DOTALL)
_CHILD_OF = re.compile(r"(?<!\w)(?:B\s*[/\\]\s*O|(?:BABY|NEWBORN|NEW BORN)(?:\s+(?:BOY|GIRL|MALE|FEMALE))?\s+OF)(?!\w)")
_CHILD = re.compile(r"(?<!\w)(?:BABY|NEWBORN)(?:\s+(?:BOY|GIRL))?(?!\w)|(?<!\w)BABY(?:BOY|GIRL)(?!\w)")
_TWIN = re.compile(r"(?<!\w)(?:TWIN|TRIPLET)S?(?:\s*[-#.:]?\s*(\d+|I{1,3}|[A-D]))?(?!\w)")
_MARKS = re.compile(r"TWIN|TRIPLET|BABY|NEW|[/\\]")  # a text without any of these matches none of the four above
_TWINS = {"I": "1", "II": "2", "III": "3", "A": "1", "B": "2", "C": "3", "D": "4"}
_APOSTROPHES = str.maketrans("", "", "'`\u2019\u2018\u02bc")
_NOT_A_LETTER = re.compile(r"[^A-Z]+")
_BIRTH = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:$|[T \d])")
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}


class Name(NamedTuple):
    """The parts of a name, in capitals.

    Attributes:
        family: empty where nothing says which of the parts it is.
        given: all parts then.
    """

    family: tuple[str, ...]
    given: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        return self.family + self.given


class Person(NamedTuple):
    """A message's data on a person. Absent values are empty.

    Attributes:
        names: alternatives: the name as it is written in other ways, or an earlier one.
        born: YYYYMMDD.
        sex: M or F.
        child: a mark of a child that bears its mother's name: ``child``, or ``child 2`` of twins.
    """

    names: tuple[Name, ...] = ()
    born: str = ""
    sex: str = ""
    child: str = ""

    @classmethod
    def of(cls, names: Iterable[Sequence[str]], birth: str, sex: str) -> "Person":
        """The record that a message gives.

        Args:
            names: components of each repetition of the name, family name first (XPN; E1394-97, 6.6).
            birth: as in PID-7 or P-8; sex: as in PID-8 or P-9 (table 0001).
        """
        read, child = [], ""
        for components in names:
            name, mark = _name(components[:3])
            child = max(child, mark)
            if name is not None and name not in read:
                read.append(name)
        return cls(tuple(read[:MOST_NAMES]), _born(birth), _SEXES.get(sex.strip().upper(), ""), child)

    def with_what_it_lacks(self, other: "Person") -> "Person":
        """This record, with values that it lacks taken from another record of the same person."""
        child = self.child if self.names else self.child or other.child
        return Person(self.names or other.names, self.born or other.born, self.sex or other.sex, child)

    @property
    def says_nothing(self) -> bool:
        return not (self.names or self.born or self.sex or self.child)

    @property
    def is_one(self) -> bool:
        """Whether an equal record is of the same person: a name with a birth date, or a family and a given name."""
        return any(self.born or (name.family and name.given) for name in self.names)

    def packed(self) -> bytes:
        """The record as bytes; equal for equal records."""
        return orjson.dumps([[[one.family, one.given] for one in self.names], self.born, self.sex, self.child])

    @classmethod
    def unpacked(cls, packed: bytes) -> "Person":
        names, born, sex, child = orjson.loads(packed)
        return cls(tuple(Name(tuple(family), tuple(given)) for family, given in names), born, sex, child)


def _name(components: Sequence[str]) -> tuple[Name | None, str]:
    """The name that the components give, or None, and the mark of a child."""
    words = [component.strip().upper() for component in components]
    together = "".join(words)
    if not (together.isascii() and together.isalpha()) or _MARKS.search(together):
        return _divided_name(components)
    parts = [(word,) if len(word) > 1 and word not in _NO_WORDS else () for word in words]  # the usual: a word in each
    given = tuple(part[0] for part in parts[1:] if part)
    if not given or not parts[0]:
        given = given or parts[0]
        return (Name((), given) if given else None), ""
    return Name(parts[0], given), ""


def _divided_name(components: Sequence[str]) -> tuple[Name | None, str]:
    """As `_name`, of any components."""
    texts, child, twin, marked = [], "", None, False
    for component in components:
        text = component.strip()
        if not text.isascii():
            text = "".join(sign for sign in normalize("NFKD", text) if not combining(sign))
        text = text.upper().translate(_APOSTROPHES)
        if not _MARKS.search(text):
            texts.append(text)
            continue
        marked = True
        if found := _TWIN.search(text):
            child, twin, text = "child", found, _TWIN.sub(" ", text)
        if _CHILD_OF.search(text):
            child, text = "child", _CHILD_OF.sub(" ", text)
        relation = _RELATION.search(text)
        texts.append(text[: relation.start()] if relation else text)
        if relation and not relation[0].partition("O")[2].strip():  # the next component says whose it is
            break
    named = [_CHILD.sub(" ", text) for text in texts] if marked else texts
    without = [_parts(text) for text in named]
    if named != texts and any(without):  # BABY alone is no name; before one it is a child's
        child = child or "child"
    if child and twin is not None and twin[1]:
        child = f"child {_TWINS.get(twin[1], twin[1].lstrip('0'))}"
    family, given = without[0] if without else (), tuple(part for parts in without[1:] for part in parts)
    if not family or not given:
        family, given = (), family or given
    return (Name(family[:MOST_PARTS], given[:MOST_PARTS]) if given else None), child


def _parts(text: str) -> tuple[str, ...]:
    """The words of a text that distinguish persons: no titles, no initials, no placeholder for UNKNOWN."""
    if not text:
        return ()
    words = text.split() if text.isalpha() else [word for word in _NOT_A_LETTER.split(_latin(text)) if word]
    titles = sum(1 for _ in takewhile(_TITLES.__contains__, words))
    said = [word for word in words[titles:] if len(word) > 1 and word not in _NO_WORDS]
    return tuple(dict.fromkeys(said)) if all(word.isascii() for word in said) else ()


def _latin(text: str) -> str:
    """A text without its words of another script, where one Latin letter would make another word."""
    if text.isascii():
        return text
    return " ".join(word for word in text.split() if all(sign.isascii() or not sign.isalpha() for sign in word))


def _born(birth: str) -> str:
    """A birth date as YYYYMMDD; empty where it is none, or one that an office makes of a year or an age."""
    plain = len(birth) == 8 and birth.isascii() and birth.isdecimal() and birth[:4] >= "0001"
    if plain and "02" <= birth[4:6] <= "12" and birth[4:6] != "07" and "01" <= birth[6:] <= "28":  # the usual
        return birth
    found = _BIRTH.match(birth.strip())
    if found is None:
        return ""
    year, month, day = found.groups()
    if (month, day) in (("01", "01"), ("07", "01")):
        return ""
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return ""
    return year + month + day


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


Likeness = Literal["same", "alike", "differs", "unknown"]


def likenesses(one: Person, other: Person) -> dict[str, Likeness]:
    """How far each field of two records agrees, for a person to read; unknown: one of them says nothing of it."""
    pairs = [(first, second) for first in one.names for second in other.names]
    name: Likeness = "differs" if pairs else "unknown"
    if any(first == second for first, second in pairs):
        name = "same"
    elif any(_alike_names(*pair) is _Alike.FULL for pair in pairs):
        name = "alike"
    found: dict[str, Likeness] = {"name": name, "born": _equal(one.born, other.born), "sex": _equal(one.sex, other.sex)}
    if one.child or other.child:
        is_named = (one.names or one.child) and (other.names or other.child)
        found["child"] = "same" if one.child == other.child else "differs" if is_named else "unknown"
    return found


def _equal(one: str, other: str) -> Likeness:
    return "unknown" if not (one and other) else "same" if one == other else "differs"


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
    lines = table_lines(__file__, "persons.txt")
    return {word: words[0] for words in map(str.split, lines) for word in words}
