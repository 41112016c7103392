"""A segment that no rule reads is told, also where a rule leaves out some of the groups in which it may stand."""

from pathlib import Path

import pytest

from tests.support.mapping_texts import Workshop, apply


@pytest.mark.parametrize(
    ("structure", "group", "key", "message"),
    [
        (
            "hl7v2/ORU_R01",
            "PATIENT_RESULT",
            "PID-3 | OBR[1]-2.1",
            "MSH|^~\\&|A|B|||20260301101530||ORU^R01|1|P|2.6\nSFT|ACME|1|XN\nUAC|K\nPID|1||7\nOBR|1|O1\nDSC|1\n",
        ),
        (
            "hl7v2/ADT_A01",
            "PATIENT",
            "PID-3",
            "MSH|^~\\&|A|B|||20260301101530||ADT^A01|1|P|2.5\nEVN||20260301\nPID|1||7\n",
        ),
        ("astm/E1394", "PATIENT", "P-4", "H|\\^&|||XN|||||||P|1\nP|1||7\nL|1|N\n"),
    ],
)
def test_what_frames_a_message_is_no_unread_segment(
    structure: str, group: str, key: str, message: str, tmp_path: Path
) -> None:
    steps = f'- each: {group}\n  do: [{{create: Patient, key: "={key}", body: {{active: true}}}}]\n'
    made = apply(Workshop(tmp_path).steps(steps, message_format=structure), message)
    assert made.one("Patient")["active"] == "true"
    assert made.warnings == []


HEAD = "MSH|^~\\&|A|B|||20260301101530||OUL^R22|1|P|2.5.1\nPID|1||7\nSPM|1|S1\nOBR|1|O1||GLU\n"
STEPS = """
- each: PATIENT
  do:
    - create: Patient
      key: =PID-3.1
      body: {active: true}
    - each: SPECIMEN
      do:
        - each: ORDER
          do:
            - each: RESULT
              LOOP
              do:
                - drop: left out
            - each: RESULT
              where: =OBX-3.1 == 'KEPT'
              do:
                - {create: Observation, key: =OBX-3.1, body: {status: final, code: {text: =OBX-3.1}}}
"""


@pytest.mark.parametrize(
    ("loop", "results", "unread"),
    [
        ("where: =OBX-3.1 != 'KEPT'", "OBX|1|ST|KEPT||x\nINV|A\n", ["INV"]),  # the INV of a result that is kept
        ("where: =OBX-3.1 != 'KEPT'", "OBX|1|ST|GONE||x\nINV|A\n", ["INV"]),  # names are looked at, not places
        ("", "OBX|1|ST|GONE||x\nTCD|A\nNTE|1\n", ["NTE"]),  # a TCD stands with results only, and all are left out
    ],
)
def test_a_drop_speaks_for_what_it_always_leaves_out(
    loop: str, results: str, unread: list[str], tmp_path: Path
) -> None:
    program = Workshop(tmp_path).steps(STEPS.replace("LOOP", loop), message_format="hl7v2/OUL_R22")
    issues = apply(program, HEAD + results).mapped.issues
    told = [issue.text.removeprefix("no rule reads ") for issue in issues if issue.code == "UNREAD_SEGMENT"]
    assert [name for name in told if name not in ("SPM", "OBR")] == unread
