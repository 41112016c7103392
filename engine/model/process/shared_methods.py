"""Dataclasses of ours share the code of `__eq__`, `__hash__` and `__repr__`; Python would compile each from text.

There are over 500 in a daemon. What Python compiles for them takes a seventh of its start, and 2 MiB. `install` puts
`dataclass` in the place of the standard one, for our classes alone; that of other packages stays.
"""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any

OURS = ("engine", "adapters", "workbench")

_standard = dataclasses.dataclass
_ITS_OWN = {"__eq__", "__hash__", "__repr__"}


def install() -> None:
    dataclasses.dataclass = dataclass


def dataclass(cls: type | None = None, /, **how: Any) -> Any:
    """As `dataclasses.dataclass`."""

    def wrap(cls: type) -> type:
        if cls.__module__.partition(".")[0] not in OURS or not how.keys().isdisjoint(("order", "unsafe_hash")):
            return _standard(cls, **how)
        if not _ITS_OWN.isdisjoint(vars(cls)):
            return _standard(cls, **how)
        return _made(cls, **how)

    return wrap if cls is None else wrap(cls)


def _made(cls: type, *, eq: bool = True, repr: bool = True, **how: Any) -> type:
    made: Any = _standard(cls, eq=False, repr=False, **how)
    fields = dataclasses.fields(made)
    if eq:
        made.__eq__ = _equal(_values([one.name for one in fields if one.compare]))
        hashed = [one.name for one in fields if (one.compare if one.hash is None else one.hash)]
        made.__hash__ = _hash(_values(hashed)) if how.get("frozen") else None
    if repr:
        made.__repr__ = _repr([one.name for one in fields if one.repr])
    return made  # type: ignore[no-any-return]


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """All of them at once. One value is a tuple, too: what is no number is equal to itself there (`math.nan`)."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple([getattr(self, name) for name in names])


def _equal(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, object], bool]:
    def __eq__(self: Any, other: object) -> bool:  # noqa: N807
        if other.__class__ is self.__class__:
            return values(self) == values(other)
        return NotImplemented

    return __eq__


def _hash(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return __hash__


def _repr(names: list[str]) -> Callable[[Any], str]:
    @recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{self.__class__.__qualname__}({', '.join([f'{name}={getattr(self, name)!r}' for name in names])})"

    return __repr__
