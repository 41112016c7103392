"""The files of a mapping as the page shows them: found where `engine.mapping.loading` finds them, saved with care.

A file is saved only by its own name, into the folder it came from, or, if it came with LabRelay, into the site's
`mappings`, where it takes the shipped one's place; and only as long as it is what the page read: an edit made elsewhere
is never overwritten.
"""

import contextlib
import hashlib
import shutil
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config import yaml_nodes
from engine.devtools.errors import SavingError
from engine.model.errors import ConfigError
from engine.store.core.durable import write_atomically

MAX_FILE_BYTES = 1024 * 1024  # of a file that is edited on the page; larger tables are used, not shown
_SUFFIXES = (".yaml", ".yml", ".csv")


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file with its text.

    Attributes:
        name: as the mapping names it: ``lab.yaml``, ``tables/urine.csv``.
        digest: SHA-256 of its bytes, to notice an edit made elsewhere.
        target: where it would be saved, for people; empty where it cannot be.
        shipped: it came with LabRelay, and is saved as the site's own.
    """

    name: str
    text: str
    digest: str
    target: str = ""
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class Folders:
    """Where files are looked for, in order.

    Attributes:
        own: folders whose files belong to the user of the page; ``shipped`` those that belong to LabRelay.
        home: where a shipped file is saved as the site's own; None without a site.
    """

    own: tuple[Path, ...]
    shipped: tuple[Path, ...] = ()
    home: Path | None = None

    @property
    def search(self) -> tuple[Path, ...]:
        return (*self.own, *self.shipped)

    def mappings(self) -> list[str]:
        """Names of the mappings there are; libraries are none."""
        names = {}
        for folder in self.search:
            for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
                if path.stem not in names:
                    names[path.stem] = _is_mapping(path)
        return sorted(name for name, good in names.items() if good)

    def stamps(self) -> list[tuple[str, int, int]]:
        """Names, times and sizes, which show that a file was edited elsewhere."""
        found = []
        for folder in self.own:
            for path in (*folder.glob("*.yaml"), *folder.glob("tables/*.csv")):
                with contextlib.suppress(OSError):
                    told = path.stat()
                    found.append((str(path), told.st_mtime_ns, told.st_size))
        return sorted(found)

    def open(self, name: str) -> OpenFile | None:
        """A file of a mapping; None where there is none of that name, or it is not for a page."""
        path = self.find(name)
        if path is None:
            return None
        data = path.read_bytes()
        if len(data) > MAX_FILE_BYTES:
            return None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None
        target, shipped = self._target(path, name)
        return OpenFile(name, _as_in_a_browser(text), _digest(data), str(target or ""), shipped)

    def of_mapping(self, name: str) -> list[OpenFile]:
        """The mapping's own file, its libraries and its tables, as far as they can be found."""
        first = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
        found = {first: self.open(first)}
        mapping = found[first]
        for other in _named(mapping.text, first) if mapping is not None else ():
            found.setdefault(other, self.open(other))
        return [one for one in found.values() if one is not None]

    def save(self, name: str, text: str, digest: str) -> OpenFile:
        """Write a file, if it still is what the page read.

        Args:
            digest: of the file as the page read it.

        Raises:
            SavingError: it was changed elsewhere meanwhile, may not be saved, or cannot be written.
        """
        path = self.find(name)
        target, shipped = self._target(path, name) if path is not None else (None, False)
        if path is None or target is None:
            raise SavingError(f"{name}: there is no folder to save this in; make a site with labrelay init")
        if len(text.encode()) > MAX_FILE_BYTES:
            raise SavingError(f"{name}: larger than {MAX_FILE_BYTES} bytes; split the file")
        try:
            data = path.read_bytes()
            if _digest(data) != digest:
                raise SavingError(f"{name}: was changed elsewhere since this page read it; copy your edit, and reload")
            if shipped and target.exists():
                raise SavingError(f"{name}: the site has one of its own by now; copy your edit, and reload")
            if b"\r\n" in data:
                text = text.replace("\n", "\r\n")
            _replace(target, text, like=path, marked=data.startswith(BOM_UTF8))
        except OSError as error:
            raise SavingError(f"{name}: cannot be saved: {error.strerror}; check the rights of its folder") from error
        saved = self.open(name)
        assert saved is not None
        return saved

    def find(self, name: str) -> Path | None:
        """A file by its name; a name never leaves the folders."""
        if not name.endswith(_SUFFIXES) or Path(name).is_absolute() or ".." in Path(name).parts:
            return None
        return next((path for folder in self.search if (path := folder / name).is_file()), None)

    def _target(self, path: Path, name: str) -> tuple[Path | None, bool]:
        """Where a file is saved, and whether that is another place than where it was found."""
        if any(path.is_relative_to(folder) for folder in self.own):
            return path.resolve(), False
        return (None, True) if self.home is None else (self.home / name, True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _as_in_a_browser(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_mapping(path: Path) -> bool:
    """Whether a file says that it is a mapping; a file that cannot be read may be one that the user is editing."""
    try:
        return yaml_nodes.read_file(path, path.name).get("mapping") is not None
    except ConfigError:
        return True


def _named(text: str, file: str) -> Iterable[str]:
    """The libraries and tables that a mapping names; nothing where it cannot be read."""
    try:
        node = yaml_nodes.read(text, file)
    except ConfigError:
        return
    imports = node.get("import")
    for item in imports.items if imports is not None and imports.kind == "list" else ():
        yield f"{item.value}.yaml"
    tables = node.get("tables")
    for _, table in tables.pairs if tables is not None and tables.kind == "map" else ():
        csv = table.get("csv") if table.kind == "map" else None
        if csv is not None:
            yield csv.value if csv.value.endswith(".csv") else f"tables/{csv.value}.csv"


def _replace(target: Path, text: str, *, like: Path, marked: bool) -> None:
    """Write a file beside its place and move it there: a reader sees the old one or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(target) as new:
        new.write_bytes(text.encode("utf-8-sig" if marked else "utf-8"))
        shutil.copymode(like, new)


def overlay(folder: Path, texts: Mapping[str, str], folders: Folders) -> None:
    """Write edited texts into a folder that is looked into first: those of files that there are."""
    for name, text in texts.items():
        if folders.find(name) is None:
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
