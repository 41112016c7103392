"""Messages to try: files of folders, the channel's own first. Names only; a file is read when it is chosen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_SAMPLES = 1000
MAX_SAMPLE_BYTES = 16 * 1024 * 1024
# Files beside samples that are none.
_NO_SAMPLES = frozenset({".json", ".md", ".py", ".pyc", ".tsv", ".yaml", ".yml", ".csv"})


@dataclass(frozen=True, slots=True)
class Samples:
    """Folders with messages; a sample is named by its folder's number and its place in it (``0/xn/01.astm``)."""

    folders: tuple[Path, ...]

    def names(self) -> list[tuple[str, str]]:
        """Each sample's name, and its label for people: with the name of its folder, where there are several."""
        found: list[tuple[str, str]] = []
        for number, folder in enumerate(self.folders):
            before = f"{folder.name}/" if len(self.folders) > 1 else ""
            for path in _files(folder):
                if len(found) == MAX_SAMPLES:
                    return found
                inner = path.relative_to(folder).as_posix()
                found.append((f"{number}/{inner}", before + inner))
        return found

    def read(self, name: str) -> bytes | None:
        """The bytes of a sample; None where there is none of that name."""
        number, _, inner = name.partition("/")
        wanted = Path(inner)
        if not number.isdecimal() or int(number) >= len(self.folders) or wanted.is_absolute():
            return None
        if any(part.startswith(".") for part in wanted.parts):  # ".." too: only listed files are read
            return None
        path = self.folders[int(number)] / wanted
        if not path.is_file() or path.suffix.lower() in _NO_SAMPLES or path.stat().st_size > MAX_SAMPLE_BYTES:
            return None
        return path.read_bytes()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() not in _NO_SAMPLES and path.is_file():
            yield path


def sample_folders(site: Path | None, channel: str, analyzer: str, given: Sequence[Path], ours: Path | None) -> Samples:
    """Where to look: the folders that were named, the channel's in the site, the analyzer's that ships."""
    found = list(given)
    if site is not None:
        found += [site / "samples" / name for name in (channel, analyzer) if name]
    if ours is not None and analyzer:
        found.append(ours / analyzer.replace("-", "_"))
    if not found and ours is not None and not channel:
        found.append(ours)
    return Samples(tuple(dict.fromkeys(folder for folder in found if folder.is_dir())))
