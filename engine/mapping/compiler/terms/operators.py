"""Operators that make values of values: the first that is there, joined lists, choices, arithmetic, members, items."""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.source.code import DECIMAL, NOTHING, TEXT, TEXT_LIKE, Kind, Val
from engine.mapping.compiler.source.keeping import (
    as_list,
    common_kind,
    meet,
    once,
    recurs,
    text_of,
    text_source,
    with_code,
)
from engine.mapping.compiler.terms.comparisons import truth
from engine.mapping.functions.numbers import MEASURED_MEMBERS
from engine.mapping.language import rules
from engine.mapping.values import decimals
from engine.model.texts.spelling import suggestion


def first_present(c: Compilation, part: rules.Binary, scope: Scope, want: str) -> Val:
    """The left value, or the right one where it is absent."""
    left = c.expression(part.left, scope, want)
    if left.is_absent:
        return c.expression(part.right, scope, want)
    if not left.maybe:
        return left
    variable = c.code.new()
    with c.code.aside() as lines:
        right = c.expression(part.right, scope, want)
        if not right.is_absent:
            right = meet(c, right, left.kind, part)
        if lines.lines:
            c.code.emit(f"{variable} = {right.code}")
    if right.is_absent:
        return left
    same = left.kind.name != "field" or right.kind.name == "field"
    if not lines.lines and same:
        c.code.emit(f"{variable} = {left.code} if {left.code} is not None else {right.code}")
        return Val(variable, common_kind(left.kind, with_code(right)), right.maybe)
    c.code.emit(f"{variable} = {left.code}")
    if not lines.lines:
        with c.code.block(f"if {variable} is None:"):
            c.code.emit(f"{variable} = {right.code}")
    else:
        c.code.place(f"if {variable} is None:", lines)
    if left.kind.name == "field" and right.kind.name != "field":
        # Unlike values meet as text; the field on the left was read before that was known.
        c.code.emit(f"else: {variable} = {text_source(c, variable, left.kind.many)}")
        return Val(variable, right.kind, right.maybe)
    return Val(variable, common_kind(left.kind, with_code(right)), right.maybe)


def joined(c: Compilation, part: rules.Binary, scope: Scope) -> Val:
    """One list of the values and lists that ++ joins."""
    sides = [c.expression(side, scope) for side in _links(c, part, scope)]
    sides = [side for side in sides if not side.is_absent]
    if len(sides) < 2:
        if not sides:
            return NOTHING
        return sides[0] if sides[0].kind.many else as_list(c, sides[0])
    sides = [text_of(c, side, part) if side.kind.name == "field" else side for side in sides]
    left = sides[0]
    for right in sides[1:]:
        if left.kind.name != right.kind.name and not {left.kind.name, right.kind.name} <= TEXT_LIKE:
            return c.error(part, f"++ joins values of one kind; here are {left.kind} and {right.kind}")
    variable = c.code.new()
    lists = [side.code if side.kind.many else f"[{side.code}]" for side in sides]
    if not any(side.maybe for side in sides):
        c.code.emit(f"{variable} = [{', '.join(f'*{one}' for one in lists)}]")
        return Val(variable, left.kind.each(), maybe=False)
    tests = [f"{side.code} is not None" for side in sides]
    c.code.emit(f"{variable} = None")
    with c.code.block(f"if {' or '.join(tests)}:"):
        c.code.emit(f"{variable} = [*{lists[0]}] if {tests[0]} else []")
        for test, one in zip(tests[1:], lists[1:], strict=True):
            c.code.emit(f"if {test}: {variable} += {one}")
    return Val(variable, left.kind.each(), maybe=all(side.maybe for side in sides))


def _links(c: Compilation, part: rules.Expression, scope: Scope) -> list[rules.Expression]:
    """What a chain of ++ joins, from left to right; a part of it whose value is kept stays one."""
    if not (isinstance(part, rules.Binary) and part.operator == "++"):
        return [part]
    left = [part.left] if recurs(c, part.left, scope) is not None else _links(c, part.left, scope)
    return [*left, part.right]


def choice_value(c: Compilation, part: rules.Choice, scope: Scope, want: str) -> Val:
    """One of two values, as a condition holds."""
    asked = c.tests.get((id(part), id(scope)))
    test = truth(c, part.condition, scope) if asked is None else once(c, asked).code
    if test in ("True", "False"):
        return c.expression(part.then if test == "True" else part.other, scope, want)
    variable = c.code.new()
    with c.code.block(f"if {test}:"):
        then = c.expression(part.then, scope, want)
        if then.kind.name == "field":
            then = text_of(c, then, part) if not then.kind.many else then
        c.code.emit(f"{variable} = {then.code}")
    with c.code.block("else:"):
        other = c.expression(part.other, scope, want)
        if other.kind.name == "field" and then.kind.name != "field":
            other = text_of(c, other, part)
        if not then.is_absent and not other.is_absent:
            other = meet(c, other, then.kind, part)
        c.code.emit(f"{variable} = {other.code}")
    if then.is_absent:
        return Val(variable, other.kind) if not other.is_absent else NOTHING
    if other.is_absent:
        return Val(variable, then.kind)
    return Val(variable, common_kind(with_code(then), with_code(other)), then.maybe or other.maybe)


