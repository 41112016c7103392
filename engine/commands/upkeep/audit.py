"""The audit trail: who did what, and when. Each act is a row of the journal, sealed and chained like messages.

Reasons are in people's own words: a patient's name that a person wrote there is shown here.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.acting import note_exported, purpose_option, stated
from engine.commands.shared.exporting import consent_to_replace, new_text, write_rows
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows, to_json
from engine.commands.shared.selecting import ROW, file_option, instant_us, page_options
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import IntegrityError
from engine.model.journal.journal_views import Act, Filter
from engine.model.site.actor import is_called
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.messages import each_message, trace_of
from engine.store.queries.reader import stored_document
from engine.views import trail
from engine.views.trail import ACT, Entry

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

GROUP = "upkeep"

PAGE = 500
CHECK_S = 3600.0
FORMATS = (".csv", ".ndjson", ".json")


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("list", help="List acts, newest first.")
@click.option("--since", metavar="TIME", help="Since: an age (2h), a day, or a day and time.")
@click.option("--until", metavar="TIME", help="Before that.")
@click.option("--actor", metavar="NAME", help="Of this person, also where the name is only stated (SUDO_USER).")
@click.option("--act", metavar="VERB", help="Of this kind: unmask, retry, dismiss, replay, reload ...")
@click.option("--message", type=ROW, metavar="ID", help="That name this message.")
@click.option("--purpose", metavar="TEXT", help="Whose purpose has this text.")
@page_options("number", most=100_000)
@form_option()
@pass_session
def list_acts(
    session: Session,
    since: str | None,
    until: str | None,
    actor: str | None,
    act: str | None,
    message: int | None,
    purpose: str | None,
    limit: int,
    before: int | None,
    form: Form,
) -> None:
    found: list[Entry] = []
    with session.reader() as reader:
        for entry in _entries(reader, instant_us(session, since), instant_us(session, until)):
            if before is not None and entry.id >= before:
                continue
            if (
                (actor is None or is_called(entry.actor, actor))
                and (act or entry.verb) == entry.verb
                and (purpose or "").casefold() in trail.purpose_of(entry).casefold()
                and _names(entry, message)
            ):
                found.append(entry)
            if len(found) > limit:
                break
    next_page = f"--before {found[limit - 1].id}" if found[limit:] else ""
    show_rows(form, ACT, found[:limit], "no acts", next_page=next_page)


@command.command()
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="ID:HASH",
    help="Also that this head is in the chain; may be given again. `-` reads a log from standard input, and takes "
    "every head that the daemon has written there.",
)
@form_option(Form.TABLE, Form.JSON)
@pass_session
def verify(session: Session, heads: tuple[str, ...], form: Form) -> ExitCode:
    """Check that no act was changed, taken out or put in, and that each can be opened.

    The chain runs through all rows of the journal, so all of them are read; audit rows are opened, too: each has the
    chain before it under its seal. Rows that were cut off behind the last audit row are detected only by a head from
    elsewhere:

    journalctl -u labrelay -o cat | labrelay audit verify --head -
    """
    from engine.store.core.checks import trail_check
    from engine.store.integrity import verify as verifying

    given = [line for head in heads for line in (sys.stdin if head == "-" else [head])]
    known = list(trail_check.heads_in(given))
    if heads and not known:
        raise click.BadParameter("no head in that: ID:HASH, or lines of the daemon's log", param_hint="--head")
    texts = [str(finding) for finding in verifying.run(session.data)]
    agree = silent = 0
    with session.reader() as reader:
        reader.deadline_s = CHECK_S
        vault = reader.vault
        with reader.snapshot() as execute:
            found = trail_check.check(execute, vault)
            if known:
                agree, silent, wrong = trail_check.compare(execute, known, found.anew)
                texts += wrong
        texts += found.findings
        unfinished = [act.id for act in open_acts(reader)] if not texts else []
    document = {
        "ok": not texts, "rows": found.rows, "sealed": found.sealed, "sealed_since": found.since or None,
        "heads": agree, "heads_too_old": silent, "open": unfinished, "findings": texts,
    }  # fmt: skip
    lines = [f"{found.rows} rows of the audit trail, nothing is wrong"]
    if known:
        old = f"; {silent} are of rows that are not kept any longer" if silent else ""
        lines.append(f"{agree} heads from elsewhere are in the chain{old}")
    show_document(form, document, texts or lines)
    return ExitCode.INTEGRITY if texts else ExitCode.OK


@command.command()
@file_option(
    "--to",
    "path",
    required=True,
    help="The file; its ending says how: .csv, .ndjson, or .json, a Bundle of FHIR AuditEvents.",
)
@click.option("--since", metavar="TIME", help="Since: an age (2h), a day, or a day and time.")
@click.option("--until", metavar="TIME", help="Before that.")
@click.option("--breach", is_flag=True, help="The persons whose data was shown to a person in that time, as .csv.")
@purpose_option
@click.option("--yes", is_flag=True, help="Overwrite the file without being asked.")
@pass_session
def export(
    session: Session, path: Path, since: str | None, until: str | None, breach: bool, purpose: str | None, yes: bool
) -> ExitCode:
    """Write the audit trail to a file.

    With --breach the file is a list of persons: what an authority asks for after a leak. It holds names and numbers of
    patients, so that making it is itself noted in the audit trail. A line that is not certain names a person who may
    have been among those shown, or of something shown that no message names.
    """
    if path.suffix not in ((".csv",) if breach else FORMATS):
        endings = ".csv" if breach else ", ".join(FORMATS)
        raise click.BadParameter(f"'{path.name}' must end in {endings}", param_hint="--to")
    consent_to_replace(path, yes=yes)
    why = stated(purpose) if breach else ""
    after, before = instant_us(session, since), instant_us(session, until)
    with session.reader() as reader:
        if breach:
            chosen = list(_entries(reader, after, before))
            if damaged := [str(one.id) for one in chosen if one.state == trail.DAMAGED]:
                raise IntegrityError(
                    f"whose data was shown is not known: damaged rows of the audit trail: {', '.join(damaged)}"
                )
            note_exported(session, {"breach": True, "since": since or "", "until": until or ""}, why)
            count = write_rows(path, _persons(reader, chosen))
            say(f"{path}: {count} lines; it holds patient data")
        else:
            site = session.load(require_secrets=False).config.site.name
            found = _entries(reader, after, before)
            if path.suffix == ".json":
                count = _write_bundle(path, found, site)
            else:
                count = write_rows(path, map(_in_cells if path.suffix == ".csv" else ACT.row, found))
            say(f"{path}: {count} acts")
    return ExitCode.OK


# -- reading -------------------------------------------------------------------------------------------------------


def _entries(reader: "Reader", after_us: int | None, before_us: int | None) -> Iterator[Entry]:
    """Actions begun in that time, newest first, a page in memory."""
    unfinished = frozenset(act.id for act in open_acts(reader))
    for entry in trail.entries(_rows(reader, after_us), unfinished):
        if before_us is None or entry.at_us < before_us:
            yield entry


def _rows(reader: "Reader", after_us: int | None) -> Iterator[Act]:
    before: int | None = None
    while page := acts_page(reader, before_id=before, limit=PAGE):
        for act in page:
            if after_us is not None and act.at_us < after_us:
                return
            yield act
        before = page[-1].id


def _names(entry: Entry, message: int | None) -> bool:
    return message is None or trail.names_message(entry, message)


def _persons(reader: "Reader", chosen: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """A line for each time that a patient's data was, or may have been, shown to a person; complete also where a
    message has changed since, names no Patient, or is unknown.
    """
    for entry in chosen:
        line: dict[str, Any] = {"at": trail.instant(entry.at_us), "actor": entry.actor, "act": entry.id}
        line["purpose"] = trail.purpose_of(entry)
        numbers, exported = trail.shown_messages(entry)
        for number in numbers:
            yield from (line | person for person in _people(reader, number, certain=True))
        if exported is None:
            continue
        if (note := _not_by_message(exported)) is not None:
            yield line | _person(None, "", certain=False, note=note)
            continue
        certain = not exported.keys() & {"state", "code", "reprocess"}
        for number in _exported(reader, exported, entry.id):
            yield from (line | person for person in _people(reader, number, certain=certain))


def _not_by_message(exported: Mapping[str, Any]) -> str | None:
    """A description of shown contents whose patients no message names."""
    if "line" in exported:
        return f"the line {exported['line']}: the patients on it are not known here"
    if "tap" in exported:
        return f"the messages of {exported['tap']} while it was followed: the act says from which message to which"
    if exported.get("breach"):
        begin, end = exported.get("since") or "the beginning", exported.get("until") or "then"
        return f"a list of persons as this one, since {begin} until {end}"
    return None


def _people(reader: "Reader", number: int, *, certain: bool) -> Iterator[dict[str, Any]]:
    """The Patients in a message's documents."""
    trace = trace_of(reader, number)
    people: dict[str, dict[str, Any]] = {}
    note = "" if trace is not None else "it is no longer there"
    for document in trace.documents if trace is not None else ():
        try:
            people |= _patients(stored_document(reader, document.id))
        except IntegrityError as error:
            note = str(error)
    channel = trace.message.channel if trace is not None else ""
    for patient in people.values():
        yield _person(number, channel, patient, certain=certain, note=note)
    if not people:
        yield _person(number, channel, certain=certain, note=note or "no document of it names a person; look at it")


