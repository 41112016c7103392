"""What runs of this feature while a site runs.

Since a person last looked: what came to the to-do list and went from it, and how much came in.

A person looks who opens the page that has the list. Looks within ten minutes of each other are one visit, so that the
line stays while the person works with the page; it compares with the last look of the visit before.

The to-do list of the running site: it is made anew for each reader, and what people say about it is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import time
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

from engine.config.web import WebConfig
from engine.features.todo import rows as todo
from engine.features.todo.rows import looks, todo_states
from engine.features.todo.rules import changes, entries, listed
from engine.model.errors import RefusedError, StoreError
from engine.model.journal.journal_views import Filter
from engine.model.process.clock import Clock, from_us
from engine.model.site.todo import Look, Since
from engine.model.texts.phrases import Said
from engine.monitoring.snapshot.site import About, SiteSnapshot
from engine.monitoring.todo import Entry, Todo, of_features
from engine.runtime.service import Loop, Service
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.queries.letters import count_dead_letters
from engine.store.queries.messages import count_messages
from engine.store.queries.reader import Reader
from engine.views.shifts import ends

if TYPE_CHECKING:
    from engine.runtime.app import App
    from engine.runtime.pages import Seen


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
                self._journal.run(todo.looked, user, keys, now_us).add_done_callback(_ignore)

    def _since(self, user: int, keys: frozenset[str]) -> Since | None:
        last, before = looks(self._journal, user)
        if last is not None and self._clock.now_us() - last.at_us >= todo.VISIT_US:
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


LOOK_EVERY_S = 60.0
SAME_FOR_S = 2.0
PAGE_AGE_US = 120_000_000  # a page counts the seconds to the end of a shift from its own, earlier time

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(eq=False)
class TodoList(Service):
    """The list of one running site.

    Attributes:
        services: what features run.
        shifts: times of day at which a shift begins.
    """

    journal: Journal
    snapshot: Callable[[], SiteSnapshot]
    clock: Clock
    services: Callable[[], Collection[object]] = tuple
    shifts: Callable[[], Sequence[time]] = lambda: WebConfig().shifts
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)
    _made: Sequence[Todo] | None = None
    _made_at: float = 0.0
    _acts: int = 0

    def loops(self) -> dict[str, Loop]:
        return {"to-do list": self.run}

    def of_pages(self, seen: "Seen | None") -> dict[str, Any]:
        if seen is not None:
            return {"todo": within(self, seen)}
        return {"todo": self.latest, "look": TodoLooks(self.journal, self.latest, self.clock).look}

    async def run(self) -> None:
        """Without end: notice entries that go and come back, where people have said something about any."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(StoreError):  # reported elsewhere
                if await asyncio.to_thread(todo_states, self.journal):
                    await self.look()

    async def latest(self) -> Sequence[Todo]:
        """The list for pages, which all ask for it: the same object for `SAME_FOR_S`, or until a person acts on it."""
        async with self._making:
            now = asyncio.get_running_loop().time()
            made, acts = self._made, self._acts
            if made is None or now - self._made_at >= SAME_FOR_S:
                made, self._made_at = await self.look(), now
                self._made = made if acts == self._acts else None
            return made

    async def look(self) -> list[Todo]:
        """The list as it is now; snoozed entries are at its end.

        Where the journal cannot be read, the list has the entries that are in memory: one of them says so.
        """
        found, now_us = await self.entries(), self.clock.now_us()
        try:
            states = await asyncio.to_thread(todo_states, self.journal)
        except StoreError:
            return listed(found, {}, now_us)
        changed = changes({entry.key for entry in found}, states, now_us)
        if any(changed):
            with suppress(StoreError):  # a full disk; the next look tries again
                await self.journal.run(todo.observed, **changed._asdict(), now_us=now_us)
        return listed(found, states, now_us)

    async def entries(self, *, certain: bool = False) -> list[Entry]:
        """The entries as they are now, without people's words about them.

        Args:
            certain: critical values are not left out where they cannot be read.

        Raises:
            StoreError: they cannot; only with ``certain``.
        """
        site = self.snapshot()
        look = _Look(self.journal, site, self.clock.now_us(), certain, self.services())
        return entries(site, await of_features(look))

    # -- what people say -----------------------------------------------------------------------------------------

    # Each returns the key of the entry, and the id of the audit row.

    async def take(self, key: str, actor: str) -> tuple[str, int]:
        entry = await self._found(key)
        return entry.key, await self._run(todo.take, entry.key, actor)

    async def annotate(self, key: str, actor: str, text: str) -> tuple[str, int]:
        entry = await self._found(key)
        return entry.key, await self._run(todo.annotate, entry.key, actor, text)

    async def snooze(self, key: str, actor: str, reason: str, seconds: float) -> tuple[str, int]:
        entry = await self._found(key)
        now_us = self.clock.now_us()
        until_us = now_us + int(seconds * 1_000_000)
        if entry.critical:
            zone = ZoneInfo(self.snapshot().timezone)
            end = ends(from_us(now_us), self.shifts(), zone).astimezone(zone)
            end_us = round(end.timestamp() * 1e6)
            if until_us > end_us + PAGE_AGE_US:
                raise RefusedError(
                    Said("a critical result is put off until the end of the shift at most: {time}", time=f"{end:%H:%M}")
                )
            until_us = min(until_us, end_us)
        rank, count = entry.rank, entry.count
        act = await self._run(todo.snooze, entry.key, actor, reason, until_us=until_us, rank=rank, count=count)
        return entry.key, act

    async def drop(self, key: str, actor: str, only: str | None = None) -> tuple[str, int | None]:
        """None: nothing was kept about the entry. ``only``: as `todo.drop` has it."""
        entry = await self._found(key)
        return entry.key, await self._run(todo.drop, entry.key, actor, only)

    async def _run(self, operation: Callable[Concatenate[Batch, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation on what is kept; the next reader of the list sees it."""
        try:
            return await self.journal.run(operation, *args, **kwargs)
        finally:
            self._made, self._acts = None, self._acts + 1

    async def _found(self, key: str) -> Entry:
        """The entry with this key, or with the only key that begins so.

        Raises:
            RefusedError: there is none, or several.
        """
        found = [one.entry for one in await self.look()]
        exact = [one for one in found if one.key == key]
        near = exact or [one for one in found if one.key.startswith(key)]
        if len(near) != 1:
            keys = ", ".join(one.key for one in near or found)
            raise RefusedError(
                f"{'several entries begin with' if near else 'no entry is'} {key}; there are: {keys or 'none'}"
            )
        return near[0]


OF_PARTS = ("dead", "orders-", About.DISK, About.DELIVERIES)  # kinds of entries with no subject, counted for a part


def within(every: TodoList, seen: "Seen") -> Callable[[], Awaitable[Sequence[Todo]]]:
    """`TodoList.latest` for those who see some channels alone, with people's words about entries of one of these. Words
    about others may be about more than theirs.
    """
    made: tuple[object, Sequence[Todo]] = (None, ())

    async def latest() -> Sequence[Todo]:
        nonlocal made
        if made[0] is not (whole := await every.latest()):
            site, now_us = seen.snapshot(), every.clock.now_us()
            places = seen.channels | {one.name for one in site.destinations}
            look = _Look(seen.journal, replace(site, unmapped_total=1), now_us, False, every.services())
            found = entries(site, await of_features(look))
            theirs = [one for one in found if (one.subject in places if one.subject else one.kind.startswith(OF_PARTS))]
            said = {one.entry.key: one.state for one in whole if one.entry.subject in seen.channels}
            made = whole, listed(theirs, said, now_us)
        return made[1]

    return latest


@dataclass(slots=True)
class _Look:
    """`engine.monitoring.todo.Look`."""

    journal: Reader
    site: SiteSnapshot
    now_us: int
    certain: bool
    services: Collection[object]

    async def read(self, query: Callable[[Reader], T]) -> T | None:
        try:
            return await asyncio.to_thread(query, self.journal)
        except StoreError:
            return None

    def service(self, kind: type[T]) -> T | None:
        return next((one for one in self.services if isinstance(one, kind)), None)


def todo_list(app: "App") -> TodoList:
    """Of a running site."""
    return TodoList(
        app.journal,
        app.observer.snapshot,
        app.clock,
        lambda: app.parts.services,
        lambda: app.parts.built.site.config.web.shifts,
    )
