"""Map stored messages again with today's mapping, and show the differences from the delivered documents.

Nothing is sent: the differences are grouped by element, with how many messages have each and the numbers of some.
--results lists each affected result instead, all of them: its message, the specimen's number, a token for the
patient, the test's code and LOINC, and value, unit and status as they were delivered and as they are now. -o json has
both, -o csv and -o ndjson the list alone. A message that cannot be compared, or whose document differs in no result,
has a row without a test.

Values and specimen numbers are patient data and masked unless --unmask is given, which is noted in the audit trail.
--mapping-from shows what another mapping would make of the same messages.

--refused takes only messages with a document that a destination has refused (dead letters REFUSED): where a different
document is made now, it replaces the dead letter.

With --apply the daemon sends the documents that differ, oldest first and at a bounded rate, to the destinations where
they differ; messages without a difference are not sent, and neither is a result that a newer one has replaced. A new
document that would take an accepted result back is held, also where the one before it was released, and the command
says how many are. It is an operation, and goes on after a restart; `labrelay operations cancel` ends it. Where the
configuration changes, the messages left keep their documents: give the same command again. A result that a new document
does not have any more stays at its destination: LabRelay deletes nothing there.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.acting import ask, followed, note_exported, purpose_option, stated
from engine.commands.shared.completing import channel_names
from engine.commands.shared.output import SCHEMA_VERSION, ExitCode, Form, form_option, say, to_json
from engine.commands.shared.selecting import instant_us
from engine.commands.shared.session import Session, consent, pass_session
from engine.features.rework.lists.affected import HEADING, RESULTS, Affected, csv_line, row_of
from engine.store.queries.bulk import undelivered
from engine.store.queries.messages import each_message
from engine.views.text import cell, plural, printable, table
from engine.views.view import Field, Row, View

if TYPE_CHECKING:
    from engine.actions.selection import Selection
    from engine.config.load import Site
    from engine.model.routes import ChannelRoutes
    from engine.processing.reprocessing import Group, Tally
    from engine.store.queries.reader import Reader

GROUP = "when something is wrong"

DEFAULT_RATE = 50.0
PAGE = 200
NOBODY = 0  # no message has this number
SAY_EVERY_S = 10.0
CHANGES = View[Row](
    "changes",
    Field("kind", "CHANGE"),
    Field("path", "ELEMENT"),
    Field("messages", "MESSAGES", right=True),
    Field("examples", "AS IN"),
)
WHY = {
    "superseded": "a newer result was delivered: nothing is sent",
    "withdrawn": "nothing would be sent now; delivered documents stay there",
    "dead": "would be a dead letter now: nothing is sent",
    "unsettled": "deliveries wait, are held (labrelay held), or are dead letters that stay so (labrelay dlq)",
    "undelivered": "was never mapped, or was dismissed or corrected: labrelay dlq is for these",
    "damaged": "cannot be opened: labrelay verify says more",
    "gone": "its time in the journal has passed, or it was erased",
}


@dataclass(frozen=True, slots=True)
class ReprocessRequest:
    """Which messages are mapped with what.

    Attributes:
        mapping: name or absolute path of another mapping; None for the channel's own.
        mapping_hash: of that mapping. named: name and digest, for people.
    """

    site: "Site"
    selection: "Selection"
    routes: "ChannelRoutes"
    mapping: str | None = None
    mapping_hash: str | None = None
    named: str = ""


@click.command(help=__doc__)
@click.option("--channel", required=True, metavar="NAME", shell_complete=channel_names, help="Of this channel.")
@click.option(
    "--since", metavar="TIME", help="Received since: an age (2h), a day, or a day and time. Required without --refused."
)
@click.option("--until", metavar="TIME", help="Received before that; else until now.")
@click.option("--refused", is_flag=True, help="Only messages with a document that its destination refused.")
@click.option("--mapping-from", "mapping", metavar="FILE|NAME", help="With this mapping instead of the channel's own.")
@click.option("--results", "listed", is_flag=True, help="List each affected result, in place of the groups.")
@click.option("--unmask", is_flag=True, help="Show values and specimen numbers. This is noted in the audit trail.")
@purpose_option
@click.option("--apply", "send", is_flag=True, help="Send what differs. Needs --reason.")
@click.option("--reason", metavar="TEXT", help="Why; kept for good. Write no patient data here.")
@click.option(
    "--rate",
    type=click.FloatRange(0.01, 100_000),
    default=DEFAULT_RATE,
    show_default=True,
    help="With --apply, messages per second, at most.",
)
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@form_option(*Form)
@pass_session
def command(
    session: Session,
    /,
    channel: str,
    since: str | None,
    until: str | None,
    refused: bool,
    mapping: str | None,
    listed: bool,
    unmask: bool,
    purpose: str | None,
    send: bool,
    reason: str | None,
    rate: float,
    yes: bool,
    form: Form,
) -> ExitCode:
    from engine.actions.selection import Selection

    if send and not (reason or "").strip():
        raise click.UsageError("--apply needs --reason: why these results are sent again")
    if since is None and not refused:
        raise click.UsageError("--since is missing: from when on messages are looked at (or --refused)")
    why_shown = stated(purpose or reason) if unmask else ""
    now_us = time.time_ns() // 1000
    until_us = instant_us(session, until)
    selection = Selection(
        channel=channel,
        after_us=instant_us(session, since),
        # Later messages must not be sent without a preview.
        before_us=min(until_us, now_us) if until_us is not None else now_us,
    )
    with session.reader() as journal:
        if refused:
            selection = _refused(journal, selection)
        wanted = _wanted(session, journal, selection, mapping)
        if unmask:
            note_exported(session, {"reprocess": channel, **selection.to_json(), "mapping": wanted.named}, why_shown)
        rows = AffectedList(form, unmask=unmask) if listed or form is not Form.TABLE else None
        if rows is not None:
            rows.begin({"channel": channel, "mapping": wanted.named or None})
        tally = _compare(journal, wanted, rows, unmask=unmask)
    document = _document(tally, unmask=unmask)
    words = say if form in (Form.CSV, Form.NDJSON) else click.echo  # the list alone is on stdout
    if form is not Form.JSON:
        for line in _lines(tally, document, grouped=rows is None):
            words(line)
    result = None
    try:
        if send and tally.changed:
            count = plural(tally.changed, "message")
            consent(f"Send the documents of {count} of {channel} again where they differ?", yes=yes)
            result = _send(session, wanted, str(reason), rate)
    finally:
        if rows is not None:  # the document is whole, also where the person said no
            rows.end({**document, "apply": result})
    if result is None:
        if refused and not tally.messages and form is not Form.JSON:
            say(f"no destination has refused a document of {channel}, or a person has closed it")
        if send and form is not Form.JSON:
            say("nothing differs, and nothing was sent")
        return ExitCode.OK
    with session.reader() as journal:
        held = undelivered(journal, result["operation"]).get("held", 0) if result["operation"] else 0
    for line in _in_words(result, held) if form is not Form.JSON else ():
        words(line)
    whole = result["stage"] != "cancelled" and not held and result["done"].keys() <= {"processed", "unchanged"}
    return ExitCode.OK if whole else ExitCode.PARTLY


def _wanted(session: Session, journal: "Reader", selection: "Selection", mapping: str | None) -> ReprocessRequest:
    from engine.commands.shared.mapping_options import known_channel
    from engine.model.process.clock import SystemClock
    from engine.processing.reprocessing import with_mapping
    from engine.runtime.build import build_channel
    from engine.runtime.programs import Programs
    from engine.store.queries.listing import others_of

    site = session.load_corrected()
    name = selection.channel or ""
    config = known_channel(site, name)
    programs = Programs(site.mapping_path())
    key = journal.vault.identity_key
    with journal.snapshot() as execute:
        others = others_of(execute)
    built = build_channel(site, config, programs, identity_key=key, clock=SystemClock(), others=others)
    if mapping is None:
        return ReprocessRequest(site, selection, built.routes)
    if Path(mapping).is_file():
        mapping = str(Path(mapping).resolve())  # the daemon has another current folder
    routes, program = with_mapping(site, built.routes, mapping)
    named = f"{program.name}@{program.content_hash[:12]}"
    return ReprocessRequest(site, selection, routes, mapping, program.content_hash, named)


def _compare(journal: "Reader", wanted: ReprocessRequest, rows: "AffectedList | None", *, unmask: bool) -> "Tally":
    """Look at every message, newest first, a page at a time, and write the affected results."""
    from engine.features.rework.acts.affected_look import affected
    from engine.processing.reprocessing import Tally, examine

    tally = Tally(keep_values=unmask)
    begin = last = time.monotonic()
    for message_id in _numbers(journal, wanted.selection):
        finding = examine(journal, message_id, wanted.routes)
        tally.add(finding)
        if rows is not None:
            for one in affected(journal, finding):
                rows.add(one)
        if time.monotonic() - last > SAY_EVERY_S:
            last = time.monotonic()
            rate = tally.messages / (last - begin)
            looked = plural(tally.messages, "message")
            say(f"{looked}, {rate:.0f}/s, {tally.changed} differ, at message {message_id}")
    return tally


def _numbers(journal: "Reader", selection: "Selection") -> Iterator[int]:
    """The selection's messages, newest first."""
    if selection.ids:
        yield from (number for number in sorted(selection.ids, reverse=True) if number != NOBODY)
        return
    yield from (view.id for view in each_message(journal, selection.filter(), at_once=PAGE))


