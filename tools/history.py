"""What the repository knows of a file: each commit that changed it, beside each of its parents.

A limit that only the newest commit is held to is no limit: the next commit hides a rise, and so does a merge. A
revision is what `git` takes; `CHECKOUT` means the files as they lie there, whether they are committed or not.
"""

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = ""


def git(root: Path, *arguments: str) -> str:
    return git_bytes(root, *arguments).decode().strip()


def git_bytes(root: Path, *arguments: str) -> bytes:
    """
    Raises:
        ValueError: `git` is not installed, or it refuses; says why.
    """
    command = ["git", "-c", "core.quotePath=false", *arguments]
    try:
        return subprocess.run(command, cwd=root, check=True, capture_output=True).stdout  # noqa: S603
    except FileNotFoundError as error:
        raise ValueError("git is not installed, or is not in PATH") from error
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git {arguments[0]}: {error.stderr.decode().strip()}") from error


def gap(root: Path) -> str:
    """Why the history cannot be read; empty: all of it is here."""
    try:
        shallow, below, *_ = git_bytes(root, "rev-parse", "--is-shallow-repository", "--show-prefix", "HEAD").split(
            b"\n"
        )
    except ValueError as error:
        return str(error)
    if below:
        return "the files are no repository of their own"
    return "the clone is shallow: `git fetch --unshallow` gets the other commits" if shallow == b"true" else ""


def text_at(root: Path, revision: str, path: Path) -> str:
    """A file's text; empty where there is none."""
    if revision == CHECKOUT:
        return (root / path).read_text(encoding="utf-8") if (root / path).exists() else ""
    is_there = git(root, "ls-tree", "--name-only", revision, "--", path.as_posix())
    return git_bytes(root, "show", f"{revision}:{path.as_posix()}").decode() if is_there else ""


def changes(root: Path, path: Path) -> Iterator[tuple[str, str]]:
    """Revision and parent, for the checkout where the file is not as committed, then for each commit that changed it.

    A merge comes once for each parent; the first commit of a file beside parents that have not got it.
    """
    if text_at(root, CHECKOUT, path) != text_at(root, "HEAD", path):
        yield CHECKOUT, "HEAD"
    for line in git(root, "log", "--full-history", "--format=%H %P", "HEAD", "--", path.as_posix()).splitlines():
        commit, *parents = line.split()
        yield from ((commit, parent) for parent in parents)


def last_change(root: Path, revision: str, path: Path) -> str:
    """The last commit, up to this one, that changed a file."""
    return git(root, "log", "-1", "--format=%H", revision, "--", path.as_posix())


def new_files(root: Path, revision: str, since: str) -> Iterator[Path]:
    """Files added since a commit: none that was moved, and none whose path was there at any time before."""
    added = git(root, "diff", "--name-only", "--diff-filter=A", "--find-renames", since, *revision.split())
    if revision == CHECKOUT:
        added += "\n" + git(root, "ls-files", "--others", "--exclude-standard")
    for name in added.split("\n"):
        if name and not git(root, "log", "-1", "--format=%h", since, "--", name):
            yield Path(name)


@contextmanager
def files_of(root: Path, commit: str, *folders: str) -> Iterator[Path]:
    """The files of a commit in a folder that lasts as long as the context."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(root, commit, Path(folder), *folders)
        yield Path(folder)


def unpack(root: Path, commit: str, into: Path, *folders: str) -> None:
    """Write the files of a commit; ``folders`` that it has not got are left out."""
    present = git(root, "ls-tree", "--name-only", commit).split("\n")
    archive = git_bytes(root, "archive", "--format=tar", commit, "--", *(name for name in folders if name in present))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(into, filter="data")
