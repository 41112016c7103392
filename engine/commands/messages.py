"""Search messages, show one with all that became of it, and export them for other programs.

Lists, traces and exports show no content: types, times, states, reasons, sizes. With `--unmask` they show the bytes,
too, and leave a row in the audit trail first.
"""

import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.clock import from_us
from engine.commands.decided import counted, decided
from engine.commands.output import Column, ExitCode, Form, cell, form_option, printable, say, show_document, show_rows
from engine.commands.selecting import ROW, asked_for, filter_options, instant_us, raise_if_unknown, without_daemon
from engine.commands.session import Session, consent, pass_session
from engine.records import Act, Filter, MessageView, Trace

if TYPE_CHECKING:
    from engine.acts.acts import Acts
    from engine.reading import Reader

COLUMNS = (
    Column("id", "ID", right=True),
    Column("received", "RECEIVED"),
    Column("channel", "CHANNEL"),
    Column("type", "TYPE"),
    Column("state", "STATE"),
    Column("reason", "REASON"),
    Column("delivery", "DELIVERY"),
    Column("bytes", "BYTES", right=True),
    Column("flags", "FLAGS"),
)

ACTS_LOOKED_AT = 2000  # of the newest, for the acts about one message
ACTS_AT_ONCE = 500


@click.group(help=__doc__)
def command() -> None:
    pass


LIST_HELP = """List messages, newest first.

--state delivered: each delivery was made, or is superseded by one that was. --state waiting: one of them waits or is
under way. Both are mapped messages. --code and --loinc open the documents of every message that the other filters
leave, and what was received where no document tells its results: name a channel and a time with them.
"""
EXPORT_HELP = """Write messages and their deliveries to a SQLite database, as CSV or as lines of JSON.

--state delivered: each delivery was made, or is superseded by one that was. --state waiting: one of them waits or is
under way. Both are mapped messages. --code and --loinc open the documents of every message that the other filters
leave, and what was received where no document tells its results: name a channel and a time with them.
"""


