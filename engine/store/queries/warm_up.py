"""Read pages that any message may need into the page cache after a start, before they are needed.

The short-lived tables have keyed hashes as keys (`engine.store.operations.dedup` and `servers`,
`engine.features.results.rows.report_owners` and `delta_history`), so each message reads two or three of their pages.
After a reboot each of these is a read from the disk, while an analyzer waits. Here they are requested in the order of
the file, some at once: a third of the cost of reading each by itself. It is a hint: the system may drop them, and
nothing depends on it.

A low-priority process of its own does it. This process cannot open the file a second time: closing a descriptor drops
the locks that SQLite holds by another one (SQLite, How To Corrupt, 2.2).

The addresses of the pages are read from the interior pages of their B-trees (SQLite, Database File Format, 1.6)::

    page    type (1) | freeblock (2) | cells (2) | content (2) | fragments (1) | right-most child (4) | pointers (2)
    cell    left child (4) | ...

Newer pages may be in the log, or the file may change meanwhile: then a page too many is requested, or one too few.
"""

import asyncio
import os
import sqlite3
import struct
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

TREES = (
    "repeat", "report", "bearer", "used_number", "server_version", "earlier_value_run", "earlier_value_at",
    "earlier_value_of_run", "earlier_value_message",
)  # fmt: skip
WORTH_BYTES = 64 * 1024 * 1024  # smaller files are read fast enough anyway
MOST_BYTES = 256 * 1024 * 1024
MOST_S = 60.0
AT_ONCE = 16  # pages; then other readers get the disk for as long as these took

_INTERIOR = (0x02, 0x05)
_HEAD_BYTES = 12
_DEEPEST = 8


class WarmUp:
    """Reads the pages of a journal, once."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begin, if it is worthwhile; never fails."""
        with suppress(OSError):
            if os.stat(self._journal).st_size >= WORTH_BYTES:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", "-S", __file__, str(self._journal),
                    stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL,
                )  # fmt: skip

    async def stop(self) -> None:
        """End it, if it is still running."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def bring_in(journal: Path, rest: Callable[[float], None] = time.sleep) -> int:
    """Request the pages; return how many.

    Args:
        rest: called with the seconds that the last ones took.

    Raises:
        OSError, sqlite3.Error: the file cannot be read.
    """
    roots, page_bytes = _roots(journal)
    descriptor = os.open(journal, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages: set[int] = set()
        for root in roots:
            for page in leaves(descriptor, root, page_bytes):
                if (len(pages) + 1) * page_bytes > MOST_BYTES:
                    break
                pages.add(page)
        wanted, until = sorted(pages), time.monotonic() + MOST_S
        for first in range(0, len(wanted), AT_ONCE):
            began = time.monotonic()
            if began > until:
                return first
            for page in wanted[first : first + AT_ONCE]:
                os.posix_fadvise(descriptor, (page - 1) * page_bytes, page_bytes, os.POSIX_FADV_WILLNEED)
            os.pread(descriptor, 1, (page - 1) * page_bytes)  # wait for the last of them
            rest(time.monotonic() - began)
        return len(wanted)
    finally:
        os.close(descriptor)


def leaves(descriptor: int, root: int, page_bytes: int) -> Iterator[int]:
    """The numbers of a B-tree's leaves, without reading these: all have the same depth, so one of them is enough."""
    newest = os.fstat(descriptor).st_size // page_bytes
    depth, page = 0, root
    while depth < _DEEPEST and (children := _children(descriptor, page, page_bytes, newest)):
        depth, page = depth + 1, children[0]
    if not depth:
        yield root
        return
    level = [root]
    for _ in range(depth - 1):  # each page once, also where the file is damaged
        level = list(
            dict.fromkeys(child for page in level for child in _children(descriptor, page, page_bytes, newest))
        )
    for page in level:
        yield from _children(descriptor, page, page_bytes, newest)


def _children(descriptor: int, page: int, page_bytes: int, newest: int) -> list[int]:
    """The pages below an interior page; none below a leaf."""
    content = os.pread(descriptor, page_bytes, (page - 1) * page_bytes)
    if len(content) < page_bytes or content[0] not in _INTERIOR:
        return []
    (cells,) = struct.unpack_from(">H", content, 3)
    cells = min(cells, (page_bytes - _HEAD_BYTES) // 2)
    places = struct.unpack_from(f">{cells}H", content, _HEAD_BYTES)
    found = [struct.unpack_from(">I", content, place)[0] for place in places if place <= page_bytes - 4]
    found += struct.unpack_from(">I", content, 8)
    return [child for child in found if 1 < child <= newest]


def _roots(journal: Path) -> tuple[list[int], int]:
    """Root pages of the existing trees, and the page size in bytes."""
    with closing(sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        marks = ", ".join("?" * len(TREES))
        rows = connection.execute(f"SELECT rootpage FROM sqlite_schema WHERE name IN ({marks})", TREES).fetchall()  # noqa: S608 - constants
        return [row[0] for row in rows], connection.execute("PRAGMA page_size").fetchone()[0]


if __name__ == "__main__":
    with suppress(OSError):  # as `engine.model.process.priority`, which this process cannot import
        os.nice(19)
    with suppress(OSError, sqlite3.Error):  # another user of the file reports its error
        bring_in(Path(sys.argv[1]))
