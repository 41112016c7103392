"""Chemistry, molecular tests and point of care: every corpus file of these packs, through its pack and over the line,
yields what the index of the corpus says of it; every code that is mapped is the one of the evidence.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.config.pack import find_pack
from engine.diagnostics.packs import codes_of, recognise
from engine.mapping.trying.inputs import Mapper, messages_in
from tests.support.corpus import REFERENCE
from tests.support.fhir_check import faults
from tests.support.outputs_read import OWN_SYSTEM
from tests.support.packs import (
    CORPUS_FILES,
    channel_of,
    code_sent,
    corpus_file,
    everything,
    evidence,
    judged,
    loinc,
    payloads_of,
    read_facts,
    received,
    told,
)

pytestmark = pytest.mark.corpus
Json = dict[str, Any]
QC = "QUALITY_CONTROL"


FACTS = read_facts(Path(__file__).with_name("analyzer_packs_chemistry.yaml"))
NAMES = tuple(dict.fromkeys(name for name, _ in FACTS))
each_file = pytest.mark.parametrize(("name", "file"), list(FACTS), ids=lambda value: value.rpartition("/")[2])
each_pack = pytest.mark.parametrize("name", NAMES)


def shown(observation: Json) -> tuple[str, str]:
    """The value as a person reads it, and the unit of a number: a reason where there is no value."""
    if quantity := observation.get("valueQuantity"):
        return f"{quantity.get('comparator', '')}{quantity['value']}", quantity.get("unit", "")
    if reason := observation.get("dataAbsentReason"):
        return reason["coding"][0]["code"], ""
    concept = observation.get("valueCodeableConcept", {})
    return observation.get("valueString") or concept.get("text", ""), ""


@each_pack
def test_every_file_that_is_evidence_of_a_pack_is_tested_here(name: str) -> None:
    assert {seen.file for seen in find_pack(name).config.seen} == {file for pack, file in FACTS if pack == name}


@each_file
def test_each_message_ends_as_it_should(name: str, file: str) -> None:
    assert {one.outcome for one in told(name, file)} == set(FACTS[name, file].outcomes)
    for one in told(name, file):
        assert [faults(document.body) for document, _ in one.verdict.documents] == [[]] * len(one.verdict.documents)


@each_file
def test_the_dialect_keeps_every_record_that_the_index_counts(name: str, file: str) -> None:
    built = channel_of(name)
    counted: Counter[str] = Counter()
    for payload in payloads_of(built, corpus_file(file).path.read_bytes()):
        parsed = built.message_format.parse(payload, built.routes.options)
        counted.update(segment.name for segment in parsed.segments)
    index = corpus_file(file)
    for kind in ("H", "P", "O", "R", "Q", "C", "M", "PID", "OBR", "OBX"):
        assert counted[kind] == index.number(kind) or index.folder == "hl7", kind


@each_file
def test_as_many_results_as_the_index_counts_and_none_lost(name: str, file: str) -> None:
    facts, index = FACTS[name, file], corpus_file(file)
    assert facts.results == index.number("R") + index.number("OBX") + index.number("obx")
    assert sum(one.results_in for one in told(name, file)) == facts.results
    filtered = facts.results if QC in facts.outcomes else 0
    assert len(everything(name, file, "Observation")) + facts.left_out + filtered == facts.results


@each_file
def test_specimens_and_patients_are_those_that_were_sent(name: str, file: str) -> None:
    for kind, wanted in (("Specimen", FACTS[name, file].specimens), ("Patient", FACTS[name, file].patients)):
        found = [number for one in everything(name, file, kind) for number in one["identifier"]]
        assert {number["value"] for number in found if number["system"] != OWN_SYSTEM} == set(wanted), kind


@each_file
def test_values_and_units_are_those_that_were_sent_under_the_codes_of_the_table(name: str, file: str) -> None:
    observations = everything(name, file, "Observation")
    for code, term, value, unit in FACTS[name, file].samples:
        found = [(loinc(one), *shown(one)) for one in observations if code_sent(one) == code]
        assert (term, value, unit) in found, code


@each_file
def test_only_the_main_result_of_a_test_has_its_loinc_code(name: str, file: str) -> None:
    """A cycle threshold, an analyte, a raw signal: never under the code of the test."""
    named = {code_sent(one) for one in everything(name, file, "Observation") if loinc(one)}
    assert named <= {code for code, term, _, _ in FACTS[name, file].samples if term} | {
        row.cells["code"] for row in codes_of(find_pack(name)) if row.code
    }
    assert not any(code.endswith(("/Ct", "/EndPt", "/Delta Ct", "/P")) for code in named)


@each_file
def test_a_capture_is_recognised_as_its_pack_and_no_other(name: str, file: str) -> None:
    mapper = Mapper(())
    for found in messages_in(corpus_file(file).path.read_bytes()):
        assert [pack.name for pack, _ in recognise(mapper.read(found))] == [name]


# -- from the line -------------------------------------------------------------------------------------------------

FRAMED = [
    (name, file)
    for name, file in FACTS
    if file in CORPUS_FILES  # a checkout may lack the corpus
    and corpus_file(file).facts.get("framing") in ("e1381", "mllp")
    and corpus_file(file).number("cs_bad") == 0
]


def chunks(file: str) -> list[bytes]:
    """As the bytes came, where that was kept; else in pieces of seven, with the ENQ that some captures lack."""
    path = corpus_file(file).path
    data = path.read_bytes()
    kept = path.with_name(path.name + ".chunks.json")
    if kept.is_file():
        came = [bytes(one) for one in json.loads(kept.read_text(encoding="utf-8"))]
        assert b"".join(came) == data
        return came
    if b"\x02" in data and b"\x05" not in data:
        data = data.replace(b"\x02", b"\x05\x02", 1)
    return [data[at : at + 7] for at in range(0, len(data), 7)]


@pytest.mark.parametrize(("name", "file"), FRAMED, ids=lambda value: value.rpartition("/")[2])
def test_what_comes_over_the_line_gives_the_same_as_the_file(name: str, file: str) -> None:
    built = channel_of(name)
    messages, noticed = received(built, [*chunks(file), b"\x04" if file.startswith("astm/") else b"\r"])
    assert "bad-checksum" not in {fault.kind for fault in noticed}
    over_the_line = [judged(built, payload) for payload in messages]
    assert [one.outcome for one in over_the_line] == [one.outcome for one in told(name, file)]
    ours = [(code_sent(one), *shown(one)) for came in over_the_line for one in came.all("Observation")]
    assert ours == [(code_sent(one), *shown(one)) for one in everything(name, file, "Observation")]


@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        ("roche-cobas-c111", "astm/roche-c111.astm", (b"40.13", b"60.13")),
        ("roche-cobas-e411", "astm/roche-e411-multiframe.astm", (b"132.1", b"732.1")),
        ("abbott-m2000", "astm/abbott-m2000-session.astm", (b"Not detected", b"Now detected")),
    ],
)
def test_a_frame_with_a_changed_byte_is_no_result(name: str, file: str, damage: tuple[bytes, bytes]) -> None:
    data = b"".join(chunks(file))
    assert damage[0] in data
    messages, noticed = received(channel_of(name), [data.replace(*damage, 1), b"\x04"])
    assert "bad-checksum" in {fault.kind for fault in noticed}
    assert not any(damage[1] in payload for payload in messages)


@pytest.mark.parametrize(
    ("name", "file", "damage", "reason"),
    [
        ("roche-cobas-c111", "astm/roche-c111.astm", (b"N||F||$SYS$", b"N||Z||$SYS$"), "UNMAPPED_STATUS"),
        ("abbott-m2000", "astm/abbott-m2000-below-limit.astm", (b"||||R||", b"||||Y||"), "UNMAPPED_STATUS"),
        ("siemens-dca-vantage", "astm/siemens-dca-vantage.astm", (b"mg/L||||F|", b"mg/L||||5.0|"), "UNMAPPED_STATUS"),
        (
            "siemens-clinitek",
            "hl7-analyzers/siemens-clinitek.mllp",
            (b"Negative||||||F", b"Negative||||||?"),
            "UNMAPPED_STATUS",
        ),
        (
            "roche-cobas-pro",
            "hl7-analyzers/roche-cobas-pro-c503-oul.hl7",
            (b"N^^HL70078|||F", b"N^^HL70078|||U"),
            "mapped",
        ),
        (
            "roche-cobas-pro",
            "hl7-analyzers/roche-cobas-pro-c503-oul.hl7",
            (b"|1|32.2|mg/L^^99ROC||N^^HL70078|||F", b"|1||mg/L^^99ROC||N^^HL70078|||U"),
            "mapped",  # it has the value that was sent before; dead where the journal knows none
        ),
        (
            "cepheid-genexpert",
            "astm/cepheid-guidance-hivvl-error.astm",
            (b"^^^HIVVL^Xpert HIV-1 Viral Load XC^3^^|", b"|"),
            "NO_IDENTITY",
        ),
        ("abbott-afinion-2", "astm/abbott-afinion2.astm", (b"|P|1|2024", b"|Q|1|2024"), QC),
        ("siemens-dca-vantage", "astm/siemens-dca-vantage.astm", (b"|P||2024", b"|D||2024"), "NOT_PRODUCTION"),
        ("cepheid-genexpert", "astm/cepheid-guidance-hivvl-below40.astm", (b"L|1|N", b"L|1|E"), "SENDER_ABORTED"),
    ],
)
def test_what_is_wrong_in_a_message_is_its_reason(
    name: str, file: str, damage: tuple[bytes, bytes], reason: str
) -> None:
    built = channel_of(name)
    for payload in payloads_of(built, corpus_file(file).path.read_bytes()):
        assert damage[0] in payload
        assert judged(built, payload.replace(*damage)).outcome == reason


def test_a_viral_load_of_another_roche_system_goes_through_the_pack_of_the_6800() -> None:
    """Which model it is does not say; its layout is the same."""
    built = channel_of("roche-cobas-6800")
    (payload,) = payloads_of(built, corpus_file("hl7-analyzers/vlsm-cobas-hivvl.hl7").path.read_bytes())
    (observation,) = judged(built, payload).all("Observation")
    assert (code_sent(observation), *shown(observation)) == ("HIVVL", "1250", "copies/mL")


# -- codes ---------------------------------------------------------------------------------------------------------

# Pack -> the model in the reference that says which analyzer sends which code.
MODELS = {
    "roche-cobas-c111": "Roche cobas c111",
    "roche-cobas-c311": "Roche cobas c311",
    "roche-cobas-e411": "Roche cobas e411",
    "roche-cobas-pro": "Roche cobas pro",
    "roche-cobas-6800": "Roche cobas 6800/8800",
    "abbott-m2000": "Abbott m2000 RealTime",
    "abbott-architect": "Abbott Architect",
    "siemens-clinitek": "Siemens Clinitek",
    "siemens-dca-vantage": "Siemens DCA Vantage",
    "cepheid-genexpert": "Cepheid GeneXpert (ASTM)",
    "hologic-panther": "Hologic Panther",
    "abbott-afinion-2": "Abbott Afinion 2",
}
# The row of a code table -> how the reference writes that code, where it is not the same.
WRITTEN = {
    "HBSAG": "HBsAg",
    "Xpert HIV-1 Viral Load XC": "HIVVL",
    "Xpert HIV-1 Viral Load XC/LOG": "HIVVL ... LOG",
    "Xpert HBV Viral Load": "hbv_test",
    "Xpert HBV Viral Load/LOG": "hbv_test ... LOG",
    "Xpress SARS-CoV-2_Flu_RSV plus/SARS-CoV-2": "COVFLURSVPLUS / SARSCOV2",
    "Xpress SARS-CoV-2_Flu_RSV plus/Flu A": "COVFLURSVPLUS / FLUA",
    "Xpress SARS-CoV-2_Flu_RSV plus/Flu B": "COVFLURSVPLUS / FLUB",
    "Xpress SARS-CoV-2_Flu_RSV plus/RSV": "COVFLURSVPLUS / RSV",
}
# Rows of the reference with a LOINC code that no table of these packs takes up, and why.
NOT_TAKEN = {
    "Roche cobas e411": "application numbers are given at each site",
    "Cepheid GeneXpert (ASTM)": "host test codes are given at each site; MTB and RIF: the specimen decides, or no name",
    "Abbott m2000 RealTime": "a dried blood spot has another term",
    "Siemens Clinitek": "URO comes as a number, the term is present or not",
    "Roche cobas 6800/8800": "it sends LOINC itself",
}


@pytest.mark.reference
@pytest.mark.parametrize("name", MODELS)
def test_every_mapped_code_is_that_of_the_evidence_and_no_evidence_is_overlooked(name: str) -> None:
    known = {
        (row["transmitted_code"], row["loinc"]) for row in evidence() if row["maker_model"].startswith(MODELS[name])
    }
    mapped = {
        (WRITTEN.get(row.cells["code"], row.cells["code"]), row.code)
        for row in codes_of(find_pack(name))
        if row.code is not None
    }
    assert mapped <= known
    left = {row for row in known - mapped if row[1]}
    assert not left or MODELS[name] in NOT_TAKEN, left


@pytest.mark.reference
@each_pack
def test_each_term_was_checked_and_fits_the_unit_and_scale_of_its_row(name: str) -> None:
    lines = (REFERENCE / "loinc-lab.tsv").read_text(encoding="utf-8").splitlines()
    header = lines[0].split("\t")
    terms = {cells["loinc"]: cells for cells in (dict(zip(header, line.split("\t"), strict=False)) for line in lines)}
    for row in codes_of(find_pack(name)):
        if row.code is None:
            continue
        term = terms[row.code]
        assert row.cells["display"] == term["long_common_name"]
        assert (row.cells.get("scale") == "Ord") == (term["scale"] == "Ord")
        if term["scale"] in ("Ord", "Nom"):
            assert row.ucum is None
            assert row.cells.get("type") != "NM"
        elif row.ucum is not None:
            same = {term["ucum_unit"], *re.findall(r"([^;= ]+)=", term["alt_units"])}
            assert row.ucum in same | EQUAL_UNITS.get(row.code, set()), row.name


# Units in which a term may be reported beside those of the reference: the same kind of quantity.
EQUAL_UNITS = {"1751-7": {"g/L"}, "14957-5": {"mg/L"}, "20447-9": {"{copies}/mL"}}
