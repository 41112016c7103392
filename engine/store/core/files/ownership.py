"""A data folder is its owner's: root acts there under the owner's account, and each file there is the owner's own.

The folder belongs to the account of the service, and commands are often run by root (`sudo labrelay ...`). A program of
that account can put a link in the place of any file there. So a command of root's takes the account before it touches
the folder (`act_as_owner`), as ``sudo -u OWNER`` does: it can do no more there than the account, and what it makes
belongs to the account. A command comes back to root for what its command line names (`as_given`); a daemon never does.

Besides, whichever account opens it, a file of the folder is no link, has one name, and is the owner's (`open_own`,
`raise_if_foreign`). One link is allowed, the journal's to another disk, where the owner's file is.

Where a file system has no owners (a share), all this changes nothing.
"""

import errno
import os
import pwd
import re
import shutil
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from engine.model.errors import RefusedError, StoreError
from engine.model.journal.records import JOURNAL_NAME
from engine.model.site.actor import STATED, user_name

SUDO_USER = STATED[0]
# What the program opens there. Another file, as a copy that root has made beside the journal, is nothing to it.
_OURS = re.compile(
    r"journal\.(db(-wal|-shm|-journal|\.new.*)?|anchor)|labrelay\.(lock|reserve|sock|key(\.new|\.old-.*|\.aside-.*)?)"
    "|before-upgrade|compiled"
)
_NOBODY = 65534
_AT_ONCE = 1024 * 1024  # bytes that are copied
_LINKS = 40  # on one way, as the kernel has it
_PROGRAM = (os.__file__, __file__, orjson.__file__)  # what is imported later is beside these