def _refused(journal: "Reader", selection: "Selection") -> "Selection":
    """The same, of messages with a document that its destination has refused."""
    from engine.actions.selection import letters
    from engine.model.texts.reasons import ReasonCode

    found = letters(journal, replace(selection, code=ReasonCode.REFUSED.value))
    # A selection without numbers would mean every message.
    return replace(selection, ids=tuple(sorted({letter.message_id for letter in found})) or (NOBODY,))


def _send(session: Session, wanted: ReprocessRequest, reason: str, rate: float) -> dict[str, Any]:
    """Have the daemon carry it out, or queue it here where none runs; follow it to its end."""
    args = {
        "selection": wanted.selection.to_json(),
        "reason": reason,
        "rate": rate,
        "config_hash": wanted.site.hash,
        "mapping": wanted.mapping,
        "mapping_hash": wanted.mapping_hash,
    }
    return followed(session, ask(session, "reprocess", args))


def _document(tally: "Tally", *, unmask: bool) -> dict[str, Any]:
    def row(group: "Group") -> dict[str, Any]:
        made = {"messages": group.messages, "occurrences": group.occurrences, "examples": group.examples}
        if unmask:
            made["values"] = [{"before": before, "after": after} for before, after in group.values]
        return made

    groups = sorted(tally.groups.items(), key=lambda item: (-item[1].messages, item[0][1], item[0][0]))
    return {
        "messages": tally.messages,
        "outcomes": tally.outcomes,
        "changes": [{"kind": kind, "path": path, **row(group)} for (kind, path), group in groups],
        "not_sent": [
            {"outcome": outcome, "reason": reason, "messages": group.messages, "examples": group.examples}
            for (outcome, reason), group in sorted(tally.not_sent.items())
        ],
        "changes_not_listed": tally.ungrouped,
    }


