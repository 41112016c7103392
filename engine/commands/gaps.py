"""List codes and units that no code table has, as lines for one.

From files, or from what the journal has seen where no file is given.
"""

from dataclasses import replace

import click

from engine.commands.mapping_options import inputs, mapper_for, mapping_options, say_dead
from engine.commands.output import Column, ExitCode, Form, form_option, say, show_rows
from engine.commands.session import Session, pass_session
from engine.errors import ContentError
from engine.mapping.gaps import Seen, Tally, csv_lines

COLUMNS = (
    Column("where", "WHERE"),
    Column("table", "TABLE"),
    Column("code", "CODE"),
    Column("unit", "UNIT"),
    Column("display", "DISPLAY"),
    Column("count", "COUNT", right=True),
)


@click.command(help=__doc__)
@click.argument("files", nargs=-1, metavar="[FILE...]")
@mapping_options
@form_option()
@pass_session
def command(
    session: Session,
    /,
    files: tuple[str, ...],
    mapping: str,
    channel: str | None,
    timezone: str | None,
    form: Form,
) -> ExitCode:
    failed = False
    if files:
        rows, failed = _from_files(session, files, mapping, channel, timezone)
    else:
        rows = _from_journal(session, channel)
    if form is Form.TABLE:
        for line in csv_lines(rows):
            click.echo(line)
        if not rows:
            say("every code and unit is in its table")
        else:
            say(
                "Complete the rows in a table of the site (of a pack: in a copy of its codes.csv, whose place labrelay "
                "analyzers show names), and name it in the channel: settings: {tables: {"
                + f"{rows[0].table}: tables/mine.csv}}}} is mappings/tables/mine.csv of the site"
            )
    else:
        show_rows(form, "gaps", [_row(row) for row in rows], COLUMNS, "")
    return ExitCode.FAILED if failed else ExitCode.OK


def _row(row: Seen) -> dict[str, object]:
    return {
        "where": row.where,
        "table": row.table,
        "code": row.code,
        "unit": row.unit,
        "display": row.display,
        "count": row.count,
    }


def _from_files(
    session: Session, files: tuple[str, ...], mapping: str, channel: str | None, timezone: str | None
) -> tuple[list[Seen], bool]:
    """What the messages of files show, whatever the policies say; and whether one could not be mapped."""
    mapper = mapper_for(session, mapping=mapping, channel=channel, timezone=timezone)
    settings = mapper.context.settings | {"on_missing": "local", "on_missing_unit": "local"}
    mapper.context = replace(mapper.context, settings=settings)
    tally = Tally()
    failed = False
    for one in inputs(files, mapper):
        try:
            parsed = mapper.read(one.found)
            program = mapper.program_for(parsed)
            mapped = program.apply(parsed, mapper.context_for(parsed, one.found.payload))
        except ContentError as error:
            failed = True
            say_dead(one, error)
            continue
        tally.add(channel or program.name, mapped.unmapped)
    return tally.seen(), failed


def _from_journal(session: Session, channel: str | None) -> list[Seen]:
    """What the daemon has counted."""
    with session.reader() as journal:
        found = journal.unmapped(channel)
    rows = [Seen(gap.channel, gap.table, gap.code, gap.unit, gap.display, gap.n) for gap in found]
    return sorted(rows, key=lambda row: (row.where, row.table, -row.count, row.code, row.unit))
