"""Values that are computed less often than their place suggests: once for a loop around it, or once for many messages.

Where an expression depends on nothing but what is outside of a loop, its value is computed in the first round that
needs it. Where it depends on nothing but fields that recur from message to message, it is kept (`recurring`).

Values of generated code: computed once, where they are first needed, and made to fit beside each other.
"""

import re
from collections.abc import Callable
from typing import Any

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Lazy, Made, Scope, Variable
from engine.mapping.compiler.source.code import FLAG, NOTHING, TEXT, TEXT_LIKE, Kind, Val
from engine.mapping.compiler.source.recurring import Kept, Reading, Recurring, recurring
from engine.mapping.functions import FUNCTIONS
from engine.mapping.language import rules
from engine.mapping.language.rules import Formula, Text

VARIABLE = re.compile(r"[a-z]\d+")


def rule_value(c: Compilation, value: Formula | Text, scope: Scope, want: str = "") -> Val:
    """A literal or an expression."""
    if isinstance(value, Text):
        return c.code.literal(value.text, TEXT)
    before, c.formula = c.formula, value
    rule, c.code.rule = c.code.rule, f"{value.node.file}:{value.node.line}"
    try:
        return c.expression(value.tree, scope, want)
    finally:
        c.formula, c.code.rule = before, rule


def trace_read(c: Compilation, segment: str, path: rules.Path, variable: str) -> None:
    """Note in the trace that a field was read."""
    if c.traced:
        c.code.emit(f"if {variable} is not None: T.read({segment}, {path.field}, {path.component})")


def _trace_use(c: Compilation, lazy: Lazy) -> None:
    if c.traced:
        c.code.emit(f"T.use({c.code.constant(lazy.variable)})")


def once(c: Compilation, lazy: Lazy) -> Val:
    """A value that is computed once per scope, where it is first needed."""
    code = c.code
    key = lazy.key or id(lazy)
    if key in code.available and lazy.value is not None:
        _trace_use(c, lazy)
        return lazy.value
    if lazy.value is not None and (lazy.value.known or lazy.value.code == "None"):
        return lazy.value
    if c.keeping and lazy.loop < code.loop:
        return _build(c, lazy)  # the function of a kept value cannot see variables of the mapping around it
    guard = key in code.maybe or lazy.loop < code.loop
    if not lazy.variable:
        lazy.variable = code.new("v")
    if guard:
        if not lazy.guarded:
            lazy.guarded = True
            with code.into(lazy.slot):
                code.emit(f"{lazy.variable} = UNSET")
            for slot, computed in lazy.unnamed:
                with code.into(slot):
                    code.emit(f"{lazy.variable} = {computed}")
        with code.block(f"if {lazy.variable} is UNSET:"):
            value = _build(c, lazy)
            code.emit(f"{lazy.variable} = {value.code}")
    else:
        value = _build(c, lazy)
        if lazy.guarded or not VARIABLE.fullmatch(value.code):
            code.emit(f"{lazy.variable} = {value.code}")
        elif not value.known:
            lazy.unnamed.append((code.slot(), value.code))
            lazy.value = value
            code.available.add(key)
            _trace_use(c, lazy)
            return value
    if value.known:
        lazy.value = value
        return value
    lazy.value = Val(lazy.variable, value.kind, value.maybe)
    code.available.add(key)
    _trace_use(c, lazy)
    return lazy.value


def _build(c: Compilation, lazy: Lazy) -> Val:
    if c.traced:
        c.code.emit("T.open()")
    value = lazy.build()
    if c.traced:
        c.code.emit(f"T.keep({c.code.constant(lazy.variable)}, {c.code.constant(lazy.told)})")
    return value


def text_of(c: Compilation, value: Val, part: rules.Expression) -> Val:
    """A field as its text; what is text already stays."""
    if value.kind.name != "field":
        return value
    if value.kind.many:
        return texts_of(c, value)
    variable = c.code.new()
    c.code.emit(f"{variable} = {text_source(c, value.code, False)}")
    return Val(variable, TEXT)


def texts_of(c: Compilation, value: Val) -> Val:
    """A list of fields as texts."""
    variable = c.code.new()
    c.code.emit(f"{variable} = {text_source(c, value.code, True)}")
    return Val(variable, TEXT.each())


def text_source(c: Compilation, code: str, many: bool) -> str:
    """The text of a field, or the texts of a list of them, as source."""
    if many:
        inner = c.code.new()
        source = f"[{inner} for {inner} in map(text, {code}) if {inner} is not None] or None"
        return f"{source} if {code} is not None else None"
    return f"{code} if {code} is None or {code}.isalnum() else {quick(code)}"


def quick(code: str) -> str:
    """The text of a raw value that is not empty: itself where it holds no delimiter, no escape and no outer blanks."""
    plain = " and ".join(f"{delimiter} not in {code}" for delimiter in "CRSX")
    return f"{code} if {plain} and {code}[0] > '\"' and {code}[-1] > ' ' else text({code})"


