"""Which patterns `matches` takes: those that answer in a bounded number of steps, whatever a sender puts in a field.

Python's engine tries one way after another. How many ways there can be is counted here, from the pattern alone:

    starts      1 where the pattern is tied to the start of the text (^), else one for each character
    ways        of a sequence the product of its parts', of an alternation the sum of its branches'; of x{a,b} b - a + 1
    steps       starts x ways x parts of the pattern (x{3} counts as three)

Refused are patterns with more than `MAX_STEPS`, and what cannot be counted so: repeats or alternatives inside what
repeats, looking around, references backwards.
"""

import re
import warnings
from dataclasses import dataclass

from engine.model.errors import PatternError

MAX_TEXT = 1000  # characters of a value that are looked at
MAX_STEPS = 20_000_000  # less than a tenth of a second, for the worst text there is
MAX_BOUNDED = 3  # variable repeats with an end, in one branch
_FAR = 100  # an end as far away as this is none

_REPEAT = re.compile(r"\{(?=[\d,])(\d*)(?:(,)(\d*))?\}", re.ASCII)
_CODE_POINT = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})")


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, ready to be searched for.

    Raises:
        PatternError: it is no regular expression, or one that a text could keep busy; says what to write instead.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a set with [ or && in it: read differently one day
            found = re.compile(pattern)
    except re.error as error:
        raise PatternError(error.pos or 0, f"not a regular expression: {error.msg}") from error
    except (Warning, OverflowError, RecursionError) as error:
        raise PatternError(0, "not a regular expression: ambiguous, or a number in it is too large") from error
    _Scan(pattern).check()
    return found


@dataclass(slots=True)
class _Cost:
    """What a part of a pattern costs.

    Attributes:
        ways: how many ways there are to match it at one place.
        parts: single characters and sets in it, each counted as often as its number requires or allows.
        far: repeats without a near end; ``near``: other variable ones.
        divided: it holds an alternation.
        tied: it matches at the start of the text only.
    """

    ways: int = 1
    parts: int = 0
    far: int = 0
    near: int = 0
    divided: bool = False
    tied: bool = False

    @property
    def steps(self) -> int:
        return (1 if self.tied else MAX_TEXT) * self.ways * max(self.parts, 1)


class _Scan:
    """One reading of a pattern that Python has taken as valid."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 4 if pattern.startswith("(?i)") else 0

    def check(self) -> None:
        branches = self._branches()
        if sum(branch.steps for branch in branches) > MAX_STEPS:
            raise PatternError(
                0, "this pattern could take too long; begin it with ^, or leave repeats (* + {n,m}) and choices out"
            )

    def _branches(self) -> list[_Cost]:
        found = [self._sequence()]
        while self._next("|"):
            found.append(self._sequence())
        return found

    def _sequence(self) -> _Cost:
        whole, first = _Cost(), True
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            begin = self._at
            part = self._repeated(self._part(), begin)
            whole.tied |= first and part.tied
            first = False
            whole.ways *= part.ways
            whole.parts += part.parts
            whole.far += part.far
            whole.near += part.near
            whole.divided |= part.divided
            if whole.far > (2 if whole.tied else 1):
                text = "a second repeat without an end; give it one ({1,9})"
                raise PatternError(begin, text if whole.tied else f"{text}, or begin the pattern with ^")
            if whole.near > MAX_BOUNDED:
                raise PatternError(begin, f"more than {MAX_BOUNDED} variable repeats; write what is fixed as fixed")
        return whole

    def _repeated(self, part: _Cost, begin: int) -> _Cost:
        """A part with the repeat behind it."""
        repeat = self._repeat()
        if repeat is None:
            return part
        low, high = repeat
        if self._next("+"):
            raise PatternError(self._at - 1, "possessive repeats are not taken; leave the second + out")
        self._next("?")  # lazy: the same ways in another order
        if max(low, high or 0) > MAX_TEXT:
            raise PatternError(begin, f"no more than {MAX_TEXT} characters are looked at; repeat less often")
        if high == 1:
            return part if low else _Cost(part.ways + 1, part.parts, part.far, part.near + 1, part.divided)
        if high == low:
            cost = _Cost(1, part.parts * low, part.far * low, part.near * low, part.divided)
            cost.ways = min(part.ways, MAX_STEPS + 1) ** low if part.ways > 1 and low < _FAR else part.ways
            if part.ways > 1 and low >= _FAR:
                raise PatternError(begin, "choices that are repeated often; write them out")
            return cost
        if part.far or part.near:
            raise PatternError(begin, "a repeat inside a repeat; repeat one of both only")
        if part.divided:
            raise PatternError(begin, "an alternation that repeats; use a set ([ab]), or write it out")
        far = high is None or high >= _FAR
        most = MAX_TEXT if high is None else high
        return _Cost(most - low + 1, part.parts * max(low, 1), int(far), int(not far))

    def _repeat(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._next(sign):
                return bounds
        found = _REPEAT.match(self._text, self._at)
        if found is None:  # a brace that is no repeat is a character
            return None
        self._at = found.end()
        low, comma, high = found.groups()
        if not comma:
            return int(low), int(low)
        return int(low or 0), int(high) if high else None

    def _part(self) -> _Cost:
        """A character, set, escape, anchor or group."""
        sign = self._text[self._at]
        if sign == "(":
            return self._group()
        if sign == "[":
            self._skip_set()
            return _Cost(parts=1)
        if sign == "\\":
            return self._escape()
        self._at += 1
        return _Cost(tied=sign == "^") if sign in "^$" else _Cost(parts=1)

    def _group(self) -> _Cost:
        begin = self._at
        self._at += 1
        if self._next("?") and not self._next(":"):
            raise PatternError(begin, "of the groups with (? only (?:...) is taken, and (?i) at the start")
        branches = self._branches()
        self._at += 1
        if len(branches) == 1:
            return branches[0]
        return _Cost(
            sum(branch.ways for branch in branches),
            max(branch.parts for branch in branches),
            max(branch.far for branch in branches),
            max(branch.near for branch in branches),
            True,
            all(branch.tied for branch in branches),
        )

    def _escape(self) -> _Cost:
        sign = self._text[self._at + 1]
        if sign.isdigit() or sign == "N":
            raise PatternError(self._at, "references backwards, and characters by number or name, are not taken")
        found = _CODE_POINT.match(self._text, self._at)
        self._at = found.end() if found else self._at + 2
        return _Cost(tied=sign == "A") if sign in "AZbB" else _Cost(parts=1)

    def _skip_set(self) -> None:
        self._at += 1
        self._next("^")
        self._next("]")  # the first one is a character
        while self._text[self._at] != "]":
            self._at += 2 if self._text[self._at] == "\\" else 1
        self._at += 1

    def _next(self, sign: str) -> bool:
        if self._text.startswith(sign, self._at):
            self._at += 1
            return True
        return False
