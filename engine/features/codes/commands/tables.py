"""Correct single rows of a channel's code table, above its files: with the person's name, a reason, and a way back.

A correction is in force at once, without a reload, and before the files' rows. It is never changed: a later one of the
same key takes its place, and `undo` brings back what was before. `check`, `map`, `test` and the daemon read the same
corrections, and the hash of the configuration changes with them. To keep them in a file of the site, `export` writes
the rows; then take them back here. `suggest` prints suggestions of published sources for an analyzer's codes.

A CELL is COLUMN=VALUE: code=HGB unit_in=g/dL loinc=718-7. The key columns say which row is meant.
"""

from typing import Any

import click

from engine.commands.shared.acting import ask
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import ROW, channel_names, stated_reason, sure_options
from engine.commands.shared.session import Session, consent, pass_session
from engine.features.codes.lists import CORRECTION, SUGGESTION, gap_words, in_words
from engine.model.site.corrections import Correction, columns_of, csv_rows, latest, name_of
from engine.views.view import plural

GROUP = "mapping"

TIMEOUT_S = 120.0
SHOWN = 8  # kinds of changes of a preview
SUGGESTED = (
    "# Suggested, not confirmed: no mapping uses these rows. Compare each with the analyzer's own test list.",
    "# LOINC codes and names: Copyright (c) Regenstrief Institute, Inc. and the LOINC Committee; free of charge under",
    "# the licence at https://loinc.org/license.",
)

_cells = click.argument("cells", nargs=-1, required=True, metavar="CELL...")
_channel = click.argument("channel", shell_complete=channel_names)
_table = click.option("--table", default="analytes", show_default=True, metavar="NAME", help="As the mapping calls it.")
_of_channel = click.option("--channel", metavar="NAME", shell_complete=channel_names, help="Of this channel.")


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("list", help="List the corrections in force.")
@_of_channel
@form_option()
@pass_session
def list_in_force(session: Session, channel: str | None, form: Form) -> None:
    show_rows(form, CORRECTION, _in_force(session, channel), "no code table is corrected")


@command.command(help="List every correction that was made, newest first; with CELLs, those of this key.")
@_of_channel
@click.argument("cells", nargs=-1, metavar="[CELL]...")
@form_option()
@pass_session
def history(session: Session, channel: str | None, cells: tuple[str, ...], form: Form) -> None:
    key = _read(cells)
    found = [
        one for one in reversed(_made(session)) if channel in (None, one.channel) and key.items() <= one.key.items()
    ]
    show_rows(form, CORRECTION, found, "no code table was ever corrected so")


@command.command("set", help="Say what a code means; shows first what it changes in stored messages.")
@_channel
@_cells
@_table
@stated_reason
@sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def set_row(
    session: Session,
    channel: str,
    cells: tuple[str, ...],
    table: str,
    reason: str,
    dry_run: bool,
    yes: bool,
    form: Form,
) -> ExitCode:
    given = _read(cells)
    asked = _key_columns(session, channel, table)
    key = {name: cell for name, cell in given.items() if name in asked}
    args = {"channel": channel, "table": table, "where": key, "reason": reason}
    args["cells"] = {name: cell for name, cell in given.items() if name not in key}
    if not args["cells"]:
        raise click.UsageError("say what the code means, as loinc=718-7; to give a key back to the files: tables unset")
    return _carry_out(session, "table_set", args, form, dry=dry_run, yes=yes)


@command.command(help="Give a key back to the files.")
@_channel
@_cells
@_table
@stated_reason
@sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def unset(
    session: Session,
    channel: str,
    cells: tuple[str, ...],
    table: str,
    reason: str,
    dry_run: bool,
    yes: bool,
    form: Form,
) -> ExitCode:
    args = {"channel": channel, "table": table, "where": _read(cells), "reason": reason}
    return _carry_out(session, "table_set", args, form, dry=dry_run, yes=yes)


@command.command(help="Take a correction back: its key has what it had before.")
@click.argument("version", type=ROW)
@stated_reason
@sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def undo(session: Session, version: int, reason: str, dry_run: bool, yes: bool, form: Form) -> ExitCode:
    return _carry_out(session, "table_undo", {"correction": version, "reason": reason}, form, dry=dry_run, yes=yes)


@command.command(help="Write the corrections in force as rows for files of the site.")
@_of_channel
@pass_session
def export(session: Session, channel: str | None) -> None:
    found: dict[tuple[str, str], list[Correction]] = {}
    for one in _in_force(session, channel):
        found.setdefault((one.channel, one.table), []).append(one)
    for (name, table), rows in found.items():
        click.echo(f"# {name_of(name, table)}")
        for line in csv_rows(columns_of(rows), rows):
            click.echo(line)
    if not found:
        say("no code table is corrected")


