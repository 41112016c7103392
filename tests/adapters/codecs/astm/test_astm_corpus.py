"""Real captures: what its index says of a file is what the codecs find in it."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.astm.capture import read_capture
from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.session import AstmOptions
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Parsed, Segment
from engine.model.texts.reasons import ReasonCode
from tests.support.astm_peer import ACK, ENQ, EOT, Line
from tests.support.corpus import CORPUS, corpus_files

ASTM = CORPUS / "astm"
pytestmark = pytest.mark.corpus


def index() -> list[dict[str, str]]:
    return [file.facts for file in corpus_files() if file.folder == "astm"]


NO_RECORDS = {"vidas-native", "printer-text"}
FILES = [row for row in index() if row["framing"] not in NO_RECORDS and row["kind"] != "synthetic"]
SYNTHETIC = [row for row in index() if row["kind"] == "synthetic" and row["file"] != "oe-malformed.astm"]
# The capture tool joined frames, numbered them anew or lost their line ends: no wire any more, says the index.
ON_THE_WIRE = [
    row
    for row in FILES
    if row["framing"] == "e1381"
    and row["cs_bad"] == "0"
    and "frame numbered" not in row["note"]
    and row["frames"] != "0"
]


def named(rows: list[dict[str, str]]) -> "pytest.MarkDecorator":
    return pytest.mark.parametrize("row", [pytest.param(row, id=row["file"]) for row in rows])


def content(row: dict[str, str]) -> bytes:
    return (ASTM / row["file"]).read_bytes()


def messages(row: dict[str, str]) -> list[Parsed]:
    return [astm_records.parse(text, FormatOptions()) for text in astm_records.text_of_capture(content(row))]


def facts(text: str) -> list[tuple[str, int, int, str]]:
    """``O.4.3=27 (padded)`` to [("O", 4, 3, "27")]; component 0 is the whole field."""
    found = re.findall(r"([A-Z])\.(\d+)(?:\.(\d+))?=(.*?)(?= [A-Z]\.\d|$)", text)
    return [(name, int(n), int(c or 0), re.sub(r" \([^)]*\)$", "", value).strip()) for name, n, c, value in found]


def value(segment: Segment, number: int, component: int, message: Parsed) -> str:
    field = segment.fields[number] if number < len(segment.fields) else ""
    if component:
        field = astm_records.components(field, message.delimiters)[component - 1]
    return field.strip()


@named(FILES + SYNTHETIC)
def test_records_are_those_of_the_index(row: dict[str, str]) -> None:
    names = Counter(segment.name for message in messages(row) for segment in message.segments)
    assert {name: names[name] for name in "HPORQCM"} == {name: int(row[name]) for name in "HPORQCM"}
    assert all(message.message_type == ("R" if row["R"] != "0" else "Q") for message in messages(row))


@named([row for row in index() if row["frames"] != "0" and row["framing"] == "e1381"])
def test_frames_and_checksums_are_those_of_the_index(row: dict[str, str]) -> None:
    capture = read_capture(content(row))
    found = (capture.frames, capture.continued, capture.right_sums, capture.wrong_sums)
    assert found == tuple(int(row[column]) for column in ("frames", "etb", "cs_ok", "cs_bad"))
    if row["cs_bad"] != "0":
        assert capture.repaired == capture.wrong_sums


@named([row for row in FILES + SYNTHETIC if facts(row["first_specimen"])])
def test_the_first_specimen_is_that_of_the_index(row: dict[str, str]) -> None:
    message = messages(row)[0]
    for name, number, component, expected in facts(row["first_specimen"]):
        segment = next(segment for segment in message.segments if segment.name == name)
        assert value(segment, number, component, message) == expected


@named([row for row in FILES + SYNTHETIC if facts(row["sample_result"])])
def test_the_sample_result_is_in_the_message(row: dict[str, str]) -> None:
    expected = facts(row["sample_result"])
    assert any(
        all(value(segment, number, component, message) == text for _, number, component, text in expected)
        for message in messages(row)
        for segment in message.segments
        if segment.name == "R"
    )


@named(FILES)
def test_every_result_hangs_in_an_order_of_a_patient(row: dict[str, str]) -> None:
    for message in messages(row):
        orders = [
            order for patient in message.root.groups.get("PATIENT", []) for order in patient.groups.get("ORDER", [])
        ]
        results = [result for order in orders for result in order.groups.get("RESULT", [])]
        assert len(results) == sum(segment.name == "R" for segment in message.segments)
        assert all(len(result.segments["R"]) == 1 for result in results)
        assert message.warnings == [] or {issue.code for issue in message.warnings} <= {"charset", "no-terminator"}


@named(ON_THE_WIRE)
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_the_link_takes_what_analyzers_put_on_the_wire(row: dict[str, str], size: int) -> None:
    data = content(row)
    line = Line(AstmReceiver(AstmOptions(frame_numbers=frame_numbers(row))))
    line.send(data if ENQ in data else ENQ + data + EOT, size)
    line.wait(1)
    found = [text.strip(b"\r\n") for text in astm_records.text_of_capture(data)]
    assert [text.rstrip(b"\r") for text in line.messages] == found
    assert line.incomplete == []
    assert line.answers.count(ACK) == int(row["frames"]) + line.ends.count("eot")


def frame_numbers(row: dict[str, str]) -> str:
    return "warn" if row["file"].startswith(("sysmex-xn550-qc", "horiba-yumizen")) else "strict"


@pytest.mark.parametrize("path", sorted(ASTM.glob("*.chunks.json")), ids=lambda path: path.name)
def test_the_chunks_that_a_serial_port_gave_make_one_message(path: Path) -> None:
    chunks = [bytes(chunk) for chunk in json.loads(path.read_text())]
    line = Line(AstmReceiver())
    for chunk in chunks:
        line.send(chunk)
    whole = Line(AstmReceiver())
    whole.send(b"".join(chunks))
    assert line.events == whole.events
    assert len(line.messages) == 1
    assert line.messages == [text.strip(b"\n") for text in astm_records.text_of_capture(b"".join(chunks))]
    assert line.incomplete == []


@named([row for row in index() if row["framing"] in NO_RECORDS])
def test_what_is_no_astm_is_unreadable(row: dict[str, str]) -> None:
    with pytest.raises(ContentError) as caught:
        astm_records.text_of_capture(content(row))
    assert caught.value.reason is ReasonCode.UNREADABLE


def test_malformed_messages_are_refused_or_read_with_a_warning() -> None:
    outcome = []
    for text in astm_records.split((ASTM / "oe-malformed.astm").read_bytes()):
        try:
            message = astm_records.parse(text, FormatOptions())
        except ContentError as error:
            outcome.append(error.reason.value)
        else:
            names = "".join(segment.name for segment in message.segments)
            outcome.append(f"{names} {' '.join(issue.code for issue in message.warnings)}".strip())
    assert outcome == [
        "UNREADABLE",  # no header
        "HPXRL comment-line unknown-record",
        "UNREADABLE",  # no delimiters declared
        "HPRL comment-line",
        # A message cut off, noise, one without L and one with: they share its L.
        "HPORHPORRHPORRRL garbage comment-line several-headers",
        "HPL",
    ]


def test_several_results_and_their_text_survive_accents_in_any_charset() -> None:
    for name in ("latin1", "utf8"):
        (text,) = astm_records.text_of_capture((ASTM / f"cepheid-genexpert-french-{name}.astm").read_bytes())
        message = astm_records.parse(text, FormatOptions())
        result = next(segment for segment in message.segments if segment.name == "R")
        assert astm_records.components(result.fields[4], message.delimiters)[0] == "NON DÉTECTÉ"


def test_an_escaped_specimen_number_is_unescaped_once() -> None:
    (text,) = astm_records.text_of_capture((ASTM / "abbott-m2000-escape.astm").read_bytes())
    message = astm_records.parse(text, FormatOptions())
    order = next(segment for segment in message.segments if segment.name == "O")
    assert order.fields[3] == "DB&E&23-33E22"
    assert astm_records.unescape(order.fields[3], message.delimiters) == "DB&23-33E22"
