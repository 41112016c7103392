"""Histories of samples by calls: they end as through the daemon, and a program without a judge breaks them."""

import asyncio
from pathlib import Path

import pytest

from engine.features.results.rows import applying
from tests.histories.product import ROOT
from tests.histories.samples.draw import history
from tests.histories.samples.known import KNOWN
from tests.histories.samples.play import Played, play_called

SEEDS = tuple(seed for seed in range(32) if not history(seed).has_orders)
RAW = tuple(seed for seed, *_ in KNOWN)


def played(folder: Path, *seeds: int) -> dict[int, Played]:
    some = asyncio.run(play_called(tuple(map(history, seeds)), ROOT, folder))
    return {one.history.seed: one for one in some}


def test_what_is_known_to_be_broken_is_broken_by_calls_and_nothing_else(tmp_path: Path) -> None:
    found = played(tmp_path, *SEEDS, *RAW)
    assert {seed: "".join(sorted(one.questions)) for seed, one in found.items() if one.questions} == {
        seed: questions for seed, _, questions in KNOWN
    }


def test_a_program_that_judges_nothing_breaks_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "is_decided", lambda _: False)
    broken = {question for one in played(tmp_path, *SEEDS).values() for question in one.questions}
    assert {"a", "b", "c"} & broken
