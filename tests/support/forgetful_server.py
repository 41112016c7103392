"""The process that serves a disk that forgets (`tests.support.forgetful_disk`) to the kernel, mount after mount.

python -m tests.support.forgetful_server FOLDER      commands on stdin, a line each:
cut SEED|all    before N    keep    changes          each is answered by a line, once it is done
"""

import errno
import os
import random
import select
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.forgetful_disk import Disk, Node
from tests.support.fuse_link import BLOCK, CACHED_S, KEEP_CACHE, UNANSWERED, Link, Op, Request

SIZE = 4 << 30  # what statvfs says of it
_SIZE_GIVEN, _MODE_GIVEN, _UID_GIVEN, _GID_GIVEN = 8, 1, 2, 4
_TIMES_GIVEN = 16 | 32
# What changes what the disk holds, or makes it durable.
CHANGES = {
    Op.WRITE, Op.FSYNC, Op.FSYNCDIR, Op.CREATE, Op.MKNOD, Op.MKDIR, Op.UNLINK, Op.RMDIR, Op.RENAME, Op.RENAME2,
    Op.FALLOCATE,
}  # fmt: skip


class Server:
    """Serves one disk to the kernel, mount after mount."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self._disk = Disk()
        self._link = Link(at)
        self._changes = 0
        self._dies_before = 0
        self._gone = False  # the power: nothing is served any more

    def run(self) -> None:
        commands = sys.stdin.fileno()
        unread = b""
        while True:
            ready, _, _ = select.select([self._link.descriptor, commands], [], [])
            if commands in ready:
                unread += (more := os.read(commands, 4096))
                *lines, unread = unread.split(b"\n")
                for line in lines:
                    os.write(1, f"{self._obey(line.decode().split())}\n".encode())
                if not more:
                    self._link.cut()
                    return
            elif request := self._link.read():
                self._serve(request)

    def _obey(self, command: list[str]) -> str:
        match command:
            case ["cut", seed]:
                self._link.cut()
                self._disk.lose(None if seed == "all" else random.Random(int(seed)))
                self._link = Link(self._at)
                self._dies_before, self._gone = 0, False
            case ["before", number]:
                self._dies_before = self._changes + int(number)
            case ["keep"]:
                self._disk.keep()
            case ["changes"]:
                return str(self._changes)
            case _:
                raise ValueError(f"no such command: {command}")
        return "done"

    def _serve(self, request: Request) -> None:
        if request.op in UNANSWERED:
            return
        if request.op == Op.INIT:
            self._link.greet(request)
            return
        # A truncation is a change as well; other attributes are of no account here.
        if request.op in CHANGES or (request.op == Op.SETATTR and request.body[0] & _SIZE_GIVEN):
            self._changes += 1
            if request.pid and 0 < self._dies_before <= self._changes and not self._gone:
                self._gone = True
                os.kill(_process_of(request.pid), signal.SIGKILL)
        serve = SERVED.get(request.op)
        try:
            if serve is None:
                raise OSError(errno.ENOSYS, "not served")
            if self._gone and request.op not in (Op.RELEASE, Op.RELEASEDIR):
                raise OSError(errno.EIO, "the power is gone")
            self._link.answer(request, serve(self._disk, request))
        except OSError as error:
            self._link.answer(request, error=error.errno or errno.EIO)


def _process_of(thread: int) -> int:
    status = Path(f"/proc/{thread}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Tgid:"))


# -- what is served ----------------------------------------------------------------------------------------------


def _attributes(node: Node) -> bytes:
    size, seconds = len(node.content), int(node.changed_s)
    part = int((node.changed_s - seconds) * 1e9)
    links = 2 if stat.S_ISDIR(node.mode) else 1
    return struct.pack(
        "<QQQQQQIIIIIIIIII", node.number, size, -(-size // 512), seconds, seconds, seconds, part, part, part,
        node.mode, links, node.uid, node.gid, 0, BLOCK, 0,
    )  # fmt: skip


def _entry(node: Node) -> bytes:
    return struct.pack("<QQQQII", node.number, 0, CACHED_S, CACHED_S, 0, 0) + _attributes(node)


def _attr_out(node: Node) -> bytes:
    return struct.pack("<QII", CACHED_S, 0, 0) + _attributes(node)


def _name(body: bytes, at: int = 0) -> bytes:
    return body[at : body.index(b"\0", at)]


def _lookup(disk: Disk, request: Request) -> bytes:
    return _entry(disk.find(request.node, _name(request.body)))


def _getattr(disk: Disk, request: Request) -> bytes:
    return _attr_out(_node(disk, request))


def _setattr(disk: Disk, request: Request) -> bytes:
    node = _node(disk, request)
    valid, size = struct.unpack_from("<I12xQ", request.body)
    mode, uid, gid = struct.unpack_from("<I4xII", request.body, 68)
    if valid & _SIZE_GIVEN:
        node.change(size)
    if valid & _MODE_GIVEN:
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
    if valid & _UID_GIVEN:
        node.uid = uid
    if valid & _GID_GIVEN:
        node.gid = gid
    if valid & _TIMES_GIVEN:
        node.changed_s = time.time()
    return _attr_out(node)


def _mknod(disk: Disk, request: Request) -> bytes:
    mode = struct.unpack_from("<I", request.body)[0]
    return _entry(disk.make(request.node, _name(request.body, 16), mode, request))


def _mkdir(disk: Disk, request: Request) -> bytes:
    mode = struct.unpack_from("<I", request.body)[0]
    return _entry(disk.make(request.node, _name(request.body, 8), stat.S_IFDIR | stat.S_IMODE(mode), request))


def _create(disk: Disk, request: Request) -> bytes:
    mode = struct.unpack_from("<4xI", request.body)[0]
    node = disk.make(request.node, _name(request.body, 16), stat.S_IFREG | stat.S_IMODE(mode), request)
    return _entry(node) + _opened(disk, request)


def _unlink(disk: Disk, request: Request) -> bytes:
    disk.unlink(request.node, _name(request.body))
    return b""


def _rename(disk: Disk, request: Request) -> bytes:
    names_at = 16 if request.op == Op.RENAME2 else 8
    folder, flags = struct.unpack_from("<QI", request.body.ljust(16, b"\0"))
    old = _name(request.body, names_at)
    new = _name(request.body, names_at + len(old) + 1)
    disk.rename(request.node, old, folder, new, flags if request.op == Op.RENAME2 else 0)
    return b""


def _opened(disk: Disk, request: Request) -> bytes:
    return struct.pack("<QII", 0, KEEP_CACHE, 0)


def _read(disk: Disk, request: Request) -> bytes:
    at, size = struct.unpack_from("<8xQI", request.body)
    return bytes(_node(disk, request).content[at : at + size])


def _write(disk: Disk, request: Request) -> bytes:
    at, size = struct.unpack_from("<8xQI", request.body)
    _node(disk, request).change((at, request.body[40 : 40 + size]))
    return struct.pack("<II", size, 0)


def _fallocate(disk: Disk, request: Request) -> bytes:
    at, length, mode = struct.unpack_from("<8xQQI", request.body)
    if mode:
        raise OSError(errno.EOPNOTSUPP, "only to make a file longer")
    node = _node(disk, request)
    if at + length > len(node.content):
        node.change(at + length)
    return b""


def _fsync(disk: Disk, request: Request) -> bytes:
    _node(disk, request).sync()
    return b""


def _fsyncdir(disk: Disk, request: Request) -> bytes:
    disk.sync_folder(_node(disk, request))
    return b""


def _readdir(disk: Disk, request: Request) -> bytes:
    begin, room = struct.unpack_from("<8xQI", request.body)
    folder = _node(disk, request)
    listed = [(b".", folder), (b"..", folder), *folder.names.items()]
    found = b""
    for place, (name, node) in list(enumerate(listed, start=1))[begin:]:
        one = struct.pack("<QQII", node.number, place, len(name), stat.S_IFMT(node.mode) >> 12) + name
        one += bytes(-len(one) % 8)
        if len(found) + len(one) > room:
            break
        found += one
    return found


def _statfs(disk: Disk, request: Request) -> bytes:
    blocks = SIZE // BLOCK
    return struct.pack("<QQQQQIIII24x", blocks, blocks, blocks, 1 << 20, 1 << 20, BLOCK, 255, BLOCK, 0)


def _nothing(disk: Disk, request: Request) -> bytes:
    return b""


def _node(disk: Disk, request: Request) -> Node:
    try:
        return disk.nodes[request.node]
    except KeyError:
        raise OSError(errno.ESTALE, "lost in a power cut") from None


SERVED: dict[int, Callable[[Disk, Request], bytes]] = {
    Op.LOOKUP: _lookup, Op.GETATTR: _getattr, Op.SETATTR: _setattr, Op.MKNOD: _mknod, Op.MKDIR: _mkdir,
    Op.UNLINK: _unlink, Op.RMDIR: _unlink, Op.RENAME: _rename, Op.RENAME2: _rename, Op.OPEN: _opened, Op.READ: _read,
    Op.WRITE: _write, Op.STATFS: _statfs, Op.RELEASE: _nothing, Op.FSYNC: _fsync, Op.FLUSH: _nothing,
    Op.OPENDIR: _opened, Op.READDIR: _readdir, Op.RELEASEDIR: _nothing, Op.FSYNCDIR: _fsyncdir, Op.CREATE: _create,
    Op.DESTROY: _nothing, Op.FALLOCATE: _fallocate,
}  # fmt: skip


if __name__ == "__main__":
    Server(Path(sys.argv[1])).run()
