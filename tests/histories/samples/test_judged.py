"""Histories before the judge alone: it breaks none of the questions, and of a plain history it holds nothing.

`python -m tests.histories.samples.test_judged 0 20000` plays many.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine.succession.judge import judging, matching, reading, taking_back
from engine.succession.judge.samples import Sample
from engine.succession.judge.words import Decision
from engine.succession.steps import Step
from tests.histories.samples.draw import history
from tests.histories.samples.hard import hard
from tests.histories.samples.judged import Bench, questions

COUNT = 400


def broken(benches: Iterable[Bench]) -> list[str]:
    return [
        f"{bench.history.seed} ({bench.history.name}, {bench.history.output}) {finding.question}: {finding.words}"
        for bench in benches
        for finding in questions(bench)
    ]


def both(seeds: Iterable[int]) -> Iterator[Bench]:
    """Of samples, and harder ones."""
    for seed in seeds:
        yield Bench(history(seed))
        yield hard(seed)


def test_nothing_is_broken_by_histories_of_samples() -> None:
    assert broken(Bench(history(seed)) for seed in range(COUNT)) == []


def test_nothing_is_broken_by_harder_ones() -> None:
    assert broken(hard(seed) for seed in range(COUNT)) == []


@pytest.mark.parametrize(
    ("module", "name", "instead"),
    [(taking_back, "find", lambda *_: taking_back.Found()),
     (matching, "compare", lambda *_: Sample.SAME), (matching, "compare", lambda *_: Sample.OTHER),
     (judging, "follow", lambda version, *_: Step("plain", version.said)),
     (taking_back, "is_person", lambda *_: True), (reading, "role_of", lambda *_, **__: "patient")],
)  # fmt: skip
def test_nor_without_another(module: Any, name: str, instead: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, name, instead)
    assert any(map(questions, both(range(COUNT))))


@pytest.mark.parametrize("rule", ["_refused", "_clock", "_culture", "_matched", "gone"])
def test_without_a_rule_something_is(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a history which finds nothing is no proof of itself."""
    instead = {"_matched": lambda case, new, *_: Decision(new.place, "new", new.version.said)}
    empty: tuple[()] = ()
    nothing = (lambda *_: empty) if rule == "gone" else lambda *_: None
    monkeypatch.setattr(judging._Case, rule, instead.get(rule, nothing))
    assert any(map(questions, both(range(2 * COUNT))))


def test_the_same_seed_is_the_same_history() -> None:
    assert hard(7).history == hard(7).history != replace(hard(7).history, seed=8)


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    found = broken(both(range(first, last)))
    print("\n".join([*found, f"{len(found)} of {2 * (last - first)} histories and their questions"]))
