"""The files of a watched folder: which are ready, and how they are claimed, read and put away. Blocking calls.

    FOLDER/x.csv  ->  FOLDER/.claimed/1764589512000123.x.csv  ->  FINISHED/x.csv
                      ours alone, under a name of its own          once its messages are durable; or FAILED/x.csv

Every step is one rename within one file system, so that a crash leaves a file in exactly one place. A file that a
crash left claimed is read again at the next start: messages of it that were stored are repeats then, and delivered
once.

File names may hold a patient's name or number. They stay in this module: no log line, fault or error has one.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from heapq import nsmallest
from pathlib import Path
from typing import Protocol

from adapters.transports.errors import FolderError

CLAIMED = ".claimed"
# Names under which programs write what they are not done with.
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", "~")
MAX_WAITING = 10_000  # files that are looked at; the oldest, where there are more
NAME_MAX = 255  # bytes that file systems take for a name
FOLDER_MODE = 0o750
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe in place of a file does not block


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that may be ready, with the values that must not change while it settles.

    Attributes:
        marked: its marker was made after it. An older one was left over from an earlier file of this name (its removal
            failed, or a crash came before it) and says nothing about this one.
    """

    name: str
    size: int
    mtime_ns: int
    inode: int
    marked: bool = False


@dataclass(frozen=True, slots=True)
class FolderScan:
    """The result of one scan of the folder.

    Attributes:
        files: that may be ready, oldest first; also empty ones.
        claimed: names of files that were claimed before and not put away, oldest first.
        failed: how many files are in the folder of failed files.
        took_s: how long the scan took.
    """

    files: list[FoundFile]
    claimed: list[str]
    failed: int
    took_s: float


class Settings(Protocol):
    """The settings of a channel's ``source:`` for its files."""

    folder: Path
    pattern: str
    marker: str
    finished_folder: Path
    failed_folder: Path
    max_message: int


