"""Values that are computed less often than their place suggests: once for a loop around it, or once for many messages.

Where an expression depends on nothing but what is outside of a loop, its value is computed in the first round that
needs it. Where it depends on nothing but fields that recur from message to message, it is kept (`recurring`).
"""

from collections.abc import Callable
from typing import Any

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Lazy, Made, Scope, Variable
from engine.mapping.compiler.source.code import FLAG, NOTHING, Val
from engine.mapping.compiler.source.recurring import Kept, Reading, Recurring, recurring
from engine.mapping.compiler.source.values import common_kind, once, with_code
from engine.mapping.functions import FUNCTIONS
from engine.mapping.language import nodes
from engine.mapping.language.rules import Formula

# -- of a loop ---------------------------------------------------------------------------------------------------------


def outside_the_loop(c: Compilation, part: nodes.Expression, scope: Scope, want: str, home: Scope) -> Val:
    """An expression in which nothing changes from round to round: computed in the first one that needs it."""
    key = ("same", id(part), id(scope), want)
    lazy = c.invariant.get(key)
    if lazy is None:
        formula = c.formula

        def build() -> Val:
            with c.within(formula):
                return c.computed(part, scope, want)

        lazy = c.invariant[key] = Lazy(build, home.loop, home.slot, key=key)
    return once(c, lazy)


def home_of(c: Compilation, part: nodes.Expression, scope: Scope) -> Scope | None:
    """Where an expression is to be computed; None where that cannot be said."""
    return scope.outermost() if _is_same_everywhere(part) else _innermost(c, part, scope)


def _innermost(c: Compilation, part: nodes.Expression, scope: Scope) -> Scope | None:
    """The innermost scope that an expression depends on; None where that cannot be said."""
    key = id(part), id(scope)
    if key not in c.homes:  # ``part`` and ``scope`` are kept alive by the entry
        c.homes[key] = part, scope, None  # of a name that is part of itself
        c.homes[key] = part, scope, _innermost_of_parts(c, part, scope)
    return c.homes[key][2]


def _innermost_of_parts(c: Compilation, part: nodes.Expression, scope: Scope) -> Scope | None:
    found: Scope | None = None
    for inner in c.walks.of(part):
        here: Scope | None = None
        match inner:
            case nodes.Path(segment=segment, which=None):
                here = scope.owner_of(segment)
            case nodes.Path():
                return None
            case nodes.TreePath(text=text):
                here = scope.group_scope() if text.startswith("@") else scope.outermost()
            case nodes.Name(name=name):
                here = _home_of_name(c, name, scope)
            case _:
                continue
        if here is None:
            return None
        if found is None or here.loop > found.loop:
            found = here
    return found


def _home_of_name(c: Compilation, name: str, scope: Scope) -> Scope | None:
    holder = scope.holder_of(name)
    if holder is None:
        return None
    named = holder.names[name]
    if isinstance(named, Made):
        return holder.frame()
    return _innermost(c, named.value.tree, named.scope) if isinstance(named.value, Formula) else None


# -- over messages -----------------------------------------------------------------------------------------------------


def recurs(c: Compilation, part: nodes.Expression, scope: Scope) -> Reading | None:
    """What an expression reads whose value is to be kept from message to message; None for all others.

    Not a part of one that is kept already.
    """
    return None if c.traced or c.keeping or not c.code.loop else reading_of(c, part, scope)


def reading_of(c: Compilation, part: nodes.Expression, scope: Scope) -> Reading | None:
    """As `recurs`, also of a part of one that is kept."""
    # A part is asked about again with every part around it. ``part`` and ``scope`` are kept alive by the entry.
    key = (id(part), id(scope), tuple((named, which) for named, (which, _) in c.taken.items()))
    known = c.looked_at.get(key)
    if known is None:
        known = c.looked_at[key] = part, scope, recurring(part, scope, c.taken, c.walks)
    reading = known[2]
    return reading if reading is not None and reading.home is not None and reading.home.loop == c.code.loop else None


