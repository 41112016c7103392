r"""The inputs that are kept: one file a target, one input a line, written so that a person can read it.

A byte that is no printable ASCII is written as ``\x0b``, ``\r`` or ``\n``. ``corpus/TARGET.txt`` is what a fuzzer made
of our own samples, cut down to what reaches different code; ``corpus/found/TARGET.txt`` is what once showed a fault
and is never dropped. Lines with ``#`` in front say which; an input that begins so has it escaped.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from tests.fuzz import abdm
from tests.support.astm_peer import cut_every, one_record_a_frame, session
from tests.support.mapping_texts import ASTM, HL7
from tests.support.sites import CHANNEL_YAML, MAPPING_YAML, SITE_YAML
from workbench.bench.messages import astm, oru

CORPUS = Path(__file__).parent / "corpus"
CHECKOUT = Path(__file__).parents[2]
PLAIN = b"\0\4"  # choices of a target: none of its options, chunks of five bytes


def as_line(data: bytes) -> str:
    line = data.decode("latin-1").encode("unicode_escape").decode("ascii")
    return "\\x23" + line[1:] if line.startswith("#") else line


def as_bytes(line: str) -> bytes:
    return line.encode("ascii").decode("unicode_escape").encode("latin-1")


def kept(target: str) -> list[bytes]:
    """What is kept for a target, faults first."""
    found: list[bytes] = []
    for file in (CORPUS / "found" / f"{target}.txt", CORPUS / f"{target}.txt"):
        if file.is_file():
            lines = file.read_text(encoding="ascii").splitlines()
            found += [as_bytes(line) for line in lines if line and not line.startswith("#")]
    return found


def keep(target: str, inputs: Iterable[bytes]) -> None:
    """Replace what is kept for a target, but for what showed a fault."""
    lines = sorted({as_line(data) for data in inputs}, key=lambda line: (len(line), line))
    (CORPUS / f"{target}.txt").write_text("".join(line + "\n" for line in lines if line), encoding="ascii")


def seeds(target: str) -> Iterator[bytes]:
    """Where a fuzzer may begin: our own samples, in the form that the target reads. No corpus, no real data."""
    import random

    hl7 = [HL7.replace("\n", "\r").encode(), oru(1, 1, random.Random(1), results=3), *_samples("*/*.hl7")]
    records = [ASTM.replace("\n", "\r").encode(), b"".join(astm(1, 1, random.Random(1)))[:1500], *_samples("*/*.astm")]
    match target:
        case "mllp":
            yield from (PLAIN + b"\x0b" + message[:900] + b"\x1c\r" for message in hl7)
        case "hl7":
            yield from (PLAIN + message for message in hl7)
            yield PLAIN + b"BHS|^~\\&|A|B\r" + hl7[0] + b"BTS|1\r"
        case "e1394":
            yield from (PLAIN + message for message in records)
        case "json":
            yield from _samples("*/0?-*.json")
            yield b'{"id": -1.50E+400, "items": [{"kind of": "a\\u0041\\n"}, [null, true, false, {}], ""]}'
        case "astm_link":
            for message, choice in itertools.product(records[:3], (b"\0", b"\1", b"\x40", b"\x80", b"\x2a")):
                yield choice + b"\4" + session(*one_record_a_frame(message[:800]))
                yield choice + b"\4" + session(*cut_every(message[:400], 60))
        case "yaml":
            for text in (CHANNEL_YAML, SITE_YAML, MAPPING_YAML, *_texts("channels/*.yaml")):
                yield PLAIN + text.encode()
        case "expression":
            yield from (text.encode() for text in _expressions())
        case "mapping":
            for text in _expressions():
                yield from (PLAIN + text.encode(), b"\1\0" + text.encode())
        case "abdm":
            yield from abdm.seeds()


def _samples(pattern: str) -> list[bytes]:
    return [file.read_bytes()[:3000] for file in sorted((CHECKOUT / "samples").glob(pattern))]


def _texts(pattern: str) -> list[str]:
    return [file.read_text(encoding="utf-8")[:3000] for file in sorted(CHECKOUT.glob(pattern))]


def _expressions() -> list[str]:
    """Every expression of the shipped mappings."""
    found: set[str] = set()
    for text in [file.read_text(encoding="utf-8") for file in sorted((CHECKOUT / "mappings").rglob("*.yaml"))]:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.ScalarEvent) and event.value.startswith("=") and len(event.value) < 200:
                found.add(event.value[1:])
    return sorted(found)
