"""Operations: acts of people on many dead letters, held results or messages, and how far each is.

Retry, dismiss, release, reject, replay and reprocess are operations. One acts on those that were there when its person
saw the count, on each of them once, and on none that came later. It goes on in the daemon, also after a restart. The
list has those of everybody.
"""

import click

from engine.commands.shared.acting import ask
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import ROW, page_options
from engine.commands.shared.session import Session, consent, pass_session
from engine.features.rework.lists.operations import OPERATION
from engine.model.errors import LabRelayError
from engine.store.operations.bulk import Operation
from engine.store.queries.bulk import operation_if, operations_page, undelivered
from engine.views.view import cell

GROUP = "every day"
RARE = True

_number = click.argument("number", type=ROW)


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("list", help="List operations, the newest first.")
@page_options("operation")
@form_option()
@pass_session
def list_operations(session: Session, limit: int, before: int | None, form: Form) -> None:
    with session.reader() as reader:
        found = operations_page(reader, before=before, limit=limit)
        show_rows(form, OPERATION, found, "no operation was begun")
    if len(found) == limit and form is Form.TABLE:
        say(f"older ones: --before {found[-1].number}")


@command.command("show", help="Show one operation: who began it, what became of each of its messages.")
@_number
@form_option(Form.TABLE, Form.JSON)
@pass_session
def show(session: Session, number: int, form: Form) -> None:
    found = _found(session, number)
    with session.reader() as reader:
        left = undelivered(reader, number)
    document = {**OPERATION.row(found), "undelivered": left, "reason": found.what.get("reason")}
    shown = [f"{field.name:<10} {cell(field.cell(found))}" for field in OPERATION.columns]
    shown += [f"{'':<10} {count} {name.replace('_', ' ')}" for name, count in found.outcomes.items()]
    if left:
        states = ", ".join(f"{count} {state}" for state, count in left.items())
        shown.append(f"of what it queued, not delivered: {states}")
    show_document(form, document, shown)


@command.command("cancel", help="End an operation; messages that it has not come to stay as they are.")
@_number
@click.option("--yes", is_flag=True, help="Do not ask.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def cancel(session: Session, number: int, yes: bool, form: Form) -> ExitCode:
    found = _found(session, number)
    if found.stage == "running":
        left = found.total - found.position
        consent(f"Cancel operation {number} ({found.verb} by {found.actor}, {left} of {found.total} left)?", yes=yes)
    done = ask(session, "operation_cancel", {"number": number})
    show_document(form, done, [f"operation {number} is cancelled; {done['left']} were left as they are"])
    return ExitCode.OK


def _found(session: Session, number: int) -> Operation:
    with session.reader() as reader:
        found = operation_if(reader, number)
    if found is None:
        raise LabRelayError(f"there is no operation {number}; labrelay operations list has them all")
    return found
