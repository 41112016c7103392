"""The corpus of HL7 v2 messages beside the repository, and a splitter of its own: an oracle shares no code with us."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
ABSENT = f"the corpus of real messages is not beside the repository ({CORPUS.name})"

ANY_EOL = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class CorpusFile:
    """One file and the facts that its index states."""

    path: Path
    facts: dict[str, str]

    @property
    def name(self) -> str:
        return self.path.name

    def content(self) -> bytes:
        """The bytes, without MLLP framing where the file was captured with it."""
        return (
            self.path.read_bytes().removeprefix(b"\x0b").removesuffix(b"\n").removesuffix(b"\r").removesuffix(b"\x1c")
        )

    def lines(self) -> list[bytes]:
        """The non-empty lines, without a byte order mark."""
        return [line for line in ANY_EOL.split(self.content().removeprefix(b"\xef\xbb\xbf")) if line.strip()]


def hl7_files() -> list[CorpusFile]:
    """Files of `corpus/hl7`; their facts are counts and fields of the first message."""
    files = []
    for row in _index("hl7"):
        facts = (fact.partition("=") for fact in _split_facts(row["expected_facts"]))
        files.append(CorpusFile(CORPUS / "hl7" / row["file"], {key: value for key, _, value in facts}))
    return files


def analyzer_files() -> list[CorpusFile]:
    """Files of `corpus/hl7-analyzers`; their facts are the columns of the index."""
    return [CorpusFile(CORPUS / "hl7-analyzers" / row["file"], dict(row)) for row in _index("hl7-analyzers")]


def _index(folder: str) -> list[dict[str, str]]:
    path = CORPUS / folder / "INDEX.tsv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _split_facts(text: str) -> list[str]:
    """Facts are separated by ``; `` before the next key: a value may hold a semicolon."""
    return re.split(r"; (?=[a-z][a-z0-9_.]*=)", text)
