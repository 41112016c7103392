"""`create:` and `add_to:` steps: resources with their ids, and elements for those that are made already.

Natural keys: what the sender calls a resource by, which its id is made of.
"""

from engine.config.reading.yaml_nodes import Node
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents.bodies import build_elements, build_resource
from engine.mapping.compiler.documents.contents import note_numbers
from engine.mapping.compiler.documents.orders import account, order_scope, order_time, person_fields, scoped_key
from engine.mapping.compiler.made_names import called
from engine.mapping.compiler.scopes import Made, Scope, Variable, bind_segments
from engine.mapping.compiler.source.code import NOTHING, TEXT, TEXT_LIKE, Val
from engine.mapping.compiler.source.keeping import keep, recurs, rule_and_function, rule_value, text_of
from engine.mapping.fhir import r4
from engine.mapping.language import rules
from engine.mapping.language.rules import Formula, Step, Text
from engine.model.texts.spelling import suggestion

# Resources that a group has of its own; a Specimen may be of several.
_OF_A_ROUND = frozenset({"DiagnosticReport", "Observation"})


def natural_key(c: Compilation, step: Step, scope: Scope, kind: str) -> tuple[str, str, str] | None:
    """Code of the natural key as one text, of the Identifier it is (or None), and of its first part."""
    code = c.code
    assert step.key is not None
    formula, read_in = _key_formula(step.key, scope)
    _note_numbers(c, step, formula, read_in)
    if isinstance(formula, Formula) and isinstance(formula.tree, rules.ListOf):
        return _list_key(c, step, formula, formula.tree, read_in)
    value = rule_value(c, formula, read_in, "text")
    if value.is_absent:
        c.problems.error(step.key.node, "the key is always absent; the resource could not be distinguished from others")
        return None
    if value.kind.name == "field":
        value = text_of(c, value, rules.Absent(0))
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
    several = isinstance(formula.tree, rules.ListOf)
    parts = formula.tree.items if isinstance(formula.tree, rules.ListOf) else (formula.tree,)
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
    while isinstance(value, Formula) and isinstance(value.tree, rules.Name):
        variable = scope.find(value.tree.name)
        if not isinstance(variable, Variable) or variable.value is None or id(variable) in seen:
            break
        seen.add(id(variable))
        variable.used = True
        value, scope = variable.value, variable.scope
    return value, scope