def _lines(tally: "Tally", document: dict[str, Any], *, grouped: bool) -> Iterator[str]:
    if document["changes"] and grouped:
        yield from table(document["changes"], CHANGES.columns)
        for change in document["changes"]:
            for pair in change.get("values", ()):
                if pair["before"] or pair["after"]:
                    yield f"  {change['path']}: {printable(repr(pair['before']))} -> {printable(repr(pair['after']))}"
    if tally.ungrouped and grouped:
        yield f"and {tally.ungrouped} differences in other elements"
    for row in document["not_sent"]:
        reason = f" {row['reason']}" if row["reason"] else ""
        examples = ", ".join(map(str, row["examples"]))
        yield f"{row['messages']} {row['outcome']}{reason}, as {examples}: {WHY[row['outcome']]}"
    if document["changes"] and grouped:
        yield "each affected result: the same command with --results, or -o csv"
    changed, unchanged = tally.changed, tally.outcomes.get("unchanged", 0)
    told = f"{changed} {'differs' if changed == 1 else 'differ'}, {unchanged} {'does' if unchanged == 1 else 'do'} not"
    yield click.style(f"{plural(tally.messages, 'message')}: {told}", bold=True)


def _in_words(result: dict[str, Any], held: int) -> list[str]:
    done = dict(result["done"])
    sent, left = (done.pop(name, 0) for name in ("processed", "configuration_changed"))
    rest = [f"{count} {name.replace('_', ' ')}" for name, count in done.items() if count]
    lines = ["; ".join([f"{plural(sent, 'message')} mapped anew, and queued where it differs", *rest])]
    if held:
        lines.append(f"{plural(held, 'document')} {'is' if held == 1 else 'are'} held: labrelay held list says why")
    if left:
        lines.append(f"stopped, for the configuration changed: {plural(left, 'message')} left; give the command again")
    if result["stage"] == "cancelled":
        lines.append(f"operation {result['operation']} was cancelled before its end")
    return lines


