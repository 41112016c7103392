"""The texts of a draft's files, from one step to the next. Pure.

They are edited as text, so that what a pack's channel explains in comments stays.
"""

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from engine.config.pack import TABLE
from engine.mapping.code_tables.gaps import csv_line, plain

DRAFT = "draft: true    # it listens and keeps what comes; nothing goes out\n"
NOTHING = "routes:\n  - filter: nothing is sent before its messages are recognised\n"
COLUMNS = ("code", "unit_in", "loinc", "display", "type", "scale", "ucum", "source", "meant")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SIGNS = re.compile(r"[^a-z0-9]+")
_SETTINGS = re.compile(r"(?m)^settings:[ \t]*(?:#.*)?\n")


def name_of(called: str) -> str:
    """The name of a channel for what people call an analyzer: ``Chemistry 5`` is ``chemistry-5``; empty: it has no
    letter or digit that a name of a file may have.
    """
    return _SIGNS.sub("-", called.casefold()).strip("-")[:64]


def opened(name: str, called: str, source: Mapping[str, str]) -> str:
    """A draft of which nothing is known but its line."""
    lines = [f"channel: {name}", f"description: {_quoted(called)}", DRAFT + "source:"]
    lines += [f"  {key}: {_quoted(value)}" for key, value in source.items()]
    return "\n".join(lines) + "\n" + NOTHING


def recognised(text: str, called: str, settings: Mapping[str, str]) -> str:
    """The channel file that was made of what came, as a draft."""
    text = re.sub(r"(?m)^description: .*\n", "", text)
    text = re.sub(
        r"(?m)^channel: .*\n", lambda found: f"{found[0]}description: {_quoted(called)}\n{DRAFT}", text, count=1
    )
    return with_settings(text, settings)


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """With these settings, each as YAML has it, in place of others of the same name; an empty one is taken out."""
    for name in settings:
        text = re.sub(rf"(?m)^  {re.escape(name)}: .*\n", "", text)
    block = "".join(f"  {name}: {value}\n" for name, value in settings.items() if value)
    if (found := _SETTINGS.search(text)) is not None:
        return text[: found.end()] + block + text[found.end() :]
    return text.replace("\nroutes:", f"\nsettings:\n{block}routes:", 1) if block else text


def tables_setting(files: Sequence[str]) -> dict[str, str]:
    """The setting that names the tables of codes; the first has precedence."""
    return {"tables": f"{{{TABLE}: [{', '.join(files)}]}}"}


def live(text: str) -> str:
    """The same, and no draft."""
    return re.sub(r"(?m)^draft: .*\n", "", text)


def is_open(text: str) -> bool:
    """Whether nothing was recognised yet."""
    return NOTHING in text


def table_text(before: str, rows: Iterable[Mapping[str, str]]) -> str:
    """A code table with these rows; one of a code and unit that is there takes its place."""
    known = {(row["code"], row["unit_in"]): row for row in csv.DictReader(before.splitlines())}
    for row in rows:
        own = {name: plain(cell) for name, cell in row.items()}
        known[own["code"], own["unit_in"]] = own
    lines = [[row.get(name) or "" for name in COLUMNS] for row in known.values()]
    return "".join(f"{csv_line(cells)}\n" for cells in [list(COLUMNS), *lines])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
