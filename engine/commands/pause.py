"""Pause a channel, a destination or a lane until a person resumes it; no received message is lost by it.

A paused channel is closed, so that its analyzer keeps its results and sends them later; acknowledged messages are still
delivered. A paused destination (or lane: one channel's way to it, CHANNEL/DESTINATION) gets no further attempt, while
messages are received, mapped and queued as always. The pause outlives restarts; its person, time and reason are shown.
"""

import click

from engine.commands.shared.output import ExitCode, Form, form_option
from engine.commands.shared.selecting import given_duration, reason_option, sure_options
from engine.commands.shared.session import Session, pass_session
from engine.commands.shared.switching import kind_and_name, switch

GROUP = "every day"


@click.command(help=__doc__)
@kind_and_name
@reason_option
@click.option(
    "--drain",
    is_flag=True,
    help="Wait until what is under way has ended: of a channel, until all it has received is delivered.",
)
@click.option(
    "--within", default="60s", show_default=True, metavar="TIME", callback=given_duration, help="With --drain: at most."
)
@sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    kind: str,
    name: str,
    reason: str,
    drain: bool,
    within: float,
    yes: bool,
    dry_run: bool,
    form: Form,
) -> ExitCode:
    wait_s = within if drain else None
    return switch(session, "pause", kind, name, reason, wait_s=wait_s, yes=yes, dry_run=dry_run, form=form)
