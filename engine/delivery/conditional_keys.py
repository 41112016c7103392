"""Decide which deliveries may be in flight together at one destination. Pure.

Two conditional creates of one Patient that arrive together make two Patients on every known FHIR server, for each
searches before the other has written. So, until the destination has confirmed a conditional key once, deliveries that
share it go one after the other, whatever their lane. From then on the server finds the existing resource, and they may
run together.

Confirmed keys are remembered, the least recently used forgotten first, and none longer than ``max_age``: a server may
be emptied or restored, so no confirmation is trusted for good. Forgetting costs only speed.

Preconditions of updates: the server's version must be the one that we wrote last; see `engine.model.versions`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

from engine.model.message import Delivery
from engine.model.packing import unpack
from engine.model.versions import Versions, conditioned, worth_keeping, written
from engine.store.queries.servers import known_versions, shown_versions

if TYPE_CHECKING:
    from engine.store.journal import Journal


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


MEMORY_VERSIONS = 20_000  # of resources whose version may not be committed yet; far more than can be under way


class Conditions:
    """The versions that one destination has of our resources, for ``conflicts: check``."""

    def __init__(self, destination: str, journal: "Journal") -> None:
        self._destination = destination
        self._journal = journal
        self._versions: dict[str, str] = {}  # of resources written recently, oldest first

    async def put_on(self, delivery: Delivery) -> Delivery:
        """Add the condition to a delivery: the server must have our last version.

        Where a person has decided to replace the server's version, the condition is the version that they were shown:
        their decision does not cover later ones.
        """
        shown: dict[str, str] = {}
        if delivery.unconditional:
            shown = await asyncio.to_thread(shown_versions, self._journal, delivery.id)
            if not shown:
                return delivery
        try:
            body = unpack(delivery.body) if delivery.packed else delivery.body
        except ValueError:
            return delivery  # the destination finds the same damage and reports it
        resources = written(body)
        known = {one: self._versions[one] for one in resources if one in self._versions}
        if unknown := [one for one in resources if one not in known]:
            # Uncommitted versions are known here; so a read is enough, and nothing waits for the writer.
            known |= await asyncio.to_thread(known_versions, self._journal, self._destination, unknown)
        known = {one: version for one, version in (known | shown).items() if version}
        return delivery.with_body(conditioned(body, known)) if known else delivery

    def remember(self, versions: Versions) -> None:
        """Store the versions that the server has now."""
        for resource, version in worth_keeping(versions):
            self._versions.pop(resource, None)
            self._versions[resource] = version
        while len(self._versions) > MEMORY_VERSIONS:
            del self._versions[next(iter(self._versions))]
