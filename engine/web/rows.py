"""The cells of the page: plain values that compare equal while nothing visible changed.

The page renders and sends only rows that differ. `engine.web.teller` makes them; nothing here knows HTML.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Badge:
    """A state: icon, word and colour together, never colour alone.

    Attributes:
        level: a `Level`'s value, or ``calm``.
    """

    level: str
    icon: str
    word: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A labelled value of the top strip or of a cell's small print."""

    label: str
    value: str
    level: str = "ok"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A reason code, its meaning in one sentence, and what happens next."""

    code: str
    meaning: str
    then: str


@dataclass(frozen=True, slots=True)
class LaneRow:
    words: str
    oldest: str
    trouble: Trouble | None
    held: str
    paused: str = ""


@dataclass(frozen=True, slots=True)
class ChannelRow:
    id: str
    level: str
    name: str
    description: str
    href: str
    where: str
    line: str
    tee: str
    tee_lost: str
    badge: Badge
    paused: str
    last: str
    last_at: str
    usual: str
    received: int
    today: tuple[Fact, ...]
    link_faults: str
    stored: str
    lanes: tuple[LaneRow, ...]
    lanes_idle: int
    dead: int
    incomplete: str


@dataclass(frozen=True, slots=True)
class DestinationRow:
    id: str
    level: str
    name: str
    where: str
    badge: Badge
    then: str
    waiting: int
    oldest: str
    in_flight: str
    delivered: int
    rate: str
    last: str
    last_at: str
    trouble: Trouble | None
    dead: int
    held: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """One item that passed on a line. ``level``: a `Level`'s value, or ``calm``."""

    at: str
    at_iso: str
    who: str
    what: str
    level: str
    verdict: str


@dataclass(frozen=True, slots=True)
class FaultRow:
    kind: str
    what: str
    n: int


@dataclass(frozen=True, slots=True)
class LotRow:
    """A reagent lot; ``channel``, ``messages`` and ``first`` are given where lots of several analyzers are listed."""

    name: str
    lot: str
    href: str
    expires: str
    expired: str
    tests: str
    left: str
    last: str
    last_at: str
    channel: str = ""
    messages: str = ""
    first: str = ""


@dataclass(frozen=True, slots=True)
class AnalyzerPage:
    """Everything about one channel's line."""

    name: str
    description: str
    badge: Badge
    line: str
    facts: tuple[Fact, ...]
    steps: tuple[StepRow, ...]
    faults: tuple[FaultRow, ...]
    last_fault: str
    lots: tuple[LotRow, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """The top of the page."""

    badge: Badge
    headline: str
    more: tuple[Badge, ...]
    rest: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Footer:
    """The line under the tables."""

    as_of: str
    as_of_at: str
    facts: tuple[Fact, ...]
