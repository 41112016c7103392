"""What expressions mean over messages: absent values, comparisons, lists, numbers, scopes."""

from pathlib import Path

import pytest

from engine.mapping.conditions import compile_condition
from engine.model.errors import ConfigError
from tests.support.mapping_texts import HL7, Workshop, apply, parse


def holds(condition: str, message: str = HL7, message_format: str = "hl7v2") -> bool:
    return compile_condition(f"={condition}", message_format, place="c.yaml:1:1")(parse(message))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("MSH-9.1 == 'ORU'", True),
        ("MSH-9.1 != 'ORU'", False),
        ("PID-19 != 'Q'", True),  # absent differs from every text
        ("PID-19 == 'Q'", False),
        ("PID-19 == absent", True),
        ("PID-3 == absent", False),
        ("PID-19 < 'Z'", False),  # and is in no order with anything
        ("PID-19 > 'A'", False),
        ("PID-19 in ['', 'Q']", False),
        ("not PID-19", True),
        ("PID-19 or OBX", True),
        ("ZZZ", False),
        ("OBX-2 in ['NM', 'SN']", True),
        ("'ST' in OBX[*]-2", True),
        ("'CE' in OBX[*]-2", False),
        ("OBX-5 > 14.75", True),  # as numbers, because one side is one
        ("OBX-5 > 9", True),
        ("OBX-5 == 14.80", True),
        ("OBX-5 < '9'", True),  # as texts
        ("OBX-5 >= 14.8 and OBX-5 <= 14.80", True),
        ("OBX-5 >= 14.9", False),
        ("OBX-5 <= 14.7", False),
        ("OBX[2]-5 > 3", False),  # a word is in no order with a number
        ("OBX-5 * 10 == 148", True),
        ("1 / 0 == absent", True),
        ("PID-5.2 matches '^Ja'", True),
        ("PID-19 matches 'x'", False),
        ("'yes' == 'yes' and true", True),
        ("starts_with(PID-5.1, 'Do') and contains(PID-5.1, 'oe')", True),
        ("count(OBX[*]) == 2 and count(PID-19) == 0", True),
        ("(PID-19 | PID-8) == 'F'", True),
        ("('a' if PID-8 == 'F' else 'b') == 'a'", True),
        ("OBX[2]-3.2 == 'Color'", True),
        ("OBX[3]-3.2 == 'Color'", False),
        ("MSH-1 == '|' and MSH-2 == '^~\\\\&'", True),
        # The first repetition is there whether or not a second one is.
        ("PID-3[1].1 == '4711' and PID-5[1].2 == 'Jane'", True),
        ("PID-3[2]", False),
        # A list leaves out what says nothing.
        ("count(OBX[*]-3.1) == 2 and 'COL' in OBX[*]-3.1", True),
        ("count(OBX[*]-7.1) == 1", True),
        ("count(OBX[*]-5.2) == 0", True),
    ],
)
def test_conditions(condition: str, expected: bool) -> None:
    assert holds(condition) is expected


def test_blanks_and_the_explicit_null_are_absent() -> None:
    message = HL7.replace("||14.8|", '||""|').replace("|yellow|", "|   |")
    assert not holds("OBX-5 or OBX[2]-5", message)
    assert holds("not (OBX-5 or OBX[2]-5)", message)


def test_a_text_is_the_first_part_unescaped_and_trimmed() -> None:
    message = HL7.replace("Doe^Jane^Q", " D\\T\\o&von^Jane~Other")
    assert holds("PID-5 == 'D&o'", message)
    assert holds("PID-5.1 == 'D&o' and PID-5.1.2 == 'von' and PID-5[2] == 'Other'", message)
    assert holds("whole(PID-5) == 'D&o&von^Jane'", message)


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", '""'])
def test_a_field_of_blanks_says_nothing_in_a_list_of_segments(blank: str) -> None:
    message = HL7.replace("||yellow||", f"|{blank}|yellow||")
    assert message != HL7
    assert holds("count(OBX[*]-4) == 0", message)


def test_repetitions_and_their_parts_are_counted_from_one() -> None:
    message = HL7.replace("4711^^^HOSP^MR", "4711^^^HOSP&1.2.3&ISO^MR~0815^^^STATE&1.2.4&ISO^PI")
    message = message.replace("||yellow||", "||yellow~pale~ ||")
    assert holds("PID-3[1].1 == '4711' and PID-3[2].1 == '0815' and not PID-3[3]", message)
    assert holds("PID-3[2].4.2 == '1.2.4'", message)
    assert holds("'1.2.3' in PID-3[*].4.2 and '1.2.4' in PID-3[*].4.2", message)
    assert holds("count(PID-3[*].4.2) == 2 and count(PID-3[*].4.4) == 0", message)
    assert holds("OBX[2]-5[2] == 'pale' and not OBX[1]-5[2]", message)
    assert holds("count(OBX[2]-5[*]) == 2 and count(OBX[1]-5[*]) == 1", message)
    assert holds("count(OBX[*]-5[*]) == 3", message)


