"""Qualitative controls: what is expected, or not. They have no z, and Westgard's rules count nothing of them. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence

from engine.features.quality_control.rules.lots import folded
from engine.features.quality_control.rules.westgard import (
    POINT,
    Judgement,
    Point,
    RuleSet,
    Verdict,
    Violation,
    judge,
)

UNEXPECTED = "not expected"  # the one rule; it rejects
_WORST_FIRST = (Verdict.REJECT, Verdict.NOT_EVALUATED, Verdict.WARN, Verdict.ACCEPT)


def judge_each(
    points: Sequence[Point],
    rules: RuleSet,
    known: Collection[tuple[str, str]],
    expected: Mapping[int, frozenset[str]],
    past: Collection[int] = (),
) -> Judgement:
    """Judge the points of one test, each by what its target is: a run has the worst verdict of the two kinds.

    Args:
        expected: by number of a qualitative point; the others have numbers.
    """
    if not expected:
        return judge(points, rules, known, past)
    numbers: list[Point] = []
    is_reset = False
    for one in points:
        is_reset = is_reset or one.reset
        if one.number not in expected:
            numbers.append(one._replace(reset=is_reset))
            is_reset = False
    words = judge_expected([one for one in points if one.number in expected], expected)
    counted = judge(numbers, rules, known, past)
    runs: dict[int, Verdict] = {}
    for run in dict.fromkeys(one.run for one in points):
        left = {one.number in expected for one in points if one.run == run and not one.excluded}
        said = {(words if is_words else counted).runs[run] for is_words in left}
        runs[run] = next((one for one in _WORST_FIRST if one in said), Verdict.NOT_EVALUATED)
    return Judgement(tuple(sorted(words.violations + counted.violations, key=_place(points))), runs)


def _place(points: Sequence[Point]) -> Callable[[Violation], int]:
    places = {one.number: place for place, one in enumerate(points)}
    return lambda found: places[found.at]


def judge_expected(points: Sequence[Point], expected: Mapping[int, frozenset[str]]) -> Judgement:
    """Judge qualitative points of one test.

    Args:
        expected: by number of the point.
    """
    counted = [one for one in points if not one.excluded]
    wrong = {
        one.number: Violation(one.number, UNEXPECTED, POINT, (one.number,))
        for one in counted
        if expected[one.number].isdisjoint(map(folded, (one.value, *one.value.split("^"))))
    }
    runs: dict[int, Verdict] = {}
    for run in dict.fromkeys(one.run for one in points):
        mine = [one.number for one in counted if one.run == run]
        if any(number in wrong for number in mine):
            runs[run] = Verdict.REJECT
        else:
            runs[run] = Verdict.ACCEPT if mine else Verdict.NOT_EVALUATED
    return Judgement(tuple(wrong.values()), runs)
