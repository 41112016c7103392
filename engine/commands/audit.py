"""The audit trail: who did what, and when. Each act is a row of the journal, sealed and chained like messages.

Reasons are in people's own words: whoever wrote a patient's name there is read here.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine import trail
from engine.commands.output import Column, ExitCode, Form, form_option, say, show_document, show_rows, to_json
from engine.commands.selecting import instant_us
from engine.commands.session import Session, consent, pass_session
from engine.errors import StoreError
from engine.records import Act, Filter
from engine.trail import Entry

if TYPE_CHECKING:
    from engine.journal import Journal

PAGE = 500
FORMATS = (".csv", ".ndjson", ".json")
COLUMNS = (
    Column("id", "ID", right=True),
    Column("at", "AT"),
    Column("actor", "WHO"),
    Column("act", "ACT"),
    Column("object", "OBJECT"),
    Column("state", "STATE"),
    Column("reason", "REASON"),
)


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("list", help="List acts, newest first.")
@click.option("--since", metavar="TIME", help="Since: an age (2h), a day, or a day and time.")
@click.option("--until", metavar="TIME", help="Before that.")
@click.option("--actor", metavar="NAME", help="Of this person.")
@click.option("--act", metavar="VERB", help="Of this kind: unmask, retry, dismiss, replay, reload ...")
@click.option("--message", type=int, metavar="ID", help="That name this message.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@form_option()
@pass_session
def list_acts(
    session: Session,
    since: str | None,
    until: str | None,
    actor: str | None,
    act: str | None,
    message: int | None,
    limit: int,
    form: Form,
) -> None:
    found: list[Entry] = []
    with session.reader() as reader:
        for entry in _entries(reader, instant_us(session, since), instant_us(session, until)):
            if (actor or entry.actor) == entry.actor and (act or entry.verb) == entry.verb and _names(entry, message):
                found.append(entry)
            if len(found) == limit:
                break
    rows = [{**entry.row(), **_in_words(entry)} if form is Form.TABLE else entry.row() for entry in found]
    show_rows(form, "acts", rows, COLUMNS, "no acts")


@command.command(help="Check that no act was changed, taken out or put in, and that each can be opened.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def verify(session: Session, form: Form) -> ExitCode:
    """The chain runs through all rows of the journal, so all of them are read; acts are opened, too."""
    from engine import verify as verifying
    from engine.errors import IntegrityError

    texts = [str(finding) for finding in verifying.run(session.data)]
    count = 0
    with session.reader() as reader:
        before: int | None = None
        while True:
            try:
                page = reader.acts(before_id=before, limit=PAGE)
            except IntegrityError as error:
                texts.append(str(error))
                break
            count += len(page)
            if len(page) < PAGE:
                break
            before = page[-1].id
        unfinished = [act.id for act in reader.open_acts()] if not texts else []
    document = {"ok": not texts, "rows": count, "open": unfinished, "findings": texts}
    show_document(form, document, texts or [f"{count} rows of the audit trail, nothing is wrong"])
    return ExitCode.INTEGRITY if texts else ExitCode.OK


@command.command()
@click.option(
    "--to",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file; its ending says how: .csv, .ndjson, or .json, a Bundle of FHIR AuditEvents.",
)
@click.option("--since", metavar="TIME", help="Since: an age (2h), a day, or a day and time.")
@click.option("--until", metavar="TIME", help="Before that.")
@click.option(
    "--breach", is_flag=True, help="The persons whose data was brought before somebody in that time, as .csv."
)
@click.option("--yes", is_flag=True, help="Overwrite the file without being asked.")
@pass_session
def export(
    session: Session, path: Path, since: str | None, until: str | None, breach: bool, yes: bool
) -> ExitCode:  # fmt: skip
    """Write the audit trail to a file.

    With --breach the file is a list of persons: what an authority asks for after a leak. It holds names and numbers of
    patients, so that making it is itself noted in the audit trail.
    """
    if path.suffix not in ((".csv",) if breach else FORMATS):
        endings = ".csv" if breach else ", ".join(FORMATS)
        raise click.BadParameter(f"'{path.name}' must end in {endings}", param_hint="--to")
    if path.exists():
        consent(f"Overwrite {path}?", yes=yes)
    after, before = instant_us(session, since), instant_us(session, until)
    with session.reader() as reader:
        if breach:
            from engine.commands.messages import note_exported

            chosen = list(_entries(reader, after, before))
            note_exported(session, {"breach": True, "since": since or "", "until": until or ""})
            count = _write(path, _csv(_persons(reader, chosen)))
            say(f"{path}: {count} lines; it holds patient data")
        else:
            site = session.load(require_secrets=False).config.site.name
            count = _write(path, _lines(_entries(reader, after, before), path.suffix, site))
            say(f"{path}: {count} acts")
    return ExitCode.OK


# -- reading -------------------------------------------------------------------------------------------------------


def _entries(reader: "Journal", after_us: int | None, before_us: int | None) -> Iterator[Entry]:
    """Acts begun in that time, newest first, a page in memory."""
    unfinished = frozenset(act.id for act in reader.open_acts())
    for entry in trail.entries(_rows(reader, after_us), unfinished):
        if before_us is None or entry.at_us < before_us:
            yield entry


def _rows(reader: "Journal", after_us: int | None) -> Iterator[Act]:
    before: int | None = None
    while page := reader.acts(before_id=before, limit=PAGE):
        for act in page:
            if after_us is not None and act.at_us < after_us:
                return
            yield act
        before = page[-1].id


def _names(entry: Entry, message: int | None) -> bool:
    if message is None:
        return True
    named = [entry.what.get(name) for name in trail.NUMBERS]
    return any(message == one or (isinstance(one, list) and message in one) for one in named)


def _in_words(entry: Entry) -> dict[str, Any]:
    """What a table shows of an act's object."""
    what = entry.what
    parts = [f"{name} {value}" for name, value in what.items() if name not in ("reason", "because") and value]
    text = ", ".join(parts)
    return {
        "at": trail.instant(entry.at_us),
        "object": text if len(text) <= 60 else text[:59] + "…",
        "reason": what.get("reason") or what.get("because") or "",
    }


