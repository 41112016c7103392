"""Mapping tests that say what is held: the rules of the test, or of a channel's route, with the past that it tells."""

from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.mapping.trying.testing import Runner, read_tests
from engine.model.errors import ConfigError
from tests.support.command_line import Ran, labrelay
from tests.support.mapping_texts import HL7
from tests.support.shipped import MAPPINGS
from tests.support.values import mentions

RUNNER = Runner()  # keeps what it has compiled
GIVEN = "given: |\n" + "".join(f"  {line}\n" for line in HL7.splitlines())
CHANNEL = """\
channel: haem
source: {kind: mllp, listen: "127.0.0.1:0"}
routes:
  - {when: "=MSH-9.1 == 'ADT'", filter: not here}
  - when: =MSH-9.1 == 'ORU'
    mapping: hl7-results
    to: archive
    hold:
      - =code == 'HGB' and abs(delta('7d')) > 2
      - {when: "=qc_failed('24h') | false", reason: a control failed}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name in ("config", "channels", "mappings/tests"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "config/labrelay.yaml").write_text(
        "site: {name: T, timezone: UTC}\ndestinations: {archive: {kind: file, folder: var/a}}\n"
        "patient_numbers: lasting\n"  # rules on earlier values are refused where numbers are counters
    )
    (tmp_path / "channels/haem.yaml").write_text(CHANNEL)
    return tmp_path


def failures(folder: Path, text: str) -> list[str]:
    """Of a test without a site."""
    path = folder / "one.yaml"
    path.write_text(f"test: it\nmapping: hl7-results\n{GIVEN}{text}")
    (test,) = read_tests(path)
    return RUNNER.run(test, (MAPPINGS,)).failures


def run(site: Path, text: str) -> Ran:
    path = site / "mappings/tests/one.yaml"
    path.write_text(f"test: it\nmapping: hl7-results\nchannel: haem\n{GIVEN}{text}")
    return labrelay("test", str(path), site=site)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hold: =value > 14\nexpect: {held: HELD_BY_RULE}\n", []),
        ("hold: =value > 14\nexpect: {held: no}\n", ["held: expected no, and it would be held: HELD_BY_RULE: "]),
        ("hold: =value > 15\nexpect: {held: no}\n", ["held: expected no, and it would be held: HOLD_UNDECIDED"]),
        ("hold: =value and value > 15\nexpect: {held: no}\n", []),
        ("hold: =value and value > 15\nexpect: {held: HELD_BY_RULE}\n", ["held: expected to be held, and no rule"]),
        ("hold: [{when: =value > 14, reason: too high}]\nexpect: {held: {why: too high (HGB)}}\n", []),
        ("hold: =value > 14\nexpect: {held: {why: low}}\n", ["held: expected a reason with 'low', got: value > 14"]),
        ("hold: =value > 15\nexpect: {held: {cause: HOLD_UNDECIDED, why: no number}}\n", []),
        ("hold: =delta('1d') > 2\nearlier: {HGB: '12', COL: '1'}\nexpect: {held: HELD_BY_RULE}\n", []),
        ("hold: =qc_failed('1d')\ncontrols: {HGB: failed, COL: passed}\nexpect: {held: HELD_BY_RULE}\n", []),
        ("hold: =qc_failed('1d')\ncontrols: {HGB: passed, COL: passed}\nexpect: {held: no}\n", []),
    ],
)
def test_a_test_with_rules_of_its_own(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = failures(tmp_path, text)
    assert len(found) == len(expected), found
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True)), found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("expect: {held: no}\n", "held: needs rules"),
        ("hold: =value > 1\nchannel: haem\nexpect: {held: no}\n", "not both"),
        ("hold: =value > 1\nexpect: {held: CRITICAL}\n", "held: expected no, HELD_BY_RULE"),
        ("hold: =value > 1\nexpect: {held: {reason: x}}\n", "held: has no key 'reason'"),
        ("hold: =value > 1\nearlier: {HGB: many}\nexpect: {held: no}\n", "earlier: HGB: expected a decimal"),
        ("hold: =value > 1\ncontrols: {HGB: bad}\nexpect: {held: no}\n", "expected passed or failed"),
        ("hold: =valu > 1\nexpect: {held: no}\n", "one.yaml:10:8: a rule knows no name 'valu'"),
        ("hold: [{reason: x}]\nexpect: {held: no}\n", "a rule is an expression, or {when"),
    ],
)
def test_a_wrong_test_is_told(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        failures(tmp_path, text)
    assert any(problem in one for one in raised.value.problems), raised.value.problems


def test_the_rules_of_a_channels_route(site: Path) -> None:
    assert run(site, "earlier: {HGB: '14.0'}\nexpect: {held: no}\n").code == ExitCode.OK
    assert run(site, "earlier: {HGB: '12.0'}\nexpect: {held: HELD_BY_RULE}\n").code == ExitCode.OK
    failed = run(site, "earlier: {HGB: '14'}\ncontrols: {HGB: failed}\nexpect: {held: no}\n")
    assert failed.code == ExitCode.FAILED
    assert "would be held: HELD_BY_RULE: a control failed (HGB)" in failed.out


def test_a_test_of_a_channel_maps_as_the_channel_does(site: Path) -> None:
    """With its tables, settings and zone: a test that passed without them would show nothing of the channel."""
    (site / "mappings/tables").mkdir()
    (site / "mappings/tables/mine.csv").write_text(
        "code,unit_in,loinc,display,type,unit,ucum\nHGB,g/dL,718-7,Hemoglobin [Mass/volume] in Blood,NM,,g/dL\n"
    )
    settings = "timezone: Asia/Kolkata\nsettings: {local_system: 'urn:mine', tables: {analytes: tables/mine.csv}}\n"
    (site / "channels/haem.yaml").write_text(CHANNEL.replace("routes:", f"{settings}routes:"))
    has = "has: {code: {coding: [{code: 718-7}, {system: %s, code: HGB}]}, effectiveDateTime: {$match: '%s'}}"
    expect = "expect: {resources: [{find: Observation, " + has + "}]}\n"

    assert run(site, expect % ("urn:mine", "[+]05:30$")).code == ExitCode.OK
    own = "settings: {local_system: 'urn:own', timezone: Europe/Vienna}\n"
    assert run(site, own + expect % ("urn:own", "[+]01:00$")).code == ExitCode.OK
    assert run(site, own + expect % ("urn:mine", "[+]05:30$")).code == ExitCode.FAILED


def test_a_channel_that_nobody_knows_is_told(site: Path, tmp_path: Path) -> None:
    (site / "channels/haem.yaml").write_text(CHANNEL.replace("channel: haem", "channel: other"))
    ran = run(site, "expect: {held: no}\n")
    assert ran.code == ExitCode.CONFIG
    assert "one.yaml:3:10: the site has no channel haem" in ran.out + ran.err
    with pytest.raises(ConfigError, match="there is no site here, so channel haem is not known"):
        failures(tmp_path, "channel: haem\nexpect: {held: no}\n")


def test_map_and_explain_say_what_would_be_held(site: Path, tmp_path: Path) -> None:
    (tmp_path / "m.hl7").write_bytes(HL7.replace("\n", "\r").encode())
    text = "would be held: HOLD_UNDECIDED: code == 'HGB' and abs(delta('7d')) > 2: cannot be decided"

    for verb in ("map", "explain"):
        ran = labrelay(verb, "--channel", "haem", str(tmp_path / "m.hl7"), "-o", "json", site=site)
        assert text in ran.err
        assert not mentions(ran.err, "14.8")
    assert ran.json["messages"][0]["held"]["code"] == "HOLD_UNDECIDED"
    assert (
        "; would be held" in labrelay("map", "--channel", "haem", str(tmp_path / "m.hl7"), "-o", "table", site=site).out
    )
    assert "held" not in labrelay("map", str(tmp_path / "m.hl7"), site=site).err


def test_rules_of_a_route_are_asked_whatever_a_mapping_makes(site: Path, tmp_path: Path) -> None:
    (tmp_path / "m.hl7").write_bytes(HL7.replace("\n", "\r").encode())
    ran = labrelay("map", "--channel", "haem", "--mapping", "hl7-to-json", str(tmp_path / "m.hl7"), site=site)
    assert (ran.code, "would be held: HOLD_UNDECIDED: code == 'HGB'" in ran.err) == (ExitCode.OK, True), ran.err


def test_a_wrong_rule_of_a_channel_stops_the_check(site: Path) -> None:
    (site / "channels/haem.yaml").write_text(CHANNEL.replace("delta(", "dleta("))
    ran = labrelay("check", site=site)

    assert ran.code == ExitCode.CONFIG
    assert "channels/haem.yaml:9:32: a rule knows no function dleta(); did you mean delta?" in ran.out + ran.err


def test_a_folder_of_samples_says_what_would_be_held(site: Path, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for number, value in enumerate(("14.8", "9.9")):
        text = HL7.replace("|14.8|", f"|{value}|").replace("HGB^Hemoglobin", "WBC^Leukocytes" if number else "HGB^x")
        (tmp_path / f"samples/{number}.hl7").write_bytes(text.replace("\n", "\r").encode())
    people = labrelay("check", "--samples", str(tmp_path / "samples"), "--channel", "haem", site=site)
    scripts = labrelay("check", "--samples", str(tmp_path / "samples"), "--channel", "haem", "-o", "json", site=site)

    assert "would be held back" in people.out
    assert "abs(delta('7d')) > 2: cannot be decided" in people.out
    found = [bool(sample["held"]) for sample in scripts.json["messages"]]
    assert (found, scripts.json["totals"]["held"]) == ([True, False], 1)
