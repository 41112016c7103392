"""What senders and destinations wrote down, each for itself: the two ends that a journal is judged by."""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Taken:
    """A document that a destination has taken for good, whether or not its answer arrived."""

    destination: str
    key: str


@dataclass(slots=True)
class Ledger:
    """Filled by the test's senders and sinks as it happens.

    Attributes:
        sent: (channel, digest) -> how often it was sent.
        acked: the same, of those that were acknowledged, in that order.
        taken: in the order in which destinations took them.
        watched: the destinations that write down what they take; of others only the journal's word is known.
    """

    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    acked: dict[tuple[str, str], None] = field(default_factory=dict)
    taken: list[Taken] = field(default_factory=list)
    watched: set[str] = field(default_factory=set)

    def note_sent(self, channel: str, payload: bytes) -> None:
        self.sent[channel, digest(payload)] += 1

    def note_acked(self, channel: str, payload: bytes) -> None:
        """The sender was told that ``payload`` is kept: from here on it must never be missing."""
        self.acked[channel, digest(payload)] = None

    def note_taken(self, destination: str, key: str) -> None:
        self.watched.add(destination)
        self.taken.append(Taken(destination, key))
