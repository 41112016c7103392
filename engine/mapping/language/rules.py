"""A mapping file as rules: steps, bodies and expressions, each with the place in the file that it came from.

A scalar that begins with ``=`` is an expression, any other is a literal. Everything keeps its node, and with it the
file, line and column that problems, traces and errors name. `engine.mapping.language.rule_files` reads files into
these.

The tree of an expression (`engine.mapping.language.syntax` reads it). Every node knows its offset in the text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from engine.config.reading.yaml_nodes import Node
from engine.mapping.language.targets import FHIR, Target
from engine.mapping.message.identity_fields import STANDARD, IdentityFields


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


FORMAT = "labrelay-mapping/1"
BUNDLES = ("transaction", "message", "document", "collection")
REQUESTS = ("create_if_none", "update", "update_by_identifier", "create", "none")
ON_MISSING = ("local", "dead", "drop")
POLICIES = {
    "on_missing": ON_MISSING,
    "on_missing_unit": ("dead", "local"),
    "bad_value": ("warn", "dead"),
    "unread_segment": ("warn", "dead", "ignore"),
    "no_patient": ("allow", "dead"),
    "no_specimen": ("warn", "dead", "allow"),
}


class Problems:
    """Errors and warnings, each a line ``file:line:column: what; what to do``, once."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._seen: set[str] = set()

    def error(self, node: Node, text: str, *, offset: int = 0) -> None:
        line = node.problem(text, offset=offset)
        if line not in self._seen:
            self._seen.add(line)
            self.errors.append(line)

    def warning(self, node: Node, text: str, *, offset: int = 0) -> None:
        line = node.problem(text, offset=offset)
        if line not in self._seen:
            self._seen.add(line)
            self.warnings.append(line)


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression with its node; offsets inside the text begin behind the ``=``."""

    node: Node
    tree: Expression

    def at(self, part: Expression) -> int:
        """Offset of a part within the scalar."""
        return 1 + part.at


@dataclass(frozen=True, slots=True)
class Text:
    """A literal."""

    node: Node

    @property
    def text(self) -> str:
        return self.node.value


@dataclass(frozen=True, slots=True)
class Let:
    name: str
    node: Node
    value: "Formula | Text"


@dataclass(frozen=True, slots=True)
class Use:
    """``$use`` with its ``$with``."""

    node: Node
    fragment: str
    arguments: tuple[Let, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of a ``$case``; ``when`` is None for ``else``."""

    node: Node
    when: Formula | None
    body: "Body"


@dataclass(frozen=True, slots=True)
class Case:
    node: Node
    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a body: its name and what it is."""

    name: str
    node: Node
    value: "Value"


@dataclass(frozen=True, slots=True)
class Body:
    """An object: elements, cases and fragments in their order."""

    node: Node
    parts: tuple["Element | Case | Use", ...]
    lets: tuple[Let, ...] = ()


@dataclass(frozen=True, slots=True)
class Values:
    """A list."""

    node: Node
    items: tuple["Value", ...]


Value = Formula | Text | Body | Values


@dataclass(frozen=True, slots=True)
class Make:
    """The part of the output that a step makes where no FHIR is written.

    Attributes:
        kind: ``segment`` (HL7 v2), ``row`` (CSV), ``record`` or ``document`` (JSON), ``line`` (orders).
        name: of the segment, or of the list that contains the record.
    """

    kind: str
    name: str
    node: Node
    body: Body


@dataclass(frozen=True, slots=True)
class Filter:
    node: Node
    when: Formula
    name: str


@dataclass(slots=True)
class Step:
    """One step. Which attributes are set says what it does."""

    node: Node
    each: str = ""
    each_node: Node | None = None
    where: Formula | None = None
    filter: Filter | None = None
    when: Formula | None = None
    lets: tuple[Let, ...] = ()
    name: str = ""
    name_node: Node | None = None
    create: str = ""
    create_node: Node | None = None
    add_to: str = ""
    which: Formula | None = None
    key: Formula | Text | None = None
    request: str = "update"
    body: Body | None = None
    use: Use | None = None
    steps: tuple["Step", ...] | None = None
    drop: Text | None = None
    dead: Text | None = None
    warn: Text | None = None
    make: Make | None = None


@dataclass(slots=True)
class Fragment:
    name: str
    node: Node
    takes: tuple[str, ...]
    lets: tuple[Let, ...] = ()
    body: Body | None = None
    steps: tuple[Step, ...] | None = None


@dataclass(slots=True)
class TableUse:
    """A table as the mapping declares it: its files, the first with precedence, and its key columns; those of
    ``optional`` may be missing in a file."""

    name: str
    node: Node
    csv: tuple[Node, ...]
    key: tuple[str, ...]
    optional: tuple[str, ...] = ()
    on_missing: str = ""
    on_missing_unit: str = ""


@dataclass(slots=True)
class MappingFile:
    name: str
    node: Node
    format: str = ""
    structures: tuple[str, ...] = ()
    structure_node: Node | None = None
    target: Target = FHIR
    bundle: str = "transaction"
    profiles: dict[str, str] = field(default_factory=dict)  # type of resource -> canonical URL of its profile
    imports: tuple[Node, ...] = ()
    tables: dict[str, TableUse] = field(default_factory=dict)
    lets: tuple[Let, ...] = ()
    steps: tuple[Step, ...] = ()
    policies: dict[str, str] = field(default_factory=dict)
    identity: IdentityFields = STANDARD["hl7v2"]


@dataclass(slots=True)
class LibraryFile:
    name: str
    node: Node
    fragments: dict[str, Fragment] = field(default_factory=dict)
