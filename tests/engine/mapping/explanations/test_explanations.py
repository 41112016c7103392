"""Explanations: every leaf of a document has one, it is the right one, and whoever asks for what is not there hears
what is."""

from pathlib import Path
from typing import Any

import pytest

from engine.mapping import Program, load
from engine.mapping.explanations.explain_text import chosen, lines, missing
from engine.mapping.explanations.explaining import IDENTITY, LITERAL, RULE, Call, Leaf
from engine.mapping.explanations.trace import Trace
from engine.mapping.trying.inputs import Mapper, messages_in
from engine.model.errors import ContentError
from engine.model.message import MapContext, Parsed
from tests.support.corpus import CorpusFile, corpus_files, own_and_captured
from tests.support.explanations import assert_whole
from tests.support.mapping_texts import ASTM, HEAD, HL7, RECEIVED, Workshop, context, parse
from tests.support.samples import SampleFile, sample_files

STEPS = """\
- each: PATIENT_RESULT
  do:
    - create: Patient
      as: patient
      key: =PID-3.1
      request: create_if_none
      body:
        active: true
        identifier:
          - {system: "urn:x", value: "=PID-4"}
          - =cx(PID-3[*])
          - {system: "urn:y", value: "=PID-3.1"}
        name: {family: "=PID-5.1", use: official}
        contact: {name: {family: "=PID-9.1", use: usual}}
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          $use: result
          $with: {value: "=OBX-5", name: "=OBX-3.2"}
"""
LIBRARY = """\
mapping-library: lib
format: labrelay-mapping/1
fragments:
  result:
    takes: [value, name]
    steps:
      - create: Observation
        key: =[OBX-3.1, OBX-4 | '-']
        let:
          number: =decimal(value)
        body:
          status: final
          code: {text: "=name"}
          subject: =ref(patient)
          $case:
            - when: =number
              valueQuantity: {value: "=number", unit: "=OBX-6"}
            - else: true
              valueString: =value
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    workshop = Workshop(tmp_path)
    workshop.write("lib.yaml", LIBRARY)
    return workshop


@pytest.fixture
def small(workshop: Workshop) -> Program:
    return workshop.load(f"{HEAD}import: [lib]\nsteps:\n{STEPS}")


def explained(program: Program, message: str = HL7, **given: Any) -> tuple[Trace, dict[str, Leaf]]:
    trace = program.explain(parse(message), context(**given))
    return trace, {leaf.path: leaf for leaf in trace.leaves}


def line_of(text: str, file: str, words: str) -> str:
    """``m.yaml:12``: the line that holds these words."""
    (number,) = [at for at, line in enumerate(text.splitlines(), 1) if words in line]
    return f"{file}:{number}"


# -- one value ---------------------------------------------------------------------------------------------------------


def test_items_of_a_list_stand_where_they_are_in_the_document(small: Program) -> None:
    """The first item of the rule's list is absent, the second gives two."""
    message = HL7.replace("4711^^^HOSP^MR", "4711^^^HOSP^MR~99^^^HOSP^PI")
    trace, leaves = explained(small, message)
    assert_whole(trace)
    rules = [leaves[f"Patient[1].identifier[{number}].value"].function for number in range(3)]
    assert rules == ["cx()", "cx()", ""]
    assert leaves["Patient[1].identifier[2].system"].origin == LITERAL
    assert leaves["Patient[1].identifier[2].value"].sources == ("PID[1]-3.1",)

    trace, leaves = explained(small, message.replace("MR||Doe", "MR|A1|Doe").replace("PI||Doe", "PI|A1|Doe"))
    assert_whole(trace)
    assert leaves["Patient[1].identifier[0].value"].sources == ("PID[1]-4",)
    assert leaves["Patient[1].identifier[3].system"].value == "urn:y"


def test_literals_are_told_where_they_are_written_and_those_of_an_absent_object_not_at_all(
    small: Program, workshop: Workshop
) -> None:
    text = (workshop.folder / "m.yaml").read_text(encoding="utf-8")
    _, leaves = explained(small)
    active, use = leaves["Patient[1].active"], leaves["Patient[1].name[0].use"]
    assert (active.origin, active.rule, active.sources) == (LITERAL, line_of(text, "m.yaml", "active: true"), ())
    assert (use.origin, use.rule) == (LITERAL, line_of(text, "m.yaml", "use: official"))
    assert not [path for path in leaves if ".contact" in path]
    assert leaves["Patient[1].resourceType"].rule == line_of(text, "m.yaml", "create: Patient")


def test_a_value_tells_the_fragments_and_names_that_it_passed(small: Program, workshop: Workshop) -> None:
    text = (workshop.folder / "m.yaml").read_text(encoding="utf-8")
    _, leaves = explained(small)
    value = leaves["Observation[1].valueQuantity.value"]
    assert value.rule == line_of(LIBRARY, "lib.yaml", "valueQuantity:")
    assert value.sources == ("OBX[1]-5",)
    assert value.calls == (
        Call(line_of(text, "m.yaml", "$use: result"), "result", "$use"),
        Call(line_of(LIBRARY, "lib.yaml", "number: =decimal"), "number", "decimal()"),
        Call(line_of(text, "m.yaml", "$with:"), "value", ""),
    )


