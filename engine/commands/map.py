"""Map raw messages to documents and print them; no daemon needed.

Reads HL7 v2 and ASTM, framed or bare, one message or many. Ids in the documents are made without a site's secret key,
so they differ from those that the daemon sends.
"""

from datetime import datetime

import click

from engine.commands.mapping_options import Input, input_file, inputs, instant, mapper_for, mapping_options, say_dead
from engine.commands.output import ExitCode, say
from engine.commands.session import Session, pass_session
from engine.errors import ContentError
from engine.mapping.inputs import Mapper
from engine.mapping.json_text import indented
from engine.message import Issue, Mapped
from engine.reasons import Reason


@click.command(help=__doc__)
@input_file()
@mapping_options
@click.option("--received", callback=instant, metavar="TIME", help="Time of receipt, for the Provenance; else its own.")
@click.option("-o", "--output", "form", type=click.Choice(["json", "ndjson"]), default="json", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing about warnings.")
@pass_session
def command(
    session: Session,
    /,
    files: tuple[str, ...],
    mapping: str,
    channel: str | None,
    timezone: str | None,
    received: datetime | None,
    form: str,
    quiet: bool,
) -> ExitCode:
    mapper = mapper_for(session, mapping=mapping, channel=channel, timezone=timezone, received=received)
    bodies: list[str] = []
    failed = False
    count = 0
    for one in inputs(files):
        count += 1
        try:
            mapped = apply(mapper, one)
        except ContentError as error:
            if error.reason is Reason.FILTERED:
                say(f"{one.where}: filtered: {error.reason.value}: {error.detail}")
                continue
            failed = True
            say_dead(one, error)
            continue
        if not quiet:
            say_issues(one, mapped.issues)
        if mapped.filtered is not None:
            say(f"{one.where}: filtered: {mapped.filtered.value}")
        for document in mapped.documents:
            text = document.body.decode()
            if form == "ndjson":
                click.echo(text)
            else:
                bodies.append(text)
    if form == "json":
        # One message gives its document; several give one array, so that the output is one JSON document.
        if count == 1 and len(bodies) == 1:
            click.echo(indented(bodies[0]))
        elif count > 1:
            click.echo(indented(f"[{','.join(bodies)}]"))
    return ExitCode.FAILED if failed else ExitCode.OK


def apply(mapper: Mapper, one: Input) -> Mapped:
    """Map one message. Raises ContentError where it would be dead."""
    parsed = mapper.read(one.found)
    program = mapper.program_for(parsed)
    return program.apply(parsed, mapper.context_for(parsed, one.found.payload))


def say_issues(one: Input, issues: tuple[Issue, ...]) -> None:
    for issue in issues:
        if issue.severity == "warning":
            place = f" at {issue.place}" if issue.place else ""
            rule = f" ({issue.rule})" if issue.rule else ""
            say(f"{one.where}: warning: {issue.code}{place}: {issue.text}{rule}")
