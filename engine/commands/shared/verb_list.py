"""Every verb with its line of help and its group, read from the modules' text: nothing is imported for it.

A module of `engine/commands`, of a folder there, or of the folder ``commands`` of a feature or of a part of `workbench`
that has a name ``command`` is a verb; one whose name begins with ``_`` is shared by its neighbours. Its constant
``GROUP`` is one of `GROUPS`; with ``RARE = True`` the verb is not on the first screen of help.

Short texts that `labrelay help TOPIC` prints.
"""

import ast
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import click

from engine.commands.shared.output import EXIT_WORDS

ROOT = Path(__file__).parents[3]
PLACES = (
    *("engine/commands/[!_]*.py", "engine/commands/*/[!_]*.py", "engine/features/*/commands/[!_]*.py"),
    "workbench/*/commands/[!_]*.py",  # an installation has no `bench`, and so not its verb
)
NO_VERBS = ("shared", "topics")  # folders of `engine/commands`
GROUPS = ("start", "every day", "when something is wrong", "mapping", "upkeep", "for developers")


class Verb(NamedTuple):
    """``line``: the first line of the module's docstring."""

    line: str
    group: str
    rare: bool


@cache
def verb_files() -> dict[str, Path]:
    """Name of a verb -> its module."""
    files = (path for place in PLACES for path in ROOT.glob(place) if path.parent.name not in NO_VERBS)
    return dict(sorted((path.stem.replace("_", "-"), path) for path in files))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


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


class Topic(NamedTuple):
    """``title``: for the list of topics."""

    title: str
    text: Callable[[], str]


def _file(name: str) -> str:
    return Path(__file__).with_name("texts").joinpath(f"{name}.txt").read_text(encoding="utf-8").rstrip()


def _exit_codes() -> str:
    rows = (f"  {code.value:>3}  {words.replace('`', '')}" for code, words in EXIT_WORDS.items())
    return "\n".join(["How a command ends, for scripts:", "", *rows])


def _metrics() -> str:
    from engine.monitoring.metrics import all_metrics  # it loads the client of Prometheus, which few commands need

    rows = (
        f"  {one.exported} ({', '.join([one.kind.value, *one.labels])})\n      {one.help.replace('`', '')}"
        for one in all_metrics()
    )
    head = "Metrics at /metrics of the page, with kind and labels. Counters start at 0 with the process."
    return "\n".join([head, "", *rows])


TOPICS = {
    "again": Topic("Which of retry, replay, reprocess, edit, restart?", partial(_file, "again")),
    "exit-codes": Topic("How a command ends, for scripts.", _exit_codes),
    "metrics": Topic("The metrics at /metrics, for Prometheus.", _metrics),
    "times": Topic("How times are typed and shown.", partial(_file, "times")),
}