class Files:
    """The files of one channel."""

    def __init__(self, source: Settings) -> None:
        self._folder = Path(source.folder)
        self._pattern = source.pattern.lower()
        self._marker = source.marker
        self._finished = Path(source.finished_folder)
        self._failed = Path(source.failed_folder)
        self._claimed = self._folder / CLAIMED
        self._max_bytes = source.max_message
        self._last_us = 0
        self._read: dict[str, tuple[int, int]] = {}  # of claimed files: size and time of change as they were read

    def look(self) -> FolderScan:
        """See what is there.

        Raises:
            FolderError: the folder is not there, or cannot be used.
        """
        began = time.monotonic()
        self._prepare()
        names: set[str] = set()
        found: list[FoundFile] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    names.add(entry.name)
                    if self._is_ours(entry.name):
                        with contextlib.suppress(FileNotFoundError):
                            seen = entry.stat(follow_symlinks=False)
                            if stat.S_ISREG(seen.st_mode):
                                found.append(FoundFile(entry.name, seen.st_size, seen.st_mtime_ns, seen.st_ino))
        except OSError as error:
            raise FolderError(f"the folder cannot be read ({_words(error)})") from error
        if self._marker:
            found = [self._with_marker(file) for file in found if file.name + self._marker in names]
        return FolderScan(
            files=nsmallest(MAX_WAITING, found, key=lambda file: (file.mtime_ns, file.name)),
            claimed=_by_age(self._claimed),
            failed=_count(self._failed),
            took_s=time.monotonic() - began,
        )

    def _with_marker(self, file: FoundFile) -> FoundFile:
        with contextlib.suppress(OSError):
            made_ns = (self._folder / (file.name + self._marker)).stat(follow_symlinks=False).st_mtime_ns
            return replace(file, marked=made_ns >= file.mtime_ns)
        return file

    def claim(self, file: FoundFile) -> str | None:
        """Make a file ours alone; its name among the claimed, or None where it is gone or has changed.

        Raises:
            FolderError: it cannot be renamed.
        """
        path = self._folder / file.name
        try:
            os.close(os.open(path, _OPEN))  # what cannot be read stays
            seen = path.stat(follow_symlinks=False)
            if (seen.st_size, seen.st_mtime_ns, seen.st_ino) != (file.size, file.mtime_ns, file.inode):
                return None
            self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
            name = f"{self._last_us}."
            name += _within(file.name, NAME_MAX - len(name))
            path.rename(self._claimed / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FolderError(f"a file cannot be read or renamed ({_words(error)})") from error
        if self._marker:
            with contextlib.suppress(OSError):
                (self._folder / (file.name + self._marker)).unlink()
        return name

    def read(self, name: str) -> bytes | None:
        """The content of a claimed file; None where it is empty or larger than a message may be.

        Raises:
            FolderError: it cannot be read.
        """
        try:
            descriptor = os.open(self._claimed / name, _OPEN)
            with os.fdopen(descriptor, "rb") as opened:
                seen = os.fstat(descriptor)
                content = opened.read(self._max_bytes + 1) if seen.st_size <= self._max_bytes else b""
        except OSError as error:
            raise FolderError(f"a file cannot be read ({_words(error)})") from error
        self._read[name] = (seen.st_size, seen.st_mtime_ns)
        return content if 0 < len(content) <= self._max_bytes else None

    def put_away(self, name: str, *, finished: bool) -> None:
        """Move a claimed file to where it belongs now. A file that has changed since it was read has failed: the rest
        of it was not read.

        Raises:
            FolderError: it cannot be moved.
        """
        path = self._claimed / name
        try:
            seen = path.stat(follow_symlinks=False)
            if self._read.get(name, (seen.st_size, seen.st_mtime_ns)) != (seen.st_size, seen.st_mtime_ns):
                finished = False
            target = self._finished if finished else self._failed
            path.rename(target / _free(target, name.partition(".")[2] or name))
        except FileNotFoundError:
            pass  # another program removed it, or an earlier call that seemed to hang has moved it
        except OSError as error:
            raise FolderError(f"a file that was read cannot be put away ({_words(error)})") from error
        self._read.pop(name, None)

    def _prepare(self) -> None:
        """Make the folders that are ours; the watched one is not: where it is missing, a share may be."""
        try:
            device = self._folder.stat().st_dev
        except OSError as error:
            raise FolderError(f"the folder is not there ({_words(error)})") from error
        for folder, of in ((self._claimed, ""), (self._finished, "finished"), (self._failed, "failed")):
            try:
                folder.mkdir(mode=FOLDER_MODE, parents=bool(of), exist_ok=True)
                here = folder.stat().st_dev
            except OSError as error:
                what = f"the folder {of}:" if of else "the folder"
                raise FolderError(f"{what} cannot be written ({_words(error)})") from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise FolderError(f"the folder {of or 'itself'} cannot be written (no permission)")
            if here != device:
                raise FolderError(f"{of} is on another file system than the folder; put it on the same one")

    def _is_ours(self, name: str) -> bool:
        lower = name.lower()
        return (
            not name.startswith((".", "~"))
            and not lower.endswith(UNFINISHED)
            and not (self._marker and name.endswith(self._marker))
            and fnmatchcase(lower, self._pattern)
        )


def _free(folder: Path, name: str) -> str:
    """``name``, or where there is such a file already, ``name`` with the time in it: nothing is ever replaced."""
    if not (folder / name).exists():
        return name
    now = datetime.now(UTC).strftime(".%Y%m%dT%H%M%S.%f")
    stem, end = _parted(_within(name, NAME_MAX - len(now)))
    return stem + now + end


def _within(name: str, room: int) -> str:
    """``name``, cut before its ending where it has more than ``room`` bytes."""
    over = len(os.fsencode(name)) - room
    if over <= 0:
        return name
    stem, end = _parted(name)
    return os.fsdecode(os.fsencode(stem)[:-over]) + end


def _parted(name: str) -> tuple[str, str]:
    """A name without its ending, and the ending with its dot."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def _by_age(folder: Path) -> list[str]:
    return [name for _, name in sorted(_regular(folder))][:MAX_WAITING]


def _count(folder: Path) -> int:
    return sum(1 for _ in _regular(folder))


def _regular(folder: Path) -> Iterator[tuple[int, str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    seen = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(seen.st_mode):
                        yield seen.st_mtime_ns, entry.name
    except OSError as error:
        raise FolderError(f"the folder cannot be read ({_words(error)})") from error


def _words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