def keep(c: Compilation, key: Any, reading: Reading, build: Callable[[], Val]) -> Val:
    """A value that is computed in the first message that needs it, and kept (see `recurring`)."""
    if reading.choice is not None:
        return _keep_either(c, key, reading, reading.choice, build)
    home = reading.home
    assert home is not None
    key = (*key, *sorted(reading.decided))
    kept = home.values.get(key)
    if kept is None:
        before = c.formula, c.keeping, c.hoisted, c.asked
        c.keeping, c.hoisted, c.asked = home.written + 1, {}, []

        def built() -> Val:
            value = build()
            home.needs[key] = _always_asked(c, home)
            return value

        try:
            kept = home.compile(c.code, key, reading.fields, built)
        finally:
            c.formula, c.keeping, c.hoisted, c.asked = before
    return kept if isinstance(kept, Val) else _read(c, home, key, kept)


def _read(c: Compilation, home: Recurring, key: object, kept: Kept) -> Val:
    """A kept value at this point, behind those that it is always made of."""
    code = c.code
    known = ("kept", home.number, key, c.keeping)
    if known not in code.available:
        for other in home.needs[key]:
            needed = home.values[other]
            assert isinstance(needed, Kept)
            _read(c, home, other, needed)
        variable = kept.variable
        if c.keeping:
            variable = code.new()
            code.emit(f"{variable} = {kept.of.list}[{kept.place}]")
        call = f"{kept.function}(m, making, {home.arguments})"
        code.emit(f"if {variable} is UNSET: {variable} = {call}")
        if c.keeping:
            c.asked.append((key, known, code.slot()))
        c.remember(known, Val(variable, kept.value.kind, kept.value.maybe))
    return c.values[known]


def _always_asked(c: Compilation, home: Recurring) -> tuple[object, ...]:
    """The kept values that were read on every way to this point, the end of a function; the others note the reading."""
    always: dict[object, None] = {}
    for key, known, behind in c.asked:
        if known in c.code.available:
            always[key] = None
            continue
        kept = home.values[key]
        assert isinstance(kept, Kept)
        with c.code.into(behind):
            c.code.emit(f"elif {home.memory}.passing: {home.memory}.ask({kept.of.list}, {kept.place})")
    return tuple(always)


def _keep_either(c: Compilation, key: Any, reading: Reading, variable: Variable, build: Callable[[], Val]) -> Val:
    """A value made of a let that is one of two: kept for both, and chosen as the let is."""
    code = c.code
    assert isinstance(variable.value, Formula)
    tree = variable.value.tree
    assert isinstance(tree, nodes.Choice)
    test = once(c, test_of(c, variable, tree))
    chosen = code.new()
    values = []
    for which, (head, branch) in enumerate(((f"if {test.code}:", tree.then), ("else:", tree.other))):
        with code.block(head):
            before, c.taken = c.taken, {**c.taken, id(variable): (which, branch)}
            try:
                inner = reading_of(c, reading.part, reading.scope)
                value = build() if inner is None else keep(c, key, inner, build)
            finally:
                c.taken = before
            code.emit(f"{chosen} = {value.code}")
        values.append(value)
    one, other = values
    if one.is_absent or other.is_absent:
        return NOTHING if one.is_absent and other.is_absent else Val(chosen, (other if one.is_absent else one).kind)
    return Val(chosen, common_kind(with_code(one), with_code(other)), one.maybe or other.maybe)


def test_of(c: Compilation, variable: Variable, tree: nodes.Choice) -> Lazy:
    """Which of its two values a let has: computed once a round, where it is first needed."""
    key = (id(tree), id(variable.scope))  # a fragment has one tree, and a scope for each use
    known = c.tests.get(key)
    if known is None:
        assert isinstance(variable.value, Formula)
        formula = variable.value

        def build() -> Val:
            with c.at(formula.node), c.within(formula):
                return Val(c.kept(c.truth(tree.condition, variable.scope)), FLAG, maybe=False)

        known = c.tests[key] = Lazy(build, variable.loop, variable.slot, key=("test", id(variable)))
    return known


def _is_same_everywhere(part: nodes.Expression) -> bool:
    """Whether a call has one value in the whole message: a setting, a system that only this channel uses."""
    return isinstance(part, nodes.Call) and all(
        isinstance(inner, nodes.Literal)
        or (isinstance(inner, nodes.Call) and inner.name in FUNCTIONS and FUNCTIONS[inner.name].whole_message)
        for inner in nodes.walk(part)
    )
