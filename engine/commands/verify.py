"""Verify the journal: every number exists, every hash and the chain are right, the anchor is not ahead.

Works beside the running daemon and without one, and needs no key; `--deep` also opens every sealed column, which needs
it. Exit code 6 and one line for each problem.
"""

from typing import Any

import click

from engine.commands.shared.long_running import Progress, be_gentle, gently_option
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.session import Session, pass_session
from engine.views.view import picked

GROUP = "when something is wrong"

WHAT_TO_DO = (
    "what to do: stop LabRelay and copy the data folder as it is. Then labrelay restore, where a backup has what is "
    "missing; or labrelay journal salvage, which saves all that can be read, often rows that are missing here, and has "
    "the exact list; or, where files are gone for good, labrelay journal accept-loss. docs/runbook.md helps to choose"
)
WHAT_TO_DO_WITHOUT_ANY_ROW = (
    "what to do: stop LabRelay and copy the data folder as it is. Then labrelay restore, from a backup: journal "
    "salvage needs the tables and the keys, too. Without a backup, docs/runbook.md says how to begin anew"
)

WHAT_TO_DO_AFTER_A_ROLLBACK = (
    "what to do: LabRelay may run: it receives and acknowledges, and delivers nothing. Put the newest data folder in "
    "place if you still have it, or restore the newest copy. Else let the analyzers send again what is missing, "
    "correct what is newer elsewhere, then: labrelay resume deliveries --reason TEXT. docs/runbook.md helps to choose"
)


@click.command(help=__doc__)
@click.option("--deep", is_flag=True, help="Also open every sealed column; needs the key.")
@gently_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, deep: bool, gently: bool, form: Form) -> ExitCode:
    from engine.store.integrity import verify

    be_gentle(gently)
    with Progress() as progress:
        findings = verify.run(session.data, deep=deep, progress=progress, elsewhere=session.elsewhere)
    document: dict[str, Any] = {
        "ok": not findings,
        "deep": deep,
        "rows": progress.total,
        "findings": [picked(found, "kind table first last text") for found in findings],
    }
    good = f"{progress.total} rows, nothing is wrong{' (deep)' if deep else ''}"
    show_document(form, document, [str(found) for found in findings] or [good])
    if findings and form is Form.TABLE:
        lost = any(found.kind == "structure" and not found.table for found in findings)
        back = all(found.kind == verify.ROLLBACK for found in findings)
        say(WHAT_TO_DO_AFTER_A_ROLLBACK if back else WHAT_TO_DO_WITHOUT_ANY_ROW if lost else WHAT_TO_DO)
    return ExitCode.INTEGRITY if findings else ExitCode.OK
