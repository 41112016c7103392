"""Values that are cached from one message to the next, among messages that are read alike.

Two messages are read alike where the same text in the same field means the same: they have the same structure,
delimiters and character set, name the same sending facility (whose namespaces its numbers are in), and came through a
channel with the same settings on a site with the same namespaces. Analyzers send the same few hundred codes, units,
ranges and flags again and again, so values made of them are cached here: coded fields by their text, and values of
rules by the fields that they are made of (`engine.mapping.compiler.source.recurring`). Patient data is here only if a
mapping makes it from such fields. Nothing here is durable.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.model.message import MapContext, Parsed

WAYS_OF_READING = 64  # kept apart from each other; a site has a few
RESULTS_KEPT = 4096  # keys of one mapping, all together: code x unit x flag x status of analyzers; up to 2 kB each
KEPT_ASIDE = 512  # where they are kept for one message
MEASURES_KEPT = 4096  # of one loop that makes facts, in one way of reading
CODES_KEPT = 1024  # test ids of ASTM in one way of reading
LONGEST_RESULT = 1000  # characters of the fields that values are kept under
RANGES_KEPT = 16  # reference ranges beside one key: of sexes and ages
REST = 200_000  # segments for which a family is not kept whose fields turned out to be new most of the time

Values = list[Any]
Start = tuple[int, int, int, int, int]
"""The numbers of warnings, of codes without a row, of results without one, of passing values, and of reads of these."""


class _Unset:
    """The value of a variable that was not computed yet; absent is None."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = _Unset()


class Room:
    """How many more keys one mapping may keep, and the loops for which caching is not worth it.

    Attributes:
        segments: of the messages that were read since there was room for all.
        missed: number of a loop -> how often a key was not there, in the same time.
        resting: loops that missed most of the time: they would only displace others, and cost more than they save.
    """

    __slots__ = ("left", "missed", "resting", "segments", "wakes")

    def __init__(self, left: int = RESULTS_KEPT) -> None:
        self.left = left
        self.segments = 0
        self.missed: defaultdict[int, int] = defaultdict(int)
        self.resting: set[int] = set()
        self.wakes = 0  # number of segments at which all that rests is tried again

    def taken(self, loop: int, size: int) -> bool:
        """Reserve room for a new key of ``size`` characters; False if there is none."""
        if loop in self.resting:
            return False
        self.missed[loop] += 1
        if not self.left or size > LONGEST_RESULT:
            return False
        self.left -= 1
        return True

    def empty(self, left: int = RESULTS_KEPT) -> None:
        """Start over with an empty cache, but keep the knowledge of keys that never recur."""
        often = {loop for loop, missed in self.missed.items() if missed * 2 > self.segments}
        self.wakes = REST if often - self.resting else self.wakes - self.segments
        self.resting |= often
        self.left, self.segments = left, 0
        self.missed.clear()

    def read(self, segments: int) -> None:
        """A message of this many segments begins."""
        self.segments += segments
        if self.resting and self.segments > self.wakes:
            self.resting.clear()


