"""The contract of features: each value that one declares is there, and each question of the core has its place."""

from dataclasses import fields, replace
from graphlib import CycleError
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import pytest

import engine
from engine import feature
from engine.feature import Feature, Hook, Table, features, joined

DECLARED = [one.name for one in fields(Feature) if one.name != "after"]
VALUES = [(name, what, getattr(one, what)) for name, one in features().items() for what in DECLARED]


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> dict[str, Feature]:
    """Features of a test in place of those that there are."""
    found: dict[str, Feature] = {}
    monkeypatch.setattr(feature, "features", lambda: found)
    monkeypatch.setattr(feature, "_answers", feature._answers.__wrapped__)
    return found


@pytest.mark.parametrize(("name", "what", "value"), [one for one in VALUES if isinstance(one[2], str) and one[2]])
def test_each_value_that_a_feature_declares_is_in_its_folder(name: str, what: str, value: str) -> None:
    module, _, member = value.partition(":")
    assert hasattr(import_module(f"engine.features.{name}.{module}"), member)


def test_each_feature_comes_behind_those_that_it_comes_after() -> None:
    names = list(features())
    for name, one in features().items():
        assert all(names.index(other) < names.index(name) for other in one.after)


def test_two_that_come_after_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    todo, alerts = import_module("engine.features.todo"), import_module("engine.features.alerts")
    monkeypatch.setattr(todo, "FEATURE", replace(todo.FEATURE, after=("alerts",)))
    monkeypatch.setattr(alerts, "FEATURE", replace(alerts.FEATURE, after=("todo",)))
    with pytest.raises(CycleError):
        features.__wrapped__()


def test_a_question_that_no_feature_can_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="a feature declares no colours"):
        Hook[Any]("colours")


def test_the_answers_are_those_of_the_features_that_have_one(declared: dict[str, Feature]) -> None:
    tables = Feature(tables="rows:TABLES")
    declared |= {"alerts": Feature(), "codes": tables, "events": tables}
    hook: Hook[tuple[Table, ...]] = Hook("tables")
    assert list(hook.by_feature()) == ["codes", "events"]
    assert [[one.name for one in each] for each in hook.each()] == [["correction"], ["webhook"]]
    assert [one.name for one in joined(hook)] == ["correction", "webhook"]


def test_each_question_is_asked_in_one_place() -> None:
    """Two would have two types, and no module asks for what no feature can declare."""
    asked: dict[str, list[str]] = {}
    for found in walk_packages(engine.__path__, "engine."):
        if ".features." in found.name or found.name == "engine.__main__":
            continue
        for name in _hooks(import_module(found.name)):
            asked.setdefault(name, []).append(found.name)
    assert {name: where for name, where in asked.items() if len(where) > 1} == {}
    assert set(asked) <= set(DECLARED)


def _hooks(module: ModuleType) -> list[str]:
    imported = {name for name, one in vars(module).items() if isinstance(one, Hook)}
    text = module.__loader__.get_source(module.__name__) or ""  # type: ignore[union-attr]  # of a module of a file
    return [vars(module)[name].name for name in imported if f"{name}: Hook[" in text]
