"""What a channel has taken and could not keep: it is tried until it is durable, by whichever connection is there.

The end of a session has no answer, and a stream that ended has no peer: nobody will send their bytes again. So they are
insisted on. A connection that is paused, stopped or cut off leaves what it had to the next one, also where the channel
is configured anew in between.

Invariant: what there was room for stays in its place, and counts, until it is durable, whoever tries and however that
ends. There is at most one attempt at a time of each, and nobody begins another before the end of the first is known,
for it may have become durable without anybody waiting.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.model.errors import StoreError
from engine.model.message import Stored

STORE_RETRY_S = 1.0  # between attempts to keep what no answer of ours can ask the sender to repeat
INSIST_BYTES = 32 * 1024 * 1024  # of a channel that wait for such an attempt; more is not kept, and counted


@dataclass(slots=True, eq=False)
class Evidence:
    """One message, or what there is of it.

    Attributes:
        left: the connection that it came by tries no more.
        attempt: under way, or ended and not looked at; its result is None, or why it failed.
    """

    size: int
    append: "Callable[[], asyncio.Future[Stored]]"
    hand_on: Callable[[Stored], None]
    left: bool = False
    attempt: "asyncio.Future[BaseException | None] | None" = None


class Begin(Protocol):
    """Follow an append (`engine.receiving.channel.Channel._kept`): ``hand_on`` is called as soon as it is durable."""

    def __call__(
        self, future: "asyncio.Future[Stored]", hand_on: Callable[[Stored], None]
    ) -> "asyncio.Future[BaseException | None]": ...


class Unkept:
    """Of one channel, in the order in which it came."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._waiting: list[Evidence] = []
        self._keeping_left = False
        self.stopping = False  # one attempt more, and no waiting

    @property
    def waiting_bytes(self) -> int:
        return sum(one.size for one in self._waiting)

    def take_over(self, other: "Unkept") -> None:
        """A channel that was configured anew goes on with what the old one left, before anything comes by itself.

        One list of both: an attempt that the old one began may end only now.
        """
        self._waiting = other._waiting

    async def insist(self, one: Evidence, failed: Callable[[StoreError], None]) -> bool:
        """Try until it is durable, or left. False: it failed, and there was no room to try it again.

        Args:
            failed: called for every attempt that failed and is to be repeated.
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
        """Try what other connections have left, in its order; else it would wait for the next start."""
        if self._keeping_left:
            return  # a connection is at it: two would mix up the order
        self._keeping_left = True
        try:
            while (one := next((one for one in self._waiting if one.left), None)) is not None:
                if not await self._keep(one, failed):
                    return
        finally:
            self._keeping_left = False

    async def _keep(self, one: Evidence, failed: Callable[[StoreError], None]) -> bool:
        """Try until it is durable. False: nothing more can be done now."""
        while (error := await self._try(one)) is not None:
            failed(error)
            if error.fatal or self.stopping:
                return False
            await asyncio.sleep(STORE_RETRY_S)
        return True

    async def _try(self, one: Evidence) -> StoreError | None:
        """Make one attempt, or wait for the end of one that a connection began before it was cut off."""
        if one.attempt is None:
            try:
                one.attempt = self._begin(one.append(), lambda stored: self._durable(one, stored))
            except StoreError as refused:
                return refused
        await asyncio.wait([one.attempt])  # cut off, it leaves the attempt as it is
        error, one.attempt = one.attempt.result(), None
        if error is not None and not isinstance(error, StoreError):
            self._forget(one)  # a fault of ours, which every other attempt would meet again
            raise error
        return error

    def _durable(self, one: Evidence, stored: Stored) -> None:
        self._forget(one)
        one.hand_on(stored)

    def _forget(self, one: Evidence) -> None:
        if one in self._waiting:  # it is not where there was no room for it
            self._waiting.remove(one)
