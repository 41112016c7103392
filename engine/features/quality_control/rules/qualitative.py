"""Qualitative controls: what is expected, or not. They have no z, and Westgard's rules count nothing of them. Pure."""

from collections.abc import Collection, Mapping, Sequence

from engine.features.quality_control.rules.lots import folded
from engine.features.quality_control.rules.westgard import POINT, Judgement, Point, Verdict, Violation

UNEXPECTED = "not expected"  # the one rule; it rejects


def judge_expected(points: Sequence[Point], expected: Mapping[int, Collection[str]]) -> Judgement:
    """Judge the points of one test.

    Args:
        expected: by number of the point; of one that has none, or no value, the run is not evaluated.
    """
    counted = [one for one in points if not one.excluded]
    wrong = {
        one.number: Violation(one.number, UNEXPECTED, POINT, (one.number,))
        for one in counted
        if one.number in expected and folded(one.value) not in expected[one.number]
    }
    runs: dict[int, Verdict] = {}
    for run in dict.fromkeys(one.run for one in points):
        mine = [one.number for one in counted if one.run == run]
        if any(number in wrong for number in mine):
            runs[run] = Verdict.REJECT
        elif not mine or any(number not in expected for number in mine):
            runs[run] = Verdict.NOT_EVALUATED
        else:
            runs[run] = Verdict.ACCEPT
    return Judgement(tuple(wrong.values()), runs)
