"""Views and their fields: each has its name in JSON, its heading in a table, and the source of its value."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from engine.model.process.clock import from_us

T = TypeVar("T")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """One field of a view.

    Attributes:
        name: in JSON; a field without one is in tables only.
        title: the heading of its column; a field without one is in JSON only.
        of: the attribute (of a mapping: the key) with the value, or a function that makes it; empty: as `name`.
        right: the column is aligned to the right.
        shown: makes the cell of a table, where that is not the value.
    """

    name: str
    title: str = ""
    of: str | Callable[[T], Any] = ""
    right: bool = False
    shown: Callable[[T], Any] | None = None

    def value(self, one: T) -> Any:
        if callable(self.of):
            return self.of(one)
        name = self.of or self.name
        return one.get(name) if isinstance(one, Mapping) else getattr(one, name)

    def cell(self, one: T) -> Any:
        return self.value(one) if self.shown is None else self.shown(one)


class View(Generic[T]):
    """The fields of one noun.

    Args:
        name: the name of a list of them in JSON.
    """

    def __init__(self, name: str, *fields: Field[T]) -> None:
        self.name = name
        self.fields = fields
        self.columns = tuple(field for field in fields if field.title)

    def row(self, one: T, names: Collection[str] | None = None) -> dict[str, Any]:
        """The object in JSON; a mapping is its own. ``names``: these fields only."""
        if isinstance(one, Mapping):
            return dict(one)
        return {
            field.name: field.value(one)
            for field in self.fields
            if field.name and (names is None or field.name in names)
        }

    def of_rows(self, names: str, **told: Callable[[Any], str]) -> "View[Row]":
        """The columns of rows that come as JSON: these fields, in this order. A callable makes a cell."""
        found = {field.name: field for field in self.fields}

        def shown(name: str) -> Callable[[Row], str] | None:
            tell = told.get(name)
            return None if tell is None else lambda row: tell(row[name])

        fields: list[Field[Row]] = [
            Field(name, found[name].title, right=found[name].right, shown=shown(name)) for name in names.split()
        ]
        return View(self.name, *fields)

    def rows(self, items: Iterable[T]) -> list[dict[str, Any]]:
        return [self.row(one) for one in items]


def picked(one: object, names: str) -> dict[str, Any]:
    """Some attributes by their names, for objects that one place alone shows."""
    return {name: getattr(one, name) for name in names.split()}


@dataclass(frozen=True, slots=True)
class InstantOf:
    """The instant of an attribute in microseconds since 1970; None where that is 0."""

    name: str

    def __call__(self, one: Any) -> datetime | None:
        return from_us(us) if (us := getattr(one, self.name)) else None


@dataclass(frozen=True, slots=True)
class OrNone:
    """An attribute; None where it is 0 or empty."""

    name: str

    def __call__(self, one: Any) -> Any:
        return getattr(one, self.name) or None


at = InstantOf  # for `Field.of`
or_none = OrNone  # for `Field.of`
