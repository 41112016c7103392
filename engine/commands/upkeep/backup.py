"""Copies of the journal and the configuration in a second folder: make one, list them, try whether one can be restored.

The daemon makes them by itself where the site names a folder (`backup:` in config/labrelay.yaml). The key is not in a
copy unless that is asked for: keep it elsewhere, for without it no copy can be read.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.shared.long_running import Progress, be_gentle, gently_option
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import stated_reason
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import ConfigError, LockedError, StoreError, UnreachableError
from engine.model.process.clock import SystemClock
from engine.model.texts.units import duration_text, size_words
from engine.store.core.files.ownership import act_as_owner, make_for_owner
from engine.store.queries.extent import identity_of
from engine.views.site import COPY
from engine.views.view import printable, table

if TYPE_CHECKING:
    from engine.config.load import Site
    from engine.store.recovery.backups.catalog import Copy, Shelf

GROUP = "upkeep"

ASK_AGAIN_S = 0.5
KEY_WORDS = (
    "the key is not in it: keep a copy of the key elsewhere (labrelay key recovery-sheet), for without it nothing in "
    "the backup can be read"
)

folder_option = click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder of the copies; by default the site's `backup: {folder}`."
)


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command()
@folder_option
@click.option("--with-key", is_flag=True, help="Put the key beside the copy: a holder of the folder can then read it.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def now(session: Session, folder: Path | None, with_key: bool, form: Form) -> ExitCode:
    """Make a full copy now, read it back and check it by its chain; beside a running daemon or without one."""
    site = session.load(require_secrets=False)
    if folder is None and not with_key:
        try:
            session.call("backup", {"do": "now"})
        except UnreachableError:
            pass
        else:
            _wait(session)
            copy = _shelf(session, site, None).newest()
            return _made(copy, form)
    try:
        copy = _make(session, site, folder, with_key)
    except LockedError as error:
        raise StoreError(
            f"{error}; a running daemon makes copies in the folder of its configuration only, without the key unless "
            "`backup: {key: true}` says so"
        ) from error
    return _made(copy, form)


def _made(copy: "Copy | None", form: Form) -> ExitCode:
    if copy is None or copy.verified is None:
        say("no copy was made")
        return ExitCode.FAILED
    lines = [f"{copy.path}: {copy.verified.rows} rows, {size_words(copy.manifest.bytes)}"]
    if copy.verified.findings:
        lines += [f"  {text}" for text in copy.verified.findings]
    else:
        lines.append(f"  read back and checked by its chain in {copy.verified.seconds:.1f} s: whole")
    if copy.manifest.left_out:
        lines.append(f"  left out, for they hold private keys: {', '.join(copy.manifest.left_out)}")
    say("the key lies beside it: guard the folder like the key" if copy.manifest.key else KEY_WORDS)
    show_document(form, COPY.row(copy), lines)
    return ExitCode.OK if copy.is_whole else ExitCode.INTEGRITY


def _wait(session: Session) -> None:
    """Until the daemon is done; says how far it is, where that changes."""
    last = ""
    while True:
        said = session.call("backup", {"do": "state"})
        if said["running"] and said["running"] != last:
            last = said["running"]
            say(last)
        if not said["busy"]:
            if said["fault"]:
                raise StoreError(said["fault"])
            return
        time.sleep(ASK_AGAIN_S)


def _make(session: Session, site: "Site", folder: Path | None, with_key: bool) -> "Copy | None":
    """A copy without a daemon."""
    from engine.store.core.connecting import JOURNAL_NAME
    from engine.store.journal import Journal
    from engine.store.operations import incarnation
    from engine.store.recovery.backups import checking, copying
    from engine.store.recovery.backups.catalog import Shelf, read_copy

    config = site.config.backup
    journal = Journal.open(session.data, clock=SystemClock(), elsewhere=session.elsewhere)
    try:
        shelf = Shelf(_root(site, folder), journal.journal_id)
        if folder is not None and folder.is_dir():
            make_for_owner(shelf.path)
        shelf.open()
        with journal.snapshot() as execute:
            shelf.claim(incarnation.of(execute), practice=site.config.site.practice)
        copying.room(shelf, session.journal)
        making = shelf.begin()
        journal.writer.lend_alone(copying.job(making / JOURNAL_NAME))
        copy = copying.complete(
            shelf,
            making,
            data=session.data,
            site=session.folder,
            name=site.config.site.name,
            journal_id=journal.journal_id,
            seal=journal.vault.anchor_seal,
            with_key=with_key or config.key,
        )
    finally:
        journal.close()
    with Progress() as progress:
        checking.run(copy, progress=progress)
    made = read_copy(copy.path)
    if made is not None and made.is_whole:
        shelf.tidy(config.keep)
    return made


@command.command("list")
@folder_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def list_(session: Session, folder: Path | None, form: Form) -> None:
    """The copies, newest first: age, size, and whether each was read back and found whole."""
    from engine.store.recovery.backups.catalog import shelves

    root = _root(session.load(require_secrets=False), folder)
    found = list(chain.from_iterable(shelves(root)))
    document = {"folder": str(root), "copies": COPY.rows(found)}
    show_document(form, document, _lines(found) if found else [f"{root}: no copies"])


def _lines(found: "Sequence[Copy]") -> Iterator[str]:
    """The table, and below it what is wrong with each copy."""
    yield from table(found, COPY.columns)
    for copy in found:
        if copy.verified is not None and copy.verified.findings:
            yield ""
            yield f"{copy.name} is not whole:"
            yield from (f"  {printable(text)}" for text in copy.verified.findings)


@command.command()
@click.argument("copy", type=click.Path(path_type=Path, exists=True, file_okay=False))
@gently_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def verify(session: Session, copy: Path, gently: bool, form: Form) -> ExitCode:
    """Read a copy back (its folder, full-...) and check it by its chain. Needs no key and no site."""
    from engine.store.recovery.backups import checking
    from engine.store.recovery.backups.catalog import read_copy

    be_gentle(gently)
    act_as_owner(copy)
    found = read_copy(copy)
    if found is None:
        raise StoreError(f"{copy}: not a copy that was made to its end; labrelay backup list shows those")
    with Progress() as progress:
        verified = checking.run(found, progress=progress)
    wrong = [*verified.findings, *checking.broken_pieces(found)]
    document = {"copy": found.name, "rows": verified.rows, "seconds": verified.seconds, "findings": wrong}
    show_document(form, document, wrong or [f"{found.name}: {verified.rows} rows, whole"])
    return ExitCode.INTEGRITY if wrong else ExitCode.OK


@command.command()
@folder_option
@gently_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def drill(session: Session, folder: Path | None, gently: bool, form: Form) -> ExitCode:
    """Restore the newest copy into a scratch folder, check it, say how long that took, and remove it again.

    Prints how much would have been lost now (RPO), and how long it takes to have a site again (RTO).
    """
    from engine.store.operations import incarnation
    from engine.store.recovery.backups.checking import drill as restored

    be_gentle(gently)
    site = session.load(require_secrets=False)
    shelf = _shelf(session, site, folder)
    with session.reader() as reader, reader.snapshot() as execute:
        shelf.claim(incarnation.of(execute), practice=site.config.site.practice)
    scratch = site.config.backup.scratch or shelf.path
    found = restored(shelf, scratch, keys=session.data, clock=SystemClock())
    lines = [
        f"restored {found['copy']}: {found['rows']} rows in {found['seconds']:.1f} s, including the check with "
        f"{found['check_seconds']:.1f} s",
        f"would have been lost now: {duration_text(round(found['rpo_s']))}",
        *found["wrong"],
    ]
    show_document(form, found, lines)
    return ExitCode.INTEGRITY if found["wrong"] else ExitCode.OK


@command.command("go-on")
@stated_reason
@pass_session
def go_on(session: Session, reason: str) -> None:
    """Say that the journal goes on on this machine: its copies go into the folder, and no others.

    For a restored site that takes over, and for a machine that is right although the journal went on elsewhere. Stop
    the other machine first: it writes no copies from then on, and delivers nothing.
    """
    from engine.model.site.actor import of_this_process
    from engine.store.journal import Journal
    from engine.store.operations import incarnation
    from engine.store.recovery.backups.catalog import Shelf

    site = session.load(require_secrets=False)
    try:
        session.call_also_at_start("backup", {"do": "go-on", "reason": reason})
    except UnreachableError:
        journal = Journal.open(session.data, clock=SystemClock(), elsewhere=session.elsewhere)
        try:
            folder, practice = site.config.backup.folder, site.config.site.practice
            shelf = Shelf(folder, journal.journal_id) if folder is not None else None
            others = shelf.before(practice=practice) if shelf is not None else []
            own = journal.run_alone(incarnation.go_on, of_this_process(), reason, others)
            if shelf is not None:
                shelf.claim(own, practice=practice)
        finally:
            journal.close()
    say(
        "noted in the audit trail; this machine writes copies from now on. Where deliveries are paused: "
        "labrelay resume deliveries --reason TEXT"
    )


# -- where copies are ----------------------------------------------------------------------------------------------


def _root(site: "Site", folder: Path | None) -> Path:
    root = folder or site.config.backup.folder
    if root is None:
        raise ConfigError(
            "config/labrelay.yaml: backup: no folder for copies; write `backup: {folder: /mnt/backup}`, or say --folder"
        )
    return root


def _shelf(session: Session, site: "Site", folder: Path | None) -> "Shelf":
    from engine.store.recovery.backups.catalog import Shelf

    with session.reader() as reader:
        return Shelf(_root(site, folder), identity_of(reader))
