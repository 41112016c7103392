"""Count the lines of code in each folder, and a few figures of the program's shape.

    python -m tools.size                     the checkout
    python -m tools.size --against COMMIT    beside it that commit, and the difference

A line counts if it holds a token other than a comment or a docstring. A module with SQL has a string that begins with a
statement. Levels of inheritance are classes of ours above a class.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools.history import files_of

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "adapters", "workbench", "tools")
# The store, the rows of a feature, and the sandbox, which has a database of its own.
WITH_SQL = re.compile(r"engine/(?:store|features/\w+/rows)|workbench/sandbox/")
NOT_MEASURED = "engine.model.errors."  # a kind of error is a kind of another one
DATA = (".txt", ".sql", ".yaml")

_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_SQL = re.compile(
    r"\s*(SELECT\s|INSERT (OR \w+ )?INTO\s|REPLACE INTO\s|UPDATE (OR \w+ )?\w+ SET\s|DELETE FROM\s|PRAGMA \w"
    r"|WITH (RECURSIVE )?\w+(\([^)]*\))? AS\s|(CREATE|DROP|ALTER) (TEMP |UNIQUE |VIRTUAL )*(TABLE|INDEX|VIEW|TRIGGER)\s"
    r"|ATTACH\s|DETACH\s|VACUUM|BEGIN( IMMEDIATE| EXCLUSIVE)?;?$|COMMIT;?$|ROLLBACK|SAVEPOINT\s|RELEASE \w)"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, and the file or class that has it."""

    number: int
    of: str = ""


@dataclass(slots=True)
class Module:
    """One file of Python.

    Attributes:
        path: in the checkout, as `engine/model/site/health.py`.
        names: what a name at the top of the module means: `module.Class`, or a module.
    """

    path: str
    text: str
    tree: ast.Module
    names: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def folder(self) -> str:
        """`engine/model`; `engine/*` of a module that lies flat."""
        parts = self.path.split("/")
        return "/".join(parts[:2]) if len(parts) > 2 else f"{parts[0]}/*"


def modules(root: Path, folders: Iterable[str] = PACKAGES) -> Iterator[Module]:
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield Module(path.relative_to(root).as_posix(), text, ast.parse(text))


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Strings that stand alone as a statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def code_lines(module: Module) -> int:
    """How many lines hold a token other than a comment or a docstring."""
    silent = {(node.lineno, node.end_lineno) for node in docstrings(module.tree)}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        start, end = token.start[0], token.end[0]
        alone = token.type == tokenize.STRING and any(first <= start and end <= last for first, last in silent if last)
        if token.type not in _SILENT and not alone:
            lines.update(range(start, end + 1))
    return len(lines)


def holds_sql(module: Module) -> bool:
    """Whether a string begins with a statement of SQL."""
    prose = {id(node) for node in docstrings(module.tree)}
    return any(
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in prose
        and _SQL.match(node.value)
        for node in ast.walk(module.tree)
    )


def inheritance(found: list[Module]) -> Figure:
    """The most levels of own classes above a class."""
    bases: dict[str, list[str]] = {}
    for module in found:
        for node in module.tree.body:
            if isinstance(node, ast.ImportFrom):
                module.names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.ClassDef):
                module.names[node.name] = f"{module.name}.{node.name}"
                bases[f"{module.name}.{node.name}"] = [_meaning(module, base) for base in node.bases]

    def levels(name: str) -> int:
        return max((1 + levels(base) for base in bases[name] if base in bases), default=0)

    return max((Figure(levels(name), name) for name in bases if not name.startswith(NOT_MEASURED)), key=_number)


def _meaning(module: Module, base: ast.expr) -> str:
    name, dot, rest = ast.unparse(base).partition("[")[0].partition(".")
    return f"{module.names.get(name, name)}{dot}{rest}"


def _number(figure: Figure) -> int:
    return figure.number


def measure(root: Path) -> dict[str, Figure]:
    """What is measured -> its figure, in the order in which it is shown."""
    found = list(modules(root))
    lines: Counter[str] = Counter()
    for module in found:
        count = code_lines(module)
        lines[module.folder] += count
        lines[module.folder.partition("/")[0]] += count
    figures = {folder: Figure(count) for folder, count in sorted(lines.items()) if count}
    flat = [module.path for module in found if module.folder == "engine/*" and "__" not in module.path]
    figures["modules flat in engine"] = Figure(len(flat))
    program = [module for module in found if not module.path.startswith("tools/")]
    outside = [module.path for module in program if not WITH_SQL.match(module.path) and holds_sql(module)]
    figures["modules with SQL outside of engine/store"] = Figure(len(outside))
    figures["levels of inheritance"] = inheritance(found)
    figures["longest file"] = max((Figure(module.text.count("\n"), module.path) for module in found), key=_number)
    for suffix in DATA:
        files = [path for package in PACKAGES for path in (root / package).rglob(f"*{suffix}")]
        figures[f"lines of {suffix} files"] = Figure(
            sum(path.read_text(encoding="utf-8").count("\n") for path in files)
        )
    return figures


def measure_commit(root: Path, commit: str) -> dict[str, Figure]:
    """The figures of a commit.

    Raises:
        ValueError: there is no such commit.
    """
    with files_of(root, commit, *PACKAGES) as files:
        return measure(files)


def report(now: dict[str, Figure], before: dict[str, Figure] | None) -> Iterator[str]:
    """One line each: a package and its folders, then the rest."""
    names = sorted(now | (before or {}), key=lambda name: (0, name) if name.startswith(PACKAGES) else (1, ""))
    for name in names:
        figure = now.get(name, Figure(0))
        columns = f"{name:42}{figure.number:>8,}"
        if before is not None:
            old = before.get(name, Figure(0))
            columns += f"{old.number:>10,}{figure.number - old.number:>+9,}"
        yield f"{columns}  {figure.of}".rstrip()


def main(arguments: list[str], root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", metavar="COMMIT", help="show this commit's figures beside them")
    given = parser.parse_args(arguments)
    try:
        before = measure_commit(root, given.against) if given.against else None
    except ValueError as error:
        parser.error(f"--against {given.against}: {error}")
    print(*report(measure(root), before), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
