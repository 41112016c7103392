"""The model of a file, put together of the core's keys and those of features."""

from typing import Annotated

import pytest

from engine.config.reading.joining import Behind, joined_model, part
from engine.config.reading.values import Model


class File(Model):
    """A file."""

    first: str
    second: str | int = "usual"
    third: str = ""


class Keys(Model):
    own: Annotated[str, Behind("first")] = "of a feature"
    other: Annotated[str, Behind("second")] = ""


class More(Model):
    more: Annotated[str, Behind("first")] = ""


class Lost(Model):
    lost: Annotated[str, Behind("nothing")] = ""


def test_each_key_of_a_feature_stands_behind_the_one_that_it_names() -> None:
    made = joined_model(File, (Keys, More))
    assert list(made.model_fields) == ["first", "own", "more", "second", "other", "third"]
    assert (made.__name__, made.__doc__) == ("File", "A file.")


def test_a_part_of_the_file_is_read_as_its_feature_declares_it() -> None:
    made = joined_model(File, (Keys,)).model_validate({"first": "a"})
    assert part(made, Keys).own == "of a feature"
    assert part(made, File).first == "a"
    with pytest.raises(AssertionError):
        part(made, More)


def test_a_key_of_the_core_may_have_another_type_and_keeps_its_default() -> None:
    made = joined_model(File, (), second=list[str], first=int)
    assert made.model_validate({"first": 1}).second == "usual"
    assert made.model_validate({"first": 1, "second": ["b"]}).second == ["b"]
    assert list(made.model_fields) == ["first", "second", "third"]


def test_a_key_behind_one_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="lost is written behind nothing, which is no key of File"):
        joined_model(File, (Lost,))
