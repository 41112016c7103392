"""What is misspelt in a mapping test is told with its place; nothing in a test file is a fault of ours."""

from pathlib import Path

import pytest

from engine.mapping.trying.expected_form import changes
from tests.support.command_line import labrelay

GIVEN = """\
given: |
  MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|1|P|2.5
  PID|1||7^^^HOSP^MR
  OBR|1|O1|F1|CBC|||20260301091500||||||||||||||||||F
  OBX|1|NM|HGB^Hb^L||14.8|g/dL|13.5-17.5|N|||F
"""
HEAD = "test: a\nmapping: hl7-results\n"
SOUND = "expect: {counts: {Observation: 1}}\n"


def told(tmp_path: Path, text: str) -> str:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    ran = labrelay("test", str(path))
    assert ran.code == 3, ran.out
    return ran.err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("timezone: Mars/X", "3:22: 'Mars/X' is no time zone"),
        ("timezone: [UTC]", "3:22: '' is no time zone"),
        ("timezone: ../../etc/passwd", "is no time zone"),
        ("received: yesterday", "3:22: 'yesterday' is no time; write it as 2026-03-01T10:15:30+05:30"),
        ("namespaces: x", "3:24: namespaces: is a map"),
        ("tables: x", "3:20: tables: is a map"),
        ("specimen_ids: sometimes", "3:26: specimen_ids is one of restart, day, unique, not 'sometimes'"),
        ("spm_obx: x", "spm_obx is one of result, specimen"),
        ("charset: [utf-8, nonsense]", "3:29: 'nonsense' is no character set"),
    ],
)
def test_settings(tmp_path: Path, settings: str, says: str) -> None:
    assert says in told(tmp_path, f"{HEAD}settings: {{{settings}}}\n{GIVEN}{SOUND}")


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        ("counts: [Observation]", "8:18: counts: is a map, as {Observation: 2"),
        ("counts: {Observatoin: 0}", "8:19: no resource is called Observatoin; did you mean Observation?"),
        ("counts: {Observation: one}", "8:32: counts.Observation: a whole number is expected, not 'one'"),
        ("resources: {find: Observation}", "8:21: a list is expected"),
        ("resources: [Observation]", "8:21: a list is expected"),
        ("resources: [{fnd: Observation}]", "8:23: no key is called 'fnd' here; did you mean find?"),
        ("resources: [{find: Observatio}]", "no resource is called Observatio; did you mean Observation?"),
        ("resources: [{find: Observation, has: x}]", "8:47: has: is a map of elements"),
        # It would never fail.
        (
            "resources: [{find: Observation, has: {valueQuanttiy: $absent}}]",
            "8:48: Observation has no element valueQuanttiy; did you mean valueQuantity?",
        ),
        (
            "resources: [{find: Observation, has: {referenceRange: [{low: {valeu: 1}}]}}]",
            "Observation.referenceRange.low has no element valeu; did you mean value?",
        ),
        (
            "resources: [{find: Patient, has: {_birthdate: {}}}]",
            "Patient has no element _birthdate; did you mean birth",
        ),
        (
            "resources: [{find: Observation, has: {status: $absnt}}]",
            "'$absnt' means nothing here; did you mean $absent",
        ),
        ("resources: [{find: Observation, has: {status: '$match ('}}]", "8:57: not a regular expression"),
        ("resources: [{find: Observation, has: {status: {$match: '['}}}]", "not a regular expression"),
        ("issues: none", "8:18: issues: is a list"),
        ("issues: [{kode: X}]", "8:20: an issue has no kode; did you mean code?"),
        ("unmapped: HGB", "8:20: unmapped: is a list"),
        ("unread: OBX-1", "8:18: unread: is a list"),
        ("unread: [OBX1]", "8:19: 'OBX1' is no field; write one as OBX-1"),
        ("dead: UNMAPPED_CODES", "8:16: no reason is called 'UNMAPPED_CODES'; did you mean UNMAPPED_CODE?"),
        ("filtered: {a: b}", "8:20: no reason is called ''"),
        ("{dead: UNMAPPED_CODE, counts: {Patient: 1}}", "counts: is never looked at beside dead:"),
        ("golden: ../../x.json", "8:18: golden: is the name of a file beside the test"),
        ("golden: [x]", "golden: is the name of a file"),
        ("count: {Patient: 1}", "8:10: expect: has no key 'count'; did you mean counts?"),
    ],
)
def test_expectations(tmp_path: Path, expect: str, says: str) -> None:
    written = expect if expect.startswith("{") else f"{{{expect}}}"
    assert says in told(tmp_path, f"{HEAD}{GIVEN}expect: {written}\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("test: [a]\n" + GIVEN + SOUND, "t.yaml:1:7: test: is one text"),
        ("- a\n", "t.yaml:1:3: a test is a map"),
        ("", "t.yaml:1:1: expect: is missing"),
        (
            HEAD.replace("results", "reslts") + GIVEN + SOUND,
            "t.yaml:2:10: there is no mapping hl7-reslts; did you mean hl7-res",
        ),
    ],
)
def test_files(tmp_path: Path, text: str, says: str) -> None:
    assert says in told(tmp_path, text)


def test_one_wrong_file_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{HEAD}{GIVEN}expect: {{issue: []}}\n")
    (tmp_path / "b.yaml").write_text(f"{HEAD}{GIVEN}{SOUND}")
    ran = labrelay("test", str(tmp_path))
    assert (ran.code, ran.out.strip()) == (3, "1 passed, 0 failed")
    assert "a.yaml:8:10: expect: has no key 'issue'" in ran.err


@pytest.mark.parametrize(
    ("expected", "actual", "line"),
    [
        ("", "x", "a: expected '', got x"),
        ("x", " x", "a: expected x, got ' x'"),
        ("5.0", "5", "a: expected 5.0, got 5"),
        (["x"], {"b": "x"}, "a: expected a list of 1, got an object with b"),
    ],
)
def test_what_cannot_be_seen_is_shown_in_quotes(expected: object, actual: object, line: str) -> None:
    assert list(changes(expected, actual, "a")) == [line]
