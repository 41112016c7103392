"""The corpus of real messages beside the repository: its files, what its index says of them, and their messages.

Files are as they were captured: with MLLP or E1381 framing, without, several messages in one. `payloads` gives what the
channel would hand to the journal.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.mapping.inputs import messages_in

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
FOLDERS = {"hl7": "hl7v2", "hl7-analyzers": "hl7v2", "astm": "astm"}


@dataclass(frozen=True)
class CorpusFile:
    """A file of the corpus; ``facts`` is its row of the index."""

    folder: str
    name: str
    facts: dict[str, str]

    @property
    def path(self) -> Path:
        return CORPUS / self.folder / self.name

    @property
    def format(self) -> str:
        return FOLDERS[self.folder]

    def number(self, column: str) -> int:
        return int(self.facts.get(column) or 0)


def corpus_files() -> list[CorpusFile]:
    """Every file of the three folders, as their indexes list them; empty where the corpus is absent."""
    found = []
    for folder in FOLDERS:
        index = CORPUS / folder / "INDEX.tsv"
        if index.is_file():
            with index.open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                    facts = dict(
                        part.split("=", 1) for part in row.pop("expected_facts", "").split("; ") if "=" in part
                    )
                    found.append(CorpusFile(folder, row["file"], {**row, **facts}))
    return found


needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of messages is not beside the repository")


def payloads(file: CorpusFile) -> list[bytes]:
    """The messages of a file, unframed and split, as `labrelay map` finds them."""
    return [found.payload for found in messages_in(file.path.read_bytes())]