class Loop(dict[tuple[str, ...], Values]):
    """The cache of one loop over results: their recurring fields -> values made of them, `UNSET` where not yet.

    Two more entries follow the values: the cache under the last field, the reference range, and the warnings given
    while values were computed, by their places (`note`).

    Attributes:
        number: among the loops of its mapping.
        passing: places of values that are valid for the result at hand only, because a warning was given for it.
        asked: how often one of them was read while another value was computed.
    """

    __slots__ = ("_room", "asked", "number", "passing")

    def __init__(self, room: Room, number: int = 0) -> None:
        super().__init__()
        self._room = room
        self.number = number
        self.passing: list[tuple[Values, int]] = []
        self.asked = 0

    def keep(self, key: tuple[str, ...], count: int) -> Values:
        """A place for ``count`` values made of these fields; of long texts, and without room, nothing is kept."""
        made: Values = [UNSET] * count
        made += {}, None
        if self._room.taken(self.number, sum(map(len, key))):
            self[key] = made
        return made

    def keep_range(self, ranges: dict[str, Values], key: str, count: int) -> Values:
        """As `keep`, for values that the last field is part of; ``ranges``: the cache under the other fields."""
        made: Values = [UNSET] * count
        made.append(None)
        if len(ranges) >= RANGES_KEPT:
            # Probably computed for each patient, and never met again. Those that recur are soon back.
            self._room.left += len(ranges)
            ranges.clear()
        if self._room.left and len(key) <= LONGEST_RESULT:
            self._room.left -= 1
            ranges[key] = made
        return made

    def forget_passing(self) -> None:
        """The next result begins."""
        for values, place in self.passing:
            values[place] = UNSET
        self.passing.clear()

    def start(self, run: Any) -> Start:
        """The computation of a value begins. ``run``: the `engine.mapping.message.message_context.MessageContext`."""
        return run.noted, len(run.unmapped), len(run.without_row), len(self.passing), self.asked

    def ask(self, values: Values, place: int) -> None:
        """A value was read while another one is computed: the warnings of the first belong to both."""
        self.asked += any(one is values and at == place for one, at in self.passing)

    def note(self, run: Any, values: Values, place: int, before: Start) -> None:
        """A warning was given while a value was computed, or belongs to a value that was asked: this value is valid for
        this result, and the next result warns again.

        If the warnings were only codes without a row, all of them given now, they can be repeated without computing
        anything.

        Args:
            before: as `start` gave it.
        """
        noted, unmapped, without_row, *others = before
        if run.noted - noted == len(run.unmapped) - unmapped and others == [len(self.passing), self.asked]:
            if values[-1] is None:
                values[-1] = {}
            values[-1][place] = values[place], run.unmapped[unmapped:], len(run.without_row) > without_row
        self.passing.append((values, place))

    def tell_again(self, run: Any, values: Values, place: int) -> Any:
        """The value of an earlier result with these fields; its warnings are repeated."""
        made, told, without_row = values[-1][place]
        run.noted += len(told)
        run.unmapped += told
        if without_row:
            run.without_row.append(run.at.position)
        values[place] = made
        self.passing.append((values, place))
        return made


@dataclass(slots=True)
class ReadCache:
    """The cache for messages that are read alike.

    Attributes:
        settings, namespaces: of the channel and its site, to which this applies.
        concepts: coded fields as they were sent, and local codes with their text -> the concepts made of them.
        codes, names: test ids of ASTM as they were sent -> their codes, and names alone and behind the code.
        room: shared by all ways of reading of a mapping.
        measured: number of a record of facts -> its measures (`engine.mapping.compiler.documents.facts`).
        units: a unit as it was sent, with its rows -> as a Quantity names it.
        results: number of a loop over results in its mapping -> its cache, which the loop itself creates.
    """

    settings: Mapping[str, Any]
    namespaces: Mapping[str, str]
    room: Room = field(default_factory=Room)
    concepts: dict[tuple[str | None, ...], dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, str | None] = field(default_factory=dict)
    names: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    results: dict[int, Loop] = field(default_factory=dict)
    measured: dict[int, dict[Any, Any]] = field(default_factory=dict)
    units: dict[Hashable, str] = field(default_factory=dict)

    def loop(self, number: int) -> Loop:
        """The cache of a loop over results."""
        found = self.results.get(number)
        if found is None:
            found = self.results[number] = Loop(self.room, number)
        return found

    def measures(self, number: int) -> dict[Any, Any]:
        """The measures of a record of facts, by what they are made of."""
        return self.measured.setdefault(number, {})


class ReadCaches:
    """The ways of reading that one mapping has met. A full cache is emptied."""

    def __init__(self, kept: int = RESULTS_KEPT) -> None:
        self._known: dict[Hashable, ReadCache] = {}
        self._kept = kept
        self._room = Room(kept)

    def of(self, parsed: Parsed, context: MapContext) -> ReadCache:
        """The one that a message is read in."""
        head = parsed.segments[0].fields if parsed.segments else ()
        facility = head[4] if len(head) > 4 else ""  # MSH-4, or H-5: where ASTM has its sender
        # Channels without settings share what they read; but ASTM numbers belong to the channel itself.
        channel = context.channel if context.settings or parsed.format != "hl7v2" else ""
        # The loops of a mapping are numbered in each of its structures anew.
        key = (parsed.structure, parsed.delimiters, parsed.charset, facility, channel)
        found = self._known.get(key)
        if found is None or found.settings != context.settings or found.namespaces != context.namespaces:
            if len(self._known) >= WAYS_OF_READING:
                self._forget()
            found = self._known[key] = ReadCache(dict(context.settings), context.namespaces, self._room)
        elif not self._room.left:
            self._forget()
            return self.of(parsed, context)
        self._room.read(len(parsed.segments))
        return found

    def _forget(self) -> None:
        self._known.clear()
        self._room.empty(self._kept)
