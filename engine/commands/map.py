"""Map raw messages to documents and print them; no daemon needed.

Reads HL7 v2 and ASTM, framed or bare, one message or many, and JSON. Ids in the documents are made without a site's
secret key, so they differ from those that the daemon sends.

The output is JSON; HL7 v2 is printed a segment a line, CSV as it is.

Without --channel it is not known how a channel would read the messages: training messages (MSH-11 or H-12 is T or D)
are mapped, and bytes that are no UTF-8 where no character set is declared are read as Windows-1252, both with a
warning that names the key a channel needs. The site answers patient_numbers and namespaces, where there is one.
Settings that a mapping asks for are given by --set, or by a channel. The
pack of an analyzer is used only by a channel that names it; where the analyzer is recognised, a line says so. With
--channel everything is as in the daemon, for the first message of an order: a file says nothing of results accepted
before, so nothing is left out, amended or held for it.

-o table prints one line for each message instead: its contents, and its outcome.
"""

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
import orjson

from engine.commands.shared import mapping_options
from engine.commands.shared.output import ExitCode, Form, say, show_rows
from engine.commands.shared.session import Session, pass_session
from engine.mapping.message.facts import facts_of, is_training
from engine.mapping.outputs.views import JSON_KINDS
from engine.mapping.outputs.views import View as DocumentView
from engine.mapping.program import Program
from engine.mapping.values.json_text import indented
from engine.model.content.facts import as_plain
from engine.model.errors import ContentError
from engine.model.message import Issue, Mapped
from engine.model.texts.reasons import ReasonCode
from engine.views.view import Field, Row, View

GROUP = "mapping"

TRAINING = (
    "NOT_PRODUCTION: marked as training or debugging; a channel refuses it, unless its settings have processing_ids"
)
MESSAGES = View[Row](
    "messages",
    Field("message", "Message"),
    Field("type", "Type"),
    Field("patients", "Patients", right=True),
    Field("orders", "Orders", right=True),
    Field("results", "Results", right=True),
    Field("outcome", "Outcome"),
)


@click.command(help=__doc__)
@mapping_options.input_file()
@mapping_options.mapping_options
@click.option(
    "--received",
    callback=mapping_options.instant,
    metavar="TIME",
    help="Time of receipt, for the Provenance; else its own.",
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["json", "ndjson", "table"]),
    default="json",
    show_default=True,
    help="The documents (json), one a line (ndjson), or a line about each message (table).",
)
@click.option("--facts", is_flag=True, help="The facts of each message, in place of its documents.")
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
    facts: bool,
    quiet: bool,
) -> ExitCode:
    mapper = mapping_options.mapper_for(session, mapping=mapping, channel=channel, timezone=timezone, received=received)
    bodies: list[str] = []
    rows: list[dict[str, Any]] = []
    failed = others = made = False
    wanting: tuple[ContentError, Program] | None = None
    if facts:
        return _show_facts(files, mapper, form)
    for one in mapping_options.inputs(files, mapper):
        row: dict[str, Any] = {"message": one.where}
        rows.append(row)
        program: Program | None = None
        try:
            parsed = mapper.read(one.found)
            if not quiet:
                mapping_options.say_packs(mapper)  # before the warnings, which its pack may answer
            row |= {"type": parsed.message_type, **asdict(facts_of(parsed))}
            program = mapper.program_for(parsed)
            mapped = program.apply(parsed, mapper.context_for(parsed, one.found.payload))
        except ContentError as error:
            row["outcome"] = error.reason.value
            if error.reason is ReasonCode.FILTERED:
                say(f"{one.where}: filtered: {error.reason.value}: {error.detail}")
                continue
            failed = True
            mapping_options.say_dead(one, error)
            if program is not None and channel is None:
                wanting = error, program
            continue
        views = [program.view(document) for document in mapped.documents]
        row["outcome"] = _outcome(mapped, views)
        made = made or bool(views)
        if not quiet:
            if channel is None and is_training(parsed):
                say(f"{one.where}: warning: {TRAINING}")
            differing = mapper.differing(parsed, one.found.payload, program, mapped)
            say_issues(one, (*parsed.warnings, *mapped.issues, *differing))
        if mapped.filtered is not None:
            say(f"{one.where}: filtered: {mapped.filtered.value}")
        held = mapping_options.held_by(mapper, parsed, one.found.payload, program, mapped)
        mapping_options.say_held(one, held)
        if held is not None:
            row["outcome"] += "; would be held"
        others = _show_views(views, form, bodies) or others
    if made and channel is not None and not quiet:
        say(mapping_options.FIRST_OF_ALL)
    if mapper.numbers_open and not quiet and any(row.get("patients") for row in rows):
        say(mapping_options.NUMBERS_OPEN)
    if wanting is not None:
        mapping_options.say_settings(*wanting)
    if form == "table":
        show_rows(Form.TABLE, MESSAGES, rows, "no message")
    if form == "json":
        _show_json(bodies, len(rows), others=others)
    return ExitCode.FAILED if failed else ExitCode.OK


