"""Samples and every file of the corpus: against two other parsers, python-hl7 and hl7apy; the corpus also against its
index.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from adapters.codecs.hl7v2.acknowledgement import acknowledge, read_ack
from adapters.codecs.hl7v2.header import header, read_msh
from adapters.codecs.hl7v2.message import parse, split, unescape
from adapters.codecs.hl7v2.mllp import MllpLink
from adapters.codecs.hl7v2.text import components, repetitions, subcomponents
from engine.model.errors import ContentError
from engine.model.link_events import Block
from engine.model.message import FormatOptions, Group, Parsed, Segment
from engine.model.texts.reasons import ReasonCode
from tests.support.corpus import CorpusFile, corpus_files, own_and_captured

HL7 = [file for file in corpus_files() if file.folder == "hl7"]
ANALYZERS = [file for file in corpus_files() if file.folder == "hl7-analyzers"]

each_message = pytest.mark.parametrize("file", own_and_captured("hl7", "hl7-analyzers"), ids=lambda file: file.name)
OPTIONS = FormatOptions(charsets=("utf-8", "cp1252"))

# (file, number of the message in it) -> why it cannot be read. Everything else can.
UNREADABLE = {
    ("cdcdex__Hepatitis_V1_0_1_TM_TC02_HEP_B_ACUTE_MOD.hl7", 0): "MSH-10",  # cut down to a few fields
    ("cdcdex__PHLIP_FLU_2.5.1_NO_MSH10.txt", 0): "MSH-10",
    ("nhapi__OML_O21_messages.txt", 4): "MSH-10",
    ("nhapi__OML_O21_messages.txt", 6): "MSH-10",
    ("cdcdex__Lyme_WithBadDelimiters.txt", 0): "MSH-2",
    ("nhapi__bad_HL7Exception_id_000064", 0): "MSH-2",
    ("nhapi__bad_HL7Exception_id_000087", 0): "MSH-2",
    ("nhapi__bad_HL7Exception_id_000119", 0): "MSH-2",
    ("nhapi__bad_HL7Exception_id_000123", 0): "MSH-2",
    ("nhapi__bad_HL7Exception_so5", 0): "MSH-2",
    ("nhapi__bad_NoException_id_000168", 0): "MSH-2",
    ("nhapi__bad_HL7Exception_id_000092", 0): "MSH-18",
    ("own__charset_declared_wrong.hl7", 0): "MSH-18",
    ("nhapi__bad_NoException_id_000109", 0): "",  # a line that starts no segment
}


def content_of(file: CorpusFile) -> bytes:
    """The bytes, without MLLP framing where the file was captured with it; by no code of ours."""
    return file.path.read_bytes().removeprefix(b"\x0b").removesuffix(b"\n").removesuffix(b"\r").removesuffix(b"\x1c")


def lines_of(file: CorpusFile) -> list[bytes]:
    """The non-empty lines, without a byte order mark."""
    return [line for line in re.split(rb"\r\n|\r|\n", content_of(file).removeprefix(b"\xef\xbb\xbf")) if line.strip()]


def messages(file: CorpusFile) -> Iterator[tuple[int, bytes, Parsed]]:
    """The readable messages of a file, with their number in it."""
    for number, payload in enumerate(split(content_of(file))):
        if (file.name, number) not in UNREADABLE:
            yield number, payload, parse(payload, OPTIONS)


def field(segment: Segment | None, number: int) -> str:
    return segment.fields[number] if segment is not None and number < len(segment.fields) else ""


def first(parsed: Parsed, name: str) -> Segment | None:
    return next((segment for segment in parsed.segments if segment.name == name), None)


def in_tree(group: Group) -> Iterator[Segment]:
    for named in group.segments.values():
        yield from named
    for groups in group.groups.values():
        for inner in groups:
            yield from in_tree(inner)


@each_message
def test_each_message_is_read_or_refused_for_the_known_reason(file: CorpusFile) -> None:
    for number, payload in enumerate(split(content_of(file))):
        place = UNREADABLE.get((file.name, number))
        if place is None:
            parsed = parse(payload, OPTIONS)
            assert [s.position for s in sorted(in_tree(parsed.root), key=lambda s: s.position)] == [
                segment.position for segment in parsed.segments
            ]
        else:
            with pytest.raises(ContentError) as caught:
                parse(payload, OPTIONS)
            assert caught.value.place == place
            assert caught.value.reason in (ReasonCode.UNREADABLE, ReasonCode.UNKNOWN_CHARSET)


@pytest.mark.corpus
@pytest.mark.parametrize("file", HL7, ids=lambda file: file.name)
def test_the_facts_of_the_index(file: CorpusFile) -> None:
    facts = file.facts
    parts = split(content_of(file))
    assert len(parts) == int(facts["msh"])
    msh = read_msh(parts[0])
    assert msh.fields[0][:3] == "MSH"
    line = re.split(rb"[\r\n]", parts[0].lstrip(b"\xef\xbb\xbf"), maxsplit=1)[0].decode("latin-1")
    assert line[3:4] == facts["msh1"]
    if "msh2" in facts and "\ufffd" not in facts["msh2"]:
        assert [*line.split(line[3:4]), ""][1] == facts["msh2"]
    if not msh.problem or msh.problem.startswith("MSH-10"):
        for key, number in (("msh9", 9), ("msh10", 10), ("msh12", 12), ("msh15", 15), ("msh16", 16), ("msh18", 18)):
            assert msh.field(number) == facts.get(key, ""), key
        assert header(parts[0]).control_id == facts["msh10"]
    read = [parsed for _, _, parsed in messages(file)]
    if len(read) < len(parts):
        return  # counts are over the whole file
    seen = Counter(segment.name for parsed in read for segment in parsed.segments)
    for name in ("PID", "PV1", "ORC", "OBR", "OBX", "NTE", "SPM", "SAC", "MRG"):
        assert seen[name] == int(facts.get(name.lower(), 0)), name
    envelopes = sum(line[:3] in (b"FHS", b"BHS", b"BTS", b"FTS") for line in lines_of(file))
    assert sum(seen.values()) + envelopes == int(facts["segments"])
    pid, obx = first(read[0], "PID"), first(read[0], "OBX")
    delimiters = read[0].delimiters
    if "pid3" in facts:
        assert field(pid, 3) == facts["pid3"]
        assert len(repetitions(field(pid, 3), delimiters)) == int(facts["pid3_reps"])
        assert components(repetitions(field(pid, 5), delimiters)[0], delimiters)[0] == facts["pid5.1"]
        assert field(pid, 7) == facts["pid7"]
        assert field(pid, 8) == facts["pid8"]
    for key, value in facts.items():
        if key.startswith("obx1."):
            assert field(obx, int(key[5:]))[:60].strip() == value[:60].strip(), key
    if "obx_types" in facts:
        types = {field(segment, 2) for segment in read[0].segments if segment.name == "OBX"}
        assert types - {""} == set(facts["obx_types"].split(","))


@pytest.mark.corpus
@pytest.mark.parametrize("file", ANALYZERS, ids=lambda file: file.name)
def test_the_columns_of_the_analyzers_index(file: CorpusFile) -> None:
    facts = file.facts
    read = [parsed for _, _, parsed in messages(file)]
    assert len(read) == int(facts["messages"])
    seen = Counter(segment.name for parsed in read for segment in parsed.segments)
    for name in ("PID", "OBR", "OBX"):
        assert seen[name] == int(facts[name]), name
    head = read[0].segments[0]
    assert field(head, 9) == facts["type"]
    assert field(head, 12) == facts["version"]
    assert [issue for parsed in read for issue in parsed.warnings] == []
    if facts["sample_result"].startswith("OBX-3="):
        code = re.split(r"[\^& ]", facts["sample_result"].removeprefix("OBX-3="), maxsplit=1)[0]
        assert code in {first_part(segment, 3) for p in read for segment in p.segments if segment.name == "OBX"}


@each_message
def test_each_message_passes_the_link_and_is_acknowledged(file: CorpusFile) -> None:
    link = MllpLink()
    content = content_of(file)
    if not {0x0B, 0x1C} & set(content):
        assert link.receive(link.wrap(content), 0.0) == [Block(content)]
    for payload in split(content):
        reply = acknowledge(payload, now_text="20260301101530+0000", control_id="LR1", ack_code="aa")
        if header(payload).message_type.startswith("ACK"):
            assert reply is None
            continue
        assert reply is not None
        found, problem = read_ack(reply), header(payload).problem
        assert found.code == ("AR" if problem else "AA")
        if not problem:
            assert found.control_id == read_msh(payload).field(10).strip()


@pytest.mark.corpus
def test_the_charsets_of_our_own_files() -> None:
    names = {}
    for file in HL7:
        if file.name.startswith("own__charset") and (file.name, 0) not in UNREADABLE:
            _, _, parsed = next(messages(file))
            names[file.name] = (parsed.charset, components(field(first(parsed, "PID"), 5), parsed.delimiters)[0])
            flagged = [issue.code for issue in parsed.warnings]
            assert flagged == (["CHARSET_FALLBACK"] if "undeclared" in file.name else [])
    assert names == {
        "own__charset_8859-1.hl7": ("iso8859-1", "Müller"),
        "own__charset_gb18030.hl7": ("gb18030", "王"),
        "own__charset_koi_8859-5.hl7": ("iso8859-5", "Иванов"),
        "own__charset_undeclared_cp1252.hl7": ("cp1252", "Müller"),
        "own__charset_utf8.hl7": ("utf-8", "शर्मा"),
    }


@pytest.mark.corpus
def test_the_escapes_of_our_own_file() -> None:
    (file,) = [file for file in HL7 if file.name == "own__escape_torture.hl7"]
    _, _, parsed = next(messages(file))

    def value(name: str, number: int, component: int = 1, ordinal: int = 1) -> str:
        (segment,) = [s for s in parsed.segments if (s.name, s.ordinal) == (name, ordinal)]
        return unescape(components(segment.fields[number], parsed.delimiters)[component - 1], parsed.delimiters)

    assert value("PID", 5) == "Smith^Jones"
    assert value("PID", 5, 2) == "A&B"
    assert value("PID", 11, 3) == "5 | 6"
    assert value("OBX", 5, ordinal=2) == "a\\b AB\n \nline2 bold ~ \\Zabc\\ unterminated \\ x"
    assert value("NTE", 3) == "tail\\"


# -- other parsers -----------------------------------------------------------------------------------------------


def as_others_want(parsed: Parsed, payload: bytes) -> str:
    """The message's text with CR line ends, no mark and no empty lines, by other means than ours."""
    text = payload.decode(parsed.charset).removeprefix("\ufeff")
    return "".join(line + "\r" for line in re.split(r"\r\n|\r|\n", text) if line.strip())