@dataclass(frozen=True, slots=True)
class _Owner:
    """The account that this process of root's has taken."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    roots_groups: tuple[int, ...]
    stated: str | None  # what the environment said of the user before


_taken: _Owner | None = None


# -- accounts ------------------------------------------------------------------------------------------------------


def act_as_owner(folder: Path, *, for_good: bool = False) -> None:
    """From here on root acts as the owner of ``folder``; of a folder that is still to be made, of the one above it.

    Args:
        for_good: root keeps no way back, as in a daemon.

    Raises:
        RefusedError: this process of root's may not take the account.
    """
    global _taken
    if os.geteuid() != 0:
        if for_good and _taken is not None:
            _keep_no_way_back(_taken)
            _taken = None
        return
    there = next((one for one in (folder, *folder.absolute().parents) if one.exists()), None)
    if there is None or (facts := there.stat()).st_uid == 0:
        return
    try:
        known = pwd.getpwuid(facts.st_uid)
        gid, groups = known.pw_gid, tuple(os.getgrouplist(known.pw_name, known.pw_gid))
    except KeyError:
        gid = facts.st_gid or _NOBODY
        groups = (gid,)
    owner = _Owner(facts.st_uid, gid, groups, tuple(os.getgroups()), os.environ.get(SUDO_USER))
    name = user_name(owner.uid)
    try:
        _become(owner)
    except OSError as error:
        raise RefusedError(
            f"{folder} belongs to {name}, an account that root may not take here ({error.strerror}); run this as {name}"
        ) from error
    if closed := next((path for path in _PROGRAM if not os.access(path, os.R_OK)), None):
        _become_root(owner)
        raise RefusedError(
            f"{folder} belongs to {name}, who cannot read this program ({closed}): install it where all can, as "
            "tools/install.sh does"
        )
    if for_good:
        _keep_no_way_back(owner)
    os.environ.setdefault(SUDO_USER, user_name(0))  # for the audit trail, as sudo has it
    _taken = None if for_good else owner


def come_back() -> None:
    """Root again, where `act_as_owner` has taken another account."""
    global _taken
    if _taken is not None:
        _become_root(_taken)
        if _taken.stated is None:
            os.environ.pop(SUDO_USER, None)
        _taken = None


@contextmanager
def for_a_while() -> Iterator[None]:
    """Come back afterwards, unless the account was taken before."""
    before = _taken
    try:
        yield
    finally:
        if before is None:
            come_back()


@contextmanager
def as_given(*paths: Path) -> Iterator[None]:
    """Meanwhile root again, for what root has named: an output, a program.

    But where the owner could put a link on the way to one of ``paths`` it stays the owner.
    """
    owner = _taken
    if owner is None or os.geteuid() == 0:
        yield
        return
    _become_root(owner)
    try:
        if any(_is_led_by(owner, path) for path in paths):
            _become(owner)
        yield
    finally:
        if os.geteuid() == 0:
            _become(owner)


def make_for_owner(folder: Path) -> None:
    """Make a folder that the command line names, for the account that fills it; one that is there stays as it is.

    Raises:
        StoreError: it cannot be made, or the account cannot use it.
    """
    owner = _taken
    if owner is None:
        return
    made: list[Path] = []
    try:
        with as_given(folder):
            if not folder.exists():
                made = [folder, *(above for above in folder.absolute().parents if not above.exists())]
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=0o700)
                if os.geteuid() == 0:
                    _give_folder(folder, owner.uid, owner.gid)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        with as_given(folder.parent), suppress(OSError):
            for one in made:
                one.rmdir()
        raise StoreError(
            f"{folder}: cannot be written by {user_name(owner.uid)}, to whom the data folder belongs; name a folder "
            "that this account reaches, or give it this one"
        )


@contextmanager
def open_given(path: Path, *below: str) -> Iterator[int]:
    """Open what root has named, a file or a folder, for an account that could not, or what is ``below`` it. From the
    place on where the account has a say, no link is followed.

    Raises:
        StoreError: it cannot be opened so.
    """
    known, rest = Path(os.path.abspath(path)), deque(below)
    with as_given():
        while _taken is not None and _is_led_by(_taken, known):
            rest.appendleft(known.name)
            known = known.parent
        try:
            at = os.open(known, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            for part in rest:
                at = _next(at, part)
        except OSError as error:
            raise StoreError(f"{path.joinpath(*below)}: cannot be read: {error.strerror}") from error
    with _closing(at):
        yield at


def bring(source: int, into: Path, shown: Path, wanted: Callable[[str], bool]) -> None:
    """Copy the folder that is open as ``source`` into a new one of the account: root opens, and the account writes.

    No link is followed, and a file has one name: the account may have filled the folder before it was closed to it.

    Args:
        shown: its path, for people.
        wanted: of a name in it; of a folder that is wanted, the same counts for all in it.

    Raises:
        StoreError: something in it cannot be taken.
    """
    into.mkdir(mode=0o700)
    for name in sorted(filter(wanted, os.listdir(source))):
        try:
            with as_given():
                at = _next(os.dup(source), name)
        except OSError as error:
            why = "it is a link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
            raise StoreError(f"{shown / name}: {why}") from error
        with _closing(at):
            if stat.S_ISDIR(os.fstat(at).st_mode):
                bring(at, into / name, shown / name, wanted)
            else:
                bring_file(at, into / name, shown / name)


def bring_file(source: int, into: Path, shown: Path) -> None:
    """As `bring`, one file."""
    facts = os.fstat(source)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        raise StoreError(f"{shown}: it is no file with one name; copy its folder anew (cp -r), and restore from there")
    with open(source, "rb", closefd=False) as old, open(into, "xb", opener=_for_the_owner) as new:
        shutil.copyfileobj(old, new, _AT_ONCE)


def _next(folder: int, name: str) -> int:
    """An entry of an open folder, which is closed then."""
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


@contextmanager
def _closing(at: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(at)


def is_closed_to_owner(path: Path | None) -> bool:
    """Whether only root can read ``path``, also through a link, and all below it, and not the account it has taken."""
    if path is None or _taken is None:
        return False
    if not os.access(path, os.R_OK):
        return True
    below = path.rglob("*") if os.path.isdir(path) else ()
    return any(not os.access(one, os.R_OK) for one in below if not os.path.islink(one))


def give_to_owner(tree: Path, data: Path) -> None:
    """Give a folder that root has made, with all in it, to the owner of ``data``.

    The folder itself comes last: until then it is closed to the owner, who can put no link into it.
    """
    if os.geteuid() != 0:
        return
    owner = data.stat()
    for _, folders, files, here in os.fwalk(tree, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            with _where_files_have_owners():
                os.chown(name, owner.st_uid, owner.st_gid, dir_fd=here, follow_symlinks=False)
    _give_folder(tree, owner.st_uid, owner.st_gid)


def _give_folder(folder: Path, uid: int, gid: int) -> None:
    """A folder alone: a link or a file that has taken its place is refused."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with _where_files_have_owners():
            os.fchown(descriptor, uid, gid)
    finally:
        os.close(descriptor)


