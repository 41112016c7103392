"""Where fields stand in a message's text: every field of the parser, at its place."""

import pytest

from engine.mapping.trying.inputs import Mapper, messages_in
from engine.model.errors import ContentError
from engine.views.message_tree import fields_of
from tests.support.corpus import CorpusFile, own_and_captured
from tests.support.mapping_texts import ASTM, HL7, parse


def at(text: str, message: str | None = None) -> dict[str, str]:
    """Name of a field -> what stands at its place."""
    return {field.name: text[field.start : field.end] for field in fields_of(text, parse(message or text))}


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


def test_a_line_that_is_no_segment_moves_nothing() -> None:
    fields = at(HL7.replace("NTE|1", "\n\n  \nNTE|1"), HL7)
    assert fields["NTE[1]-3"] == "seen twice"


def decoded(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1")  # only ASCII is compared


@pytest.mark.parametrize("file", own_and_captured(), ids=lambda file: file.name)
def test_every_field_is_where_the_parser_read_it(file: CorpusFile) -> None:
    mapper = Mapper(())
    for found in messages_in(file.path.read_bytes()):
        try:
            parsed = mapper.read(found)
        except ContentError:
            continue
        text = decoded(found.payload)
        segments = {f"{segment.name}[{segment.ordinal}]": segment for segment in parsed.segments}
        placed = 0
        for field in fields_of(text, parsed):
            name, _, number = field.name.partition("-")
            shown = text[field.start : field.end]
            if number and shown.isascii():
                read = segments[name].fields[int(number)] if len(segments[name].fields) > int(number) else ""
                # What the parser joined from the next line is not on this one.
                assert read.strip().startswith(shown.strip()), field.name
                placed += 1
        assert placed > 3