@each_message
def test_python_hl7_reads_the_same_fields(file: CorpusFile) -> None:
    # No accepted difference: every field of every readable message is the same text.
    for _, payload, parsed in messages(file):
        theirs = hl7.parse(as_others_want(parsed, payload))
        assert [str(segment[0]) for segment in theirs] == [segment.name for segment in parsed.segments]
        for ours, other in zip(parsed.segments, theirs, strict=True):
            assert ours.fields == [str(part) for part in other], f"{ours.name}[{ours.ordinal}]"


# hl7apy refuses these messages; we read them, and say here why it is right to.
HL7APY_REFUSES = {
    "InvalidEncodingChars": "five encoding characters: v2.7's truncation character is sent with older versions too",
    "UnsupportedVersion": "a version that does not exist (2.3.z) or none: the version changes nothing in how we split",
    "InvalidName": "PRT came with v2.7; the message states v2.5.1",
}

# Segments that hl7apy does not write as they were, with what it changes. Ours are the sender's fields.
HL7APY_CHANGES = {
    ("gcp__adt_a01.hl7", "EVN"): "drops components that its version does not have",
    ("gcp__adt_a01_ex1.hl7", "EVN"): "moves EVN-1 behind EVN-7",
    ("gcp__adt_a01.hl7", "PID"): "moves the components of a name after those that its version does not have",
    ("gcp__adt_a01.hl7", "PD1"): "likewise, of an organization",
    ("gcp__adt_a01.hl7", "PV1"): "likewise, of persons",
    ("gcp__adt_a08_ex1.hl7", "NK1"): "reads a local number as NM and drops its zeros",
    ("gcp__adt_a08_ex1.hl7", "GT1"): "likewise",
    ("efferent__Sample-ORM.txt", "NTE"): r"escapes the escape character of \.br\ again",
    ("own__escape_torture.hl7", "OBX"): r"escapes the escape character of \X, \.br and \Z again",
}

