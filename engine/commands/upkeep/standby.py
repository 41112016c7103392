"""A spare machine: follow the copies of a site, and take over when its machine has failed.

`labrelay standby --backup FOLDER --to FOLDER` runs until it is stopped: it reads, checks and applies each piece as it
comes, into a new folder. The key must be there: --keys names its folder once. `status`, `take-over` and `adopt` take
that folder as --site.
"""

import signal
import threading
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import stated_reason
from engine.commands.shared.session import Session, pass_session
from engine.config.load import load_site
from engine.model.errors import ConfigError, LockedError
from engine.model.process.clock import SystemClock
from engine.model.site.actor import of_this_process
from engine.store.core.files.ownership import make_for_owner
from engine.store.journal import Journal
from engine.store.recovery import adopting
from engine.store.recovery.backups import restoring
from engine.store.recovery.backups.following import Spare

GROUP = "upkeep"
ROUND_S = 2.0


@click.group(help=__doc__, invoke_without_command=True)
@click.option("--backup", type=click.Path(path_type=Path), help="The folder of copies.")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="A new folder for the spare.")
@click.option("--keys", type=click.Path(path_type=Path), help="A folder with the key in it (labrelay.key).")
@click.pass_context
def command(context: click.Context, backup: Path | None, folder: Path | None, keys: Path | None) -> ExitCode | None:
    if context.invoked_subcommand is not None:
        return None
    if backup is None or folder is None:
        raise click.UsageError("say where the copies are, and where the spare is to be: --backup FOLDER --to FOLDER")
    make_for_owner(folder)
    spare, stop = Spare(folder, SystemClock(), backup=backup, keys=keys), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    said = ("", "")
    while not spare.is_over:
        with suppress(LockedError, FileNotFoundError):  # a take-over is under way, or was now
            now = spare.round()
            if said != (now.copy, now.fault):
                said = (now.copy, now.fault)
                say(now.fault or f"{now.copy}: followed, up to row {now.row}")
        if stop.wait(ROUND_S):
            return ExitCode.OK
    say("this machine has taken over")
    return ExitCode.OK


@command.command()
@form_option(Form.TABLE, Form.JSON)
@pass_session
def status(session: Session, form: Form) -> ExitCode:
    """How far the spare is: the newest row, and since when a piece waits."""
    now = Spare(Path(session.site or "."), SystemClock()).progress
    lines = [
        f"{now.copy or 'no copy yet'}: up to row {now.row}, received {now.received or 'never'}",
        f"  looked at {now.at}; " + (f"a piece waits for {now.behind_s:.0f} s" if now.behind_s else "no piece waits"),
        *([f"  {now.fault}"] if now.fault else []),
    ]
    show_document(form, asdict(now), lines)
    return ExitCode.PARTLY if now.fault else ExitCode.OK


@command.command("take-over")
@stated_reason
@click.option(
    "--anchor",
    type=click.Path(path_type=Path),
    help="The old journal's journal.anchor, if it is still there: it shows which rows are missing, or that none is.",
)
@form_option(Form.TABLE, Form.JSON)
@pass_session
def take_over(session: Session, reason: str, anchor: Path | None, form: Form) -> ExitCode:
    """Make the site of the spare: the journal goes on here. The old machine delivers and copies nothing from then on.

    Stop the old machine where it can be reached. Nothing is delivered where rows are missing, or may be.
    """
    folder = Path(session.site or ".").absolute()
    done = Spare(folder, SystemClock()).take_over(of_this_process(), reason, anchor)
    lacks: list[str] = []
    try:
        load_site(folder, require_secrets=True)
    except ConfigError as error:
        lacks = str(error).splitlines()
    lines = [
        *restoring.sentences(done, folder),
        *(f"  before the start: {one}" for one in lacks),
        "now: bring private keys and secrets, and the analyzers' address or cables; then",
        f"  labrelay --site {folder} check, and labrelay --site {folder} run",
        "with the disk of the old machine: labrelay standby adopt OLD_FOLDER brings its last rows",
    ]
    show_document(form, {**asdict(done), "lacks": lacks}, lines)
    return ExitCode.PARTLY if done.lost or done.wrong or lacks else ExitCode.OK


@command.command()
@click.argument("old", metavar="OLD_FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False))
@form_option(Form.TABLE, Form.JSON)
@pass_session
def adopt(session: Session, old: Path, form: Form) -> ExitCode:
    """Bring the last rows of the old machine, which no piece carried, from its folder or disk. Stop LabRelay first.

    Its messages come in as received then; the next start processes them. A result that would take the place of a newer
    one is held for a person. A message that came again meanwhile is a repeat.
    """
    with closing(Journal.open(session.data, clock=SystemClock(), elsewhere=session.elsewhere)) as journal:
        done = adopting.run(journal, old, of_this_process())
    show_document(form, asdict(done), adopting.sentences(done))
    return ExitCode.OK
