"""Functions that are given whole segments: containers, relatives, the lines of a document."""

import base64
from typing import Any

import orjson
import pytest

from engine.mapping.explanations.trace import Tracer
from engine.mapping.functions import FUNCTIONS
from engine.mapping.values.json_text import as_text
from tests.support.mapping_texts import run_of

HEAD = "MSH|^~\\&|LIS|LAB|||20260301101530||ORU^R01|M1|P|2.5\n"


def given(text: str, name: str, function: str, *more: Any, **context: Any) -> tuple[Any, Any]:
    """What a function makes of all segments of a name, and the run."""
    run = run_of(HEAD + text, **context)
    segments = [segment for segment in run.parsed.segments if segment.name == name]
    return FUNCTIONS[function].call(run, segments, *more), run


def test_a_container_has_its_number_and_volumes_in_the_unit_that_is_sent() -> None:
    kind, additive = {"text": "tube"}, {"text": "EDTA"}
    made, _ = given(f"SAC|||T1^LAB{'|' * 18}5|3.50||mL\n", "SAC", "containers", kind, additive)
    assert as_text(orjson.dumps(made)) == [
        {
            "identifier": [{"system": "urn:labrelay:ns:LAB:LAB", "value": "T1"}],
            "capacity": {"value": "5", "unit": "mL"},
            "specimenQuantity": {"value": "3.50", "unit": "mL"},
            "type": kind,
            "additiveCodeableConcept": additive,
        }
    ]


def test_type_and_additive_of_the_specimen_are_said_of_its_only_container() -> None:
    made, _ = given("SAC|||T1\nSAC|||T2\n", "SAC", "containers", {"text": "tube"}, None)
    assert [one["identifier"][0]["value"] for one in made] == ["T1", "T2"]
    assert not any("type" in one for one in made)
    made, _ = given("", "SAC", "containers", {"text": "tube"}, None)
    assert made == [{"type": {"text": "tube"}}]
    made, _ = given("SAC|1\n", "SAC", "containers", None, None)
    assert made is None


def test_a_relative_is_a_contact_with_what_can_reach_one() -> None:
    made, _ = given(
        "NK1|1|Roe^Marie|SPO^Spouse|1 Main St^^Town|(216)123-4567|(216)999|E^Employer||||||||F\nNK1|2||FTH\n",
        "NK1",
        "contacts",
    )
    (one,) = made  # the second has neither name nor number nor address
    assert one["name"] == {"family": "Roe", "given": ["Marie"]}
    table = "http://terminology.hl7.org/CodeSystem/v2-"
    assert [(kind["coding"][0]["system"], kind["coding"][0]["code"]) for kind in one["relationship"]] == [
        (table + "0063", "SPO"),
        (table + "0131", "E"),
    ]
    assert [(number["use"], number["value"]) for number in one["telecom"]] == [
        ("home", "(216)123-4567"),
        ("work", "(216)999"),
    ]
    assert one["address"]["city"] == "Town"
    assert one["gender"] == "female"


@pytest.mark.parametrize(
    "known", ["NK1|1|Roe^Marie", "NK1|1||||(216)123", "NK1|1|||||(216)999", "NK1|1|||1 Main^^Town"]
)
def test_name_number_or_address_alone_make_a_contact(known: str) -> None:
    made, _ = given(f"{known}\n", "NK1", "contacts")
    assert len(made) == 1
    assert "gender" not in made[0]


def test_the_lines_of_a_document_are_one_text() -> None:
    text = "OBX|1|TX|T||Line \\T\\ one||||||F\nOBX|2|FT|T||two~three||||||F\nOBX|3|NM|N||5||||||F\n"
    made, run = given(text, "OBX", "text_document")
    assert base64.b64decode(made["data"]) == b"Line & one\ntwo\nthree"
    assert made["contentType"] == "text/plain; charset=utf-8"
    assert made["size"] == 20
    assert run.attached == 2
    assert len(run.accounted) == 2


def test_a_line_of_a_document_keeps_its_letters_and_tells_where_it_was_read() -> None:
    run = run_of(HEAD + "OBX|1|ST|T||Xylose\nOBX|2|TX|T|\nOBX|3|TX|T||FIX||||||F\n")
    lines = [segment for segment in run.parsed.segments if segment.name == "OBX"]
    run.trace = tracer = Tracer(run.parsed, run.context, "m")
    made = FUNCTIONS["text_document"].call(run, lines)
    assert base64.b64decode(made["data"]) == b"Xylose\n\nFIX"
    tracer.open()
    span = (0, tracer.close()[1])
    assert list(tracer.made_of(span).sources) == ["OBX[1]-5", "OBX[2]-5", "OBX[3]-5"]


@pytest.mark.parametrize("text", ["OBX|1|TX|T||\n", "OBX|1|TX|T|\n", "OBX|1|TX|T\n"])
def test_a_document_without_a_line_is_none_and_counted_as_dropped(text: str) -> None:
    made, run = given(text, "OBX", "text_document")
    assert made is None
    assert (run.attached, run.declared_drops) == (0, 1)


def test_whether_numbers_restart_is_the_channels_word() -> None:
    assert FUNCTIONS["numbers_restart"].call(run_of()) is True
    assert FUNCTIONS["numbers_restart"].call(run_of(specimen_ids="unique")) is False


def test_a_period_does_not_end_before_it_starts() -> None:
    run, period = run_of(), FUNCTIONS["period"].call
    assert period(run, "20260302", "20260301") == {"start": "2026-03-02"}
    assert [issue.code for issue in run.issues] == ["BAD_VALUE"]
    assert period(run, "20260302", "2026") == {"start": "2026-03-02", "end": "2026"}
    assert period(run, "2026", "20260101") == {"start": "2026", "end": "2026-01-01"}