def _persons(reader: "Journal", chosen: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """A line for each time a patient's data was brought before a person; without Patient where none is known."""
    import orjson

    for entry in chosen:
        numbers, exported = trail.shown_messages(entry)
        for number in (*numbers, *(_exported(reader, exported) if exported else ())):
            trace = reader.message(number)
            line: dict[str, Any] = {"at": trail.instant(entry.at_us), "actor": entry.actor, "act": entry.id}
            line |= {"message": number, "channel": trace.message.channel if trace else ""}
            people: dict[str, dict[str, Any]] = {}
            for document in trace.documents if trace else ():
                with suppress(orjson.JSONDecodeError):
                    for held in orjson.loads(reader.document(document.id)).get("entry", []):
                        patient = held.get("resource", {})
                        if patient.get("resourceType") == "Patient":
                            people[orjson.dumps(patient).decode()] = patient
            for patient in people.values() or [{}]:
                name: dict[str, Any] = next(iter(patient.get("name", [])), {})
                yield line | {
                    "patient_numbers": " ".join(one.get("value", "") for one in patient.get("identifier", [])),
                    "patient_name": name.get("text") or " ".join([*name.get("given", []), name.get("family", "")]),
                    "birth_date": patient.get("birthDate", ""),
                }


def _exported(reader: "Journal", what: Mapping[str, Any]) -> Iterator[int]:
    """The messages that an export's filter meant."""
    known = {one.name for one in fields(Filter)}
    wanted = Filter(**{name: value for name, value in what.items() if name in known})
    before: int | None = what.get("up_to", 0) + 1
    while page := reader.messages(wanted, before_id=before, limit=PAGE):
        yield from (view.id for view in page)
        before = page[-1].id


# -- writing -------------------------------------------------------------------------------------------------------


def _lines(entries: Iterator[Entry], suffix: str, site: str) -> Iterator[str]:
    if suffix == ".csv":
        yield from _csv(
            {**row, "what": to_json(row["what"]), "outcome": to_json(row["outcome"])} for row in _all(entries)
        )
    elif suffix == ".ndjson":
        yield from (to_json(row) + "\n" for row in _all(entries))
    else:
        yield '{"resourceType": "Bundle", "type": "collection", "entry": [\n'
        comma = ""
        for entry in entries:
            yield f'{comma}{{"resource": {to_json(trail.audit_event(entry, site))}}}\n'
            comma = ","
        yield "]}\n"


def _all(entries: Iterator[Entry]) -> Iterator[dict[str, Any]]:
    return (entry.row() for entry in entries)


class _Line:
    """Takes what `csv` writes."""

    def write(self, text: str) -> str:
        return text


def _csv(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    writer: Any = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(_Line(), list(row))
            yield writer.writeheader()
        yield writer.writerow({name: _harmless(value) for name, value in row.items()})


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _write(path: Path, lines: Iterator[str]) -> int:
    """Whole or not at all, readable by its owner only; how many lines after the heading."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    count = 0
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            for line in lines:
                file.write(line)
                count += 1
        part.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink()
    return max(0, count - {".csv": 1, ".json": 2}.get(path.suffix, 0))