def as_list(c: Compilation, value: Val) -> Val:
    """A list of one value."""
    if value.known:
        return c.code.literal((value.constant,), value.kind.each())
    if not value.maybe:
        return Val(c.kept(f"[{value.code}]"), value.kind.each(), maybe=False)
    return Val(c.kept(f"[{value.code}] if {value.code} is not None else None"), value.kind.each())


def add_to_list(c: Compilation, variable: str, value: Val) -> None:
    """Add a value, or those of a list, to the list in a variable, where it is there."""
    add = f"{variable} += {value.code}" if value.kind.many else f"{variable}.append({value.code})"
    c.code.emit(f"if {value.code} is not None: {add}" if value.maybe else add)


def meet(c: Compilation, value: Val, other: Kind, part: rules.Expression) -> Val:
    """A value made to fit beside one of another kind."""
    if value.kind.name == "field" and other.name in TEXT_LIKE:
        value = text_of(c, value, part)
    if other.many and not value.kind.many:
        variable = c.kept(f"[{value.code}] if {value.code} is not None else None")
        value = Val(variable, value.kind.each(), value.maybe)
    one, two = value.kind.name, other.name
    if one != two and not (one in TEXT_LIKE and two in TEXT_LIKE) and not (two == "field" and one in TEXT_LIKE):
        c.error(part, f"one side is {other}, the other {value.kind}; both must be the same")
    elif value.kind.many and not other.many:
        c.error(part, f"one side is {other}, the other {value.kind}; take one with [0] or first()")
    return value


def common_kind(left: Kind, right: Kind) -> Kind:
    """The kind of a value that is one of two."""
    if left.name == right.name:
        codes = left.codes | right.codes if left.codes is not None and right.codes is not None else None
        return Kind(left.name, left.many or right.many, left.columns | right.columns, codes)
    pair = {left.name, right.name}
    if pair <= {"date", "dateTime", "instant"}:
        return Kind("dateTime", left.many)
    if left.codes is not None and right.codes is not None:
        return Kind("code", left.many, codes=left.codes | right.codes)
    return Kind("text", left.many)


def rule_and_function(formula: Formula) -> tuple[str, str]:
    """The rule of an expression and the function that makes its value; empty where a field is only read."""
    calls = (f"{part.name}()" for part in rules.walk(formula.tree) if isinstance(part, rules.Call))
    return f"{formula.node.file}:{formula.node.line}", next(calls, "")


def with_code(value: Val) -> Kind:
    """The kind of a value; of a literal, with the one code that it can be."""
    if value.known and isinstance(value.constant, str):
        return Kind(value.kind.name, codes=frozenset({value.constant}))
    return value.kind


# -- of a loop ---------------------------------------------------------------------------------------------------------


def outside_the_loop(c: Compilation, part: rules.Expression, scope: Scope, want: str, home: Scope) -> Val:
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


def home_of(c: Compilation, part: rules.Expression, scope: Scope) -> Scope | None:
    """Where an expression is to be computed; None where that cannot be said."""
    return scope.outermost() if _is_same_everywhere(part) else _innermost(c, part, scope)


def _innermost(c: Compilation, part: rules.Expression, scope: Scope) -> Scope | None:
    """The innermost scope that an expression depends on; None where that cannot be said."""
    key = id(part), id(scope)
    if key not in c.homes:  # ``part`` and ``scope`` are kept alive by the entry
        c.homes[key] = part, scope, None  # of a name that is part of itself
        c.homes[key] = part, scope, _innermost_of_parts(c, part, scope)
    return c.homes[key][2]


def _innermost_of_parts(c: Compilation, part: rules.Expression, scope: Scope) -> Scope | None:
    found: Scope | None = None
    for inner in c.walks.of(part):
        here: Scope | None = None
        match inner:
            case rules.Path(segment=segment, which=None):
                here = scope.owner_of(segment)
            case rules.Path():
                return None
            case rules.TreePath(text=text):
                here = scope.group_scope() if text.startswith("@") else scope.outermost()
            case rules.Name(name=name):
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


def recurs(c: Compilation, part: rules.Expression, scope: Scope) -> Reading | None:
    """What an expression reads whose value is to be kept from message to message; None for all others.

    Not a part of one that is kept already.
    """
    return None if c.traced or c.keeping or not c.code.loop else reading_of(c, part, scope)


def reading_of(c: Compilation, part: rules.Expression, scope: Scope) -> Reading | None:
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
    assert isinstance(tree, rules.Choice)
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


def test_of(c: Compilation, variable: Variable, tree: rules.Choice) -> Lazy:
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


def _is_same_everywhere(part: rules.Expression) -> bool:
    """Whether a call has one value in the whole message: a setting, a system that only this channel uses."""
    return isinstance(part, rules.Call) and all(
        isinstance(inner, rules.Literal)
        or (isinstance(inner, rules.Call) and inner.name in FUNCTIONS and FUNCTIONS[inner.name].whole_message)
        for inner in rules.walk(part)
    )
