"""Charts: marks in proportion, in the width of the drawing, with the numbers of the table beside them."""

import pytest

from engine.views.charts import HEAT, _scale, bars, by_hour, curves, heat

HOURS = [f"{n:02}" for n in range(24)]


def test_bars_are_in_proportion_before_the_band_that_is_usual() -> None:
    one = bars(
        "words", ("Hour", "Messages", "usual"), ("08", "09", "10"), (100, 50, None), bands=((60, 90), None, (1, 1))
    )
    band, *_ = (mark for mark in one.marks if mark.kind == "band")
    full, half = (mark for mark in one.marks if mark.kind == "bars")
    assert full.height == 2 * half.height == one.height - 10
    assert (full.y + full.height, half.y + half.height) == (one.height, one.height), "they stand on the axis"
    assert full.y < band.y < half.y, "90 is between 50 and 100"
    assert (full.says, band.says) == ("08: 100", "08: 60-90")
    assert [mark.height for mark in one.marks if mark.says == "10: 1-1"] == [1.0], "a thin band can be seen"
    assert [list(row) for row in one.rows] == [["08", "100", "60-90"], ["09", "50", "-"], ["10", "-", "1-1"]]
    assert one.legend == [("band", "usual")]
    assert all(0 <= mark.x <= mark.x + mark.width <= 100.01 for mark in one.marks)


def test_the_hour_that_is_not_over_is_drawn_in_another_way() -> None:
    one = by_hour(HOURS, [5] * 10 + [None] * 14, [None] * 24, str)
    assert [mark.kind for mark in one.marks] == ["bars"] * 9 + ["now"]
    assert [label.text for label in one.labels if label.kind.startswith("x")] == HOURS[::3]
    assert [label.text for label in one.labels if label.kind == "x"] == HOURS[::6], "on a phone every second one"


def test_a_line_has_a_gap_where_there_is_no_value() -> None:
    one = curves("words", ("Day", "Median", "90 %"), ("1", "2", "3", "4"), ((30, None, 40, 50), (60, 60, 60, 60)))
    kinds = [kind for kind, *_ in one.lines]
    assert (kinds.count("l1"), kinds.count("l2")) == (1, 3)
    assert [mark.kind for mark in one.marks] == ["p50"] * 3 + ["p90"] * 4, "each line has a shape of its own"
    assert [row[1] for row in one.rows] == ["30", "-", "40", "50"]


def test_a_map_has_a_step_for_each_fifth_and_none_for_nothing() -> None:
    grid = [[0] * 24 for _ in range(7)]
    grid[0][8:13] = [1, 20, 60, 80, 100]
    one = heat("words", ("Hour", *HOURS), tuple("MTWTFSS"), grid)
    assert [mark.kind for mark in one.marks[8:13]] == ["h1", "h1", "h3", "h4", f"h{HEAT}"]
    assert {mark.kind for mark in one.marks[24:]} == {"h0"}
    assert one.rows[12] == ("12", "100", *["0"] * 6)
    assert list(one.heads) == ["Hour", *"MTWTFSS"]


@pytest.mark.parametrize("most", [0, 1, 3, 4, 7, 9, 10, 99, 121, 8780, 1_000_000])
def test_a_scale_has_a_few_round_numbers_and_keeps_all_in_sight(most: int) -> None:
    ticks, at = _scale([most, 0], 118)
    assert 1 <= len(ticks) <= 5
    assert all(str(tick).rstrip("0") in ("", *map(str, range(1, 10)), "25", "15") for tick in ticks), ticks
    assert at(0) == 118
    assert at(max(1, most)) == 10