@contextmanager
def _where_files_have_owners() -> Iterator[None]:
    """A file system without owners, as of a USB stick, keeps those that it was mounted with."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise


def _become(owner: _Owner) -> None:
    """The account as the effective and the real one, which a child process gets; the way back to root is kept."""
    os.setgroups(owner.groups)
    os.setresgid(owner.gid, owner.gid, 0)
    os.setresuid(owner.uid, owner.uid, 0)


def _keep_no_way_back(owner: _Owner) -> None:
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)


def _become_root(owner: _Owner) -> None:
    os.setresuid(0, 0, 0)
    os.setresgid(0, 0, 0)
    os.setgroups(owner.roots_groups)


def _is_led_by(owner: _Owner, path: Path) -> bool:
    """Whether the account has a say in what ``path`` leads to: an entry on the way is its own, or is in a folder where
    it may put another one. Each link is followed here as the kernel does.

    Nothing can change meanwhile: up to the place that was looked at, the account changes nothing.
    """
    at, parts, links = Path("/"), deque(path.absolute().parts[1:]), 0
    while parts:
        part = parts.popleft()
        if part == "..":
            at = at.parent
            continue
        one = at / part
        try:
            facts = one.lstat()
        except OSError:
            return _may_fill(owner, at)
        stays = parts and at.lstat().st_mode & stat.S_ISVTX  # a neighbour of the last entry may be the account's
        if facts.st_uid == owner.uid or (_may_fill(owner, at) and not stays):
            return True
        if stat.S_ISLNK(facts.st_mode):
            links += 1
            if links > _LINKS:
                return True
            leads = Path(os.readlink(one))
            parts.extendleft(reversed(leads.parts[1:] if leads.is_absolute() else leads.parts))
            at = Path("/") if leads.is_absolute() else at
        else:
            at = one
    return False


def _may_fill(owner: _Owner, folder: Path) -> bool:
    facts = folder.lstat()
    if facts.st_uid == owner.uid or facts.st_mode & stat.S_IWOTH:
        return True
    if not facts.st_mode & stat.S_IWGRP:
        return False
    with suppress(OSError):  # the bits of the group are then the most that a list of rights gives
        if "system.posix_acl_access" in os.listxattr(folder):
            return True
    return facts.st_gid in {owner.gid, *owner.groups}


# -- files ---------------------------------------------------------------------------------------------------------


def open_below(folder: Path, relative: str) -> BinaryIO:
    """Open a file to read below a folder that another account may have filled: no link is followed from there on.

    Raises:
        StoreError: it is a link, or no file.
        OSError: it cannot be opened.
    """
    way = folder / relative
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in relative.split("/"):
            at = _next(at, part)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _foreign(way, "it is a link") from error
        raise
    if not stat.S_ISREG(os.fstat(at).st_mode):
        os.close(at)
        raise _foreign(way, "it is no file")
    return os.fdopen(at, "rb")


def open_own(path: Path, flags: int) -> int:
    """Open a file of a folder of the service; made with mode 0600 where ``flags`` say so. It is checked once it is
    open, so that nothing can take its place.

    Raises:
        StoreError: it is not the owner's own file.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise _foreign(path, "it is a link") from error
        raise
    try:
        if (why := _why_foreign(os.fstat(descriptor), path.parent.stat().st_uid)) is not None:
            raise _foreign(path, why)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_own(path: Path) -> bytes:
    """The content of such a file. Raises as `open_own`."""
    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        return file.read()


def raise_if_foreign(data: Path) -> None:
    """For the files that SQLite opens, and all others before anything is done there.

    Raises:
        StoreError: a file in ``data`` is not the owner's own.
    """
    try:
        owner = data.stat().st_uid
        entries = sorted(data.iterdir())
    except OSError:
        return  # opening says so
    for path in entries:
        if not _OURS.fullmatch(path.name):
            continue
        try:
            facts = path.lstat()
            if path.name == JOURNAL_NAME and stat.S_ISLNK(facts.st_mode):  # to another disk
                facts = path.stat()
        except OSError:
            continue  # gone meanwhile, or a link to nothing, which its opener names
        if (why := _why_foreign(facts, owner)) is not None:
            raise _foreign(path, why)


def _why_foreign(facts: os.stat_result, owner: int) -> str | None:
    if stat.S_ISLNK(facts.st_mode):
        return "it is a link"
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode) or stat.S_ISSOCK(facts.st_mode)):
        return "it is no file"
    if facts.st_uid not in (owner, os.geteuid()):
        return f"it belongs to {user_name(facts.st_uid)}, and the folder to {user_name(owner)}"
    if stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1:
        return f"it has {facts.st_nlink} names"
    return None


def _foreign(path: Path, why: str) -> StoreError:
    try:
        owner = user_name(path.parent.stat().st_uid)
    except OSError:
        owner = "OWNER"
    return StoreError(
        f"{path}: {why}. It is not opened, for it may lead to a file of another account. Find out who put it there; "
        "move it aside, and put the service's own file in its place, where there is one. If it is linked on purpose, "
        "stop the service and give it a file of its own, as its owner: "
        f"sudo -u {owner} sh -c 'cp -pL {path} {path}.own && mv {path}.own {path}'"
    )
