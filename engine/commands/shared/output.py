"""How commands speak: data on stdout as a table, JSON or lines of JSON; talk on stderr; exit codes.

JSON is a promise to scripts: each document carries ``schema_version``, names never change their meaning, new ones may
appear. Times are ISO 8601 in UTC; people get them in the site's zone. Nothing from inside a message is shown unless a
command says ``--unmask``.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum, StrEnum
from typing import Any, TypeVar

import click

from engine.views.view import Head, View, cell, csv_line, printable, table

SCHEMA_VERSION = 1
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class ExitCode(IntEnum):
    """How a command ended. Listed by `labrelay help exit-codes`; never reused."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    UNREACHABLE = 4
    PARTLY = 5
    INTEGRITY = 6
    REFUSED = 7
    TIMEOUT = 124
    INTERRUPTED = 130


EXIT_WORDS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong use of the command line",
    ExitCode.CONFIG: "the configuration has problems",
    ExitCode.UNREACHABLE: "the daemon cannot be reached, or another process holds the data folder",
    ExitCode.PARTLY: "partly done; the counts are printed",
    ExitCode.INTEGRITY: "the journal is damaged, or something is missing",
    ExitCode.REFUSED: "refused: missing rights, or missing `--yes`",
    ExitCode.TIMEOUT: "not done in time",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


SCRIPTS = {Form.JSON.value: "one document", Form.NDJSON.value: "one object a line"}


def form_option(*forms: Form) -> Callable[[F], F]:
    """The option ``-o``; the command gets ``form``. Without ``forms``: all but CSV."""
    names = [form.value for form in forms or (Form.TABLE, Form.JSON, Form.NDJSON)]
    scripts = [name for name in names if name in SCRIPTS]

    def decorate(command: F) -> F:
        return click.option(
            "-o",
            "--output",
            "form",
            type=click.Choice(names),
            default=Form.TABLE.value,
            callback=lambda _ctx, _param, value: Form(value),
            help=f"For people (table) or for scripts ({', '.join(f'{name}: {SCRIPTS[name]}' for name in scripts)})"
            + ("; csv for a spreadsheet." if Form.CSV.value in names else "."),
        )(command)

    return decorate


def say(text: str) -> None:
    """One line of talk, on stderr."""
    click.echo(printable(text), err=True)


def show_document(form: Form, document: Mapping[str, Any], lines: Iterable[str]) -> None:
    """One document for scripts, or ``lines`` for people (which may be styled)."""
    if form is Form.TABLE:
        show_lines(lines)
    else:
        click.echo(to_json({"schema_version": SCHEMA_VERSION, **document}, indent=form is Form.JSON))


def show_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(click.style(line, bold=True) if isinstance(line, Head) else line)


def show_rows(form: Form, view: View[T], items: Iterable[T], empty: str, *, next_page: str | None = None) -> int:
    """A list as a table, as one document ``{name: [...]}``, as lines, or as CSV; returns how many there were.

    Args:
        empty: the message for people, on stderr, where there is nothing.
        next_page: of a list that may be cut: the option that shows the rest; empty where none remains.
    """
    count = 0
    if form is Form.NDJSON:
        for one in items:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **view.row(one)}))
            count += 1
    elif form is Form.CSV:
        click.echo(",".join(field.name for field in view.columns))
        for one in items:
            click.echo(csv_line(cell(field.cell(one)) for field in view.columns))
            count += 1
    else:
        listed = list(items)
        count = len(listed)
        if form is Form.JSON:
            cut = {} if next_page is None else {"next": next_page or None}
            show_document(form, {view.name: view.rows(listed), **cut}, ())
        elif listed:
            show_lines(table(listed, view.columns))
        else:
            say(empty)
    if next_page:
        say(f"more follow: {next_page}")
    return count


def to_json(value: Any, *, indent: bool = False) -> str:
    from engine.views.view import encoded

    return encoded(value, indent=indent).decode()


def on_terminal() -> bool:
    """People are there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")
