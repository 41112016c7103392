"""The samples: each message gives what `NN-name.expected.json` beside it says, byte for byte, and valid.

After a change that is meant run them with LABRELAY_UPDATE_SAMPLES=1, then look at the difference.
"""

import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.pack import find_pack
from engine.model.message import Mapped
from engine.model.routes import Processed
from engine.model.texts.reasons import ReasonCode
from tests.support.expected import UPDATE, outcome_text
from tests.support.fhir_check import check_bundle, resources
from tests.support.shipped import verdict_of

SAMPLES = Path(__file__).parents[2] / "samples"
FORMATS = {".hl7": "hl7v2", ".astm": "astm", ".txt": "text"}
# An installation compiles `samples/api_client.py`.
# Beside messages there are texts for people (`abdm`), and questions for orders (`test_order_dialogues`).
FOLDERS = [
    folder
    for folder in SAMPLES.iterdir()
    if folder.is_dir()
    and folder.name not in ("__pycache__", "order_dialogues")
    and {path.suffix for path in folder.iterdir()} != {".md"}
]
MESSAGES = sorted(path for path in SAMPLES.glob("*/*") if path.suffix in FORMATS)

Json = dict[str, Any]


@cache
def run(name: str, specimen_ids: str = "restart") -> tuple[Processed, Mapped | None]:
    """A sample as its folder's channel would map it; ``name`` is the path below samples."""
    path = SAMPLES / name
    channel = yaml.safe_load((path.parent / "settings.yaml").read_text(encoding="utf-8"))
    if "analyzer" in channel:
        find_pack(channel["analyzer"]).fill(channel)
    return verdict_of(
        path.read_bytes(),
        FORMATS[path.suffix],
        channel["settings"] | ({"charset": channel["charset"]} if "charset" in channel else {}),
        timezone=channel["timezone"],
        channel=path.parent.name,
        specimen_ids=specimen_ids,
        patient_numbers=channel.get("patient_numbers", "counter"),
        dialect=channel.get("dialect"),
        mapping=channel["mapping"],
        layout=channel.get("layout"),
    )


def bundle(name: str) -> Json:
    verdict, _ = run(name)
    assert len(verdict.documents) == 1, verdict
    return check_bundle(verdict.documents[0][0].body)


def result(name: str, code: str) -> Json:
    """The one Observation whose code or text is ``code``."""
    found = [one for one in resources(bundle(name), "Observation") if code in json.dumps(one["code"])]
    assert len(found) == 1, code
    return found[0]


@pytest.mark.parametrize("name", [str(path.relative_to(SAMPLES)) for path in MESSAGES])
def test_the_outcome_is_the_expected_one(name: str) -> None:
    expected = (SAMPLES / name).with_suffix(".expected.json")
    found = outcome_text(*run(name))
    if UPDATE:
        expected.write_text(found, encoding="utf-8")
    assert json.loads(found, parse_float=Decimal) == json.loads(expected.read_text("utf-8"), parse_float=Decimal)
    assert found == expected.read_text("utf-8"), "numbers or the order of elements differ"
    if run(name)[0].documents:
        bundle(name)


@pytest.mark.parametrize("name", [str(path.relative_to(SAMPLES)) for path in MESSAGES])
def test_no_result_is_lost(name: str) -> None:
    verdict, mapped = run(name)
    if mapped is None:  # nothing was mapped
        assert verdict.reason is ReasonCode.NOT_PRODUCTION
        return
    counts = dict(mapped.counts)
    results, observations = counts.pop("results_in"), counts.pop("observations")
    assert observations + sum(counts.values()) == results
    made = [resources(check_bundle(document.body), "Observation") for document, _ in verdict.documents]
    assert sum(map(len, made)) == observations


def test_every_folder_has_a_message_and_its_settings() -> None:
    for folder in FOLDERS:
        if not (folder / "channel.yaml").exists():  # else a recipe (`test_recipes`)
            at, ends = f"samples/{folder.name}/", ", ".join(FORMATS)
            assert (folder / "settings.yaml").is_file(), f"{at}settings.yaml is missing: the settings of its channel"
            assert any(path.parent == folder for path in MESSAGES), f"{at} needs a message, a file that ends in {ends}"
            expected = {path.name for path in folder.glob("*.expected.json")}
            wanted = {path.with_suffix(".expected.json").name for path in MESSAGES if path.parent == folder}
            assert expected == wanted, f"{at}: run this file with LABRELAY_UPDATE_SAMPLES=1, and read what it writes"


def test_every_folder_has_a_line_in_the_list_of_samples() -> None:
    listed = (SAMPLES / "README.md").read_text(encoding="utf-8")
    missing = sorted(folder.name for folder in FOLDERS if f"`{folder.name}/" not in listed)
    assert missing == [], (
        "each of these folders needs a line in the table of samples/README.md: | `FOLDER/01-name` | its use |"
    )


