"""What the page says of patient numbers."""

from pathlib import Path

import pytest

from engine.config.load import Site, load_site
from engine.features.results.service import in_words
from tests.support.sites import CHANNEL_YAML, make_site

CHANNEL = "haematology"


def site(folder: Path, answer: str = "") -> Site:
    text = CHANNEL_YAML + (f"patient_numbers: {answer}\n" if answer else "")
    return load_site(make_site(folder, channels={"a.yaml": text}))


def said(site: Site, *, received: int = 0, asked: int = 0, seeming: int = 0) -> list[str]:
    return list(in_words(site, {(CHANNEL, ""): {"received": received, "asked_person": asked}}, seeming))


def test_the_question_is_on_the_page_once_results_have_come_and_until_it_is_answered(tmp_path: Path) -> None:
    assert said(site(tmp_path)) == []
    (line,) = said(site(tmp_path), received=1)
    assert line.startswith("nothing says whether patient numbers last (haematology)")
    assert said(site(tmp_path, "lasting"), received=1) == said(site(tmp_path, "counter"), received=1) == []


@pytest.mark.parametrize(
    ("received", "asked", "told"), [(1000, 11, True), (1000, 10, False), (5, 1, False), (5, 2, True)]
)
def test_more_than_one_conflict_in_a_hundred_messages_is_a_finding_of_its_own(
    tmp_path: Path, received: int, asked: int, told: bool
) -> None:
    lines = said(site(tmp_path, "lasting"), received=received, asked=asked)
    assert [f"{asked} of {received} messages today name another person" in line for line in lines] == [True] * told


def test_who_is_to_be_confirmed_is_counted(tmp_path: Path) -> None:
    (line,) = said(site(tmp_path, "lasting"), seeming=3)
    assert line == "the same person as it seems, by another name or birth date: 3 (labrelay held persons)"
