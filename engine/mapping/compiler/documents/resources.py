"""`create:` and `add_to:` steps: resources with their ids, and elements for those that are made already."""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents.bodies import build_elements, build_resource
from engine.mapping.compiler.documents.keys import check_key, natural_key
from engine.mapping.compiler.documents.orders import account, order_scope, order_time, person_fields, scoped_key
from engine.mapping.compiler.made_names import called
from engine.mapping.compiler.scopes import Made, Scope, bind_segments
from engine.mapping.compiler.source.values import rule_and_function, rule_value
from engine.mapping.fhir import r4
from engine.mapping.language.rules import Formula, Step, Text
from engine.model.texts.spelling import suggestion

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
    if kind == "DiagnosticReport":
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
