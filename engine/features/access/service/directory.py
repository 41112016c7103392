"""All accounts in memory, so that a request costs no query. Each change drops them; the next request reads them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Concatenate, ParamSpec, TypeVar

from engine.features.access.rows import reading as accounts
from engine.features.access.rules.accounts import Known
from engine.model.errors import StoreError
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal

T = TypeVar("T")
P = ParamSpec("P")


class Directory:
    """The accounts of one journal, for the one process that writes it.

    Attributes:
        changing: held by those who change what they have read: a log-in, new credentials.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.changing = asyncio.Lock()
        self._known: Known | None = None
        self._changes = 0
        self._reading = asyncio.Lock()

    async def known(self) -> Known:
        """The accounts after the last change.

        Raises:
            StoreError: they cannot be read.
        """
        while (found := self._known) is None:
            async with self._reading:
                changes = self._changes
                if self._known is None:
                    read = await asyncio.to_thread(accounts.known, self.journal)
                    if changes == self._changes:
                        self._known = read
        return found

    async def run(self, operation: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that changes accounts; when it is done, every request sees the change, also where its caller
        has stopped waiting.
        """
        done = self.journal.run(operation, *args, **kwargs)
        done.add_done_callback(self._drop)
        return await asyncio.shield(done)

    def _drop(self, done: "asyncio.Future[T]") -> None:
        self._changes += 1
        self._known = None

    def note(self, operation: Callable[Concatenate[Batch, P], None], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run an operation that only notes a time; neither a wait nor an error for the caller."""
        with suppress(StoreError):
            self.journal.run(operation, *args, **kwargs).add_done_callback(_ignore)


def _ignore(done: "asyncio.Future[None]") -> None:
    if not done.cancelled():
        done.exception()
