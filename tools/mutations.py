"""Small faults to put into Python source, one at a time, for `tools/mutants.py`.

A mutation is what a slip of the hand would be: another comparison, ``and`` for ``or``, a condition turned round,
another operator, a constant that is off by one, a value that is not returned, a statement that is missing. Left alone,
because no test should hold them in place: docstrings, annotations, decorators (the declarations of the language, which
`tests/engine/mapping/test_function_docs.py` compares with the documentation), texts with a space in them (words for
people), and what stands in an ``assert``.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of one module.

    Attributes:
        path: of the module, from the root of the checkout.
        number: of the change in its module, in the order of `mutations`.
        line: first line of what is changed; ``statement`` of the statement around it.
        inside: name of the function around it; empty on the level of the module and in the body of a class.
    """

    path: str
    number: int
    line: int
    statement: int
    inside: str


# Where a change is, the statement and the function around it, what to show as the code before; the change itself gives
# what to show as the code after it.
_Change = tuple[ast.AST, ast.stmt, str, ast.AST, Callable[[], ast.AST]]


def mutations(path: str, source: str) -> list[Mutation]:
    """All that can be changed in a module."""
    return [
        Mutation(path, number, getattr(at, "lineno", statement.lineno), statement.lineno, inside)
        for number, (at, statement, inside, _, _) in enumerate(_in_block(ast.parse(source), "body", ""))
    ]


def mutated(source: str, number: int) -> tuple[ast.Module, str]:
    """The module with that one change made, and the change in words."""
    tree = ast.parse(source)
    _, _, _, shown, change = list(_in_block(tree, "body", ""))[number]
    before = _short(ast.unparse(shown))
    after = change()
    return ast.fix_missing_locations(tree), f"{before}  ->  {_short(ast.unparse(after))}"


def _short(code: str) -> str:
    line = " ".join(code.split())
    return line if len(line) <= 90 else f"{line[:87]}..."


def _in_block(owner: ast.AST, name: str, inside: str) -> Iterator[_Change]:
    block: list[ast.stmt] = getattr(owner, name)
    for place, statement in enumerate(block):
        if _removable(statement, inside):
            yield statement, statement, inside, statement, _removal(block, place)
        yield from _in_statement(statement, inside)


def _removable(statement: ast.stmt, inside: str) -> bool:
    """Calls for what they do, values written into something, what is raised, and jumps; not new names."""
    if not inside:
        return False
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call | ast.Await)
    if isinstance(statement, ast.Assign):
        return isinstance(statement.targets[0], ast.Attribute | ast.Subscript)
    return isinstance(statement, ast.AugAssign | ast.Raise | ast.Continue | ast.Break)


def _removal(block: list[ast.stmt], place: int) -> Callable[[], ast.AST]:
    def change() -> ast.AST:
        block[place] = ast.copy_location(ast.Pass(), block[place])
        return block[place]

    return change


def _in_statement(statement: ast.stmt, inside: str) -> Iterator[_Change]:
    if isinstance(statement, ast.Assert | ast.Import | ast.ImportFrom):
        return
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        for default in [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]:
            yield from _in_expression(default, statement, inside)
        yield from _in_block(statement, "body", f"{inside}.{statement.name}".lstrip("."))
        return
    if isinstance(statement, ast.ClassDef):
        for inner in statement.body:
            slots = isinstance(inner, ast.Assign) and ast.unparse(inner.targets[0]) == "__slots__"
            if not slots:
                yield from _in_statement(inner, inside)
        return
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return  # a docstring
    if isinstance(statement, ast.If | ast.While) and not isinstance(statement.test, ast.Compare | ast.UnaryOp):
        yield statement.test, statement, inside, statement, _negation(statement, "test")
    if isinstance(statement, ast.Return) and statement.value is not None and not _is_none(statement.value):
        yield statement, statement, inside, statement, _setting(statement, "value", ast.Constant(None))
    if isinstance(statement, ast.AugAssign) and type(statement.op) in _OPERATORS:
        other = _OPERATORS[type(statement.op)]
        yield statement, statement, inside, statement, _setting(statement, "op", other())
    for name, value in ast.iter_fields(statement):
        if name == "annotation":
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.expr):
                yield from _in_expression(part, statement, inside)
            elif isinstance(part, ast.withitem):
                yield from _in_expression(part.context_expr, statement, inside)
            elif isinstance(part, ast.ExceptHandler):
                yield from _in_block(part, "body", inside)
            elif isinstance(part, ast.match_case):
                if part.guard is not None:
                    yield from _in_expression(part.guard, statement, inside)
                yield from _in_block(part, "body", inside)
        if name in ("body", "orelse", "finalbody") and isinstance(value, list):
            yield from _in_block(statement, name, inside)


def _in_expression(top: ast.expr, statement: ast.stmt, inside: str) -> Iterator[_Change]:
    texts = {id(part) for node in ast.walk(top) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(top):
        if isinstance(node, ast.Compare):
            for place, operator in enumerate(node.ops):
                other = _COMPARISONS[type(operator)]
                yield node, statement, inside, node, _setting_item(node, node.ops, place, other())
        elif isinstance(node, ast.BoolOp):
            swapped = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, statement, inside, node, _setting(node, "op", swapped)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, statement, inside, node, _negation(node, "operand")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield node, statement, inside, node, _setting(node, "op", ast.UAdd())
        elif isinstance(node, ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
            yield node, statement, inside, node, _negation(node, "test")
        elif isinstance(node, ast.comprehension):
            for place, condition in enumerate(node.ifs):
                if not isinstance(condition, ast.Compare | ast.UnaryOp):
                    negated = ast.UnaryOp(ast.Not(), condition)
                    yield condition, statement, inside, node, _setting_item(node, node.ifs, place, negated)
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not _is_text(node):
            yield node, statement, inside, node, _setting(node, "op", _OPERATORS[type(node.op)]())
        elif isinstance(node, ast.Constant) and id(node) not in texts:
            for value in _other_constants(node.value):
                yield node, statement, inside, node, _setting(node, "value", value)


def _other_constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, str) and " " not in value:
        return [f"XX{value}"]
    return []


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in ast.walk(node)
    )


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _negation(owner: ast.AST, name: str) -> Callable[[], ast.AST]:
    def change() -> ast.AST:
        setattr(owner, name, ast.UnaryOp(ast.Not(), getattr(owner, name)))
        return owner

    return change


def _setting(owner: ast.AST, name: str, value: object) -> Callable[[], ast.AST]:
    def change() -> ast.AST:
        setattr(owner, name, value)
        return owner

    return change


def _setting_item(owner: ast.AST, block: list[Any], place: int, value: ast.AST) -> Callable[[], ast.AST]:
    def change() -> ast.AST:
        block[place] = value
        return owner

    return change
