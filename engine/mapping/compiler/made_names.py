"""`as:` names what steps make: a reference behind a step, a list of them behind a loop."""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Made, Scope
from engine.mapping.compiler.source.code import Slot
from engine.mapping.language.rules import Step


def called(c: Compilation, step: Step, made: Made | None, scope: Scope) -> Made | None:
    """Give ``made`` the name that `as:` says, in ``scope``."""
    if not step.name:
        return made
    assert step.name_node is not None
    if made is None:
        c.problems.error(step.name_node, "as: names what the step makes, and it makes no resource")
        return None
    earlier = scope.names.get(step.name)
    if isinstance(earlier, Made) and not earlier.many and not made.many:
        # Two steps with one name (one `when:` each): whichever ran gives the value.
        c.code.emit(f"if {made.variable} is not None: {earlier.variable} = {made.variable}")
        earlier.resources |= made.resources
        return earlier
    named = Made(step.name, step.name_node, made.variable, made.many, made.resources, made.needed)
    scope.names[step.name] = named
    return named


def gathered(c: Compilation, step: Step, inside: Made | None, before: Slot, end: Slot, scope: Scope) -> Made | None:
    """What a loop made, as a list; gathered only if something asks for it."""
    if inside is None:
        if step.name:
            assert step.name_node is not None
            c.problems.error(step.name_node, "as: names what the loop makes, and it makes no resource")
        return None
    made = _list_over(c, inside, before, end)
    if step.name:
        assert step.name_node is not None
        made.name, made.node = step.name, step.name_node
        scope.names[step.name] = made
    return made


def _list_over(c: Compilation, inside: Made, before: Slot, end: Slot) -> Made:
    """A list over the rounds of a loop; its code is written when the list is first used."""
    code = c.code
    variable = code.new("l")

    def needed() -> None:
        inside.use()
        with code.into(before):
            code.emit(f"{variable} = []")
        with code.into(end):
            if inside.many:
                code.emit(f"{variable} += {inside.variable}")
            else:
                code.emit(f"if {inside.variable} is not None: {variable}.append({inside.variable})")

    return Made(inside.name, inside.node, variable, True, inside.resources, needed)


def hand_out(c: Compilation, inner: Scope, outer: Scope, before: Slot, end: Slot | None) -> None:
    """Names that a block or loop made are known behind it: the same, or lists where it was a loop."""
    for name, made in inner.names.items():
        if isinstance(made, Made) and name not in outer.names and made.name == name:
            outer.names[name] = _list_over(c, made, before, end) if end is not None else _list_begun(c, made, before)


def _list_begun(c: Compilation, made: Made, before: Slot) -> Made:
    """What a block made, known behind it: a list begins before the block, which a condition may pass by."""
    if not made.many:
        return made

    def needed() -> None:
        with c.code.into(before):
            c.code.emit(f"{made.variable} = []")
        made.use()

    return Made(made.name, made.node, made.variable, True, made.resources, needed)


def hand_out_nothing(step: Step, scope: Scope) -> None:
    """The names that a loop would hand out, each an empty list: it has no rounds."""
    waiting = [step]
    while waiting:
        inner = waiting.pop()
        waiting += inner.steps or ()
        if inner.name and inner.name not in scope.names:
            assert inner.name_node is not None
            scope.names[inner.name] = Made(inner.name, inner.name_node, "[]", True, frozenset(), used=True)
