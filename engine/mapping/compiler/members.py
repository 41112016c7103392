"""`record:`, `document:` and `row:` steps: members of JSON objects, and cells of CSV rows.

    body:                                   row:
      code: =R-3.4                            code: =R-3.4
      value: =decimal(R-4).value              value: =R-4
      flags: =R-7[*]                          flags: =join(R-7[*], ' ')
      analyzer: {name: =H-5, active: true}

Types are those of the values: a decimal is a number with the digits it was sent with, a condition is true or false, a
list stays one, everything else is a text. Of unquoted literals, JSON's own grammar says what they are.
"""

from orjson import Fragment

from engine.mapping import decimals
from engine.mapping.compiler.code import FLAG, NOTHING, TEXT, Kind, Val
from engine.mapping.compiler.contents import CONTENT, PLAIN_TEXTS, TIMES, Content
from engine.mapping.compiler.fields import Fields
from engine.mapping.compiler.scopes import Scope
from engine.mapping.rules import Body, Element, Formula, Text, Value, Values

MAX_NAME = 100  # characters of a member or column

_NO_VALUES = frozenset({"segment", "row", "measured"})


class Members(Fields):
    """Compiles members and cells.

    Attributes:
        columns: of all rows so far, in order.
    """

    columns: dict[str, None]

    # -- JSON ------------------------------------------------------------------------------------------------------

    def put_member(self, content: Content, part: Element, scope: Scope) -> None:
        """One member of an object."""
        if not self._named(part) or self.taken(content, part.name, part.node):
            return
        value, literal = self._member_value(part.value, f"{content.path}.{part.name}", scope)
        if not value.is_absent:
            self.write(content, part.name, value, literal=literal)

    def _member_value(self, value: Value, path: str, scope: Scope) -> tuple[Val, bool]:
        match value:
            case Body():
                return self.nested(value, path, self.put_member, scope)
            case Values(items=items):
                return self._listed(items, path, scope)
            case Text():
                return self._json_literal(value, path), True
            case Formula():
                made = self.leaf(value, path, scope, "text", self._as_json)
                return made, made.known or self.says_nothing(value, scope)

    def _listed(self, items: tuple[Value, ...], path: str, scope: Scope) -> tuple[Val, bool]:
        variable = self.code.new("l")
        self.code.emit(f"{variable} = []")
        literal = True
        for at, item in enumerate(items):
            value, fixed = self._member_value(item, f"{path}[{at}]", scope)
            literal = literal and fixed
            if value.is_absent:
                continue
            add = f"{variable} += {value.code}" if value.kind.many else f"{variable}.append({value.code})"
            self.code.emit(f"if {value.code} is not None: {add}" if value.maybe else add)
        self.code.emit(f"if not {variable}: {variable} = None")
        return Val(variable, CONTENT), literal

    def _json_literal(self, value: Text, path: str) -> Val:
        text = value.text
        if self.loose(value, path):
            return NOTHING
        if value.node.plain and text in ("true", "false"):
            return self.code.literal(text == "true", FLAG)
        if value.node.plain and decimals.normal(text) == text:
            return Val(self.code.constant(Fragment(text)), Kind("decimal"), False, Fragment(text))
        return self.code.literal(text, TEXT)

    def _as_json(self, value: Val, formula: Formula, path: str) -> Val:
        if value.kind.name == "field":
            value = self.texts(value) if value.kind.many else self.text(value, formula.tree)
        name = value.kind.name
        if name in _NO_VALUES:
            return self.mismatch(formula, path, "a text, a number, true or false, or a list of these", value)
        if name != "decimal":
            return value
        if value.known:
            fixed = Fragment(value.constant)
            return Val(self.code.constant(fixed), value.kind, False, fixed)
        made, one = self.code.new(), self.code.new()
        source = f"[Fragment({one}) for {one} in {value.code}]" if value.kind.many else f"Fragment({value.code})"
        self.code.emit(f"{made} = {source} if {value.code} is not None else None")
        return Val(made, value.kind, value.maybe)

    # -- CSV -------------------------------------------------------------------------------------------------------

    def put_cell(self, content: Content, part: Element, scope: Scope) -> None:
        """One cell of a row. The columns of all rows make the header, in the order in which they first occur."""
        if not self._named(part) or self.taken(content, part.name, part.node):
            return
        self.columns.setdefault(part.name, None)
        value: Val
        literal = False
        match part.value:
            case Text():
                loose = self.loose(part.value, f"{content.path}.{part.name}")
                value, literal = NOTHING if loose else self.code.literal(part.value.text, TEXT), True
            case Formula():
                value = self.leaf(part.value, f"{content.path}.{part.name}", scope, "text", self._as_cell)
                literal = value.known or self.says_nothing(part.value, scope)
            case _:
                self.problems.error(part.node, f"{part.name} is a cell, which holds one text; use join() or columns")
                return
        if not value.is_absent:
            self.write(content, part.name, value, literal=literal)

    def _as_cell(self, value: Val, formula: Formula, path: str) -> Val:
        if value.kind.many:
            text = f"{path} takes one text, and this is {value.kind}; join it: join(x, ' ')"
            self.problems.error(formula.node, text, offset=1)
            return NOTHING
        if value.kind.name == "field":
            return self.text(value, formula.tree)
        if value.kind.name not in PLAIN_TEXTS | TIMES | {"decimal"}:
            return self.mismatch(formula, path, "a text", value)
        return value

    def _named(self, part: Element) -> bool:
        if 0 < len(part.name) <= MAX_NAME and part.name.isprintable():
            return True
        self.problems.error(part.node, f"a name has 1 to {MAX_NAME} characters that can be seen")
        return False
