"""Views of lists that people keep under a name: each user's own, and those that all have.

They are in memory, as accounts are: each page that shows them costs no query.
"""

import asyncio
import unicodedata
from collections.abc import Callable
from typing import Any

from engine.model.errors import RefusedError
from engine.model.saved_views import SavedView
from engine.store.journal import Journal
from engine.store.operations.access import saved_views
from engine.store.queries import accounts

LONGEST_NAME = 60  # characters
LONGEST_ADDRESS = 2000  # characters of path and query, encoded; a request line may have some more
MOST_KNOWN = 200  # users whose views are in memory
_JOINERS = "\u200c\u200d"  # without them Hindi cannot be written


class SavedViews:
    """The views of all users, in the process that writes the journal. ``by`` is who acts, an `Actor`.

    Each change raises LabRelayError where the user has no such view, RefusedError where there is one of that name, or
    there are too many.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[int, tuple[SavedView, ...]] = {}
        self._changes = 0

    async def of(self, user: int) -> tuple[SavedView, ...]:
        """Those that a user has, and those that all have, by name.

        Raises:
            StoreError: they cannot be read.
        """
        while (found := self._known.get(user)) is None:
            changes = self._changes
            read = tuple(await asyncio.to_thread(accounts.saved_views, self._journal, user))
            if changes == self._changes:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[user] = read
        return found

    async def save(self, user: int, name: str, path: str, query: str) -> None:
        """Keep an address for a user.

        Args:
            path, query: of a list, encoded; the caller has checked what they are.
        """
        if len(path) + len(query) > LONGEST_ADDRESS:
            raise RefusedError("this address is too long to be kept; take a part of the filter away")
        await self._run(saved_views.save, user, view_name(name), path, query)

    async def rename(self, number: int, user: int, name: str, *, by: str) -> None:
        """``user``: who has it; `OF_ALL`: all."""
        await self._run(saved_views.rename, number, user, view_name(name), by)

    async def share(self, number: int, user: int, *, by: str) -> None:
        """Give a view of a user to all."""
        await self._run(saved_views.share, number, user, by)

    async def withdraw(self, number: int, user: int, *, by: str) -> None:
        """Take a view from all; this user has it then."""
        await self._run(saved_views.withdraw, number, user, by)

    async def remove(self, number: int, user: int, *, by: str) -> None:
        """``user`` as of `rename`."""
        await self._run(saved_views.remove, number, user, by)

    async def _run(self, operation: Callable[..., Any], *given: Any) -> None:
        """When it is done, each page sees the change, also where its caller has stopped waiting."""
        done = self._journal.run(operation, *given)
        done.add_done_callback(self._drop)
        await asyncio.shield(done)

    def _drop(self, done: "asyncio.Future[Any]") -> None:
        self._changes += 1
        self._known.clear()


def view_name(text: str) -> str:
    """The name of a view, in one form of Unicode.

    Raises:
        RefusedError: it is empty, too long, or has signs that a page cannot show.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not 0 < len(name) <= LONGEST_NAME or not name.strip(_JOINERS):
        raise RefusedError(f"the name of a view has 1 to {LONGEST_NAME} characters")
    if any(unicodedata.category(sign)[0] == "C" and sign not in _JOINERS for sign in name):
        raise RefusedError("the name of a view has letters, digits and signs that are seen")
    return name
