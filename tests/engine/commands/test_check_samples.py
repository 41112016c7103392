"""`labrelay check --samples`: every message of a folder through the site's channels, without a daemon."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.commands.shared.sampling import departures
from tests.support.command_line import labrelay
from tests.support.mapping_texts import ASTM, HL7
from tests.support.sites import SITE_YAML, make_site

ROOT = Path(__file__).parents[3]
CHANNELS = {
    "counter.yaml": """\
channel: counter
source: {kind: astm, listen: "127.0.0.1:0"}
routes:
  - mapping: astm-results
    to: archive
""",
    "lab.yaml": """\
channel: lab
source: {kind: mllp, listen: "127.0.0.1:0"}
routes:
  - when: =MSH-9.1 == 'ADT'
    filter: the hospital sends these elsewhere
  - when: =MSH-9.1 == 'ORU'
    mapping: hl7-results
    to: archive
  - when: =MSH-9.1 == 'MDM'
    to: archive
""",
    "ward.yaml": """\
channel: ward
source: {kind: mllp, listen: "127.0.0.1:0"}
settings: {on_missing: dead}
routes:
  - mapping: hl7-results
    to: archive
""",
}
# A unit that the table does not have for a code that it has.
TABLE = """\
code,unit_in,loinc,display,type,unit,ucum,factor,digits
WBC,10*3/uL,6690-2,Leukocytes,NM,10*9/L,10*9/L,1,
RBC,10*12/L,789-8,Erythrocytes,NM,10*12/L,10*12/L,1,
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_site(tmp_path / "site", site=SITE_YAML, channels=CHANNELS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "samples"
    made.mkdir()
    return made


def put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def test_each_message_goes_to_the_channel_that_would_take_it(site: Path, folder: Path) -> None:
    put(folder, "a.hl7", HL7 + HL7.replace("ORU^R01", "ADT^A01") + HL7.replace("ORU^R01", "MDM^T02"))
    put(folder, "b.astm", ASTM)
    put(folder, "expected.json", "{}")
    ran = labrelay("check", "--samples", str(folder), "-o", "json", site=site)

    assert ran.code == ExitCode.OK, ran.out
    rows = ran.json["messages"]
    assert [(row["file"], row["message"], row["channel"], row["outcome"], row["code"]) for row in rows] == [
        ("a.hl7", 1, "lab", "mapped", ""),
        ("a.hl7", 2, "lab", "filtered", "FILTERED"),
        ("a.hl7", 3, "lab", "passed on", ""),
        ("b.astm", 1, "counter", "mapped", ""),
    ]
    assert rows[0]["also"] == ["ward"]
    assert (rows[0]["results_in"], rows[0]["resources"]["Observation"]) == (2, 2)
    assert ran.json["skipped"] == [{"file": "expected.json", "why": "no message, by its name"}]
    assert ran.json["totals"]["outcomes"] == {"mapped": 2, "filtered": 1, "passed on": 1}
    assert ran.json["totals"]["results"] == {
        "in": 8,
        "in_mapped": 4,
        "in_filtered": 2,
        "in_passed_on": 2,
        "observations": 4,
    }
    assert ran.json["remarks"], "what is said about the configuration is said as well"


def test_a_condition_that_holds_goes_before_the_alphabet(tmp_path: Path, folder: Path) -> None:
    channel = """channel: {}
source: {{kind: mllp, listen: "127.0.0.1:0"}}
routes: [{{{}to: archive}}]
"""
    channels = {"a.yaml": channel.format("alpha", ""), "b.yaml": channel.format("beta", "when: =MSH-9.1 == 'ORU', ")}
    put(folder, "a.hl7", HL7)
    settings = f"{SITE_YAML}backup: {{folder: /nowhere}}\n"  # which is warned of
    site = make_site(tmp_path / "two", site=settings, channels=channels)
    ran = labrelay("check", "--samples", str(folder), site=site)
    (line,) = [line for line in ran.out.splitlines() if line.startswith("a.hl7")]
    assert "beta" in line
    assert "warning: " in ran.err
    assert "x1b" not in ran.out + ran.err


def test_a_folder_with_a_channels_name_holds_its_messages(site: Path, folder: Path) -> None:
    put(folder, "ward/a.hl7", HL7)
    ran = labrelay("check", "--samples", str(folder), "-o", "json", site=site)

    (row,) = ran.json["messages"]
    assert (row["channel"], row["outcome"], row["code"]) == ("ward", "dead", "UNMAPPED_CODE")
    assert ran.code == ExitCode.FAILED
    assert ran.json["ok"] is False


def test_what_is_lost_or_unmapped_is_told_for_people_without_a_value(site: Path, folder: Path) -> None:
    put(folder, "a.hl7", HL7.replace("NTE|1||seen", "ZXX|canary\nBLG|D\nNTE|1||seen"))
    ran = labrelay("check", "--samples", str(folder), "--channel", "lab", site=site)

    assert ran.code == ExitCode.OK, ran.err
    assert "ZXX: 1 message, as a.hl7: 1" in ran.out
    assert "UNREAD_SEGMENT" in ran.out
    assert "# rows for table analytes;" in ran.out
    assert "HGB,g/dL,,Hemoglobin" in ran.out
    put(folder, "b.hl7", HL7.replace("|g/dL|", "|furlong|"))
    put(folder, "c.astm", ASTM.replace("L|1|N\n", ""))
    more = labrelay("check", "--samples", str(folder), site=site).out
    assert "  unit_in,ucum,dimension\n  # lab: seen 1 time\n  furlong,,\n" in more, "another table has other columns"
    assert "no-terminator at L: there is no L record" in more
    assert "2 results in: 2 in mapped messages; the mappings made of them 2 observations" in ran.out
    assert "canary" not in ran.out
    assert "Doe" not in ran.out


def test_a_document_that_says_another_than_the_facts_is_a_warning(site: Path, folder: Path) -> None:
    """A mapping of the site's own that reads the tube from the field of the order."""
    shipped = (ROOT / "mappings/astm-results.yaml").read_text(encoding="utf-8")
    own = shipped.replace("of_o3: =tube_number(O-3, 'O-3')", "of_o3: =O-2")
    assert own != shipped
    (site / "mappings").mkdir(exist_ok=True)
    (site / "mappings/astm-results.yaml").write_text(own)
    (folder / "counter").mkdir()
    (folder / "counter/one.astm").write_text(ASTM.replace("O|1|S77", "O|9|S77"))
    ran = labrelay("check", "--samples", str(folder), "-o", "json", site=site)
    (sample,) = [one for one in ran.json["messages"] if one["file"] == "counter/one.astm"]
    found = [(one["code"], one["place"], one["text"].partition(":")[0]) for one in sample["warnings"]]
    assert ("FACTS_DIFFER", "R[1]", "tube") in found
    assert "S77" not in ran.out


def test_dead_messages_are_exit_code_1_with_place_and_reason(site: Path, folder: Path) -> None:
    (site / "mappings/tables").mkdir()
    (site / "mappings/tables/mine.csv").write_text(TABLE)
    (site / "channels/counter.yaml").write_text(
        CHANNELS["counter.yaml"] + "settings: {on_missing_unit: dead, tables: {analytes: tables/mine.csv}}\n"
    )
    put(folder, "a.astm", ASTM)
    put(folder, "noise.txt", "hello")
    ran = labrelay("check", "--samples", str(folder), "-o", "json", site=site)

    assert ran.code == ExitCode.FAILED
    first, second = ran.json["messages"]
    assert (first["channel"], first["outcome"], first["code"]) == ("counter", "dead", "UNMAPPED_UNIT")
    assert first["place"].startswith("R[2]")
    assert (second["channel"], second["outcome"], second["code"]) == (None, "dead", "UNREADABLE")
    people = labrelay("check", "--samples", str(folder), site=site)
    assert "a.astm: 1: UNMAPPED_UNIT at R[2]" in people.out


def test_texts_of_a_layout_are_cut_and_read_as_their_channel_does(tmp_path: Path, folder: Path) -> None:
    channel = 'channel: vidas\nsource: {kind: text, listen: "127.0.0.1:0", layout: biomerieux-minividas}\n'
    channel += "routes:\n  - mapping: astm-results\n    to: archive\n"
    site = make_site(tmp_path / "site", channels={"vidas.yaml": channel})
    samples = Path(__file__).parents[3] / "samples/biomerieux_minividas"
    put(folder, "a.txt", (samples / "01-hepatitis.txt").read_text(encoding="ascii"))
    ran = labrelay("check", "--samples", str(folder), "-o", "json", site=site)

    assert ran.code == ExitCode.OK, ran.out
    assert {(row["channel"], row["outcome"]) for row in ran.json["messages"]} == {("vidas", "mapped")}


def test_without_a_site_the_shipped_mappings_are_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("engine.config.site.SYSTEM_SITE", tmp_path / "none")
    put(folder, "a.hl7", HL7)
    ran = labrelay("check", "--samples", str(folder), "-o", "json")

    assert ran.code == ExitCode.OK, ran.err
    assert ran.json["messages"][0]["channel"] is None
    assert ran.json["messages"][0]["mapping"].startswith("hl7-results@")
    assert "no problem" not in ran.err


def test_a_document_that_is_not_valid_is_told_by_path(tmp_path: Path, folder: Path) -> None:
    mapping = """\
mapping: results
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
steps:
  - each: PATIENT_RESULT
    do:
      - create: Patient
        key: =PID-3.1
        body: {identifier: {system: "=concat('urn:x:', PID-5.1, ' ')", value: "=PID-3.1"}, active: true}
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            drop: not needed here
"""
    site = make_site(tmp_path / "site", mapping=mapping)
    put(folder, "a.hl7", HL7)
    ran = labrelay("check", "--samples", str(folder), "-o", "json", site=site)

    assert ran.code == ExitCode.FAILED
    assert ran.json["messages"][0]["invalid"] == ["Bundle.entry[0].resource.identifier[0].system: not a uri"]
    assert "Doe" not in ran.out


def test_a_site_with_problems_runs_nothing(site: Path, folder: Path) -> None:
    (site / "channels/lab.yaml").write_text(CHANNELS["lab.yaml"] + "colour: red\n")
    put(folder, "a.hl7", HL7)
    ran = labrelay("check", "--samples", str(folder), "-o", "json", site=site)

    assert ran.code == ExitCode.CONFIG
    assert "messages" not in ran.json
    assert "mend the configuration first" in ran.err


def test_options_about_messages_need_messages(site: Path) -> None:
    for option in (("--channel", "lab"), ("--mapping", "hl7-results")):
        ran = labrelay("check", *option, site=site)
        assert ran.code == ExitCode.USAGE
        assert "give --samples" in ran.err


def test_strict_tells_departures_without_values(site: Path, folder: Path) -> None:
    put(folder, "a.hl7", HL7.replace("|N|||F|", "|CANARY||||"))
    plain = labrelay("check", "--samples", str(folder), "-o", "json", site=site)
    ran = labrelay("check", "--samples", str(folder), "--strict", "-o", "json", site=site)

    assert (plain.code, ran.code) == (ExitCode.OK, ExitCode.FAILED)
    (row,) = ran.json["messages"]
    assert row["outcome"] == "mapped", "LabRelay reads more than the standard allows"
    assert "OBX.OBX_11 is required" in row["hl7_errors"]
    assert "OBX.OBX_8 is not in table 0078" in row["hl7_warnings"]
    assert "CANARY" not in ran.out


def test_strict_tells_what_a_version_does_not_have(site: Path, folder: Path) -> None:
    put(folder, "a.hl7", HL7.replace("|N|||F|||20260301094500", "|N|||F|||20260301094500" + "|" * 12 + "CANARY"))
    put(folder, "b.hl7", HL7.replace("ORU^R01", "ORU^Z99^ORU_Z99"))
    rows = labrelay("check", "--samples", str(folder), "--strict", "-o", "json", site=site).json["messages"]

    assert "OBX has a field that this version does not have" in rows[0]["hl7_errors"]
    assert rows[1]["hl7_errors"] == ["HL7 has no structure of this name in this version (MSH-9, MSH-12)"]


DOCUMENTS = {
    "an element that FHIR does not have": ({"colour": "CANARY"}, ["R4B: entry.0.resource.colour: extra forbidden"]),
    "no code": ({"code": None}, ["R4B: entry.0.resource.code: missing"]),
    "as it should be": ({}, []),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_another_reader_judges_a_document_without_values(name: str) -> None:
    changed, expected = DOCUMENTS[name]
    made = {"resourceType": "Observation", "status": "final", "code": {"text": "CANARY"}, "valueString": "CANARY"}
    resource = {key: value for key, value in {**made, **changed}.items() if value is not None}
    body = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource}]}).encode()
    assert departures(body) == expected


