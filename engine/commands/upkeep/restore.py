"""Restore a site from a copy, in a new folder; existing files are never overwritten.

FROM is the folder of copies, or one copy in it (full-...); by default the newest whole one of the site's backup folder.
Rows that were received after the copy are taken from the pieces beside it. The new folder then holds the configuration
and, in var/, a consistent journal. Check it, move the old site aside, and put this one in its place.

The key must be present: in the old data folder, beside the copy, or in the folder of --keys.
"""

from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from engine.commands.shared.long_running import Progress
from engine.commands.shared.output import ExitCode, Form, form_option, show_document
from engine.commands.shared.selecting import stated_reason
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import ConfigError, StoreError
from engine.store.core.files.ownership import bring, bring_file, is_closed_to_owner, make_for_owner, open_given

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
    session: Session, source: Path | None, target: Path, reason: str, keys: Path | None, anchor: Path | None, form: Form
) -> ExitCode:
    from engine.model.process.clock import SystemClock
    from engine.model.site.actor import of_this_process
    from engine.store.core.files.durable import RESTORING, publish, raise_if_in_use
    from engine.store.recovery.backups import restoring

    data = _data(session)
    closed = any(map(is_closed_to_owner, (source, keys, anchor)))
    if anchor is None:
        anchor = _newest_anchor(session, data)
    make_for_owner(target)
    with ExitStack() as steps:
        place, beside = target, None
        if closed:  # only root reads them: the owner of the data folder gets working copies, and restores from these
            raise_if_in_use(target)
            work = Path(steps.enter_context(TemporaryDirectory(prefix=RESTORING, dir=target)))
            place = work / "site"
            copy, keys, anchor, beside = _brought(session, source, keys, anchor, work)
        else:
            copy = _chosen(session, source)
        restored = restoring.run(
            copy,
            place,
            clock=SystemClock(),
            actor=of_this_process(),
            reason=reason,
            keys=keys or data,
            old_anchor=anchor,
            progress=steps.enter_context(Progress()),
            ours=closed and copy.path.parent == place.parent,
            beside=beside,
        )
        if closed:
            publish(place, target, last=restoring.DATA_FOLDER)
    lines = [
        *restoring.sentences(restored, target),
        f"now: look at it (labrelay --site {target} messages list), move the old site aside, put this in its place",
        "it writes no copies until you say that it takes over: labrelay backup go-on --reason TEXT",
    ]
    show_document(form, asdict(restored), lines)
    if restored.findings:
        return ExitCode.INTEGRITY
    return ExitCode.PARTLY if restored.lost or restored.wrong else ExitCode.OK


def _brought(
    session: Session, source: Path | None, keys: Path | None, anchor: Path | None, work: Path
) -> "tuple[Copy, Path | None, Path | None, Path | None]":
    """The copy, the folder of keys, the anchor, and the folder with notes of all copies: of those that only root reads,
    working copies in ``work``.
    """
    from engine.store.core.vault import KEY_NAME
    from engine.store.recovery.backups.catalog import names_copies, notes_beside, read_copy

    beside = None
    if source is not None and is_closed_to_owner(source):
        source = source.absolute()
        with open_given(source) as opened:
            bring(opened, work / "notes", source, names_copies)
        found = _chosen(session, work / "notes", source).path.relative_to(work / "notes")
        beside = (work / "notes" / found).parent
        if not found.name:  # a copy by its own path
            beside = work / "beside"
            with suppress(StoreError, OSError), open_given(source.parent) as opened:  # a neighbour on a bad sector
                bring(opened, beside, source.parent, notes_beside)
        place = work / (found.name or source.name)
        with open_given(source, *found.parts) as opened:
            bring(opened, place, source / found, lambda name: True)
        if (copy := read_copy(place)) is None:
            raise StoreError(f"{source / found}: it was changed while it was read; try again")
    else:
        copy = _chosen(session, source)
    if keys is not None and is_closed_to_owner(keys):
        with open_given(keys) as opened:
            bring(opened, work / "keys", keys, lambda name: name.startswith(KEY_NAME))
        keys = work / "keys"
    if anchor is not None and is_closed_to_owner(anchor):
        with open_given(anchor) as opened:
            bring_file(opened, work / "anchor", anchor)
        anchor = work / "anchor"
    return copy, keys, anchor, beside


def _data(session: Session) -> Path | None:
    """The data folder of the site, if there is one."""
    try:
        return session.data
    except ConfigError:
        return None


def _newest_anchor(session: Session, data: Path | None) -> Path | None:
    """The newest anchor that the site has."""
    from engine.runtime.upkeep import other_history
    from engine.store.core.anchor import read

    places = [] if data is None else [data / "journal.anchor"]
    with suppress(ConfigError):
        places += other_history.folder(session.load(require_secrets=False).config).glob("*.anchor")
    known = {place: mark for place in places if (mark := read(place).mark) is not None}
    own = known.get(places[0]) if places else None
    if own is not None:  # those of other journals that were here do not fit any more
        known = {place: mark for place, mark in known.items() if mark.journal_id == own.journal_id}
    return max(known, key=lambda place: known[place].last_id, default=None)


def _chosen(session: Session, source: Path | None, shown: Path | None = None) -> "Copy":
    """The newest whole copy in ``source``; people know that folder as ``shown``."""
    from engine.store.recovery.backups.catalog import incarnations, read_copy, shelves

    if source is None:
        source = session.load(require_secrets=False).config.backup.folder
        if source is None:
            raise click.UsageError("say where the copies are: the site names no folder for backups")
    if (copy := read_copy(source)) is not None:
        return copy
    found = [whole for copies in shelves(source) if (whole := next((one for one in copies if one.is_whole), None))]
    shown = shown or source
    if not found:
        raise StoreError(f"{shown}: no copy there that was read back and found whole; name one (full-...)")
    if len({copy.manifest.journal_id for copy in found}) > 1:
        names = ", ".join(str(shown / copy.path.relative_to(source)) for copy in found)
        raise StoreError(f"{shown}: copies of several journals; name one: {names}")
    wrote = incarnations(found[0].path.parent, found[0].manifest.journal_id)
    if (later := found[0].incarnation.overtaken_by(wrote)) is not None:
        raise StoreError(
            f"{shown}: the newest whole copy, {found[0].name}, is of {found[0].incarnation}, and the journal went on "
            f"after it: {later}. Let that machine make a copy (labrelay backup now), or name the older copy here"
        )
    return found[0]
