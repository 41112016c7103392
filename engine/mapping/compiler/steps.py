"""Steps to lines of Python: the outermost part of a generated mapping.

for g2 in root.groups.get(K0, ()):          each: PATIENT_RESULT
    ...                                     its segments, then its steps
    i9 = own_id(K7, join_key(...))          create: Observation, request: update
    r10 = {"resourceType": K7, "id": i9, ...}
    v11 = put(K7, i9, r10)                  v11 is the reference that ref() gives

`each:` to loops over groups and segments.
"""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents.resources import add_to, create
from engine.mapping.compiler.fragments import check_used, enter_fragment, fragment_of, with_lets
from engine.mapping.compiler.made_names import called, gathered, hand_out, hand_out_nothing
from engine.mapping.compiler.scopes import Made, Scope, Segments, bind_segments, declare, is_z_segment, z_segments_from
from engine.mapping.compiler.source.code import Slot
from engine.mapping.compiler.source.recurring import KeptValues, Recurring
from engine.mapping.compiler.terms.expressions import condition
from engine.mapping.compiler.terms.paths import count_round, tree_loop
from engine.mapping.language.rules import Let, Step
from engine.mapping.language.structures import JSON, Group
from engine.mapping.message.message_context import RESULT_SEGMENT
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.spelling import suggestion


def compile_each(c: Compilation, step: Step, scope: Scope, before: Slot) -> Made | None:
    """A loop over a group or over segments; the list of what it makes."""
    assert step.each_node is not None
    here = scope.group_scope()
    assert here.group is not None
    if c.setting.message_format == JSON:
        return _compile_tree_loop(c, step, scope, before)
    group = here.group.groups.get(step.each)
    if group is not None:
        head = f"{here.variable}.groups.get({c.code.constant(step.each)}, ())"
        return _loop(c, step, scope, before, group, head, None)
    if step.each in here.group.segments:
        c.setting.segments_read.add(step.each)
        segments = c.noted(bind_segments(c.code, here, step.each))
        return _loop(c, step, scope, before, here.group, f"{segments.segments} or ()", step.each)
    if is_z_segment(step.each):
        c.setting.segments_read.add(step.each)
        head = z_segments_from(c.code, scope, step.each)
        return _loop(c, step, scope, before, here.group, head, step.each)
    if _is_elsewhere(c, here.group, step.each):
        hand_out_nothing(step, scope)
        return None
    way = here.group.way_to(step.each)
    known = [*here.group.groups, *sorted(here.group.segments)]
    if way:
        text = f"{step.each} is inside {way[0]}; put each: {way[0]} around it"
    else:
        text = f"{here.group.name} has no group {step.each}{suggestion(step.each, known)}"
    c.problems.error(step.each_node, text)
    return None


def _compile_tree_loop(c: Compilation, step: Step, scope: Scope, before: Slot) -> Made | None:
    """A loop over the values of a list, or over one value that is no list."""
    found = tree_loop(c, step, scope)
    if found is None:
        return None
    head, place, positions = found
    return _loop(c, step, scope, before, c.setting.root, head, None, (place, positions))


def _is_elsewhere(c: Compilation, here: Group, name: str) -> bool:
    """Whether another structure that the mapping reads has this group here: a loop over it has no rounds."""
    if here is c.setting.root:
        return any(name in root.groups for root in c.setting.others)
    return any(name in group.groups for root in c.setting.others for group in root.walk() if group.name == here.name)


def _loop(
    c: Compilation,
    step: Step,
    scope: Scope,
    before: Slot,
    group: Group,
    head: str,
    segment: str | None,
    place: tuple[str, tuple[str, ...]] = ("$", ()),
) -> Made | None:
    code = c.code
    item = code.new("g")
    result = RESULT_SEGMENT[c.setting.message_format]
    has_results = segment is None and result in group.segments
    mark = code.new("n")
    if has_results:
        code.emit(f"{mark} = making.made_and_dropped()")
    with code.loop_over(f"for {item} in {head}:"):
        if segment is None:
            inner = Scope(scope, code.slot(), code.loop, group=group, variable=item)
            inner.place, inner.positions = place
            count_round(c, inner)
            if has_results and not c.traced and c.target.kind != "results":  # facts keep measures
                inner.recurring = _recurring_results(c, inner, result)
            place_problems(c, inner)
        else:
            inner = _segment_scope(c, scope, item, segment)
        inner.picks = step.where is not None
        declare(inner, code, step.lets)
        if step.filter is not None:
            test = condition(c, step.filter.when, inner)
            with code.block(f"if {test}:"):
                code.emit(f"m.filter_out({inner.group_scope().variable}, {code.constant(step.filter.name)})")
                code.emit("continue")
        if step.where is not None:
            test = condition(c, step.where, inner)
            code.emit(f"if not ({test}): continue")
        inner_before = code.slot()
        if has_results:
            with code.trying():
                inside = c.act(step, inner, inner, inner_before)
            with code.block("except Dropped:"):
                code.emit(f"making.drop_row({item})")
        else:
            inside = c.act(step, inner, inner, inner_before)
        end = code.slot()
        check_used(c, inner)
    if inner.recurring is not None:
        inner.recurring.finish(code, c.function_start)
    place_problems(c, scope.group_scope())
    if has_results:
        code.emit(f"making.check_drops({mark})")
    made = gathered(c, step, inside, before, end, scope)
    hand_out(c, inner, scope, before, end)
    return made


def _recurring_results(c: Compilation, scope: Scope, result: str) -> Recurring:
    """What this loop over results keeps; fetched behind the binding of its results."""
    code = c.code
    segments = c.noted(bind_segments(code, scope, result))
    with code.into(scope.slot):
        load = code.slot()
    number, plain, ranged = len(c.recurring), KeptValues(code.new("l")), KeptValues(code.new("l"))
    made = Recurring(number, code.loop, segments, load, code.new("l"), plain, ranged)
    c.recurring.append(made)
    return made


def _segment_scope(c: Compilation, scope: Scope, item: str, segment: str) -> Scope:
    """The scope of a loop over segments: one of them is what its name means inside."""
    code = c.code
    slot = code.slot()
    inner = Scope(scope, slot, code.loop)
    number = code.new("")
    with code.into(slot):
        code.emit(f"s{number} = ({item},)")
        code.emit(f"f{number} = {item}.fields")
        inner.preset[segment] = c.noted(Segments(segment, f"s{number}", f"f{number}", code.slot()))
        code.emit(f"m.at = {item}")
    return inner


def place_problems(c: Compilation, scope: Scope) -> None:
    """Say which segment problems are placed at from here on."""
    assert scope.group is not None
    anchor = scope.group.anchor
    if anchor and anchor in scope.group.segments:
        segments = c.noted(bind_segments(c.code, scope, anchor))
        c.code.emit(f"m.at = {segments.segments}[0] if {segments.segments} else None")


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
