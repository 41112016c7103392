"""The bundled table of segments and fields, and what the linter asks of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from adapters.codecs.hl7v2 import writer
from adapters.codecs.hl7v2.binding import GRAMMARS
from adapters.codecs.hl7v2.writer import component_types, field_types, path_problem

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    "path",
    [
        ("PID", 3, 4, 2),
        ("PID", 40),
        ("OBX",),
        ("OBX", 5, 3),
        ("OBX", 4, 1, 2),  # ST by the standard, divided by analyzers
        ("OBX", 33),
        ("SPM", 2, 1, 1),
        ("MSH", 9, 3),
        ("MSH", 18),
        ("OBR", 4, 2),
        ("ZQC", 99, 9, 9),
        ("PRT", 5),
        ("NTE", 3, 3),
    ],
)
def test_paths_that_some_version_knows(path: tuple[str, int, int, int]) -> None:
    assert path_problem(*path) == ""


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (("PID", 99), "PID has 40 fields"),
        (("QQQ", 1), "HL7 v2 has no segment QQQ"),
        (("OBX", 34), "OBX has 33 fields"),
        (("PID", 3, 15), "PID-3 (CX) has"),
        (("PID", 3, 4, 9), "PID-3.4 (HD) has 3 subcomponents"),
        (("MSH", 9, 4), "MSH-9 (MSG) has 3 components"),
    ],
)
def test_paths_that_no_version_knows(path: tuple[str, int, int, int], problem: str) -> None:
    assert path_problem(*path).startswith(problem)


def test_types() -> None:
    assert field_types("OBX")[:5] == ("SI", "ID", "CE", "ST", "*")
    assert component_types("CE") == ("ST", "ST", "ID", "ST", "ST", "ID")
    assert component_types("NM") == ()
    assert field_types("ZZZ") == ()


def test_the_codec_offers_it_to_the_linter() -> None:
    assert len(writer.field_types("PID")) == 40
    assert writer.path_problem("PID", 41) == "PID has 40 fields"


def test_every_segment_of_the_grammars_is_in_the_table() -> None:
    used = frozenset().union(*(group.segments for grammar in GRAMMARS.values() for group in grammar.walk()))
    assert [segment for segment in sorted(used) if not field_types(segment)] == []


def test_reading_a_message_does_not_load_the_tables() -> None:
    script = """if True:
        import sys
        from adapters.codecs.hl7v2 import message
        from engine.model.message import FormatOptions
        message.parse(rb"MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1", FormatOptions())
        sys.exit("adapters.codecs.hl7v2.writer" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
