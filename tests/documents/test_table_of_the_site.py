"""A table of the site above the one that ships, by device and material, with the shipped mappings."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.site import mapping_path
from engine.mapping import Program, load
from tests.support.mapping_texts import ASTM, context, parse

HEAD = "code,unit_in,device,specimen,loinc,display,type,unit,ucum,factor,digits\n"
ROWS = (
    "GLU,mg/dL,,,2345-7,Glucose [Mass/volume] in Serum or Plasma,NM,,mg/dL,,\n"
    "GLU,mg/dL,,UR,2350-7,Glucose [Mass/volume] in Urine,NM,,mg/dL,,\n"
    "GLU,mg/dL,GEM,BLD,2339-0,Glucose [Mass/volume] in Blood,NM,,mg/dL,,\n"
    "WBC,10*3/uL,,,26464-8,Leukocytes [#/volume] in Blood,NM,,10*3/uL,,\n"
)
ORU = """\
MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01|M1|P|2.5
PID|1||4711^^^HOSP^MR||Doe^Jane||19800412|F
OBR|1|O1|F1|GLU^^L|||20260301091500||||||||{material}||||||||||F
OBX|1|NM|GLU^^L||98|mg/dL|70-110|N|||F|||20260301094500||||{device}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "mappings/tables").mkdir(parents=True)
    (tmp_path / "mappings/tables/mine.csv").write_text(HEAD + ROWS)
    return tmp_path


def program(site: Path, name: str, *files: str) -> Program:
    return load(name, mapping_path(site), tables={"analytes": files})


def codes(made: Program, message: str) -> list[str]:
    (document,) = made.apply(parse(message), context(settings={"local_system": "urn:x"})).documents
    found: list[dict[str, Any]] = [entry["resource"] for entry in json.loads(document.body)["entry"]]
    return [one["code"]["coding"][0]["code"] for one in found if one["resourceType"] == "Observation"]


def test_material_and_device_tell_terms_apart_in_hl7(site: Path) -> None:
    made = program(site, "hl7-results", "tables/mine.csv")
    assert codes(made, ORU.format(material="", device="")) == ["2345-7"]
    assert codes(made, ORU.format(material="UR", device="")) == ["2350-7"]
    assert codes(made, ORU.format(material="BLD", device="GEM^77")) == ["2339-0"]


@pytest.mark.parametrize(("name", "event"), [("hl7-results", "ORU^R01"), ("hl7-oul-results", "OUL^R24^OUL_R24")])
def test_of_several_specimens_no_material_is_taken(site: Path, name: str, event: str) -> None:
    """Nothing says which one was measured: the term for urine would be a guess."""
    made = program(site, name, "tables/mine.csv")
    one = ORU.format(material="", device="").replace("ORU^R01", event) + "SPM|1|S1||UR^Urine^HL70487\n"
    assert codes(made, one) == ["2350-7"]
    assert codes(made, one + "SPM|2|S2||SER^Serum^HL70487\n") == ["2345-7"]


def test_material_and_model_tell_terms_apart_in_astm(site: Path) -> None:
    made = program(site, "astm-results", "tables/mine.csv", "sysmex-xn/codes.csv")
    glucose = ASTM.replace("^^^^WBC|8.13|10*3/uL", "^^^^GLU|98|mg/dL")
    assert codes(made, ASTM)[0] == "26464-8", "the site's row"
    assert codes(made, ASTM)[1] == "789-8", "the pack's row"
    assert codes(made, glucose)[0] == "2345-7"
    urine = glucose.replace("||||N||||||||||||||F", "||||N||||UR||||||||||F")
    assert codes(made, urine)[0] == "2350-7"
    assert codes(made, urine.replace("XN-550^", "GEM^").replace("UR|", "BLD|"))[0] == "2339-0"


def test_a_table_without_these_columns_is_asked_as_before() -> None:
    plain = load("hl7-results", mapping_path(None))
    assert plain.tables["analytes"].key == ("code", "unit_in")
    assert plain.problems == ()


def test_an_unknown_unit_is_one_gap_of_each_table_and_result(site: Path) -> None:
    made = program(site, "hl7-results", "tables/mine.csv")
    message = ORU.format(material="", device="").replace("mg/dL", "furlong")
    mapped = made.apply(parse(message), context(settings={"local_system": "urn:x"}))
    assert sorted((one.table, one.code, one.unit) for one in mapped.unmapped) == [
        ("analytes", "GLU", "furlong"),
        ("ucum", "furlong", ""),
    ]
