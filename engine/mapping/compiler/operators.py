"""Operators that make values of values: the first that is there, joined lists, choices, arithmetic, members, items."""

from engine.mapping import decimals, syntax
from engine.mapping.compiler.code import DECIMAL, NOTHING, TEXT, TEXT_LIKE, Kind, Val
from engine.mapping.compiler.names import Names
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.values import with_code
from engine.mapping.functions.numbers import MEASURED_MEMBERS
from engine.model.spelling import suggestion


class Operators(Names):
    """Compiles operators."""

    def _first_present(self, part: syntax.Binary, scope: Scope, want: str) -> Val:
        left = self.expression(part.left, scope, want)
        if left.is_absent:
            return self.expression(part.right, scope, want)
        if not left.maybe:
            return left
        variable = self.code.new()
        with self.code.aside() as lines:
            right = self.expression(part.right, scope, want)
            if not right.is_absent:
                right = self._meet(right, left.kind, part)
            if lines.lines:
                self.code.emit(f"{variable} = {right.code}")
        if right.is_absent:
            return left
        same = left.kind.name != "field" or right.kind.name == "field"
        if not lines.lines and same:
            self.code.emit(f"{variable} = {left.code} if {left.code} is not None else {right.code}")
            return Val(variable, self._common(left.kind, with_code(right)), right.maybe)
        self.code.emit(f"{variable} = {left.code}")
        if not lines.lines:
            with self.code.block(f"if {variable} is None:"):
                self.code.emit(f"{variable} = {right.code}")
        else:
            self.code.place(f"if {variable} is None:", lines)
        if left.kind.name == "field" and right.kind.name != "field":
            # Unlike values meet as text; the field on the left was read before that was known.
            self.code.emit(f"else: {variable} = {self._text_of(variable, left.kind.many)}")
            return Val(variable, right.kind, right.maybe)
        return Val(variable, self._common(left.kind, with_code(right)), right.maybe)

    def _joined(self, part: syntax.Binary, scope: Scope) -> Val:
        sides = [self.expression(side, scope) for side in self._links(part, scope)]
        sides = [side for side in sides if not side.is_absent]
        if len(sides) < 2:
            if not sides:
                return NOTHING
            return sides[0] if sides[0].kind.many else self._as_list(sides[0])
        sides = [self.text(side, part) if side.kind.name == "field" else side for side in sides]
        left = sides[0]
        for right in sides[1:]:
            if left.kind.name != right.kind.name and not {left.kind.name, right.kind.name} <= TEXT_LIKE:
                return self.error(part, f"++ joins values of one kind; here are {left.kind} and {right.kind}")
        variable = self.code.new()
        lists = [side.code if side.kind.many else f"[{side.code}]" for side in sides]
        if not any(side.maybe for side in sides):
            self.code.emit(f"{variable} = [{', '.join(f'*{one}' for one in lists)}]")
            return Val(variable, left.kind.each(), maybe=False)
        tests = [f"{side.code} is not None" for side in sides]
        self.code.emit(f"{variable} = None")
        with self.code.block(f"if {' or '.join(tests)}:"):
            self.code.emit(f"{variable} = [*{lists[0]}] if {tests[0]} else []")
            for test, one in zip(tests[1:], lists[1:], strict=True):
                self.code.emit(f"if {test}: {variable} += {one}")
        return Val(variable, left.kind.each(), maybe=all(side.maybe for side in sides))

    def _links(self, part: syntax.Expression, scope: Scope) -> list[syntax.Expression]:
        """What a chain of ++ joins, from left to right; a part of it whose value is kept stays one."""
        if not (isinstance(part, syntax.Binary) and part.operator == "++"):
            return [part]
        left = [part.left] if self.recurs(part.left, scope) is not None else self._links(part.left, scope)
        return [*left, part.right]

    def _choice(self, part: syntax.Choice, scope: Scope, want: str) -> Val:
        asked = self._tests.get((id(part), id(scope)))
        test = self.truth(part.condition, scope) if asked is None else self.lazy(asked).code
        if test in ("True", "False"):
            return self.expression(part.then if test == "True" else part.other, scope, want)
        variable = self.code.new()
        with self.code.block(f"if {test}:"):
            then = self.expression(part.then, scope, want)
            if then.kind.name == "field":
                then = self.text(then, part) if not then.kind.many else then
            self.code.emit(f"{variable} = {then.code}")
        with self.code.block("else:"):
            other = self.expression(part.other, scope, want)
            if other.kind.name == "field" and then.kind.name != "field":
                other = self.text(other, part)
            if not then.is_absent and not other.is_absent:
                other = self._meet(other, then.kind, part)
            self.code.emit(f"{variable} = {other.code}")
        if then.is_absent:
            return Val(variable, other.kind) if not other.is_absent else NOTHING
        if other.is_absent:
            return Val(variable, then.kind)
        return Val(variable, self._common(with_code(then), with_code(other)), then.maybe or other.maybe)

    def _arithmetic(self, operator: str, left: syntax.Expression, right: syntax.Expression, scope: Scope) -> Val:
        one = self.decimal(self.expression(left, scope), left)
        two = self.decimal(self.expression(right, scope), right)
        if one.is_absent or two.is_absent:
            return NOTHING
        for side, part in ((one, left), (two, right)):
            if side.known and side.constant is None:  # a text that is no number, or a division by zero
                return self.error(part, "this is never a number, so there is nothing to calculate with")
        if one.known and two.known:
            return self.code.literal(decimals.calculate(operator, one.constant, two.constant), DECIMAL)
        tests = " and ".join(f"{side.code} is not None" for side in (one, two) if side.maybe)
        source = f"calculate({self.code.constant(operator)}, {one.code}, {two.code})"
        return Val(self._kept(f"{source} if {tests} else None" if tests else source), DECIMAL)

    def _list(self, part: syntax.ListOf, scope: Scope) -> Val:
        values = [self.expression(item, scope, "text") for item in part.items]
        values = [value for value in values if not value.is_absent]
        if not values:
            return NOTHING
        kinds = {value.kind.name for value in values}
        kind = values[0].kind.one() if len(kinds) == 1 else TEXT
        if any(value.kind.name == "field" for value in values):
            values = [self.text(value, part) for value in values]
            kind = TEXT
        elif len(kinds) > 1 and not kinds <= TEXT_LIKE:
            return self.error(part, f"the values of a list are of one kind, not {' and '.join(sorted(kinds))}")
        if all(value.known for value in values):
            return self.code.literal(tuple(value.constant for value in values), kind.each())
        inside = ", ".join(value.code for value in values)
        if any(value.maybe for value in values):
            inner = self.code.new()
            source = f"[{inner} for {inner} in ({inside},) if {inner} is not None]"
            if all(value.maybe for value in values):
                source += f" if {' or '.join(f'{value.code} is not None' for value in values)} else None"
            return Val(self._kept(source), kind.each())
        return Val(self._kept(f"[{inside}]"), kind.each(), maybe=False)

    def _member(self, part: syntax.Member, scope: Scope) -> Val:
        value = self.expression(part.value, scope)
        if value.is_absent:
            return NOTHING
        if value.kind.many:
            return self.error(part, f"{value.kind} has no .{part.name}; take one of the list first")
        if value.kind.name == "row":
            if part.name not in value.kind.columns:
                hint = suggestion(part.name, value.kind.columns)
                return self.error(
                    part, f"{value.kind.table or 'the table'} has no column {part.name}; add it to the header{hint}"
                )
            column = self.code.constant(part.name)
            return Val(self._kept(f"{value.code}.cells.get({column}) if {value.code} is not None else None"), TEXT)
        if value.kind.name == "measured":
            member = MEASURED_MEMBERS.get(part.name)
            if member is None:
                return self.error(part, f"a number has no .{part.name}{suggestion(part.name, MEASURED_MEMBERS)}")
            return Val(self._kept(f"{value.code}.{part.name} if {value.code} is not None else None"), Kind(member))
        return self.error(part, f"{value.kind} has no parts with names; only rows of tables and numbers have")

    def _item(self, part: syntax.Item, scope: Scope, want: str) -> Val:
        value = self.expression(part.value, scope)
        if value.is_absent:
            return NOTHING
        if not value.kind.many:
            return self.error(part, f"this is one {value.kind}, not a list; remove [{part.index}]")
        if part.index == 0:
            source = f"{value.code}[0] if {value.code} is not None else None"
        else:
            source = (
                f"{value.code}[{part.index}] if {value.code} is not None and len({value.code}) > {part.index} else None"
            )
        made = Val(self._kept(source), value.kind.one())
        return self.text(made, part) if want == "text" else made

    def decimal(self, value: Val, part: syntax.Expression) -> Val:
        """A value as a decimal in normal form; absent where it is none."""
        if value.kind.name == "measured" and not value.kind.many:
            return Val(self._kept(f"{value.code}.value if {value.code} is not None else None"), DECIMAL)
        value = self.text(value, part)
        if value.is_absent or (value.kind.name == "decimal" and not value.kind.many):
            return value
        if value.kind.many or value.kind.name not in TEXT_LIKE:
            return self.error(part, f"a number is expected here; this is {value.kind}")
        if value.known:
            return self.code.literal(decimals.normal(str(value.constant)), DECIMAL)
        return Val(self._kept(f"number(m, {value.code})"), DECIMAL)
