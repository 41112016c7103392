"""Steps to lines of Python: the outermost part of a generated mapping.

for g2 in root.groups.get(K0, ()):          each: PATIENT_RESULT
    ...                                     its segments, then its steps
    i9 = own_id(K7, join_key(...))          create: Observation, request: update
    r10 = {"resourceType": K7, "id": i9, ...}
    v11 = put(K7, i9, r10)                  v11 is the reference that ref() gives
"""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents.resources import add_to, create
from engine.mapping.compiler.fragments import check_used, enter_fragment, fragment_of, with_lets
from engine.mapping.compiler.loops import compile_each, place_problems
from engine.mapping.compiler.made_names import called, hand_out
from engine.mapping.compiler.scopes import Made, Scope, declare
from engine.mapping.compiler.source.code import Slot
from engine.mapping.compiler.terms.expressions import condition
from engine.mapping.language.rules import Let, Step
from engine.mapping.message.message_context import RESULT_SEGMENT
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.spelling import suggestion


def compile_mapping(c: Compilation, lets: tuple[Let, ...], steps: tuple[Step, ...]) -> None:
    """Write the body of the generated function, with ``root`` as the outermost group."""
    code = c.code
    slot = c.function_start = code.slot()
    scope = Scope(None, slot, 0, group=c.setting.root, variable="root")
    declare(scope, code, lets)
    place_problems(c, scope)
    compile_steps(c, steps, scope)
    check_used(c, scope)
    for segments in c.all_segments:
        segments.pad(code)


def compile_steps(c: Compilation, steps: tuple[Step, ...], scope: Scope) -> Made | None:
    """Steps in order; what the last resource step of them made."""
    last = None
    for step in steps:
        with c.at(step.node):
            last = _step(c, step, scope) or last
    return last


def _step(c: Compilation, step: Step, scope: Scope) -> Made | None:
    if step.when is not None:
        test = condition(c, step.when, scope)
        if test == "False":
            c.problems.warning(step.when.node, "this condition never holds; remove the step")
            return None
        if test != "True":
            before = c.code.slot()
            with c.code.block(f"if {test}:"):
                return _guarded_step(c, step, scope, before)
    return _guarded_step(c, step, scope, None)


def _guarded_step(c: Compilation, step: Step, scope: Scope, before: Slot | None) -> Made | None:
    if step.each:
        return compile_each(c, step, scope, before or c.code.slot())
    with with_lets(c, scope, step.lets) as inner:
        return c.act(step, inner, scope, before or c.code.slot())


def act(c: Compilation, step: Step, scope: Scope, outer: Scope, before: Slot) -> Made | None:
    """What a step does once its loop and condition are settled.

    Args:
        scope: with the step's own lets; ``outer`` gets the name that `as:` gives.
    """
    if step.create:
        return create(c, step, scope, outer)
    if step.make is not None:
        text = f"{step.make.kind}: is no part of fhir/R4, which this mapping writes; write create:"
        c.problems.error(step.make.node, text)
        return None
    if step.add_to:
        add_to(c, step, scope)
        return called(c, step, None, outer)
    if step.use is not None:
        return _use_steps(c, step, scope, outer)
    if step.steps is not None:
        inner = Scope(scope, c.code.slot(), c.code.loop)
        last = compile_steps(c, step.steps, inner)
        hand_out(c, inner, outer, before, None)
        return called(c, step, last, outer)
    if step.drop is not None:
        c.setting.segments_read |= _segments_dropped(c, step, scope.group_scope())
        c.code.emit(f"drop({scope.group_scope().variable})")
    elif step.dead is not None:
        _dead(c, step)
    elif step.warn is not None:
        name, colon, words = step.warn.text.partition(":")
        known = bool(colon) and name.isupper()  # warn: NOT_A_NUMBER: a text instead of a number
        code, text = (name, words.strip()) if known else ("RULE", step.warn.text)
        c.code.emit(f"warn({c.code.constant(code)}, {c.code.constant(text)})")
    return called(c, step, None, outer)


def _segments_dropped(c: Compilation, step: Step, here: Scope) -> set[str]:
    """The segments of which a drop says what becomes of them: those of a group that is always dropped.

    A segment that may occur elsewhere, or in a group that is kept, is reported as unread where no rule reads it.
    """
    assert here.group is not None
    result = {RESULT_SEGMENT[c.setting.message_format]}
    if step.when is not None or here.picks:
        return result
    inside = list(here.group.walk())
    elsewhere = [group for group in c.setting.root.walk() if group not in inside]
    own = set().union(*(group.segments for group in inside))
    return result | own.difference(*(group.segments for group in elsewhere))


def _dead(c: Compilation, step: Step) -> None:
    assert step.dead is not None
    reasons = {reason.value: reason for reason in ReasonCode}
    name, _, words = step.dead.text.partition(":")
    if name.strip() not in reasons:
        c.problems.error(step.dead.node, f"no reason is called {name}{suggestion(name, reasons)}")
        return
    reason = c.code.constant(reasons[name.strip()])
    text = c.code.constant(words.strip() or "a rule of the mapping says so")
    c.code.emit(f"raise m.dead({reason}, {text})")


def _use_steps(c: Compilation, step: Step, scope: Scope, outer: Scope) -> Made | None:
    assert step.use is not None
    use = step.use
    fragment = fragment_of(c, use)
    if fragment is None:
        return None
    if fragment.steps is None:
        c.problems.error(use.node, f"fragment {use.fragment} is a body; use it inside a body:")
        return None
    inner = enter_fragment(c, fragment, use, scope)
    if inner is None:
        return None
    last = compile_steps(c, fragment.steps, inner)
    check_used(c, inner)
    return called(c, step, last, outer)
