"""Turns: which of the waiting messages is processed next, where more than one channel has any. Pure.

A channel's messages go in their order. Among channels the one goes first that had the fewest bytes so far: a flood of
one channel delays another by a few messages only. Across channels a message waits for earlier ones that name its order,
specimen or patient (`engine.processing.names`). One whose names are not all known, and one that takes back a result,
waits for all earlier ones.

A message is *under way* from `begin` to `done`. One that is processed aside stays so for a while: its channel waits,
and so do those that wait for it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from engine.model.message import Stored

MESSAGE_COSTS = 512  # bytes that each message counts beside its own


class Named(NamedTuple):
    """The names of a message.

    Attributes:
        names: None: it has more than memory holds. It waits for all earlier ones, and all later ones for it.
        complete: False: it may have others, too, or takes back a result. It waits for all earlier ones.
    """

    names: frozenset[int] | None
    complete: bool = True


@dataclass(slots=True, eq=False)
class Waiting:
    """A message that waits for its turn, or is under way.

    Attributes:
        stored: without its payload where memory has no room for it.
        large: it is processed aside.
        waits_for: ids of earlier messages; one that is not in the turns any more holds nothing back.
    """

    stored: Stored
    size: int
    named: Named
    large: bool
    waits_for: tuple[int, ...] = ()


class Turns:
    """Messages are added in journal order."""

    def __init__(self) -> None:
        self.names = 0  # of all messages
        self._messages: dict[int, Waiting] = {}
        self._oldest_first: deque[int] = deque()  # their ids, and ids of those that are done
        self._lines: dict[str, deque[Waiting]] = {}
        self._under_way: set[str] = set()  # channels
        self._latest: dict[int, int] = {}  # name -> the latest message with it
        self._barrier = 0  # the latest message without names
        self._used: dict[str, int] = {}  # channel -> bytes that it had
        self._now = 0  # bytes that the channel had that was served last, before that

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._messages.values())

    def clear(self) -> None:
        for kept in (self._messages, self._oldest_first, self._lines, self._under_way, self._latest, self._used):
            kept.clear()
        self.names = self._barrier = self._now = 0

    def add(self, waiting: Waiting) -> None:
        number, channel = waiting.stored.id, waiting.stored.channel
        if not self._messages:
            self.clear()
        names = waiting.named.names or ()
        self.names += len(names)
        waiting.waits_for = tuple(
            {self._barrier, *(self._latest.get(name, 0) for name in names)} & self._messages.keys()
        )
        self._latest.update(dict.fromkeys(names, number))
        if waiting.named.names is None:
            self._barrier = number
        self._messages[number] = waiting
        self._oldest_first.append(number)
        if channel not in self._lines:
            self._lines[channel] = deque()
            self._used[channel] = max(self._used.get(channel, 0), self._now)
        self._lines[channel].append(waiting)

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
            used = self._used[channel]
            if channel in self._under_way or (best is not None and used >= least):
                continue
            first = line[0]
            if (large or not first.large) and self._may_go(first):
                best, least = first, used
        return best

    def _may_go(self, waiting: Waiting) -> bool:
        if waiting.named.names is None or not waiting.named.complete:
            return waiting is self.oldest()
        return not any(number in self._messages for number in waiting.waits_for)

    def begin(self, waiting: Waiting) -> None:
        """It is under way; it came from `next`."""
        channel = waiting.stored.channel
        line = self._lines[channel]
        line.popleft()
        if not line:
            del self._lines[channel]
        self._now = max(self._now, self._used[channel])
        self._used[channel] = self._now + waiting.size + MESSAGE_COSTS
        self._under_way.add(channel)

    def done(self, waiting: Waiting) -> None:
        """Its outcome comes before that of each message that is taken from now on."""
        number = waiting.stored.id
        self._under_way.discard(waiting.stored.channel)
        del self._messages[number]
        names = waiting.named.names or ()
        self.names -= len(names)
        for name in names:
            if self._latest.get(name) == number:
                del self._latest[name]
        self.oldest()
        if len(self._oldest_first) > 2 * len(self._messages) + 64:  # behind an old one that takes its time
            self._oldest_first = deque(self._messages)
