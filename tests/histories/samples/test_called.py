"""Histories of samples by calls: they break nothing, and do where the program judges nothing, or not all it sends."""

import asyncio
from pathlib import Path

import pytest

from engine.features.results.rows import applying
from tests.histories.product import ROOT
from tests.histories.samples.draw import history
from tests.histories.samples.play import play_called

COPIES = (1664, 1414, 97)
SEEDS = (*(seed for seed in range(32) if not history(seed).has_orders), *COPIES)
is_decided = applying.is_decided


def broken(folder: Path) -> dict[int, str]:
    """Seed -> questions."""
    played = asyncio.run(play_called(tuple(map(history, SEEDS)), ROOT, folder))
    return {one.history.seed: "".join(sorted(one.questions)) for one in played if one.questions}


def test_nothing_is_broken(tmp_path: Path) -> None:
    assert broken(tmp_path) == {}


def test_copies_that_pass_break_what_they_are_drawn_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "is_decided", lambda routed: not routed.is_copy and is_decided(routed))
    assert broken(tmp_path) == {1664: "a", 1414: "ac", 97: "ac"}


def test_without_a_judge_more_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "is_decided", lambda _: False)
    assert broken(tmp_path).keys() > {*COPIES}