class AffectedList:
    """The list of affected results: writes the rows as they come, however long it is, and keeps none of them.

    table    a heading, then rows; a column grows with a wider value
    json     one document; the rows are in ``results``, before the fields that are known only at the end
    ndjson   an object a row
    csv      a heading and a line a row. A text that a spreadsheet would take for a formula has an apostrophe before it;
                 a number has none

    Attributes:
        rows: how many were written.
    """

    def __init__(self, form: Form, *, unmask: bool) -> None:
        self.rows = 0
        self._form = form
        self._unmask = unmask
        self._widths = [len(column.title) for column in RESULTS.columns]

    def begin(self, document: Mapping[str, Any]) -> None:
        """Write the beginning, before the rows.

        Args:
            document: for JSON, the fields that are known already.
        """
        if self._form is Form.CSV:
            click.echo(HEADING, nl=False)
        elif self._form is Form.JSON:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **document})[:-1] + ',"results":[', nl=False)
        elif self._form is Form.TABLE:
            click.echo(click.style(self._line([column.title for column in RESULTS.columns]), bold=True))

    def add(self, one: Affected) -> None:
        row = row_of(one, unmask=self._unmask)
        if self._form is Form.CSV:
            click.echo(csv_line(row.values()), nl=False)
        elif self._form is Form.JSON:
            click.echo(("," if self.rows else "") + "\n" + to_json(row), nl=False)
        elif self._form is Form.NDJSON:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **row}))
        else:
            click.echo(self._line([cell(row[column.name]) for column in RESULTS.columns]))
        self.rows += 1

    def end(self, document: Mapping[str, Any]) -> None:
        """Write the end, after the rows: for JSON, the rest of the document."""
        if self._form is Form.JSON:
            rest = to_json(document)[1:]
            click.echo("]" + ("," if rest != "}" else "") + rest)

    def _line(self, cells: list[str]) -> str:
        self._widths = [max(width, len(text)) for width, text in zip(self._widths, cells, strict=True)]
        parts = [
            text.rjust(width) if column.right else text.ljust(width)
            for column, text, width in zip(RESULTS.columns, cells, self._widths, strict=True)
        ]
        return "  ".join(parts).rstrip()