@command.command("list", help=LIST_HELP)
@filter_options("channel", "state", "reason", "code", "loinc", "since", "until")
@click.option("--type", "message_type", metavar="TYPE", help="Of this type, as ORU^R01.")
@click.option("--lot", metavar="TEXT", help="That name this reagent lot; letters and digits count.")
@click.option(
    "--patient",
    metavar="NUMBER",
    callback=asked_for,
    help="With exactly this number of a patient. `-` asks for it, so that it stands in no list of processes.",
)
@click.option(
    "--specimen",
    metavar="NUMBER",
    callback=asked_for,
    help="With exactly this number of a specimen or order; `-` asks for it.",
)
@click.option("--control-id", metavar="TEXT", help="With exactly this control id.")
@click.option("--id", "ids", type=ROW, multiple=True, metavar="ID", help="With this number; may be given again.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=ROW, metavar="ID", help="Go on below this number (from the last page).")
@form_option()
@pass_session
def list_messages(
    session: Session,
    /,
    message_type: str | None,
    lot: str | None,
    patient: str | None,
    specimen: str | None,
    control_id: str | None,
    ids: tuple[int, ...],
    limit: int,
    before: int | None,
    form: Form,
    **given: Any,
) -> None:
    wanted = Filter(
        channel=given["channel"],
        state=given["state"],
        reason=given["reason"],
        message_type=message_type,
        lot=lot,
        patient=patient,
        specimen=specimen,
        number=control_id,
        code=given["code"],
        loinc=given["loinc"],
        after_us=instant_us(session, given["since"]),
        before_us=instant_us(session, given["until"]),
    )
    with session.reader() as reader:
        found = _by_number(reader, wanted, ids) if ids else reader.messages(wanted, before_id=before, limit=limit)
        if not found and control_id is not None and wanted.channel is not None:  # from before numbers were kept
            found = reader.messages(replace(wanted, number=None, control_id=control_id), before_id=before, limit=limit)
        by_number = patient or specimen or control_id
        older = reader.numbers_from() if by_number else 1
        unread = reader.not_all_numbers() if by_number else 0
        kept = reader.kept()
        ends = reader.ends([view.id for view in found])
        listed = {view.id for view in found}
        absent = [number for number in sorted(set(ids) - listed) if reader.message(number) is None]
        why = [str(reader.absent("message", number)) for number in absent]
    if not found:
        raise_if_unknown(session, channel=wanted.channel)
    show_rows(form, "messages", [_row(session, view, ends.get(view.id, "")) for view in found], COLUMNS, "no messages")
    for text in why:
        say(text)
    if by_number and not found:
        say("what could not be read, or broke off, has no number to be found by: labrelay dlq list")
    if older > 1:
        say(f"messages before {older} came before numbers were kept, and are not found by them")
    if unread:
        say(f"{unread} messages bear more numbers than were noted or could be read, and may be missing here")
    if not ids and len(found) >= limit and form is Form.TABLE:
        say(f"more may follow: --before {found[-1].id}")
    elif kept.gone and kept.oldest_us and form is Form.TABLE:
        since = from_us(kept.oldest_us).astimezone(session.zone)
        say(f"messages are kept since {since:%Y-%m-%d}; retention has let older ones go")


@command.command("show", help="Show what became of one message: states, documents, deliveries, attempts.")
@click.argument("message", type=ROW)
@click.option("--wire", is_flag=True, help="Show what passed on the line too: each frame in and out, judged.")
@click.option("--unmask", is_flag=True, help="Show the bytes and documents too. This is noted in the audit trail.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def show(session: Session, message: int, wire: bool, unmask: bool, form: Form) -> ExitCode:
    with session.reader() as reader:
        trace = reader.message(message)
        if trace is None:
            raise reader.absent("message", message)
        contents: dict[str, Any] = {}
        if unmask:
            note_shown(session, message)
            contents = _contents(reader, trace)
        if wire:
            from engine.commands.wire_lines import wire_of

            contents["wire"] = wire_of(session, reader, trace, masked=not unmask)
        contents["acts"] = _acts_about(session, reader, message)
        end = reader.ends([message]).get(message, "")
    document = {**_document(session, trace, end, answers=unmask), **contents}
    show_document(form, document, _lines(document))
    return ExitCode.OK


@command.command("line", help="Show what passed on a channel's line lately, also what never became a message.")
@click.argument("channel")
@click.option("--last", type=click.IntRange(1, 1000), default=5, show_default=True, help="So many sessions.")
@click.option("--unmask", is_flag=True, help="Show the contents of frames too. This is noted in the audit trail.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def line(session: Session, channel: str, last: int, unmask: bool, form: Form) -> ExitCode:
    from engine.commands.wire_lines import lines, sessions_of

    with session.reader() as reader:
        if unmask:
            note_exported(session, {"line": channel, "last": last})
        found = sessions_of(session, reader.line(channel, limit=last), masked=not unmask)
    if not found and form is Form.TABLE:
        say(
            f"nothing is kept of the line of {channel}: no session yet, no channel of that name, or whole blocks (MLLP)"
        )

    def shown() -> Iterator[str]:
        for one in reversed(found):
            number = f" (session {one['session']})" if one["session"] else ""
            yield click.style(f"{one['steps'][0]['at']:%Y-%m-%d}{number}" if one["steps"] else "-", bold=True)
            yield from lines(one["steps"], whole=unmask)

    show_document(form, {"channel": channel, "sessions": found}, shown())
    return ExitCode.OK


@command.command("export", help=EXPORT_HELP)
@filter_options("channel", "state", "reason", "code", "loinc", "since", "until")
@click.option("--type", "message_type", metavar="TYPE", help="Of this type, as ORU^R01.")
@click.option("--lot", metavar="TEXT", help="That name this reagent lot; letters and digits count.")
@click.option(
    "--to",
    "path",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file; its ending (.db, .csv, .ndjson) says how.",
)
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
@pass_session
def export(
    session: Session,
    /,
    message_type: str | None,
    lot: str | None,
    path: Path,
    yes: bool,
    unmask: bool,
    deid: bool,
    **given: Any,
) -> ExitCode:
    from engine.commands.exporting import SINKS, write_file

    if unmask and deid:
        raise click.UsageError("--unmask shows the patients, --deid takes them out; say which")
    if deid and path.suffix != ".ndjson":
        raise click.BadParameter(f"'{path.name}' must end in .ndjson with --deid", param_hint="--to")
    if path.suffix not in SINKS:
        raise click.BadParameter(f"'{path.name}' must end in {', '.join(SINKS)}", param_hint="--to")
    if path.resolve().parent == session.data.resolve():
        raise click.BadParameter("the data folder is the journal's own; choose another one", param_hint="--to")
    wanted = Filter(
        channel=given["channel"],
        state=given["state"],
        reason=given["reason"],
        message_type=message_type,
        lot=lot,
        code=given["code"],
        loinc=given["loinc"],
        after_us=instant_us(session, given["since"]),
        before_us=instant_us(session, given["until"]),
    )
    with session.reader() as reader:
        if path.exists():
            consent(f"Overwrite {path}?", yes=yes)
        newest = reader.messages(wanted, limit=1)
        if not newest:
            raise_if_unknown(session, channel=wanted.channel)
        up_to = newest[0].id if newest else 0
        if unmask:
            _ = reader.vault  # says so where the key is not at hand
            what = {name: value for name, value in asdict(wanted).items() if value is not None}
            note_exported(session, {**what, "up_to": up_to})
        if deid:
            from engine.commands.exporting_deid import known_codes, write_without_patients

            _ = reader.vault
            what = {name: value for name, value in asdict(wanted).items() if value is not None}
            note_exported(session, {**what, "up_to": up_to, "deid": True})
            known = known_codes(session.folder)
            written, refused = write_without_patients(path, reader, wanted, up_to=up_to, known=known)
            say(f"{path}: {written} messages without their patients; look through it before you send it")
            if refused:
                say(f"{refused} more are not HL7 v2 or ASTM, or were erased: their lines say so, without content")
            return ExitCode.PARTLY if refused else ExitCode.OK
        messages, deliveries = write_file(path, reader, wanted, up_to=up_to, contents=unmask)
    say(f"{path}: {messages} messages, {deliveries} deliveries")
    return ExitCode.OK


def _acts_about(session: Session, reader: "Reader", message: int) -> list[dict[str, Any]]:
    """What people did about a message, oldest first: of the newest acts, for the trail has no index on messages."""
    from engine.errors import ConfigError
    from engine.trail import entries, names_message

    def newest() -> Iterator[Act]:
        before: int | None = None
        for _ in range(ACTS_LOOKED_AT // ACTS_AT_ONCE):
            page = reader.acts(before_id=before, limit=ACTS_AT_ONCE)
            yield from page
            if not page or page[-1].id < message:  # an act names messages that were there before it
                return
            before = page[-1].id

    try:
        found = [entry for entry in entries(newest(), frozenset()) if names_message(entry, message)]
    except ConfigError:
        return []  # the key is not at hand: what is sealed stays so
    return [
        {
            "id": entry.id,
            "at": from_us(entry.at_us).astimezone(session.zone),
            "actor": entry.actor,
            "act": entry.verb,
            "reason": str(entry.what.get("reason") or entry.what.get("because") or ""),
        }
        for entry in reversed(found)
    ]


def _by_number(reader: "Reader", wanted: Filter, ids: tuple[int, ...]) -> list[MessageView]:
    found: list[MessageView] = []
    for number in sorted(set(ids), reverse=True):
        page = reader.messages(wanted, before_id=number + 1, limit=1)
        found += [view for view in page if view.id == number]
    return found


def note_shown(session: Session, message: int) -> None:
    """The audit row comes first: contents that cannot be accounted for are not shown."""
    _note(session, "shown", {"message": message}, lambda acts, actor: acts.note_shown(actor, message))


def note_exported(session: Session, what: dict[str, Any]) -> None:
    """As `note_shown`, for all messages that fit."""
    _note(session, "exported", {"what": what}, lambda acts, actor: acts.note_exported(actor, what))


def _note(
    session: Session, verb: str, args: dict[str, Any], by_us: "Callable[[Acts, str], Coroutine[Any, Any, None]]"
) -> None:
    """Have the daemon note an act, or note it here where none runs."""
    from engine.control import UnreachableError

    try:
        session.call(verb, args)
    except UnreachableError:

        async def note(acts: "Acts", actor: str) -> dict[str, Any]:
            await by_us(acts, actor)
            return {}

        without_daemon(session, note)


def _contents(reader: "Reader", trace: Trace) -> dict[str, Any]:
    return {
        "payload": _text(reader.payload(trace.message.id)),
        "bodies": {str(document.id): _text(reader.document(document.id)) for document in trace.documents},
    }


def _text(content: bytes) -> str:
    """Bytes as text that can be read back: what is no UTF-8 stays as \\x.. escapes."""
    return content.decode("utf-8", "backslashreplace")


def _row(session: Session, view: MessageView, end: str) -> dict[str, Any]:
    flags = [
        *(["repeat"] if view.repeat_of else []),
        *([f"same bytes as {view.equal_to}"] if view.equal_to else []),
        *(["same id, other bytes"] if view.same_id_other_bytes else []),
    ]
    return {
        "id": view.id,
        "received": from_us(view.received_us).astimezone(session.zone),
        "channel": view.channel,
        "seq": view.seq,
        "type": view.message_type,
        "state": view.state,
        "reason": view.reason,
        "delivery": end,
        "bytes": view.size,
        "peer": view.peer,
        "notes": list(view.notes),
        "repeat_of": view.repeat_of,
        "equal_to": view.equal_to,
        "flags": flags,
    }


def _document(session: Session, trace: Trace, end: str, *, answers: bool) -> dict[str, Any]:
    def at(instant_us: int) -> Any:
        return from_us(instant_us).astimezone(session.zone) if instant_us else None

    deliveries = []
    for delivery in trace.deliveries:
        shown: dict[str, Any] = {
            "id": delivery.id,
            "destination": delivery.destination,
            "seq": delivery.seq,
            "document": delivery.document_id,
            "key": delivery.key,
            "state": delivery.shown_state,
            "claimed": delivery.claimed,
            "cause": delivery.cause,
            "detail": delivery.detail,
            "failed_attempts": delivery.attempt,
            "next_attempt": at(delivery.not_before_us) if delivery.shown_state == "waiting" else None,
            "settled": at(delivery.settled_us),
            "maybe_delivered": delivery.maybe_delivered,
            "manual": delivery.manual,
            "attempts": [
                {"n": tried.n, "at": at(tried.at_us), "cause": tried.cause, "detail": tried.detail}
                | ({"answer": _text(tried.answer)} if answers and tried.answer else {})
                for tried in delivery.attempts
            ],
        }
        if answers and delivery.answer:
            shown["answer"] = _text(delivery.answer)
        deliveries.append(shown)
    return {
        "message": _row(session, trace.message, end),
        "edited_from": trace.edited_from or None,
        "edited_as": trace.edited_as or None,
        "times": trace.times,
        "last": at(trace.last_us) if trace.times > 1 else None,
        "mapping": trace.mapping,
        "processed": at(trace.processed_us),
        "detail": trace.detail,
        "issues": list(trace.issues),
        "decided": [{"document": place, **decided(facts)} for place, facts in trace.facts.items()],
        "session": trace.session or None,
        "frames": list(trace.frames),
        "documents": [
            {"id": made.id, "ordinal": made.ordinal, "media_type": made.media_type, "stored_bytes": made.stored_bytes}
            for made in trace.documents
        ],
        "deliveries": deliveries,
    }


def _lines(document: dict[str, Any]) -> Iterator[str]:
    message = document["message"]
    yield click.style(f"message {message['id']} ({message['channel']} {message['seq']})", bold=True)
    for name in ("received", "peer", "type", "bytes", "notes", "flags", "repeat_of", "equal_to"):
        if message[name]:
            yield f"  {name.replace('_', ' '):<10} {cell(message[name])}"
    yield f"  {'state':<10} {message['state']}{' ' + message['reason'] if message['reason'] else ''}"
    if document["last"]:
        yield f"  {'came':<10} {document['times']} times, last {cell(document['last'])}; it is kept once"
    if document["edited_from"]:
        yield f"  {'edited':<10} by a person; as received it is message {document['edited_from']}"
    if document["edited_as"]:
        yield f"  {'edited':<10} by a person; it is message {document['edited_as']} now"
    for name in ("processed", "mapping", "detail", "frames"):
        if document[name]:
            yield f"  {name:<10} {cell(document[name])}"
    for issue in document["issues"]:
        place, rule = issue.get("place", ""), issue.get("rule", "")
        text = printable(f"{issue.get('code', '')} {issue.get('text', '')}".strip())
        yield (
            f"  {issue.get('severity', 'issue'):<10} {text}"
            + (f" at {place}" if place else "")
            + (f" (rule {rule})" if rule else "")
        )
    for said in document["decided"]:
        yield from (f"  {'decided':<10} {text}" for text in counted(said))
    for made in document["documents"]:
        yield f"  {'document':<10} {made['id']} {made['media_type']}, {made['stored_bytes']} bytes stored"
    for delivery in document["deliveries"]:
        yield from _delivery_lines(delivery)
    for act in document["acts"]:
        reason = f": {printable(act['reason'])}" if act["reason"] else ""
        yield f"  {'act':<10} {act['id']} {cell(act['at'])} {act['act']} by {printable(act['actor'])}{reason}"
    if "wire" in document:
        from engine.commands.wire_lines import lines

        yield click.style("on the line", bold=True)
        if document["wire"]["note"]:
            yield f"  {document['wire']['note']}"
        yield from lines(document["wire"]["steps"], whole="payload" in document)
    if "payload" in document:
        yield click.style("received", bold=True)
        yield from (printable(line) for line in document["payload"].replace("\r", os.linesep).splitlines())
        for number, body in document["bodies"].items():
            yield click.style(f"document {number}", bold=True)
            yield from (printable(line) for line in body.replace("\r", os.linesep).splitlines())


def _delivery_lines(delivery: dict[str, Any]) -> Iterator[str]:
    when = delivery["settled"] or delivery["next_attempt"]
    ended = delivery["state"] in ("delivered", "superseded")  # its attempts tell why it failed before
    cause = f" {delivery['cause']}" if delivery["cause"] and not ended else ""
    flags = [name.replace("_", " ") for name in ("manual", "maybe_delivered") if delivery[name]]
    where = f"{delivery['id']} to {delivery['destination']} ({delivery['seq']})"
    yield (
        f"  {'delivery':<10} {where}: {delivery['state']}{' (claimed)' if delivery['claimed'] else ''}{cause}"
        + (f" {cell(when)}" if when else "")
        + (f" [{', '.join(flags)}]" if flags else "")
    )
    if delivery["detail"] and delivery["state"] in ("held", "superseded"):
        yield f"  {'':<10}   {printable(delivery['detail'])}"
    for tried in delivery["attempts"]:
        detail = f": {printable(tried['detail'])}" if tried["detail"] else ""
        yield f"  {'':<10}   attempt {tried['n']} {cell(tried['at'])} {tried['cause']}{detail}"
        if "answer" in tried:
            yield f"  {'':<10}   answer: {printable(tried['answer'])}"
