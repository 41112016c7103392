"""List all that waits for a person now: each thing once, the worst first, with its one next step.

Dead letters by cause, held results, codes without a mapping, silent or unplugged analyzers, destinations that are away,
certificates near their end, the disk, the clock, the key, backups. The list is empty when all is well. An entry goes
when its cause does; a person can take it, so that others see who works on it, leave a note, or snooze it. A snoozed
entry comes back at its time, and before it while it is worse than it was: at a higher level, or with twice the count.

Without a command the list is shown. KEY is the entry's key in the list, or its beginning.
"""

from typing import Any

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import given_duration, stated_reason
from engine.commands.shared.session import Session, pass_session
from engine.features.todo.lists import TABLE

GROUP = "every day"

TIMEOUT_S = 30.0
_key = click.argument("key")


@click.group(help=__doc__, invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        context.invoke(list_entries)


@command.command("list", help="List what is to be done.")
@click.option("--all", "everything", is_flag=True, help="Snoozed entries, too.")
@form_option()
@pass_session
def list_entries(session: Session, everything: bool, form: Form) -> None:
    said = session.call("todo", timeout=TIMEOUT_S)["todo"]
    snoozed = sum(one["snoozed"] for one in said)
    shown = said if everything else [one for one in said if not one["snoozed"]]
    show_rows(form, TABLE, shown, "All is well: nothing is to be done")
    if snoozed and not everything:
        say(f"snoozed: {snoozed}; --all shows these, too")


@command.command(help="Take an entry: others see that you work on it.")
@_key
@form_option(Form.TABLE, Form.JSON)
@pass_session
def take(session: Session, key: str, form: Form) -> ExitCode:
    return _said(session, form, "todo_take", {"key": key})


@command.command(help="Leave a note at an entry, in the place of the one before; write no patient data.")
@_key
@click.argument("text")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def note(session: Session, key: str, text: str, form: Form) -> ExitCode:
    return _said(session, form, "todo_note", {"key": key, "text": text})


@command.command(help="Put an entry off for a time.")
@_key
@click.option(
    "--for", "for_s", required=True, metavar="TIME", callback=given_duration, help="For so long, as 4h; at most 30d."
)
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def snooze(session: Session, key: str, for_s: float, reason: str, form: Form) -> ExitCode:
    return _said(session, form, "todo_snooze", {"key": key, "seconds": for_s, "reason": reason})


@command.command(help="Forget who has an entry, its note and its snooze.")
@_key
@click.option("--only", type=click.Choice(["taken", "note", "snooze"]), help="Forget one of them, and keep the others.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def drop(session: Session, key: str, only: str | None, form: Form) -> ExitCode:
    return _said(session, form, "todo_drop", {"key": key, "only": only})


def _said(session: Session, form: Form, verb: str, args: dict[str, Any]) -> ExitCode:
    result = session.call(verb, args, timeout=TIMEOUT_S)
    done = "noted" if result["act"] is not None else "nothing was kept about it"
    show_document(form, result, [f"{result['key']}: {done}"])
    return ExitCode.OK
