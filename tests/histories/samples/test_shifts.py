"""Shifts that found a kind of fault break nothing any more: by calls, and some of each kind through the real daemon."""

import asyncio
import csv
from pathlib import Path

import pytest

from tests.histories.product import ROOT
from tests.histories.samples.draw import shift
from tests.histories.samples.play import Played, play, play_called

with Path(__file__).with_name("found.tsv").open(encoding="utf-8", newline="") as _file:
    FOUND = [(row["kind"], int(row["seed"])) for row in csv.DictReader(_file, delimiter="\t")]
KINDS = sorted({kind for kind, _ in FOUND})
LIVE = [seed for kind in KINDS for seed in [seed for one, seed in FOUND if one == kind][:3]]


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Played]:
    drawn = tuple(shift(seed) for _, seed in FOUND)
    played = asyncio.run(play_called(drawn, ROOT, tmp_path_factory.mktemp("called")))
    return {one.history.seed: one for one in played}


@pytest.mark.parametrize("kind", KINDS)
def test_what_found_a_kind_breaks_nothing(kind: str, called: dict[int, Played]) -> None:
    assert [words for one, seed in FOUND if one == kind for words in broken(called[seed])] == []


def test_nor_does_it_live(tmp_path: Path) -> None:
    played = asyncio.run(play(tuple(map(shift, LIVE)), ROOT, tmp_path))
    assert [words for one in played for words in broken(one)] == []


def broken(one: Played) -> list[str]:
    return [f"{one.history.seed} ({one.history.name}) {finding.question}: {finding.words}" for finding in one.findings]
