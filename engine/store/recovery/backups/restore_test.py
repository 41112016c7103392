"""Restore test: restore the newest copy into a scratch folder, check it, and remove it again. A backup that was never
restored is only a hope.

The scratch folder may be on the disk of the copies, where the key must never be: it stays in memory. The next test
removes what a killed one has left there.
"""

import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.model.errors import StoreError
from engine.model.process.clock import Clock
from engine.store.recovery.backups import restoring
from engine.store.recovery.backups.catalog import DRILL_NAME, Shelf, write_json

PREFIX = "drill-of-labrelay-"
LEFT_S = 86_400.0  # an older one belongs to no running test


def run(shelf: Shelf, scratch: Path, *, keys: Path | None, clock: Clock) -> dict[str, Any]:
    """The result: copy, rows, seconds (RTO), rpo_s, wrong; also stored in the folder of the copies.

    Raises:
        StoreError: there is no whole copy, or it cannot be restored.
        IntegrityError, ConfigError: as `restoring.run`.
    """
    copy = shelf.newest(whole=True)
    if copy is None:
        raise StoreError(f"{shelf.path}: no copy that was read back and found whole")
    began = time.monotonic()
    # Of this journal alone: several sites may test in one folder.
    prefix = f"{PREFIX}{copy.manifest.journal_id[:8]}-"
    for left in scratch.glob(prefix + "*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix, dir=scratch) as folder:
        target = Path(folder) / "site"
        restored = restoring.run(
            copy, target, clock=clock, actor="labrelay", reason="drill", keys=keys, leave_key=False
        )
        seconds = time.monotonic() - began
    now = datetime.now(UTC)
    found: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "copy": copy.name,
        "rows": restored.rows,
        "from_pieces": restored.from_pieces,
        "last": restored.last_id,
        "seconds": round(seconds, 2),
        "check_seconds": restored.check_seconds,
        "rpo_s": round((now - copy.rows_at()).total_seconds(), 1),
        "wrong": [*restored.wrong, *restored.findings],
    }
    write_json(shelf.path / DRILL_NAME, found)
    return found