def _list_key(
    c: Compilation, step: Step, formula: Formula, tree: rules.ListOf, scope: Scope
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
    c: Compilation, step: Step, formula: Formula, tree: rules.ListOf, scope: Scope
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


def _paths_of(formula: Formula, scope: Scope, seen: set[int]) -> list[rules.Path]:
    """All paths that an expression reads, through the variables it names."""
    found: list[rules.Path] = []
    for part in rules.walk(formula.tree):
        if isinstance(part, rules.Path):
            found.append(part)
        elif isinstance(part, rules.Name):
            variable = scope.find(part.name)
            if isinstance(variable, Variable) and isinstance(variable.value, Formula) and id(variable) not in seen:
                seen.add(id(variable))
                found += _paths_of(variable.value, variable.scope, seen)
    return found


# Resources whose natural key holds the patient and the day of measurement, because counters restart.
SCOPED = frozenset({"Composition", "DiagnosticReport", "Media", "Observation", "ServiceRequest", "Specimen", "Task"})


def create(c: Compilation, step: Step, scope: Scope, outer: Scope) -> Made | None:
    """A `create:` step: a resource with its key."""
    code = c.code
    assert step.create_node is not None
    kind = step.create
    if kind not in r4.RESOURCES:
        c.problems.error(step.create_node, f"{kind} is no resource that is written{suggestion(kind, r4.RESOURCES)}")
        return None
    if step.body is None:
        return None
    if step.key is None:
        c.problems.error(step.create_node, f"{kind} needs key:, what the sender calls it by; its id comes from it")
        return None
    variable = code.new("v")
    with code.into(outer.frame().slot):
        code.emit(f"{variable} = None")
    made = Made(step.name, step.name_node or step.create_node, variable, False, frozenset({kind}))
    if c.traced:
        _trace_begin(c, step, scope)
    check_key(c, step, scope, kind)
    key = natural_key(c, step, scope, kind)
    if key is None:
        return made
    key_code, identifier, number = key
    if c.traced:
        if kind in SCOPED:
            _trace_time(c, kind, scope)
        _trace_key(c, step.key, scope)
    if kind == "Patient":
        frame = outer.frame()
        if not frame.patient:
            frame.patient = code.new("p")
            with code.into(frame.slot):
                code.emit(f"{frame.patient} = None")
        key_code = _patient_key(
            c, frame.patient, key_code, identifier, scope, master=step.request == "update_by_identifier"
        )
    if kind in SCOPED:
        key_code = scoped_key(c, key_code, kind, scope)
    _put(c, step, kind, scope, variable, key_code, identifier)
    if kind in ("DiagnosticReport", "Composition"):
        patient = scope.patient_variable() or "None"
        person = person_fields(c, scope)
        code.emit(f"making.report({number}, {patient}, {order_time(c, scope)}, {person})")
    if kind == "Observation":
        account(c, scope, variable)
    return called(c, step, made, outer)


def _patient_key(c: Compilation, patient: str, key: str, identifier: str, scope: Scope, *, master: bool) -> str:
    """The key of a Patient: by its number, where that lasts; sets what keys of results hold in its place."""
    code = c.code
    if identifier == "None":  # the mapping's own: a name within an order
        code.emit(f"{patient} = {key}")
        return patient
    variable = code.new()
    fields = person_fields(c, scope)
    code.emit(f"{patient} = making.whose({identifier}, {scope.group_scope().variable}, {fields}, {master})")
    code.emit(f"{variable} = making.patient_key({patient}, {scope.group_scope().variable})")
    return variable


def _put(c: Compilation, step: Step, kind: str, scope: Scope, variable: str, key: str, identifier: str) -> None:
    """Build the resource and add it to the document, or take the one that this message made before."""
    code = c.code
    assert step.body is not None
    name = code.constant(kind)
    first = [f"'resourceType': {name}"]
    identity = code.new("i")
    scoped = kind in SCOPED
    if step.request == "update_by_identifier":
        code.emit(f"{identity} = shared_id({name}, {key})")
        resource = build_resource(c, step.body, kind, scope, first)
        code.emit(f"{variable} = making.put_matched({name}, {identity}, {resource}, {identifier}, {scoped})")
        _trace_made(c, variable, resource)
        return
    if step.request == "create_if_none":
        code.emit(f"{identity} = shared_id({name}, {key})")
        code.emit(f"{variable} = made.get({identity})")
        with code.block(f"if {variable} is None:"):
            resource = build_resource(c, step.body, kind, scope, first)
            code.emit(f"{variable} = put_shared({name}, {identity}, {resource}, {identifier}, {scoped})")
            _trace_made(c, variable, resource)
        if c.traced:
            code.emit("else: T.abandon()")
        return
    code.emit(f"{identity} = own_id({name}, {key})")
    resource = build_resource(c, step.body, kind, scope, [*first, f"'id': {identity}"])
    code.emit(f"{variable} = put({name}, {identity}, {resource}, {code.constant(step.request)})")
    _trace_made(c, variable, resource)


def add_to(c: Compilation, step: Step, scope: Scope) -> None:
    """Elements for a resource that the message made before: those that it lacks, and more items of its lists."""
    code = c.code
    if step.which is None or step.body is None:
        return
    which = rule_value(c, step.which, scope)
    if which.is_absent:
        return
    if which.kind.name != "Reference" or which.kind.many:
        c.problems.error(step.which.node, f"which: is one reference, as =ref(x), and this is {which.kind}")
        return
    with code.block(f"if {which.code} is not None:"):
        if c.traced:
            _trace_begin(c, step, scope)
            _trace_key(c, step.which, scope)
        elements = build_elements(c, step.body, step.add_to, scope)
        code.emit(f"making.add_to({which.code}, {elements})")
        _trace_made(c, which.code, elements)


def _trace_begin(c: Compilation, step: Step, scope: Scope) -> None:
    code = c.code
    node = step.create_node or step.node
    rule = code.constant(f"{node.file}:{node.line}")
    kind, request = code.constant(step.create or step.add_to), code.constant(step.request)
    code.emit(f"T.begin({kind}, {request}, {rule}, {code.constant(scope.uses())})")
    code.emit("T.open()")


def _trace_key(c: Compilation, key: Formula | Text, scope: Scope) -> None:
    rule, function = rule_and_function(key) if isinstance(key, Formula) else (f"{key.node.file}:{key.node.line}", "")
    uses = c.code.constant(scope.uses())
    c.code.emit(f"T.key({c.code.constant(rule)}, {c.code.constant(function)}, {uses})")


def _trace_time(c: Compilation, kind: str, scope: Scope) -> None:
    """Say which time keeps restarting numbers apart, beside what the key is made of."""
    holder = scope.owner_of(c.setting.identity.result) if kind == "Observation" else None
    result = "None"
    if holder is not None:
        segments = c.noted(bind_segments(c.code, holder, c.setting.identity.result))
        patient = scope.patient_variable()
        alone = f"{segments.segments} and {patient} is None" if patient else segments.segments
        result = f"{segments.segments}[0] if {alone} else None"
    c.code.emit(f"scope.tell_time({order_scope(c, scope).variable}, {result})")


def _trace_made(c: Compilation, variable: str, resource: str) -> None:
    if c.traced:
        c.code.emit(f"T.made({variable}, {resource})")
