"""Where fields stand in a message's text: every field of the parser, at its place, in a browser's offsets."""

import pytest

from engine.devtools.playground.trial import bytes_of, text_of
from engine.mapping.inputs import Mapper, messages_in
from engine.model.errors import ContentError
from engine.views.message_fields import in_a_browser
from tests.support.corpus import CorpusFile, own_and_captured
from tests.support.mapping_texts import ASTM, HL7, parse


def at(text: str, message: str | None = None) -> dict[str, str]:
    """Name of a field -> what stands at its place, cut as a browser cuts."""
    units = text.encode("utf-16-le")
    found = in_a_browser(text, parse(message or text))
    return {field.name: units[2 * field.start : 2 * field.end].decode("utf-16-le") for field in found}


def test_fields_of_hl7_are_numbered_as_the_standard_does() -> None:
    fields = at(HL7)
    assert fields["MSH[1]-2"] == "^~\\&"
    assert fields["MSH[1]-3"] == "XN"
    assert fields["PID[1]-5"] == "Doe^Jane^Q"
    assert fields["OBX[2]-5"] == "yellow"
    assert fields["OBX[2]"] == "OBX"
    assert "OBX[1]-4" not in fields


def test_fields_of_astm_count_the_letter_as_the_first() -> None:
    fields = at(ASTM)
    assert fields["H[1]-2"] == "\\^&"
    assert fields["R[2]-4"] == "4.50"
    assert fields["R[1]"] == "R"


def test_offsets_are_those_of_a_browser() -> None:
    text = HL7.replace("Doe", "D\U0001d11ee")
    assert at(text)["PID[1]-5"] == "D\U0001d11ee^Jane^Q"
    assert at(text)["OBX[1]-5"] == "14.8"


def test_a_line_that_is_no_segment_moves_nothing() -> None:
    fields = at(HL7.replace("NTE|1", "\n\n  \nNTE|1"), HL7)
    assert fields["NTE[1]-3"] == "seen twice"


@pytest.mark.parametrize("payload", [b"Gr\xf6\xdfe\rb", "Größe\nश".encode(), b"\x81\x8d plain\r\n"])
def test_a_text_of_the_page_gives_back_what_it_was(payload: bytes) -> None:
    text, charset = text_of(payload)
    assert "\r" not in text
    if b"\x81" not in payload:
        assert bytes_of(text, charset) == payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@pytest.mark.parametrize("file", own_and_captured(), ids=lambda file: file.name)
def test_every_field_is_where_the_parser_read_it(file: CorpusFile) -> None:
    mapper = Mapper(())
    for found in messages_in(file.path.read_bytes()):
        try:
            parsed = mapper.read(found)
        except ContentError:
            continue
        text, _ = text_of(found.payload)
        units = text.encode("utf-16-le", "surrogatepass")
        segments = {f"{segment.name}[{segment.ordinal}]": segment for segment in parsed.segments}
        placed = 0
        for field in in_a_browser(text, parsed):
            name, _, number = field.name.partition("-")
            shown = units[2 * field.start : 2 * field.end].decode("utf-16-le", "surrogatepass")
            if number and shown.isascii():
                read = segments[name].fields[int(number)] if len(segments[name].fields) > int(number) else ""
                # What the parser joined from the next line is not on this one.
                assert read.strip().startswith(shown.strip()), field.name
                placed += 1
        assert placed > 3