# Files whose results hl7apy binds otherwise.
HL7APY_GROUPS = {"cdcdex__celr_ATVersion251.txt": "begins an order at PRT, which came with v2.7; here v2.5.1 is stated"}


@each_message
def test_hl7apy_reads_the_same_parts(file: CorpusFile) -> None:
    for _, payload, parsed in messages(file):
        theirs = read_by_hl7apy(as_others_want(parsed, payload), find_groups=False)
        if theirs is None:
            continue
        assert [segment.name for segment in theirs.children] == [segment.name for segment in parsed.segments]
        for ours, other in zip(parsed.segments[1:], theirs.children[1:], strict=True):
            if (file.name, ours.name) in HL7APY_CHANGES:
                continue
            known = known_fields(other)
            written = other.to_er7().split(parsed.delimiters.field)
            for number in range(1, min(known, len(ours.fields) - 1) + 1):
                text = written[number] if number < len(written) else ""
                assert parts(ours.fields[number], parsed) == parts(text, parsed), (
                    f"{ours.name}[{ours.ordinal}]-{number}"
                )


@each_message
def test_hl7apy_binds_results_to_the_same_orders(file: CorpusFile) -> None:
    for _, payload, parsed in messages(file):
        if parsed.message_type != "ORU^R01" or file.name in HL7APY_GROUPS or header(payload).version < "2.5":
            continue  # the groups of older versions have other names
        theirs = read_by_hl7apy(as_others_want(parsed, payload), find_groups=True)
        if theirs is None:
            continue
        assert our_orders(parsed) == their_orders(theirs)


