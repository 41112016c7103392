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

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.documents import contents
from engine.mapping.compiler.scopes import Scope
from engine.mapping.compiler.source.code import FLAG, NOTHING, TEXT, Kind, Val
from engine.mapping.compiler.source.keeping import text_of, texts_of
from engine.mapping.language import rules
from engine.mapping.language.rules import Body, Element, Formula, Text, Value, Values
from engine.mapping.values import decimals

MAX_NAME = 100  # characters of a member or column
_NO_VALUES = frozenset({"segment", "row", "measured"})


# -- JSON --------------------------------------------------------------------------------------------------------------


def put_member(c: Compilation, content: contents.Content, part: Element, scope: Scope) -> None:
    """One member of an object."""
    if not _named(c, part) or contents.taken(c, content, part.name, part.node):
        return
    value, literal = _json_value(c, part.value, f"{content.path}.{part.name}", scope)
    contents.write(c, content, part.name, value, literal=literal)


def _json_value(c: Compilation, value: Value, path: str, scope: Scope) -> tuple[Val, bool]:
    match value:
        case Body():
            return contents.nested_content(c, value, path, put_member, scope)
        case Values(items=items):
            each = (_json_value(c, item, f"{path}[{at}]", scope) for at, item in enumerate(items))
            return contents.listed(c, each, contents.CONTENT)
        case Text():
            return _json_literal(c, value, path), True
        case Formula():
            want = "json" if isinstance(value.tree, rules.TreePath) else "text"  # a path alone keeps its type
            return contents.one_text(c, value, path, scope, _as_json, want)


def _json_literal(c: Compilation, value: Text, path: str) -> Val:
    text = value.text
    if contents.is_loose(c, value, path):
        return NOTHING
    if value.node.plain and text in ("true", "false"):
        return c.code.literal(text == "true", FLAG)
    if value.node.plain and decimals.normal(text) == text:
        return Val(c.code.constant(Fragment(text)), Kind("decimal"), False, Fragment(text))
    return c.code.literal(text, TEXT)


def _as_json(c: Compilation, value: Val, formula: Formula, path: str) -> Val:
    if value.kind.name == "field":
        value = texts_of(c, value) if value.kind.many else text_of(c, value, formula.tree)
    name = value.kind.name
    if name in _NO_VALUES:
        return contents.mismatch(c, formula, path, "a text, a number, true or false, or a list of these", value)
    if name != "decimal":
        return value
    if value.known:
        fixed = Fragment(value.constant)
        return Val(c.code.constant(fixed), value.kind, False, fixed)
    made, one = c.code.new(), c.code.new()
    source = f"[Fragment({one}) for {one} in {value.code}]" if value.kind.many else f"Fragment({value.code})"
    c.code.emit(f"{made} = {source} if {value.code} is not None else None")
    return Val(made, value.kind, value.maybe)


# -- CSV ---------------------------------------------------------------------------------------------------------------


def put_cell(c: Compilation, content: contents.Content, part: Element, scope: Scope) -> None:
    """One cell of a row. The columns of all rows make the header, in the order in which they first occur."""
    if not _named(c, part) or contents.taken(c, content, part.name, part.node):
        return
    c.columns.setdefault(part.name, None)
    if not isinstance(part.value, (Text, Formula)):
        c.problems.error(part.node, f"{part.name} is a cell, which holds one text; use join() or columns")
        return
    value, literal = contents.one_text(c, part.value, f"{content.path}.{part.name}", scope, one_text)
    contents.write(c, content, part.name, value, literal=literal)


def one_text(c: Compilation, value: Val, formula: Formula, path: str) -> Val:
    """The text that a value is; a problem where it is several, or none."""
    if value.kind.many:
        text = f"{path} takes one text, and this is {value.kind}; join it: join(x, ' ')"
        return c.refused(formula.node, text, offset=1)
    if value.kind.name == "field":
        return text_of(c, value, formula.tree)
    if value.kind.name not in contents.PLAIN_TEXTS | contents.TIMES | {"decimal"}:
        return contents.mismatch(c, formula, path, "a text", value)
    return value


def _named(c: Compilation, part: Element) -> bool:
    if 0 < len(part.name) <= MAX_NAME and part.name.isprintable():
        return True
    c.problems.error(part.node, f"a name has 1 to {MAX_NAME} characters that can be seen")
    return False
