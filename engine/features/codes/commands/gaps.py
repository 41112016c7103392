"""List codes and units that are missing in the code tables, as rows to add.

From files. Without a file: from all that the daemon has counted so far, less the codes that a table has now. With
--since stored messages are mapped again instead (nothing is sent), and counted in that time.

--unread also lists the segments and fields that no rule reads, with how many messages have them: the analyzer sends
them, and no document has them.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.shared.mapping_options import (
    ChannelMapper,
    channel_mapper,
    inputs,
    known_channel,
    mapper_for,
    mapping_options,
    say_dead,
    say_packs,
)
from engine.commands.shared.output import SCHEMA_VERSION, ExitCode, say, show_lines, to_json
from engine.commands.shared.sampling import Sample, Sampler
from engine.commands.shared.selecting import instant_us
from engine.commands.shared.session import Session, pass_session
from engine.features.codes.lists import GAP, counted
from engine.mapping.code_tables.gaps import (
    ColumnsOf,
    MissingCode,
    Tally,
    UnreadFields,
    columns_in,
    csv_lines,
    plain,
    still_missing,
    without_settled_units,
)
from engine.mapping.code_tables.tables import Table
from engine.mapping.trying.inputs import FoundMessage
from engine.model.errors import ConfigError, ErasedError, IntegrityError
from engine.model.journal.journal_views import Filter
from engine.store.queries.messages import each_message
from engine.store.queries.reader import stored_message
from engine.store.queries.tallies import list_unmapped
from engine.views.text import plural, table
from engine.views.view import Field, Row, View

if TYPE_CHECKING:
    from engine.store.queries.reader import Reader

GROUP = "mapping"

PAGE = 200
SAY_EVERY_S = 10.0
OPEN_POLICIES = {
    "on_missing": "local",
    "on_missing_unit": "local",
}  # gaps of a table are reported, whatever the policy does with them
UNREAD = View[Row](
    "unread",
    Field("where", "WHERE"),
    Field("segment", "SEGMENT"),
    Field("field", "FIELD"),
    Field("messages", "MESSAGES", right=True),
    Field("of", "OF", right=True),
)


@click.command(help=__doc__)
@click.argument("files", nargs=-1, metavar="[FILE...]")
@mapping_options
@click.option("--since", metavar="TIME", help="Of messages received since: an age (2h, 7d), a day, or a day and time.")
@click.option("--unread", is_flag=True, help="Also the segments and fields that no rule reads. With FILE or --since.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["csv", "table", "json", "ndjson"]),
    default="csv",
    show_default=True,
    help="Rows to paste into a code table, a table for people, or for scripts.",
)
@pass_session
def command(
    session: Session,
    /,
    files: tuple[str, ...],
    mapping: str,
    channel: str | None,
    timezone: str | None,
    since: str | None,
    unread: bool,
    form: str,
) -> ExitCode:
    if files and since:
        raise click.UsageError("--since is about messages of the journal: give either files or --since")
    if unread and not (files or since):
        raise click.UsageError("--unread looks at messages: give files, or --since for those of the journal")
    looked = _Looked()
    if files:
        looked.at_files(
            session, files, mapper_for(session, mapping=mapping, channel=channel, timezone=timezone), channel
        )
    elif mapping or timezone:
        raise click.UsageError("--mapping and --timezone are about files: give some")
    elif since:
        looked.at_messages(session, channel, instant_us(session, since))
    else:
        looked.at_counters(session, channel)
    folder = session.folder_or_none
    _show(form, looked, unread, folder / "mappings" if folder is not None else None)
    return ExitCode.FAILED if looked.failed else ExitCode.OK


class _Looked:
    """The findings, and the columns of the tables for which rows are written."""

    def __init__(self) -> None:
        self.rows: list[MissingCode] = []
        self.unread = UnreadFields()
        self.failed = False
        self.nothing_mapped = False  # there were messages, and each is dead
        self._tally = Tally()
        self._tables: dict[tuple[str, str], Table] = {}

    def at_files(self, session: Session, files: tuple[str, ...], mapper: ChannelMapper, channel: str | None) -> None:
        """The gaps in the messages of files, whatever the policies say."""
        _open(mapper)
        sampler = Sampler(one=mapper, name=channel or "", gaps=self._tally)
        mapped = 0
        for one in inputs(files, mapper):
            sample = Sample(one.where, 1, channel=channel or "")
            if (error := sampler.look(sample, one.found, mapper)) is not None:
                self.failed = True
                say_dead(one, error)
            mapped += error is None
            self._note(sample, mapper)
        say_packs(mapper)
        self.nothing_mapped = self.failed and not mapped
        self.rows = without_settled_units(self._tally.seen(), self._tables)

    def at_messages(self, session: Session, channel: str | None, since_us: int | None) -> None:
        """The gaps in stored messages with today's mappings."""
        site = session.load_corrected()
        names = [channel] if channel else [name for name, config in site.channels.items() if config.enabled]
        for name in names:
            known_channel(site, name)
        with session.reader() as journal:
            for name in names:
                mapper = _open(channel_mapper(site, name))
                sampler = Sampler(one=mapper, name=name, gaps=self._tally)
                for number, payload in self._payloads(journal, Filter(channel=name, after_us=since_us)):
                    for found in mapper.messages_in(payload) or [FoundMessage(payload, "")]:
                        sample = Sample(f"message {number}", 1, channel=name)
                        sampler.look(sample, found, mapper)
                        self._note(sample, mapper)
        self.rows = without_settled_units(self._tally.seen(), self._tables)

    def _payloads(self, journal: "Reader", wanted: Filter) -> Iterator[tuple[int, bytes]]:
        """Stored messages with their numbers, newest first. Incomplete ones are none, and what another system answered
        was never meant to be mapped."""
        begin = last = time.monotonic()
        count = 0
        for view in each_message(journal, wanted, at_once=PAGE):
            if view.state == "incomplete":
                continue
            try:
                stored = stored_message(journal, view.id)
            except ErasedError:
                continue
            except IntegrityError:
                self.failed = True
                say(f"message {view.id} cannot be opened; labrelay verify says more")
                continue
            if stored.filtered is not None:
                continue
            yield view.id, stored.payload
            count += 1
            if time.monotonic() - last > SAY_EVERY_S:
                last = time.monotonic()
                say(f"{plural(count, 'message')}, {count / (last - begin):.0f}/s, at message {view.id}")
        say(f"{wanted.channel}: {plural(count, 'message')} looked at")

    def at_counters(self, session: Session, channel: str | None) -> None:
        """The daemon's counts, without codes that the channels' tables have by now. Those of a channel that is not in
        the configuration are listed only where ``channel`` names it.
        """
        with session.reader() as journal:
            found = list_unmapped(journal, channel)
        try:
            site = session.load_corrected()
            if channel is None:  # no table is missing a code of an analyzer that is not in the configuration any more
                found = [gap for gap in found if gap.channel in site.channels]
            for name in {gap.channel for gap in found} & site.channels.keys():
                self._learn(name, channel_mapper(site, name))
        except ConfigError:
            say("the configuration has problems (labrelay check): codes that its tables have by now are listed, too")
        rows = still_missing(map(counted, found), self._tables)
        self.rows = sorted(rows, key=lambda row: (row.where, row.table, -row.count, row.code, row.unit))

    @property
    def columns(self) -> ColumnsOf:
        return columns_in(self._tables)

    def file_of(self, row: MissingCode) -> str:
        """The first file of the table that lacks a row; empty where that is not known."""
        known = self._tables.get((row.where, row.table))
        return known.file if known is not None else ""

    def _note(self, sample: Sample, mapper: ChannelMapper) -> None:
        where = sample.channel or sample.mapping.partition("@")[0]
        if sample.outcome == "mapped":
            self.unread.add(where, sample.segments, sample.unread)
        self._learn(where, mapper)

    def _learn(self, where: str, mapper: ChannelMapper) -> None:
        for program in mapper.programs():
            for name, known in program.tables.items():
                self._tables.setdefault((where, name), known)


