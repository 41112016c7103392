"""Histories of what makers put into other places: they break nothing, and do where the program knows less of them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.mapping import program
from engine.mapping.message import certain_numbers
from tests.histories.product import ROOT
from tests.histories.samples.play import play_called
from tests.histories.samples.shapes import SHAPES, history

SEEDS = range(60)


def broken(folder: Path, name: str = "") -> dict[str, str]:
    """Shape -> questions."""
    drawn = tuple(one for one in map(history, SEEDS) if one.name.startswith(name))
    played = asyncio.run(play_called(drawn, ROOT, folder))
    return {one.history.name: "".join(sorted(one.questions)) for one in played if one.questions}


def test_nothing_is_broken_and_every_shape_is_drawn(tmp_path: Path) -> None:
    drawn = [*map(history, SEEDS)]
    assert {one.name for one in drawn} == {f"{shape.name} {shape.life.__name__}" for shape in SHAPES}
    assert {one.output for one in drawn} == {"fhir", "csv", "json", "hl7"}
    assert broken(tmp_path) == {}


def yes(*_: object) -> bool:
    return True


def no(*_: object) -> bool:
    return False


@pytest.mark.parametrize(
    ("name", "module", "net", "without", "questions"),
    [
        ("zeros", certain_numbers, "is_tube", yes, "d"),
        ("row rows", program, "put_codes_in_place", no, "c"),
    ],
)
def test_without_a_net_more_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: object, net: str, without: Callable[..., bool],
    questions: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, net, without)
    assert questions in "".join(broken(tmp_path, name).values())
