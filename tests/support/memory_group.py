"""A control group of the kernel with a limit to its memory: what goes beyond it is taken back or, if it cannot, killed.

    with memory_group(128 * MiB) as group:
        process = subprocess.Popen([*group.enter, sys.executable, ...])   # in the group from its first page on
        ...
        group.seen()

Version 1 has a tree of groups for memory alone, version 2 one for everything, in which only a group without processes
of its own hands memory on. The new group is made as high up as the system allows, since the group that we are in is
somebody's who may count what is in it. Where none can be made (no root, a container whose tree cannot be written to)
the test is skipped, with the reason. Swap is refused to the group where the kernel lets us.

What a group is charged with: anonymous pages, what the kernel keeps for it (tables of pages, sockets, entries of
folders), and pages of files that it was the first to read or write. Libraries that were in memory already are not.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

LEAVE_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a group went through.

    Attributes:
        most: bytes that it had at once, of all kinds.
        kernel: bytes of it that the kernel keeps for the processes, now.
        reached: how often the limit was met, and pages had to be taken back; some kernels do not count it (version 1).
        killed: processes that the kernel ended for want of memory.
        waited_s: seconds that processes stood still for memory; 0 where the kernel does not say (version 1).
    """

    most: int
    kernel: int
    reached: int
    killed: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A group at ``path``, of version 1 or 2."""

    path: Path
    version: int

    @property
    def enter(self) -> list[str]:
        """What to put before a command, so that it runs in this group."""
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs")]

    def members(self) -> set[int]:
        return {int(pid) for pid in (self.path / "cgroup.procs").read_text().split()}

    def seen(self) -> Seen:
        if self.version == 1:
            return Seen(
                most=self._number("memory.max_usage_in_bytes"),
                kernel=self._number("memory.kmem.usage_in_bytes"),
                reached=self._number("memory.failcnt") + self._number("memory.memsw.failcnt"),
                killed=self._fields("memory.oom_control").get("oom_kill", 0),
                waited_s=0.0,
            )
        events = self._fields("memory.events")
        pressure = self._text("memory.pressure")
        total = next((line.rpartition("total=")[2] for line in pressure.splitlines() if line.startswith("full")), "0")
        return Seen(
            most=self._number("memory.peak"),  # since Linux 5.19
            kernel=self._fields("memory.stat").get("kernel", 0),
            reached=events.get("max", 0),
            killed=events.get("oom_kill", 0),
            waited_s=int(total) / 1e6,
        )

    def _text(self, name: str) -> str:
        with contextlib.suppress(OSError):  # an older kernel does not have it
            return (self.path / name).read_text()
        return ""

    def _number(self, name: str) -> int:
        return int(self._text(name) or 0)

    def _fields(self, name: str) -> dict[str, int]:
        return {word: int(number) for word, number in (line.split() for line in self._text(name).splitlines())}

    def limit(self, size: int) -> None:
        """Raises OSError where the kernel does not have it."""
        names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")  # the second: memory and swap together
        bounds = dict.fromkeys(names, size) if self.version == 1 else {"memory.max": size, "memory.swap.max": 0}
        for number, (name, value) in enumerate(bounds.items()):
            with contextlib.suppress(*([OSError] if number else [])):  # a kernel may do without accounts of swap
                (self.path / name).write_text(str(value))

    def remove(self) -> None:
        """Once no process is left in it; a killed one may take a moment to leave."""
        end = time.monotonic() + LEAVE_WITHIN_S
        while True:
            try:
                self.path.rmdir()
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)


@contextmanager
def memory_group(size: int) -> Iterator[MemoryGroup]:
    """A group limited to ``size`` bytes; skips the test where none can be made."""
    group = _made(size)
    try:
        yield group
    finally:
        group.remove()


def _made(size: int) -> MemoryGroup:
    reason = "the kernel has no control groups for memory"
    for version, ours, top in _trees():
        for parent in [each for each in (*reversed(ours.parents), ours) if each.is_relative_to(top)]:
            group = MemoryGroup(parent / f"labrelay-test-{os.getpid()}-{time.monotonic_ns()}", version)
            try:
                if version == 2 and "memory" not in (parent / "cgroup.subtree_control").read_text().split():
                    reason = "no control group of ours hands memory on"
                    continue
                group.path.mkdir()
            except OSError as error:
                reason = f"a control group cannot be made here: {error.strerror}"
                continue
            try:
                group.limit(size)
            except OSError as error:
                reason = f"a control group's memory cannot be limited here: {error.strerror}"
                group.path.rmdir()
                continue
            return group
    pytest.skip(reason)


def _trees() -> list[tuple[int, Path, Path]]:
    """(version, our group, top of the tree) of each tree that may have memory in it, as mounted here."""
    ours = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        ours[kinds] = path
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, at = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind == "cgroup" and "memory" in options.split(","):
            version, path = 1, next((path for kinds, path in ours.items() if "memory" in kinds.split(",")), "/")
        elif kind == "cgroup2":
            version, path = 2, ours.get("", "/")
        else:
            continue
        below = path.removeprefix(root).lstrip("/") if root != "/" else path.lstrip("/")
        found.append((version, Path(at) / below, Path(at)))
    return sorted(found)