def test_ids_requests_and_references_come_from_the_key(small: Program) -> None:
    _, leaves = explained(small)
    identity = leaves["Observation[1].id"]
    assert (identity.origin, identity.sources) == (IDENTITY, ("OBX[1]-3.1", "OBR[1]-7"))  # the key, and the day
    assert identity.rule.startswith("lib.yaml:")
    assert leaves["Bundle[1].entry[0].fullUrl"].sources == ("PID[1]-3.1",)
    assert leaves["Bundle[1].entry[0].request.ifNoneExist"].about == "the search for Patient[1]"
    method = leaves["Bundle[1].entry[1].request.method"]
    assert (method.origin, method.about) == (LITERAL, "request: update of Observation[1]")
    subject = leaves["Observation[2].subject.reference"]
    assert (subject.origin, subject.about) == (RULE, "Patient[1]")


def test_the_envelope_tells_the_fields_of_the_header(small: Program) -> None:
    trace, leaves = explained(small, payload_hash="ab" * 32)
    assert_whole(trace)
    assert leaves["Bundle[1].identifier.value"].sources == ("MSH[1]-10",)
    assert leaves["Bundle[1].timestamp"].sources == ("MSH[1]-7",)
    assert leaves["Provenance[1].recorded"].about == "the time of receipt"
    assert leaves["Provenance[1].target[0].reference"].about == "names Observation[1]"
    assert "m" in leaves["Bundle[1].type"].about
    assert leaves["Bundle[1].type"].sources == ()


@pytest.mark.parametrize("kind", ["transaction", "message", "collection"])
def test_every_envelope_is_explained(workshop: Workshop, kind: str) -> None:
    trace, _ = explained(workshop.load(f"{HEAD}bundle: {kind}\nimport: [lib]\nsteps:\n{STEPS}"), payload_hash="ab" * 32)
    assert_whole(trace)


def test_what_two_steps_made_of_one_resource_is_told_of_both(workshop: Workshop) -> None:
    """What the first lacks comes from the second, lists are joined, and what both have is the first's."""
    made = workshop.steps("""\
- each: PATIENT_RESULT
  do:
    - create: Patient
      key: =PID-3.1
      request: update_by_identifier
      body:
        identifier: [{system: "urn:a", value: "=PID-3.1"}, {system: "urn:b", value: "=PID-3.1"}]
        gender: =lookup('0001', PID-8)
    - create: Patient
      key: =PID-3.1
      request: update_by_identifier
      body:
        identifier: [{system: "urn:b", value: "=PID-3.1"}, {system: "urn:c", value: "=PID-5.2"}]
        gender: =lookup('0001', PID-8)
        birthDate: =date(PID-7)
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          do: [{drop: not wanted}]
""")
    trace, leaves = explained(made)
    assert_whole(trace)
    systems = [leaves[f"Patient[1].identifier[{number}].system"] for number in range(3)]
    assert [leaf.value for leaf in systems] == ["urn:a", "urn:b", "urn:c"]
    first, second = systems[0].rule, systems[2].rule
    assert systems[1].rule == first != second
    assert leaves["Patient[1].identifier[2].value"].sources == ("PID[1]-5.2",)
    assert int(leaves["Patient[1].gender"].rule[7:]) < int(second[7:]) < int(leaves["Patient[1].birthDate"].rule[7:])


def test_settings_and_tables_are_sources_too(workshop: Workshop) -> None:
    made = workshop.steps("""\
- each: PATIENT_RESULT
  do:
    - create: Patient
      key: =PID-3.1
      body:
        gender: =lookup('0001', PID-8)
        identifier: =identifier(setting('ward_system') | 'urn:x', PID-3.1)
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          do: [{drop: not wanted}]
""")
    _, leaves = explained(made, settings={"ward_system": "urn:w"})
    assert leaves["Patient[1].gender"].rows == ("table 0001",)
    assert "setting(ward_system)" in leaves["Patient[1].identifier[0].system"].sources


# -- asking ------------------------------------------------------------------------------------------------------------


