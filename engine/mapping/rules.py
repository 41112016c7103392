"""A mapping file as rules: YAML nodes to steps, bodies and expressions. The form is checked here, the meaning later.

A scalar that begins with ``=`` is an expression, any other is a literal. Everything keeps its node, and with it the
file, line and column that problems, traces and errors name.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from engine.mapping import syntax
from engine.mapping.r4 import RESOURCES
from engine.mapping.targets import FHIR, Target, read_target
from engine.near import did_you_mean
from engine.yaml_nodes import Node

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
}

_MAPPING_KEYS = (
    "mapping",
    "format",
    "description",
    "from",
    "to",
    "bundle",
    "profiles",
    "csv",
    "import",
    "tables",
    "let",
    "steps",
    "policies",
)
_OWN_COUNTS = ("results_in", "observations", "dropped", "attached")  # of results; a filter's stand beside them
_LIBRARY_KEYS = ("mapping-library", "format", "description", "fragments")
_FRAGMENT_KEYS = ("takes", "let", "body", "steps")
_TABLE_KEYS = ("csv", "key", "optional_key", "on_missing", "on_missing_unit")
_STEP_KEYS = (
    *("create", "each", "do", "$use", "$with", "let", "as", "when", "where", "key", "request", "body", "filter"),
    *("drop", "dead", "warn", "segment", "fields", "row", "record", "document", "add_to", "which"),
)


_STEP_KINDS = (*("create", "add_to", "segment", "row", "record", "document", "$use", "do", "drop", "dead", "warn"),)


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


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean x?``, or the choices where they are few, or nothing."""
    choices = list(known)
    close = did_you_mean(name, choices)
    if close:
        return f"; {close}"
    return f"; known are {', '.join(sorted(choices))}" if 0 < len(choices) <= 12 else ""


# -- what a file says --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression with its node; offsets inside the text begin behind the ``=``."""

    node: Node
    tree: syntax.Expression

    def at(self, part: syntax.Expression) -> int:
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
    """An object: elements, cases and fragments in the order they stand."""

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
    """What a step makes where no FHIR is written: one part of the output.

    Attributes:
        kind: ``segment`` (HL7 v2), ``row`` (CSV), ``record`` or ``document`` (JSON).
        name: of the segment, or of the list that the record stands in.
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
    """A table as the mapping declares it: its files, the first of which is asked first, and its key columns; those of
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


@dataclass(slots=True)
class LibraryFile:
    name: str
    node: Node
    fragments: dict[str, Fragment] = field(default_factory=dict)


# -- reading -----------------------------------------------------------------------------------------------------


def read_mapping(node: Node, problems: Problems) -> MappingFile:
    """A mapping file; what cannot be read is a problem and left out."""
    reader = _Reader(problems)
    reader.keys(node, _MAPPING_KEYS, "a mapping")
    made = MappingFile(reader.scalar(node, "mapping", required=True), node)
    reader.format(node)
    _read_source(node, made, reader)
    made.target = read_target(node, problems)
    if (bundle := node.get("bundle")) is not None:
        made.bundle = reader.choice(bundle, BUNDLES, "a bundle") or "transaction"
    for name, value in reader.map_of(node.get("profiles"), "profiles"):
        if name.value not in RESOURCES:
            problems.error(name, f"{name.value} is no resource that is written{suggestion(name.value, RESOURCES)}")
        elif value.kind != "scalar" or ":" not in value.value:
            problems.error(value, f"the profile of {name.value} is a URL")
        else:
            made.profiles[name.value] = value.value
    made.imports = tuple(reader.list_of(node.get("import"), "import"))
    for name, table in reader.map_of(node.get("tables"), "tables"):
        if (declared := _read_table_use(name, table, reader)) is not None:
            made.tables[name.value] = declared
    made.lets = reader.lets(node.get("let"))
    for name, value in reader.map_of(node.get("policies"), "policies"):
        choices = POLICIES.get(name.value)
        if choices is None:
            problems.error(name, f"no policy is called '{name.value}'{suggestion(name.value, POLICIES)}")
        elif chosen := reader.choice(value, choices, name.value):
            made.policies[name.value] = chosen
    made.steps = reader.steps(node.get("steps"), node, "steps")
    if made.bundle != "document":
        for step in _all_steps(made.steps):
            if step.create == "Bundle":
                problems.error(step.node, "create: Bundle describes the envelope of a document; write bundle: document")
    return made


