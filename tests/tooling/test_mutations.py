"""The faults that `make mutants` puts into the mapping engine: what is changed, and what is left alone."""

import ast
from pathlib import Path

import pytest

from tools.mutations import mutated, mutations

ENGINE = Path(__file__).parents[2] / "engine" / "mapping"


def changes(source: str) -> list[str]:
    return [mutated(source, one.number)[1] for one in mutations("x.py", source)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a < 1", ["return a < 1  ->  return None", "a < 1  ->  a <= 1", "1  ->  2"]),
        ("x = not a", ["not a  ->  not not a"]),
        ("x = a and b", ["a and b  ->  a or b"]),
        ("x = a is None", ["a is None  ->  a is not None"]),
        ("x = a + b", ["a + b  ->  a - b"]),
        ("x = -a", ["-a  ->  +a"]),
        ("x = True", ["True  ->  False"]),
        ("x = 'code'", ["'code'  ->  'XXcode'"]),
        ("x += a", ["x += a  ->  pass", "x += a  ->  x -= a"]),
        ("x = b if a else c", ["b if a else c  ->  b if not a else c"]),
        ("x = [y for y in a if y]", ["for y in a if y  ->  for y in a if not y"]),
        ("a(b)", ["a(b)  ->  pass"]),
        ("a.b = c", ["a.b = c  ->  pass"]),
        ("raise a", ["raise a  ->  pass"]),
        ("x: 'list[int]' = a", []),
        ("x = 'words for people'", []),
        ("x = f'{a} of' + b", []),
        ("assert a > 1", []),
        ("return None", []),
        ("return False", ["False  ->  True"]),
        ("return 0", ["return 0  ->  return None", "0  ->  1"]),
    ],
)
def test_what_is_changed_in_a_function(line: str, expected: list[str]) -> None:
    assert changes(f"def f(a, b, c):\n    {line}\n") == expected


def test_a_statement_is_told_with_its_place() -> None:
    source = (
        'class C:\n    """Words."""\n    __slots__ = ("a",)\n\n    def f(self):\n        g(\n            1\n        )\n'
    )
    assert [(m.line, m.statement, m.inside) for m in mutations("x.py", source)] == [(6, 6, "f"), (7, 6, "f")]


def test_declarations_are_left_alone() -> None:
    assert changes("@function('f(x: text) -> text', pure=True)\ndef f(x: 'str'):\n    'Words'\n    x\n") == []


def test_every_change_of_a_module_differs_from_it_and_compiles() -> None:
    source = (ENGINE / "values" / "decimals.py").read_text(encoding="utf-8")
    as_it_is = ast.dump(ast.parse(source))
    for one in mutations("decimals.py", source):
        tree, _ = mutated(source, one.number)
        assert ast.dump(tree) != as_it_is
        compile(tree, "decimals.py", "exec")
