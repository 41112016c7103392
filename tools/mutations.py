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
from functools import partial

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


_REMOVED = object()

# Where a change is, what to show as the code before and after it, and the change.
_Spot = tuple[ast.AST, ast.AST, Callable[[], object]]
# With the statement and the function around it.
_Change = tuple[ast.stmt, str, _Spot]


def mutations(path: str, source: str) -> list[Mutation]:
    """All that can be changed in a module."""
    return [
        Mutation(path, number, getattr(at, "lineno", statement.lineno), statement.lineno, inside)
        for number, (statement, inside, (at, _, _)) in enumerate(_in_block(ast.parse(source), "body", ""))
    ]


def mutated(source: str, number: int) -> tuple[ast.Module, str]:
    """The module with that one change made, and the change in words."""
    tree = ast.parse(source)
    _, _, (_, shown, change) = list(_in_block(tree, "body", ""))[number]
    before = _short(ast.unparse(shown))
    after = "pass" if change() is _REMOVED else _short(ast.unparse(shown))
    return ast.fix_missing_locations(tree), f"{before}  ->  {after}"


def _short(code: str) -> str:
    line = " ".join(code.split())
    return line if len(line) <= 90 else f"{line[:87]}..."


def _in_block(owner: ast.AST, name: str, inside: str) -> Iterator[_Change]:
    block: list[ast.stmt] = getattr(owner, name)
    for place, statement in enumerate(block):
        if _removable(statement, inside):
            yield statement, inside, (statement, statement, partial(_remove, block, place))
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


def _remove(block: list[ast.stmt], place: int) -> object:
    block[place] = ast.copy_location(ast.Pass(), block[place])
    return _REMOVED


def _in_statement(statement: ast.stmt, inside: str) -> Iterator[_Change]:
    if isinstance(statement, ast.Assert | ast.Import | ast.ImportFrom):
        return
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        for default in [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]:
            yield from ((statement, inside, spot) for spot in _in_expression(default))
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
    yield from ((statement, inside, spot) for spot in _of_statement(statement))
    for name, value in ast.iter_fields(statement):
        if name == "annotation":
            continue
        for part in value if isinstance(value, list) else [value]:
            condition = part.context_expr if isinstance(part, ast.withitem) else getattr(part, "guard", None) or part
            if isinstance(condition, ast.expr):
                yield from ((statement, inside, spot) for spot in _in_expression(condition))
            if isinstance(part, ast.ExceptHandler | ast.match_case):
                yield from _in_block(part, "body", inside)
        if name in ("body", "orelse", "finalbody") and isinstance(value, list):
            yield from _in_block(statement, name, inside)


def _of_statement(statement: ast.stmt) -> Iterator[_Spot]:
    """What can be changed of the statement itself."""
    if isinstance(statement, ast.If | ast.While) and not isinstance(statement.test, ast.Compare | ast.UnaryOp):
        yield statement.test, statement, partial(setattr, statement, "test", _not(statement.test))
    if isinstance(statement, ast.Return) and statement.value is not None and not _is_no(statement.value):
        yield statement, statement, partial(setattr, statement, "value", ast.Constant(None))
    if isinstance(statement, ast.AugAssign) and type(statement.op) in _OPERATORS:
        yield statement, statement, partial(setattr, statement, "op", _OPERATORS[type(statement.op)]())


def _in_expression(top: ast.expr) -> Iterator[_Spot]:
    texts = {id(part) for node in ast.walk(top) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(top):
        setting = partial(partial, setattr, node)
        if isinstance(node, ast.Compare):
            for place, operator in enumerate(node.ops):
                yield node, node, partial(node.ops.__setitem__, place, _COMPARISONS[type(operator)]())
        elif isinstance(node, ast.BoolOp):
            yield node, node, setting("op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, node, setting("operand", _not(node.operand))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield node, node, setting("op", ast.UAdd())
        elif isinstance(node, ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
            yield node, node, setting("test", _not(node.test))
        elif isinstance(node, ast.comprehension):
            for place, condition in enumerate(node.ifs):
                if not isinstance(condition, ast.Compare | ast.UnaryOp):
                    yield condition, node, partial(node.ifs.__setitem__, place, _not(condition))
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not _is_text(node):
            yield node, node, setting("op", _OPERATORS[type(node.op)]())
        elif isinstance(node, ast.Constant) and id(node) not in texts:
            yield from ((node, node, setting("value", value)) for value in _other_constants(node.value))


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


def _is_no(node: ast.expr) -> bool:
    """None; or False, which is read as None is: that it is True is a change of its own."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)


def _not(condition: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), condition)
