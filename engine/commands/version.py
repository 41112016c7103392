"""Print versions: LabRelay, Python, SQLite, and where they come from.

For a bug report: everything that decides how this installation behaves, and nothing about the site.
"""

import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from engine.commands.shared.output import Form, form_option, show_document

GROUP = "start"
RARE = True


def labrelay_version() -> str:
    try:
        return version("labrelay")
    except PackageNotFoundError:
        return "unknown (not installed)"


@click.command(help=__doc__)
@form_option(Form.TABLE, Form.JSON)
def command(form: Form) -> None:
    root = Path(__file__).resolve().parents[2]
    facts = {
        "labrelay": labrelay_version(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "origin": f"checkout {root}" if (root / "pyproject.toml").is_file() else str(root),
        "interpreter": sys.executable,
    }
    show_document(form, facts, (f"{name:<12}{value}" for name, value in facts.items()))
