"""The order, the time and the patient that results belong to: what keeps restarting numbers apart."""

from collections.abc import Callable
from typing import Any

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Lazy, Scope, Segments, bind_outwards, bind_segments
from engine.mapping.compiler.source.code import NOTHING, Val
from engine.mapping.compiler.source.keeping import once
from engine.mapping.message.message_context import RESULT_SEGMENT


def order_scope(c: Compilation, scope: Scope) -> Scope:
    """The group whose time of measurement counts: the nearest that has an order in it."""
    wanted = c.setting.identity.order
    scopes = scope.group_scopes()
    for candidate in scopes:
        assert candidate.group is not None
        if candidate.group.holds(wanted):
            return candidate
    return scopes[-1]


def _once(c: Compilation, owner: Scope, name: Any, source: Callable[[], str]) -> str:
    """The variable of a value of the engine's own, computed once in its group: it has no place in the trace."""
    lazy = owner.identities.get(name)
    if lazy is None:

        def build() -> Val:
            return Val(c.kept(source()), NOTHING.kind, maybe=False)

        lazy = owner.identities[name] = Lazy(build, owner.loop, owner.slot, key=(name, id(owner)))
    traced, c.traced = c.traced, False
    try:
        return once(c, lazy).code
    finally:
        c.traced = traced


def order_time(c: Compilation, scope: Scope) -> str:
    """The variable of the order's time."""
    owner = order_scope(c, scope)
    return _once(c, owner, "time", lambda: f"scope.order_time({owner.variable})")


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
    suffix = _once(c, owner, ("scope", patient), lambda: f"scope.of({patient or 'None'}, {order_time(c, scope)})")
    alone = ""  # where nothing but the time says whose a result is, and of which day
    if kind == "Observation" and (segments := results_at_hand(c, scope)) is not None:
        numbers = c.setting.identity.result_time
        segments.width = max(segments.width, max(numbers) + 1)
        alone = f"scope.alone({' or '.join(f'{segments.fields}[{number}]' for number in numbers)} or "
    elif kind == "DiagnosticReport":
        alone = f"scope.report_alone({owner.variable}, "
    if alone:
        variable = c.kept(suffix)
        test = f"{patient + ' is None and ' if patient else ''}not scope.of_a_day"
        code.emit(f"if {test}: {variable} = {alone}{order_time(c, scope)})")
        suffix = variable
    return c.kept(f"{key} + {suffix}")


def results_at_hand(c: Compilation, scope: Scope) -> Segments | None:
    """The segments of results that a scope sees; None where it sees none."""
    name = RESULT_SEGMENT[c.setting.message_format]
    holder = scope.owner_of(name)
    return None if holder is None else c.noted(bind_segments(c.code, holder, name))


def account(c: Compilation, scope: Scope, made: str) -> None:
    """A result became an Observation: the count at the end must come out even."""
    segments = results_at_hand(c, scope)
    if segments is not None:
        c.code.emit(f"if {segments.segments}: accounted[{segments.segments}[0].position] = {made}")