def _patients(body: bytes) -> dict[str, dict[str, Any]]:
    """The Patients of a document, each once; none where it is not FHIR."""
    import orjson

    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    bundle: dict[str, Any] = document if isinstance(document, dict) else {}
    entries = bundle.get("entry")
    if not isinstance(entries, list):
        entries = []
    resources = [bundle, *(one.get("resource") for one in entries if isinstance(one, dict))]
    return {
        orjson.dumps(one).decode(): one
        for one in resources
        if isinstance(one, dict) and one.get("resourceType") == "Patient"
    }


def _person(
    number: int | None, channel: str, patient: Mapping[str, Any] = MappingProxyType({}), *, certain: bool, note: str
) -> dict[str, Any]:
    name: dict[str, Any] = next(iter(patient.get("name", [])), {})
    return {
        "message": number,
        "channel": channel,
        "certain": "yes" if certain else "no",
        "patient_numbers": " ".join(one.get("value", "") for one in patient.get("identifier", [])),
        "patient_name": name.get("text") or " ".join([*name.get("given", []), name.get("family", "")]).strip(),
        "birth_date": patient.get("birthDate", ""),
        "note": note,
    }


def _exported(reader: "Reader", what: Mapping[str, Any], act: int) -> Iterator[int]:
    """The messages that an export's filter may have selected: all that existed before the action, whatever their state
    since.
    """
    known = {one.name for one in fields(Filter)} - {"state", "code"}
    wanted = Filter(**{name: value for name, value in what.items() if name in known})
    yield from (view.id for view in each_message(reader, wanted, before_id=what.get("up_to", act) + 1, at_once=PAGE))


# -- writing -------------------------------------------------------------------------------------------------------


def _in_cells(entry: Entry) -> dict[str, Any]:
    row = ACT.row(entry)
    return row | {name: to_json(row[name]) for name in ("what", "outcome")}


def _write_bundle(path: Path, entries: Iterable[Entry], site: str) -> int:
    """A Bundle of FHIR AuditEvents; how many."""
    count = 0
    with new_text(path) as file:
        file.write('{"resourceType": "Bundle", "type": "collection", "entry": [\n')
        for count, entry in enumerate(entries, start=1):
            comma = "," if count > 1 else ""
            file.write(f'{comma}{{"resource": {to_json(trail.audit_event(entry, site))}}}\n')
        file.write("]}\n")
    return count
