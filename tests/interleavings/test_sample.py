"""A sample of random interleavings; `python -m tests.interleavings` plays ten thousand."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness.trial import Trial
from tests.interleavings.several import play

AT_ONCE = 50  # interleavings on one journal
# Each showed a fault once: a preliminary result is no proof that the analyzer has the order; after a hold two analyzers
# have an order, and it is not marked; a tube of a question for several is answered twice; an order that was never given
# is at the analyzer whose held result it has, and stays there while another one has a result of it.
# 401: a version that a change replaces has a result of its test.
FOUND = ("101/910", "101/2071", "102/2780", "20260302/82", "401/1603")


def test_no_tube_gets_the_orders_of_another_and_none_is_lost_doubled_or_silent(tmp_path: Path, trial: Trial) -> None:
    counts: Counter[str] = Counter()
    for part in trial.rounds(quick=3, long=4, soak=200, unit="times 50 interleavings"):
        seeds = [f"{trial.seed}/{number}" for number in range(part * AT_ONCE, (part + 1) * AT_ONCE)]
        counted, broken = play(seeds, tmp_path / str(part))
        assert broken == []
        counts += counted
    assert min(counts["answers"], counts["orders told"], counts["results"], counts["restarts"]) > AT_ONCE // 4
    trial.figures(
        answers=counts["answers"], orders=counts["orders told"], results=counts["results"],
        restarts=counts["restarts"], lost=0, twice_unmarked=0, wrong=0,
    )  # fmt: skip


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_is_played_again(tmp_path: Path, seed: str) -> None:
    _, broken = play([seed], tmp_path)
    assert broken == []
