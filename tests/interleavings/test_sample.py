"""A sample of random interleavings; `python -m tests.interleavings` plays ten thousand."""

from pathlib import Path

import pytest

from tests.interleavings.several import play

SEED = 1
COUNT = 150


@pytest.mark.slow
def test_no_tube_gets_the_orders_of_another_and_none_is_lost_doubled_or_silent(tmp_path: Path) -> None:
    counts, broken = play([f"{SEED}/{number}" for number in range(COUNT)], tmp_path)
    assert broken == []
    assert counts["interleavings"] == COUNT
    assert min(counts["answers"], counts["orders told"], counts["results"], counts["restarts"]) > COUNT // 4
