"""The messages of `samples/`: files of our own, for tests that take those of the corpus, too."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "samples"
FORMATS = {".hl7": "hl7v2", ".astm": "astm", ".txt": "text"}


@dataclass(frozen=True)
class SampleFile:
    """A message, with the attributes of a `tests.support.corpus.CorpusFile`."""

    path: Path

    @property
    def folder(self) -> str:
        """As a pack is named."""
        return self.path.parent.name.replace("_", "-")

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def format(self) -> str:
        return FORMATS[self.path.suffix]


def sample_files(*formats: str) -> list[SampleFile]:
    """Those of the formats; none named: of HL7 v2 and ASTM, which need no layout."""
    wanted = formats or ("hl7v2", "astm")
    return [SampleFile(path) for path in sorted(FOLDER.glob("*/*")) if FORMATS.get(path.suffix) in wanted]
