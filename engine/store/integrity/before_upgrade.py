"""A copy of the journal from before a change of its schema, so that a faulty new version costs time and no results.

Schema steps are transactions, so a step that *fails* needs no copy. The copy is for a step that succeeds and does harm
that shows later. It is kept in ``<data>/before-upgrade/`` with its anchor, as sealed as the journal itself. There is
never more than one, and it is deleted after `KEPT_DAYS`, so that no payload outlives its retention or its erasure for
long.
"""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from engine.model.process.clock import Clock
from engine.model.texts.units import size_text
from engine.store.core import connecting
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.connecting import connect
from engine.store.core.files.durable import sync_folder, write_atomically
from engine.store.core.files.ownership import read_own

FOLDER = "before-upgrade"
KEPT_DAYS = 30
SPARE_BYTES = 64 * 1024 * 1024  # must stay free beside the copy: results keep coming
_DAY_S = 86_400


def keep(connection: sqlite3.Connection, data: Path, clock: Clock) -> str:
    """Copy the journal in ``data`` if its schema is about to change; otherwise delete an expired copy.

    A failed copy does not keep the journal from opening: results wait, and the steps are transactions.

    Args:
        connection: the only writing one, in no transaction.

    Returns:
        A message to the owner, or an empty string.
    """
    found, newest = connecting.version(connection), connecting.steps()[-1][0]
    folder = data / FOLDER
    if found == newest:
        _tidy(folder, clock)
        return ""
    if found == 0 or found > newest:
        return ""
    try:
        copy = _made_before(connection, folder, found) or _copy(connection, folder, found)
    except (OSError, sqlite3.Error) as error:
        _sweep(folder, keep=())
        return f"No copy was made before the journal's schema went from {found} to {newest}: {error}"
    return (
        f"The journal's schema goes from {found} to {newest}; as it was before, it is in {copy} for {KEPT_DAYS} days. "
        "docs/operations.md says how to go back"
    )


def room_needed(journal: Path) -> int:
    """Bytes that must be free for the copy."""
    return sum(_size(journal.with_name(journal.name + suffix)) for suffix in ("", "-wal")) + SPARE_BYTES


def _made_before(connection: sqlite3.Connection, folder: Path, schema: int) -> Path | None:
    """The copy from a start that ended during the steps: no other start has completed since.

    It is from before the *first* of them; a copy made now would not be.
    """
    state = _state(connection)
    for path in sorted(folder.glob("journal-*.db")):
        with suppress(sqlite3.Error), closing(connect(path, immutable=True)) as kept:
            if connecting.version(kept) <= schema and _state(kept) == state:
                return path
    return None


def _state(connection: sqlite3.Connection) -> tuple[object, ...]:
    """The values that every completed start and every received row change."""
    meta = connection.execute("SELECT name, value FROM meta WHERE name IN ('journal_id', 'boot') ORDER BY name")
    row = connection.execute("SELECT id, chain FROM journal ORDER BY id DESC LIMIT 1")
    return (*meta.fetchall(), row.fetchone())


def _copy(connection: sqlite3.Connection, folder: Path, schema: int) -> Path:
    pages, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    need, free = pages * page + SPARE_BYTES, shutil.disk_usage(folder.parent).free
    if free < need:
        raise OSError(f"it needs {size_text(need)}, and {size_text(free)} are free")
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder / f"journal-{schema:04}.db"
    _sweep(folder, keep=(made.name,))
    with write_atomically(made, made.with_suffix(".new")) as new:
        with closing(sqlite3.connect(new, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous = OFF")  # the whole file is synced below
            connection.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        with suppress(FileNotFoundError):
            content = read_own(folder.parent / ANCHOR_NAME)
            with write_atomically(folder / f"journal-{schema:04}.anchor") as kept:
                kept.write_bytes(content)
    sync_folder(folder.parent)
    return made


def _tidy(folder: Path, clock: Clock) -> None:
    with suppress(OSError):
        oldest = clock.now_us() / 1e6 - KEPT_DAYS * _DAY_S
        if any(path.stat().st_mtime < oldest for path in folder.iterdir()):
            _sweep(folder, keep=())
            folder.rmdir()


def _sweep(folder: Path, *, keep: tuple[str, ...]) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name not in keep:
                path.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
