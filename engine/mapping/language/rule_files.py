"""YAML nodes to files of rules: mappings and libraries, with their steps. Form is checked here, the meaning later.

The block ``identity:`` of a mapping: which fields ids are made of (`engine.mapping.message.identity_fields`).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from engine.config.reading.yaml_nodes import Node
from engine.mapping.fhir.r4 import RESOURCES
from engine.mapping.language import rules
from engine.mapping.language.rule_bodies import BodyReader
from engine.mapping.language.structures import JSON
from engine.mapping.language.targets import read_target
from engine.mapping.message.identity_fields import STANDARD, IdentityFields
from engine.model.texts.spelling import suggestion

_MAPPING_KEYS = (
    *("mapping", "format", "description", "from", "to", "bundle", "profiles", "csv", "results", "import", "tables"),
    *("let", "steps", "policies", "identity"),
)
_OWN_COUNTS = ("results_in", "observations", "dropped", "attached")  # of results; a filter's are beside them
_LIBRARY_KEYS = ("mapping-library", "format", "description", "fragments")
_FRAGMENT_KEYS = ("takes", "let", "body", "steps")
_TABLE_KEYS = ("csv", "key", "optional_key", "on_missing", "on_missing_unit")
_STEP_KEYS = (
    *("create", "each", "do", "$use", "$with", "let", "as", "when", "where", "key", "request", "body", "filter"),
    *("drop", "dead", "warn", "segment", "fields", "row", "record", "document", "line", "add_to", "which"),
)
_STEP_KINDS = (
    *("create", "add_to", "segment", "row", "record", "document", "line", "$use", "do", "drop", "dead", "warn"),
)


def read_mapping(node: Node, problems: rules.Problems) -> rules.MappingFile:
    """A mapping file; an unreadable part is reported as a problem and left out."""
    reader = _Reader(problems)
    reader.keys(node, _MAPPING_KEYS, "a mapping")
    made = rules.MappingFile(reader.scalar(node, "mapping"), node)
    reader.format(node)
    _read_source(node, made, reader)
    made.target = read_target(node, problems)
    if made.format == JSON and made.target.kind not in ("json", "csv", "orders", "results"):
        text = "a mapping that reads JSON writes json, csv, orders or results/1; write to: json"
        problems.error(node.get("to") or node, text)
    if (bundle := node.get("bundle")) is not None:
        made.bundle = reader.choice(bundle, rules.BUNDLES, "a bundle") or "transaction"
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
        choices = rules.POLICIES.get(name.value)
        if choices is None:
            problems.error(name, f"no policy is called '{name.value}'{suggestion(name.value, rules.POLICIES)}")
        elif chosen := reader.choice(value, choices, name.value):
            made.policies[name.value] = chosen
    made.identity = read_identity(node.get("identity"), STANDARD.get(made.format, made.identity), reader)
    made.steps = reader.steps(node.get("steps"), node, "steps")
    if made.bundle != "document":
        for step in _all_steps(made.steps):
            if step.create == "Bundle":
                problems.error(step.node, "create: Bundle describes the envelope of a document; write bundle: document")
    return made


def _all_steps(steps: Iterable[rules.Step]) -> Iterator[rules.Step]:
    """Steps and those inside them."""
    for step in steps:
        yield step
        yield from _all_steps(step.steps or ())


def read_library(node: Node, problems: rules.Problems) -> rules.LibraryFile:
    """A library file: fragments."""
    reader = _Reader(problems)
    reader.keys(node, _LIBRARY_KEYS, "a library")
    made = rules.LibraryFile(reader.scalar(node, "mapping-library"), node)
    reader.format(node)
    for name, value in reader.map_of(node.get("fragments"), "fragments"):
        if value.kind != "map":
            problems.error(value, "a fragment is a map with takes: and body: or steps:")
            continue
        reader.keys(value, _FRAGMENT_KEYS, "a fragment")
        takes = tuple(item.value for item in reader.list_of(value.get("takes"), "takes"))
        fragment = rules.Fragment(name.value, name, takes, reader.lets(value.get("let")))
        body, steps = value.get("body"), value.get("steps")
        if (body is None) == (steps is None):
            problems.error(name, f"fragment {name.value} needs either body: or steps:")
        if body is not None:
            fragment.body = reader.body(body)
        elif steps is not None:
            fragment.steps = reader.steps(steps, name, "steps")
        made.fragments[name.value] = fragment
    return made


def _read_source(node: Node, made: rules.MappingFile, reader: "_Reader") -> None:
    source = node.get("from")
    if source is None:
        reader.problems.error(node, "from: is missing; write from: hl7v2/ORU_R01, astm/E1394 or json")
        return
    made.structure_node = source
    structures = []
    for item in source.items if source.kind == "list" else (source,):
        kind, slash, structure = item.value.partition("/") if item.value != JSON else (JSON, "/", JSON)
        if kind not in ("hl7v2", "astm", JSON) or not slash or not structure:
            reader.problems.error(item, f"'{item.value}' is no structure; write hl7v2/ORU_R01, astm/E1394 or json")
        elif made.format and made.format != kind:
            reader.problems.error(item, "one mapping reads one format; write a second mapping")
        else:
            made.format = kind
            structures.append(structure)
    made.structures = tuple(structures)


def _read_table_use(name: Node, node: Node, reader: "_Reader") -> rules.TableUse | None:
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
                node.get("optional_key") or node, f"'{column}' is in key:, too; it is one or the other"
            )
    made = rules.TableUse(name.value, name, tuple(file for file in files if file is not None), columns, optional)
    if (missing := node.get("on_missing")) is not None:
        made.on_missing = reader.choice(missing, rules.ON_MISSING, "on_missing")
    if (missing := node.get("on_missing_unit")) is not None:
        made.on_missing_unit = reader.choice(missing, rules.POLICIES["on_missing_unit"], "on_missing_unit")
    return made


class _Reader(BodyReader):
    """Reads steps, too."""

    def steps(self, node: Node | None, parent: Node, what: str) -> tuple[rules.Step, ...]:
        if node is None:
            self.problems.error(parent, f"{what}: is missing; it lists what the mapping makes")
            return ()
        if node.kind != "list":
            self.problems.error(node, f"{what}: is a list of steps, each beginning with -")
            return ()
        return tuple(step for step in map(self.step, node.items) if step is not None)

    def step(self, node: Node) -> rules.Step | None:
        if node.kind != "map":
            self.problems.error(node, "a step is a map: - create: Patient")
            return None
        self.keys(node, _STEP_KEYS, "a step")
        made = rules.Step(node)
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
                    self.problems.error(value, f"{text}: is a fixed text; conditions go into when:")
                    value = Node(kind="scalar", file=value.file, line=value.line, column=value.column, value=text)
                setattr(made, text, rules.Text(value))
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

    def _creates(self, node: Node, made: rules.Step) -> None:
        if (key := node.get("key")) is not None:
            made.key = self.value(key)
        if (request := node.get("request")) is not None:
            made.request = self.choice(request, rules.REQUESTS, "request") or "update"
        if (body := node.get("body")) is not None:
            made.body = self.body(body)
        has_body = node.get("record") is not None or node.get("add_to") is not None
        for key_name in ("key", "request", "body"):
            taken = node.get("create") is not None or (key_name == "body" and has_body)
            if not taken and (misplaced := node.key(key_name)) is not None:
                self.problems.error(misplaced, f"{key_name}: belongs to a create:")
        if node.get("create") is not None and node.get("body") is None:
            self.problems.error(node, "a create: needs body:, its elements")

    def _adds(self, node: Node, made: rules.Step) -> None:
        """Read the elements that a step adds to a resource of an earlier step."""
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

    def _make(self, node: Node) -> rules.Make | None:
        """A part of an output that is no FHIR: its name and its body, which some have in another key."""
        if node.get("segment") is None and (misplaced := node.key("fields")) is not None:
            self.problems.error(misplaced, "fields: belongs to a segment:")
        for kind, inside in (("segment", "fields"), ("record", "body"), ("row", ""), ("document", ""), ("line", "")):
            value = node.get(kind)
            if value is None:
                continue
            content = node.get(inside) if inside else value
            if inside and (value.kind != "scalar" or not value.value or value.value.startswith("=")):
                self.problems.error(value, f"{kind}: is a fixed name; its content goes into {inside}:")
                return None
            if content is None:
                self.problems.error(node, f"a {kind}: needs {inside}:, what is in it")
                return None
            body = self.body(content)
            return None if body is None else rules.Make(kind, value.value if inside else kind, value, body)
        return None

    def _check_kind(self, node: Node, made: rules.Step) -> None:
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
            text = "a step needs one of create, do, $use, add_to, drop, dead or warn"
            text += "; without FHIR segment, row, record or line"
            self.problems.error(node, text)
        for key in ("where", "filter"):
            if not made.each and (misplaced := node.key(key)) is not None:
                self.problems.error(misplaced, f"{key}: belongs to an each:; for one step write when:")
        if made.steps is not None and not made.each and made.when is None and not made.lets and made.make is None:
            self.problems.error(node, "do: belongs to an each:, or to a when: that it depends on")

    def _filter(self, node: Node) -> rules.Filter | None:
        if node.kind != "map" or node.get("when") is None:
            self.problems.error(node, "a filter is a map: {when: =..., as: qc}")
            return None
        self.keys(node, ("when", "as"), "a filter")
        condition = self.condition(node.get("when"))
        name = node.get("as")
        if name is not None and name.value in _OWN_COUNTS:
            self.problems.error(name, f"{name.value} is a count of LabRelay's own; give the filter another name")
        return (
            None if condition is None else rules.Filter(node, condition, name.value if name is not None else "filtered")
        )


_FIELD = re.compile(r"([A-Z][A-Z0-9]{0,2})-([1-9][0-9]{0,2})", re.ASCII).fullmatch
IDENTITY_KEYS = ("order_time", "result_time", "order_number", "name", "birth_date", "sex")


def read_identity(node: Node | None, standard: IdentityFields, reader: BodyReader) -> IdentityFields:
    """The block ``identity:`` of a mapping. Other fields are those of the standard.

    Args:
        standard: the fields of the format that the mapping reads.
    """
    if node is None:
        return standard
    reader.keys(node, IDENTITY_KEYS, "identity:")
    segments = (standard.order, standard.result, standard.order, *[standard.person] * 3)
    order, result, number, name, birth, sex = (
        _numbers(node.get(key), key, segment, reader) for key, segment in zip(IDENTITY_KEYS, segments, strict=True)
    )
    for key, found in (("name", name), ("birth_date", birth), ("sex", sex)):
        if len(found) > 1:
            reader.problems.error(node.get(key) or node, f"{key}: is one field")
    return replace(
        standard,
        order_time=order or standard.order_time,
        result_time=result or standard.result_time,
        order_number=number or standard.order_number,
        name=name[0] if name else standard.name,
        birth_date=birth[0] if birth else standard.birth_date,
        sex=sex[0] if sex else standard.sex,
    )


def _numbers(node: Node | None, key: str, segment: str, reader: BodyReader) -> tuple[int, ...]:
    found = []
    for item in () if node is None else node.items if node.kind == "list" else (node,):
        match = _FIELD(item.value) if item.kind == "scalar" else None
        if match is None or match[1] != segment:
            reader.problems.error(item, f"{key}: names whole fields of {segment}, as {segment}-8")
        else:
            found.append(int(match[2]))
    return tuple(found)
