"""Read a copy back: does the folder hold the journal unchanged? Needs no key.

Run as a low-priority process (`labrelay backup verify`): hashing a million rows in the daemon's own loop would delay
every answer.
"""

import time
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import file_digest

from engine.model.errors import IntegrityError
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.connecting import JOURNAL_NAME, connect
from engine.store.integrity import verify
from engine.store.integrity.verify import Progress
from engine.store.recovery.backups import increments, state_snapshot
from engine.store.recovery.backups.catalog import VERIFIED_NAME, Copy, CopyVerified, write_json


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
