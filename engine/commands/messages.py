"""Search messages, show one with all that became of it, and export them for other programs.

Lists, traces and exports show no content: types, times, states, reasons, sizes. With `--unmask` they show the bytes,
too, and leave a row in the audit trail first.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared import selecting
from engine.commands.shared.acting import note_exported, note_searched, note_shown, purpose_option, stated
from engine.commands.shared.completing import channel_names
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows
from engine.commands.shared.session import Session, pass_session
from engine.model.journal.journal_views import Filter, MessageView
from engine.model.process.clock import from_us
from engine.store.queries.extent import kept_of
from engine.store.queries.messages import ends_of, message_if, messages_page, not_all_numbers, trace_of, with_control_id
from engine.store.queries.reader import why_absent
from engine.views.messages import MESSAGE
from engine.views.text import Head, local, plural

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

GROUP = "every day"


@click.group(help=__doc__)
def command() -> None:
    pass


STATES_AND_CODES = """\
--state delivered: each delivery of the message was made, or replaced by a newer one that was made. --state waiting: at
least one waits or is under way. Both are mapped messages. --test-code and --loinc open the documents of every message
that the other filters leave, and messages of which no document shows the results: name a channel and a time with them.
"""
LIST_HELP = f"List messages, newest first.\n\n{STATES_AND_CODES}"
EXPORT_HELP = f"""Write messages and their deliveries to a SQLite database, as CSV or as lines of JSON.

