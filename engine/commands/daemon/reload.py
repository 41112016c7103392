"""Make the running daemon read its configuration again; on any problem it keeps the old one.

Everything is read, compiled and checked first; then only the channels and destinations that differ are restarted.
`--dry-run` ends before that, and says what would start, end, start anew or go on. Exit code 3 and the list of problems
where the new configuration is refused, also in a dry run.
"""

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.session import Session, pass_session
from engine.config.findings.changes import REFUSED

GROUP = "every day"

TIMEOUT_S = 70.0


@click.command(help=__doc__)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, dry_run: bool, form: Form) -> ExitCode:
    said = session.call("reload", {"dry_run": dry_run}, timeout=TIMEOUT_S)
    for warning in said["warnings"]:
        say(f"warning: {warning}")
    if not said["changed"]:
        result = "is in force already" if dry_run else "was in force already"
    else:
        result = "is not in force yet" if dry_run else "is in force"
    lines = [f"{one['kind']} {one['name']}: {one['then']}" for one in said["changes"]]
    show_document(form, {"dry_run": dry_run, **said}, [*lines, f"configuration {said['config_hash'][:12]} {result}"])
    return ExitCode.CONFIG if any(one["then"] == REFUSED for one in said["changes"]) else ExitCode.OK
