"""What OBX segments enclose: documents, pictures and data, told apart by their type or their first bytes."""

import base64
import struct
from pathlib import Path
from typing import Any

import pytest

from engine.mapping.functions import FUNCTIONS
from engine.mapping.message.message_context import MessageContext
from engine.model.message import Segment
from tests.support.mapping_texts import HL7, Workshop, apply, run_of

BITMAP = b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + bytes(44)


def _enclosed(line: str) -> tuple[MessageContext, Segment]:
    run = run_of(f"{HL7}{line}\n")
    return run, run.parsed.segments[-1]


def _ask(name: str, line: str) -> Any:
    run, segment = _enclosed(line)
    return FUNCTIONS[name].call(run, segment)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("ED", "^AP^PDF^Base64^JVBERi0xLjQK", "document"),
        ("ED", "^application^vnd.openxmlformats-officedocument.wordprocessingml.document^Base64^AA==", "document"),
        ("ED", "^TEXT^HTML^A^<p>x</p>", "document"),
        ("ED", "^multipart^related^A^x", "document"),
        ("ED", "^IM^JPEG^Base64^AA==", "picture"),
        ("ED", "^Image^BMP^Base64^AA==", "picture"),
        ("ED", "^audio^mpeg^Base64^AA==", "picture"),
        ("ED", "^Application^Octer-stream^Base64^AAEC", "data"),
        ("ED", f"^Application^Octer-stream^Base64^{_base64(BITMAP)}", "picture"),
        ("ED", f"^^^Base64^{_base64(b'%PDF-1.7 ')}", "document"),
        ("ED", f"^AP^^Base64^{_base64(b'GIF89a')}", "picture"),
        ("ED", f"^AP^^Hex^{b'II*'.hex()}00", "picture"),
        # Two letters are no bitmap: its header must tell its length.
        ("ED", f"^AP^^Base64^{_base64(b'BMI 23.4')}", "data"),
        ("ED", f"^AP^^Base64^{_base64(BITMAP + b' ')}", "data"),
        ("ED", "^application^zip^Base64^AA==", "data"),
        # What cannot be read is left to the report, which counts it.
        ("ED", "^AP^^Base64^!", "document"),
        ("ED", "only words", "document"),
        ("ED", "", "document"),
        ("RP", "https://x.example/a", "document"),
        ("RP", "https://x.example/a^^AP^PDF", "document"),
        ("RP", "https://x.example/a^^IM^JPG", "picture"),
        ("RP", "https://x.example/a^^AP^ZIP", "data"),
        ("NM", "5", None),
    ],
)
def test_what_it_is(kind: str, value: str, expected: str | None) -> None:
    assert _ask("enclosed_as", f"OBX|3|{kind}|X^Curve^L||{value}||||||F") == expected


def test_a_type_that_says_nothing_is_taken_from_the_first_bytes() -> None:
    made = _ask("enclosure", f"OBX|3|ED|X^Curve^L||^AP^^Base64^{_base64(BITMAP)}||||||F")
    assert (made["contentType"], made["title"]) == ("image/bmp", "Curve")


def test_a_type_that_is_declared_stays() -> None:
    made = _ask("enclosure", "OBX|3|ED|X||^IM^PNG^Base64^JVBERi0xLjQK||||||F")
    assert (made["contentType"], made["title"]) == ("image/png", "X")


def test_lines_that_base64_was_divided_into_are_joined() -> None:
    made = _ask("enclosure", r"OBX|3|ED|X||^AP^PDF^Base64^JVBE\.br\Ri0x\X0D0A\LjQK||||||F")
    assert base64.b64decode(made["data"]) == b"%PDF-1.4\n"


def test_a_text_with_the_delimiter_of_repetitions_is_one_document() -> None:
    made = _ask("enclosure", "OBX|3|ED|X||^TEXT^^A^one~two||||||F")
    assert base64.b64decode(made["data"]) == b"one~two"


def test_an_enclosure_is_counted_once_and_one_that_cannot_be_read_is_dropped() -> None:
    run, segment = _enclosed("OBX|3|ED|X||^IM^PNG^Hex^00~^IM^PNG^Hex^01||||||F")
    assert FUNCTIONS["enclosure"].call(run, segment)["data"] == "AA=="
    assert (run.attached, run.declared_drops, [issue.code for issue in run.issues]) == (1, 0, ["TOO_MANY"])
    run, segment = _enclosed("OBX|3|ED|X||^IM^PNG^Hex^0||||||F")
    assert FUNCTIONS["enclosure"].call(run, segment) is None
    assert (run.attached, run.declared_drops, len(run.accounted)) == (0, 1, 1)


def test_documents_leave_pictures_and_data_to_others() -> None:
    run = run_of(
        HL7
        + "OBX|3|ED|A||^AP^PDF^Base64^JVBERi0xLjQK||||||F\n"
        + "OBX|4|ED|B||^IM^PNG^Base64^AA==||||||F\n"
        + "OBX|5|ED|C||^AP^^Base64^AA==||||||F\n"
    )
    segments = [segment for segment in run.parsed.segments if segment.name == "OBX"]
    assert [one["contentType"] for one in FUNCTIONS["documents"].call(run, segments)] == ["application/pdf"]
    assert run.attached == 1
    assert FUNCTIONS["encloses"].call(run, segments)
    assert not FUNCTIONS["encloses"].call(run, segments[:1])


LISTS_OF_BLOCKS = """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - when: =encloses(OBX[*])
          do:
            - each: OBSERVATION
              where: =enclosed_as(OBX) == 'picture'
              as: pictures
              create: Media
              key: =OBX-1
              body:
                status: completed
                content: =enclosure(OBX)
        - each: OBSERVATION
          where: =not (OBX-2 in ['ED', 'RP'])
          do:
            - drop: not asked here
        - create: DiagnosticReport
          key: =OBR-1
          body:
            status: final
            code: =cwe(OBR-4)
            media: =report_media(ref(pictures))
"""


def test_a_list_of_a_block_that_is_passed_by_is_empty(tmp_path: Path) -> None:
    """Nothing of the order before is left in it, nor of anything else."""
    program = Workshop(tmp_path).steps(LISTS_OF_BLOCKS)
    picture = "OBX|3|ED|X^Curve^L||^IM^PNG^Base64^AA==||||||F\n"
    made = apply(program, f"{HL7}{picture}OBR|2|O1|F1|B\nOBX|1|ST|A||b\nOBR|3|O1|F1|C\n{picture}")
    assert [len(one.get("media", ())) for one in made.all("DiagnosticReport")] == [1, 0, 1]
    assert apply(program, HL7).one("DiagnosticReport").get("media") is None
