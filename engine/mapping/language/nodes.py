"""The tree of an expression (`engine.mapping.language.syntax` reads it). Every node knows its offset in the text."""

from collections.abc import Iterator
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Literal:
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal as written; never a float."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Flag:
    at: int
    value: bool


@dataclass(frozen=True, slots=True)
class Absent:
    at: int


@dataclass(frozen=True, slots=True)
class Path:
    """``SEG[which]-field[repetition].component.subcomponent``.

    Attributes:
        which: None where not said, 0 for ``*``, else the segment's number from 1 within the scope.
        field: 0 for the segment as a whole (present or not).
        repetition: None where not said, 0 for ``*``, else from 1.
        component, subcomponent: 0 where not said.
    """

    at: int
    segment: str
    which: int | None = None
    field: int = 0
    repetition: int | None = None
    component: int = 0
    subcomponent: int = 0

    @property
    def text(self) -> str:
        """The path as one writes it."""
        which = "" if self.which is None else f"[{self.which or '*'}]"
        if not self.field:
            return f"{self.segment}{which}"
        repetition = "" if self.repetition is None else f"[{self.repetition or '*'}]"
        component = f".{self.component}" if self.component else ""
        subcomponent = f".{self.subcomponent}" if self.subcomponent else ""
        return f"{self.segment}{which}-{self.field}{repetition}{component}{subcomponent}"


@dataclass(frozen=True, slots=True)
class TreePath:
    """``$.items[0].name`` of the document, ``@.name`` of the value that the innermost loop is at.

    Attributes:
        text: the path as one writes it; positions in lists count from 0.
    """

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Name:
    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    at: int
    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Part:
    """``value.2``: a component of a field, from 1."""

    at: int
    value: "Expression"
    number: int


@dataclass(frozen=True, slots=True)
class Member:
    """``row.unit``: a named part."""

    at: int
    value: "Expression"
    name: str


@dataclass(frozen=True, slots=True)
class Item:
    """``value[0]``: an element of a list, from 0."""

    at: int
    value: "Expression"
    index: int


@dataclass(frozen=True, slots=True)
class ListOf:
    at: int
    items: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """``not x``, ``-x``."""

    at: int
    operator: str
    value: "Expression"


@dataclass(frozen=True, slots=True)
class Binary:
    at: int
    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Choice:
    """``then if condition else other``."""

    at: int
    then: "Expression"
    condition: "Expression"
    other: "Expression"


Simple = Literal | Number | Flag | Absent | Path | TreePath | Name  # nothing is inside it
Expression = Simple | Call | Part | Member | Item | ListOf | Unary | Binary | Choice


def children(node: Expression) -> tuple[Expression, ...]:
    """The expressions directly inside ``node``, in their order."""
    match node:
        case Call(arguments=inside) | ListOf(items=inside):
            return inside
        case Part(value=value) | Member(value=value) | Item(value=value) | Unary(value=value):
            return (value,)
        case Binary(left=left, right=right):
            return (left, right)
        case Choice(then=then, condition=condition, other=other):
            return (then, condition, other)
        case _:
            return ()


def same(one: Expression, other: Expression) -> bool:
    """Whether two expressions are equal except for their places."""
    mine, yours = list(walk(one)), list(walk(other))
    return len(mine) == len(yours) and all(_alone(a) == _alone(b) for a, b in zip(mine, yours, strict=True))


def _alone(node: Expression) -> tuple[object, ...]:
    """A node without its place and without what is inside it."""
    inside = {id(child) for child in children(node)}
    parts = [getattr(node, part.name) for part in fields(node) if part.name != "at"]
    return type(node), *(part for part in parts if id(part) not in inside and not isinstance(part, tuple))


def fields_in(node: Expression) -> str:
    """The field that a value is read from, for messages: ``PV1-2``, ``TQ1-9.1 | OBR-5`` of alternatives; empty where
    the expression does not say it itself."""
    match node:
        case Path(segment=segment, field=field, component=component) if field:
            return f"{segment}-{field}.{component}" if component else f"{segment}-{field}"
        case TreePath(text=text):
            return text
        case Binary(operator="|", left=left, right=right):
            one, other = fields_in(left), fields_in(right)
            return f"{one} | {other}" if one and other else ""
        case _:
            return ""


def walk(node: Expression) -> Iterator[Expression]:
    """``node`` and everything in it."""
    yield node
    for child in children(node):
        yield from walk(child)