def test_what_is_no_resource_is_told() -> None:
    assert departures(b'{"resourceType": "CANARY"}') == ["R4B: there is no resource of this type"]
    assert departures(b"no JSON") == []  # our own look says so


@pytest.mark.parametrize("strict", [True, False])
def test_only_strict_loads_the_readers_of_the_standards(site: Path, folder: Path, strict: bool) -> None:
    put(folder, "a.hl7", HL7)
    given = ["--site", str(site), "check", "--samples", str(folder), "-o", "json", *(["--strict"] if strict else [])]
    code = (
        "import sys; from engine.__main__ import run; run(sys.argv[1:]);"
        "print(*sorted({'fhir.resources', 'hl7apy'} & sys.modules.keys()), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *given], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    assert json.loads(ran.stdout)["messages"][0]["outcome"] == "mapped"
    assert ran.stderr.splitlines()[-1:] == (["fhir.resources hl7apy"] if strict else [""])


def test_strict_finds_nothing_in_what_the_shipped_mappings_make(site: Path, folder: Path) -> None:
    put(folder, "a.hl7", HL7)
    put(folder, "b.astm", ASTM)
    rows = labrelay("check", "--strict", "--samples", str(folder), "-o", "json", site=site).json["messages"]
    assert [row["invalid"] for row in rows] == [[], []]


def test_the_end_of_the_old_name_is_told(site: Path) -> None:
    ran = labrelay("check", "--strict-hl7", site=site)
    assert ran.code == ExitCode.USAGE