def test_elements_are_asked_for_by_path_prefix_and_wildcard(small: Program) -> None:
    trace, _ = explained(small)

    def paths(field: str) -> list[str]:
        return [leaf.path for leaf in chosen(trace.leaves, field)]

    assert paths("Observation[1].valueQuantity.value") == ["Observation[1].valueQuantity.value"]
    assert paths("Observation[*].code") == ["Observation[1].code.text", "Observation[2].code.text"]
    assert paths("Observation.code") == paths("Observation[*].code")
    assert set(paths("Observation[2]")) == {path for path in paths("") if path.startswith("Observation[2].")}
    assert paths("Patient.name.family") == paths("Patient[1].name[*].family") == ["Patient[1].name[0].family"]
    assert paths("Observation[1].valueQ") == []
    assert paths("OBX[2]-5") == ["Observation[2].valueString"]
    assert "Observation[1].valueQuantity.value" in paths("OBX")
    assert paths("OBX[*]-6") == paths("OBX-6") == ["Observation[1].valueQuantity.unit"]
    assert "Patient[1].identifier[0].value" in paths("PID-3.1"), "cx() read all of PID-3"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("Observation[9].code", "the document has Observation[1] and Observation[2], and no Observation[9]"),
        ("Observation[1].valueQuanttiy", "Observation[1] has no valueQuanttiy; did you mean valueQuantity?"),
        ("Observaton", "did you mean Observation?"),
        ("Patient[1].name[3]", "Patient[1] has name[0], and no name[3]"),
        ("Patient.name.family.x", "Patient.name.family is one value"),
        ("Observation.bodySite", "it has resourceType, id, status"),
        ("OBX[7]-3", "the message has OBX[1] to OBX[2]"),
        ("OBX-1", "no rule reads OBX-1"),
        ("OBX-17", "nothing was sent there"),
        ("PIX-1", "did you mean PID?"),
        ("a b[", "neither an element (Observation[2].value) nor a field (OBX-5)"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(small: Program, field: str, words: str) -> None:
    trace, _ = explained(small)
    assert chosen(trace.leaves, field) == []
    said = missing(trace, parse(HL7), field)
    assert said.startswith(f"{field}: ")
    assert words in said
    assert "Doe" not in said


def test_a_field_that_could_not_be_read_is_answered_with_the_warning(workshop: Workshop) -> None:
    program = workshop.steps("""
        - each: PATIENT_RESULT
          do:
            - {create: Patient, key: =PID-3.1, body: {active: true, birthDate: =date(PID-7)}}
            - drop: rest
        """)
    message = HL7.replace("19800412", "19801399")
    trace, _ = explained(program, message)
    said = missing(trace, parse(message), "PID-7")
    assert said == "PID[1]-7: warning: BAD_DATE: there is no such month; left out"


def test_one_value_is_shown_with_all_it_passed(small: Program) -> None:
    trace, _ = explained(small)
    shown = list(lines(trace, chosen(trace.leaves, "Observation[1].valueQuantity.value"), values=False, whole=False))
    assert shown[0] == "Observation[1]"
    assert shown[1].startswith("  valueQuantity.value <- lib.yaml:")
    assert [line.split()[0] for line in shown[2:]] == ["through"] * 3
    assert "$use result" in shown[2]
    assert shown[3].endswith("number: decimal()")


# -- everything that ships, and everything there is --------------------------------------------------------------------


@pytest.mark.promise("P9")
def test_astm_is_explained_to_the_last_leaf() -> None:
    trace, leaves = explained(SHIPPED.program("astm-results"), ASTM, payload_hash="ab" * 32)
    assert_whole(trace)
    assert leaves["Bundle[1].timestamp"].sources == ("H[1]-14",)


@pytest.mark.parametrize("file", own_and_captured(), ids=lambda file: file.name)
def test_every_leaf_of_every_document_is_explained(file: CorpusFile) -> None:
    for found in messages_in(file.path.read_bytes()):
        try:
            parsed = SHIPPED.read(found)
            explain_whole(SHIPPED.program_for(parsed), parsed)
        except ContentError:
            continue


@pytest.mark.parametrize("kind", ["message", "collection"])
def test_every_leaf_of_the_other_envelopes_is_explained_too(kind: str, workshop: Workshop) -> None:
    """Documents are those of the mapping for ABDM: its tests look at them."""
    text = (CHECKOUT / "mappings/hl7-results.yaml").read_text(encoding="utf-8")
    workshop.write("m.yaml", text.replace("bundle: transaction", f"bundle: {kind}"))
    other = load("m", [workshop.folder, *SHIPPED.search])
    whole = 0
    files: list[SampleFile | CorpusFile] = [*sample_files(), *corpus_files()]
    for file in files:
        if file.format != "hl7v2":
            continue
        for found in messages_in(file.path.read_bytes()):
            try:
                parsed = SHIPPED.read(found)
            except ContentError:
                continue
            if parsed.structure in other.structures:
                whole += explain_whole(other, parsed)
    assert whole > (40 if corpus_files() else 15)


def explain_whole(made: Program, parsed: Parsed) -> bool:
    """Explain a message; whether there was a document, which then is explained to the last leaf."""
    settings = {"processing_ids": ["T", "D"]}
    given = MapContext(
        channel="c", timezone="Asia/Kolkata", received_at=RECEIVED, payload_hash="ab" * 32, settings=settings
    )
    trace = made.explain(parsed, given)
    if trace.mapped is None or not trace.mapped.documents:
        return False
    assert_whole(trace)
    return True


CHECKOUT = Path(__file__).parents[4]
SHIPPED = Mapper([CHECKOUT / "mappings", CHECKOUT / "analyzers"])
