"""Entries of the to-do list: each is one thing that waits for a person, with its one next step."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

from engine.feature import Hook
from engine.model.site.todo import TodoState
from engine.model.texts.phrases import PageText, Phrase
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import Level
from engine.store.queries.reader import Reader

S = TypeVar("S")
T = TypeVar("T")


class Way(NamedTuple):
    """The page where a step is done.

    Attributes:
        words: of the link, in English; ``{n}`` is the entry's count.
        path: of the page.
        filters: of the list there, by their names in the address.
        fragment: the place on it.
    """

    words: PageText
    path: str
    filters: Mapping[str, str] = {}
    fragment: str = ""


class Together(NamedTuple):
    """How several entries of one kind and urgency are one on the page.

    Attributes:
        words: of all of them; ``{n}`` is their number, or the sum of their counts.
        sums: it is the sum.
    """

    words: PageText
    way: Way
    sums: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to do.

    Attributes:
        key: the same for the same cause.
        phrase: what is the matter; of a dead letter ``cause`` says more.
        step: the one next step, a command.
        way: the page where that is done, too; None: it is done at the computer of LabRelay.
        count: its messages, results, codes or sentences.
        since: None where it is not known.
        subject: the channel or destination concerned, or empty.
        destination: of an entry about a channel's results for it.
        code: the reason of dead letters.
        critical: a critical result waits, so it is not put off beyond the shift.
        first: nothing is stored as long as it is there, so it comes before all others.
        leads: no person is notified of the others as long as it is there, so it comes before those of its urgency.
        together: None: it is alone on the page.
        with_held: it is decided about with the results that are held of its subject, where there are some.
    """

    key: str
    level: Level
    phrase: Phrase
    step: str
    way: Way | None = None
    count: int = 1
    since: datetime | None = None
    subject: str = ""
    destination: str = ""
    code: str = ""
    cause: str = ""
    critical: bool = False
    first: bool = False
    leads: bool = False
    together: Together | None = None
    with_held: bool = False

    @property
    def rank(self) -> int:
        """Of its urgency, 0 the worst of `Level`; below that where a critical result waits."""
        return -1 if self.critical else self.level.rank

    @property
    def kind(self) -> str:
        """The first part of the key: a situation, or an `About`."""
        return self.key.partition("/")[0]


class Todo(NamedTuple):
    """An entry with people's words about it."""

    entry: Entry
    state: TodoState
    is_snoozed: bool


def without_notes(todo: Todo) -> Todo:
    """The same without people's words, for those who do not read them (`Principal.reads_notes`)."""
    state = todo.state
    note = replace(state.note, text="") if state.note is not None else None
    snooze = replace(state.snooze, text="") if state.snooze is not None else None
    return todo._replace(state=replace(state, note=note, snooze=snooze))


def named(name: str, words: Phrase) -> Phrase:
    return Phrase("{name}: {notice}", {"name": name, "notice": words})


class Look(Protocol):
    """One look at what waits.

    Attributes:
        certain: what is critical is not left out where it cannot be read: then `StoreError` is raised.
    """

    journal: Reader
    site: SiteSnapshot
    now_us: int
    certain: bool

    async def read(self, query: Callable[[Reader], T]) -> T | None:
        """None where the journal cannot be read, or not in time."""

    def service(self, kind: type[S]) -> S | None:
        """What a feature runs; None: it does not run here."""


ENTRIES: Hook[Callable[[Look], Awaitable[Iterable[Entry]]]] = Hook("todo")


async def of_features(look: Look) -> list[Entry]:
    """What of all features waits for a person."""
    return [entry for entries in ENTRIES.each() for entry in await entries(look)]
