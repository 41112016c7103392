"""The input of a hold rule. The parts of its expression are functions of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from engine.mapping.hold_rules.values import Number, Test
from engine.model.content.results import EarlierResults, Result

MAX_UNKNOWN = 3  # reasons that are reported


@dataclass(slots=True)
class HoldContext:
    """The input of a hold rule.

    Attributes:
        result: an empty one for a rule that reads no result.
        tests: answers of the conditions about the message, by their number.
        warnings: codes of those that the mapping gave.
        unknown: collects descriptions of values that are not known.
    """

    result: Result
    earlier: EarlierResults
    tests: Sequence[bool]
    now_us: int
    warnings: tuple[str, ...] = ()
    unknown: list[str] = field(default_factory=list)

    def miss(self, what: str) -> None:
        if what not in self.unknown and len(self.unknown) < MAX_UNKNOWN:
            self.unknown.append(what)


T = TypeVar("T")
Texts = tuple[str, ...]
TestOf = Callable[[HoldContext], Test]
NumberOf = Callable[[HoldContext], Number | None]
TextsOf = Callable[[HoldContext], Texts | None]


@dataclass(frozen=True, slots=True)
class TestTerm:
    of: TestOf


@dataclass(frozen=True, slots=True)
class NumberTerm:
    of: NumberOf


@dataclass(frozen=True, slots=True)
class TextTerm:
    """One text or several; several are equal to a text where one of them is. Empty: known to be none."""

    of: TextsOf


Term = TestTerm | NumberTerm | TextTerm
