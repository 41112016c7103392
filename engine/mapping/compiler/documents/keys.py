"""Natural keys: what the sender calls a resource by, which its id is made of."""

from engine.config.reading.yaml_nodes import Node
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.report_numbers import note_numbers
from engine.mapping.compiler.scopes import Scope, Variable
from engine.mapping.compiler.source.code import NOTHING, TEXT, TEXT_LIKE, Val
from engine.mapping.compiler.source.keeping import keep, recurs
from engine.mapping.compiler.source.values import rule_value, text_of
from engine.mapping.language import nodes
from engine.mapping.language.rules import Formula, Step, Text

# Resources that a group has of its own; a Specimen may be of several.
_OF_A_ROUND = frozenset({"DiagnosticReport", "Observation"})


def natural_key(c: Compilation, step: Step, scope: Scope, kind: str) -> tuple[str, str, str] | None:
    """Code of the natural key as one text, of the Identifier it is (or None), and of its first part."""
    code = c.code
    assert step.key is not None
    formula, read_in = _key_formula(step.key, scope)
    _note_numbers(c, step, formula, read_in)
    if isinstance(formula, Formula) and isinstance(formula.tree, nodes.ListOf):
        return _list_key(c, step, formula, formula.tree, read_in)
    value = rule_value(c, formula, read_in, "text")
    if value.is_absent:
        c.problems.error(step.key.node, "the key is always absent; the resource could not be distinguished from others")
        return None
    if value.kind.name == "field":
        value = text_of(c, value, nodes.Absent(0))
    if value.kind.name not in TEXT_LIKE | {"Identifier"}:
        c.problems.error(step.key.node, f"a key is a text, an Identifier or a list of texts, not {value.kind}")
        return None
    if value.maybe:
        _may_be_absent(c, step, step.key.node)
        code.emit(f"if {value.code} is None: raise making.no_identity({code.constant(kind)})")
    if value.kind.many:
        return f"'\\x1f'.join({value.code})", "None", f"{value.code}[0]"
    if value.kind.name == "Identifier":
        return f"identity_of({value.code})", value.code, f"{value.code}['value']"
    if kind == "Patient":  # a number all the same, and of nothing that a site could name
        return value.code, f"{{'value': {value.code}}}", value.code
    return value.code, "None", value.code


def _note_numbers(c: Compilation, step: Step, formula: Formula | Text, scope: Scope) -> None:
    """Note where the number is read that the journal knows a resource by: a report's is the first part of its key. A
    Patient whose key has several parts has no number.
    """
    if not isinstance(formula, Formula):
        return
    several = isinstance(formula.tree, nodes.ListOf)
    parts = formula.tree.items if isinstance(formula.tree, nodes.ListOf) else (formula.tree,)
    if step.create == "DiagnosticReport":
        note_numbers(c, parts[:1], scope)
    elif step.request == "update_by_identifier" or (step.create == "Patient" and not several):
        note_numbers(c, parts, scope)


def _may_be_absent(c: Compilation, step: Step, node: Node, offset: int = 0) -> None:
    """Warn about a key without which the whole message would be dead."""
    if step.when is None:
        text = "this key can be absent, and the message is dead then; add when:, another source with |, or | '-'"
        c.problems.warning(node, text, offset=offset)


def _key_formula(value: Formula | Text, scope: Scope) -> tuple[Formula | Text, Scope]:
    """A key's own expression: where it is the name of a variable, that variable's value, and where it is read."""
    seen: set[int] = set()
    while isinstance(value, Formula) and isinstance(value.tree, nodes.Name):
        variable = scope.find(value.tree.name)
        if not isinstance(variable, Variable) or variable.value is None or id(variable) in seen:
            break
        seen.add(id(variable))
        variable.used = True
        value, scope = variable.value, variable.scope
    return value, scope


def _list_key(
    c: Compilation, step: Step, formula: Formula, tree: nodes.ListOf, scope: Scope
) -> tuple[str, str, str] | None:
    """A key of several parts, each of which must be there."""
    reading = recurs(c, tree, scope)
    if reading is not None:

        def build() -> Val:
            made = _joined_key(c, step, formula, tree, scope)
            return NOTHING if made is None else Val(made[0], TEXT, maybe=False)

        kept = keep(c, ("key", id(formula), id(scope)), reading, build)
        return None if kept.is_absent else (kept.code, "None", kept.code)
    made = _joined_key(c, step, formula, tree, scope)
    return None if made is None else (made[0], "None", made[1])


def _joined_key(
    c: Compilation, step: Step, formula: Formula, tree: nodes.ListOf, scope: Scope
) -> tuple[str, str] | None:
    """Code of the parts as one text, and of the first."""
    code = c.code
    parts = []
    with c.within(formula):
        for item in tree.items:
            value = text_of(c, c.expression(item, scope, "text"), item)
            if value.is_absent or value.kind.name not in TEXT_LIKE or value.kind.many:
                c.error(item, f"a part of a key is one text, not {value.kind}")
                return None
            if value.maybe:
                _may_be_absent(c, step, formula.node, formula.at(item))
                code.emit(f"if {value.code} is None: raise making.no_identity({code.constant(step.create)})")
            parts.append(value.code)
    if not parts:
        c.problems.error(formula.node, "the key is always absent; the resource could not be distinguished from others")
        return None
    joined = c.kept(f"'\\x1f'.join(({', '.join(parts)},))")
    return joined, parts[0]


def _check_rounds(c: Compilation, step: Step, scope: Scope, inner: Scope) -> None:
    """Warn of a key that reads nothing of the group of its loop: all rounds would make one resource."""
    assert inner.group is not None
    if inner.group is c.setting.root or step.key is None:
        return
    segments = {segment for group in inner.group.walk() for segment in group.segments}
    read = _paths_of(step.key, scope, set()) if isinstance(step.key, Formula) else []
    if not any(path.segment in segments for path in read):
        name = inner.group.name
        c.problems.warning(
            step.key.node,
            f"the key is the same in every round of each: {name}; one could not be distinguished from another; "
            f"add a field of {name}",
        )


def check_key(c: Compilation, step: Step, scope: Scope, kind: str) -> None:
    """Warn where a key cannot distinguish two resources of a loop, or overwrites a person."""
    if kind == "Patient" and step.request == "update":
        assert step.create_node is not None
        c.problems.warning(
            step.create_node, "request: update overwrites what the server knows of a Patient; write create_if_none"
        )
    inner = scope.group_scope()
    if kind in _OF_A_ROUND and step.request in ("update", "create") and inner.group is not None:
        _check_rounds(c, step, scope, inner)
    if kind != "Observation" or not isinstance(step.key, Formula):
        return
    if c.setting.message_format == "hl7v2" and inner.group is not None and "OBX" in inner.group.segments:
        read = {(path.segment, path.field) for path in _paths_of(step.key, scope, set())}
        if ("OBX", 3) in read and ("OBX", 4) not in read:
            c.problems.warning(
                step.key.node,
                "the key lacks OBX-4: two results of one code could not be distinguished; add OBX-4.1 | ''",
            )


def _paths_of(formula: Formula, scope: Scope, seen: set[int]) -> list[nodes.Path]:
    """All paths that an expression reads, through the variables it names."""
    found: list[nodes.Path] = []
    for part in nodes.walk(formula.tree):
        if isinstance(part, nodes.Path):
            found.append(part)
        elif isinstance(part, nodes.Name):
            variable = scope.find(part.name)
            if isinstance(variable, Variable) and isinstance(variable.value, Formula) and id(variable) not in seen:
                seen.add(id(variable))
                found += _paths_of(variable.value, variable.scope, seen)
    return found
