"""Keys are described by the docstrings of their fields."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel

from engine.config import pack
from engine.config.channel import channel_model
from engine.config.destinations import destination
from engine.config.reading.problems import alternatives, description
from engine.config.sitewide import site_model
from engine.config.sources import source


class Base(BaseModel):
    one: str
    """The first,
    in two lines."""
    two: str = ""
    """The second."""
    three: str = ""


class Other(Base):
    two: Literal["a"] = "a"
    """Another second."""
    three: str = "x"


def test_a_description_is_the_docstring_of_the_field_where_it_is_declared_last() -> None:
    assert [description(Base, name) for name in ("one", "two", "three")] == [
        "The first, in two lines.",
        "The second.",
        "",
    ]
    assert [description(Other, name) for name in ("one", "two", "three")] == [
        "The first, in two lines.",
        "Another second.",
        "",
    ]
    assert description(Base, "four") == ""


def models(given: type[BaseModel], found: dict[type[BaseModel], None]) -> Iterator[type[BaseModel]]:
    """A model and all that its keys hold."""
    if given not in found:
        found[given] = None
        yield given
        for field in given.model_fields.values():
            for inner in alternatives(field.annotation).values():
                yield from models(inner, found)


def test_each_key_of_a_site_has_a_description() -> None:
    roots = (site_model(), channel_model(), pack.PackConfig, *destination.kinds().values(), *source.models().values())
    found: dict[type[BaseModel], None] = {}
    every = [model for root in roots for model in models(root, found)]
    assert len(every) > 30
    assert [
        f"{model.__name__}.{name}" for model in every for name in model.model_fields if not description(model, name)
    ] == []