def _all_steps(steps: Iterable[Step]) -> Iterator[Step]:
    """Steps and those inside them."""
    for step in steps:
        yield step
        yield from _all_steps(step.steps or ())


def read_library(node: Node, problems: Problems) -> LibraryFile:
    """A library file: fragments."""
    reader = _Reader(problems)
    reader.keys(node, _LIBRARY_KEYS, "a library")
    made = LibraryFile(reader.scalar(node, "mapping-library", required=True), node)
    reader.format(node)
    for name, value in reader.map_of(node.get("fragments"), "fragments"):
        if value.kind != "map":
            problems.error(value, "a fragment is a map with takes: and body: or steps:")
            continue
        reader.keys(value, _FRAGMENT_KEYS, "a fragment")
        takes = tuple(item.value for item in reader.list_of(value.get("takes"), "takes"))
        fragment = Fragment(name.value, name, takes, reader.lets(value.get("let")))
        body, steps = value.get("body"), value.get("steps")
        if (body is None) == (steps is None):
            problems.error(name, f"fragment {name.value} needs either body: or steps:")
        if body is not None:
            fragment.body = reader.body(body)
        elif steps is not None:
            fragment.steps = reader.steps(steps, name, "steps")
        made.fragments[name.value] = fragment
    return made


def _read_source(node: Node, made: MappingFile, reader: "_Reader") -> None:
    source = node.get("from")
    if source is None:
        reader.problems.error(node, "from: is missing; write from: hl7v2/ORU_R01 or from: astm/E1394")
        return
    made.structure_node = source
    structures = []
    for item in source.items if source.kind == "list" else (source,):
        kind, slash, structure = item.value.partition("/")
        if kind not in ("hl7v2", "astm") or not slash or not structure:
            reader.problems.error(item, f"'{item.value}' is no structure; write hl7v2/ORU_R01 or astm/E1394")
        elif made.format and made.format != kind:
            reader.problems.error(item, "one mapping reads one format; write a second mapping")
        else:
            made.format = kind
            structures.append(structure)
    made.structures = tuple(structures)


def _read_table_use(name: Node, node: Node, reader: "_Reader") -> TableUse | None:
    if node.kind != "map":
        reader.problems.error(node, "a table is a map: {csv: tables/x.csv, key: [code, unit_in]}")
        return None
    reader.keys(node, _TABLE_KEYS, "a table")
    csv, key = node.get("csv"), node.get("key")
    files = csv.items if csv is not None and csv.kind == "list" else (csv,)
    if csv is None or not files or not all(file.kind == "scalar" and file.value for file in files if file is not None):
        reader.problems.error(csv or node, f"table {name.value} needs csv:, the file to read, or a list of files")
        return None
    columns = tuple(item.value for item in reader.list_of(key, "key"))
    if not columns:
        reader.problems.error(node, f"table {name.value} needs key:, the columns to look up by")
        return None
    optional = tuple(item.value for item in reader.list_of(node.get("optional_key"), "optional_key"))
    for column in optional:
        if column in columns:
            reader.problems.error(
                node.get("optional_key") or node, f"'{column}' stands in key: too; it is one or the other"
            )
    made = TableUse(name.value, name, tuple(file for file in files if file is not None), columns, optional)
    if (missing := node.get("on_missing")) is not None:
        made.on_missing = reader.choice(missing, ON_MISSING, "on_missing")
    if (missing := node.get("on_missing_unit")) is not None:
        made.on_missing_unit = reader.choice(missing, POLICIES["on_missing_unit"], "on_missing_unit")
    return made


