"""Files that fail on command or lose what was not synced, beneath every SQLite connection of this process.

SQLite's default VFS opens files; here each file it opens from now on gets functions of ours in place of ``xWrite``,
``xTruncate`` and ``xSync``, which ask first and note what is not synced. So it covers the opening of a journal, too,
and temporary connections, where `tests.support.failing_disk` sits beneath one open connection.

A power cut: what was written and not synced is taken back from the files, all of it or a random part (a disk writes in
the order it likes), and the process ends by SIGKILL. The anchor, which is no file of SQLite's, loses its writes alike.

For processes that a test can spare: nothing of this is ever undone.
"""

import _sqlite3
import ctypes
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.store.core.anchor import Anchor

OK, CANTOPEN, IOERR_TRUNCATE = 0, 14, 1546

_X_WRITE, _X_TRUNCATE, _X_SYNC = 3, 4, 5  # places in sqlite3_io_methods
_METHODS = 20
_VFS_OPEN = 16 + 3 * ctypes.sizeof(ctypes.c_void_p)  # three ints, padded; pNext, zName, pAppData; xOpen

# The name as the pointer that it is: SQLite keeps it for as long as the file is open, and reads on behind its end.
_Open = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)

_KEEP: list[object] = []

# (db, wal or other; write, truncate or sync) -> 0, or the SQLite error code that it shall fail with
Decide = Callable[[str, str], int]


@dataclass(slots=True)
class _Undo:
    """How to take one write back: what stood at ``at`` before, and how long the file was."""

    at: int
    before: bytes
    size: int


@dataclass(slots=True)
class _File:
    path: Path
    kind: str
    unsynced: list[_Undo] = field(default_factory=list)


def reachable() -> bool:
    """Whether this Python lets us at SQLite's functions (it does not where SQLite is built in)."""
    try:
        return bool(ctypes.CDLL(_sqlite3.__file__).sqlite3_vfs_find)
    except AttributeError:
        return False


class FragileFiles:
    """Attributes:
    decide: asked before each write, truncation and sync.
    calls: how many there were of each.
    """

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.calls: Counter[str] = Counter()
        self._files: dict[int, _File] = {}
        self._anchors: dict[int, _File] = {}
        self._tables: dict[int, object] = {}
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = ctypes.c_void_p
        library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
        place = ctypes.c_void_p.from_address(library.sqlite3_vfs_find(None) + _VFS_OPEN)
        assert place.value
        real_open = _Open(place.value)

        def open_file(vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
            code = int(real_open(vfs, name, file, flags, out))
            if code == OK and name is not None:
                self._sit_beneath(file, Path(os.fsdecode(ctypes.string_at(name))))
            return code

        ours = _Open(open_file)
        _KEEP.append(ours)
        place.value = ctypes.cast(ours, ctypes.c_void_p).value
        self._watch_anchors()

    def lose(self, chance: random.Random | None = None) -> None:
        """Take back what is not synced, or with ``chance`` some of it."""
        for file in [*self._files.values(), *self._anchors.values()]:
            self._take_back(file, chance)

    def power_cut(self, chance: random.Random | None = None) -> None:
        """The same, and end this process."""
        self.lose(chance)
        os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def _take_back(file: _File, chance: random.Random | None) -> None:
        if not file.unsynced or not file.path.exists():
            return
        lost = [undo for undo in file.unsynced if chance is None or chance.random() < 0.5]
        with file.path.open("r+b") as content:
            for undo in reversed(lost):
                content.seek(undo.at)
                content.write(undo.before)
            if lost and chance is None:
                content.truncate(file.unsynced[0].size)

    # -- SQLite's files ------------------------------------------------------------------------------------------

    def _sit_beneath(self, handle: int, path: Path) -> None:
        kind = "wal" if path.name.endswith("-wal") else "db" if path.suffix == ".db" else "other"
        self._files[handle] = _File(path, kind)
        methods = ctypes.c_void_p.from_address(handle)
        if methods.value is None:
            return
        if methods.value not in self._tables:
            self._tables[methods.value] = self._table(methods.value)
        methods.value = ctypes.addressof(self._tables[methods.value])  # type: ignore[arg-type]  # a ctypes array

    def _table(self, real: int) -> object:
        table = (ctypes.c_void_p * _METHODS)()
        ctypes.memmove(table, real, ctypes.sizeof(table))
        real_write, real_sync = _Write(table[_X_WRITE] or 0), _Sync(table[_X_SYNC] or 0)
        real_truncate = _Truncate(table[_X_TRUNCATE] or 0)

        def write(handle: int, content: int, size: int, at: int) -> int:
            file = self._files[handle]
            self.calls["write"] += 1
            code = self.decide(file.kind, "write")
            if code == OK:
                self._note(file, at, size)
                code = int(real_write(handle, content, size, at))
            return code

        def truncate(handle: int, size: int) -> int:
            file = self._files[handle]
            self.calls["truncate"] += 1
            code = self.decide(file.kind, "truncate")
            if code == OK:
                now = file.path.stat().st_size
                self._note(file, size, max(0, now - size))
                code = int(real_truncate(handle, size))
            return code

        def sync(handle: int, flags: int) -> int:
            file = self._files[handle]
            self.calls["sync"] += 1
            code = self.decide(file.kind, "sync") or int(real_sync(handle, flags))
            if code == OK:
                file.unsynced.clear()
            return code

        ours = [_Write(write), _Truncate(truncate), _Sync(sync)]
        for place, one in zip((_X_WRITE, _X_TRUNCATE, _X_SYNC), ours, strict=True):
            table[place] = ctypes.cast(one, ctypes.c_void_p).value
        _KEEP.extend((table, *ours))
        return table

    @staticmethod
    def _note(file: _File, at: int, size: int) -> None:
        # Opening and closing this file by ourselves would drop SQLite's locks: this process must be the only one.
        with file.path.open("rb") as content:
            length = content.seek(0, os.SEEK_END)
            content.seek(at)
            file.unsynced.append(_Undo(at, content.read(size), length))

    # -- the anchor ----------------------------------------------------------------------------------------------

    def _watch_anchors(self) -> None:
        real_write, real_sync = Anchor.write, Anchor.sync

        def write(anchor: Anchor, last_id: int, chain: bytes) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{anchor._descriptor}"))
            file = self._anchors.setdefault(anchor._descriptor, _File(path, "anchor"))
            content = path.read_bytes()
            file.unsynced.append(_Undo(0, content, len(content)))
            real_write(anchor, last_id, chain)

        def sync(anchor: Anchor) -> None:
            real_sync(anchor)
            if anchor._descriptor in self._anchors:
                self._anchors[anchor._descriptor].unsynced.clear()

        setattr(Anchor, "write", write)  # noqa: B010 - this process is the test's own
        setattr(Anchor, "sync", sync)  # noqa: B010


def nth(n: int, what: tuple[str, ...], then: Callable[[str, str], int]) -> Decide:
    """At the ``n``-th call (from 1) of one of ``what``, and none before or after, ask ``then``."""
    seen = 0

    def decide(file: str, call: str) -> int:
        nonlocal seen
        seen += call in what
        return then(file, call) if call in what and seen == n else OK

    return decide
