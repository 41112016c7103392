"""Values that are computed less often than their place suggests: once for a loop around it, or once for many messages.

Where an expression depends on nothing but what is outside of a loop, its value is computed in the first round that
needs it. Where it depends on nothing but fields that recur from message to message, it is kept (`recurring`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from engine.mapping import syntax
from engine.mapping.compiler.code import FLAG, NOTHING, Val
from engine.mapping.compiler.recurring import Reading, recurring
from engine.mapping.compiler.scopes import Lazy, Made, Scope, Variable
from engine.mapping.compiler.values import Values, with_code
from engine.mapping.functions import FUNCTIONS
from engine.mapping.rules import Formula


class Keeping(Values):
    """Compiles values that are kept."""

    # -- of a loop -----------------------------------------------------------------------------------------------------

    def _outside_the_loop(self, part: syntax.Expression, scope: Scope, want: str, home: Scope) -> Val:
        """An expression in which nothing changes from round to round: computed in the first one that needs it."""
        key = ("same", id(part), id(scope), want)
        lazy = self._invariant.get(key)
        if lazy is None:
            formula = self._formula

            def build() -> Val:
                before, self._formula = self._formula, formula
                try:
                    return self._expression(part, scope, want)
                finally:
                    self._formula = before

            lazy = self._invariant[key] = Lazy(build, home.loop, home.slot, key=key)
        return self.lazy(lazy)

    def _home(self, part: syntax.Expression, scope: Scope) -> Scope | None:
        """Where an expression is to be computed; None where that cannot be said."""
        key = id(part), id(scope)
        known = self._homes.get(key)
        if known is None:  # ``part`` and ``scope`` are kept alive by the entry
            home = scope.outermost() if _is_same_everywhere(part) else self._innermost(part, scope, set())
            known = self._homes[key] = part, scope, home
        return known[2]

    def _innermost(self, part: syntax.Expression, scope: Scope, seen: set[int]) -> Scope | None:
        """The innermost scope that an expression depends on; None where that cannot be said."""
        found: Scope | None = None
        for inner in self._walks.of(part):
            here: Scope | None = None
            match inner:
                case syntax.Path(segment=segment, which=None):
                    here = scope.owner_of(segment)
                case syntax.Path():
                    return None
                case syntax.Name(name=name):
                    here = self._home_of_name(name, scope, seen)
                case _:
                    continue
            if here is None:
                return None
            if found is None or here.loop > found.loop:
                found = here
        return found

    def _home_of_name(self, name: str, scope: Scope, seen: set[int]) -> Scope | None:
        holder = scope.holder_of(name)
        if holder is None:
            return None
        named = holder.names[name]
        if isinstance(named, Made):
            return holder.frame()
        if not isinstance(named.value, Formula) or id(named) in seen:
            return None
        return self._innermost(named.value.tree, named.scope, seen | {id(named)})

    @contextmanager
    def within(self, formula: Formula) -> Iterator[None]:
        """Code compiled inside belongs to this expression, and its lines to the rule around it."""
        before, self._formula = self._formula, formula
        rule, self.code.rule = self.code.rule, f"{formula.node.file}:{formula.node.line}"
        try:
            yield
        finally:
            self._formula, self.code.rule = before, rule

    # -- over messages -------------------------------------------------------------------------------------------------

    def recurs(self, part: syntax.Expression, scope: Scope) -> Reading | None:
        """What an expression reads whose value is to be kept from message to message; None for all others.

        Not a part of one that is kept already.
        """
        if self.traced or self._keeping or not self.code.loop:
            return None
        return self._reading(part, scope)

    def _reading(self, part: syntax.Expression, scope: Scope) -> Reading | None:
        # A part is asked about again with every part around it. ``part`` and ``scope`` are kept alive by the entry.
        key = (id(part), id(scope), tuple((named, which) for named, (which, _) in self._taken.items()))
        known = self._looked_at.get(key)
        if known is None:
            known = self._looked_at[key] = part, scope, recurring(part, scope, self._taken, self._walks)
        reading = known[2]
        return (
            reading
            if reading is not None and reading.home is not None and reading.home.loop == self.code.loop
            else None
        )

    def keep(self, key: Any, reading: Reading, build: Callable[[], Val]) -> Val:
        """A value that is computed in the first message that needs it, and kept (see `recurring`)."""
        if reading.choice is not None:
            return self._keep_either(key, reading, reading.choice, build)
        code, home = self.code, reading.home
        assert home is not None
        key = (*key, *sorted(reading.decided))
        kept = home.values.get(key)
        if kept is None:
            before = self._formula, self._keeping, self._hoisted
            self._keeping, self._hoisted = home.written + 1, {}
            try:
                kept = home.compile(code, key, reading.fields, build)
            finally:
                self._formula, self._keeping, self._hoisted = before
        if isinstance(kept, Val):
            return kept
        known = ("kept", home.number, key, self._keeping)
        if known not in code.available:
            variable = kept.variable
            if self._keeping:
                variable = code.new()
                code.emit(f"{variable} = {kept.of.list}[{kept.place}]")
            call = f"{kept.function}(m, making, {home.arguments})"
            code.emit(f"if {variable} is UNSET: {variable} = {call}")
            self._remember(known, Val(variable, kept.value.kind, kept.value.maybe))
        return self._values[known]

    def _keep_either(self, key: Any, reading: Reading, variable: Variable, build: Callable[[], Val]) -> Val:
        """A value made of a let that is one of two: kept for both, and chosen as the let is."""
        code = self.code
        assert isinstance(variable.value, Formula)
        tree = variable.value.tree
        assert isinstance(tree, syntax.Choice)
        test = self.lazy(self._test_of(variable, tree))
        chosen = code.new()
        values = []
        for which, (head, branch) in enumerate(((f"if {test.code}:", tree.then), ("else:", tree.other))):
            with code.block(head):
                before, self._taken = self._taken, {**self._taken, id(variable): (which, branch)}
                try:
                    inner = self._reading(reading.part, reading.scope)
                    value = build() if inner is None else self.keep(key, inner, build)
                finally:
                    self._taken = before
                code.emit(f"{chosen} = {value.code}")
            values.append(value)
        one, other = values
        if one.is_absent or other.is_absent:
            return NOTHING if one.is_absent and other.is_absent else Val(chosen, (other if one.is_absent else one).kind)
        return Val(chosen, self._common(with_code(one), with_code(other)), one.maybe or other.maybe)

    def _test_of(self, variable: Variable, tree: syntax.Choice) -> Lazy:
        """Which of its two values a let has: computed once a round, where it is first needed."""
        key = (id(tree), id(variable.scope))  # a fragment has one tree, and a scope for each use
        known = self._tests.get(key)
        if known is None:
            assert isinstance(variable.value, Formula)
            formula = variable.value

            def build() -> Val:
                with self.within(formula):
                    return Val(self._kept(self.truth(tree.condition, variable.scope)), FLAG, maybe=False)

            known = self._tests[key] = Lazy(build, variable.loop, variable.slot, key=("test", id(variable)))
        return known


def _is_same_everywhere(part: syntax.Expression) -> bool:
    """Whether a call has one value in the whole message: a setting, a system that only this channel uses."""
    return isinstance(part, syntax.Call) and all(
        isinstance(inner, syntax.Literal)
        or (isinstance(inner, syntax.Call) and inner.name in FUNCTIONS and FUNCTIONS[inner.name].whole_message)
        for inner in syntax.walk(part)
    )
