"""The folder of copies: its contents, by name and manifest, and which of them may be deleted."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from engine.model.errors import OvertakenError, RefusedError, StoreError
from engine.store.core.files.durable import sync_folder, sync_way_to, write_atomically
from engine.store.core.files.ownership import open_below
from engine.store.operations.incarnation import GO_ON, Incarnation

MANIFEST_NAME = "manifest.json"
VERIFIED_NAME = "verified.json"
DRILL_NAME = "drill.json"
CLAIM_NAME = "claim.json"  # the machine with a later incarnation than the first
SPARE_NAME = "standby.json"  # how far a spare is that follows this journal
SITE_FOLDER = "site"
VERSION = 1
LARGEST_NOTE = 16 << 20  # of the files in JSON
AHEAD = timedelta(hours=1)  # the clocks of two machines may differ by this much

_FULL = re.compile(r"full-\d{8}T\d{6}\.\d{3}Z-\d{12}")
_PIECE = re.compile(r"(\d{12})-(\d{12})\.rows")
_STANDING = re.compile(r"(\d{6})-(\d{12})-([0-9a-f]{64})\.state")
_MAKING = "making-"
SHELF = "labrelay-"  # and the beginning of a journal's id


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The description of a full copy.

    Attributes:
        journal_id: of the journal, in hexadecimal digits.
        made_at: ISO 8601, when the copy was complete: rows received later are not in it.
        last_id, chain: the newest row in it, and its chain value.
        schema: of the journal.
        files: of the configuration -> SHA-256.
        left_out: files that hold a private key and are not in it.
        key: whether the key is beside it.
        incarnation, history, machine: of the journal (`engine.store.operations.incarnation`).
    """

    journal_id: str
    site: str
    made_at: str
    last_id: int
    chain: str
    schema: int
    bytes: int
    files: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    key: bool = False
    incarnation: int = 1
    history: str = ""
    machine: str = ""
    version: int = VERSION

    @property
    def of(self) -> Incarnation:
        return Incarnation(self.incarnation, self.history, self.machine, self.made_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyVerified:
    """The result of reading a copy back.

    Attributes:
        sha256: of its journal.db.
        findings: its problems; empty where it is whole.
    """

    at: str
    sha256: str
    rows: int
    seconds: float
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Increment:
    """Rows ``first`` to ``last``, by the name of their file."""

    path: Path
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """The state snapshot made when row ``last`` was the newest; the ``number``-th since the copy, by its file's
    name.
    """

    path: Path
    number: int
    last: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Copy:
    """A full copy that was completed."""

    path: Path
    manifest: Manifest
    verified: CopyVerified | None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_whole(self) -> bool:
        return self.verified is not None and not self.verified.findings

    @property
    def made_at(self) -> datetime:
        return datetime.fromisoformat(self.manifest.made_at)

    @property
    def incarnation(self) -> Incarnation:
        return self.manifest.of

    def pieces(self) -> list[Increment]:
        """Its pieces, in order."""
        found = (Increment(path, int(match[1]), int(match[2])) for path, match in self._files(_PIECE))
        return sorted(found, key=lambda piece: piece.first)

    def standings(self) -> list[StateSnapshot]:
        """Its state snapshots, in order."""
        found = (StateSnapshot(path, int(match[1]), int(match[2]), match[3]) for path, match in self._files(_STANDING))
        return sorted(found, key=lambda standing: standing.number)

    def _files(self, name: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
        return ((path, match) for path in self.path.iterdir() if (match := name.fullmatch(path.name)))

    def last_id(self) -> int:
        """The newest row in copy and pieces."""
        return max([self.manifest.last_id, *(piece.last for piece in self.pieces())])

    def rows_at(self) -> datetime:
        """The time up to which it has rows: when its newest piece was written, or the copy itself."""
        times = [datetime.fromtimestamp(piece.path.stat().st_mtime, UTC) for piece in self.pieces()]
        return max([self.made_at, *times])

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def may_grow(self) -> None:
        """Asked right before a name appears there, for a machine may have been frozen since it looked.

        Raises:
            OvertakenError: a later incarnation has claimed the folder. StoreError, OSError: that is not known.
        """
        folder = self.path.parent
        claimed = _claimed(folder, self.manifest.journal_id)
        if claimed is not None and self.incarnation.overtaken_by([claimed]) is not None:
            raise OvertakenError(f"{folder}: this journal goes on elsewhere, as {claimed}; it writes nothing there")


class Shelf:
    """The copies of one journal."""

    def __init__(self, folder: Path, journal_id: bytes) -> None:
        """
        Args:
            folder: as configured; it must exist.
        """
        self.root = folder
        self._journal_id = journal_id.hex()
        self.path = folder / f"{SHELF}{journal_id.hex()[:8]}"

    def open(self) -> None:
        """Create the journal's own folder.

        Raises:
            StoreError: the configured folder is missing or cannot be written.
        """
        if not self.root.is_dir():
            raise StoreError(f"{self.root}: the folder for copies is not there; mount it, or make it")
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be made: {error.strerror}") from error

    def copies(self) -> list[Copy]:
        """Every completed copy, newest first."""
        return copies(self.path)

    def newest(self, *, whole: bool = False, of: Incarnation | None = None) -> Copy | None:
        return next(
            (one for one in self.copies() if (one.is_whole or not whole) and of in (None, one.incarnation)), None
        )

    def refused(self, own: Incarnation) -> StoreError | None:
        """Why a machine with the incarnation ``own`` writes nothing here; None where it may.

        Raises:
            StoreError: it is not known who has written here.
        """
        others = [one for one in self.written_by() if one != own]
        if (later := own.overtaken_by(others)) is not None:
            return OvertakenError(
                f"{self.path}: this journal goes on elsewhere, as {later}; here is {own}, and it writes nothing there"
            )
        if not own.claims:
            return StoreError(f"{self.path}: copies wait, for this journal was restored")
        return None

    def written_by(self) -> list[Incarnation]:
        """As `incarnations`."""
        return incarnations(self.path, self._journal_id)

    def claimed_by(self) -> Incarnation | None:
        """The one that has claimed the folder; None without one.

        Raises:
            StoreError: this, or the folder, cannot be read.
        """
        try:
            os.listdir(self.path)
            return _claimed(self.path, self._journal_id)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{error.filename or self.path}: cannot be read: {error.strerror}") from error

    def claim(self, own: Incarnation, *, practice: bool = False) -> None:
        """Before anything is written here: note that the journal goes on as ``own``.

        Args:
            practice: the site's patients are invented.

        Raises:
            OvertakenError: it goes on elsewhere.
            RefusedError: this site is for practice, and another incarnation has written here.
            StoreError: no person has said that it goes on here; or this cannot be read or noted.
        """
        try:  # read first: where a later one comes in between, its note stays
            claimed = self.claimed_by() if own.number > 1 else own
            if (refused := self.refused(own)) is not None:
                raise type(refused)(f"{refused}. {GO_ON}")
            if practice and any(one != own for one in self.written_by()):
                raise self._is_anothers()
            if claimed != own:
                at = datetime.now(UTC).isoformat(timespec="seconds")
                write_json(self.path / CLAIM_NAME, {**asdict(replace(own, at=at)), "journal_id": self._journal_id})
        except OSError as error:
            raise StoreError(f"{error.filename or self.path}: cannot be used: {error.strerror}") from error

    def before(self, *, practice: bool) -> list[Incarnation]:
        """Those that have written here, before a person says that the journal goes on on this machine.

        Args:
            practice: the site's patients are invented.

        Raises:
            RefusedError: a site for practice goes on in an empty folder only: it may be a clone of the one that wrote.
            StoreError: they are not known, or the configured folder is missing.
        """
        self.open()
        found = self.written_by()
        if practice and found:
            raise self._is_anothers()
        return found

    def _is_anothers(self) -> RefusedError:
        return RefusedError(
            f"{self.path}: has copies already, and this site is for practice: name another folder for its "
            "copies (backup: {folder: ...})"
        )

    def begin(self) -> Path:
        """As `begin`."""
        return begin(self.path)

    def finish(self, making: Path, manifest: Manifest) -> Copy:
        """Rename a copy to its final name, durable."""
        write_json(making / MANIFEST_NAME, asdict(manifest))
        sync_folder(making)
        at = datetime.fromisoformat(manifest.made_at)
        path = self.path / f"full-{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z-{manifest.last_id:012}"
        made = Copy(path, manifest, None)
        made.may_grow()
        making.rename(path)
        sync_folder(self.path)
        sync_way_to(self.path)
        return made

    def tidy(self, keep: int) -> list[str]:
        """Delete copies older than the newest ``keep`` whole ones; return their names. The only whole one stays."""
        gone: list[str] = []
        every = self.copies()
        whole = [at for at, copy in enumerate(every) if copy.is_whole]
        if whole:
            for copy in every[whole[: max(keep, 1)][-1] + 1 :]:
                (copy.path / MANIFEST_NAME).unlink(missing_ok=True)  # from here on it counts as no copy
                shutil.rmtree(copy.path, ignore_errors=True)
                gone.append(copy.name)
        return gone

    def drill(self) -> dict[str, Any]:
        """The result of the last restore test; empty without one, or where its file is damaged."""
        said = read_json(self.path / DRILL_NAME)
        try:
            _instant(said["at"])
        except (KeyError, TypeError, ValueError):
            return {}
        return said


def begin(path: Path) -> Path:
    """A folder to make a copy in, beside those in a journal's folder; leftovers of a crash are removed."""
    for left in path.glob(_MAKING + "*"):
        shutil.rmtree(left, ignore_errors=True)
    making = path / f"{_MAKING}{os.getpid()}"
    making.mkdir(mode=0o700)
    return making


def names_copies(name: str) -> bool:
    """Whether a copy is found and chosen by this file or folder, below the folder of copies."""
    return name.startswith(SHELF) or notes_beside(name)


def notes_beside(name: str) -> bool:
    """As `names_copies`, below a journal's own folder."""
    return name in (MANIFEST_NAME, VERIFIED_NAME, CLAIM_NAME) or _FULL.fullmatch(name) is not None


def copies(path: Path) -> list[Copy]:
    """The copies in a journal's folder, newest first: those of the latest incarnation before all others."""
    found = []
    with suppress(OSError):
        for entry in path.iterdir():
            if _FULL.fullmatch(entry.name) and (copy := read_copy(entry)) is not None:
                found.append(copy)
    # A copy with a future time was made while the clock was wrong: it must not be the newest for years.
    soon = datetime.now(UTC) + AHEAD
    return sorted(
        found,
        key=lambda copy: (copy.manifest.incarnation, copy.made_at <= soon, copy.made_at, copy.manifest.last_id),
        reverse=True,
    )


def shelves(root: Path) -> Iterator[list[Copy]]:
    """As `copies`, of each journal that has some in a folder of copies; it may also be a journal's own folder."""
    return filter(None, map(copies, (root, *sorted(root.glob(f"{SHELF}*")))))


def incarnations(path: Path, journal_id: str) -> list[Incarnation]:
    """Those that have written in a journal's folder; what is of another journal there does not count.

    A manifest that cannot be read, on a bad sector, hides none: from the second incarnation on, each claims the folder
    before its first copy.

    Raises:
        StoreError: the folder, or the claim in it, cannot be read, so there may be others.
    """
    try:
        names = [name for name in os.listdir(path) if _FULL.fullmatch(name)]
        made = [_manifest(read_json(path / name / MANIFEST_NAME)) for name in names]
        claimed = _claimed(path, journal_id)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{error.filename or path}: cannot be read: {error.strerror}") from error
    wrote = [one.of for one in made if one is not None and one.journal_id == journal_id]
    return [*wrote, claimed] if claimed is not None else wrote


def _claimed(path: Path, journal_id: str) -> Incarnation | None:
    """Raises StoreError where the note is there and says nothing, and OSError."""
    place = path / CLAIM_NAME
    if (said := _read(place)) is None:
        return None
    try:
        if (of := said.get("journal_id", journal_id)) != journal_id:
            if len(bytes.fromhex(of)) * 2 != len(journal_id) or of[:8] != journal_id[:8]:  # none has this folder
                raise ValueError("journal_id")
            return None
        _instant(said["at"])
        return Incarnation.read(said["number"], said["history"], said["machine"], said["at"])
    except (KeyError, TypeError, ValueError):
        raise StoreError(f"{place}: is damaged; where no other machine goes on with this journal, delete it") from None


def read_copy(path: Path) -> Copy | None:
    """Read a full copy by its folder; None where it is none or was not completed.

    With an unreadable manifest it is no copy; with an unreadable note of verification it counts as unverified.
    """
    manifest = _manifest(read_json(path / MANIFEST_NAME))
    if manifest is None:
        return None
    checked = read_json(path / VERIFIED_NAME)
    verified = None
    with suppress(KeyError, TypeError):
        verified = CopyVerified(**{**checked, "findings": tuple(checked["findings"])})
    return Copy(path, manifest, verified)


def _manifest(said: dict[str, Any]) -> Manifest | None:
    try:
        manifest = Manifest(**{**said, "left_out": tuple(said["left_out"])})
        _instant(manifest.made_at)
        bytes.fromhex(manifest.chain)
        if not all(isinstance(number, int) for number in (manifest.last_id, manifest.bytes, manifest.schema)):
            return None
        if not all(isinstance(part, str) for row in manifest.files.items() for part in row):
            return None
        Incarnation.read(manifest.incarnation, manifest.history, manifest.machine, manifest.made_at)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return manifest


def _instant(text: str) -> datetime:
    """Parse an instant as it is written here.

    Raises:
        ValueError, TypeError: it is none, or has no time zone.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found


def read_json(path: Path) -> dict[str, Any]:
    try:
        return _read(path) or {}
    except (OSError, StoreError):
        return {}


def _read(path: Path) -> dict[str, Any] | None:
    """As `read_json`; None where there is no file.

    Raises:
        OSError, StoreError: it cannot be read, or is a link or no file: a pipe would keep the reader for good.
    """
    try:
        with open_below(path.parent, path.name) as file:
            said = orjson.loads(file.read(LARGEST_NOTE))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a small file, durable."""
    with write_atomically(path, path.with_name(path.name + ".new")) as new:
        new.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
