"""The menu of the pages: those of each day in one line, the others behind one word; only those that a person may open.

While another page is open it is beside the daily ones, so that the menu always marks the page that is open.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from engine.web.access.person import Person


class Entry(NamedTuple):
    """A page that the menu leads to.

    Attributes:
        may: whether a person may open it, as its route has it.
    """

    path: str
    words: str
    may: Callable[[Person], bool]


class Menu(NamedTuple):
    """The menu as one person sees it; empty for a person who may open no page."""

    daily: Sequence[Entry]
    others: Sequence[Entry]


LOOKS, ACTS, CHANGES, ADMINISTERS = map(attrgetter, ("looks", "acts", "changes", "administers"))
DAILY = (
    Entry("/messages", "Messages", LOOKS),
    Entry("/dead-letters", "Dead letters", LOOKS),
    Entry("/held", "Held results", LOOKS),
    Entry("/waiting", "Waiting", LOOKS),
    Entry("/shift", "Shift report", LOOKS),
)
OTHERS = (
    Entry("/codes", "Unmapped codes", LOOKS),
    Entry("/reagents", "Reagent lots", LOOKS),
    Entry("/replay", "Send again", ACTS),
    Entry("/operations", "Operations", LOOKS),
    Entry("/affected", "Affected results", CHANGES),
    Entry("/try", "Try a mapping", CHANGES),
    Entry("/system", "System", LOOKS),
    Entry("/acts", "Acts of persons", ADMINISTERS),
    Entry("/users", "Users", ADMINISTERS),
    Entry("/api", "API", lambda person: person.changes or person.administers),
)


def menu_of(person: Person) -> Menu:
    others = [one for one in OTHERS if one.may(person)]
    here = [one for one in others if one.path == person.path]
    return Menu([*(one for one in DAILY if one.may(person)), *here], [one for one in others if one not in here])
