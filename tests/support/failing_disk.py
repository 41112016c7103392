"""A disk that fails on command, beneath a real SQLite connection.

SQLite reaches its files through tables of functions. This swaps the tables of one connection's database and log for
copies whose ``xWrite`` and ``xSync`` ask first. Everything above is the real thing.
"""

import _sqlite3
import ctypes
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

FULL, IOERR_WRITE, IOERR_FSYNC, IOERR_READ = 13, 778, 1034, 266

_FILE_POINTER, _JOURNAL_POINTER = 7, 28
_WRITE, _SYNC = 3, 5  # places in sqlite3_io_methods: version (padded to a pointer), xClose, xRead, xWrite, ...
_METHODS = 20
_DB_OFFSET = 16  # of sqlite3* in Python's connection object: it is its first member

_Write = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)

Decide = Callable[[str, str], int]

_KEEP: list[object] = []  # SQLite may call these until the process ends


def file_control() -> Any:
    """SQLite's function that gives access to a connection's files; skips the test where it cannot be reached."""
    try:
        return ctypes.CDLL(_sqlite3.__file__).sqlite3_file_control
    except AttributeError:
        pytest.skip("this Python has SQLite built in: its file functions cannot be reached")


class FailingDisk:
    """Sits beneath ``connection`` until `restore`.

    Attributes:
        decide: called with (``db`` or ``wal``, ``write`` or ``sync``) before each; returns 0 to let it happen, else the
            SQLite error code that it shall fail with.
        calls: what was asked for so far.
    """

    def __init__(self, connection: sqlite3.Connection, decide: Decide = lambda file, what: 0) -> None:
        self.decide = decide
        self.calls: list[tuple[str, str]] = []
        self._undo: list[tuple[int, int]] = []
        control = file_control()
        control.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
        database = ctypes.c_void_p.from_address(id(connection) + _DB_OFFSET)
        for name, code in (("db", _FILE_POINTER), ("wal", _JOURNAL_POINTER)):
            file = ctypes.c_void_p()
            assert control(database, b"main", code, ctypes.byref(file)) == 0
            assert file.value
            self._sit_beneath(name, file.value)

    def _sit_beneath(self, name: str, file: int) -> None:
        methods = ctypes.c_void_p.from_address(file)
        assert methods.value, f"the {name} file is not open yet: write something first"
        table = (ctypes.c_void_p * _METHODS)()
        ctypes.memmove(table, methods.value, ctypes.sizeof(table))
        real_write, real_sync = _Write(table[_WRITE]), _Sync(table[_SYNC])

        def write(handle: int, data: int, size: int, at: int) -> int:
            self.calls.append((name, "write"))
            return self.decide(name, "write") or int(real_write(handle, data, size, at))

        def sync(handle: int, flags: int) -> int:
            self.calls.append((name, "sync"))
            return self.decide(name, "sync") or int(real_sync(handle, flags))

        ours = [_Write(write), _Sync(sync)]
        table[_WRITE] = ctypes.cast(ours[0], ctypes.c_void_p).value
        table[_SYNC] = ctypes.cast(ours[1], ctypes.c_void_p).value
        _KEEP.extend((table, *ours))
        self._undo.append((file, methods.value))
        methods.value = ctypes.addressof(table)

    def restore(self) -> None:
        """Take it away again; SQLite must be at rest."""
        for file, methods in self._undo:
            ctypes.c_void_p.from_address(file).value = methods
        self._undo.clear()


def nth(n: int, file: str, what: str, code: int, *, times: int = 1) -> Decide:
    """Fail the ``n``-th such call from now on (from 1), and those after it up to ``times``."""
    seen = 0

    def decide(on: str, call: str) -> int:
        nonlocal seen
        if (on, call) == (file, what):
            seen += 1
            return code if n <= seen < n + times else 0
        return 0

    return decide
