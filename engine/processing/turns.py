"""Turns: which of the waiting messages is processed next, where more than one channel has any. Pure.

A channel's messages go in their order. Among channels the one goes first that had the fewest bytes so far: a flood of
one channel delays another by a few messages only. Across channels a message waits for earlier ones that name its order,
specimen or patient (`engine.processing.names`). One whose names are not all known waits for all earlier ones, and all
later ones wait for it.

A message with a critical flag keeps this order, also behind those of its channel; but its channel has its turns before
others until it is begun, as have the channels of messages that it waits for, and of those that these wait for, `CHAIN`
in all. These bytes count as theirs, and none is more than `AHEAD` before others: a flood of such messages delays no
channel for long.

A message is *under way* from `begin` to `done`. The processor of small ones answers in the order of asking, so that
these wait for no answer. A large one is processed aside: it begins once those before it are done, and its channel and
those that wait for it stay until it is done.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from engine.model.message import Stored

MESSAGE_COSTS = 512  # bytes that each message counts beside its own
MESSAGES = 8192  # that take turns ...
FEW_NAMES = 100_000  # ... names of those with few, together: they take some 200 bytes each ...
WITH_MANY = 256  # ... and messages with many: each message that is added is compared with them
NAMES = 4_000_000  # of messages with many, together, 4 bytes each; one that has more is as one with unknown names
AHEAD = 1024 * 1024  # bytes
CHAIN = 128  # messages, beside all that a critical one itself waits for


class Named(NamedTuple):
    """The names of a message, each a number of 32 bits.

    Attributes:
        complete: False: it may have others, too.
        many: of a message with many: in sorted pieces, in place of ``names``.
        is_critical: it seems to have the flag of a critical value.
    """

    names: frozenset[int]
    complete: bool = True
    many: "tuple[array[int], ...]" = ()
    is_critical: bool = False


UNKNOWN = Named(frozenset(), complete=False)


@dataclass(slots=True, eq=False)
class Waiting:
    """A message that waits for its turn, or is under way.

    Attributes:
        stored: without its payload where memory has no room for it.
        large: it is processed aside.
        is_asked: it is under way.
        waits_for: ids of earlier messages; one that is not in the turns any more holds nothing back.
    """

    stored: Stored
    size: int
    named: Named
    large: bool
    is_asked: bool = False
    waits_for: tuple[int, ...] = ()

    def has_one_of(self, names: frozenset[int]) -> bool:
        """Of one with many names."""
        return any(
            (at := bisect_left(piece, name)) < len(piece) and piece[at] == name
            for piece in self.named.many
            for name in names
        )


class Turns:
    """Messages are added in journal order."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.names = 0  # of messages with many
        self._few = 0  # of the others
        self._messages: dict[int, Waiting] = {}
        self._oldest_first: deque[int] = deque()  # their ids, and ids of those that are done
        self._lines: dict[str, deque[Waiting]] = {}
        self._aside: set[str] = set()  # channels of which a large message is under way
        self._latest: dict[int, int] = {}  # name -> the latest message with it, of those with few
        self._many: dict[int, Waiting] = {}  # messages with many
        self._last_of: dict[str, int] = {}  # channel -> its latest message
        self._barrier = 0  # the latest message whose names are not all known
        self._critical: dict[str, int] = {}  # channel -> its latest message that is critical, or that such a one awaits
        self._used: dict[str, int] = {}  # channel -> bytes that it had
        self._now = 0  # bytes that the channel had that was served last, before that
        self._last = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether memory has no room for another one."""
        return len(self._messages) >= MESSAGES or self._few >= FEW_NAMES or len(self._many) >= WITH_MANY

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._messages.values())

    def add(self, waiting: Waiting) -> None:
        number, channel = waiting.stored.id, waiting.stored.channel
        if not self._messages:
            self.clear()
        assert number > self._last
        self._last = number
        many, is_critical = sum(map(len, waiting.named.many)), waiting.named.is_critical
        if self.names + many > NAMES:
            waiting.named, many = UNKNOWN, 0
        names = waiting.named.names
        before = {self._barrier, self._last_of.get(channel, 0), *(self._latest.get(name, 0) for name in names)}
        if many:
            self.names += many
            before.update(self._many)  # these are few
            before.update(self._latest[name] for piece in waiting.named.many for name in piece if name in self._latest)
            self._many[number] = waiting
        else:
            before.update(other for other, one in self._many.items() if one.has_one_of(names))
            self._latest.update(dict.fromkeys(names, number))
            self._few += len(names)
        waiting.waits_for = tuple(before & self._messages.keys())
        if not waiting.named.complete:
            self._barrier = number
        self._last_of[channel] = number
        self._messages[number] = waiting
        if is_critical:
            self._put_first(waiting)
        self._oldest_first.append(number)
        if channel not in self._lines:
            self._lines[channel] = deque()
            self._used[channel] = max(self._used.get(channel, 0), self._now)
        self._lines[channel].append(waiting)

    def _put_first(self, waiting: Waiting) -> None:
        """Its channel, and those of messages that have to go before it, have their turns before others."""
        chain, seen = [waiting], {waiting.stored.id}
        for one in chain:  # which grows
            channel = one.stored.channel
            self._critical[channel] = max(one.stored.id, self._critical.get(channel, 0))
            if len(chain) < CHAIN:
                before = [number for number in one.waits_for if number in self._messages and number not in seen]
                seen.update(before)
                chain += [self._messages[number] for number in before]

    def oldest(self) -> Waiting | None:
        """The oldest message, waiting or under way."""
        while self._oldest_first and self._oldest_first[0] not in self._messages:
            self._oldest_first.popleft()
        return self._messages[self._oldest_first[0]] if self._oldest_first else None

    def next(self, *, large: bool = True) -> Waiting | None:
        """The message whose turn it is; None: all wait for those under way. ``large``: it may be a large one."""
        best: Waiting | None = None
        least = 0
        for channel, line in self._lines.items():
            first = line[0]
            used = self._used_before(first)
            if channel in self._aside or (best is not None and used >= least):
                continue
            if (large or not first.large) and self._may_go(first):
                best, least = first, used
        return best

    def _used_before(self, first: Waiting) -> int:
        """The bytes of the channel of this message, its next one, as they count in `next`."""
        channel = first.stored.channel
        return self._used[channel] - AHEAD * (first.stored.id <= self._critical.get(channel, 0))

    def _may_go(self, waiting: Waiting) -> bool:
        if not waiting.named.complete:
            return self._is_first(waiting)
        return not any(self._holds_back(self._messages.get(number), waiting) for number in waiting.waits_for)

    def _is_first(self, waiting: Waiting) -> bool:
        """Whether no earlier one holds it back."""
        for number in self._oldest_first:
            if (one := self._messages.get(number)) is waiting:
                return True
            if self._holds_back(one, waiting):
                return False
        return True

    @staticmethod
    def _holds_back(one: Waiting | None, waiting: Waiting) -> bool:
        return one is not None and (waiting.large or one.large or not one.is_asked)

    def begin(self, waiting: Waiting) -> None:
        """It is under way; it came from `next`."""
        channel = waiting.stored.channel
        line = self._lines[channel]
        line.popleft()
        if not line:
            del self._lines[channel]
        self._now = max(self._now, self._used_before(waiting))
        self._used[channel] = max(self._now, self._used[channel]) + waiting.size + MESSAGE_COSTS
        waiting.is_asked = True
        if waiting.large:
            self._aside.add(channel)

    def done(self, waiting: Waiting) -> None:
        """Its outcome comes before that of each message that is taken from now on."""
        number = waiting.stored.id
        if waiting.large:
            self._aside.discard(waiting.stored.channel)
        del self._messages[number]
        if self._many.pop(number, None) is not None:
            self.names -= sum(map(len, waiting.named.many))
        self._few -= len(waiting.named.names)
        for name in waiting.named.names:
            if self._latest.get(name) == number:
                del self._latest[name]
        self.oldest()
        if len(self._oldest_first) > 2 * len(self._messages) + 64:  # behind an old one that takes its time
            self._oldest_first = deque(self._messages)
