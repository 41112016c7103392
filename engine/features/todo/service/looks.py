"""Since a person last looked: what came to the to-do list and went from it, and how much came in.

A person looks who opens the page that has the list. Looks within ten minutes of each other are one visit, so that the
line stays while the person works with the page; it compares with the last look of the visit before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from engine.features.todo.rows import looks as todo_looks
from engine.features.todo.rows.reading import looks
from engine.model.clock import Clock
from engine.model.errors import StoreError
from engine.model.journal_views import Filter
from engine.model.todo import Look, Since
from engine.monitoring.todo import Todo
from engine.store.journal import Journal
from engine.store.queries.letters import count_dead_letters
from engine.store.queries.messages import count_messages
from engine.store.queries.reader import Reader

NOTED_EVERY_US = 60_000_000  # how old a stored look may be
MOST_COUNTED = 10_001  # messages


class TodoLooks:
    """The looks of all users.

    Args:
        latest: the list; the same object until it changes.
    """

    def __init__(self, journal: Journal, latest: Callable[[], Awaitable[Sequence[Todo]]], clock: Clock) -> None:
        self._journal = journal
        self._latest = latest
        self._clock = clock
        self._made: tuple[Sequence[Todo], dict[int, Since | None]] = ((), {})
        self._noted: dict[int, int] = {}  # user -> the last look that is stored

    async def look(self, user: int, *, by_person: bool) -> Since | None:
        """This user sees the list; None: it is the first visit, or the journal cannot be read.

        Reading is shared by all who see the same list.

        Args:
            by_person: the user has opened it; a page that renews itself is no look.
        """
        todos = await self._latest()
        keys = frozenset(one.entry.key for one in todos)
        if self._made[0] is not todos:
            self._made = todos, {}
        made = self._made[1]
        if user not in made:
            with suppress(StoreError):
                made[user] = await asyncio.to_thread(self._since, user, keys)
        if by_person:
            self._note(user, keys)
        return made.get(user)

    def _note(self, user: int, keys: frozenset[str]) -> None:
        now_us = self._clock.now_us()
        if now_us - self._noted.get(user, 0) >= NOTED_EVERY_US:
            self._noted[user] = now_us
            with suppress(StoreError):  # a full disk: then the look is forgotten
                self._journal.run(todo_looks.looked, user, keys, now_us).add_done_callback(_ignore)

    def _since(self, user: int, keys: frozenset[str]) -> Since | None:
        last, before = looks(self._journal, user)
        if last is not None and self._clock.now_us() - last.at_us >= todo_looks.VISIT_US:
            before = last
        return self._compared(before, keys) if before is not None else None

    def _compared(self, before: Look, keys: frozenset[str]) -> Since:
        at_us = before.at_us // 1_000_000 * 1_000_000
        return Since(
            at_us=at_us,
            new=tuple(sorted(keys - before.keys)),
            gone=tuple(sorted(before.keys - keys)),
            messages=self._counted(lambda journal: count_messages(journal, Filter(after_us=at_us), most=MOST_COUNTED)),
            letters=self._counted(lambda journal: count_dead_letters(journal, Filter(after_us=at_us, state="dead"))),
        )

    def _counted(self, count: Callable[[Reader], int]) -> int | None:
        with suppress(StoreError):
            return count(self._journal)
        return None


def _ignore(done: "asyncio.Future[None]") -> None:
    if not done.cancelled():
        done.exception()
