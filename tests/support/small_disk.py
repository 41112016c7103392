"""A disk of a few MiB that a test can fill to the last byte: a tmpfs, mounted where the system allows it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHUNKS = (1 << 20, 1 << 16, 4096)


class SmallDisk:
    """Mounted at ``path``; `fill` leaves nothing or little, `free` gives back what filled it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "somebody else's"

    @property
    def left(self) -> int:
        """Bytes."""
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def fill(self, leave: int = 0) -> None:
        """``leave``: bytes that stay free."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for chunk in CHUNKS:
                with contextlib.suppress(OSError):
                    while self.left - chunk >= leave:
                        os.write(descriptor, bytes(chunk))
        finally:
            os.close(descriptor)

    def free(self) -> None:
        self._filler.unlink()


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """A disk of ``size`` bytes at ``path``; skips the test where none can be mounted."""
    path.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    if made.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True)
