"""The texts of a draft's files, from one step to the next. Pure.

They are edited as text, so that what a pack's channel explains in comments stays.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from engine.config.pack import TABLE
from engine.mapping.code_tables.corrected import FREE
from engine.mapping.code_tables.gaps import csv_line, plain
from engine.mapping.code_tables.table_files import rows_in

DRAFT = "draft: true    # it listens and keeps what comes; nothing goes out\n"
NOTHING = "routes:\n  - filter: nothing is sent before its messages are recognised\n"
COLUMNS = ("code", "unit_in", "loinc", "display", "type", "scale", "ucum", "source", "meant")
DRAFT_KEY = re.compile(r"""(?m)^["']?draft\b""")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLACE = re.compile(r"[!#-\[\]-~]+")  # it is quoted as it is
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


def live(text: str, senders: Sequence[str] = ()) -> str:
    """The same, and no draft. ``senders``: only these addresses may connect, unless the text says which may."""
    text = re.sub(r"(?m)^draft: .*\n", "", text)
    if not senders or re.search(r"(?m)^  allow:", text):
        return text
    allow = f"  allow: [{', '.join(map(_quoted, senders))}]\n"
    return re.sub(r"(?m)^  listen: .*\n", lambda found: found[0] + allow, text, count=1)


def is_open(text: str) -> bool:
    """Whether nothing was recognised yet."""
    return NOTHING in text


def table_text(before: str, rows: Iterable[Mapping[str, str]]) -> str:
    """A code table with these rows in place of those of the same code and unit; what else is in it stays as it is."""
    lines = before.splitlines()
    listed = [(number - 1, [cell.strip() for cell in cells]) for number, cells, _ in rows_in(before, lambda _: None)]
    header = listed[0][1] if listed else []
    header = [*header, *(name for name in COLUMNS if name not in header)]
    new = {(plain(row["code"]), plain(row["unit_in"])): row for row in rows}
    for at, cells in listed[1:]:
        known = dict(zip(header, cells, strict=False))
        key = plain(known.get("code", "")), plain(known.get("unit_in", ""))
        if key in new and not any(known.get(name) for name in FREE):
            lines[at] = ""
    if listed:
        lines[listed[0][0]] = ""
    made = [[row.get(name, "") for name in header] for row in new.values()]
    return "".join(f"{line}\n" for line in [csv_line(header), *filter(None, lines), *map(csv_line, made)])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
