"""Orders that were cancelled while the analyzer has them are taken back there by messages that it answers (IHE LAW:
ORC-1 ``CA`` with the same number, answered ``CR`` or ``UC``).

Each second it looks for such orders, and hands over the messages of each tube. An order is asked for once on a
connection, again on the next one, and no more once the analyzer has answered.

Source: IHE Laboratory Technical Framework volume 2b, LAB-28.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING

from engine.features.orders.exchange.asking import Asking
from engine.features.orders.rows.given_up import given_up
from engine.model.errors import StoreError
from engine.model.orders import Asked, Reply, Tube, WorkItem
from engine.model.process.clock import Clock

if TYPE_CHECKING:
    from engine.store.journal import Journal

LOOK_S = 1.0  # how often it looks
AT_ONCE = 100  # orders of one look


@dataclass(eq=False)
class TakingBack:
    """Of one channel, on one connection at a time.

    Attributes:
        put: has the messages of one tube sent, as soon as the connection is free.
    """

    channel: str
    asking: Callable[[], Asking]
    put: Callable[[Sequence[Reply]], None]
    _: KW_ONLY
    journal: "Journal"
    clock: Clock
    _asked: set[int] = field(default_factory=set)  # without an answer so far
    _answered: set[int] = field(default_factory=set)
    _timer: asyncio.TimerHandle | None = None
    _messages: int = 0

    def begin(self) -> None:
        """There is a connection: look now, and each second."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.begin)
        try:
            found = given_up(self.journal, self.channel, limit=AT_ONCE)
        except StoreError:
            return
        self._answered.intersection_update(one.number for one in found)
        tubes: dict[str, list[WorkItem]] = {}
        for one in found:
            if one.number not in self._asked | self._answered:
                tubes.setdefault(one.line.specimen, []).append(one)
        for specimen, items in tubes.items():
            self._take_back(specimen, items)

    def end(self) -> None:
        """The connection is gone: what it did not answer is asked for again on the next one."""
        if self._timer is not None:
            self._timer.cancel()
        self._asked.clear()

    def answered(self, items: Iterable[int]) -> None:
        """The analyzer has answered for these, with yes or no."""
        numbers = set(items)
        self._asked -= numbers
        self._answered |= numbers

    def not_sent(self, items: Iterable[int]) -> None:
        self._asked.difference_update(items)

    def _take_back(self, specimen: str, items: Sequence[WorkItem]) -> None:
        asking = self.asking()
        cancelled = tuple(replace(one, line=replace(one.line, action="cancel")) for one in items)
        self._messages += 1
        context = asking.context(self.clock.now_us(), f"C{items[0].number}-{self._messages}")
        replies = asking.dialogue.download(Tube(asked=Asked(specimen=specimen), items=cancelled), context)
        self._asked.update(one.number for one in items)
        if replies:
            self.put(replies)
