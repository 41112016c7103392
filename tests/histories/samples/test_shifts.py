"""Shifts, and histories of materials, that found a kind of fault break nothing any more: by calls, and some of each
kind through the real daemon."""

import asyncio
import csv
from pathlib import Path

import pytest

from tests.histories.product import ROOT
from tests.histories.samples.draw import shift
from tests.histories.samples.materials import materials
from tests.histories.samples.play import Played, play, play_called

with Path(__file__).with_name("found.tsv").open(encoding="utf-8", newline="") as _file:
    ROWS = [(row["kind"], int(row["seed"])) for row in csv.DictReader(_file, delimiter="\t")]
FOUND = [(kind, (materials if kind == "material" else shift)(seed)) for kind, seed in ROWS]
KINDS = sorted({kind for kind, _ in FOUND})
LIVE = [history for kind in KINDS for history in [history for one, history in FOUND if one == kind][:3]]


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Played]:
    drawn = tuple(history for _, history in FOUND)
    return {one.history.seed: one for one in asyncio.run(play_called(drawn, ROOT, tmp_path_factory.mktemp("called")))}


@pytest.mark.parametrize("kind", KINDS)
def test_what_found_a_kind_breaks_nothing(kind: str, called: dict[int, Played]) -> None:
    assert [words for one, history in FOUND if one == kind for words in broken(called[history.seed])] == []


def test_nor_does_it_live(tmp_path: Path) -> None:
    assert [words for one in asyncio.run(play(tuple(LIVE), ROOT, tmp_path)) for words in broken(one)] == []


def broken(one: Played) -> list[str]:
    return [f"{one.history.seed} ({one.history.name}) {finding.question}: {finding.words}" for finding in one.findings]
