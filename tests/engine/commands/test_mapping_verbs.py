"""`labrelay map`, `explain`, `test` and `gaps` as their users see them."""

import io
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from engine.features.codes.commands import gaps as gaps_command
from engine.model.message import Unmapped
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support.command_line import labrelay
from tests.support.filled_journal import CANARY, DELIVERED, fill_journal
from tests.support.mapping_texts import ASTM, HL7
from tests.support.sites import MAPPING_YAML, make_site
from tests.support.values import mentions

CHECKOUT = Path(__file__).parents[3]

MAPPING = """\
mapping: small
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
tables:
  codes: {csv: tables/codes.csv, key: [code, unit_in], on_missing: local}
steps:
  - each: PATIENT_RESULT
    do:
      - create: Patient
        key: =PID-3.1
        body:
          name: =xpn(PID-5)
          gender: =lookup('0001', PID-8)
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            create: Observation
            key: =[OBR-3.1, OBX-3.1, OBX-4 | '-']
            let:
              row: =lookup('codes', OBX-3.1, OBX-6)
            body:
              status: final
              code: =coded(row, cwe(OBX-3))
              $case:
                - when: =decimal(OBX-5).value
                  valueQuantity: =quantity(decimal(OBX-5), row, OBX-6)
                - when: =OBX-5
                  valueString: =OBX-5
"""
TEST = """\
test: hemoglobin is converted
mapping: small
settings: {timezone: Asia/Kolkata}
given: |
  MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|1|P|2.5
  PID|1||7^^^HOSP^MR||Doe^Jane||19800101|F
  OBR|1|O1|F1|CBC|||20260301091500
  OBX|1|NM|HGB^Hb^L||14.8|g/dL
expect:
  counts: {Observation: 1, Patient: 1, results_in: 1}
  resources:
    - find: Observation
      has:
        code: {coding: [{code: 718-7}, {code: HGB, display: $match ^H}]}
        valueQuantity: {value: 148, unit: g/L}
        valueString: $absent
        status: $any
  issues: []
  unread: [OBX-1]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with one mapping, its table and its test."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/labrelay.yaml").write_text("site: {name: Lab, timezone: Asia/Kolkata}\n")
    (tmp_path / "mappings/tables").mkdir(parents=True)
    (tmp_path / "mappings/tests").mkdir()
    (tmp_path / "mappings/small.yaml").write_text(MAPPING)
    (tmp_path / "mappings/tables/codes.csv").write_text(
        "code,unit_in,loinc,unit,factor,digits\nHGB,g/dL,718-7,g/L,10,0\n"
    )
    (tmp_path / "mappings/tests/hemoglobin.yaml").write_text(TEST)
    return tmp_path


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "m.hl7"
    path.write_text(HL7)
    return path


def rule(element: str) -> str:
    """Where the rule of an element stands."""
    lines = MAPPING.splitlines()
    return f"small.yaml:{next(at for at, line in enumerate(lines, 1) if line.strip().startswith(element))}"


def write(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


# -- map ---------------------------------------------------------------------------------------------------------


def test_map_prints_a_bundle_with_its_digits(message: Path) -> None:
    ran = labrelay("map", str(message))
    assert ran.code == 0
    assert ran.json["resourceType"] == "Bundle"
    assert ran.json["type"] == "transaction"
    assert '"value": 14.8' in ran.out
    assert ran.out.splitlines()[1] == '  "resourceType": "Bundle",'


def test_map_takes_the_messages_own_time_or_the_one_that_is_given(message: Path, tmp_path: Path) -> None:
    def recorded(*more: str, file: str = str(message)) -> list[str]:
        entries = labrelay("map", file, *more).json["entry"]
        return [one["resource"]["recorded"] for one in entries if one["resource"]["resourceType"] == "Provenance"]

    assert recorded("--timezone", "UTC") == ["2026-03-01T10:15:30.000+00:00"]
    assert recorded("--timezone", "Asia/Kolkata") == ["2026-03-01T04:45:30.000+00:00"]
    assert recorded("--received", "2026-03-02T00:00:00+05:30") == ["2026-03-01T18:30:00.000+00:00"]
    without = write(tmp_path, "x.hl7", HL7.replace("20260301101530", "").encode())
    assert recorded(file=without) == []


@pytest.mark.parametrize(
    ("wrapped", "count"),
    [
        (HL7.replace("\n", "\r").encode(), 1),
        (HL7.replace("\n", "\r\n").encode(), 1),
        (b"\x0b" + HL7.replace("\n", "\r").encode() + b"\x1c\r", 1),
        ((b"\x0b" + HL7.replace("\n", "\r").encode() + b"\x1c\r") * 2, 2),
        (HL7.encode() + HL7.replace("|M1|", "|M2|").encode(), 2),
        (b"FHS|^~\\&|\rBHS|^~\\&|\r" + HL7.replace("\n", "\r").encode() + b"BTS|1\rFTS|1\r", 1),
        (b"\xef\xbb\xbf" + HL7.encode(), 1),
        (ASTM.encode(), 1),
        (ASTM.replace("\n", "\r").encode() * 2, 2),
        (b"\x05\x021" + ASTM.replace("\n", "\r").encode() + b"\x0300\r\n\x04", 1),
    ],
)
def test_map_reads_messages_as_people_have_them(tmp_path: Path, wrapped: bytes, count: int) -> None:
    ran = labrelay("map", write(tmp_path, "x", wrapped), "-o", "ndjson")
    assert ran.code == 0, ran.err
    assert [line["resourceType"] for line in ran.lines] == ["Bundle"] * count


def test_map_of_several_messages_is_one_json_array(message: Path) -> None:
    ran = labrelay("map", str(message), str(message))
    assert [bundle["resourceType"] for bundle in ran.json] == ["Bundle", "Bundle"]


def test_a_message_that_would_be_dead_is_said_and_the_others_are_printed(tmp_path: Path, message: Path) -> None:
    bad = HL7.replace("|P|2.5", "|P|2.5||||||NO SUCH SET") + HL7.replace("ORU^R01", "QBP^Q11") + HL7
    ran = labrelay("map", write(tmp_path, "x.hl7", bad.encode()), "-o", "ndjson")
    assert ran.code == 1
    assert len(ran.lines) == 1
    errors = [line for line in ran.err.splitlines() if "warning" not in line]
    assert "x.hl7: message 1: UNKNOWN_CHARSET: MSH-18: " in errors[0]
    assert re.search(r"x\.hl7: message 2: NO_ROUTE: .*QBP\^Q11", errors[1])


def test_training_messages_and_undeclared_windows_text_are_mapped_with_a_warning(tmp_path: Path) -> None:
    """No channel is named, so nothing says that they are not wanted: `map` sends nothing."""
    text = HL7.replace("|P|2.5", "|T|2.5").replace("Doe", "Müller").encode("cp1252")
    ran = labrelay("map", write(tmp_path, "x.hl7", text), "-o", "ndjson")
    assert ran.code == 0
    assert "Müller" in ran.out
    assert "x.hl7: message 1: warning: NOT_PRODUCTION: marked as training" in ran.err
    assert "x.hl7: message 1: warning: CHARSET_FALLBACK at MSH-18: read as cp1252" in ran.err


def test_a_table_says_what_each_message_holds_and_what_came_of_it(tmp_path: Path) -> None:
    text = HL7 + HL7.replace("ORU^R01", "QBP^Q11")
    ran = labrelay("map", write(tmp_path, "x.hl7", text.encode()), "-o", "table")
    assert ran.code == 1
    _, first, second = ran.out.splitlines()
    assert re.search(r"message 1 +ORU\^R01 +1 +1 +2 +.*1 Patient, .*2 Observation", first)
    assert re.search(r"message 2 +QBP\^Q11 +1 +1 +2 +NO_ROUTE", second)


def test_results_that_are_left_out_are_counted_beside_the_resources(tmp_path: Path) -> None:
    control = "OBR|2|QC1||CBC|||||||||||SER^^^^^^Q\nOBX|1|NM|HGB||12|g/dL|||||F\n"
    ran = labrelay("map", write(tmp_path, "x.hl7", (HL7 + control).encode()), "-o", "table", "-q")
    assert re.search(r" 3 +1 .*2 Observation, .*, 1 result of controls filtered$", ran.out.splitlines()[1])


BAD_BYTES = [
    b"",
    b"\x00\xff\xfe",
    b"hello",
    b"MSH",
    b"MSH|",
    b"MSH|^~\\&|",
    b"H",
    b"H|",
    b"\x05\x04",
    b"\x0b\x1c\r",
    b"\xff" * 100,
    b"PID|1",
    b"MSH|^~\\&|A|B|||\xff\xfe||ORU^R01|1|P|2.5\rOBX|\xff",
    b"\x02" * 50,
    b"H|\\^&\rR|1|",
    b"MSH" * 50,
]


@pytest.mark.parametrize("data", BAD_BYTES)
def test_bad_bytes_are_an_error_and_never_a_traceback(tmp_path: Path, data: bytes) -> None:
    for verb in ("map", "explain", "gaps"):
        ran = labrelay(verb, write(tmp_path, "x", data))
        assert ran.code in (0, 1)
        assert "Traceback" not in ran.err
        assert "fault inside LabRelay" not in ran.err
        if ran.code:
            assert re.search(r"x: message 1: [A-Z_]+: ", ran.err)


def test_a_mapping_that_there_is_not_gets_the_names_of_mappings_and_of_no_library(site: Path, message: Path) -> None:
    ran = labrelay("map", str(message), "--mapping", "nope", site=site)
    assert ran.code == 3
    files = (Path(__file__).parents[3] / "mappings").glob("*.yaml")
    shipped = {file.stem for file in files if re.search("^mapping:", file.read_text(), re.MULTILINE)}
    known = ran.err.rstrip().rpartition("known are ")[2].split(", ")
    assert known == sorted({"small", *shipped})
    assert "hl7-results" in known
    assert "hl7-lab" not in known


@pytest.mark.parametrize("verb", ["map", "gaps", "explain"])
def test_an_analyzer_that_is_recognised_without_its_pack_is_named(verb: str, tmp_path: Path) -> None:
    sample = str(CHECKOUT / "samples" / "sysmex_xn" / "01-blood-count.astm")
    said = (
        "sysmex-xn was recognised (the analyzer names itself XN-... in H-5). Its code table and settings were not used"
    )
    ran = labrelay(verb, sample)
    assert ran.err.count(said) == 1
    assert "labrelay init --analyzer sysmex-xn" in ran.err

    channel = (CHECKOUT / "analyzers" / "sysmex-xn" / "channel.yaml").read_text(encoding="utf-8")
    site = make_site(tmp_path, channels={"sysmex-xn.yaml": channel.replace("lab-fhir, ", "")})
    ran = labrelay("--site", str(site), verb, sample, "--channel", "sysmex-xn")
    assert ran.code == 0
    assert said not in ran.err


def test_map_names_the_analyzer_once_and_before_its_warnings() -> None:
    sample = str(CHECKOUT / "samples" / "cepheid_genexpert" / "01-viral-load.astm")
    lines = labrelay("map", sample, sample).err.splitlines()
    assert lines[0].startswith("cepheid-genexpert was recognised")
    assert any(": warning: " in line for line in lines)
    assert sum("was recognised" in line for line in lines) == 1


def test_map_says_nothing_of_packs_where_none_or_no_single_one_is_recognised(message: Path, tmp_path: Path) -> None:
    assert "recognised" not in labrelay("map", str(message)).err
    sample = str(CHECKOUT / "samples" / "sysmex_xn" / "01-blood-count.astm")
    assert "recognised" not in labrelay("map", "-q", sample).err


def test_a_setting_that_is_given_is_checked_as_in_a_channel(message: Path) -> None:
    ran = labrelay("map", str(message), "--set", "r4=value^-^unit")
    assert ran.code == 2
    assert "r4: unit would be a component of this name" in ran.err


def test_map_uses_the_mapping_that_is_named(site: Path, message: Path) -> None:
    ran = labrelay("map", str(message), "--mapping", "small", site=site)
    types = [entry["resource"]["resourceType"] for entry in ran.json["entry"]]
    assert types == ["Patient", "Observation", "Observation", "Provenance"]
    by_path = labrelay("map", str(message), "--mapping", str(site / "mappings/small.yaml"), site=site)
    assert by_path.json["entry"][0] == ran.json["entry"][0]


def test_map_shows_the_facts_of_a_message(message: Path, tmp_path: Path) -> None:
    found = labrelay("map", "--facts", str(message)).json
    (order,) = found["people"][0]["orders"]
    assert found["people"][0]["number"] == "4711"
    assert [(one["place"], one["value"]["sent"]) for one in order["results"]] == [(1, "14.8"), (2, "yellow")]
    both = labrelay("map", "--facts", str(message), write(tmp_path, "a.astm", ASTM.encode()))
    assert [len(one["people"]) for one in both.json] == [1, 1]
    lines = labrelay("map", "--facts", "-o", "ndjson", str(message), str(message)).out.splitlines()
    assert [json.loads(line) for line in lines] == [found, found]


def test_map_says_that_a_message_has_no_facts_and_why_one_cannot_be_read(tmp_path: Path) -> None:
    empty = "\n".join(HL7.splitlines()[:3])
    ran = labrelay("map", "--facts", write(tmp_path, "empty.hl7", empty.encode()))
    assert (ran.code, ran.out) == (0, "")
    assert "no results, so no facts" in ran.err
    wrong = labrelay("map", "--facts", write(tmp_path, "wrong.hl7", b"MSH|^~"))
    assert wrong.code == 1
    assert "UNREADABLE" in wrong.err


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "", []),
        ("status: final", "status: preliminary", ["OBX[1]: status", "OBX[2]: status"]),
        ("decimal(OBX-5)", "decimal(OBX-1)", ["OBX[1]: digits"]),
        ("cwe(OBX-3)", "cwe(OBR-4)", ["OBX[1]: codes", "OBX[2]: codes"]),
        # Its table is none that the reader of facts asks: what it converts is told of, too.
        ("cwe(OBX-3)", "coded(lookup('codes', OBX-3.1, OBX-6), cwe(OBX-3))", ["OBX[1]: codes"]),
    ],
)
def test_map_warns_where_a_mapping_says_another_than_the_facts(
    site: Path, message: Path, before: str, after: str, said: list[str]
) -> None:
    plain = MAPPING.replace("=coded(row, cwe(OBX-3))", "=cwe(OBX-3)").replace("row, OBX-6)", "absent, OBX-6)")
    plain = plain.replace("            let:\n              row: =lookup('codes', OBX-3.1, OBX-6)\n", "")
    changed = plain.replace(before, after)
    assert (changed == plain) == (before == "")
    (site / "mappings/small.yaml").write_text(changed)
    ran = labrelay("map", str(message), "--mapping", "small", site=site)
    found = re.findall(r"FACTS_DIFFER at (\S+: \w+): the document says another than the facts", ran.err)
    assert [one for one in said if one not in found] == [], ran.err
    assert bool(found) == bool(said)
    assert "14.8" not in ran.err


def test_a_mapping_that_is_wrong_ends_with_3(site: Path, message: Path) -> None:
    (site / "mappings/small.yaml").write_text(MAPPING.replace("gender:", "gendre:"))
    ran = labrelay("map", str(message), "--mapping", "small", site=site)
    assert ran.code == 3
    assert "small.yaml:14:11: Patient has no element gendre; did you mean gender?" in ran.err
    assert labrelay("map", str(message), "--mapping", "none", site=site).code == 3


def test_what_cannot_be_read_is_wrong_use(tmp_path: Path, message: Path) -> None:
    assert labrelay("map", str(tmp_path / "none.hl7")).code == 2
    assert labrelay("map").code == 2
    assert labrelay("map", str(message), "--timezone", "Nowhere/City").code == 2
    assert labrelay("map", str(message), "--received", "yesterday").code == 2


def test_map_as_a_channel_uses_its_route_tables_and_settings(site: Path, message: Path) -> None:
    (site / "channels").mkdir()
    (site / "channels/x.yaml").write_text(
        "channel: x\nsource: {kind: mllp, listen: '127.0.0.1:0'}\ntimezone: Europe/Berlin\n"
        "settings: {local_system: 'urn:mine'}\n"
        "routes:\n"
        "  - {when: \"=MSH-9.1 == 'ADT'\", filter: unwanted}\n"
        "  - {when: \"=MSH-9.1 == 'ORU'\", mapping: small, to: archive}\n"
    )
    (site / "config/labrelay.yaml").write_text(
        "site: {name: Lab, timezone: Asia/Kolkata}\ndestinations:\n  archive: {kind: file, folder: out}\n"
    )
    ran = labrelay("map", str(message), "--channel", "x", site=site)
    assert ran.code == 0, ran.err
    observation = ran.json["entry"][1]["resource"]
    assert observation["code"]["coding"][1]["system"] == "urn:mine"
    other = write(site, "adt.hl7", HL7.replace("ORU^R01", "ADT^A08").encode())
    filtered = labrelay("map", other, "--channel", "x", site=site)
    assert (filtered.code, filtered.out) == (0, "")
    assert "filtered" in filtered.err
    training = write(site, "training.hl7", HL7.replace("|P|2.5", "|T|2.5").encode())
    refused = labrelay("map", training, "--channel", "x", site=site)
    assert (refused.code, refused.out) == (1, "")
    assert "training.hl7: message 1: NOT_PRODUCTION: MSH-11: processing id T" in refused.err
    assert labrelay("map", str(message), "--channel", "y", site=site).code == 3


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.__main__ import run

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(HL7.encode())))
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert run(["map", "-"]) == 0
    assert json.loads(out.getvalue())["resourceType"] == "Bundle"


def test_settings_that_a_mapping_asks_for_are_named_and_can_be_given() -> None:
    folder = CHECKOUT / "samples" / "abdm_report"
    ran = labrelay("map", str(folder / "01-structured.hl7"), "--mapping", "abdm-report")
    assert ran.code == 1
    assert "REQUIRED_ABSENT" in ran.err
    told = ran.err.partition("reads these settings: ")[2]
    assert all(words in told for words in ("abha_system", "--channel NAME", "--set NAME=VALUE"))
    given = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))
    options = [word for name, value in given["settings"].items() for word in ("--set", f"{name}={value}")]
    ran = labrelay("map", str(folder / "01-structured.hl7"), "--mapping", "abdm-report", *options, "-q")
    assert ran.code == 0, ran.err
    assert ran.json["entry"][0]["resource"]["resourceType"] == "Composition"


@pytest.mark.parametrize("given", ["lab", "=x", "tables=x"])
def test_a_setting_that_is_none_is_refused(given: str, message: Path) -> None:
    assert labrelay("map", str(message), "--set", given).code == 2


def test_a_setting_given_twice_is_a_list_and_stands_above_the_channels(site: Path, message: Path) -> None:
    path = write(site, "d.hl7", message.read_bytes().replace(b"|P|2.5", b"|D|2.5"))
    assert labrelay("map", path, "--mapping", "small", "--set", "processing_ids=T", site=site).code == 1
    ran = labrelay(
        "map", path, "--mapping", "small", "--set", "processing_ids=T", "--set", "processing_ids=D", site=site
    )
    assert ran.code == 0, ran.err


def test_a_setting_that_no_rule_reads_is_refused_with_the_near_one(site: Path, message: Path) -> None:
    ran = labrelay("map", str(message), "--set", "nonsense=1")
    assert (ran.code, ran.out) == (2, "")
    assert "--set nonsense: no rule of hl7-results reads it; they read " in ran.err
    assert "local_system" in ran.err
    ran = labrelay("map", str(message), "--set", "local_sistem=urn:x")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean local_system?" in ran.err
    assert labrelay("explain", str(message), "--mapping", "small", "--set", "lab=x", site=site).code == 2
    folder = str(message.parent)
    for given in (["local_sistem=urn:x"], ["local_system=urn:x"]):
        ran = labrelay("check", "--samples", folder, "--mapping", "hl7-results", "--set", *given, site=site)
        assert (ran.code == 2) == ("local_sistem" in given[0]), ran.err
    assert labrelay("check", "--set", "local_system=urn:x", site=site).code == 2
    assert labrelay("map", str(message), "--set", "on_missing=dead").code != 2
    ran = labrelay("map", str(message), "--set", "patient_numbers=last")
    assert (ran.code, ran.out) == (2, "")
    assert "patient_numbers is one of lasting, counter" in ran.err


@pytest.mark.parametrize(
    ("answer", "given", "numbers", "open_"),
    [
        ("", [], 0, True),
        ("", ["--set", "patient_numbers=lasting"], 1, False),
        ("", ["--set", "patient_numbers=counter"], 0, False),
        ("patient_numbers: lasting\n", [], 1, False),
        ("patient_numbers: lasting\n", ["--set", "patient_numbers=counter"], 0, False),
        ("patient_numbers: counter\n", ["--set", "patient_numbers=lasting"], 1, False),
        ("namespaces: {HOSP: 'urn:oid:1.2.3'}\n", [], 1, False),
    ],
)
def test_the_site_answers_which_numbers_last_and_an_option_says_it_in_its_place(
    tmp_path: Path, message: Path, answer: str, given: list[str], numbers: int, open_: bool
) -> None:
    folder = tmp_path / "answering"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "labrelay.yaml").write_text(f"site: {{name: Lab, timezone: Asia/Kolkata}}\n{answer}")
    ran = labrelay("map", str(message), *given, site=folder)
    assert ran.code == 0, ran.err
    patients = [one["resource"] for one in ran.json["entry"] if one["resource"]["resourceType"] == "Patient"]
    known = [one["value"] for patient in patients for one in patient["identifier"]]
    assert known.count("4711") == numbers
    assert ("patient_numbers: no site answers it" in ran.err) == open_


# -- explain -----------------------------------------------------------------------------------------------------


def test_explain_shows_rules_and_sources_and_no_values(site: Path, message: Path) -> None:
    ran = labrelay("explain", str(message), "--mapping", "small", site=site)
    assert ran.code == 0
    assert re.search(rf"valueQuantity.value +<- {rule('valueQuantity')} quantity\(\) <- OBX\[1\]-5", ran.out)
    assert "x row HGB,g/dL factor 10 digits 0" in ran.out
    assert "unread: " in ran.out
    assert "Doe" not in ran.out
    assert not mentions(ran.out, "148")


def test_explain_one_element_with_its_value(site: Path, message: Path) -> None:
    ran = labrelay(
        "explain",
        str(message),
        "--mapping",
        "small",
        "--field",
        "Patient.name",
        "--show-values",
        "--purpose",
        "a test",
        site=site,
    )
    assert "name[0].family = Doe" in ran.out
    assert "Observation" not in ran.out
    document = labrelay("explain", str(message), "--mapping", "small", "-o", "json", site=site).json
    assert document["schema_version"] == 1
    (one,) = document["messages"]
    (family,) = [value for value in one["values"] if value["path"] == "Patient[1].name[0].family"]
    assert (family["rule"], family["origin"]) == (rule("name"), "rule")
    assert "value" not in family
    assert {value["origin"] for value in one["values"]} == {"rule", "literal", "identity", "envelope"}


def test_explain_of_what_is_not_there_says_what_is(site: Path, message: Path) -> None:
    ran = labrelay("explain", str(message), "--mapping", "small", "--field", "Patient[1].nmae", site=site)
    assert ran.code == 1
    assert "Patient[1] has no nmae; did you mean name?" in ran.err
    ran = labrelay("explain", str(message), "--mapping", "small", "--field", "Observation[*].code", site=site)
    assert ran.code == 0
    assert "Observation[2]" in ran.out
    assert "valueString" not in ran.out


def test_explain_of_a_place_as_the_server_named_it(site: Path, message: Path) -> None:
    document = labrelay("map", str(message), "--mapping", "small", site=site).json
    types = [entry["resource"]["resourceType"] for entry in document["entry"]]
    entry = [place for place, kind in enumerate(types) if kind == "Observation"][1]
    for said in ("resource", "Observation", "resource.ofType(Observation)", "resource/*Observation/1f*/"):
        ran = labrelay(
            "explain", str(message), "--mapping", "small", "--field", f"Bundle.entry[{entry}].{said}.code", site=site
        )
        assert ran.code == 0
        assert "Observation[2]" in ran.out
        assert "code.coding[0].code" in ran.out
    ran = labrelay(
        "explain", str(message), "--mapping", "small", "--field", f"Bundle.entry[{entry}].resource.cod", site=site
    )
    assert "Observation[2] has no cod; did you mean code?" in ran.err


def test_explain_of_a_dead_message_says_why(site: Path) -> None:
    path = write(site, "x.hl7", HL7.replace("COL^", "^").encode())
    ran = labrelay("explain", path, "--mapping", "small", site=site)
    assert ran.code == 1
    assert "dead: NO_IDENTITY at OBX[2]" in ran.out


# -- test --------------------------------------------------------------------------------------------------------


def test_tests_pass_and_coverage_names_rules_that_never_ran(site: Path) -> None:
    ran = labrelay("test", str(site / "mappings/tests"), "--coverage", site=site)
    assert ran.code == 0, ran.out
    assert ran.out.splitlines()[0] == "1 passed, 0 failed"
    assert re.search(r"small: \d+ % of \d+ rules ran", ran.out)
    assert f"  never run: {rule('valueString')}" in ran.out.splitlines()
    assert f"  never run: {rule('valueQuantity')}" not in ran.out.splitlines()


@pytest.mark.parametrize(
    ("old", "new", "failure"),
    [
        ("value: 148", "value: 14.8", "resources[0]: Observation.valueQuantity.value: expected 14.8, got 148"),
        ("Observation: 1,", "Observation: 2,", "counts.Observation: expected 2, got 1"),
        ("results_in: 1", "results_in: 3", "counts.results_in: expected 3, got 1"),
        ("$match ^H", "$match ^x", "code.coding[1].display: expected something that matches ^x, got Hb"),
        ("valueString: $absent", "valueString: $any", "valueString: expected $any, and it is not there"),
        ("status: $any", "status: $absent", "status: expected to be absent, got final"),
        ("counts: {", "counts: {Device: 1, ", "counts.Device: expected 1, got 0"),
        ("issues: []", "issues: [BAD_DATE]", "issues: expected BAD_DATE, and it did not occur"),
        ("19800101", "19801301", "19801301"),
        ("unread: [OBX-1]", "unread: [OBX-3]", "unread: OBX-3 is read by a rule"),
        ("7^^^HOSP^MR", "", "the message is dead: NO_IDENTITY"),
        ("|P|2.5", "|Q|2.5", "filtered: expected None, got QUALITY_CONTROL"),
        (TEST[TEST.index("  counts:") :], "  dead: NO_IDENTITY\n", "dead: expected NO_IDENTITY, and the message was"),
        ("  OBX|1|NM|HGB^Hb^L", "  OBX|1|NM|XYZ^Hb^L", "coding[0].code: expected 718-7"),
        ("issues: []", "unmapped: [XYZ]", "unmapped: expected XYZ, got none"),
    ],
)
def test_a_failure_shows_the_difference_by_path(site: Path, old: str, new: str, failure: str) -> None:
    path = site / "mappings/tests/hemoglobin.yaml"
    text = TEST.replace(old, new)
    assert text != TEST
    path.write_text(text)
    ran = labrelay("test", str(path), site=site)
    if failure == "19801301":
        assert ran.code == 0  # the mapping does not read the date of birth
        return
    assert ran.code == 1
    assert failure in ran.out
    assert "FAILED hemoglobin.yaml:1 hemoglobin is converted" in ran.out


def test_golden_files_are_written_and_compared(site: Path) -> None:
    path = site / "mappings/tests/golden.yaml"
    path.write_text("test: all of it\nmapping: small\nfile: m.hl7\nexpect: {golden: m.expected.json}\n")
    (site / "mappings/tests/m.hl7").write_text(HL7)
    golden = site / "mappings/tests/m.expected.json"
    assert "labrelay test --update writes it" in labrelay("test", str(path), site=site).out
    assert labrelay("test", str(path), "--update", site=site).out.splitlines() == [
        "wrote m.expected.json",
        "1 passed, 0 failed",
    ]
    assert json.loads(golden.read_text())["resourceType"] == "Bundle"
    assert labrelay("test", str(path), site=site).code == 0
    (site / "mappings/small.yaml").write_text("# a comment changes nothing\n" + MAPPING)
    assert labrelay("test", str(path), site=site).code == 0
    golden.write_text(golden.read_text().replace('"final"', '"amended"', 1))
    ran = labrelay("test", str(path), site=site)
    assert ran.code == 1
    assert "entry[1].resource.status: expected amended, got final" in ran.out


# Jenkins' schema of JUnit files (junit-10.xsd): element -> (required attributes, allowed ones, children).
JUNIT = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors", "disabled"}, {"testsuite"}),
    "testsuite": (
        {"name"},
        {
            *("name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname"),
            *("id", "package"),
        },
        {"testcase", "properties", "system-out", "system-err"},
    ),
    "testcase": (
        {"name", "classname"},
        {"name", "classname", "time", "assertions", "status"},
        {"failure", "error", "skipped", "system-out", "system-err"},
    ),
    "failure": (set(), {"message", "type"}, set()),
    "error": (set(), {"message", "type"}, set()),
}


def assert_junit(element: ElementTree.Element) -> None:
    required, allowed, children = JUNIT[element.tag]
    assert required <= set(element.keys()) <= allowed, element.attrib
    for name in ("tests", "failures", "errors"):
        assert element.get(name, "0").isdigit()
    float(element.get("time", "0"))
    for child in element:
        assert child.tag in children
        assert_junit(child)


def test_junit_report(site: Path) -> None:
    folder = site / "mappings/tests"
    (folder / "hemoglobin.yaml").write_text(TEST.replace("value: 148", "value: 1"))
    (folder / "sound.yaml").write_text(TEST.replace("hemoglobin is", "x <&> is"))
    (folder / "unreadable.yaml").write_text("test: [\n")
    (folder / "no-mapping.yaml").write_text(TEST.replace("mapping: small", "mapping: smal"))
    ran = labrelay("test", str(folder), "--junit", str(site / "report.xml"), site=site)
    assert (ran.code, ran.out.splitlines()[-1]) == (3, "1 passed, 1 failed")
    root = ElementTree.parse(site / "report.xml").getroot()
    assert_junit(root)
    assert [root.get(name) for name in ("tests", "failures", "errors")] == ["4", "1", "2"]
    suites = {suite.get("name"): suite for suite in root}
    failure = suites["hemoglobin.yaml"].find("testcase/failure")
    assert failure is not None
    assert "expected 1, got 148" in (failure.text or "")
    # What could not be run is never a pass.
    for name, says in (("unreadable.yaml", "not readable as YAML"), ("no-mapping.yaml", "there is no mapping smal")):
        error = suites[name].find("testcase/error")
        assert error is not None
        assert says in error.get("message", "")
    assert [suites["sound.yaml"].get(name) for name in ("tests", "failures", "errors")] == ["1", "0", "0"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEST.replace("expect:", "expects:"), "a test has no key 'expects'; did you mean expect?"),
        (TEST.replace("  counts:", "  count:"), "expect: has no key 'count'; did you mean counts?"),
        ("test: x\nmapping: small\ngiven: x\n", "a test that expects nothing cannot fail"),
        ("test: x\nmapping: small\nexpect: {issues: []}\n", "needs given: with a message, or file:"),
        ("test: x\nmapping: small\nfile: none.hl7\nexpect: {issues: []}\n", "none.hl7 cannot be read"),
        (TEST.replace("mapping: small", "mapping: smal"), "there is no mapping smal"),
        ("- just text\n", "a test is a map"),
    ],
)
def test_a_test_file_that_is_wrong_ends_with_3(site: Path, text: str, says: str) -> None:
    path = site / "mappings/tests/hemoglobin.yaml"
    path.write_text(text)
    ran = labrelay("test", str(path), site=site)
    assert ran.code == 3
    assert says in ran.err


def test_all_tests_run_without_files_the_shipped_ones_on_the_shipped_mappings(site: Path) -> None:
    (site / "mappings/lab.yaml").write_text("mapping-library: lab\nformat: labrelay-mapping/1\nfragments: {}\n")
    ran = labrelay("test", site=site)
    assert ran.code == 0, ran.out
    assert int(ran.out.split()[0]) > 1


# -- gaps --------------------------------------------------------------------------------------------------------


def test_gaps_of_files_are_lines_for_a_table(site: Path, message: Path) -> None:
    ran = labrelay("gaps", str(message), str(message), "--mapping", "small", site=site)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "# rows for table codes; a row is done when it says what the code means",
        "code,unit_in,loinc,display,type,unit,ucum,factor,digits",
        "# small: seen 2 times",
        "COL,,,Color,,,,,",
    ]
    assert "Complete the rows in mappings/tables/codes.csv of the site" in ran.err
    shipped = labrelay("gaps", str(message), "--mapping", "hl7-results", site=site)
    assert "settings: {tables: {analytes: [tables/mine.csv, tables/analytes.csv]}}; labrelay check" in shipped.err


def test_a_unit_that_the_code_table_says_the_meaning_of_is_no_gap(site: Path) -> None:
    """Who completes the rows is done: nobody asks for the same unit again in the table of units."""
    oru = HL7.replace("|g/dL|", "|gr%|").encode()
    path = write(site, "x.hl7", oru)
    tables = site / "mappings/tables"
    before = labrelay("gaps", path, "--mapping", "hl7-results", site=site).out
    assert "\ngr%,,\n" in before
    tables.mkdir(exist_ok=True)
    rows = "code,unit_in,loinc,display,type,unit,ucum\nHGB,gr%,718-7,Hemoglobin [Mass/volume] in Blood,NM,g/dL,g/dL\n"
    (tables / "analytes.csv").write_text(rows)
    after = labrelay("gaps", path, "--mapping", "hl7-results", site=site).out
    assert ("gr%" in after, "COL," in after) == (False, True)


def test_of_messages_that_are_dead_nobody_says_that_all_is_in_the_tables(site: Path) -> None:
    path = write(site, "x.hl7", HL7.replace("||F", "||wrong").encode())
    ran = labrelay("gaps", path, "--mapping", "hl7-results", site=site)
    assert ran.code == 1
    assert "UNMAPPED_STATUS" in ran.err
    assert "no message could be mapped, so the gaps of its tables are unknown" in ran.err
    assert "every code and unit" not in ran.err


def test_a_table_without_a_column_that_rules_read_is_named(site: Path, message: Path) -> None:
    (site / "mappings/tables").mkdir(exist_ok=True)
    (site / "mappings/tables/analytes.csv").write_text("code,unit_in,loinc,display\nCOL,,5778-6,Color of Urine\n")
    ran = labrelay("map", str(message), "--mapping", "hl7-results", site=site)
    assert "tables/analytes.csv has no column type; add it to the header" in ran.err


def test_what_no_rule_reads_is_counted_by_message(site: Path, message: Path) -> None:
    ran = labrelay("gaps", str(message), str(message), "--mapping", "small", "--unread", site=site)
    lines = ran.out.splitlines()
    assert "# small: no rule reads, with the number of messages out of 2" in lines
    assert any("PID-7 (2)" in line for line in lines)
    assert not any("MSH-" in line or "OBX-1 " in line for line in lines)
    assert "Doe" not in ran.out
    document = labrelay("gaps", str(message), "--mapping", "small", "--unread", "-o", "json", site=site).json
    fields = {one["field"]: one for one in document["unread"]}
    assert fields["PID-7"] == {"where": "small", "segment": "PID", "field": "PID-7", "messages": 1, "of": 1}
    assert "MSH-3" in fields, "scripts get all of it"
    people = labrelay("gaps", str(message), "--mapping", "small", "--unread", "-o", "table", site=site).out
    assert people.splitlines()[0].split() == ["WHERE", "TABLE", "CODE", "DISPLAY", "COUNT"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--unread"], "--unread looks at messages: give files, or --since"),
        (["x.hl7", "--since", "1d"], "give either files or --since"),
        (["--since", "yesterday"], "neither an age (2h, 3d) nor a time"),
        (["--mapping", "small"], "--mapping and --timezone are about files"),
        (["--since", "1d", "--channel", "nobody"], "no channel is called nobody"),
    ],
)
def test_gaps_says_what_does_not_go_together(site: Path, given: list[str], says: str) -> None:
    ran = labrelay("gaps", *given, site=site)
    assert ran.code in (2, 3)
    assert says in ran.err


def test_gaps_ignore_the_policy_and_quote_what_csv_needs(site: Path) -> None:
    (site / "mappings/small.yaml").write_text(MAPPING.replace("on_missing: local", "on_missing: dead"))
    path = write(site, "x.hl7", HL7.replace("COL^Color", '#A,1^Co"lor').replace("|g/dL|", "|mg/dL|").encode())
    ran = labrelay("gaps", path, "--mapping", "small", site=site)
    assert ran.code == 0
    assert '"#A,1",,,"Co""lor",,,,,' in ran.out
    assert "HGB,mg/dL,,Hemoglobin,,,,," in ran.out
    document = labrelay("gaps", path, "--mapping", "small", "-o", "json", site=site).json
    assert {row["code"] for row in document["gaps"]} == {"#A,1", "HGB"}


# -- from the journal --------------------------------------------------------------------------------------------


@pytest.fixture
def with_journal(tmp_path: Path) -> Path:
    rest = "  - each: PATIENT_RESULT\n    drop: the rest\n"
    site = make_site(tmp_path, mapping=MAPPING_YAML + rest)
    fill_journal(site / "var")
    return site


def audit(site: Path) -> list[str]:
    journal = Reader.beside(site / "var")
    try:
        return [act.verb for act in acts_page(journal) if act.verb]
    finally:
        journal.close()


def test_explain_a_message_of_the_journal_with_its_channels_mapping(with_journal: Path) -> None:
    ran = labrelay("explain", str(DELIVERED), site=with_journal)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[:2] == [f"message {DELIVERED}", "Organization[1]"]
    assert "results.yaml:12 <- MSH[1]-4.1" in ran.out
    assert CANARY not in ran.out
    assert audit(with_journal) == []
    assert labrelay("explain", str(DELIVERED), "--set", "on_missing=local", site=with_journal).code == 0
    ran = labrelay("explain", str(DELIVERED), "--set", "on_mising=local", site=with_journal)
    assert ran.code == 2
    assert "did you mean on_missing?" in ran.err


def test_values_of_the_journal_are_shown_with_a_row_in_the_audit_trail(with_journal: Path) -> None:
    ran = labrelay("explain", str(DELIVERED), "--show-values", "--purpose", "a test", site=with_journal)
    assert "name = LAB" in ran.out
    assert len(audit(with_journal)) == 1
    assert labrelay("explain", "999", site=with_journal).code == 2


def test_gaps_of_the_journal_are_what_the_daemon_counted(with_journal: Path) -> None:
    ran = labrelay("gaps", site=with_journal)
    assert (ran.code, ran.out) == (0, "")
    assert "every code and unit is in its table" in ran.err


GAPPY = (
    MAPPING_YAML.replace("steps:", "tables: {codes: {csv: tables/codes.csv, key: [code]}}\nsteps:")
    + """\
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            create: Observation
            key: =OBX-1
            body:
              status: final
              code: =coded(lookup('codes', OBX-3.1), cwe(OBX-3))
