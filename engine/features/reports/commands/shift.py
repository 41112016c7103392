"""Show the report of a shift: what is still open, and what each analyzer sent and became of it, as on the page.

Counts are those of whole hours, noted every five minutes: the report begins with the hour of --from. Without it, it is
that of the shift (`web: shifts`), and in the first hour of a shift of the one before, too. The longest gap is the
longest time without a message. Without the daemon it has the counts alone.
"""

import time
from collections.abc import Iterator
from typing import Any

import click

from engine.commands.shared.output import Form, form_option, say, show_document
from engine.commands.shared.selecting import instant_us
from engine.commands.shared.session import Session, pass_session
from engine.features.reports.config import site_shifts
from engine.features.reports.lists import CHANNEL_SHIFT, ChannelShift, Shift, by_channel, shift_of
from engine.model.errors import UnreachableError
from engine.model.process.clock import from_us
from engine.store.queries.tallies import hours_between
from engine.views.view import Head, cell, table

GROUP = "every day"


@click.command(help=__doc__)
@click.option(
    "--from", "since", metavar="TIME", help="An age (24h), a day, or a day and time; else the begin of the shift."
)
@click.option("--until", metavar="TIME", help="Likewise; else now.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, since: str | None, until: str | None, form: Form) -> None:
    now_us = time.time_ns() // 1000
    until_us = min(instant_us(session, until) or now_us, now_us)
    try:
        shift = shift_of(instant_us(session, since), until_us, site_shifts(session.folder), session.zone)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    names, findings = _present(session)
    with session.reader() as reader:
        rows = by_channel(hours_between(reader, shift.since_us, shift.until_us), names)
    document = {
        "since": from_us(shift.since_us).isoformat(timespec="milliseconds"),
        "until": from_us(shift.until_us).isoformat(timespec="milliseconds"),
        "open": findings,
        CHANNEL_SHIFT.name: CHANNEL_SHIFT.rows(rows),
    }
    show_document(form, document, _lines(shift, findings, rows))


def _present(session: Session) -> tuple[list[str], list[dict[str, Any]] | None]:
    """The names of all channels, and what is not in order; None: no daemon runs."""
    try:
        status = session.call("status")
    except UnreachableError as error:
        say(f"labrelay: {error}")
        return list(session.load(require_secrets=False).channels), None
    return [one["name"] for one in status["channels"]], status["findings"]


def _lines(shift: Shift, findings: list[dict[str, Any]] | None, rows: list[ChannelShift]) -> Iterator[str]:
    yield Head(f"{cell(from_us(shift.since_us))} to {cell(from_us(shift.until_us))}")
    if findings is not None:
        yield "still open now:" if findings else "still open now: nothing"
        yield from (f"  {one['words']}" for one in findings)
    yield ""
    yield from table(rows, CHANNEL_SHIFT.columns)
