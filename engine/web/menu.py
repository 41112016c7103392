"""The menu of the pages: those of each day first, the others in groups; only those that a person may open.

It begins with what a technician opens first: what there is to do, messages, dead letters. The first four are at the
foot of a phone.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from engine.feature import Hook, joined
from engine.model.texts.phrases import N_, PageText
from engine.web.identity import Person


class Entry(NamedTuple):
    """A page that the menu leads to.

    Attributes:
        may: whether a person may open it, as its route has it.
        place: among those of its group.
        group: of `GROUPS`; empty: it is a daily one.
        icon: of ``icons.svg``.
    """

    path: str
    words: PageText
    may: Callable[[Person], bool]
    place: int
    group: str = ""
    icon: str = "next"


class Group(NamedTuple):
    """Pages about one thing.

    Attributes:
        words: its name.
    """

    words: str
    entries: Sequence[Entry]


class Menu(NamedTuple):
    """The menu as one person sees it; empty for a person who may open no page."""

    daily: Sequence[Entry]
    others: Sequence[Group]


GROUPS = N_(("Laboratory", "Delivery", "Set-up", "Administration"))
LABORATORY, DELIVERY, SET_UP, ADMINISTRATION = GROUPS
LOOKS, ACTS, CHANGES, ADMINISTERS = map(attrgetter, ("looks", "acts", "changes", "administers"))
OWN = (
    Entry("/", "Overview", LOOKS, 10, icon="home"),
    Entry("/messages", "Messages", LOOKS, 20, icon="messages"),
    Entry("/waiting", "Waiting", LOOKS, 10, DELIVERY, "silent"),
    Entry("/try", "Try a mapping", CHANGES, 30, SET_UP, "quality"),
    Entry("/help", "Help", LOOKS, 60, ADMINISTRATION, "attention"),
    Entry("/system", "System", LOOKS, 20, ADMINISTRATION, "system"),
    Entry("/acts", "Acts of persons", ADMINISTERS, 30, ADMINISTRATION, "user"),
    Entry("/api", "API", lambda person: person.changes or person.administers, 50, ADMINISTRATION, "codes"),
)
OF_FEATURES: Hook[Sequence[Entry]] = Hook("menu")


def entries() -> Sequence[Entry]:
    """All there are, in their order within each group."""
    return sorted((*OWN, *joined(OF_FEATURES)), key=attrgetter("place"))


def menu_of(person: Person) -> Menu:
    allowed = [one for one in entries() if one.may(person)]
    groups = [Group(name, [one for one in allowed if one.group == name]) for name in GROUPS]
    return Menu([one for one in allowed if not one.group], [of for of in groups if of.entries])
