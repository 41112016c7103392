"""Every verb with its line of help and its group, read from the modules' text: nothing is imported for it.

A module of `engine/commands`, or of the folder ``commands`` of a feature, that has a name ``command`` is a verb; one
whose name begins with ``_`` is shared by its neighbours. Its constant ``GROUP`` is one of `GROUPS`; with
``RARE = True`` the verb is not on the first screen of help.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click

ENGINE = Path(__file__).parents[2]
GROUPS = ("start", "every day", "when something is wrong", "mapping", "upkeep", "for developers")


class Verb(NamedTuple):
    """``line``: the first line of the module's docstring."""

    line: str
    group: str
    rare: bool


@cache
def verb_files() -> dict[str, Path]:
    """Name of a verb -> its module."""
    folders = (ENGINE / "commands", *ENGINE.glob("features/*/commands"))
    found = {path.stem.replace("_", "-"): path for folder in folders for path in folder.glob("[!_]*.py")}
    return dict(sorted(found.items()))


def module_of(path: Path) -> str:
    return ".".join(("engine", *path.relative_to(ENGINE).with_suffix("").parts))


def verbs() -> dict[str, Verb]:
    """All verbs by name, in alphabetical order."""
    found = {}
    for name, path in verb_files().items():
        tree = ast.parse(path.read_bytes())
        said = {name: value for node in tree.body for name, value in _named(node)}
        if "command" in said:
            line = (ast.get_docstring(tree) or "").partition("\n")[0]
            found[name] = Verb(line, str(said.get("GROUP", "")), bool(said.get("RARE")))
    return found


def write_verbs(formatter: click.HelpFormatter, *, rare: bool) -> None:
    """A section for each group; without the rare verbs, and the first half of each line alone, unless ``rare``."""
    listed = verbs()
    for group in GROUPS:
        rows = [
            (name, verb.line if rare else re.split("[:;.]", verb.line)[0])
            for name, verb in listed.items()
            if verb.group == group and (rare or not verb.rare)
        ]
        if rows:
            with formatter.section(group[0].upper() + group[1:]):
                formatter.write_dl(rows)


def _named(node: ast.stmt) -> list[tuple[str, object]]:
    """The names that a statement of a module defines, with the value where it is a constant."""
    if isinstance(node, ast.FunctionDef):
        return [(node.name, None)]
    if isinstance(node, ast.Assign):
        value = node.value.value if isinstance(node.value, ast.Constant) else None
        return [(target.id, value) for target in node.targets if isinstance(target, ast.Name)]
    return []
