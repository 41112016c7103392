"""Some histories through the real daemon, and all that were ever found; `make histories` plays more."""

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest

from tests.histories.generate import batch
from tests.histories.history import Batch, History, Weather, from_json
from tests.histories.orders_model import EVERY
from tests.histories.play import Ending, play
from tests.histories.product import ROOT

HOLDS = frozenset(EVERY)  # every history must keep these
COUNT = 50
FOUND = Path(__file__).with_name("found")


@pytest.mark.parametrize("number", [0, 1])
def test_random_histories_keep_what_must_hold(tmp_path: Path, number: int) -> None:
    assert not broken(asyncio.run(play(batch(2024, number, COUNT // 2), ROOT, tmp_path)))


def test_histories_that_broke_something_are_kept(tmp_path: Path) -> None:
    """Those that ask for the same weather are played side by side."""
    together: dict[tuple[Weather, ...], list[History]] = defaultdict(list)
    for path in sorted(FOUND.glob("*.json")):
        kept = from_json(path.read_text(encoding="utf-8"))
        together[kept.weather] += kept.histories
    assert together
    for number, (weather, histories) in enumerate(together.items()):
        one = Batch(histories=tuple(histories), weather=weather)
        assert not broken(asyncio.run(play(one, ROOT, tmp_path / str(number))))


def broken(endings: list[Ending]) -> list[str]:
    return [
        f"{ending.history.name}: {fault.invariant}: {fault.words}"
        for ending in endings
        for fault in ending.faults
        if fault.invariant in HOLDS
    ]
