"""Try a copy: read it back, which needs no key, or restore it, check the site, and remove that again.

Reading back runs as a low-priority process (`labrelay backup verify`): hashing a million rows in the daemon's own loop
would delay every answer.

A backup that was never restored is only a hope. The scratch folder may be on the disk of the copies, where the key must
never be: it stays in memory. The next test removes what a killed one has left there.
"""

import shutil
import time
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.model.errors import IntegrityError, StoreError
from engine.model.process.clock import Clock
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.connecting import JOURNAL_NAME, connect
from engine.store.integrity import verify
from engine.store.integrity.verify import Progress
from engine.store.recovery.backups import increments, restoring, state_snapshot
from engine.store.recovery.backups.catalog import DRILL_NAME, VERIFIED_NAME, Copy, CopyVerified, Shelf, write_json


def run(copy: Copy, *, progress: Progress | None = None) -> CopyVerified:
    """Read a full copy back and store the result beside it."""
    began = time.monotonic()
    path = copy.path / JOURNAL_NAME
    with open(path, "rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    findings = [str(one) for one in verify.run_file(path, copy.path / ANCHOR_NAME, progress=progress)]
    before = copy.verified.sha256 if copy.verified is not None else found
    if found != before:
        findings.append(f"{path.name}: not the bytes that were verified at {copy.verified.at if copy.verified else ''}")
    with closing(connect(path, immutable=True)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM journal").fetchone()
    verified = CopyVerified(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256=before,
        rows=rows,
        seconds=round(time.monotonic() - began, 3),
        findings=tuple(findings),
    )
    write_json(copy.path / VERIFIED_NAME, asdict(verified))
    return verified


def broken_pieces(copy: Copy) -> list[str]:
    """Problems of the files beside a copy: damaged ones, and gaps between them."""
    wrong: list[str] = []
    chain = bytes.fromhex(copy.manifest.chain)
    for piece in copy.pieces():
        try:
            content = increments.read(piece.path)
        except (IntegrityError, OSError) as error:
            return [*wrong, str(error)]
        if content.before != chain:
            return [*wrong, f"{piece.path.name}: does not go on from what is before it"]
        chain = content.after
    try:
        for _ in state_snapshot.whole(copy):
            pass
    except (IntegrityError, OSError) as error:
        wrong.append(str(error))
    return wrong


PREFIX = "drill-of-labrelay-"
LEFT_S = 86_400.0  # an older one belongs to no running test


def drill(shelf: Shelf, scratch: Path, *, keys: Path | None, clock: Clock) -> dict[str, Any]:
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
