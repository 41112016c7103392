"""Random histories of two laboratories at ABDM: more by ``LABRELAY_ABDM_HISTORIES=1000``, from ``LABRELAY_SEED``."""

import os
from pathlib import Path

import pytest

from engine.store.integrity.verify import run as verify
from tests.histories.abdm.play import kind, play

COUNT = int(os.environ.get("LABRELAY_ABDM_HISTORIES", "3"))
FIRST = int(os.environ.get("LABRELAY_SEED", "1"))
STEPS = 40
LEAPS = (8002, 8004, 8006)  # a clock that leaps while pages and calls are put off


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
async def test_each_app_shows_what_it_may_and_in_the_end_all_that_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    history = await play(tmp_path, monkeypatch, str(seed), STEPS, **kind(seed))
    assert verify(history.site.folder, deep=True) == []


@pytest.mark.parametrize("seed", LEAPS)
async def test_a_clock_that_leaps_puts_nothing_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    history = await play(tmp_path, monkeypatch, str(seed), 60, **kind(seed))
    assert history.done["leap"]
    assert verify(history.site.folder, deep=True) == []
