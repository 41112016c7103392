"""Expressions to lines of Python. Each `Val` that comes back is a variable, a constant or something as cheap.

Expressions are compiled in steps that build on each other: `values` (computed once), `keeping` (once for
many rounds or messages), `paths`, `names`, `operators`, `comparisons`, `calls`; here is the whole.
"""

from engine.mapping import decimals, syntax
from engine.mapping.compiler.calls import Calls
from engine.mapping.compiler.code import DECIMAL, FLAG, NOTHING, TEXT, Val
from engine.mapping.compiler.scopes import Scope
from engine.mapping.rules import Formula, Text

_WORTH_KEEPING_OVER_MESSAGES = (
    syntax.Path,
    syntax.Call,
    syntax.Binary,
    syntax.Choice,
    syntax.Member,
    syntax.Item,
    syntax.Part,
    syntax.ListOf,
)

_WORTH_KEEPING = (syntax.Call, syntax.Binary, syntax.Choice, syntax.Member, syntax.Item, syntax.Part)


class Expressions(Calls):
    """Compiles expressions into `code`."""

    def value(self, value: Formula | Text, scope: Scope, want: str = "") -> Val:
        """A literal or an expression."""
        if isinstance(value, Text):
            return self.code.literal(value.text, TEXT)
        before, self._formula = self._formula, value
        rule, self.code.rule = self.code.rule, f"{value.node.file}:{value.node.line}"
        try:
            return self.expression(value.tree, scope, want)
        finally:
            self._formula, self.code.rule = before, rule

    def condition(self, formula: Formula, scope: Scope) -> str:
        """A Python expression that is true where the condition holds."""
        before, self._formula = self._formula, formula
        try:
            return self.truth(formula.tree, scope)
        finally:
            self._formula = before

    def expression(self, part: syntax.Expression, scope: Scope, want: str = "") -> Val:
        if self.code.loop and not self.traced and not self._keeping and isinstance(part, _WORTH_KEEPING):
            home = self._home(part, scope)
            if home is not None and home.loop < self.code.loop:
                return self._outside_the_loop(part, scope, want, home)
        if isinstance(part, _WORTH_KEEPING_OVER_MESSAGES) and (reading := self.recurs(part, scope)) is not None:
            key = ("path", part, want) if isinstance(part, syntax.Path) else ("value", id(part), id(scope), want)
            return self.keep(key, reading, lambda: self._expression(part, scope, want))
        return self._expression(part, scope, want)

    def _expression(self, part: syntax.Expression, scope: Scope, want: str) -> Val:
        match part:
            case syntax.Literal(text=text):
                return self.code.literal(text, TEXT)
            case syntax.Number(text=text):
                return self.code.literal(decimals.normal(text), DECIMAL)
            case syntax.Flag(value=value):
                return self.code.literal(value, FLAG)
            case syntax.Absent():
                return NOTHING
            case syntax.Path():
                return self._path(part, scope, want)
            case syntax.Name():
                return self._name(part, scope, want)
            case syntax.Call():
                return self._call(part, scope)
            case syntax.Part():
                return self._component(part, scope, want)
            case syntax.Member():
                return self._member(part, scope)
            case syntax.Item():
                return self._item(part, scope, want)
            case syntax.ListOf():
                return self._list(part, scope)
            case syntax.Choice():
                return self._choice(part, scope, want)
            case syntax.Unary(operator="-"):
                return self._arithmetic("-", syntax.Number(part.at, "0"), part.value, scope)
            case syntax.Binary(operator="|"):
                return self._first_present(part, scope, want)
            case syntax.Binary(operator="++"):
                return self._joined(part, scope)
            case syntax.Binary(operator=("+" | "-" | "*" | "/") as operator, left=left, right=right):
                return self._arithmetic(operator, left, right, scope)
            case _:
                test = self.truth(part, scope)
                if test in ("True", "False"):
                    return self.code.literal(test == "True", FLAG)
                return Val(self._kept(test), FLAG, maybe=False)
