"""Every corpus file of a shipped pack, through its pack: as many results as the index counts, each with its specimen,
value and unit; controls filtered, damaged texts refused with their reason.

And every row of every code table: its evidence is that of the reference, and its term is of the kind that its unit is.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.config.pack import packs
from engine.diagnostics.packs import codes_of, recognise
from engine.mapping.code_tables.table_files import read_table
from engine.mapping.code_tables.tables import Table
from engine.mapping.trying.inputs import Mapper, messages_in
from tests.support.corpus import field_faults
from tests.support.fhir_check import faults
from tests.support.packs import (
    CHECKOUT,
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

Json = dict[str, Any]
PACKS = {pack.name: pack for pack in packs()}
QC = "QUALITY_CONTROL"
ENQ, EOT = b"\x05", b"\x04"


FACTS = read_facts(Path(__file__).with_name("analyzer_packs.yaml"))

# Texts for printers and protocols of one's own have no records for the index to count.
NOT_COUNTED = ("siemens-348-printout.txt", "arkray-spotchem-el-native.bin", "biomerieux-minividas-native.bin")

each_file = pytest.mark.parametrize(("name", "file"), list(FACTS), ids=lambda value: value.rpartition("/")[2])


@pytest.mark.corpus
def test_every_file_that_is_evidence_of_a_pack_is_tested_here() -> None:
    mine = {name for name, _ in FACTS}
    named = {(pack.name, seen.file) for pack in PACKS.values() if pack.name in mine for seen in pack.config.seen}
    assert named == set(FACTS)


@pytest.mark.corpus
@pytest.mark.parametrize("name", PACKS)
def test_the_evidence_of_a_pack_is_what_the_corpus_says_of_it(name: str) -> None:
    kinds = {"capture": {"capture"}, "derived": {"capture"}, "vendor-example": {"vendor-example"}}
    for seen in PACKS[name].config.seen:
        folder, _, file = seen.file.partition("/")
        if folder == "field3":  # written in the shape of a published one
            assert (seen.what, file in field_faults()) == ("modelled", True), seen.file
            continue
        facts = corpus_file(seen.file).facts
        if "kind" in facts:
            assert seen.what in kinds.get(facts["kind"], {"modelled"}), seen.file
        assert seen.link.startswith(f"https://github.com/{facts['source_repo']}/blob/{facts['commit']}/"), seen.file
        assert seen.link.endswith(facts["path"].split(" ")[0]), seen.file


@pytest.mark.corpus
@each_file
def test_each_message_ends_as_it_should(name: str, file: str) -> None:
    assert [one.outcome for one in told(name, file)] == list(FACTS[name, file].outcomes)


@pytest.mark.corpus
@each_file
def test_as_many_results_as_the_index_counts_and_none_lost(name: str, file: str) -> None:
    facts, outcomes = FACTS[name, file], told(name, file)
    index = corpus_file(file)
    if index.name not in NOT_COUNTED:
        assert facts.results == index.number("R") + index.number("OBX") + index.number("obx")
    assert sum(one.results_in for one in outcomes) == facts.results
    observations = everything(name, file, "Observation")
    filtered = sum(one.results_in for one in outcomes if one.outcome == QC)
    assert len(observations) + facts.left_out + filtered == facts.results
    assert len(everything(name, file, "DiagnosticReport")) == facts.reports
    for one in outcomes:
        assert [faults(document.body) for document, _ in one.verdict.documents] == [[]] * len(one.verdict.documents)


@pytest.mark.corpus
@each_file
def test_specimens_are_those_that_were_sent_without_padding(name: str, file: str) -> None:
    found = {one["value"] for tube in everything(name, file, "Specimen") for one in tube["identifier"]}
    assert found == set(FACTS[name, file].specimens)


@pytest.mark.corpus
@each_file
def test_values_and_units_are_those_that_were_sent_under_the_codes_of_the_table(name: str, file: str) -> None:
    observations = everything(name, file, "Observation")
    for code, term, value, unit in FACTS[name, file].samples:
        found = [one for one in observations if code_sent(one) == code]
        assert found, code
        quantity = found[0].get("valueQuantity", {})
        assert (loinc(found[0]), str(quantity.get("value", "")), quantity.get("unit", "")) == (term, value, unit)


@pytest.mark.corpus
@each_file
def test_every_loinc_code_that_goes_out_stands_in_the_table_of_the_pack_or_was_sent(name: str, file: str) -> None:
    listed = {(row.cells["code"], row.code) for row in codes_of(PACKS[name]) if row.code}
    data = corpus_file(file).path.read_text(encoding="utf-8", errors="replace")
    for one in everything(name, file, "Observation"):
        if code := loinc(one):
            assert (code_sent(one), code) in listed or f"{code}^" in data, code_sent(one)


@pytest.mark.corpus
@each_file
def test_a_capture_is_recognised_as_its_pack_and_no_other(name: str, file: str) -> None:
    data = corpus_file(file).path.read_bytes()
    if corpus_file(file).name in NOT_COUNTED:
        assert [pack.name for pack, _ in recognise(data)] == [name]
        return
    mapper = Mapper(())
    for found in messages_in(data):
        assert [pack.name for pack, _ in recognise(mapper.read(found))] == [name]


# -- from the line -------------------------------------------------------------------------------------------------

# Framed as on the line. The tool that captured the Yumizen joined frames: their numbers do not follow each other.
FRAMED = [
    (name, file)
    for name, file in FACTS
    if file in CORPUS_FILES
    and (corpus_file(file).facts.get("framing") == "e1381" or corpus_file(file).name in NOT_COUNTED)
    and (corpus_file(file).number("cs_bad") == 0 or corpus_file(file).name in NOT_COUNTED)
    and name != "horiba-yumizen-h500"
]


def _chunks(name: str, file: str) -> list[bytes]:
    """As the bytes came, where that was kept; else in pieces of seven."""
    path = corpus_file(file).path
    kept = path.with_name(path.name + ".chunks.json")
    data = path.read_bytes()
    if kept.is_file():
        sizes = json.loads(kept.read_text(encoding="utf-8"))
        chunks = [bytes(one) if isinstance(one, list) else bytes.fromhex(one) for one in _listed(sizes)]
        assert b"".join(chunks) == data
        return chunks
    if name == "biomerieux-minividas":
        data = ENQ + data.rstrip(b"\n") + b"\x03"  # the capture begins and ends inside its session
    elif path.name not in NOT_COUNTED and not data.lstrip(b"\x04\r\n").startswith(ENQ):
        data = ENQ + data
    return [data[at : at + 7] for at in range(0, len(data), 7)]


def _listed(kept: Any) -> list[Any]:
    return kept["chunks"] if isinstance(kept, dict) else kept


@pytest.mark.corpus
@pytest.mark.parametrize(("name", "file"), FRAMED, ids=lambda value: value.rpartition("/")[2])
def test_what_comes_over_the_line_gives_the_same_as_the_file(name: str, file: str) -> None:
    built = channel_of(name)
    messages, _ = received(built, [*_chunks(name, file), EOT])
    over_the_line = [judged(built, payload) for payload in messages]
    assert [one.outcome for one in over_the_line] == [one.outcome for one in told(name, file)]
    assert [one.results_in for one in over_the_line] == [one.results_in for one in told(name, file)]
    ours = [code_sent(result) for one in over_the_line for result in one.all("Observation")]
    assert ours == [code_sent(result) for result in everything(name, file, "Observation")]


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        ("stago-sta-satellite", "astm/stago-satellite-max.astm", (b"14.02", b"74.02")),
        ("horiba-pentra-xlr", "astm/horiba-pentra-xlr.astm", (b"|8.5|", b"|6.5|")),
        ("biomerieux-minividas", "astm/biomerieux-minividas-native.bin", (b"0.05", b"0.35")),
    ],
)
def test_a_frame_with_a_changed_digit_is_no_result(name: str, file: str, damage: tuple[bytes, bytes]) -> None:
    data = b"".join(_chunks(name, file))
    assert damage[0] in data
    messages, found = received(channel_of(name), [data.replace(*damage, 1), EOT])
    assert "bad-checksum" in {fault.kind for fault in found}
    assert not any(damage[1] in payload for payload in messages)


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        ("arkray-spotchem-el", "astm/arkray-spotchem-el-native.bin", (b"131", b"1\x7f1")),
        ("siemens-rapidlab-348", "astm/siemens-348-printout.txt", (b"7.973", b"7.9?3")),
    ],
)
def test_a_text_without_a_checksum_is_refused_where_a_sign_is_none(
    name: str, file: str, damage: tuple[bytes, bytes]
) -> None:
    built = channel_of(name)
    data = corpus_file(file).path.read_bytes().replace(*damage, 1)
    outcomes = [judged(built, payload).outcome for payload in payloads_of(built, data)]
    assert outcomes[0] == "UNREADABLE"


@pytest.mark.corpus
def test_malformed_messages_are_dead_with_the_reason() -> None:
    built = channel_of("horiba-micros60")
    data = corpus_file("astm/oe-malformed.astm").path.read_bytes()
    assert [judged(built, payload).outcome for payload in payloads_of(built, data)] == [
        "UNREADABLE",  # no H record
        "UNMAPPED_STATUS",  # fields stand one too far left
        "UNREADABLE",  # H declares no delimiters
        "NO_IDENTITY",  # R-3 is empty
        "UNMAPPED_STATUS",
        "NO_ROUTE",  # no result in it
    ]


# -- controls ------------------------------------------------------------------------------------------------------

XN = b"H|\\^&|||    XN-550^00-24^22723\rP|1|||37182\rO|1||%s|^^^^WBC|||||||%s||||||||||||||F\r"
XN += b"R|1|^^^^WBC^1|8.13|10*3/uL||N||F||||20260301135407\rL|1|N\r"


@pytest.mark.parametrize(
    ("number", "action", "outcome"),
    [
        (b"^^                    27^M", b"N", "mapped"),
        (b"^^                    27^M", b"Q", QC),
        (b"1^1^           QC-82151403^B", b"N", QC),
        (b"^^BACKGROUNDCHECK^A", b"", QC),
        (b"^^             AQC-1^M", b"N", "mapped"),
    ],
)
@pytest.mark.parametrize("name", ["sysmex-xn", "sysmex-xp"])
def test_each_sign_of_a_control_is_enough(name: str, number: bytes, action: bytes, outcome: str) -> None:
    assert judged(channel_of(name), XN % (number, action)).outcome == outcome


ASTM_PACKS = [name for name, pack in PACKS.items() if pack.config.format == "astm" and "layout:" not in pack.template]


@pytest.mark.parametrize("name", ASTM_PACKS)
def test_a_control_of_any_astm_analyzer_is_never_a_patients_result(name: str) -> None:
    text = XN % (b"^^27^M", b"Q")
    assert judged(channel_of(name), text).outcome == QC
    whole = (XN % (b"^^27^M", b"N")).replace(b"22723", b"22723|||||||Q", 1)
    assert judged(channel_of(name), whole).outcome == QC


# -- code tables ---------------------------------------------------------------------------------------------------


def _table(file: str, key: str) -> Table:
    path = CHECKOUT / "mappings" / "tables" / file
    table, _ = read_table(path.read_text(encoding="utf-8"), path.stem, file, [key])
    return table


TERMS = _table("loinc.csv", "code")
DIMENSIONS = {row.ucum: row.dimension for row in _table("ucum.csv", "unit_in").rows}


@pytest.mark.parametrize("name", PACKS)
def test_the_term_of_each_row_is_of_the_kind_that_its_unit_is(name: str) -> None:
    for row in codes_of(PACKS[name]):
        if row.code is None:
            continue
        term = TERMS.exact.get(row.code)
        assert term is not None, f"{row.name}: {row.code} is not among the terms that were compared with two sources"
        assert row.cells["display"] == term.cells["display"], row.name
        scale = term.cells.get("scale")
        if scale in ("Ord", "Nom"):
            assert not row.ucum, f"{row.name}: a term without a unit"
            assert row.cells.get("type") != "NM", row.name
        elif row.ucum and row.ucum != term.ucum:
            assert row.ucum in DIMENSIONS, f"{row.name}: {row.ucum} is not in ucum.csv"
            measured = DIMENSIONS[row.ucum]
            assert measured is None or term.dimension is None or measured in term.dimension.split(), row.name


# The pack's name -> the models of the evidence table that are its own.
MODELS = {
    "sysmex-xn": ("Sysmex XN-550 / XN-L", "Sysmex XN-L", "Sysmex XN-350"),
    "sysmex-xp": ("Sysmex XP-100",),
    "horiba-pentra-xlr": ("Horiba ABX Pentra XLR",),
    "horiba-yumizen-h500": ("Horiba Yumizen H500",),
    "horiba-micros60": ("Horiba ABX Micros 60 (modelled)",),
    "mindray-bc5380": ("Mindray BC-5380",),
    "mindray-bs200": ("Mindray BS-200",),
    "erba-em200": ("Erba/Transasia EM-200",),
    "stago-sta-satellite": ("Stago STA Satellite Max",),
    "arkray-spotchem-el": ("Arkray Spotchem EL SE-1520",),
    "biomerieux-minividas": ("bioMerieux mini VIDAS",),
    "siemens-rapidlab-348": (),
}
# mini VIDAS: the driver lost the first sign of each field, so that its list begins codes with the t of the tag rt.
WRITTEN_OTHERWISE = {("biomerieux-minividas", "HCV"): "tHCV"}


@pytest.mark.reference
@pytest.mark.parametrize("name", MODELS)
def test_every_mapped_code_is_what_the_evidence_says(name: str) -> None:
    known: dict[str, set[str]] = {}
    for row in evidence():
        if row["maker_model"] in MODELS[name] and row["confidence"] != "inferred":
            for code in re.split(r"[ ^]", row["transmitted_code"])[:1]:
                known.setdefault(code, set()).add(row["loinc"])
    for mapped in codes_of(PACKS[name]):
        if mapped.code is not None:
            code = WRITTEN_OTHERWISE.get((name, mapped.cells["code"]), mapped.cells["code"])
            assert mapped.code in known.get(code, ()), mapped.name


def test_no_pack_is_listed_as_wanted() -> None:
    """docs/analyzers.md: what is shipped is not wanted any more."""
    text = (CHECKOUT / "docs" / "analyzers.md").read_text(encoding="utf-8")
    wanted = re.findall(r"^\| (?!maker)(?!---)(.+?) \| (.+) \|$", text.partition("## Wanted")[2], re.MULTILINE)
    listed = {f"{maker} {model.strip()}" for maker, models in wanted for model in models.split(",")}
    shipped = {f"{pack.config.maker} {model}" for pack in PACKS.values() for model in pack.config.models}
    assert listed & shipped == set()
    assert len(listed) > 10
