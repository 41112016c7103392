"""Resume a channel, a destination or a lane that was paused.

A channel listens again (or connects); a destination or lane gets its waiting deliveries, in order.
"""

import click

from engine.commands.shared.output import ExitCode, Form, form_option
from engine.commands.shared.selecting import reason_option, sure_options
from engine.commands.shared.session import Session, pass_session
from engine.commands.shared.switching import kind_and_name, switch

GROUP = "every day"


@click.command(help=__doc__)
@kind_and_name
@reason_option
@sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, kind: str, name: str, reason: str, yes: bool, dry_run: bool, form: Form) -> ExitCode:
    return switch(session, "resume", kind, name, reason, yes=yes, dry_run=dry_run, form=form)