@command.command()
@click.argument("name", metavar="CHANNEL|PACK", shell_complete=channel_names)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["csv", "table", "json", "ndjson"]),
    default="csv",
    show_default=True,
    callback=lambda _ctx, _param, value: Form(value),
    help="The rows as a pack's file has them, a table for people, or for scripts.",
)
@pass_session
def suggest(session: Session, name: str, form: Form) -> ExitCode:
    """Print suggestions of published sources for the codes of an analyzer.

    Each row has its source, and the conditions at your site under which it is true; several rows of one code are
    candidates to choose from. All are unconfirmed: no mapping uses one before a person puts it in force, on the page of
    unmapped codes or with tables set. A message names the codes of the pack for which nothing is suggested.
    """
    from engine.diagnostics.packs import find_pack, loinc_gaps, suggestions_of
    from engine.mapping.code_tables.suggestions import csv_lines

    channel = session.load(require_secrets=False).channels.get(name) if session.folder_or_none is not None else None
    if channel is not None and channel.analyzer is None:
        raise click.UsageError(f"channel {name} names no analyzer; give a pack (labrelay analyzers lists them)")
    try:
        pack = find_pack(
            name if channel is None or channel.analyzer is None else channel.analyzer, session.folder_or_none
        )
    except KeyError as error:
        raise click.UsageError(error.args[0]) from None
    found = suggestions_of(pack)
    if form is Form.CSV:
        for line in (*(SUGGESTED if found else ()), *csv_lines(found)):
            click.echo(line)
    elif found or form is not Form.TABLE:
        show_rows(form, SUGGESTION, found, "")
    for line in gap_words(loinc_gaps(pack)):
        say(line)
    return ExitCode.OK


@command.command(help="List corrections that decide above other rows of the files than when they were made.")
@form_option()
@pass_session
def diff(session: Session, form: Form) -> ExitCode:
    from engine.features.codes.service.corrections import disagreements
    from engine.mapping.code_tables.corrected import named

    found = disagreements(session.load(require_secrets=False), _made(session))
    show_rows(form, CORRECTION, [one.made for one in found], "the files say what they said when each was made")
    for one, now, taken in found:
        say(f"correction {one.version}: the files say now: {in_words(now) or 'nothing'}")
        if taken:
            say(f"correction {one.version} takes the place of rows that are new or changed: {named(taken)}")
    return ExitCode.FAILED if found else ExitCode.OK


def _made(session: Session) -> list[Correction]:
    from engine.features.codes.rows import list_corrections

    with session.reader() as journal:
        return list_corrections(journal)


def _in_force(session: Session, channel: str | None) -> list[Correction]:
    found = latest(_made(session)).values()
    return [one for one in found if one.cells and channel in (None, one.channel)]


def _key_columns(session: Session, channel: str, table: str) -> tuple[str, ...]:
    """The columns that a channel's table is looked up by."""
    from engine.features.codes.service.corrections import table_of

    return table_of(session.load(require_secrets=False), channel, table).asked


def _read(cells: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in cells:
        name, equals, value = text.partition("=")
        if not equals or not name or not value.strip():
            raise click.BadParameter(f"{text}: expected COLUMN=VALUE, as loinc=718-7")
        found[name.strip()] = value.strip()
    return found


def _carry_out(session: Session, verb: str, args: dict[str, Any], form: Form, *, dry: bool, yes: bool) -> ExitCode:
    seen = ask(session, verb, {**args, "dry_run": True}, timeout=TIMEOUT_S)
    wrong = [f"{one['column']}: {one['text']}" for one in seen["problems"]]
    if dry or wrong:
        show_document(form, {"verb": verb, "dry_run": True, **seen}, wrong or _in_lines(seen))
        return ExitCode.FAILED if wrong else ExitCode.OK
    for line in _in_lines(seen):
        say(line)
    consent("Put this correction in force?", yes=yes)
    made = ask(session, verb, {**args, "version": seen["version"]}, timeout=TIMEOUT_S)
    told = f"correction {made['version']} is in force; labrelay reprocess sends what it changes in older results"
    show_document(form, {"verb": verb, "dry_run": False, **made}, [told])
    return ExitCode.OK


def _in_lines(seen: dict[str, Any]) -> list[str]:
    """What a change does, before it is made."""
    from engine.mapping.code_tables.corrected import named

    found = seen["preview"]
    of = "all stored messages" if found["all"] else f"the newest {plural(found['messages'], 'message')}"
    lines = [
        f"{seen['channel']}, table {seen['table']}, {in_words(seen['key'])}",
        f"now:   {in_words(seen['before']) or 'no row'}",
        f"then:  {in_words(seen['cells']) or 'as the files say'}",
        f"{plural(found['changed'], 'message')} of {of} of the channel would become another document",
    ]
    if seen["beside"]:
        lines.append(f"rows of the files that are not used any more: {named(seen['beside'])}")
    lines += [f"would be {name}: {n}" for name, n in found["outcomes"].items() if name not in ("changed", "unchanged")]
    lines += [
        f"{one['kind']} {one['element']}: {plural(one['messages'], 'message')}" for one in found["changes"][:SHOWN]
    ]
    return lines
