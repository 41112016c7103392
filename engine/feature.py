"""What a feature is, and how the core asks all of them. The core imports this module, and no feature.

A feature is a folder of `engine/features`; its ``__init__`` declares ``FEATURE``. A value is ``module:name`` in that
folder, and is imported when it is first asked for: a command that reads the journal imports no page.

A module of the core says what it asks for, and of which type the answers are, and asks in a function, never while a
module is imported::

    STEPS: Hook[Step] = Hook("on_outcome")

    def decide(...):
        for step in STEPS.each():
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

T = TypeVar("T")

FEATURES = "engine.features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the journal that a feature has, and how it comes back with a backup.

    Attributes:
        name: as the schema has it.
        copied: the rows that go into each copy of the state, as a SELECT from ``main``; empty: all.
        newest: the column with the time of a row's last change, where much happens without a new row of the journal.
        restored: a statement about its rows once a restore has brought them back; empty: none.
    """

    name: str
    copied: str = ""
    newest: str = ""
    restored: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What a feature has. All but ``after`` and ``tables`` are ``module:name``, and empty where it has none.

    Attributes:
        after: features that are asked before it.
        tables: those of the journal that it alone writes.
        keys: the model with its keys of the site's file.
        channel_keys: the model with its keys of a channel's file.
        destination: the model of a kind of destination.
        source: the model of a kind of source.
        agreement: what its keys in several files say against each other.
        key_help: what `labrelay help keys` says of its keys.
        servers: those that its keys name.
        elsewhere: examines the site's account at another system, which is asked.
        examine: examines what the journal says of it.
        erased: what it has of a patient beside messages and orders (`engine.views.asked.Kept`).
        of_pack: what it knows of an analyzer's pack (`engine.views.asked.PackWords`).
        dead_letters: groups of those that a filter finds, with their counts.
        doubts: lines on corrections of code tables and the site's files.
        system_users: the accounts of this machine that its keys give roles to.
    """

    after: Sequence[str] = ()
    tables: Sequence[Table] = ()
    keys: str = ""
    channel_keys: str = ""
    destination: str = ""
    source: str = ""
    agreement: str = ""
    key_help: str = ""
    servers: str = ""
    system_users: str = ""
    elsewhere: str = ""
    examine: str = ""
    erased: str = ""
    of_pack: str = ""
    dead_letters: str = ""
    doubts: str = ""


@cache
def features() -> Mapping[str, Feature]:
    """The features by name, each behind those that it comes after, else by the alphabet.

    Raises:
        graphlib.CycleError: two come after each other.
    """
    package = import_module(FEATURES)
    names = sorted(one.name for one in iter_modules(package.__path__))
    found: dict[str, Feature] = {name: import_module(f"{FEATURES}.{name}").FEATURE for name in names}
    order = TopologicalSorter({name: one.after for name, one in found.items()}).static_order()
    return {name: found[name] for name in order}


class Hook(Generic[T]):
    """A question of the core to all features: ``T`` is what each that has an answer gives."""

    def __init__(self, name: str) -> None:
        """``name``: the field of `Feature`.

        Raises:
            ValueError: there is no such field.
        """
        if name not in {one.name for one in fields(Feature)}:
            raise ValueError(f"a feature declares no {name}")
        self.name = name

    def by_feature(self) -> Mapping[str, T]:
        """The answers, by the name of the feature, in their order."""
        return _answers(self.name)

    def each(self) -> tuple[T, ...]:
        return tuple(self.by_feature().values())


def joined(hook: Hook[Sequence[T]]) -> Iterator[T]:
    """The members of all answers, where each is a sequence."""
    for one in hook.each():
        yield from one


@cache
def _answers(name: str) -> Mapping[str, Any]:
    found = {}
    for feature, one in features().items():
        if value := getattr(one, name):
            found[feature] = _resolved(feature, value) if isinstance(value, str) else value
    return found


def _resolved(feature: str, value: str) -> object:
    module, _, member = value.partition(":")
    return getattr(import_module(f"{FEATURES}.{feature}.{module}"), member)
