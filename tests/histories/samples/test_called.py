"""Histories of samples, and shifts, by calls: they break nothing, and do where the program judges less."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from engine.features.quality_control.rows import closing
from engine.features.results.rows import applying
from tests.histories.product import ROOT
from tests.histories.samples.draw import history, shift
from tests.histories.samples.duties import ASTM, HL7
from tests.histories.samples.facts import History
from tests.histories.samples.play import play_called

COPIES = (1664, 1414, 97)
SHIFTS = (1, 2, 3, 4, 5, 7, 8, 10, 11, 13, 21, 36, 37, 45, 55, 57, 77, 82, 99, 125, 176, 273, 494, 860)
SEEDS = (*(seed for seed in range(32) if not history(seed).has_orders), *COPIES)
is_decided = applying.is_decided


def broken(folder: Path, seeds: Iterable[int] = SEEDS, draw: Callable[[int], History] = history) -> dict[int, str]:
    """Seed -> questions."""
    played = asyncio.run(play_called(tuple(map(draw, seeds)), ROOT, folder))
    return {one.history.seed: "".join(sorted(one.questions)) for one in played if one.questions}


def test_nothing_is_broken(tmp_path: Path) -> None:
    assert broken(tmp_path) == {}


def test_nothing_is_broken_in_shifts_that_break_nothing(tmp_path: Path) -> None:
    """Of every kind of output and of every duty."""
    drawn = [*map(shift, SHIFTS)]
    assert {output for one in drawn for output in one.outputs} == {*HL7, *ASTM}
    assert broken(tmp_path, SHIFTS, shift) == {}


def test_without_what_a_failed_control_does_more_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "closed_tests", lambda *_: {})
    assert "f" in "".join(broken(tmp_path, SHIFTS, shift).values())


def test_copies_that_pass_break_what_they_are_drawn_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "is_decided", lambda routed: not routed.is_copy and is_decided(routed))
    assert broken(tmp_path) == {1664: "a", 1414: "ac", 97: "ach"}


def test_without_a_judge_more_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "is_decided", lambda _: False)
    assert broken(tmp_path).keys() > {*COPIES}
