"""How commands speak: data on stdout as a table, JSON or lines of JSON; talk on stderr; exit codes.

JSON is a promise to scripts: each document carries ``schema_version``, names never change their meaning, new ones may
appear. Times are ISO 8601 in UTC; people get them in the site's zone. Nothing from inside a message is shown unless a
command says ``--unmask``.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any, TypeVar

import click

SCHEMA_VERSION = 1
F = TypeVar("F", bound=Callable[..., Any])


class ExitCode(IntEnum):
    """How a command ended. Documented in docs/cli.md; never reused."""

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


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: a key of the rows and its heading."""

    key: str
    title: str
    right: bool = False


def form_option(*forms: Form) -> Callable[[F], F]:
    """The option ``-o``; the command gets ``form``. Without ``forms``: all but CSV."""
    names = [form.value for form in forms or (Form.TABLE, Form.JSON, Form.NDJSON)]

    def decorate(command: F) -> F:
        return click.option(
            "-o",
            "--output",
            "form",
            type=click.Choice(names),
            default=Form.TABLE.value,
            callback=lambda _ctx, _param, value: Form(value),
            help="For people (table) or for scripts (json: one document, ndjson: one object a line)"
            + ("; csv for a spreadsheet." if Form.CSV.value in names else "."),
        )(command)

    return decorate


def plural(count: int, noun: str) -> str:
    """``1 message``, ``2 messages``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def say(text: str) -> None:
    """One line of talk, on stderr."""
    click.echo(printable(text), err=True)


def show_document(form: Form, document: Mapping[str, Any], lines: Iterable[str]) -> None:
    """One document for scripts, or ``lines`` for people (which may be styled)."""
    if form is Form.TABLE:
        for line in lines:
            click.echo(line)
    else:
        click.echo(to_json({"schema_version": SCHEMA_VERSION, **document}, indent=form is Form.JSON))


def show_rows(
    form: Form,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[Column],
    empty: str,
    *,
    next_page: str | None = None,
) -> int:
    """Rows as a table, as one document ``{name: [...]}``, or as lines; returns how many there were.

    Args:
        empty: what to tell people, on stderr, where there are no rows.
        next_page: of a list that may be cut: the option that shows what follows; empty where nothing does.
    """
    count = 0
    if form is Form.NDJSON:
        for row in rows:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **row}))
            count += 1
    else:
        listed = list(rows)
        count = len(listed)
        if form is Form.JSON:
            cut = {} if next_page is None else {"next": next_page or None}
            click.echo(to_json({"schema_version": SCHEMA_VERSION, name: listed, **cut}, indent=True))
        elif listed:
            for line in table(listed, columns):
                click.echo(line)
        else:
            say(empty)
    if next_page:
        say(f"more follow: {next_page}")
    return count


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Iterator[str]:
    """Lines of a table with a heading; a column without any value is left out."""
    cells = [[cell(row.get(column.key)) for column in columns] for row in rows]
    used = [at for at in range(len(columns)) if any(line[at] for line in cells)]
    heading = [column.title for column in columns]
    widths = {at: max(len(line[at]) for line in [heading, *cells]) for at in used}
    for number, line in enumerate([heading, *cells]):
        parts = [line[at].rjust(widths[at]) if columns[at].right else line[at].ljust(widths[at]) for at in used]
        text = "  ".join(parts).rstrip()
        yield click.style(text, bold=True) if number == 0 else text


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return local(value).strftime("%Y-%m-%d %H:%M:%S%z")
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    return printable(str(value))


def local(instant: datetime) -> datetime:
    """An instant as people read it: in the zone of the site that the running command is about, or of this machine."""
    context = click.get_current_context(silent=True)
    session = context.find_root().obj if context is not None else None
    return instant.astimezone(session.zone_or_here if session is not None else None)


def printable(text: str) -> str:
    """Without control characters: what a peer sent must not be able to drive a terminal."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else f"\\x{ord(sign):02x}" for sign in text)


def harmless(value: Any) -> Any:
    """For a cell of a CSV file: a text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def to_json(value: Any, *, indent: bool = False) -> str:
    import orjson

    option = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, default=_plain, option=option).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)


def on_terminal() -> bool:
    """People are there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")
