"""A sample of random interleavings; `python -m tests.interleavings` plays ten thousand."""

from pathlib import Path

import pytest

from tests.interleavings.several import play

SEED = 1
COUNT = 150
# Each showed a fault once: a preliminary result is no proof that the analyzer has the order; after a hold two analyzers
# have an order, and it is not marked; a tube of a question for several is answered twice.
FOUND = ("101/910", "101/2071", "102/2780")


@pytest.mark.slow
def test_no_tube_gets_the_orders_of_another_and_none_is_lost_doubled_or_silent(tmp_path: Path) -> None:
    counts, broken = play([f"{SEED}/{number}" for number in range(COUNT)], tmp_path)
    assert broken == []
    assert counts["interleavings"] == COUNT
    assert min(counts["answers"], counts["orders told"], counts["results"], counts["restarts"]) > COUNT // 4


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_is_played_again(tmp_path: Path, seed: str) -> None:
    _, broken = play([seed], tmp_path)
    assert broken == []