def arithmetic(c: Compilation, operator: str, left: rules.Expression, right: rules.Expression, scope: Scope) -> Val:
    """A number calculated of two."""
    one = decimal_of(c, c.expression(left, scope), left)
    two = decimal_of(c, c.expression(right, scope), right)
    if one.is_absent or two.is_absent:
        return NOTHING
    for side, part in ((one, left), (two, right)):
        if side.known and side.constant is None:  # a text that is no number, or a division by zero
            return c.error(part, "this is never a number, so there is nothing to calculate with")
    if one.known and two.known:
        return c.code.literal(decimals.calculate(operator, one.constant, two.constant), DECIMAL)
    tests = " and ".join(f"{side.code} is not None" for side in (one, two) if side.maybe)
    source = f"calculate({c.code.constant(operator)}, {one.code}, {two.code})"
    return Val(c.kept(f"{source} if {tests} else None" if tests else source), DECIMAL)


def list_value(c: Compilation, part: rules.ListOf, scope: Scope) -> Val:
    """A list of values."""
    values = [c.expression(item, scope, "text") for item in part.items]
    values = [value for value in values if not value.is_absent]
    if not values:
        return NOTHING
    kinds = {value.kind.name for value in values}
    kind = values[0].kind.one() if len(kinds) == 1 else TEXT
    if any(value.kind.name == "field" for value in values):
        values = [text_of(c, value, part) for value in values]
        kind = TEXT
    elif len(kinds) > 1 and not kinds <= TEXT_LIKE:
        return c.error(part, f"the values of a list are of one kind, not {' and '.join(sorted(kinds))}")
    if all(value.known for value in values):
        return c.code.literal(tuple(value.constant for value in values), kind.each())
    inside = ", ".join(value.code for value in values)
    if any(value.maybe for value in values):
        inner = c.code.new()
        source = f"[{inner} for {inner} in ({inside},) if {inner} is not None]"
        if all(value.maybe for value in values):
            source += f" if {' or '.join(f'{value.code} is not None' for value in values)} else None"
        return Val(c.kept(source), kind.each())
    return Val(c.kept(f"[{inside}]"), kind.each(), maybe=False)


def member_value(c: Compilation, part: rules.Member, scope: Scope) -> Val:
    """A column of a row, or a part of a measured number."""
    value = c.expression(part.value, scope)
    if value.is_absent:
        return NOTHING
    if value.kind.many:
        return c.error(part, f"{value.kind} has no .{part.name}; take one of the list first")
    if value.kind.name == "row":
        if part.name not in value.kind.columns:
            hint = suggestion(part.name, value.kind.columns)
            return c.error(
                part, f"{value.kind.table or 'the table'} has no column {part.name}; add it to the header{hint}"
            )
        column = c.code.constant(part.name)
        return Val(c.kept(f"{value.code}.cells.get({column}) if {value.code} is not None else None"), TEXT)
    if value.kind.name == "measured":
        member = MEASURED_MEMBERS.get(part.name)
        if member is None:
            return c.error(part, f"a number has no .{part.name}{suggestion(part.name, MEASURED_MEMBERS)}")
        return Val(c.kept(f"{value.code}.{part.name} if {value.code} is not None else None"), Kind(member))
    return c.error(part, f"{value.kind} has no parts with names; only rows of tables and numbers have")


def item_value(c: Compilation, part: rules.Item, scope: Scope, want: str) -> Val:
    """One value of a list."""
    value = c.expression(part.value, scope)
    if value.is_absent:
        return NOTHING
    if not value.kind.many:
        return c.error(part, f"this is one {value.kind}, not a list; remove [{part.index}]")
    if part.index == 0:
        source = f"{value.code}[0] if {value.code} is not None else None"
    else:
        source = (
            f"{value.code}[{part.index}] if {value.code} is not None and len({value.code}) > {part.index} else None"
        )
    made = Val(c.kept(source), value.kind.one())
    return text_of(c, made, part) if want == "text" else made


def decimal_of(c: Compilation, value: Val, part: rules.Expression) -> Val:
    """A value as a decimal in normal form; absent where it is none."""
    if value.kind.name == "measured" and not value.kind.many:
        return Val(c.kept(f"{value.code}.value if {value.code} is not None else None"), DECIMAL)
    value = text_of(c, value, part)
    if value.is_absent or (value.kind.name == "decimal" and not value.kind.many):
        return value
    if value.kind.many or value.kind.name not in TEXT_LIKE:
        return c.error(part, f"a number is expected here; this is {value.kind}")
    if value.known:
        return c.code.literal(decimals.normal(str(value.constant)), DECIMAL)
    return Val(c.kept(f"number(m, {value.code})"), DECIMAL)
