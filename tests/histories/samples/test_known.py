"""Histories of samples through the real daemon: what is known to be broken still is, and nothing else is."""

import asyncio

import pytest

from tests.histories.product import ROOT
from tests.histories.samples.draw import history
from tests.histories.samples.known import FAULTS, KNOWN, PLAYED
from tests.histories.samples.play import Played, play

TABLE = {seed: (fault, questions) for seed, fault, questions in KNOWN}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[Played]:
    return asyncio.run(play(tuple(map(history, PLAYED)), ROOT, tmp_path_factory.mktemp("samples")))


def test_known_faults_are_still_there_and_what_is_mended_leaves_the_table(played: list[Played]) -> None:
    mended = {
        one.history.seed: (TABLE[one.history.seed], sorted(one.questions))
        for one in played
        if one.history.seed in TABLE and not set(TABLE[one.history.seed][1]) <= one.questions
    }
    assert not mended


def test_nothing_else_is_broken(played: list[Played]) -> None:
    assert len(played) == len(PLAYED)
    new = [
        f"{one.history.seed} ({one.history.name}, {one.history.output}) {finding.question}: {finding.words}"
        for one in played
        for finding in one.findings
        if finding.question not in TABLE.get(one.history.seed, (0, ""))[1]
    ]
    assert not new


def test_each_known_fault_is_what_its_history_is_for() -> None:
    assert len(TABLE) == len(KNOWN)
    assert {fault for fault, _ in TABLE.values()} <= FAULTS.keys()
    for seed, (fault, _) in TABLE.items():
        assert history(seed).fault == fault
