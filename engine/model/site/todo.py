"""What people have said about an entry of the to-do list: who has it, a note, how long it is not shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A person's word about an entry, as the audit trail has it; without the key ``by`` and ``text`` are empty."""

    by: str
    at_us: int
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snooze(Mark):
    """An entry is not shown as work before ``until_us``, unless it is worse than it was then.

    Attributes:
        rank: of its urgency then (`engine.features.todo.rules.Entry.rank`); the lowest is the worst.
        count: of the entry then.
    """

    until_us: int
    rank: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at the list.

    Attributes:
        keys: of the entries that it had.
    """

    at_us: int
    keys: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What came and went since a person's visit before this one.

    Attributes:
        at_us: the end of that visit, at a full second.
        new, gone: keys of entries.
        messages, letters: messages received and dead letters new since; None: they could not be counted in time.
    """

    at_us: int
    new: tuple[str, ...]
    gone: tuple[str, ...]
    messages: int | None
    letters: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TodoState:
    """All that is kept about one entry.

    Attributes:
        gone_us: since when the entry is no longer on the list; 0: it is.
    """

    key: str
    taken: Mark | None = None
    note: Mark | None = None
    snooze: Snooze | None = None
    gone_us: int = 0
