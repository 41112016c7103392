"""The present value of the copies: for `labrelay doctor` and `check`, and for the page.

Needs no key and no daemon, only the names and times in the folder of copies, and the journal's numbers.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from engine.config.sitewide import BackupConfig
from engine.model.errors import StoreError
from engine.model.site.health import Health, Line
from engine.model.texts.phrases import N_
from engine.model.texts.units import duration_text
from engine.store.core.connecting import JOURNAL_NAME, connect
from engine.store.operations import incarnation
from engine.store.operations.incarnation import GO_ON
from engine.store.queries.extent import received_behind
from engine.store.recovery.backups.catalog import Copy, Shelf

OVERDUE = 1.5  # this many intervals without a verified copy are a problem
ROWS_OVERDUE_S = 900.0  # at least: an older row that is not in the folder is a problem
SAME_DISK_SAID = N_(
    "backup: the copies lie on the journal's own disk, whose failure destroys both; name a folder on another disk, or "
    "a mounted share"
)
SAME_DISK = SAME_DISK_SAID.removeprefix("backup: ")
_SUBJECT = "backup"


def rows_overdue_s(config: BackupConfig) -> float:
    return max(ROWS_OVERDUE_S, 3 * config.rows)


def is_on_one_disk(copies: Path, data: Path) -> bool:
    """Whether two folders are on one file system. False where either is missing: other checks report that."""
    try:
        return os.stat(copies).st_dev == os.stat(data).st_dev
    except OSError:
        return False


def folder_fault(folder: Path) -> tuple[str, str] | None:
    """Why no copy can be made there, and what helps; None: one can."""
    if not folder.is_dir():
        return f"{folder} is not there", "mount it, or make it"
    if not os.access(folder, os.W_OK | os.X_OK):
        advice = "let the service's user write there; for systemd: sudo labrelay service --write"
        return f"{folder} cannot be written by this user", advice
    return None


def lines(config: BackupConfig, data: Path, *, runs: bool, practice: bool = False) -> Iterator[Line]:
    """The lines of `labrelay doctor` about the copies.

    Args:
        practice: the site's patients are invented, so copies are not missed.
        runs: whether the daemon runs; without it no copies are made, which is no fault.
    """
    folder = config.folder
    if folder is None:
        if config.without is not None or practice:
            yield Line(Health.OK, _SUBJECT, f"none is made: {config.without or 'this site is for practice'}")
            return
        advice = "name a folder on another disk: backup: {folder: /mnt/backup}"
        yield Line(Health.FAIL, _SUBJECT, "no folder for copies is configured", advice)
        return
    if (fault := folder_fault(folder)) is not None:
        yield Line(Health.FAIL, _SUBJECT, *fault)
        return
    if is_on_one_disk(folder, data):
        text, _, advice = SAME_DISK.partition("; ")
        yield Line(Health.WARN, _SUBJECT, f"{folder}: {text}", advice)
    if not (data / JOURNAL_NAME).exists():
        return
    try:
        with closing(connect(data / JOURNAL_NAME)) as connection:
            (journal_id,) = connection.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
            shelf = Shelf(folder, journal_id)
            own = incarnation.of(connection.execute)
            if (refused := shelf.refused(own)) is not None:
                yield Line(Health.FAIL, _SUBJECT, str(refused), GO_ON)
                return
            copy = shelf.newest(whole=True, of=own)
            now = datetime.now(UTC)
            yield _newest(config, copy, now, runs=runs)
            if copy is None:
                return
            yield _missing(config, connection, copy, now, runs=runs)
            yield _drill(config, shelf, copy, now)
    except (sqlite3.Error, TypeError, KeyError, OSError, StoreError) as error:
        yield Line(Health.FAIL, _SUBJECT, f"the copies cannot be looked at: {error}", "labrelay backup list")


def _newest(config: BackupConfig, copy: Copy | None, now: datetime, *, runs: bool) -> Line:
    if copy is None:
        return Line(Health.FAIL, _SUBJECT, f"{config.folder}: no copy that was read back and found whole",
                    "labrelay backup now")  # fmt: skip
    age_s = max(0.0, (now - copy.made_at).total_seconds())
    text = f"the last whole copy is {duration_text(round(age_s))} old ({copy.name})"
    if age_s > OVERDUE * config.every:
        return Line(Health.FAIL if runs else Health.WARN, _SUBJECT, text, "labrelay backup now says why")
    return Line(Health.OK, _SUBJECT, text)


def _missing(config: BackupConfig, connection: sqlite3.Connection, copy: Copy, now: datetime, *, runs: bool) -> Line:
    """The rows that would be lost with the disk (RPO)."""
    received_us = received_behind(connection.execute, copy.last_id())
    if received_us is None:
        return Line(
            Health.OK, _SUBJECT, "nothing would be lost with the journal's disk now: every row is in the copies"
        )
    lost_s = max(0.0, now.timestamp() - received_us / 1e6)
    text = f"with the journal's disk would be lost now what came within {duration_text(round(lost_s))}"
    if lost_s > rows_overdue_s(config):
        advice = "see `labrelay status` why new rows do not reach the folder" if runs else "start the daemon"
        return Line(Health.FAIL if runs else Health.WARN, _SUBJECT, text, advice)
    return Line(Health.OK, _SUBJECT, text)


def _drill(config: BackupConfig, shelf: Shelf, copy: Copy, now: datetime) -> Line:
    said = shelf.drill()
    if not said:
        if config.drill is None or (now - copy.made_at).total_seconds() < config.drill:
            return Line(Health.OK, _SUBJECT, "no drill yet; labrelay backup drill makes one at once")
        return Line(Health.WARN, _SUBJECT, "no copy was ever restored for practice", "labrelay backup drill")
    age = duration_text(round(max(0.0, (now - datetime.fromisoformat(said["at"])).total_seconds())))
    text = f"the last drill was {age} ago, and took {said.get('seconds', 0):.0f} s for {said.get('rows', 0)} rows"
    if said.get("wrong"):
        return Line(Health.FAIL, _SUBJECT, f"{text}: {said['wrong'][0]}", "labrelay backup now, then drill again")
    return Line(Health.OK, _SUBJECT, text)
