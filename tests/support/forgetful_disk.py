"""A disk that forgets, at a power cut, what nobody synced: a file system in user space, in a process of its own.

    with forgetful_disk(folder) as disk:
        ...programs work in disk.path...
        disk.cut()            # once whoever wrote is dead: the power was gone

It has the strictest reading of POSIX. What was written to a file is durable with an fsync of that file; a name that was
made, renamed or taken away is durable with an fsync of its *folder*, whatever happened to the file. So a file that was
synced, and whose folder was not, is gone; one whose name was synced, and whose bytes were not, is empty.

`cut` loses all that is not durable, or with a seed a part of it: of each file's writes any set of 4 KiB pages in any
order, and of the names all changes behind a moment that chance chooses, as with the log of ext4 or xfs. A cut may be
ordered in advance, before the n-th change that reaches the disk (`cut_before`): then whoever makes it is killed in the
midst of it, and everything after it fails.

The process that serves it is `tests.support.forgetful_server`.
"""

import errno
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.fuse_link import BLOCK, Request, why_not_mountable

ROOT = Path(__file__).parents[2]
ROOT_NODE = 1
RENAME_NOREPLACE = 1

Change = tuple[int, bytes] | int  # bytes written at a place, or a new size


@dataclass(slots=True, eq=False)
class Node:
    """A file or folder, as programs see it and as it would be after a power cut.

    Attributes:
        content, kept: of a file; ``unsynced`` are the changes from the second to the first.
        names, kept_names: of a folder.
    """

    number: int
    mode: int
    uid: int
    gid: int
    content: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    unsynced: list[Change] = field(default_factory=list)
    names: dict[bytes, "Node"] = field(default_factory=dict)
    kept_names: dict[bytes, "Node"] = field(default_factory=dict)
    changed_s: float = field(default_factory=time.time)

    def change(self, change: Change) -> None:
        _apply(self.content, change)
        self.unsynced.append(change)
        self.changed_s = time.time()

    def sync(self) -> None:
        for change in self.unsynced:
            _apply(self.kept, change)
        self.unsynced.clear()


def _apply(content: bytearray, change: Change) -> None:
    if isinstance(change, int):
        if change < len(content):
            del content[change:]
        else:
            content.extend(bytes(change - len(content)))
        return
    at, data = change
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


class Disk:
    """What is on it; each method of a request returns its answer's body or raises OSError."""

    def __init__(self) -> None:
        self.root = Node(ROOT_NODE, stat.S_IFDIR | 0o755, os.getuid(), os.getgid())
        self.nodes = {ROOT_NODE: self.root}
        self._next = ROOT_NODE
        # Changes of names that are not durable, oldest first: of each the folders with the names concerned.
        self._moves: list[list[tuple[Node, bytes, Node | None]]] = []

    # -- power ---------------------------------------------------------------------------------------------------

    def lose(self, chance: random.Random | None) -> None:
        """What a power cut leaves; of what is not durable nothing, or some of it."""
        if chance is not None:
            for move in self._moves[: chance.randint(0, len(self._moves))]:
                for folder, name, node in move:
                    _set_name(folder.kept_names, name, node)
        self._moves.clear()
        self.nodes = {}
        self._survive(self.root, chance)

    def _survive(self, node: Node, chance: random.Random | None) -> None:
        if node.number in self.nodes:
            return
        self.nodes[node.number] = node
        if chance is not None:
            for change in _torn(node.unsynced):
                if chance.random() < 0.5:
                    _apply(node.kept, change)
        node.unsynced.clear()
        node.content = bytearray(node.kept)
        node.names = dict(node.kept_names)
        for each in node.names.values():
            self._survive(each, chance)

    def keep(self) -> None:
        """Make everything durable."""
        for node in self.nodes.values():
            node.sync()
            node.kept_names = dict(node.names)
        self._moves.clear()

    # -- names ---------------------------------------------------------------------------------------------------

    def find(self, folder: int, name: bytes) -> Node:
        try:
            return self.nodes[folder].names[name]
        except KeyError:
            raise OSError(errno.ENOENT, "no such name") from None

    def make(self, folder: int, name: bytes, mode: int, request: Request) -> Node:
        self._next += 1
        node = self.nodes[self._next] = Node(self._next, mode, request.uid, request.gid)
        self._move([(self.nodes[folder], name, node)])
        return node

    def unlink(self, folder: int, name: bytes) -> None:
        if self.find(folder, name).names:
            raise OSError(errno.ENOTEMPTY, "not empty")
        self._move([(self.nodes[folder], name, None)])

    def rename(self, folder: int, name: bytes, new_folder: int, new: bytes, flags: int = 0) -> None:
        node = self.find(folder, name)
        there = self.nodes[new_folder].names.get(new)
        if flags & ~RENAME_NOREPLACE:
            raise OSError(errno.EINVAL, "no such way to rename")
        if there is not None and (flags or there.names):
            raise OSError(errno.EEXIST if flags else errno.ENOTEMPTY, "there is something")
        self._move([(self.nodes[new_folder], new, node), (self.nodes[folder], name, None)])

    def _move(self, move: list[tuple[Node, bytes, Node | None]]) -> None:
        for folder, name, node in move:
            _set_name(folder.names, name, node)
            folder.changed_s = time.time()
        self._moves.append(move)

    def sync_folder(self, folder: Node) -> None:
        folder.kept_names = dict(folder.names)
        moves = [[one for one in move if one[0] is not folder] for move in self._moves]
        self._moves = [move for move in moves if move]


def _set_name(names: dict[bytes, Node], name: bytes, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _torn(changes: list[Change]) -> Iterator[Change]:
    """Writes, cut where the pages of a disk end."""
    for change in changes:
        if isinstance(change, int):
            yield change
            continue
        at, data = change
        begin = 0
        while begin < len(data):
            end = begin + BLOCK - (at + begin) % BLOCK
            yield at + begin, data[begin:end]
            begin = end


# -- the test's side ---------------------------------------------------------------------------------------------


class ForgetfulDisk:
    """Mounted at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forgetful_server", str(path)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self.changes()  # it is mounted

    def cut(self, seed: int | None = None) -> None:
        """The power was gone: what is not durable is lost, or with a seed a part of it. Nobody may use it meanwhile."""
        self._told(f"cut {'all' if seed is None else seed}")

    def cut_before(self, change: int) -> None:
        """Kill who makes the ``change``-th change from now on (from 1) before it is made; serve nothing until `cut`."""
        self._told(f"before {change}")

    def keep(self) -> None:
        """Make durable what there is."""
        self._told("keep")

    def changes(self) -> int:
        """How many there were: writes, syncs, names made, changed or taken away."""
        return int(self._told("changes"))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _told(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        answer = self._process.stdout.readline().strip()
        assert answer, f"the file system has ended, asked to {command}"
        return answer


@contextmanager
def forgetful_disk(path: Path) -> Iterator[ForgetfulDisk]:
    """An empty one; skips the test where none can be mounted."""
    if reason := why_not_mountable():
        pytest.skip(reason)
    path.mkdir()
    disk = ForgetfulDisk(path)
    try:
        yield disk
    finally:
        disk.close()
