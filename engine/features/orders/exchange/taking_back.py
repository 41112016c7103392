"""Orders that were cancelled while the analyzer has them are taken back there by messages that it answers (IHE LAW:
ORC-1 ``CA`` with the same number, answered ``CR`` or ``UC``).

Each second it looks for such orders, and hands over the messages of each tube. An order is asked for once on a
connection, again on the next one, and no more once the analyzer has answered.

Source: IHE Laboratory Technical Framework volume 2b, LAB-28.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.features.orders.exchange.asking import Asking
from engine.features.orders.rows.given_up import given_up
from engine.model.clock import Clock
from engine.model.errors import StoreError
from engine.model.orders import Asked, Reply, Tube, WorkItem

if TYPE_CHECKING:
    from engine.store.journal import Journal

LOOK_S = 1.0  # how often it looks
AT_ONCE = 100  # orders of one look


class TakingBack:
    """Of one channel, on one connection at a time."""

    def __init__(
        self,
        channel: str,
        asking: Callable[[], Asking],
        put: Callable[[Sequence[Reply]], None],
        *,
        journal: "Journal",
        clock: Clock,
    ) -> None:
        """``put`` has the messages of one tube sent, as soon as the connection is free."""
        self._channel = channel
        self._asking = asking
        self._put = put
        self._journal = journal
        self._clock = clock
        self._asked: set[int] = set()  # without an answer so far
        self._answered: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._messages = 0

    def begin(self) -> None:
        """There is a connection: look now, and each second."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.begin)
        try:
            found = given_up(self._journal, self._channel, limit=AT_ONCE)
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
        asking = self._asking()
        cancelled = tuple(replace(one, line=replace(one.line, action="cancel")) for one in items)
        self._messages += 1
        context = asking.context(self._clock.now_us(), f"C{items[0].number}-{self._messages}")
        replies = asking.dialogue.download(Tube(asked=Asked(specimen=specimen), items=cancelled), context)
        self._asked.update(one.number for one in items)
        if replies:
            self._put(replies)
