"""A spare machine: its journal follows the copies of a site, and takes over when a person says so.

    FOLDER/.standby/labrelay.lock     held for one round
                    standby.json      how far it is
                    full-.../         the copy that it follows: manifest.json, and site/ with all pieces so far
    FOLDER/config/ var/ ...           the site, once it has taken over; .standby/ is gone then

A round takes what has come, each file in a transaction, so a kill at any moment costs nothing. It begins anew in a
folder of its own where a newer whole copy is there, and follows the earlier one until that is done. A take-over begins
the next incarnation in the journal, then claims the folder of copies, then waits until the old machine, if it runs, has
looked there; then it takes the last pieces. Killed at any step, the same command goes on with it.
"""

import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from engine.model.errors import LockedError, OvertakenError, StoreError
from engine.model.process.clock import Clock
from engine.store.core.connecting import JOURNAL_NAME, connect
from engine.store.core.files.durable import publish, sync_folder
from engine.store.core.files.lock import SiteLock
from engine.store.operations import incarnation
from engine.store.operations.incarnation import Incarnation
from engine.store.recovery.backups import catalog
from engine.store.recovery.backups.applying import ENDED, Applying
from engine.store.recovery.backups.catalog import MANIFEST_NAME, SITE_FOLDER, SPARE_NAME, Copy, Shelf
from engine.store.recovery.backups.restoring import DATA_FOLDER, Restoration, RestoreResult
from engine.store.recovery.rebuilding import moment

