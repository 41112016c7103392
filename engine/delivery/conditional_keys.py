"""Decide which deliveries may be in flight together at one destination. Pure.

Two conditional creates of one Patient that arrive together make two Patients on every known FHIR server, for each
searches before the other has written. So, until the destination has confirmed a conditional key once, deliveries that
share it go one after the other, whatever their lane. From then on the server finds the existing resource, and they may
run together.

Confirmed keys are remembered, the least recently used forgotten first, and none longer than ``max_age``: a server may
be emptied or restored, so no confirmation is trusted for good. Forgetting costs only speed.
"""

from collections import OrderedDict
from collections.abc import Hashable

DAY_S = 86_400.0


class ConditionalGuard:
    """One per destination.

    Keys are the 16-byte keyed hashes of `engine.model.message.Document.conditional`; each costs about 200 bytes.

    Args:
        capacity: how many confirmed keys are remembered.
        max_age: seconds after which a confirmation is forgotten.
    """

    def __init__(self, capacity: int = 50_000, *, max_age: float = DAY_S) -> None:
        self._capacity = capacity
        self._max_age = max_age
        self._confirmed: OrderedDict[bytes, float] = OrderedDict()  # key -> when it was confirmed
        self._in_flight: dict[bytes, int] = {}  # key -> deliveries; above 1 only where confirmed
        self._waiting: dict[bytes, dict[Hashable, None]] = {}  # key -> waiters, first come first

    def try_enter(self, keys: tuple[bytes, ...], *, now: float = 0.0, waiter: Hashable | None = None) -> bool:
        """Claim ``keys`` for a delivery that is about to start; all or none.

        Args:
            now: monotonic seconds; ages confirmations.
            waiter: returned by the `leave` that may clear the way, if the answer is False (a lane, for example).
        """
        for key in keys:
            if key in self._in_flight and not self._is_confirmed(key, now):
                if waiter is not None:
                    self._waiting.setdefault(key, {})[waiter] = None
                return False
        for key in dict.fromkeys(keys):
            self._in_flight[key] = self._in_flight.get(key, 0) + 1
        return True

    def leave(self, keys: tuple[bytes, ...], confirmed: bool, *, now: float = 0.0) -> list[Hashable]:
        """Release the keys of `try_enter`, and return the waiters that should try again, in the order they came.

        Args:
            keys: the same keys that entered.
            confirmed: the destination delivered; any other end, including a cancelled one, confirms nothing.
        """
        woken: dict[Hashable, None] = {}
        for key in dict.fromkeys(keys):
            count = self._in_flight[key] - 1
            if count:
                self._in_flight[key] = count
            else:
                del self._in_flight[key]
            if confirmed:
                self._confirmed[key] = now
                self._confirmed.move_to_end(key)
            # All of them: a waiter that is woken may be gone or paused, and must not keep the others asleep.
            woken.update(self._waiting.pop(key, {}))
        while len(self._confirmed) > self._capacity:
            self._confirmed.popitem(last=False)
        return list(woken)

    def _is_confirmed(self, key: bytes, now: float) -> bool:
        at = self._confirmed.get(key)
        if at is None:
            return False
        if now - at > self._max_age:
            del self._confirmed[key]
            return False
        self._confirmed.move_to_end(key)
        return True