class _Reader:
    """Reads the parts that mappings and libraries share."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def keys(self, node: Node, allowed: tuple[str, ...], what: str) -> None:
        if node.kind != "map":
            self.problems.error(node, f"{what} is a map of keys and values")
            return
        for key, _ in node.pairs:
            if key.value not in allowed:
                self.problems.error(key, f"{what} has no key '{key.value}'{suggestion(key.value, allowed)}")

    def format(self, node: Node) -> None:
        declared = node.get("format")
        if declared is None:
            self.problems.error(node, f"format: is missing; write format: {FORMAT}")
        elif declared.value != FORMAT:
            self.problems.error(declared, f"'{declared.value}' is not read by this LabRelay; write {FORMAT}")

    def scalar(self, node: Node, key: str, *, required: bool = False) -> str:
        value = node.get(key)
        if value is None:
            if required:
                self.problems.error(node, f"{key}: is missing; it names the file's content")
            return ""
        if value.kind != "scalar":
            self.problems.error(value, f"{key}: is one text")
            return ""
        return value.value

    def choice(self, node: Node, choices: tuple[str, ...], what: str) -> str:
        if node.kind == "scalar" and node.value in choices:
            return node.value
        self.problems.error(node, f"{what} is one of {', '.join(choices)}, not '{node.value}'")
        return ""

    def list_of(self, node: Node | None, what: str) -> Iterator[Node]:
        if node is None:
            return
        if node.kind != "list":
            self.problems.error(node, f"{what}: is a list, as [a, b]")
            return
        for item in node.items:
            if item.kind == "scalar":
                yield item
            else:
                self.problems.error(item, f"{what}: holds names only")

    def map_of(self, node: Node | None, what: str) -> Iterator[tuple[Node, Node]]:
        if node is None:
            return
        if node.kind != "map":
            self.problems.error(node, f"{what}: is a map of names and values")
            return
        yield from node.pairs

    def formula(self, node: Node) -> Formula | None:
        """The expression of a scalar that begins with ``=``; None with a problem where it is none."""
        try:
            return Formula(node, syntax.parse(node.value[1:]))
        except syntax.ExpressionError as error:
            hint = ""
            if node.plain and "#" in node.value:
                hint = " (in YAML a blank and # begin a comment: put quotes around)"
            self.problems.error(node, f"{error}{hint}", offset=1 + error.at)
            return None

    def value(self, node: Node) -> Formula | Text | None:
        if node.kind != "scalar":
            self.problems.error(node, "one value is expected here: a literal, or an expression that begins with =")
            return None
        return self.formula(node) if node.value.startswith("=") else Text(node)

    def condition(self, node: Node | None) -> Formula | None:
        if node is None:
            return None
        if node.kind != "scalar" or not node.value.startswith("="):
            self.problems.error(node, "a condition is an expression; write it with = in front")
            return None
        return self.formula(node)

    def lets(self, node: Node | None, what: str = "let") -> tuple[Let, ...]:
        made = []
        for name, value in self.map_of(node, what):
            self.name(name)
            if (read := self.value(value)) is not None:
                made.append(Let(name.value, name, read))
        return tuple(made)

    def name(self, node: Node) -> None:
        text = node.value
        good = text.isascii() and text.isidentifier() and text[0].islower()
        if not good or text in ("if", "else", "and", "or", "not", "in", "matches", "true", "false", "absent"):
            self.problems.error(node, f"'{text}' is no name: small letters, digits and _, and no word of the language")

    def use(self, node: Node) -> Use | None:
        fragment = node.get("$use")
        if fragment is None:
            if (given := node.key("$with")) is not None:
                self.problems.error(given, "$with: belongs to a $use:")
            return None
        if fragment.kind != "scalar":
            self.problems.error(fragment, "$use: names one fragment")
            return None
        return Use(fragment, fragment.value, self.lets(node.get("$with"), "$with"))

    # -- bodies --

    def body(self, node: Node) -> Body | None:
        if node.kind != "map":
            self.problems.error(node, "a body is a map of elements")
            return None
        parts: list[Element | Case | Use] = []
        lets: tuple[Let, ...] = ()
        for name, value in node.pairs:
            match name.value:
                case "$case":
                    if (case := self._case(name, value)) is not None:
                        parts.append(case)
                case "$use":
                    if (use := self.use(node)) is not None:
                        parts.append(use)
                case "$with":
                    if node.get("$use") is None:
                        self.problems.error(name, "$with: belongs to a $use:")
                case "$let":
                    lets = self.lets(value, "$let")
                case other if other.startswith("$"):
                    sigils = ("$case", "$use", "$with", "$let")
                    self.problems.error(name, f"'{other}' means nothing here{suggestion(other, sigils)}")
                case _:
                    if (inner := self._element(value)) is not None:
                        parts.append(Element(name.value, name, inner))
        return Body(node, tuple(parts), lets)

    def _element(self, node: Node) -> Value | None:
        if node.kind == "map":
            return self.body(node)
        if node.kind == "list":
            items = [item for item in map(self._element, node.items) if item is not None]
            return Values(node, tuple(items))
        if not node.value:
            self.problems.error(
                node, "a value is missing; write a literal, an expression with =, or remove the element"
            )
            return None
        return self.value(node)

    def _case(self, name: Node, node: Node) -> Case | None:
        if node.kind != "list" or not node.items:
            self.problems.error(node, "$case: is a list of branches, each with when: or else: and elements")
            return None
        branches: list[Branch] = []
        for item in node.items:
            if item.kind != "map":
                self.problems.error(item, "a branch is a map with when: or else: and elements")
                continue
            when, otherwise = item.get("when"), item.get("else")
            if (when is None) == (otherwise is None):
                self.problems.error(item, "a branch has either when: with a condition, or else: true")
                continue
            if branches and branches[-1].when is None:
                self.problems.error(item, "this branch is never reached; put it before else:")
            condition = self.condition(when)
            if when is not None and condition is None:
                continue
            self._reached(item, condition, branches)
            rest = Node(
                kind="map",
                file=item.file,
                line=item.line,
                column=item.column,
                pairs=tuple(pair for pair in item.pairs if pair[0].value not in ("when", "else")),
            )
            if (body := self.body(rest)) is not None:
                branches.append(Branch(item, condition, body))
        return Case(name, tuple(branches))

    def _reached(self, item: Node, condition: Formula | None, before: list[Branch]) -> None:
        """A problem where a branch before this one holds whenever this one would."""
        for branch in before:
            if branch.when is None or condition is None:
                continue
            if isinstance(branch.when.tree, syntax.Flag) and branch.when.tree.value:
                text = f"this branch is never reached: the condition of line {branch.node.line} always holds"
                self.problems.warning(item, f"{text}; write else: true there, and put it last")
                return
            if syntax.same(branch.when.tree, condition.tree):
                text = f"this branch is never reached: line {branch.node.line} has the same condition"
                self.problems.warning(item, f"{text}; correct one of them, or remove this branch")
                return

    # -- steps --

    def steps(self, node: Node | None, parent: Node, what: str) -> tuple[Step, ...]:
        if node is None:
            self.problems.error(parent, f"{what}: is missing; it lists what the mapping makes")
            return ()
        if node.kind != "list":
            self.problems.error(node, f"{what}: is a list of steps, each beginning with -")
            return ()
        return tuple(step for step in map(self.step, node.items) if step is not None)

    def step(self, node: Node) -> Step | None:
        if node.kind != "map":
            self.problems.error(node, "a step is a map: - create: Patient")
            return None
        self.keys(node, _STEP_KEYS, "a step")
        made = Step(node)
        if (each := node.get("each")) is not None:
            made.each, made.each_node = each.value, each
        made.where = self.condition(node.get("where"))
        made.when = self.condition(node.get("when"))
        made.lets = self.lets(node.get("let"))
        if (name := node.get("as")) is not None:
            self.name(name)
            made.name, made.name_node = name.value, name
        if (rule := node.get("filter")) is not None:
            made.filter = self._filter(rule)
        for text in ("drop", "dead", "warn"):
            if (value := node.get(text)) is not None:
                if value.kind != "scalar" or value.value.startswith("=") or not value.value:
                    self.problems.error(value, f"{text}: is a fixed text; conditions stand in when:")
                    value = Node(kind="scalar", file=value.file, line=value.line, column=value.column, value=text)
                setattr(made, text, Text(value))
        if (create := node.get("create")) is not None:
            made.create, made.create_node = create.value, create
        self._creates(node, made)
        self._adds(node, made)
        made.make = self._make(node)
        made.use = self.use(node)
        if (do := node.get("do")) is not None:
            made.steps = self.steps(do, node, "do")
        self._check_kind(node, made)
        return made

    def _creates(self, node: Node, made: Step) -> None:
        if (key := node.get("key")) is not None:
            made.key = self.value(key)
        if (request := node.get("request")) is not None:
            made.request = self.choice(request, REQUESTS, "request") or "update"
        if (body := node.get("body")) is not None:
            made.body = self.body(body)
        has_body = node.get("record") is not None or node.get("add_to") is not None
        for key_name in ("key", "request", "body"):
            taken = node.get("create") is not None or (key_name == "body" and has_body)
            if not taken and (misplaced := node.key(key_name)) is not None:
                self.problems.error(misplaced, f"{key_name}: belongs to a create:")
        if node.get("create") is not None and node.get("body") is None:
            self.problems.error(node, "a create: needs body:, its elements")

    def _adds(self, node: Node, made: Step) -> None:
        """What is added to a resource that an earlier step made."""
        kind = node.get("add_to")
        if kind is None:
            if (misplaced := node.key("which")) is not None:
                self.problems.error(misplaced, "which: belongs to an add_to:")
            return
        if kind.value not in RESOURCES:
            self.problems.error(kind, f"{kind.value} is no resource that is written{suggestion(kind.value, RESOURCES)}")
            return
        made.add_to = kind.value
        which = node.get("which")
        if which is None or not which.value.startswith("="):
            self.problems.error(which or node, "an add_to: needs which:, the reference to what is added to, as =ref(x)")
        else:
            made.which = self.formula(which)
        if made.body is None:
            self.problems.error(node, "an add_to: needs body:, the elements that are added")

    def _make(self, node: Node) -> Make | None:
        """A part of an output that is no FHIR: its name and its body, which stands in another key for some."""
        if node.get("segment") is None and (misplaced := node.key("fields")) is not None:
            self.problems.error(misplaced, "fields: belongs to a segment:")
        for kind, inside in (("segment", "fields"), ("record", "body"), ("row", ""), ("document", "")):
            value = node.get(kind)
            if value is None:
                continue
            content = node.get(inside) if inside else value
            if inside and (value.kind != "scalar" or not value.value or value.value.startswith("=")):
                self.problems.error(value, f"{kind}: is a fixed name; its content stands in {inside}:")
                return None
            if content is None:
                self.problems.error(node, f"a {kind}: needs {inside}:, what is in it")
                return None
            body = self.body(content)
            return None if body is None else Make(kind, value.value if inside else kind, value, body)
        return None

    def _check_kind(self, node: Node, made: Step) -> None:
        kinds = [
            name
            for name in _STEP_KINDS
            if node.get(name) is not None and not (name == "do" and node.get("record") is not None)
        ]
        if len(kinds) > 1:
            self.problems.error(
                node, f"one step does one thing, and this one says {' and '.join(kinds)}; make two steps"
            )
        elif not kinds:
            text = (
                "a step needs one of create, do, $use, add_to, drop, dead or warn; without FHIR segment, row or record"
            )
            self.problems.error(node, text)
        for key in ("where", "filter"):
            if not made.each and (misplaced := node.key(key)) is not None:
                self.problems.error(misplaced, f"{key}: belongs to an each:; for one step write when:")
        if made.steps is not None and not made.each and made.when is None and not made.lets and made.make is None:
            self.problems.error(node, "do: belongs to an each:, or to a when: that it depends on")

    def _filter(self, node: Node) -> Filter | None:
        if node.kind != "map" or node.get("when") is None:
            self.problems.error(node, "a filter is a map: {when: =..., as: qc}")
            return None
        self.keys(node, ("when", "as"), "a filter")
        condition = self.condition(node.get("when"))
        name = node.get("as")
        if name is not None and name.value in _OWN_COUNTS:
            self.problems.error(name, f"{name.value} is a count of LabRelay's own; give the filter another name")
        return None if condition is None else Filter(node, condition, name.value if name is not None else "filtered")