WORK, STATUS = ".standby", "standby.json"
BEAT_S = 10.0  # then the active machine gets a note, too, where no row has come
STOPS_WITHIN_S = 5.0  # the active machine looks into the folder each second (`engine.runtime.upkeep.backup_scheduler`)
WAIT_S = 60.0  # for a round, or a copy that is read
UNSEEN = "where the old machine runs, it does not see that this one takes over; stop it"
BEGUN = "a take-over was begun here: labrelay standby take-over --reason TEXT goes on with it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """
    Attributes:
        backup: the folder of copies. copy: the one that is followed.
        row: the newest row here; ``received``: when it was received.
        at: of the last round. behind_s: since when a file in the folder waits to be applied.
        fault: why something waits.
    """

    backup: str
    journal: str = ""
    copy: str = ""
    incarnation: int = 0
    row: int = 0
    received: str = ""
    at: str = ""
    behind_s: float = 0.0
    fault: str = ""


class Spare:
    """Attributes:
    progress: as of the last round.
    """

    def __init__(self, folder: Path, clock: Clock, *, backup: Path | None = None, keys: Path | None = None) -> None:
        """
        Raises:
            StoreError: no spare is there, and ``backup`` does not begin one; or a site is there.
        """
        self.folder, self.work = folder, folder / WORK
        self._clock, self._keys = clock, keys
        self._beat = (0, 0)
        self.progress = Progress(backup="")
        with suppress(TypeError):  # it is of another version, or there is none
            self.progress = Progress(**catalog.read_json(self.work / STATUS))
        if backup is not None:
            if folder.is_dir() and any(one.name != WORK for one in folder.iterdir()):
                raise StoreError(f"{folder}: not empty; name a new folder for the spare")
            self.work.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.progress = replace(self.progress, backup=str(backup.absolute()))
        elif not self.progress.backup:
            raise StoreError(f"{folder}: no spare is there; labrelay standby --backup FOLDER --to FOLDER begins one")

    @property
    def is_over(self) -> bool:
        """Whether it has taken over."""
        return not self.work.exists()

    # -- following -----------------------------------------------------------------------------------------------------

    def round(self) -> Progress:
        """Take what has come; what stops it is in ``fault``.

        Raises:
            LockedError: another process is at it. ConfigError: the key is not there.
        """
        with SiteLock.acquire(self.work):
            try:
                known = self._known()
                if known is not None and self._own(known) != known.incarnation:
                    raise StoreError(BEGUN)
                self._follow(known, waits=True)
            except (StoreError, OSError, sqlite3.Error) as error:
                self.progress = replace(self.progress, fault=str(error))
            self._write()
        return self.progress

    def _follow(self, known: Copy | None, *, waits: bool) -> Copy:
        """The copy that is followed from now on.

        Raises:
            OvertakenError: the journal goes on elsewhere, and no copy of that is there.
            StoreError, OSError: the folder, or what is in it, cannot be read, or is not there.
        """
        shelf = self._shelf()
        known = known and replace(known, path=shelf.path / known.name)
        copy = max(filter(None, (known, shelf.newest(whole=True))), key=_newness, default=None)
        if copy is None:
            raise StoreError(f"{shelf.path}: no copy there that was read back and found whole; it is waited for")
        later = copy.incarnation.overtaken_by(shelf.written_by())
        if known is not None and later is not None:
            copy = known
        elif copy is not known:
            self._begin(copy, known)
        with self._restoration(copy).opened(synced=True) as applying:
            applying.run(waits=waits)
            self._note(copy, applying)
        if later is not None:
            raise OvertakenError(
                f"the journal goes on as {later}. Its first whole copy is waited for; until then this spare is of "
                f"{copy.incarnation}"
            )
        return copy

    # -- taking over ---------------------------------------------------------------------------------------------------

    def take_over(self, actor: str, reason: str, old_anchor: Path | None = None) -> RestoreResult:
        """Make a site of it, with which the journal goes on.

        Raises:
            OvertakenError: it goes on elsewhere already.
            StoreError: nothing has come yet, or this cannot be done here.
        """
        locked = Retrying(
            retry=retry_if_exception_type(LockedError), wait=wait_fixed(1), stop=stop_after_delay(WAIT_S), reraise=True
        )
        with locked(SiteLock.acquire, self.work):
            copy = self._known()
            if copy is None:
                raise StoreError(f"{self.folder}: no copy has come yet; labrelay standby takes one")
            wrong: list[str] = []
            is_there = (self._site(copy) / DATA_FOLDER).exists()  # else it was killed while it moved the site
            if is_there and self._own(copy) == copy.incarnation:
                with _said(wrong, "the newest pieces may be missing"):
                    copy = self._follow(copy, waits=False)
            restoration = self._restoration(copy, old_anchor)
            if is_there:
                with restoration.opened(synced=True) as applying:
                    is_sealed = not applying.is_known
                    if not is_sealed and applying.number != ENDED:
                        self._claim(copy, applying.connection, wrong)
                        with suppress(OSError):  # said above
                            applying.run()
                        restoration.end(applying)
                    restoration.look(applying)
                if not is_sealed:
                    restoration.seal(actor, "take-over", reason)
            publish(self._site(copy), self.folder, last=DATA_FOLDER)
            shutil.rmtree(self.work, ignore_errors=True)
            restoration.result.wrong[:0] = wrong
            return restoration.result

    def _claim(self, copy: Copy, connection: sqlite3.Connection, wrong: list[str]) -> None:
        """Begin the next incarnation here, then in the folder of copies, and let the old machine see it."""
        if incarnation.of(connection.execute) == copy.incarnation:
            incarnation.begin(connection.execute, copy.incarnation.number, claims=True)
        with _said(wrong, UNSEEN):
            shelf = self._shelf()
            shelf.claim(incarnation.of(connection.execute))
            (shelf.path / SPARE_NAME).unlink(missing_ok=True)
            time.sleep(STOPS_WITHIN_S)

    # -- its files -----------------------------------------------------------------------------------------------------

    def _shelf(self) -> Shelf:
        """The copies of the journal that is followed.

        Raises:
            StoreError: there are none, of several journals, or of another one.
        """
        root, own = Path(self.progress.backup), self.progress.journal
        if not root.is_dir():
            raise StoreError(f"{root}: the folder of copies is not there")
        found = {one.manifest.journal_id: one.path.parent.parent for one, *_ in catalog.shelves(root)}
        if not found:
            raise StoreError(f"{root}: no copy there yet; it is waited for")
        if own and own not in found:
            raise StoreError(
                f"{root}: copies of other journals are there, none of {own[:8]}; for one name a new folder"
            )
        if not own and len(found) > 1:
            raise StoreError(f"{root}: copies of several journals; name the folder of one ({catalog.SHELF}...)")
        journal = own or next(iter(found))
        return Shelf(found[journal], bytes.fromhex(journal))

    def _begin(self, copy: Copy, before: Copy | None) -> None:
        """Begin anew from a copy; the earlier one stays until this one is there."""
        making = catalog.begin(self.work)
        keys = self._keys or (self._site(before) / DATA_FOLDER if before is not None else None)
        restoration = Restoration(copy, making / SITE_FOLDER, self._clock, keys)
        restoration.begin()
        if restoration.result.wrong:
            raise StoreError("; ".join(restoration.result.wrong))
        with restoration.opened(synced=True) as applying:
            applying.note(0)  # until a take-over has sealed the journal
        catalog.write_json(making / MANIFEST_NAME, asdict(copy.manifest))
        making.rename(self.work / copy.name)
        sync_folder(self.work)
        self._known()  # the earlier one goes

    def _known(self) -> Copy | None:
        """The copy that is followed, as it is here."""
        found = catalog.copies(self.work)
        for old in found[1:]:
            shutil.rmtree(old.path, ignore_errors=True)
        return found[0] if found else None

    def _site(self, copy: Copy) -> Path:
        return self.work / copy.name / SITE_FOLDER

    def _restoration(self, copy: Copy, anchor: Path | None = None) -> Restoration:
        return Restoration(copy, self._site(copy), self._clock, None, anchor, _leave_key=False)

    def _own(self, copy: Copy) -> Incarnation:
        with closing(connect(self._site(copy) / DATA_FOLDER / JOURNAL_NAME)) as connection:
            return incarnation.of(connection.execute)

    def _note(self, copy: Copy, applying: Applying) -> None:
        waiting_s = [time.time() - path.stat().st_mtime for path in applying.waiting]
        newest = applying.connection.execute("SELECT received_us FROM journal ORDER BY id DESC LIMIT 1").fetchone()
        self.progress = replace(
            self.progress, journal=copy.manifest.journal_id, copy=copy.name, incarnation=copy.manifest.incarnation,
            row=applying.last_id, received=moment(newest), fault="; ".join(applying.wrong),
            behind_s=round(max([0.0, *waiting_s]), 1),
        )  # fmt: skip

    def _write(self) -> None:
        """For `labrelay standby status`; and for the active machine, which reads it in the folder of copies."""
        done = self.progress = replace(self.progress, at=datetime.now(UTC).isoformat(timespec="seconds"))
        catalog.write_json(self.work / STATUS, asdict(done))
        beat = (done.row, int(time.monotonic() / BEAT_S))
        if done.journal and beat != self._beat:
            self._beat = beat
            with suppress(StoreError, OSError):  # a folder that only lets read
                catalog.write_json(self._shelf().path / SPARE_NAME, asdict(done) | {"machine": socket.gethostname()})


@contextmanager
def _said(wrong: list[str], then: str) -> Iterator[None]:
    """A fault of the folder of copies stops no take-over, and is said; that the journal goes on elsewhere stops it."""
    try:
        yield
    except OvertakenError:
        raise
    except (StoreError, OSError) as error:
        wrong.append(f"{error}: {then}")


def _newness(copy: Copy) -> tuple[int, int, str]:
    return copy.manifest.incarnation, copy.manifest.last_id, copy.manifest.made_at
