"""The menu of the pages: those of each day in one line, the others in groups behind one word; only those that a person
may open. It begins with what a technician opens first: what there is to do, messages, dead letters.

While another page is open it is beside the daily ones, so that the menu always marks the page that is open.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from engine.model.phrases import PageText
from engine.web.access.person import Person


class Entry(NamedTuple):
    """A page that the menu leads to.

    Attributes:
        may: whether a person may open it, as its route has it.
    """

    path: str
    words: PageText
    may: Callable[[Person], bool]


class Group(NamedTuple):
    """Pages about one thing.

    Attributes:
        words: its name.
    """

    words: PageText
    entries: Sequence[Entry]


class Menu(NamedTuple):
    """The menu as one person sees it; empty for a person who may open no page."""

    daily: Sequence[Entry]
    others: Sequence[Group]


LOOKS, ACTS, CHANGES, ADMINISTERS = map(attrgetter, ("looks", "acts", "changes", "administers"))
DAILY = (
    Entry("/", "Overview", LOOKS),
    Entry("/messages", "Messages", LOOKS),
    Entry("/dead-letters", "Dead letters", LOOKS),
    Entry("/held", "Held results", LOOKS),
    Entry("/shift", "Shift report", LOOKS),
)
OTHERS = (
    Group(
        "Orders",
        (
            Entry("/orders", "Orders", LOOKS),
            Entry("/questions", "Questions of analyzers", LOOKS),
        ),
    ),
    Group(
        "Results",
        (
            Entry("/waiting", "Waiting", LOOKS),
            Entry("/replay", "Send again", ACTS),
            Entry("/affected", "Affected results", CHANGES),
            Entry("/reports", "Reports", LOOKS),
            Entry("/operations", "Operations", LOOKS),
            Entry("/alerts", "Alerts", LOOKS),
            Entry("/abdm", "ABDM", LOOKS),
        ),
    ),
    Group(
        "Codes",
        (
            Entry("/codes", "Unmapped codes", LOOKS),
            Entry("/try", "Try a mapping", CHANGES),
            Entry("/reagents", "Reagent lots", LOOKS),
        ),
    ),
    Group(
        "Administration",
        (
            Entry("/help", "Help", LOOKS),
            Entry("/system", "System", LOOKS),
            Entry("/acts", "Acts of persons", ADMINISTERS),
            Entry("/users", "Users", ADMINISTERS),
            Entry("/api", "API", lambda person: person.changes or person.administers),
        ),
    ),
)


def menu_of(person: Person) -> Menu:
    allowed = [Group(of.words, [one for one in of.entries if one.may(person)]) for of in OTHERS]
    here = [one for of in allowed for one in of.entries if one.path == person.path]
    groups = [Group(of.words, [one for one in of.entries if one not in here]) for of in allowed]
    return Menu([*(one for one in DAILY if one.may(person)), *here], [of for of in groups if of.entries])
