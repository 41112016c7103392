"""Two sets of rules about the same results: what one would hold and the other not. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.model.journal.records import RuleAnswer

ONLY_NEW, ONLY_OLD = "held now", "held no more"
MOST_MESSAGES = 1000  # that a change names


class Said(NamedTuple):
    """What a set of rules says of one message. ``is_held``: shadows hold nothing."""

    answers: Sequence[RuleAnswer]
    is_held: bool


class ChangeView(NamedTuple):
    """What a change of rules changes.

    Attributes:
        change: `ONLY_NEW` or `ONLY_OLD`; of a shadow what it would be.
        test: empty where the rule is about the message.
        messages: in how many; ``numbers``: the first of them.
    """

    rule: str
    shadow: bool
    test: str
    change: str
    messages: int
    numbers: Sequence[int]


@dataclass(slots=True)
class Difference:
    """What was found so far.

    Attributes:
        messages: that both were asked about. unread: those that cannot be read any more.
        held: by the old rules, and by the new ones.
        now, no_more: messages that the new ones alone hold, and those that the old ones alone hold.
    """

    messages: int = 0
    unread: int = 0
    held: tuple[int, int] = (0, 0)
    now: list[int] = field(default_factory=list)
    no_more: list[int] = field(default_factory=list)
    _changes: dict[tuple[str, bool, str, str], list[int]] = field(default_factory=dict)

    def add(self, message: int, old: Said, new: Said) -> None:
        self.messages += 1
        self.held = self.held[0] + old.is_held, self.held[1] + new.is_held
        if old.is_held != new.is_held:
            (self.now if new.is_held else self.no_more).append(message)
        before, after = set(_holding(old.answers)), set(_holding(new.answers))
        for change, those in ((ONLY_NEW, after - before), (ONLY_OLD, before - after)):
            for rule, shadow, test in those:
                self._changes.setdefault((rule, shadow, test, change), []).append(message)

    @property
    def changes(self) -> list[ChangeView]:
        return [
            ChangeView(*key, len(numbers), numbers[:MOST_MESSAGES]) for key, numbers in sorted(self._changes.items())
        ]


def _holding(answers: Iterable[RuleAnswer]) -> Iterable[tuple[str, bool, str]]:
    """Rules with the tests that they hold: for a hit, or because they cannot judge."""
    for one in answers:
        for test in (*one.hit, *one.unknown):
            yield one.rule, one.shadow, test
