"""Dataclasses of ours are equal, hashed and shown as the standard ones, by shared code."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest

from engine.feature import Feature, Table
from engine.model.process import shared_methods

STANDARD = shared_methods._standard


def plain() -> type:
    class Plain:
        one: object
        other: object = 2

    return Plain


def single() -> type:
    class Single:
        one: object

    return Single


def empty() -> type:
    class Empty:
        pass

    return Empty


def secret() -> type:
    class Secret:
        one: object
        key: object = field(default="secret", repr=False)
        cache: object = field(default=None, compare=False)
        unhashed: object = field(default=0, hash=False)

    return Secret


def with_own_equal() -> type:
    class Own:
        one: object

        def __eq__(self, other: object) -> bool:
            return True

    return Own


def with_own_repr() -> type:
    class Shown:
        one: object

        def __repr__(self) -> str:
            return "shown"

    return Shown


HOW = (
    {},
    {"frozen": True},
    {"slots": True, "frozen": True, "kw_only": True},
    {"eq": False},
    {"repr": False},
    {"order": True},
)
MADE = (plain, single, empty, secret, with_own_equal, with_own_repr)


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_each_is_equal_hashed_and_shown_as_the_standard_one(make: Callable[[], type], how: dict[str, Any]) -> None:
    ours = make()
    ours.__module__ = "engine.made"
    seen = [_seen(decorate(cls, **how)) for decorate, cls in ((dataclasses.dataclass, ours), (STANDARD, make()))]
    assert seen[0] == seen[1]


def _seen(cls: Any) -> list[object]:
    names = [one.name for one in dataclasses.fields(cls)]
    first = names[:1]
    made = [cls(**dict.fromkeys(first, value)) for value in (1, 1, 2, math.nan, math.nan)]
    if "cache" in names:
        made += [cls(one=1, cache=5), cls(one=1, unhashed=5), cls(one=1, key="other")]
    seen: list[object] = [[one == other for other in made] for one in made]
    seen += [made[0] == object(), made[0].__eq__(object()), cls.__hash__ is None, cls.__hash__ is object.__hash__]
    try:
        seen.append([hash(one) == hash(other) for one in made for other in made])
    except TypeError:
        seen.append("not hashed")
    if cls.__repr__ is not object.__repr__:
        seen += [repr(one) for one in made]
    return seen


def test_one_within_itself_is_shown_as_the_standard_one() -> None:
    ours = plain()
    ours.__module__ = "engine.made"
    shown = []
    for made in (dataclasses.dataclass(ours), STANDARD(plain())):
        one = made(1)
        one.other = one
        shown.append(repr(one))
    assert shown[0] == shown[1]


def test_a_class_that_inherits_how_it_is_shown_shows_no_field_of_its_own() -> None:
    shared = dataclasses.dataclass(frozen=True)(
        type("Base", (), {"__module__": "engine.x", "__annotations__": {"one": int}})
    )
    key = dataclasses.dataclass(frozen=True, repr=False)(
        type("Key", (shared,), {"__module__": "engine.x", "__annotations__": {"secret": str}})
    )
    assert repr(key(1, "never shown")) == "Key(one=1)"


def test_classes_of_ours_share_their_code_and_those_of_other_packages_stay() -> None:
    assert Feature.__eq__.__code__ is Table.__eq__.__code__
    assert Feature.__hash__.__code__ is Table.__hash__.__code__
    theirs = [dataclasses.dataclass(plain()) for _ in range(2)]
    assert theirs[0].__eq__.__code__ is not theirs[1].__eq__.__code__
