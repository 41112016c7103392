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
class Kept:
    """An order on the worklist at the end.

    Attributes:
        lis: the channel that ordered it.
        named: what its laboratory system ordered: the test, or the panel that it is of.
        events: (event, state after it, message that it came with or 0), oldest first.
    """

    number: int
    lis: int
    placer: str
    test: str
    named: str
    tube: str
    patient: str
    state: str
    reason: str
    events: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A row of the log of questions.

    Attributes:
        asking: the question.
        items: numbers of the orders of its answer.
        ended: nothing of it is under way any more.
    """

    asking: int
    items: tuple[int, ...]
    ended: bool
    outcome: str
    none: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an analyzer was sent in one message.

    Attributes:
        step: of the history, that was under way.
        asking: the question that it answers; -1: it came unasked.
        orders: (tube, test) of each, in order. back: of those that are taken back.
        steps: work steps, one for each of these (IHE LAW).
        whole: with the last record.
    """

    step: int
    asking: int
    orders: tuple[tuple[str, str], ...]
    back: tuple[tuple[str, str], ...] = ()
    steps: tuple[str, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a laboratory system was told later: MSH-10, ORC-1, ORC-2, ORC-5, the test."""

    control: str
    order: str
    placer: str
    status: str
    test: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenOrders:
    """What became of the orders of a history.

    Attributes:
        said: ORC-1 of each line of the answer to a message of a laboratory system.
        replies: what each analyzer was sent, by channel.
        asked: questions that were acknowledged, as often as they were; and those that perhaps were.
        unanswered: questions that had no answer.
        news: of each laboratory system, what it heard; ``told``: MSH-10 of what it was to hear, in the journal's order.
        results: of each message with results, whether a person sees it (held, dead), its rows in the journal.
    """

    said: dict[int, tuple[str, ...]] = field(default_factory=dict)
    replies: dict[int, tuple[Reply, ...]] = field(default_factory=dict)
    items: tuple[Kept, ...] = ()
    log: tuple[Logged, ...] = ()
    asked: tuple[int, ...] = ()
    perhaps_asked: tuple[int, ...] = ()
    unanswered: tuple[int, ...] = ()
    news: dict[int, tuple[News, ...]] = field(default_factory=dict)
    told: dict[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Attributes:
    answered: ids of the messages that were acknowledged.
    observations: by id, their versions in the order they were written.
    quiet: whether everything came to rest.
    orders: None: the history has none.
    """

    answered: frozenset[int]
    rows: tuple[Row, ...]
    observations: dict[str, tuple[Version, ...]]
    reports: dict[str, Report] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    quiet: bool = True
    orders: SeenOrders | None = None
