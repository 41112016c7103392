"""Segments that stand where no structure expects them: kept, told of, and never the end of what follows.

Messages of every shipped mapping, and those of the corpus, with segments put in, moved, repeated and left out. Whatever
comes of one: nothing raises, every segment is in exactly one group, and every OBX is an Observation, or left out by a
rule that says so, or in a message that is dead with a reason that is not our own fault.
"""

from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.hl7v2.binding import GRAMMARS
from adapters.codecs.hl7v2.message import parse
from engine.mapping.fhir.validity import faults, load
from engine.mapping.shipped import SHIPPED, mapping_for
from engine.mapping.trying.testing import read_tests
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Group, Parsed, Segment
from engine.model.texts.reasons import ReasonCode
from tests.support.corpus import CorpusFile, corpus_files, payloads
from tests.support.examples import examples
from tests.support.fhir_check import resources
from tests.support.shipped import MAPPINGS, verdict_of

OPTIONS = FormatOptions(charsets=("utf-8", "cp1252"))
GIVEN = {"processing_ids": ["T", "D"], "tasks": "yes", "charset": OPTIONS.charsets}
OUR_FAULT = {ReasonCode.MAPPING_FAULT, ReasonCode.COUNT_MISMATCH}

# Segments as senders put them anywhere: of every structure, of no structure that we read, of a site's own.
STRAY = (
    *("PID|1||7^^^HOSP^MR||Rao^Asha", "PV1|1|I|MED||||||||||||||||V1", "PD1||||77", "NK1|1|Rao^Dev", "MRG|8^^^HOSP^MR"),
    *("ORC|RE|P1|F1", "ORC|NW|P9", "OBR|1|P1|F1|GLU^Glucose^L", "OBR||||K^Potassium^L", "TQ1|1||||||||S", "DG1|1||R07"),
    *(
        "OBX|1|NM|GLU^Glucose^L||5.1|mmol/L|||||F",
        "OBX|1|ED|PDF^R^L||^AP^PDF^Base64^JVBERi0xLjQ=||||||F",
        "OBX",
        "OBX|",
    ),
    *(
        "OBX|2|CE|COL^Color^L||^^||||||F",
        "OBX|3|NM|RAW^Raw^L^S_RAW||3",
        "OBX|4|ST|||x",
        "NTE|1||a note",
        "FT1|1",
        "CTI|A",
    ),
    *(
        "SPM|1|S1||SER",
        "SPM|2|S2||SER|||||||Q",
        "SAC|||T1",
        "INV|R|OK",
        "TCD|GLU",
        "SID|GLU|L1",
        "TXA|1|LR|||||||||||D1",
    ),
    *(
        "MSA|AA|1",
        "ERR||OBR^1",
        "EVN|A01|20260301",
        "DSC|1",
        "SFT|ACME",
        "AL1|1",
        "IN1|1",
        "GT1|1",
        "ACC|2026",
        "BLG|A",
    ),
    *("RXA|0|1", "QPD|Q|1", "PEX|1", "ABC", "A1B|x|y", "ZPI|1|site", "ZLR|1|A7", "Z01", "BTS|1", "FHS|^~\\&"),
)


@cache
def messages(name: str) -> tuple[bytes, ...]:
    """The messages that the tests of a shipped mapping are about."""
    found = []
    for path in sorted((MAPPINGS / "tests").glob("*.yaml")):
        found += [test.given.strip().replace(b"\n", b"\r") for test in read_tests(path) if test.mapping == name]
    return tuple(found)


def look_at(payload: bytes, mapping: str) -> None:
    """Map a message and see that nothing of it is lost."""
    parsed = parse(payload, OPTIONS)
    _every_segment_is_bound_once(parsed)
    _what_is_out_of_place_is_named(parsed)
    verdict, mapped = verdict_of(payload, "hl7v2", GIVEN, mapping=mapping)
    told = f"{verdict.reason} {verdict.detail}\n{payload.decode('latin-1').replace(chr(13), chr(10))}"
    assert verdict.reason not in OUR_FAULT, told
    if verdict.state == "dead":
        assert verdict.reason is not None
        assert verdict.detail, told
        return
    results = sum(segment.name == "OBX" for segment in parsed.segments)
    assert mapped is not None
    counts = dict(mapped.counts)
    assert counts.pop("results_in") == results, told
    assert sum(counts.values()) == results, told
    made = 0
    for document, _route in verdict.documents:
        assert not list(faults(document.body)), told
        made += len(resources(load(document.body), "Observation"))
    assert made == counts["observations"], told


def _every_segment_is_bound_once(parsed: Parsed) -> None:
    found: list[Segment] = []
    waiting: list[Group] = [parsed.root]
    while waiting:
        group = waiting.pop()
        for named in group.segments.values():
            found += named
        for groups in group.groups.values():
            waiting += groups
    assert sorted(segment.position for segment in found) == [segment.position for segment in parsed.segments]


def _what_is_out_of_place_is_named(parsed: Parsed) -> None:
    grammar = GRAMMARS.get(parsed.structure)
    if grammar is None:
        return
    known = frozenset().union(*(group.segments for group in grammar.walk()))
    strange = {segment.name for segment in parsed.segments if segment.name not in known and segment.name[0] != "Z"}
    places = {issue.place for issue in parsed.warnings if issue.code == "UNEXPECTED_SEGMENT"}
    assert {place.partition("[")[0] for place in places} == strange
    standing = {f"{segment.name}[{segment.ordinal}]" for segment in parsed.segments}
    assert places <= standing
    assert {issue.place for issue in parsed.warnings if issue.code == "MISPLACED_SEGMENT"} <= standing


def changed(payload: bytes, edits: list[tuple[int, int, int]]) -> bytes:
    """The message with segments put in, moved, repeated or left out; MSH stays the first."""
    lines = [line for line in payload.split(b"\r") if line.strip()]
    for kind, one, other in edits:
        at = 1 + one % max(1, len(lines))
        to = 1 + other % max(1, len(lines))
        if kind % 4 == 0 or at >= len(lines):
            lines.insert(to, STRAY[one % len(STRAY)].encode())
        elif kind % 4 == 1:
            lines.insert(to, lines.pop(at))
        elif kind % 4 == 2:
            lines.insert(to, lines[at])
        else:
            del lines[at]
    return b"\r".join(lines) + b"\r"


numbers = st.integers(0, 10_000)
edits = st.lists(st.tuples(st.integers(0, 3), numbers, numbers), min_size=1, max_size=8)


@pytest.mark.parametrize("name", [*SHIPPED["hl7v2"], "abdm-report"])
def test_messages_of_the_tests(name: str) -> None:
    @settings(max_examples=examples(250))
    @given(numbers, edits)
    def run(which: int, changes: list[tuple[int, int, int]]) -> None:
        whole = messages(name)
        look_at(changed(whole[which % len(whole)], changes), name)

    run()


FILES = [file for file in corpus_files() if file.format == "hl7v2"]


@pytest.mark.corpus
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_messages_of_the_corpus(file: CorpusFile) -> None:
    random = Random(file.name)
    for payload in payloads(file)[:4]:
        if len(payload) > 20_000:
            continue
        try:
            mapping = mapping_for(parse(payload, OPTIONS))
        except ContentError:
            continue
        if not mapping:
            continue
        whole = payload.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        for count in (1, 4):
            some = [(random.randrange(4), random.randrange(10_001), random.randrange(10_001)) for _ in range(count)]
            look_at(changed(whole, some), mapping)
