"""Wait for the end of a message's deliveries, for ``ack: on_delivery``. Lives on the event loop.

A channel registers before intake sees the message; intake reports the number of deliveries, the destinations' workers
report the end of each. None of it is durable, and need not be: a sender without an answer in time sends again, and the
stored message is recognised as a repeat, with the outcome of the first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.model.journal.journal_views import DeliveryView, Trace
from engine.model.message import Stored

LATELY = 2_000  # latest ended deliveries: far more than have ended here and not in the journal yet
CAPACITY = 10_000  # messages waited for; beyond that the oldest is given up, as if timed out

_WELL = ("delivered", "superseded", "rejected", "dismissed")
_OPEN = ("waiting", "sending", "held")


@dataclass(slots=True)
class _Awaited:
    future: "asyncio.Future[bool]"
    open: int | None = None  # deliveries that have not ended; None: not processed yet
    dead: bool = False


class Outcomes:
    """
    Args:
        trace: looks a message up in the journal.
    """

    def __init__(self, trace: Callable[[int], Trace | None]) -> None:
        self._trace = trace
        self._awaited: OrderedDict[int, _Awaited] = OrderedDict()
        self._lately: OrderedDict[int, bool] = OrderedDict()  # delivery -> whether it is dead

    def __len__(self) -> int:
        return len(self._awaited)

    def of(self, stored: Stored) -> "asyncio.Future[bool]":
        """The outcome of a message that is durable, or of the one that it repeats; asked for before intake has it."""
        return self.expect(stored.id) if stored.repeat_of is None else self.expect_known(stored.repeat_of)

    def expect(self, message_id: int) -> "asyncio.Future[bool]":
        """The outcome of a message that intake has not seen yet: True once all its deliveries are made (or a rule says
        that there are none), False once it or one of them is dead. Shared: never cancel it.
        """
        return self._await(message_id).future

    def expect_known(self, message_id: int) -> "asyncio.Future[bool]":
        """As `expect`, for a message that came some time before."""
        known = self._awaited.get(message_id)
        if known is not None:
            return known.future
        awaited = self._await(message_id)
        trace = self._trace(message_id)
        if trace is None or trace.message.state in ("dead", "incomplete"):
            self.processed(message_id, 0, dead=True)
        elif trace.message.state != "stored":
            states = [self._state(delivery) for delivery in trace.deliveries]
            left = sum(state in _OPEN for state in states)
            self.processed(message_id, left, dead=any(state not in (*_WELL, *_OPEN) for state in states))
        return awaited.future

    def processed(self, message_id: int, deliveries: int, *, dead: bool = False) -> None:
        """The outcome of a message is durable."""
        awaited = self._awaited.get(message_id)
        if awaited is not None:
            awaited.open = deliveries
            awaited.dead = awaited.dead or dead
            self._resolve_if_ended(message_id, awaited)

    def ended(self, message_id: int, delivery_id: int, *, dead: bool) -> None:
        """One of a message's deliveries ended; the journal may not have that yet."""
        self._lately[delivery_id] = dead
        self._lately.move_to_end(delivery_id)
        if len(self._lately) > LATELY:
            self._lately.popitem(last=False)
        awaited = self._awaited.get(message_id)
        if awaited is not None and awaited.open is not None:
            awaited.open -= 1
            awaited.dead = awaited.dead or dead
            self._resolve_if_ended(message_id, awaited)

    def _state(self, delivery: DeliveryView) -> str:
        """Delivery state. The journal may still show it open after it ended here.

        A delivery that a person has retried since counts as dead until it ends again: its sender asks once more.
        """
        dead = self._lately.get(delivery.id)
        if delivery.state not in ("waiting", "sending") or dead is None:
            return delivery.state
        return "dead" if dead else "delivered"

    def _await(self, message_id: int) -> _Awaited:
        awaited = _Awaited(asyncio.get_running_loop().create_future())
        self._awaited[message_id] = awaited
        while len(self._awaited) > CAPACITY:
            _, oldest = self._awaited.popitem(last=False)
            oldest.future.set_result(False)
        return awaited

    def _resolve_if_ended(self, message_id: int, awaited: _Awaited) -> None:
        if awaited.dead or not awaited.open:
            del self._awaited[message_id]
            awaited.future.set_result(not awaited.dead)


async def all_delivered(outcomes: "Sequence[asyncio.Future[bool]]", within_s: float | None) -> bool:
    """Whether everything was delivered within a channel's time; `asyncio.wait` leaves the futures as they are."""
    _, late = await asyncio.wait(outcomes, timeout=within_s)
    return not late and all(outcome.result() for outcome in outcomes)
