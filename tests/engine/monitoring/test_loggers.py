"""The names of loggers, and the lines that docs/operations.md lists: operators filter by them."""

import ast
import re
from functools import cache
from pathlib import Path

from engine.monitoring.logs import LOGGERS, OURS
from tests.support.packages import PACKAGES

CHECKOUT = Path(__file__).parents[3]
NAMED = re.compile(rb"[lL]ogger")  # in the text of each module that logs
LINE = re.compile(r"^\| `(labrelay\.\w+)` \| (\w+) \| `([^`]+)` \|$", re.MULTILINE)
# They ask for the root, or for the logger above ours, to set it up.
SET_UP = {"engine/monitoring/logs.py", "engine/commands/shared/listening.py"}


@cache
def modules() -> dict[str, ast.Module]:
    """The text of each module that logs, read: not while tests are collected, as each process collects all."""
    return {
        path.relative_to(CHECKOUT).with_suffix("").as_posix().replace("/", "."): ast.parse(text)
        for folder in PACKAGES
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
        if str(path.relative_to(CHECKOUT)) not in SET_UP and NAMED.search(text := path.read_bytes())
    }


@cache
def calls(tree: ast.AST) -> list[tuple[str, ast.expr | None]]:
    """Each call of a method: its name, and the first argument."""
    return [
        (node.func.attr, node.args[0] if node.args else None)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


@cache
def logger_of(tree: ast.AST) -> str | None:
    """The name of a module's logger, which it makes or imports."""
    for name, argument in calls(tree):
        if name == "getLogger" and argument is not None and ast.unparse(argument) != "OURS":
            assert isinstance(argument, ast.Constant), "the name of a logger is written out"
            return str(argument.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "logger" for alias in node.names):
            return logger_of(modules()[str(node.module)])
    return None


def test_each_logger_has_a_name_of_the_table_and_each_name_a_logger() -> None:
    named = set(map(logger_of, modules().values())) - {None}

    assert named == {*(f"{OURS}.{name}" for name in LOGGERS), f"{OURS}.delivery.packets", f"{OURS}.kafka"}


def test_the_lines_that_the_page_lists_are_logged_so() -> None:
    logged = {
        (logger_of(tree), level, argument.value)
        for tree in modules().values()
        for level, argument in calls(tree)
        if isinstance(argument, ast.Constant)
    }
    listed = LINE.findall((CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8"))

    assert len(listed) > 15
    assert set(listed) - logged == set()
