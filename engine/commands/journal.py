"""The journal's files: what a person decides when they are not what they were."""

import os
from pathlib import Path

import click

from engine.clock import SystemClock
from engine.commands.output import ExitCode, Form, form_option, say, show_document
from engine.commands.session import Session, consent, pass_session
from engine.control import user_name
from engine.errors import StoreError
from engine.loss import LossError


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("accept-loss")
@click.option("--because", required=True, metavar="TEXT", help="Why; kept for good. Write no patient data here.")
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@pass_session
def accept_loss(session: Session, because: str, yes: bool) -> ExitCode:
    """Let LabRelay start although acknowledged rows are missing, or loss cannot be ruled out.

    For when the files are gone for good: after a restored backup, a damaged disk, a lost anchor. Your name, the reason
    and the missing numbers become a row of the audit trail, and the numbers are never given again. What is missing has
    to be sent again from the analyzers.
    """
    from engine.journal import ANCHOR_NAME, JOURNAL_NAME, Journal

    if not because.strip():
        raise click.BadParameter("say why", param_hint="--because")
    if not any((session.data / name).exists() for name in (JOURNAL_NAME, ANCHOR_NAME)):
        raise StoreError(f"{session.data}: there is no journal yet")
    clock = SystemClock()
    try:
        Journal.open(session.data, clock=clock).close()
    except LossError as loss:
        consent(f"{loss}. Go on without them?", yes=yes)
    else:
        say("nothing is missing; nothing was done")
        return ExitCode.OK
    Journal.open(
        session.data, clock=clock, accept_loss=True, actor=user_name(os.geteuid()), because=because.strip()
    ).close()
    say("accepted, and noted in the audit trail; start LabRelay, and send what is missing again from the analyzers")
    return ExitCode.OK


@command.command()
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="A new folder for what is saved.")
@click.option("--because", required=True, metavar="TEXT", help="Why; kept for good. Write no patient data here.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def salvage(session: Session, target: Path, because: str, form: Form) -> ExitCode:
    """Bring every readable row of a damaged journal into a new one, and name what is missing.

    Stop LabRelay first. The damaged files are only read, and a copy of them is made where that lets more be read: there
    must be room for two. The folder then holds a journal that is whole in itself, its key where that is a file, and
    salvage.json, which says the same as this command. Look at it, then put it in the place of the old data folder.
    """
    from engine import salvage as salvaging

    if not because.strip():
        raise click.BadParameter("say why", param_hint="--because")
    from engine.commands.verify import Progress

    progress = Progress()
    saved = salvaging.run(
        session.data,
        target,
        clock=SystemClock(),
        actor=user_name(os.geteuid()),
        because=because.strip(),
        progress=progress,
    )
    progress.close()
    show_document(form, saved.as_json(), list(salvaging.sentences(saved, target)))
    return ExitCode.PARTLY if saved.lost or saved.damaged or saved.findings else ExitCode.OK
