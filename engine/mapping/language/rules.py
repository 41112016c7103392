"""A mapping file as rules: steps, bodies and expressions, each with the place in the file that it came from.

A scalar that begins with ``=`` is an expression, any other is a literal. Everything keeps its node, and with it the
file, line and column that problems, traces and errors name. `engine.mapping.language.rule_files` reads files into
these.
"""

from dataclasses import dataclass, field

from engine.config.reading.yaml_nodes import Node
from engine.mapping.language import nodes
from engine.mapping.language.targets import FHIR, Target
from engine.mapping.message.identity_fields import STANDARD, IdentityFields

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
    tree: nodes.Expression

    def at(self, part: nodes.Expression) -> int:
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
