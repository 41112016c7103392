"""Expressions to lines of Python. Each `Val` that comes back is a variable, a constant or something as cheap."""

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.source.code import DECIMAL, FLAG, NOTHING, TEXT, Val
from engine.mapping.compiler.source.keeping import home_of, keep, outside_the_loop, recurs
from engine.mapping.compiler.terms import operators
from engine.mapping.compiler.terms.calls import call_value
from engine.mapping.compiler.terms.comparisons import truth
from engine.mapping.compiler.terms.names import name_value
from engine.mapping.compiler.terms.paths import part_value, path_value
from engine.mapping.compiler.terms.tree_paths import tree_value
from engine.mapping.language import nodes
from engine.mapping.language.rules import Formula
from engine.mapping.values import decimals

_WORTH_KEEPING_OVER_MESSAGES = (
    nodes.Path,
    nodes.Call,
    nodes.Binary,
    nodes.Choice,
    nodes.Member,
    nodes.Item,
    nodes.Part,
    nodes.ListOf,
)
_WORTH_KEEPING = (nodes.Call, nodes.Binary, nodes.Choice, nodes.Member, nodes.Item, nodes.Part)


def condition(c: Compilation, formula: Formula, scope: Scope) -> str:
    """A Python expression that is true where the condition holds."""
    with c.within(formula):
        return truth(c, formula.tree, scope)


def expression(c: Compilation, part: nodes.Expression, scope: Scope, want: str = "") -> Val:
    """The value of an expression, kept where that is worth it."""
    if c.code.loop and not c.traced and not c.keeping and isinstance(part, _WORTH_KEEPING):
        home = home_of(c, part, scope)
        if home is not None and home.loop < c.code.loop:
            return outside_the_loop(c, part, scope, want, home)
    if isinstance(part, _WORTH_KEEPING_OVER_MESSAGES) and (reading := recurs(c, part, scope)) is not None:
        key = ("path", part, want) if isinstance(part, nodes.Path) else ("value", id(part), id(scope), want)
        return keep(c, key, reading, lambda: computed(c, part, scope, want))
    return computed(c, part, scope, want)


def computed(c: Compilation, part: nodes.Expression, scope: Scope, want: str) -> Val:
    """The value of an expression, computed here."""
    match part:
        case nodes.Literal(text=text):
            return c.code.literal(text, TEXT)
        case nodes.Number(text=text):
            return c.code.literal(decimals.normal(text), DECIMAL)
        case nodes.Flag(value=value):
            return c.code.literal(value, FLAG)
        case nodes.Absent():
            return NOTHING
        case nodes.Path():
            return path_value(c, part, scope, want)
        case nodes.TreePath():
            return tree_value(c, part, scope, want)
        case nodes.Name():
            return name_value(c, part, scope, want)
        case nodes.Call():
            return call_value(c, part, scope)
        case nodes.Part():
            return part_value(c, part, scope, want)
        case nodes.Member():
            return operators.member_value(c, part, scope)
        case nodes.Item():
            return operators.item_value(c, part, scope, want)
        case nodes.ListOf():
            return operators.list_value(c, part, scope)
        case nodes.Choice():
            return operators.choice_value(c, part, scope, want)
        case nodes.Unary(operator="-"):
            return operators.arithmetic(c, "-", nodes.Number(part.at, "0"), part.value, scope)
        case nodes.Binary(operator="|"):
            return operators.first_present(c, part, scope, want)
        case nodes.Binary(operator="++"):
            return operators.joined(c, part, scope)
        case nodes.Binary(operator=("+" | "-" | "*" | "/") as operator, left=left, right=right):
            return operators.arithmetic(c, operator, left, right, scope)
        case _:
            test = truth(c, part, scope)
            if test in ("True", "False"):
                return c.code.literal(test == "True", FLAG)
            return Val(c.kept(test), FLAG, maybe=False)
