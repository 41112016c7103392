"""What a person has refused, by content (rule 4).

In the evening an analyzer sends its memory: the same result, with a new number and time of the message. A person has
rejected it in the morning, after a failed control. It would go out, for its control has passed since. So would it from
a middleware, which writes the time without its seconds, the unit in other letters, and numbers the result.
"""

from typing import NamedTuple

What = tuple[str, ...]
VALUE_AND_UNIT = slice(2, 4)


class Content(NamedTuple):
    """What a no of a person is about.

    Attributes:
        numbers: of its order. what: organism, test, value, unit, and the minute in which it was measured.
    """

    person: str
    numbers: frozenset[str]
    sub: str
    what: What


def content_of(
    person: str, numbers: frozenset[str], test: str, sub: str, organism: str, value: str, unit: str, at: str
) -> Content:
    """A number counts by its digits alone: ``5.50`` is ``5.5``; words and units do in any letters."""
    told = value.strip()
    bare = told.lstrip("<>=").strip()
    sign = told[: -len(bare)].strip() if bare else told
    what = organism, test, f"{sign}{plain(bare)}".casefold(), unit.replace(" ", "").casefold(), at
    return Content(person, numbers, sub, what)


def is_same(one: Content, other: Content) -> bool:
    """Whether two contents, of which ``what`` is equal, are of one result; what one of them does not say is no
    difference."""
    if one.numbers != other.numbers and one.numbers.isdisjoint(other.numbers):
        return False
    said = ((one.person, other.person), (one.sub, other.sub))
    return all(mine == theirs or not (mine and theirs) for mine, theirs in said)


def plain(value: str) -> str:
    """A value as it is compared with another one."""
    text = value.strip()
    if "." in text and text.replace(".", "", 1).lstrip("+-").isdigit():
        return text.rstrip("0").rstrip(".")
    return text