def _show_json(bodies: list[str], messages: int, *, others: bool) -> None:
    """One message gives its document; several give one array, so that the output is one JSON document.

    Args:
        others: documents that no array can hold were shown.
    """
    if messages == 1 and len(bodies) == 1:
        click.echo(indented(bodies[0]))
    elif bodies or (messages > 1 and not others):
        click.echo(indented(f"[{','.join(bodies)}]"))


def _show_views(views: list[DocumentView], form: str, bodies: list[str]) -> bool:
    """Show documents, or add them to those of the array; whether there were some that no array can hold."""
    others = False
    for view in views:
        if form != "table" and view.document.media_type not in JSON_KINDS:
            others = True
            click.echo(view.text())  # segments or rows
        elif form == "ndjson":
            click.echo(view.document.body.decode())
        elif form == "json":
            bodies.append(view.document.body.decode())
    return others


def _show_facts(files: tuple[str, ...], mapper: mapping_options.ChannelMapper, form: str) -> ExitCode:
    """The facts of each message; of several one array."""
    found: list[str] = []
    failed = False
    for one in mapping_options.inputs(files, mapper):
        try:
            read = mapper.facts_of(mapper.read(one.found), one.found.payload)
        except ContentError as error:
            failed = True
            mapping_options.say_dead(one, error)
            continue
        if read is None:
            say(f"{one.where}: no results, so no facts")
        else:
            found.append(orjson.dumps(as_plain(read)).decode())
    if form == "ndjson":
        for line in found:
            click.echo(line)
    elif found:
        click.echo(indented(found[0] if len(found) == 1 else f"[{','.join(found)}]"))
    return ExitCode.FAILED if failed else ExitCode.OK


LEFT_OUT = {"qc": "of controls filtered", "dropped": "dropped"}  # `Mapped.counts` -> what became of these results


def _outcome(mapped: Mapped, views: list[DocumentView]) -> str:
    """The resources, or other parts, of the documents in words, or why there are none."""
    if mapped.filtered is not None:
        return str(mapped.filtered.value)
    made: Counter[str] = Counter()
    for view in views:
        made.update(view.counts())
    words = [f"{count} {kind}" for kind, count in made.items()]
    for kind, said in LEFT_OUT.items():
        if count := mapped.counts.get(kind):
            words.append(f"{count} result{'' if count == 1 else 's'} {said}")
    return ", ".join(words)


def say_issues(one: mapping_options.Input, issues: tuple[Issue, ...]) -> None:
    for issue in issues:
        if issue.severity == "warning":
            place = f" at {issue.place}" if issue.place else ""
            rule = f" ({issue.rule})" if issue.rule else ""
            say(f"{one.where}: warning: {issue.code}{place}: {issue.text}{rule}")
