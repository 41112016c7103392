"""`each:` to loops over groups and segments."""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.fragments import check_used
from engine.mapping.compiler.made_names import gathered, hand_out, hand_out_nothing
from engine.mapping.compiler.scopes import Made, Scope, Segments, bind_segments, declare, is_z_segment, z_segments_from
from engine.mapping.compiler.source.code import Slot
from engine.mapping.compiler.source.recurring import KeptValues, Recurring
from engine.mapping.compiler.terms.expressions import condition
from engine.mapping.compiler.terms.tree_paths import count_round, tree_loop
from engine.mapping.language.rules import Step
from engine.mapping.language.structures import JSON, Group
from engine.mapping.message.message_context import RESULT_SEGMENT
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
