"""Make the running daemon read its configuration again; on any problem it keeps the old one.

Everything is read, compiled and checked first; then only the channels and destinations that differ are restarted.
Exit code 3 and the list of problems where the new configuration is refused.
"""

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.session import Session, pass_session

GROUP = "every day"

TIMEOUT_S = 70.0


@click.command(help=__doc__)
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, form: Form) -> ExitCode:
    said = session.call("reload", timeout=TIMEOUT_S)
    for warning in said["warnings"]:
        say(f"warning: {warning}")
    result = "is in force" if said["changed"] else "was in force already"
    show_document(form, said, [f"configuration {said['config_hash'][:12]} {result}"])
    return ExitCode.OK
