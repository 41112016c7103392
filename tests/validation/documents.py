"""Every document that the shipped mappings and packs make of the messages that are at hand.

Of four places: the corpus beside the repository (each message by the mapping of its type, with numbers that restart and
with unique ones, and once more by the pack of the analyzer that it is evidence of), `samples/`, `tests/golden/own`, and
the tests in `mappings/tests/`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.config.pack import packs
from engine.mapping.program import Program
from engine.mapping.trying.testing import Runner, read_tests
from engine.model.message import MapContext, Mapped, Parsed
from tests.documents.test_corpus_mapping import SETTINGS
from tests.documents.test_samples import MESSAGES, SAMPLES
from tests.documents.test_samples import run as run_sample
from tests.support.corpus import corpus_files, payloads
from tests.support.packs import CORPUS_FILES, channel_of, judged, payloads_of
from tests.support.shipped import ANALYZERS, MAPPINGS, verdict_of

GOLDEN = Path(__file__).parents[1] / "golden" / "own"
# What a channel that is sent everything would say: the mapping by the first component of MSH-9.
BY_TYPE = {
    "ORU": "hl7-results",
    "OUL": "hl7-oul-results",
    "ORM": "hl7-orders",
    "OML": "hl7-orders",
    "ORR": "hl7-order-answers",
    "ORL": "hl7-order-answers",
    "ADT": "hl7-patients",
    "MDM": "hl7-documents",
}


@dataclass(frozen=True, slots=True)
class Made:
    """One document.

    Attributes:
        source: where its message stands, by folder, file and number.
    """

    source: str
    body: bytes


def message_type(payload: bytes) -> str:
    """MSH-9.1 by a plain look at the bytes, independent of the codecs; empty where there is none."""
    head = payload.lstrip(b"\xef\xbb\xbf").split(b"\r")[0].split(b"\n")[0]
    fields = head.split(head[3:4] or b"|")
    parts = fields[8].split(head[4:5] or b"^") if len(fields) > 8 else [b""]
    return parts[0].decode("latin-1")


def mapping_of(payload: bytes, message_format: str) -> str:
    """The shipped mapping for a message; empty where there is none."""
    return "astm-results" if message_format == "astm" else BY_TYPE.get(message_type(payload), "")


@dataclass
class Documents:
    """All documents, and what became of the messages that gave none.

    Attributes:
        without: reason -> messages of a type that a mapping takes.
        not_taken: message type -> messages that no mapping takes.
    """

    made: list[Made] = field(default_factory=list)
    without: dict[str, list[str]] = field(default_factory=dict)
    not_taken: dict[str, int] = field(default_factory=dict)

    def add(self, source: str, bodies: list[bytes], reason: str) -> None:
        self.made += [Made(source, body) for body in bodies]
        if not bodies:
            self.without.setdefault(reason, []).append(source)


def everything() -> Documents:
    """The documents of all places; where the corpus is absent, of the others."""
    documents = Documents()
    _of_corpus(documents)
    _of_packs(documents)
    _of_samples(documents)
    _of_golden(documents)
    _of_tests(documents)
    return documents


def _of_corpus(documents: Documents) -> None:
    for file in corpus_files():
        for number, payload in enumerate(payloads(file), 1):
            source = f"{file.folder}/{file.name} {number}"
            settings = {"processing_ids": ["T", "D"], "tasks": "yes", **SETTINGS.get(file.name, {})}
            name = mapping_of(payload, file.format)
            if not name:
                kind = message_type(payload) or "none"
                documents.not_taken[kind] = documents.not_taken.get(kind, 0) + 1
                continue
            for numbers in ("restart", "unique"):
                verdict, _ = verdict_of(payload, file.format, settings, mapping=name, specimen_ids=numbers)
                bodies = [document.body for document, _ in verdict.documents]
                reason = verdict.reason.value if verdict.reason else verdict.state
                documents.add(f"{source} ({numbers})", bodies, reason)


def _of_packs(documents: Documents) -> None:
    for pack in packs():
        built = channel_of(pack.name)
        for seen in pack.config.seen:
            if seen.file not in CORPUS_FILES:
                continue
            data = CORPUS_FILES[seen.file].path.read_bytes()
            for number, payload in enumerate(payloads_of(built, data), 1):
                told = judged(built, payload)
                bodies = [document.body for document, _ in told.verdict.documents]
                documents.add(f"{seen.file} {number} by {pack.name}", bodies, told.outcome)


def _of_samples(documents: Documents) -> None:
    for path in MESSAGES:
        name = str(path.relative_to(SAMPLES))
        verdict, _ = run_sample(name)
        bodies = [document.body for document, _ in verdict.documents]
        documents.add(f"samples/{name}", bodies, verdict.reason.value if verdict.reason else verdict.state)


def _of_golden(documents: Documents) -> None:
    for path in sorted(GOLDEN.iterdir()):
        if path.suffix in {".hl7", ".astm"}:
            payload, message_format = path.read_bytes(), "astm" if path.suffix == ".astm" else "hl7v2"
            verdict, _ = verdict_of(
                payload, message_format, {"tasks": "yes"}, mapping=mapping_of(payload, message_format)
            )
            bodies = [document.body for document, _ in verdict.documents]
            documents.add(f"golden/{path.name}", bodies, verdict.reason.value if verdict.reason else verdict.state)


@dataclass
class _Keeping(Runner):
    """A runner that keeps what the mapping gave."""

    kept: list[Mapped] = field(default_factory=list)

    def _apply(self, program: Program, parsed: Parsed, context: MapContext) -> Mapped:
        mapped = super()._apply(program, parsed, context)
        self.kept.append(mapped)
        return mapped


def _of_tests(documents: Documents) -> None:
    documents.made += _made_by_tests()


def _made_by_tests() -> Iterator[Made]:
    runner = _Keeping()  # of all: it compiles each mapping once
    for path in sorted((MAPPINGS / "tests").glob("*.yaml")):
        for test in read_tests(path):
            runner.kept.clear()
            runner.run(test, (MAPPINGS, ANALYZERS))
            for mapped in runner.kept:
                for document in mapped.documents:
                    if document.body.startswith(b'{"resourceType"'):
                        yield Made(f"{path.relative_to(MAPPINGS.parent)} '{test.name}'", document.body)
