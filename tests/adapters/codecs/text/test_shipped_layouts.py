"""The shipped layouts against the captures that they were written for: the facts of the corpus' index, exactly."""

from pathlib import Path

import pytest

from adapters.codecs.astm.capture import read_capture
from adapters.codecs.text.layout import TextFormat
from engine.config.layouts import layout_files, load_layout
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Parsed
from engine.model.texts.reasons import ReasonCode
from tests.support.corpus import CORPUS
from tests.support.samples import sample_files

ASTM = CORPUS / "astm"
LAYOUTS = layout_files(None)


def format_of(name: str) -> TextFormat:
    return TextFormat(load_layout(LAYOUTS[name], name))


def messages(name: str, file: str) -> list[Parsed]:
    reads = format_of(name)
    return [reads.parse(text, FormatOptions()) for text in reads.split((ASTM / file).read_bytes())]


def fields(parsed: Parsed, letter: str, *numbers: int) -> list[tuple[str, ...]]:
    """The fields of each record of a type; empty where there is none."""
    return [
        tuple(segment.fields[number] if number < len(segment.fields) else "" for number in numbers)
        for segment in parsed.segments
        if segment.name == letter
    ]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_shipped_layout_is_right(name: str) -> None:
    assert load_layout(LAYOUTS[name], name).name == name


@pytest.mark.corpus
def test_the_mini_vidas_capture() -> None:
    (parsed,) = messages("biomerieux-minividas", "biomerieux-minividas-native.bin")

    assert fields(parsed, "O", 3) == [("Z1G021SCR",)]
    assert fields(parsed, "R", 3, 4, 13) == [("^^^HBCT^Anti-HBc Total II", "Positif^0.05", "202410251835")]
    assert parsed.warnings == []


@pytest.mark.corpus
def test_the_mini_vidas_capture_says_what_its_mock_says() -> None:
    (ours,) = messages("biomerieux-minividas", "biomerieux-minividas-native.bin")
    (mock,) = [_astm(text) for text in read_capture((ASTM / "biomerieux-minividas-mock.astm").read_bytes()).messages]

    assert fields(ours, "O", 3) == fields(mock, "O", 3)
    ((code, value, at),) = fields(ours, "R", 3, 4, 13)
    # The mock gives the short name alone, the words in R-9 and the time in R-13 with seconds that nobody sent.
    assert [(code.split("^")[3], value.split("^")[1], value.split("^")[0])] == fields(mock, "R", 3, 4, 9)
    assert fields(mock, "H", 14) == [(f"{at}00",)]


@pytest.mark.corpus
def test_the_spotchem_capture_says_what_its_mock_says() -> None:
    (ours,) = messages("arkray-spotchem-el", "arkray-spotchem-el-native.bin")
    (mock,) = [_astm(text) for text in read_capture((ASTM / "arkray-spotchem-el-mock.astm").read_bytes()).messages]

    assert fields(ours, "R", 3, 4, 5) == [
        ("^^^Na", "131", "mmol/L"),
        ("^^^K", "9.7", "mmol/L"),
        ("^^^Cl", "96", "mmol/L"),
    ]
    assert fields(ours, "O", 3) == fields(mock, "O", 3) == [("1DC042FP",)]
    numbers = [(code.removeprefix("^^^"), float(value), unit) for code, value, unit in fields(ours, "R", 3, 4, 5)]
    assert numbers == [(code, float(value), unit) for code, value, unit in fields(mock, "R", 3, 4, 5)]
    assert ours.warnings == []


@pytest.mark.corpus
def test_the_rapidlab_printout_holds_two_samples() -> None:
    first, short, second = messages("siemens-rapidlab-348", "siemens-348-printout.txt")

    assert fields(first, "P", 3) == [("000008233",)]
    assert fields(first, "R", 3, 4, 5, 6, 7)[:5] == [
        ("^^^pH", "7.973", "", "7.350 - 7.450", "H"),
        ("^^^pCO2", "8.9", "mmHg", "32.0 - 45.0", "L"),
        ("^^^pO2", "145.4", "mmHg", "75.0 - 100.0", "H"),
        ("^^^Na+", "134", "mmol/L", "", ""),
        ("^^^K+", "3.38", "mmol/L", "3.40 - 4.50", "L"),
    ]
    assert len(fields(first, "R", 3)) == len(fields(second, "R", 3)) == 13
    assert fields(second, "P", 3) == [("000009601",)]
    assert fields(second, "R", 13) == [("201911201702",)] * 13
    assert (short.message_type, fields(short, "C", 4)) == ("", [("Short sample",)])
    assert first.warnings == short.warnings == second.warnings == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *((sample.folder, sample.path) for sample in sample_files("text")),
        pytest.param("biomerieux-minividas", ASTM / "biomerieux-minividas-native.bin", marks=pytest.mark.corpus),
        pytest.param("arkray-spotchem-el", ASTM / "arkray-spotchem-el-native.bin", marks=pytest.mark.corpus),
        pytest.param("siemens-rapidlab-348", ASTM / "siemens-348-printout.txt", marks=pytest.mark.corpus),
    ],
    ids=lambda value: getattr(value, "stem", None),
)
def test_a_file_that_is_cut_short_gives_no_result(name: str, path: Path) -> None:
    """Wherever it is cut within a text: none of it is used."""
    reads = format_of(name)
    whole = path.read_bytes()
    texts = reads.split(whole)
    for at in range(60, len(whole), 7):
        cut = reads.split(whole[:at])
        if cut == texts[: len(cut)]:
            continue  # between two texts
        with pytest.raises(ContentError) as caught:
            for text in cut:
                reads.parse(text, FormatOptions())
        assert caught.value.reason in (ReasonCode.INCOMPLETE, ReasonCode.UNREADABLE)


def _astm(text: bytes) -> Parsed:
    from adapters.codecs.astm import records as astm_records

    return astm_records.parse(text, FormatOptions())
