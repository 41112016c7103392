"""Histories by calls: kept ones and new ones break nothing, and a program without its judge breaks something."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from engine.features.results.rows import applying
from tests.histories.generate import batch
from tests.histories.history import from_json
from tests.histories.play import Ending, play
from tests.histories.product import ROOT

KEPT = ("persons-mixed-called.json",)
COUNT = 40


def broken(endings: list[Ending]) -> list[str]:
    return [f"{one.history.name}: {fault.invariant} {fault.words}" for one in endings for fault in one.faults]


def drawn(folder: Path) -> list[Ending]:
    return asyncio.run(play(batch(7301, 0, COUNT, orders=False), ROOT, folder, called=True))


def test_new_histories_break_nothing(tmp_path: Path) -> None:
    endings = drawn(tmp_path)
    assert sum(len(one.seen.rows) for one in endings) > COUNT
    assert broken(endings) == []


@pytest.mark.parametrize("name", KEPT)
def test_kept_ones_break_nothing(name: str, tmp_path: Path) -> None:
    kept = from_json((Path(__file__).parent / "found" / name).read_text(encoding="utf-8"))
    assert broken(asyncio.run(play(kept, ROOT, tmp_path, called=True))) == []


def test_without_the_judge_something_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> bool:
        return False

    monkeypatch.setattr(applying, "is_decided", none)
    assert broken(drawn(tmp_path))
