"""What is kept from one message to the next, among messages that are read alike.

Two messages are read alike where the same text in the same field means the same: they have the same delimiters and
character set, name the same sending facility (whose namespaces its numbers are in), and came through a channel with
the same settings on a site with the same namespaces. Analyzers send the same few hundred codes, units, ranges and
flags for ever, so what was made of them is kept here: coded fields by their text, and values of rules by the fields
that they are made of (`engine.mapping.compiler.recurring`). Nothing that a message said of a patient is in here but
by a mapping that makes it from such fields, and nothing of it is durable.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.message import MapContext, Parsed

WAYS_OF_READING = 64  # kept apart from each other; a site has a few
RESULTS_KEPT = 4096  # of one mapping, all together: code x unit x range x flag x status of analyzers; 2 kB each
LONGEST_RESULT = 1000  # characters of the fields that values are kept under

Values = list[Any]


class _Unset:
    """The value of a variable that was not computed yet; absent is None."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = _Unset()


@dataclass(slots=True)
class Room:
    """How many more results one mapping may keep."""

    left: int = RESULTS_KEPT


class Kept(dict[tuple[str, ...], Values]):
    """What is kept of one loop over results: their recurring fields -> values made of them, `UNSET` where not yet.

    Attributes:
        passing: places of values that hold for the result at hand only, for somebody was told something about it.
    """

    __slots__ = ("_room", "passing")

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._room = room
        self.passing: list[tuple[Values, int]] = []

    def keep(self, key: tuple[str, ...], count: int) -> Values:
        """A place for ``count`` values made of these fields; of long texts, and without room, nothing is kept."""
        made: Values = [UNSET] * count
        if self._room.left and sum(map(len, key)) <= LONGEST_RESULT:
            self._room.left -= 1
            self[key] = made
        return made

    def forget_passing(self) -> None:
        """The next result begins."""
        for values, place in self.passing:
            values[place] = UNSET
        self.passing.clear()


@dataclass(slots=True)
class Reading:
    """What is kept of messages that are read alike.

    Attributes:
        settings, namespaces: of the channel and its site, for which this holds.
        concepts: coded fields as they were sent -> what was made of them.
        room: shared by all ways of reading of a mapping.
        results: number of a loop over results in its mapping -> what is kept of it.
    """

    settings: Mapping[str, Any]
    namespaces: Mapping[str, str]
    room: Room = field(default_factory=Room)
    concepts: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: defaultdict[int, Kept] = field(init=False)

    def __post_init__(self) -> None:
        self.results = defaultdict(partial(Kept, self.room))


class Readings:
    """The ways of reading that one mapping has met. Where there is no room for more, all begins anew."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Reading] = {}
        self._room = Room()

    def of(self, parsed: Parsed, context: MapContext) -> Reading:
        """The one that a message is read in."""
        head = parsed.segments[0].fields if parsed.segments else ()
        facility = head[4] if len(head) > 4 else ""  # MSH-4, or H-5: where ASTM has its sender
        # Channels without settings share what they read; but ASTM numbers belong to the channel itself.
        channel = context.channel if context.settings or parsed.format != "hl7v2" else ""
        key = (parsed.delimiters, parsed.charset, facility, channel)
        found = self._known.get(key)
        if found is None or found.settings != context.settings or found.namespaces != context.namespaces:
            if len(self._known) >= WAYS_OF_READING:
                self._forget()
            found = self._known[key] = Reading(dict(context.settings), context.namespaces, self._room)
        elif not self._room.left:
            self._forget()
            return self.of(parsed, context)
        return found

    def _forget(self) -> None:
        self._known.clear()
        self._room = Room()