def read_by_hl7apy(text: str, *, find_groups: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return parse_message(text, find_groups=find_groups, validation_level=VALIDATION_LEVEL.TOLERANT)
    except HL7apyException as error:
        if type(error).__name__ not in HL7APY_REFUSES:
            raise
        return None


def known_fields(segment: Any) -> int:
    """How many fields the message's version has: hl7apy puts later ones side by side, whatever their number."""
    return len(segment.structure_by_name or ()) or 99


def parts(text: str, parsed: Parsed) -> list[list[list[str]]]:
    """Repetitions, components, subcomponents; without empty ones at the end and outer blanks, which hl7apy drops."""
    split_up = [
        [subcomponents_of(component, parsed) for component in components(repetition, parsed.delimiters)]
        for repetition in repetitions(text, parsed.delimiters)
    ]
    return without_empty_end([without_empty_end(repetition) for repetition in split_up])


def subcomponents_of(component: str, parsed: Parsed) -> list[str]:
    return without_empty_end([part.strip() for part in subcomponents(component, parsed.delimiters)])


def without_empty_end(items: list[Any]) -> list[Any]:
    while items and not items[-1]:
        items.pop()
    return items


def our_orders(parsed: Parsed) -> list[tuple[str, list[tuple[str, int]]]]:
    """OBR-4, and of each result OBX-3 and the number of notes."""
    return [
        (
            first_part(order.segments.get("OBR", [None])[0], 4),
            [
                (first_part(observation.segments["OBX"][0], 3), len(observation.segments.get("NTE", [])))
                for observation in order.groups.get("OBSERVATION", [])
            ],
        )
        for patient in parsed.root.groups.get("PATIENT_RESULT", [])
        for order in patient.groups.get("ORDER_OBSERVATION", [])
    ]


def first_part(segment: Segment | None, number: int) -> str:
    return re.split(r"[\^&~]", field(segment, number), maxsplit=1)[0]


def their_orders(message: Any) -> list[tuple[str, list[tuple[str, int]]]]:
    return [
        (
            their_part(order, "OBR", 4),
            [
                (their_part(observation, "OBX", 3), len([c for c in observation.children if c.name == "NTE"]))
                for observation in groups(order, "OBSERVATION")
            ],
        )
        for patient in groups(message, "PATIENT_RESULT")
        for order in groups(patient, "ORDER_OBSERVATION")
    ]


def groups(parent: Any, name: str) -> list[Any]:
    return [child for child in parent.children if child.name.endswith("_" + name)]


def their_part(group: Any, name: str, number: int) -> str:
    for child in group.children:
        if child.name == name:
            fields = child.to_er7().split("|")
            return re.split(r"[\^&~]", fields[number], maxsplit=1)[0] if number < len(fields) else ""
    return ""
