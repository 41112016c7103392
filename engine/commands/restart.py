"""Restart a channel's line, a destination's connections, or a lane, in the running daemon.

A channel is closed and opened again. A destination's connections are made anew, and its waiting retries are made at
once; so are those of a lane (CHANNEL/DESTINATION). Nothing is lost, and no answered delivery is sent twice.
"""

import click

from engine.commands.shared.output import ExitCode, Form, form_option
from engine.commands.shared.selecting import reason_option, sure_options
from engine.commands.shared.session import Session, pass_session
from engine.commands.shared.switching import kind_and_name, switch

GROUP = "when something is wrong"


@click.command(help=__doc__)
@kind_and_name
@reason_option
@sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, kind: str, name: str, reason: str, yes: bool, dry_run: bool, form: Form) -> ExitCode:
    return switch(session, "restart", kind, name, reason, yes=yes, dry_run=dry_run, form=form)
