"""A file's model: the core's keys with those that features declare, which `labrelay help keys` has, too."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from engine.config.reading.values import Model

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Behind:
    """The place of a feature's key in its file: behind ``key`` of the core, and behind the features asked before."""

    key: str


def joined_model(core: type[M], parts: Iterable[type[Model]], **types: Any) -> type[M]:
    """The keys of ``core``, and those of ``parts`` at their places.

    Args:
        types: of keys of the core that features add to.

    Raises:
        ValueError: a key has no place.
    """
    parts = tuple(parts)
    names = dict.fromkeys(_in_order(core, parts), Any)
    # pydantic has fields in the order in which the innermost base declares them
    order = type(core.__name__, (Model,), {"__module__": __name__, "__annotations__": names})
    members: dict[str, Any] = {"__module__": core.__module__, "__doc__": core.__doc__, "__annotations__": types}
    members |= {name: core.model_fields[name] for name in types if not core.model_fields[name].is_required()}
    return type(core.__name__, (core, *parts, order), members)


def _in_order(core: type[Model], parts: Iterable[type[Model]]) -> list[str]:
    placed: dict[str, list[str]] = {}
    for part in parts:
        for name, known in part.model_fields.items():
            behind = next(mark.key for mark in known.metadata if isinstance(mark, Behind))
            if behind not in core.model_fields:
                raise ValueError(f"{name} is written behind {behind}, which is no key of {core.__name__}")
            placed.setdefault(behind, []).append(name)
    return [name for own in core.model_fields for name in (own, *placed.get(own, ()))]


def part(config: Model, keys: type[M]) -> M:
    """The keys of one feature, of a file's model."""
    assert isinstance(config, keys)
    return config


@dataclass(frozen=True, slots=True)
class Block:
    """The keys of a model, or of the parts of one, behind the first one's docstring.

    Attributes:
        skip: keys that are shown elsewhere.
        intro: with the docstring.
    """

    title: str
    models: Sequence[type[BaseModel]]
    skip: Collection[str] = ()
    intro: bool = True


@dataclass(frozen=True, slots=True)
class KeyHelp:
    """The keys of a feature.

    Attributes:
        blocks: by the key of the site's file that they are below, or by the part of the help that they are in.
        about: those keys of the site's file that are parts of their own, with a sentence or two.
    """

    blocks: Mapping[str, Sequence[Block]]
    about: Mapping[str, str] = field(default_factory=dict)
