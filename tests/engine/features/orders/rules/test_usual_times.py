"""When an order is late: by the history of its test on its analyzer, as a table; odd results do not move it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.features.orders.rules.order_rules import (
    DEFAULT_LATE_US,
    ENOUGH,
    FLOOR_LATE_US,
    MINUTE_US,
    NEWEST,
    UsualTime,
    usual_time,
)

M = MINUTE_US


@pytest.mark.parametrize(
    ("took", "usual"),
    [
        ([], UsualTime(0, 120 * M)),
        ([18 * M] * (ENOUGH - 1), UsualTime(0, 120 * M)),  # too little history
        ([18 * M] * ENOUGH, UsualTime(18 * M, 36 * M)),
        ([M // 2] * ENOUGH, UsualTime(M // 2, 10 * M)),  # a quick analyzer
        ([3000 * M] * NEWEST, UsualTime(3000 * M, 6000 * M)),  # a culture
        ([18 * M] * 28 + [900 * M] * 2, UsualTime(18 * M, 36 * M)),  # two tubes that stood overnight
        ([18 * M] * 28 + [0] * 2, UsualTime(18 * M, 36 * M)),
        ([10 * M] * 15 + [30 * M] * 15, UsualTime(30 * M, 60 * M)),
    ],
)
def test_the_usual_time_and_when_an_order_is_late(took: list[int], usual: UsualTime) -> None:
    found = usual_time(took)
    assert (found, found.late_after_us(stat=False), found.late_after_us(stat=True)) == (
        usual,
        usual.late_us,
        usual.late_us // 2,
    )


@given(st.lists(st.integers(0, 10_000 * M), max_size=NEWEST))
def test_no_order_is_late_before_nine_of_ten_results_came(took: list[int]) -> None:
    found = usual_time(took)
    assert found.late_us >= FLOOR_LATE_US
    if len(took) < ENOUGH:
        assert found == UsualTime(0, DEFAULT_LATE_US)
    else:
        assert sum(one <= found.late_us for one in took) >= len(took) * 9 // 10
        assert min(took) <= found.usual_us <= found.late_us
