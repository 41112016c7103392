"""What lies beside the repository, and may be absent: a corpus of real messages, and a reference. No other module knows
where (`tests/test_nothing_outside.py`).

A test that reads them has the marker `corpus` or `reference`, and is skipped, with its reason, where they are absent.

Files of the corpus are as they were captured: with MLLP or E1381 framing, without, several messages in one. `payloads`
gives the messages that the channel would hand to the journal.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.samples import sample_files

BESIDE = Path(__file__).parents[2].parent / "shared"
CORPUS = BESIDE / "corpus"
REFERENCE = BESIDE / "reference"
PROFILES = REFERENCE / "nrces" / "ndhm.in-2.0.1"
FOLDERS = {"hl7": "hl7v2", "hl7-analyzers": "hl7v2", "astm": "astm"}
ABSENT = {  # marker -> why a test that has it is skipped
    marker: f"{what} is not beside the repository"
    for marker, folder, what in (
        ("corpus", CORPUS, "the corpus of real messages"),
        ("reference", PROFILES, "the reference (tables of codes, profiles of NRCeS)"),
    )
    if not folder.is_dir()
}


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


@cache
def field_faults() -> dict[str, Path]:
    """Files of inputs that were read wrongly once, by their names: messages of the field, each the smallest that shows
    its fault."""
    folder = CORPUS / "field3"
    return {file.name: file for file in sorted(folder.glob("*.*")) if file.suffix != ".tsv"} if folder.is_dir() else {}


@cache
def corpus_files() -> tuple[CorpusFile, ...]:
    """Every file of the three folders, as their indexes list them; empty where the corpus is absent."""
    found = []
    for folder in FOLDERS:
        index = CORPUS / folder / "INDEX.tsv"
        if index.is_file():
            with index.open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                    # A fact ends before the next key: its text may hold a semicolon.
                    facts = re.split(r"; (?=[a-z][a-z0-9_.]*=)", row.pop("expected_facts", ""))
                    stated = dict(fact.split("=", 1) for fact in facts if "=" in fact)
                    found.append(CorpusFile(folder, row["file"], {**row, **stated}))
    return tuple(found)


def own_and_captured(*folders: str) -> list[Any]:
    """Arguments of a test of each message: the samples, then files of the corpus; without it, one that is skipped.

    Args:
        folders: of the corpus; the samples are those of their formats. None: all.
    """
    wanted = folders or tuple(FOLDERS)
    captured = [file for file in corpus_files() if file.folder in wanted]
    return [
        *sample_files(*{FOLDERS[folder] for folder in wanted}),
        *(pytest.param(file, marks=pytest.mark.corpus, id=file.name) for file in captured),
        *(() if captured else [pytest.param(None, marks=pytest.mark.corpus, id="corpus")]),
    ]


def payloads(file: CorpusFile) -> list[bytes]:
    """The messages of a file, unframed and split, as `labrelay map` finds them."""
    from engine.mapping.trying.inputs import messages_in  # every run of tests reads this module

    return [found.payload for found in messages_in(file.path.read_bytes())]


def skip_what_is_absent(items: Iterable[pytest.Item]) -> None:
    """By a condition: an empty list of arguments, which skips too, then does not say the reason in its place."""
    corpus_files()  # kept: while a test without a marker is under way, it is not to be opened
    for item in items:
        for marker, reason in ABSENT.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skipif(condition=True, reason=reason))
