"""Practice: restore the newest copy into a scratch folder, check it, and remove it again. A backup that was never
restored is a hope."""

import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.backups import restoring
from engine.backups.shelf import DRILL_NAME, Shelf, write_json
from engine.clock import Clock
from engine.errors import StoreError


def run(shelf: Shelf, scratch: Path, *, keys: Path | None, clock: Clock) -> dict[str, Any]:
    """What was found: copy, rows, seconds (RTO), rpo_s, wrong; also kept in the folder of the copies.

    Raises:
        StoreError: there is no whole copy, or it cannot be restored.
        IntegrityError, ConfigError: as `restoring.run`.
    """
    copy = shelf.newest(whole=True)
    if copy is None:
        raise StoreError(f"{shelf.path}: no copy that was read back and found whole")
    began = time.monotonic()

    with TemporaryDirectory(prefix="drill-", dir=scratch) as folder:
        target = Path(folder) / "site"
        restored = restoring.run(copy, target, clock=clock, actor="labrelay", because="drill", keys=keys)
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
