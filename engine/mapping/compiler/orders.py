"""The order, the time and the patient that results belong to: what keeps restarting numbers apart."""

from engine.mapping.compiler.code import NOTHING, Val
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Lazy, Scope, bind_outwards, bind_segments
from engine.mapping.compiler.values import once
from engine.mapping.message_context import RESULT_SEGMENT


def order_scope(c: Compilation, scope: Scope) -> Scope:
    """The group whose time of measurement counts: the nearest that has an order in it."""
    wanted = c.setting.identity.order
    scopes = scope.group_scopes()
    for candidate in scopes:
        assert candidate.group is not None
        if candidate.group.holds(wanted):
            return candidate
    return scopes[-1]


def order_time(c: Compilation, scope: Scope) -> str:
    owner = order_scope(c, scope)
    lazy = owner.identities.get("time")
    if lazy is None:

        def build() -> Val:
            variable = c.code.new()
            c.code.emit(f"{variable} = scope.order_time({owner.variable})")
            return Val(variable, NOTHING.kind, maybe=False)

        lazy = owner.identities["time"] = Lazy(build, owner.loop, owner.slot, key=("time", id(owner)))
    return _untraced(c, lazy)


def person_fields(c: Compilation, scope: Scope) -> str:
    """The fields of the segment that says who the patient at hand is: the engine's own reading, no rule's."""
    name = c.setting.identity.person
    owner = scope.owner_of(name)
    bound = bind_outwards(c.code, scope, name) if owner is None else bind_segments(c.code, owner, name)
    return bound.fields


def scoped_key(c: Compilation, key: str, kind: str, scope: Scope) -> str:
    """The key with what keeps restarting counters apart: patient and day, or the time where no patient is named."""
    code = c.code
    owner = order_scope(c, scope)
    patient = scope.patient_variable()
    name = ("scope", patient)
    lazy = owner.identities.get(name)
    if lazy is None:

        def build() -> Val:
            time = order_time(c, scope)
            variable = c.code.new()
            c.code.emit(f"{variable} = scope.of({patient or 'None'}, {time})")
            return Val(variable, NOTHING.kind, maybe=False)

        lazy = owner.identities[name] = Lazy(build, owner.loop, owner.slot, key=(name, id(owner)))
    suffix = _untraced(c, lazy)
    if kind == "Observation":
        result = RESULT_SEGMENT[c.setting.message_format]
        holder = scope.owner_of(result)
        if holder is not None:
            segments = c.noted(bind_segments(code, holder, result))
            numbers = c.setting.identity.result_time
            segments.width = max(segments.width, max(numbers) + 1)
            own = " or ".join(f"{segments.fields}[{number}]" for number in numbers)
            variable = code.new()
            code.emit(f"{variable} = {suffix}")
            test = _is_alone(patient)
            code.emit(f"if {test}: {variable} = scope.alone({own} or {order_time(c, scope)})")
            suffix = variable
    elif kind == "DiagnosticReport":
        variable = code.new()
        code.emit(f"{variable} = {suffix}")
        test = _is_alone(patient)
        alone = f"scope.report_alone({owner.variable}, {order_time(c, scope)})"
        code.emit(f"if {test}: {variable} = {alone}")
        suffix = variable
    joined = code.new()
    code.emit(f"{joined} = {key} + {suffix}")
    return joined


def _is_alone(patient: str) -> str:
    """Whether nothing but the time says whose a result is."""
    return f"{patient + ' is None and ' if patient else ''}not scope.of_a_day"


def _untraced(c: Compilation, lazy: Lazy) -> str:
    """A lazy value of the engine's own: it has no place in the trace."""
    traced, c.traced = c.traced, False
    try:
        return once(c, lazy).code
    finally:
        c.traced = traced


def account(c: Compilation, scope: Scope, made: str) -> None:
    """A result became an Observation: the count at the end must come out even."""
    result = RESULT_SEGMENT[c.setting.message_format]
    holder = scope.owner_of(result)
    if holder is not None:
        segments = c.noted(bind_segments(c.code, holder, result))
        c.code.emit(f"if {segments.segments}: accounted[{segments.segments}[0].position] = {made}")