def test_a_blood_count_keeps_its_digits_and_gets_units_from_the_table() -> None:
    leukocytes = result("mindray_bc5380/01-blood-count.hl7", "6690-2")
    assert str(leukocytes["valueQuantity"]["value"]) == "7.40"
    assert leukocytes["valueQuantity"]["code"] == "10*9/L"
    haematocrit = result("mindray_bc5380/01-blood-count.hl7", "4544-3")
    assert haematocrit["valueQuantity"] == {
        "value": Decimal("40.5"),
        "unit": "%",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }
    assert haematocrit["referenceRange"][0]["low"]["value"] == Decimal("37.0")
    platelets = result("mindray_bc5380/01-blood-count.hl7", "777-3")
    assert "valueQuantity" not in platelets
    assert platelets["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert platelets["note"] == [{"text": "***.**"}]
    assert len(resources(bundle("mindray_bc5380/01-blood-count.hl7"), "Observation")) == 18  # of 20: two are modes


def test_a_correction_meets_the_ids_of_what_it_corrects() -> None:
    first = result("mindray_bc5380/01-blood-count.hl7", "718-7")
    again = result("mindray_bc5380/02-correction.hl7", "718-7")
    assert first["id"] == again["id"]
    assert (first["status"], again["status"]) == ("final", "corrected")
    reports = [
        resources(bundle(f"mindray_bc5380/{name}.hl7"), "DiagnosticReport")[0]
        for name in ("01-blood-count", "02-correction")
    ]
    assert reports[0]["id"] == reports[1]["id"]
    assert reports[1]["status"] == "corrected"


def test_a_name_in_devanagari_arrives_as_it_was_written() -> None:
    patient = resources(bundle("mindray_bc5380/03-hindi-name.hl7"), "Patient")[0]
    assert patient["name"] == [{"family": "शर्मा", "given": ["अनिता", "देवी"]}]
    assert patient["address"][0]["city"] == "पुणे"
    assert result("mindray_bc5380/03-hindi-name.hl7", "99001")["valueString"] == "निगेटिव"


def test_a_specimen_counter_that_restarts_never_meets_old_ids() -> None:
    days = [bundle(f"sysmex_xp/{name}.astm") for name in ("01-monday", "02-tuesday", "03-same-number")]
    for kind in ("Specimen", "Observation", "DiagnosticReport"):
        ids = [resource["id"] for day in days for resource in resources(day, kind)]
        assert len(set(ids)) == len(ids), kind
    numbers = {one["value"] for day in days for tube in resources(day, "Specimen") for one in tube["identifier"]}
    assert numbers == {"12"}


def test_one_number_for_two_patients_on_a_day_is_one_report_key_with_two_owners() -> None:
    """That is what the journal's memory makes an IDENTITY_CONFLICT of."""
    keys = {}
    for name in ("01-monday", "02-tuesday", "03-same-number"):
        verdict, _ = run(f"sysmex_xp/{name}.astm")
        (report,) = verdict.documents[0][0].reports
        keys[name] = (report.key, report.patient)
    assert keys["01-monday"][0] != keys["02-tuesday"][0]
    assert keys["02-tuesday"][0] == keys["03-same-number"][0]
    assert keys["02-tuesday"][1] != keys["03-same-number"][1]


@pytest.mark.parametrize(
    ("name", "controls"),
    [("mindray_bc5380/04-quality-control.hl7", 3), ("horiba_yumizen_h500/01-quality-control.astm", 2)],
)
def test_controls_are_filtered_and_counted(name: str, controls: int) -> None:
    verdict, mapped = run(name)
    assert (verdict.state, verdict.reason) == ("filtered", ReasonCode.QUALITY_CONTROL)
    assert mapped is not None
    assert mapped.counts == {"results_in": controls, "observations": 0, "qc": controls}


def test_qualitative_results_keep_their_words_codes_and_flags() -> None:
    name = "abbott_architect/01-serology.hl7"
    surface_antigen = result(name, "5196-1")
    assert surface_antigen["valueCodeableConcept"]["coding"][0]["system"] == "http://snomed.info/sct"
    antibody = result(name, '"AHCV"')
    assert antibody["valueString"] == "REACTIVE"
    assert [flag.get("text", "coded") for flag in antibody["interpretation"]] == ["coded", "*"]
    assert result(name, "AHCVSCO")["valueQuantity"]["comparator"] == ">"
    assert result(name, "TITRE")["valueRatio"]["denominator"]["value"] == 8
    cancelled = result(name, "HIVC")
    assert cancelled["status"] == "cancelled"
    assert cancelled["dataAbsentReason"]["coding"][0]["code"] == "not-performed"


def test_flags_without_a_value_and_units_with_a_caret_stay_whole() -> None:
    name = "sysmex_xn/01-blood-count.astm"
    assert result(name, '"WBC"')["valueQuantity"]["unit"] == "10^3/uL"
    assert result(name, '"WBC"')["valueQuantity"]["code"] == "10*3/uL"
    anaemia = result(name, "Anemia")
    assert anaemia["interpretation"][0]["coding"][0]["code"] == "A"
    assert "dataAbsentReason" in anaemia
    specimen = resources(bundle(name), "Specimen")[0]
    assert specimen["identifier"] == [{"system": "urn:citylab:specimen", "value": "26030451"}]
    assert specimen["note"] == [{"text": "Post dialysis"}]


def test_each_order_of_a_panel_has_its_report_and_its_comments() -> None:
    name = "stago_sta_satellite/01-coagulation.astm"
    assert len(resources(bundle(name), "DiagnosticReport")) == 3
    assert len(resources(bundle(name), "Specimen")) == 1
    time = result(name, "5902-2")
    assert time["valueQuantity"]["code"] == "s"
    assert time["note"][0]["text"].splitlines() == [
        "36^Test Co 24 controls are invalid.",
        "-3016^Test Co 24 Stirring defect",
    ]
