"""Print a report on a period: volume, turnaround, use of analyzers, downtime, unmapped codes, callback.

docs/reports.md defines each figure. Days are those of the site's zone. Times of turnaround and downtime are seconds.
"""

import time

import click

from engine.commands.shared.output import Form, form_option, show_rows
from engine.commands.shared.selecting import channel_names
from engine.commands.shared.session import Session, pass_session
from engine.features.reports.config import site_shifts
from engine.features.reports.lists import BY, REPORTS, Asked, month_of, period_of, today_in

GROUP = "every day"
RARE = True


@click.command(help=__doc__)
@click.argument("what", type=click.Choice([*REPORTS]), metavar="|".join(REPORTS))
@click.option("--from", "begin", metavar="DAY", help="The first day, as 2026-11-01; else that of the month of --to.")
@click.option("--to", "end", metavar="DAY", help="The last day, included; else today.")
@click.option("--month", metavar="MONTH", help="A whole month, as 2026-11.")
@click.option(
    "--by",
    type=click.Choice(BY),
    help="A row for each analyzer, day, test of an analyzer, shift or month; each report has its own default.",
)
@click.option("--channel", metavar="NAME", shell_complete=channel_names, help="Of this channel alone.")
@form_option(Form.TABLE, Form.JSON, Form.NDJSON, Form.CSV)
@pass_session
def command(
    session: Session,
    what: str,
    begin: str | None,
    end: str | None,
    month: str | None,
    by: str | None,
    channel: str | None,
    form: Form,
) -> None:
    report = REPORTS[what]
    if by is not None and by not in report.by:
        remedy = f"is by {', '.join(report.by)}" if report.by else "is a list; take --by out"
        raise click.UsageError(f"--by {by}: {what} {remedy}")
    if month is not None and (begin or end):
        raise click.UsageError("--month is instead of --from and --to")
    try:
        today = today_in(session.zone, time.time_ns() // 1000)
        period = month_of(month) if month is not None else period_of(begin, end, today)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    asked = Asked(period, by or next(iter(report.by), ""), channel, session.zone, site_shifts(session.folder))
    with session.reader() as reader:
        found = report.read(reader, asked)
    show_rows(form, report.view, found, f"nothing is counted from {period.first} to {period.last}")
