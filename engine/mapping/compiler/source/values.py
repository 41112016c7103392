"""Values of generated code: computed once, where they are first needed, and made to fit beside each other."""

import re

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Lazy, Scope
from engine.mapping.compiler.source.code import TEXT, TEXT_LIKE, Kind, Val
from engine.mapping.language import nodes
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


def trace_read(c: Compilation, segment: str, path: nodes.Path, variable: str) -> None:
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


def text_of(c: Compilation, value: Val, part: nodes.Expression) -> Val:
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


def meet(c: Compilation, value: Val, other: Kind, part: nodes.Expression) -> Val:
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
    calls = (f"{part.name}()" for part in nodes.walk(formula.tree) if isinstance(part, nodes.Call))
    return f"{formula.node.file}:{formula.node.line}", next(calls, "")


def with_code(value: Val) -> Kind:
    """The kind of a value; of a literal, with the one code that it can be."""
    if value.known and isinstance(value.constant, str):
        return Kind(value.kind.name, codes=frozenset({value.constant}))
    return value.kind