{STATES_AND_CODES}"""


_filters = selecting.filter_options("channel", "state", "code", "test-code", "loinc", "since", "until", "type", "lot")


@command.command("list", help=LIST_HELP)
@_filters
@click.option(
    "--patient",
    metavar="NUMBER",
    callback=selecting.asked_for,
    help="With exactly this number of a patient; noted in the audit trail. `-` asks for it, so that it is in no list "
    "of processes.",
)
@click.option(
    "--specimen",
    metavar="NUMBER",
    callback=selecting.asked_for,
    help="With exactly this number of a specimen or order; `-` asks for it.",
)
@click.option("--control-id", metavar="TEXT", help="With exactly this control id.")
@click.option(
    "--id", "ids", type=selecting.ROW, multiple=True, metavar="ID", help="With this number; may be given again."
)
@selecting.page_options("number")
@form_option()
@pass_session
def list_messages(
    session: Session,
    /,
    patient: str | None,
    specimen: str | None,
    control_id: str | None,
    ids: tuple[int, ...],
    limit: int,
    before: int | None,
    form: Form,
    **given: Any,
) -> None:
    wanted = selecting.filter_of(session, given, patient=patient, specimen=specimen, number=control_id)
    if patient is not None:
        note_searched(session, patient)
    with session.reader() as reader:
        page: Callable[..., list[MessageView]] = messages_page
        if control_id is not None:
            page = partial(with_control_id, control_id=control_id)
        found = _by_number(reader, wanted, ids) if ids else page(reader, wanted, before_id=before, limit=limit)
        by_number = patient or specimen or control_id
        unread = not_all_numbers(reader) if by_number else 0
        kept = kept_of(reader)
        ends = ends_of(reader, [view.id for view in found])
        cut = not ids and len(found) >= limit and page(reader, wanted, before_id=found[-1].id, limit=1)
        listed = {view.id for view in found}
        absent = [number for number in sorted(set(ids) - listed) if trace_of(reader, number) is None]
        why = [str(why_absent(reader, "message", number)) for number in absent]
    if not found:
        selecting.raise_if_unknown(session, channel=wanted.channel)
    next_page = f"--before {found[-1].id}" if cut else ""
    shown = [view._replace(end=ends.get(view.id, "")) for view in found]
    show_rows(form, MESSAGE, shown, "no messages", next_page=next_page)
    for text in why:
        say(text)
    if by_number and not found:
        say("a message that could not be read, or broke off, has no number to be found by: labrelay dlq list")
    if unread:
        bear = "bears" if unread == 1 else "bear"
        say(
            f"{plural(unread, 'message')} {bear} more numbers than were noted or could be read, and may be missing here"
        )
    if kept.gone and kept.oldest_us and not cut and form is Form.TABLE:
        say(f"messages are kept since {local(from_us(kept.oldest_us)):%Y-%m-%d}; retention has let older ones go")


@command.command("show", help="Show what became of one message: states, documents, deliveries, attempts.")
@click.argument("message", type=selecting.ROW)
@click.option("--wire", is_flag=True, help="Show what passed on the line too: each frame in and out, judged.")
@click.option("--unmask", is_flag=True, help="Show the bytes and documents too. This is noted in the audit trail.")
@purpose_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def show(session: Session, message: int, wire: bool, unmask: bool, purpose: str | None, form: Form) -> ExitCode:
    from engine.views.message_in_full import acts_about, contents_of, document_of, lines_of
    from engine.views.wire import wire_of

    why = stated(purpose) if unmask else ""
    with session.reader() as reader:
        trace = trace_of(reader, message)
        if trace is None:
            raise why_absent(reader, "message", message)
        trace = trace._replace(message=trace.message._replace(end=ends_of(reader, [message]).get(message, "")))
        document = document_of(trace, answers=unmask)
        if unmask:
            note_shown(session, message, why)
            document |= contents_of(reader, trace)
        if wire:
            document["wire"] = wire_of(reader, trace, masked=not unmask)
        document["acts"] = acts_about(reader, message)
    show_document(form, document, lines_of(document))
    return ExitCode.OK


@command.command("line", help="Show what passed on a channel's line lately, also what never became a message.")
@click.argument("channel", shell_complete=channel_names)
@click.option("--last", type=click.IntRange(1, 1000), default=5, show_default=True, help="So many sessions.")
@click.option("--unmask", is_flag=True, help="Show the contents of frames too. This is noted in the audit trail.")
@purpose_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def line(session: Session, channel: str, last: int, unmask: bool, purpose: str | None, form: Form) -> ExitCode:
    from engine.store.queries.line import line_of
    from engine.views.wire import lines, sessions_of

    why = stated(purpose) if unmask else ""
    with session.reader() as reader:
        if unmask:
            note_exported(session, {"line": channel, "last": last}, why)
        found = sessions_of(line_of(reader, channel, limit=last), masked=not unmask)
    if not found and form is Form.TABLE:
        say(
            f"nothing is kept of the line of {channel}: no session yet, no channel of that name, or whole blocks (MLLP)"
        )

    def shown() -> Iterator[str]:
        for one in reversed(found):
            number = f" (session {one['session']})" if one["session"] else ""
            yield Head(f"{local(one['steps'][0]['at']):%Y-%m-%d}{number}" if one["steps"] else "-")
            yield from lines(one["steps"], whole=unmask)

    show_document(form, {"channel": channel, "sessions": found}, shown())
    return ExitCode.OK


@command.command("export", help=EXPORT_HELP)
@_filters
@selecting.file_option("--to", "path", required=True, help="The file; its ending (.db, .csv, .ndjson) says how.")
@click.option("--yes", is_flag=True, help="Overwrite the file without being asked.")
@click.option(
    "--unmask",
    is_flag=True,
    help="With payloads, control ids, peers, details and answers. This is noted in the audit trail.",
)
@click.option(
    "--deid",
    is_flag=True,
    help="With payloads without their patient, to be shown to others: lines of JSON. This is noted in the audit trail.",
)
@purpose_option
@pass_session
def export(
    session: Session, /, path: Path, yes: bool, unmask: bool, deid: bool, purpose: str | None, **given: Any
) -> ExitCode:
    from engine.commands.shared.exporting import ENDINGS, consent_to_replace, write_file

    if unmask and deid:
        raise click.UsageError("--unmask shows the patients, --deid takes them out; say which")
    if deid and path.suffix != ".ndjson":
        raise click.BadParameter(f"'{path.name}' must end in .ndjson with --deid", param_hint="--to")
    if path.suffix not in ENDINGS:
        raise click.BadParameter(f"'{path.name}' must end in {', '.join(ENDINGS)}", param_hint="--to")
    if path.resolve().parent == session.data.resolve():
        raise click.BadParameter("the data folder is the journal's own; choose another one", param_hint="--to")
    wanted = selecting.filter_of(session, given)
    why = stated(purpose) if unmask else purpose or ""
    with session.reader() as reader:
        consent_to_replace(path, yes=yes)
        newest = messages_page(reader, wanted, limit=1)
        if not newest:
            selecting.raise_if_unknown(session, channel=wanted.channel)
        up_to = newest[0].id if newest else 0
        if unmask or deid:
            _ = reader.vault  # says so where the key is not at hand
            what = {name: value for name, value in asdict(wanted).items() if value is not None}
            note_exported(session, {**what, "up_to": up_to, **({"deid": True} if deid else {})}, why)
        if deid:
            from engine.commands.shared.exporting_deid import known_codes, write_without_patients

            known = known_codes(session.folder)
            written, refused = write_without_patients(path, reader, wanted, up_to=up_to, known=known)
            say(f"{path}: {plural(written, 'message')} without their patients; look through it before you send it")
            if refused:
                say(f"{refused} more are not HL7 v2 or ASTM, or were erased: their lines say so, without content")
            return ExitCode.PARTLY if refused else ExitCode.OK
        messages, deliveries = write_file(path, reader, wanted, up_to=up_to, contents=unmask)
    say(f"{path}: {plural(messages, 'message')}, {deliveries} deliver{'y' if deliveries == 1 else 'ies'}")
    return ExitCode.OK


def _by_number(reader: "Reader", wanted: Filter, ids: tuple[int, ...]) -> list[MessageView]:
    found = (message_if(reader, wanted, number) for number in sorted(set(ids), reverse=True))
    return [view for view in found if view is not None]
