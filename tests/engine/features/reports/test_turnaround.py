"""Turnaround times are rounded as the model rounds them, and days add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.features.reports.rules import LONGEST_S, CountSum, ResultCounts, rounded_s
from tests.support.report_model import nearest_rank, shown


@pytest.mark.parametrize("seconds", [0, 1, 119, 120, 121, 179, 180, 86_399, 86_400, 90_000, 93_599, LONGEST_S])
def test_times_are_rounded_as_the_model_does(seconds: int) -> None:
    assert rounded_s(seconds) == shown(seconds)


@given(st.lists(st.integers(0, LONGEST_S), min_size=1), st.lists(st.integers(0, LONGEST_S)))
def test_days_add_up_and_come_back_from_json(one: list[int], two: list[int]) -> None:
    parts = [ResultCounts(final=len(times)) for times in (one, two)]
    for part, times in zip(parts, (one, two), strict=True):
        for seconds in times:
            part.stages["collected-resulted"].note(1, 1 + seconds * 1_000_000)
    summed = CountSum()
    for part in parts:
        summed.add(part.as_json())
    found, joined = summed.counts(), ResultCounts()
    for part in parts:
        joined.add(part)
    assert found == joined == ResultCounts.of_json(joined.as_json())
    assert found.final == len(one + two)
    for percent in (50, 90, 95):
        at_rank = nearest_rank([shown(seconds) for seconds in one + two], percent)
        assert found.stages["collected-resulted"].percentile_s(percent) == at_rank
