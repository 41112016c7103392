"""The journal's files: what a person decides when they are not what they were."""

import os

import click

from engine.clock import SystemClock
from engine.commands.output import ExitCode, say
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
