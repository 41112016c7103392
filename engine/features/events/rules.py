"""Events for other programs: what happened, in one order, without patient data. Values only.

    message.received  act.begun  act.ended                      from rows of the journal
    message.dead  delivery.delivered  alert.started  channel.state  ...      noted beside what they tell of
    gap                                                         events that a reader cannot get any more

`engine.features.events.rows` reads them in their order; `docs/events.md` says what each one has.
"""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from engine.model.site.permissions import ADMINISTERING, LOOKING, Permission

# Kind -> its types, and the permissions of those who may read them.
KINDS: Mapping[str, tuple[tuple[str, ...], frozenset[Permission]]] = MappingProxyType(
    {
        "message": (("received", "filtered", "dead", "incomplete", "dismissed", "mapped"), LOOKING),
        "delivery": (("delivered", "dead", "held", "rejected", "dismissed", "superseded", "waiting"), LOOKING),
        "act": (("begun", "ended"), ADMINISTERING),
        "alert": (("started", "ended"), LOOKING),
        "channel": (("state",), LOOKING),
        "destination": (("state",), LOOKING),
        "qc": (("accepted", "rejected"), LOOKING),
        "reflex": (("proposed", "unsure", "withdrawn", "untrue"), LOOKING),
    }
)
TYPES = tuple(f"{kind}.{name}" for kind, (names, _) in KINDS.items() for name in names)
_POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,18})-([0-9a-f]{8})")
GAP = "gap"  # in every stream, also of one that asks for other kinds


class Position(NamedTuple):
    """A place between two events.

    Attributes:
        row: the last row of the journal before it.
        event: the last noted event before it.
        check: 8 hex digits of both, by which another history is noticed.
    """

    row: int
    event: int
    check: str

    def __str__(self) -> str:
        return f"{self.row}-{self.event}-{self.check}"


def position_of(text: str) -> Position:
    """A position as `str` writes it.

    Raises:
        ValueError: it is none.
    """
    if (found := _POSITION.fullmatch(text)) is None:
        raise ValueError("this is no position; give the id of an event, as it came")
    return Position(int(found[1]), int(found[2]), found[3])


class Event(NamedTuple):
    """One event.

    Attributes:
        position: behind it; another for each event, and the same whenever it is read.
        timestamp: RFC 3339, in UTC.
        data: a JSON object, encoded.
    """

    position: Position
    type: str
    timestamp: str
    data: bytes

    def encoded(self) -> bytes:
        """As a JSON object in one line."""
        return b'{"type":"%s","timestamp":"%s","data":%s}' % (self.type.encode(), self.timestamp.encode(), self.data)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The types that a reader wants."""

    types: frozenset[str]

    @property
    def needs(self) -> frozenset[Permission]:
        """The permissions for all of them."""
        kinds = {one.partition(".")[0] for one in self.types}
        return frozenset().union(*(KINDS[kind][1] for kind in kinds))


def wanted(names: Iterable[str]) -> Wanted:
    """The types that ``names`` choose: a type (``delivery.dead``), or a kind (``delivery``) for all of its types.

    Raises:
        ValueError: a name is neither; the text says which there are.
    """
    found: set[str] = set()
    for name in names:
        those = {one for one in TYPES if name in (one, one.partition(".")[0])}
        if not those:
            raise ValueError(f"there are no events {name[:40]!r}; there are {', '.join((*KINDS, *TYPES))}")
        found |= those
    return Wanted(frozenset(found))


def readable(permissions: Set[Permission]) -> Wanted:
    """All types that one with these permissions may read."""
    return wanted(kind for kind, (_, needs) in KINDS.items() if needs <= permissions)
