"""The kernel's side of a file system in user space (FUSE, protocol 7.31; include/uapi/linux/fuse.h): requests in,
answers out, over ``/dev/fuse``. No library, no helper program: it needs root, and `mountable` says whether it will do.

    request   length, opcode, unique, node, uid, gid, pid, padding | body
    answer    length, error (negative), unique | body

Locks are the kernel's own here (neither FUSE_POSIX_LOCKS nor FUSE_FLOCK_LOCKS is asked for), and so is the page cache,
so files can be mapped into memory as SQLite maps its shared memory. What a program writes comes here at once (no
FUSE_WRITEBACK_CACHE); what it stores into a map comes when the kernel likes, and at the latest with a sync or a close.
"""

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

DEVICE = Path("/dev/fuse")
MAJOR, MINOR = 7, 31
MAX_WRITE = 128 * 1024
CACHED_S = 1 << 20  # names and attributes change through the kernel only
KEEP_CACHE = 1 << 1  # FOPEN_KEEP_CACHE
BLOCK = 4096
_ASYNC_READ, _BIG_WRITES, _MAX_PAGES = 1 << 0, 1 << 5, 1 << 22
_MNT_DETACH = 2
_HEAD = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")


class Op(IntEnum):
    """Opcodes that are served; any other is answered with ENOSYS, and the kernel does without."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43
    RENAME2 = 45


UNANSWERED = (Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT)


@dataclass(frozen=True, slots=True)
class Request:
    op: int
    unique: int
    node: int
    uid: int
    gid: int
    pid: int  # of the thread that asks; 0: the kernel itself
    body: bytes


class Link:
    """A mounted connection to the kernel."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self.descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        user = f"user_id={os.getuid()},group_id={os.getgid()}"
        options = f"fd={self.descriptor},rootmode=40000,{user},default_permissions"
        if _libc().mount(b"labrelay-test", os.fsencode(at), b"fuse", 0, options.encode()):
            fault = ctypes.get_errno()
            os.close(self.descriptor)
            raise OSError(fault, os.strerror(fault))

    def read(self) -> Request | None:
        """The next request; blocks. None: this one was taken back, or the file system is unmounted."""
        try:
            data = os.read(self.descriptor, MAX_WRITE + BLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN, errno.ENODEV):
                return None
            raise
        _, op, unique, node, uid, gid, pid, _ = _HEAD.unpack_from(data)
        return Request(op, unique, node, uid, gid, pid, data[_HEAD.size :])

    def answer(self, request: Request, body: bytes = b"", error: int = 0) -> None:
        head = _ANSWER.pack(_ANSWER.size + len(body), -error, request.unique)
        try:
            os.write(self.descriptor, head + body)
        except OSError as fault:
            if fault.errno != errno.ENOENT:  # nobody waits for it any more
                raise

    def greet(self, request: Request) -> None:
        """Answer INIT."""
        offered = struct.unpack_from("<I", request.body, 12)[0]
        flags = offered & (_ASYNC_READ | _BIG_WRITES | _MAX_PAGES)
        body = struct.pack(
            "<IIIIHHIIHHI28x", MAJOR, MINOR, 1 << 17, flags, 16, 12, MAX_WRITE, 1, MAX_WRITE // BLOCK, 0, 0
        )
        self.answer(request, body)

    def cut(self) -> None:
        """End the connection at once, whatever is under way, then unmount: nothing more comes here from the kernel."""
        os.close(self.descriptor)
        _libc().umount2(os.fsencode(self._at), _MNT_DETACH)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def why_not_mountable() -> str:
    """Why such a file system cannot be had here; empty where it can."""
    if not DEVICE.exists():
        return f"there is no {DEVICE} here"
    if os.geteuid() != 0:
        return "only root can mount a file system of ours"
    if struct.pack("=I", 1) != struct.pack("<I", 1):
        return "the test's FUSE is for little-endian machines"
    return ""
