"""What was found after a history: in the journal, and on the server. Plain data."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An Observation of a document. ``value``: a number or text as it is written, empty for none."""

    id: str
    test: str
    status: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A document on its way to the server, with its state in the journal."""

    state: str
    cause: str
    made: tuple[Made, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A message in the journal.

    Attributes:
        send: the message that it is.
        number: its place in the journal, which rises.
        acts: what a person did to it, in order.
        decided_at: the newest number in the journal when a person last did something to it.
    """

    send: int
    number: int
    state: str
    reason: str
    deliveries: tuple[Delivery, ...] = ()
    acts: tuple[str, ...] = ()
    decided_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Of an Observation on the server."""

    status: str
    value: str
    patient: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The current version of a DiagnosticReport."""

    status: str
    patient: str
    results: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Attributes:
    answered: ids of the messages that were acknowledged.
    observations: by id, their versions in the order they were written.
    quiet: whether everything came to rest.
    """

    answered: frozenset[int]
    rows: tuple[Row, ...]
    observations: dict[str, tuple[Version, ...]]
    reports: dict[str, Report] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    quiet: bool = True
