"""Restore a site from a copy, in a new folder; existing files are never overwritten.

FROM is the folder of copies, or one copy in it (full-...); by default the newest whole one of the site's backup folder.
Rows that were received after the copy are taken from the pieces beside it. The new folder then holds the configuration
and, in var/, a consistent journal. Check it, move the old site aside, and put this one in its place.

The key must be present: in the old data folder, beside the copy, or in the folder of --keys.
"""

import os
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.shared.long_running import Progress
from engine.commands.shared.output import ExitCode, Form, form_option, show_document
from engine.commands.shared.selecting import stated_reason
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from engine.store.recovery.backups.catalog import Copy

GROUP = "upkeep"


@click.command(help=__doc__)
@click.argument("source", metavar="[FROM]", required=False, type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="A new folder for the site.")
@stated_reason
@click.option("--keys", type=click.Path(path_type=Path), help="A folder with the key in it (labrelay.key).")
@click.option(
    "--anchor",
    type=click.Path(path_type=Path),
    help="The lost journal's journal.anchor, if it is still there: it shows exactly which rows are missing. By default "
    "that of the site's data folder, or the second anchor, whichever knows more.",
)
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    source: Path | None,
    target: Path,
    reason: str,
    keys: Path | None,
    anchor: Path | None,
    form: Form,
) -> ExitCode:
    from engine.model.actor import of_this_process
    from engine.model.clock import SystemClock
    from engine.store.core.ownership import as_given, give_to_owner, is_closed_to_owner, make_for_owner
    from engine.store.recovery.backups import restoring

    data = _data(session)
    given = [path for path in (source, keys, anchor) if path is not None]
    if anchor is None:
        anchor = _newest_anchor(session, data)
    with ExitStack() as steps:
        if any(map(is_closed_to_owner, given)):  # of root, or of another machine: the service has put nothing there
            steps.enter_context(as_given(*given, target))
        elif not os.path.lexists(target):
            make_for_owner(target)
        progress = steps.enter_context(Progress())
        restored = restoring.run(
            _chosen(session, source),
            target,
            clock=SystemClock(),
            actor=of_this_process(),
            reason=reason,
            keys=keys or data,
            old_anchor=anchor,
            progress=progress,
        )
        if data is not None and data.exists():
            give_to_owner(target, data)
    lines = [
        *restoring.sentences(restored, target),
        f"now: look at it (labrelay --site {target} messages list), move the old site aside, put this in its place",
    ]
    show_document(form, asdict(restored), lines)
    if restored.findings:
        return ExitCode.INTEGRITY
    return ExitCode.PARTLY if restored.lost or restored.wrong else ExitCode.OK


def _data(session: Session) -> Path | None:
    """The data folder of the site, if there is one."""
    try:
        return session.data
    except ConfigError:
        return None


def _newest_anchor(session: Session, data: Path | None) -> Path | None:
    """The newest anchor that the site has."""
    from engine.runtime import other_history
    from engine.store.core.anchor import read

    places = [] if data is None else [data / "journal.anchor"]
    with suppress(ConfigError):
        places += other_history.folder(session.load(require_secrets=False).config).glob("*.anchor")
    known = {place: mark for place in places if (mark := read(place).mark) is not None}
    own = known.get(places[0]) if places else None
    if own is not None:  # those of other journals that were here do not fit any more
        known = {place: mark for place, mark in known.items() if mark.journal_id == own.journal_id}
    return max(known, key=lambda place: known[place].last_id, default=None)


def _chosen(session: Session, source: Path | None) -> "Copy":
    from engine.store.recovery.backups.catalog import copies, read_copy

    if source is None:
        source = session.load(require_secrets=False).config.backup.folder
        if source is None:
            raise click.UsageError("say where the copies are: the site names no folder for backups")
    if (copy := read_copy(source)) is not None:
        return copy
    folders = [source, *sorted(source.glob("labrelay-*"))]
    found = [whole for folder in folders if (whole := next((c for c in copies(folder) if c.is_whole), None))]
    if not found:
        raise StoreError(f"{source}: no copy there that was read back and found whole; name one (full-...)")
    if len({copy.manifest.journal_id for copy in found}) > 1:
        names = ", ".join(str(copy.path) for copy in found)
        raise StoreError(f"{source}: copies of several journals; name one: {names}")
    return found[0]