def _open(mapper: ChannelMapper) -> ChannelMapper:
    mapper.context = replace(mapper.context, settings=mapper.context.settings | OPEN_POLICIES)
    return mapper


# -- showing -------------------------------------------------------------------------------------------------------


def _show(form: str, looked: _Looked, unread: bool, own: Path | None) -> None:
    gaps = GAP.rows(looked.rows)
    fields = looked.unread.rows(whole=form in ("json", "ndjson")) if unread else []
    if form == "json":
        more = {"unread": fields} if unread else {}
        click.echo(to_json({"schema_version": SCHEMA_VERSION, "gaps": gaps, **more}, indent=True))
    elif form == "ndjson":
        for one in (*gaps, *fields):
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **one}))
    elif form == "table":
        show_lines(table(looked.rows, GAP.columns) if looked.rows else ())
        show_lines(table(fields, UNREAD.columns) if fields else ())
        _say_if_none(looked, unread)
    else:
        for line in (*csv_lines(looked.rows, looked.columns), *(_unread_lines(looked.unread) if unread else ())):
            click.echo(line)
        _say_if_none(looked, unread)
        if looked.rows:
            say(_what_to_do(looked.rows[0], looked.file_of(looked.rows[0]), own))


def _what_to_do(row: MissingCode, file: str, own: Path | None) -> str:
    """Where the rows go: into the site's own table where the channel has one, else into one above that which it has."""
    if own is not None and file and (own / file).is_file():
        return f"Complete the rows in mappings/{file} of the site; labrelay check says what is missing"
    return (
        "Complete the rows in a table of the site, mappings/tables/mine.csv, and name it in the channel above the one "
        f"that it has: settings: {{tables: {{{row.table}: [tables/mine.csv, {file or '...'}]}}}}; labrelay check says "
        "what is missing"
    )


def _say_if_none(looked: _Looked, unread: bool) -> None:
    if looked.nothing_mapped:
        say("no message could be mapped, so the gaps of its tables are unknown")
        return
    if not looked.rows:
        say("every code and unit is in its table")
    if unread and not looked.unread.rows():
        say("every segment and field is read by a rule (headers and sequence numbers are not counted)")


def _unread_lines(unread: UnreadFields) -> Iterator[str]:
    """As comments, so that the whole output can be pasted: by place and segment, each with its number of messages."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in unread.rows():
        place, segment = str(row["where"]), str(row["segment"])
        found.setdefault((place, segment), []).append(f"{row['field'] or segment} ({row['messages']})")
    where = ""
    for (place, _), names in found.items():
        if place != where:
            where = place
            count = unread.messages[place]
            yield plain(f"# {place}: no rule reads, with the number of messages out of {count}")
        yield plain(f"#   {', '.join(names)}")
