"""Put a draft's files in force: all of them, or nothing is changed.

A candidate is read and compiled beside the site first, as a whole site: a file that would keep the site from starting
is never there, also where the machine ends at any moment. Two persons cannot write over each other: each says which
version was seen.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from engine.config.load import changed_files, load_site
from engine.model.errors import ConfigError, RefusedError
from engine.model.texts.phrases import R_, Said
from engine.model.texts.units import HostPort
from engine.runtime.service import Service
from engine.store.core.files.durable import sync_way_to, write_atomically

if TYPE_CHECKING:
    from engine.runtime.app import App

FILES_CHANGED = R_("files of the configuration were changed and not reloaded: reload them first")
OTHER_VERSION = R_("another person has changed this draft meanwhile: look at it again")
NOT_WRITTEN = R_("LabRelay may not write into {folder}: give its user the right to, and look again")
TAKEN = R_("port {port} is taken by another program: choose another one")
WRONG = R_("it was not taken over: {why}")


class Adding(Service):
    """Writes the files of drafts of a running site."""

    def __init__(self, app: "App") -> None:
        self.app = app
        self._one = asyncio.Lock()

    def files(self, name: str) -> dict[str, Path]:
        """The files that a draft has, by what they are."""
        folder = self.app.folder
        return {
            "layout": folder / "layouts" / f"{name}.yaml",
            "table": folder / "mappings" / "tables" / f"{name}.csv",
            "channel": folder / "channels" / f"{name}.yaml",
        }

    def text(self, name: str, what: str) -> str:
        """Empty: there is none."""
        with suppress(OSError):
            return self.files(name)[what].read_text(encoding="utf-8")
        return ""

    def version(self, name: str) -> str:
        """Of a draft's files; of one that is not there the same each time."""
        texts = "\0".join(self.text(name, what) for what in self.files(name))
        return sha256(texts.encode()).hexdigest()[:16]

    async def put(self, name: str, texts: Mapping[str, str | None], version: str) -> None:
        """Write these files, in place of those of this version, and put them in force; None: it is taken away.

        Raises:
            RefusedError: they are wrong, or the files are of another version, or cannot be written.
        """
        await asyncio.shield(asyncio.ensure_future(self._put(name, texts, version)))

    async def _put(self, name: str, texts: Mapping[str, str | None], version: str) -> None:
        async with self._one:
            files = {self.files(name)[what]: text for what, text in texts.items()}
            if self.version(name) != version:
                raise RefusedError(OTHER_VERSION)
            if await asyncio.to_thread(changed_files, self.app.parts.built.site):
                raise RefusedError(FILES_CHANGED)
            try:
                await asyncio.to_thread(self._try, files)
                before = {path: path.read_bytes() if path.is_file() else None for path in files}
                after = {path: None if text is None else text.encode() for path, text in files.items()}
                await asyncio.to_thread(_write, after)
                try:
                    await self.app.reload()
                except BaseException:
                    await asyncio.to_thread(_write, dict(reversed(before.items())))
                    raise
            except ConfigError as error:
                raise RefusedError(Said(WRONG, why="; ".join(error.problems[:3]))) from None
            except OSError as error:  # a disk is full
                raise RefusedError(Said(WRONG, why=error.strerror or "")) from None

    def _try(self, files: Mapping[Path, str | None]) -> None:
        """Read and compile the site as it would be, in a folder beside it.

        Raises:
            ConfigError: every problem.
        """
        site = self.app.folder
        with TemporaryDirectory(prefix="labrelay-draft-") as made:
            beside = Path(made)
            _linked(site, beside, {path.relative_to(site): text for path, text in files.items()})
            self.app.build(load_site(beside))


def is_free(address: HostPort) -> bool:
    """Whether a program may listen there now."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((address.host, address.port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _linked(site: Path, beside: Path, files: Mapping[Path, str | None]) -> None:
    """A folder of links to the site's files, but with these files."""
    own = {path.parts[0] for path in files}
    beside.mkdir(exist_ok=True)
    for entry in site.iterdir() if site.is_dir() else ():
        if entry.name not in own:
            (beside / entry.name).symlink_to(entry.absolute())
    for first in own:
        within = {path.relative_to(first): text for path, text in files.items() if path.parts[0] == first}
        if Path() in within:
            if (text := within[Path()]) is not None:
                (beside / first).write_text(text, encoding="utf-8")
        else:
            _linked(site / first, beside / first, within)


def _write(files: Mapping[Path, bytes | None]) -> None:
    """In this order, each whole and durable, once all of them could be written; None: it is taken away.

    Raises:
        RefusedError: a folder is closed to this process, or its disk is full; all files are as they were.
    """
    with ExitStack() as ready:  # what was entered last ends first
        for path, content in reversed([*files.items()]):
            try:
                ready.enter_context(_ready(path, content))
            except OSError:
                raise RefusedError(Said(NOT_WRITTEN, folder=str(path.parent))) from None


@contextmanager
def _ready(path: Path, content: bytes | None) -> Iterator[None]:
    """A file that takes its place, or is taken away, when the block ends."""
    if content is None:
        yield
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as part:
        part.write_bytes(content)
        os.chmod(part, 0o644)
        yield
    sync_way_to(path.parent)