"""
)


@pytest.fixture
def gappy(tmp_path: Path) -> Path:
    site = make_site(tmp_path, mapping=GAPPY)
    (site / "mappings/tables").mkdir()
    (site / "mappings/tables/codes.csv").write_text("code,loinc\nXYZ,718-7\n")
    fill_journal(site / "var", gaps=[Unmapped("codes", code, "", "") for code in ("GONE", "XYZ")])
    return site


def test_what_a_table_has_by_now_is_no_gap_any_more(gappy: Path) -> None:
    rows = labrelay("gaps", "-o", "json", site=gappy).json["gaps"]
    assert [row["code"] for row in rows] == ["GONE"]
    assert rows[0]["last"] >= rows[0]["first"] > "2020"
    assert "# haematology: seen 1 time, last 20" in labrelay("gaps", site=gappy).out
    (gappy / "mappings/results.yaml").write_text("broken")
    broken = labrelay("gaps", "-o", "json", site=gappy)
    assert {row["code"] for row in broken.json["gaps"]} == {"GONE", "XYZ"}
    assert "codes that its tables have by now are listed, too" in broken.err


def test_stored_messages_are_looked_at_again_since_a_time(gappy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps_command, "PAGE", 1)
    ran = labrelay("gaps", "--since", "2020-01-01", "--unread", "-o", "json", site=gappy)
    assert ran.code == 0, ran.err
    assert [(row["where"], row["code"]) for row in ran.json["gaps"]] == [("haematology", "HGB")]
    assert ran.json["gaps"][0]["count"] >= 1
    assert {row["where"] for row in ran.json["unread"]} == {"haematology"}
    assert "haematology: 4 messages looked at" in ran.err, "the incomplete one is none"
    assert CANARY not in ran.out + ran.err
    assert audit(gappy) == []
    assert labrelay("gaps", "--since", "2099-01-01", "-o", "json", site=gappy).json["gaps"] == []
