"""What a result is known by, beside its own key."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from engine.succession.judge.words import Said
from engine.succession.steps import MINUTE

_One = TypeVar("_One")
_Key = TypeVar("_Key", bound=Hashable)
ORGANISM = 3  # its place in `named`: an isolate that gets another name keeps its number


def unit(said: Said) -> tuple[str, ...]:
    """Of which culture it is, in its message."""
    return said.person, said.number, said.panel, said.tube


def named(said: Said) -> tuple[str, ...]:
    """What receivers without ids know a result by, beside its patient."""
    return said.number, said.test, said.sub, said.organism


def measured(said: Said) -> tuple[Hashable, ...]:
    """What a measurement is known by, whatever the number of its order."""
    version = said.version
    own = said.message, said.place
    time = version.time if len(version.time) >= MINUTE else own
    return said.channel, said.person, said.panel, said.test, said.sub, said.organism, version.content, time


def grouped(some: Iterable[_One], key: Callable[[_One], _Key]) -> dict[_Key, list[_One]]:
    found: dict[_Key, list[_One]] = {}
    for one in some:
        found.setdefault(key(one), []).append(one)
    return found
