"""A code that no table has is reported with the field in which it stands, of whatever segment."""

from pathlib import Path

import pytest

from engine.model.errors import ContentError
from tests.support.mapping_texts import HL7, Workshop, apply

PERSON, _, REPORT = HL7.partition("OBR")
ADMITTED = f"{PERSON}PV1|1|Q\nOBR{REPORT.splitlines()[0]}\n"

RULES = """\
- each: PATIENT_RESULT
  do:
    - create: Patient
      key: =PID-3.1
      body: {{gender: "={}"}}
"""


def places(tmp_path: Path, value: str, message: str) -> list[tuple[str, str]]:
    program = Workshop(tmp_path).steps(RULES.format(value))
    issues = apply(program, message).mapped.issues  # one case does not read PV1 at all
    return [(issue.code, issue.place) for issue in issues if issue.code != "UNREAD_SEGMENT"]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("lookup('0001', PID-8)", "PID[1]-8"),
        ("lookup('0001', PV1-2)", "PV1-2"),
        ("lookup('0001', PV1-2.1)", "PV1-2.1"),
        ("lookup('0001', PV1-3 | PV1-2)", "PV1-3 | PV1-2"),
        ("first(lookup('0001', PV1-2[*]))", "PV1-2"),
    ],
)
def test_the_warning_names_the_field(tmp_path: Path, value: str, place: str) -> None:
    message = ADMITTED.replace("|F\n", "|Q\n")
    assert places(tmp_path, value, message) == [("UNKNOWN_CODE", place)]


def test_a_dead_letter_names_it_too(tmp_path: Path) -> None:
    program = Workshop(tmp_path).steps(RULES.format("'male' if lookup('0085', PV1-2) else 'female'"))
    with pytest.raises(ContentError) as caught:
        apply(program, ADMITTED)
    assert caught.value.place == "PV1-2"