@pytest.mark.parametrize(
    ("condition", "place", "says"),
    [
        ("MSH-9.1 = 'ORU'", 9, "write =="),
        ("PIX-3", 1, "no segment is called PIX"),
        ("PID-99", 1, "there is no PID-99"),
        ("lookupp('0001', PID-8)", 1, "did you mean lookup?"),
        ("lookup('9999', PID-8)", 8, "no table is called 9999"),
        ("OBX-5 matches OBX-6", 15, "a pattern in quotes"),
        ("OBX-5 matches '(a+)+b'", 15, "character 1 of the pattern: a repeat inside a repeat"),
        ("OBX-5 matches '('", 15, "not a regular expression"),
        ("OBX[*]-5 == 'x'", 1, "a list cannot be compared"),
        ("'x' in OBX-5", 8, "comes a list"),
        ("whatever == 'x'", 1, "nothing is called whatever"),
        ("cwe(OBX-3) == 'x'", 1, "cannot be compared"),
        ("OBX-3.1.2.4", 10, "subcomponents have no parts"),
        ("'x' in OBX[*]-5[2]", 8, "say either which segment or which repetition"),
        ("PIX-3[2] == 'x'", 1, "no segment is called PIX"),
        ("OBX-5 * 'x' > 1", 9, "this is never a number"),
        ("[1] - 4 > 1", 1, "a number is expected here; this is a list of decimal"),
        ("- 'x' > 1", 3, "this is never a number"),
        ("1 / 0 + 1 > 1", 3, "this is never a number"),
        ("count([cwe(OBX-3), 'x']) == 2", 7, "the values of a list are of one kind, not CodeableConcept and text"),
    ],
)
def test_problems_of_a_condition_have_their_column(condition: str, place: int, says: str) -> None:
    with pytest.raises(Exception, match=says) as caught:
        holds(condition)
    assert str(caught.value).startswith(f"c.yaml:1:{place + 1}: ")


def test_a_condition_begins_with_its_sign() -> None:
    with pytest.raises(Exception, match="starts with ="):
        compile_condition("MSH-9.1", "hl7v2", place="c.yaml:3:5")


# -- in mappings -------------------------------------------------------------------------------------------------


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_a_name_is_looked_for_in_the_group_then_outwards_never_beside(workshop: Workshop) -> None:
    program = workshop.steps("""
        - each: PATIENT_RESULT
          do:
            - each: ORDER_OBSERVATION
              do:
                - each: OBSERVATION
                  create: Observation
                  key: =OBX-1
                  body:
                    status: final
                    code: =cwe(OBX-3)
                    method: =text_concept(PID-5.1)
                    note: =annotation(NTE-3)
        """)
    first, second = apply(program).all("Observation")
    assert first["method"] == second["method"] == {"text": "Doe"}  # outwards
    assert "note" not in first  # the note of the other result
    assert second["note"] == [{"text": "seen twice"}]


def test_a_let_is_computed_at_most_once_and_only_if_needed(workshop: Workshop) -> None:
    program = workshop.steps(
        """
        - each: PATIENT_RESULT
          let:
            born: =date(PID-7)
            unused_date: =date(PID-29)
          do:
            - create: Patient
              key: =PID-3.1
              body:
                birthDate: =born
                deceasedBoolean: =born == '1980-04-12'
            - create: Device
              when: =unused_date
              key: =PID-3.1
              body:
                manufacturer: =PID-3.1
        - each: PATIENT_RESULT
          drop: rest
        """
    )
    made = apply(program, HL7.replace("19800412", "19800431"))
    assert made.warnings.count("BAD_DATE") == 1
    assert "birthDate" not in made.one("Patient")
    assert made.one("Patient")["deceasedBoolean"] == "false"


def test_a_choice_and_first_present_keep_lists_and_texts_apart(workshop: Workshop) -> None:
    program = workshop.steps("""
        - each: PATIENT_RESULT
          do:
            - create: Patient
              key: =PID-3.1
              body:
                identifier: =cx(PID-4[*]) | cx(PID-3[*])
                name: =xpn(PID-9[*]) ++ xpn(PID-5[*])
                language: ='en' if PID-15 else absent
                maritalStatus: =text_concept(concat(PID-5.1, '/', PID-5.2))
            - drop: rest
        """)
    patient = apply(program).one("Patient")
    assert [one["value"] for one in patient["identifier"]] == ["4711"]
    assert [name["family"] for name in patient["name"]] == ["Doe"]
    assert "language" not in patient
    assert patient["maritalStatus"] == {"text": "Doe/Jane"}


def test_a_list_of_values_that_are_no_texts_keeps_them_as_they_are(workshop: Workshop) -> None:
    program = workshop.steps("""
        - each: PATIENT_RESULT
          do:
            - create: Patient
              key: =PID-3.1
              body:
                name: =[xpn(PID-5), xpn(PID-9)]
                communication:
                  - language: =concepts(concept('v2-0001', 'a'), concept('v2-0001', 'b'))
                extension:
                  - url: https://lab.example/sums
                    valueString: =join([1 + 1, '3'], ' ')
            - drop: rest
        """)
    patient = apply(program).one("Patient")
    assert [name["family"] for name in patient["name"]] == ["Doe"]
    assert patient["extension"][0]["valueString"] == "2 3"


@pytest.mark.parametrize("condition", ["MHS-9 == 'x'", "MHS[2]-9 == 'x'", "count(MHS[*]) > 1", "count(MHS[*]-9) > 1"])
def test_a_condition_speaks_of_segments_that_there_are(condition: str) -> None:
    with pytest.raises(ConfigError, match="no segment is called MHS; did you mean MSH"):
        compile_condition(f"={condition}", "hl7v2", place="c.yaml:1:1")
    assert not holds(condition.replace("MHS", "ZHS"))
