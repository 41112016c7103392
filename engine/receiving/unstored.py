"""Data accepted but not yet stored. Any open connection retries until the write succeeds.

The end of a session has no answer, and an ended stream has no peer: their bytes will not be sent again. So writing them
is retried. A connection that is paused, stopped or cut off leaves its unstored data to the next one, also where the
channel is reconfigured in between.

Invariant: data that got room stays in its place, and counts, until it is durable, whichever connection retries and
however that ends. Each item has at most one attempt at a time, and no other begins before the result of the first is
known, for it may have become durable without a waiting caller.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from engine.model.errors import StoreError
from engine.model.message import Stored

STORE_RETRY_S = 1.0  # between attempts to store data that we cannot ask the sender to repeat
INSIST_BYTES = 32 * 1024 * 1024  # of a channel, waiting for such an attempt; further data is dropped and counted


@dataclass(slots=True, eq=False)
class Evidence:
    """One message, or a part of one.

    Attributes:
        left: the connection that it came by retries no more.
        durable: an attempt has succeeded.
        attempt: under way, or ended with an unread result; its result is None, or the error.
    """

    size: int
    append: "Callable[[], asyncio.Future[Stored]]"
    hand_on: Callable[[Stored], None]
    left: bool = False
    durable: bool = False
    attempt: "asyncio.Future[BaseException | None] | None" = None


# Follow an append (`engine.receiving.channel.Channel._kept`): the second argument is called as soon as it is durable.
AfterAppend = Callable[["asyncio.Future[Stored]", Callable[[Stored], None]], "asyncio.Future[BaseException | None]"]


class UnstoredMessages:
    """The unstored data of one channel, in the order of arrival."""

    def __init__(self, begin: AfterAppend) -> None:
        self._begin = begin
        self._waiting: list[Evidence] = []
        self._keeping_left = False
        self.stopping = False  # one more attempt, and no waiting

    @property
    def waiting_bytes(self) -> int:
        return sum(one.size for one in self._waiting)

    def take_over(self, other: "UnstoredMessages") -> None:
        """Take over the unstored data of the old channel after a reconfiguration, before new data comes.

        Both share one list: an attempt that the old channel began may end only now.
        """
        self._waiting = other._waiting

    async def insist(self, one: Evidence, failed: Callable[[StoreError], None]) -> bool:
        """Retry until it is durable, or left. False: the attempt failed, and there was no room for a retry.

        Args:
            failed: called for every failed attempt that will be repeated.
        """
        if self.waiting_bytes + one.size > INSIST_BYTES:
            return await self._try(one) is None
        self._waiting.append(one)
        try:
            await self._keep(one, failed)
        finally:
            one.left = True
        return True

    async def keep_left(self, failed: Callable[[StoreError], None]) -> None:
        """Retry the data that other connections have left, in order; else it would wait for the next start."""
        if self._keeping_left:
            return  # a connection is busy with it: two would mix up the order
        self._keeping_left = True
        try:
            while (one := next((one for one in self._waiting if one.left), None)) is not None:
                if not await self._keep(one, failed):
                    return
        finally:
            self._keeping_left = False

    async def _keep(self, one: Evidence, failed: Callable[[StoreError], None]) -> bool:
        """Retry until it is durable. False: nothing more can be done now."""
        while (error := await self._try(one)) is not None:
            failed(error)
            if error.fatal or self.stopping:
                return False
            await asyncio.sleep(STORE_RETRY_S)
        return True

    async def _try(self, one: Evidence) -> StoreError | None:
        """Make one attempt, or wait for one that a connection began before it was cut off."""
        if one.attempt is None:
            try:
                one.attempt = self._begin(one.append(), lambda stored: self._durable(one, stored))
            except StoreError as refused:
                return refused
        await asyncio.wait([one.attempt])  # cancelling this wait leaves the attempt running
        error, one.attempt = one.attempt.result(), None
        if error is not None and not isinstance(error, StoreError):
            self._forget(one)  # an error of ours, which every other attempt would meet again
            raise error
        return error

    def _durable(self, one: Evidence, stored: Stored) -> None:
        one.durable = True
        self._forget(one)
        one.hand_on(stored)

    def _forget(self, one: Evidence) -> None:
        if one in self._waiting:  # it is absent where there was no room for it
            self._waiting.remove(one)
