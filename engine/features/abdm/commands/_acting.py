"""Verbs of `labrelay abdm` that act: on whose a report is, that it goes out no more, once more, a suspended consent.

What names a patient is no option: it is asked for on a terminal, or read from a file or standard input, so that no list
of processes and no shell's history has it.
"""

import json
from typing import Any

import click

from engine.commands.shared.acting import ask
from engine.commands.shared.output import ExitCode, Form, form_option, on_terminal, say, show_document
from engine.commands.shared.selecting import ROW, stated_reason
from engine.commands.shared.session import Session, consent, pass_session

FIELDS = {
    "number": "ABHA number on the card; none: leave it empty",
    "address": "ABHA address on the card; none: leave it empty",
    "name": "Name on the card",
    "gender": "Gender on the card (M, F, O, D, T, U)",
    "year": "Year of birth on the card",
}
"""What the network compares, and how it is asked for."""
MORE = ("mobile", "patient")  # of a file alone
MOST = 100_000  # characters of a file

_form = form_option(Form.TABLE, Form.JSON)
_context = click.argument("context", type=ROW)


def register(group: click.Group) -> None:
    for one in (link, withdraw, retry, resume):
        group.add_command(one)


@click.command("link")
@_context
@click.option(
    "--from",
    "file",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help=f"Read the patient from a JSON object with {', '.join(FIELDS)}, and if known {' and '.join(MORE)}; - reads"
    " standard input. Without it they are asked for.",
)
@click.option(
    "--confirm", is_flag=True, help="The report, or the network, says otherwise; you have looked at both, and mean it."
)
@click.option("--readmit", is_flag=True, help="The patient has left the network, and asks to come back.")
@stated_reason
@click.option("--yes", is_flag=True, help="Without the question.")
@_form
@pass_session
def link(
    session: Session, /, context: int, file: Any, confirm: bool, readmit: bool, reason: str, yes: bool, form: Form
) -> ExitCode:
    """Link a report with the patient whose ABHA card you have seen.

    The network compares name, gender and year of birth with the card; three mistakes block the patient for a day.
    CONTEXT is the number of the care context.
    """
    person = _read(file) if file is not None else _asked()
    consent(f"Link the report of context {context} with this patient?", yes=yes)
    done = ask(
        session, "abdm_link", {"context": context, **person, "confirmed": confirm, "readmit": readmit, "reason": reason}
    )
    number = done["context"]
    other = "" if number == context else f", in place of context {context}"
    show_document(form, done, [f"context {number} is being linked{other}"])
    return ExitCode.OK


def _asked() -> dict[str, Any]:
    if not on_terminal():
        raise click.UsageError("there is no terminal to ask for the patient: add --from FILE")
    said: dict[str, Any] = {
        name: click.prompt(
            question, default="" if name in ("number", "address") else None, show_default=False, err=True
        )
        for name, question in FIELDS.items()
        if name != "year"
    }
    year = click.prompt(FIELDS["year"], type=click.IntRange(1000, 9999), err=True)
    return {**said, "gender": said["gender"].upper(), "year": year}


def _read(file: Any) -> dict[str, Any]:
    try:
        said = json.loads(file.read(MOST))
    except (ValueError, OSError):  # its words may have a name
        raise click.UsageError("the file of --from is no JSON") from None
    known = {*FIELDS, *MORE}
    if not isinstance(said, dict) or not said.keys() <= known:
        raise click.UsageError(
            f"the file of --from is a JSON object with these names alone: {', '.join(sorted(known))}"
        )
    return said


@click.command("withdraw")
@_context
@stated_reason
@_form
@pass_session
def withdraw(session: Session, /, context: int, reason: str, form: Form) -> None:
    """Give nothing of a report out at ABDM any more, nor its next version.

    A link takes that back. An app that has the report keeps it: tell the patient. Of a report that a correction has
    taken away you say by this that you have looked.
    """
    done = ask(session, "abdm_withdraw", {"context": context, "reason": reason})
    show_document(form, done, [f"context {context} is withdrawn"])


@click.command("retry")
@click.argument("context", type=ROW, required=False)
@click.option(
    "--transfer", type=ROW, metavar="NUMBER", help="Make the report of this transfer to the network once more."
)
@click.option("--call", type=ROW, metavar="NUMBER", help="Make this call once more, which has failed.")
@click.option(
    "--confirm", is_flag=True, help="The network has refused the patient's data; you have looked, and they are right."
)
@stated_reason
@_form
@pass_session
def retry(
    session: Session,
    /,
    context: int | None,
    transfer: int | None,
    call: int | None,
    confirm: bool,
    reason: str,
    form: Form,
) -> None:
    """Have a link, a notice to a patient's app or a report to the network made once more.

    Records themselves are never sent again by this: their reader asks again.
    """
    given = {"context": context, "transfer": transfer, "call": call}
    chosen = {name: number for name, number in given.items() if number is not None}
    if len(chosen) != 1:
        raise click.UsageError("give one of CONTEXT, --transfer and --call")
    if confirm and context is None:
        raise click.UsageError("--confirm is for a CONTEXT alone")
    done = ask(session, "abdm_retry", {**chosen, "confirmed": confirm, "reason": reason})
    ((name, number),) = chosen.items()
    show_document(form, done, [f"{name} {number} is tried once more"])


@click.command("resume")
@click.argument("consent", type=ROW)
@click.option(
    "--looked", is_flag=True, help="You have looked: the network's own list has it as granted. Else it is asked."
)
@stated_reason
@_form
@pass_session
def resume(session: Session, /, consent: int, looked: bool, reason: str, form: Form) -> None:
    """Put a suspended consent in force again: records go out under it.

    It may have been revoked since the copy that was restored, or by a notice that could not be read. So look at the
    network's own list of consents first. CONSENT is its number here.
    """
    if not looked and on_terminal():
        looked = click.confirm(f"Does the network's own list have consent {consent} as granted?", err=True)
        if not looked:
            say(f"consent {consent} stays suspended")
    done = ask(session, "abdm_resume", {"consent": consent, "looked": looked, "reason": reason})
    show_document(form, done, [f"consent {consent} is in force"])
