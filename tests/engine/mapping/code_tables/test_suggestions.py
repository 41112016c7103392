"""Suggestions of packs: each has a source and a term that fits, a wrong row is refused by its line, none is applied."""

import csv
import shutil
from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.config.pack import Pack, find_pack, packs, read_pack
from engine.config.site import mapping_path
from engine.diagnostics.packs import check_pack, codes_of, loinc_gaps, suggested, suggestions_of
from engine.mapping.code_tables import units
from engine.mapping.code_tables.suggestions import COLUMNS, MAX_ROWS, Suggestion, csv_lines, doubt, read_suggestions
from engine.mapping.loading import kinds_of
from engine.model.errors import ConfigError
from engine.model.process.clock import SystemClock
from engine.runtime.build import build_site
from tests.support.packs import judged, payloads_of
from tests.support.shipped import KEY
from tests.support.sites import make_site

MESSAGES = (".astm", ".hl7", ".txt")
CHECKOUT = Path(__file__).parents[4]
SHIPPED = packs()
EVERY = [one for pack in SHIPPED for one in suggestions_of(pack)]
WITH_TERM = [one for one in EVERY if one.loinc]
TERMS = {
    row["code"]: row
    for row in csv.DictReader(
        line
        for line in (CHECKOUT / "mappings/tables/loinc.csv").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
}
GOOD = {
    "code": "158/",
    "unit_in": "U/l",
    "analyte": "alkaline phosphatase",
    "loinc": "6768-6",
    "display": "Alkaline phosphatase [Enzymatic activity/volume] in Serum or Plasma",
    "type": "NM",
    "ucum": "U/L",
    "property": "CCnc",
    "specimen": "serum or plasma",
    "assumes": "as installed",
    "by": "maker",
    "source": "method sheet ALP2, System information",
    "link": "https://example.org/alp2",
    "status": "suggested",
}
ANALYTE_ALONE = dict.fromkeys(("loinc", "display", "type", "ucum", "property"), "")
each = pytest.mark.parametrize("one", WITH_TERM, ids=lambda one: f"{one.analyzer}-{one.line}")


def text(*rows: dict[str, str]) -> str:
    lines = [",".join(f'"{row.get(name, "")}"' for name in COLUMNS) for row in rows]
    return "\n".join(("# a comment", ",".join(COLUMNS), *lines)) + "\n"


def problems(*rows: dict[str, str]) -> list[str]:
    return [finding.at("s.csv") for finding in read_suggestions(text(*rows), "acme")[1]]


# -- what ships ------------------------------------------------------------------------------------------------------


@each
def test_a_term_is_that_of_the_table_of_terms_and_fits_the_unit(one: Suggestion) -> None:
    """The oracle: property, scale and name of the term, the dimension of the unit, and the specimen in the name."""
    term = TERMS[one.loinc]
    assert units.loinc_check_digit_holds(one.loinc)
    assert (one.display, one.property) == (term["display"], term["property"])
    assert one.type == ("NM" if term["scale"] == "Qn" else "ST")
    assert (one.scale == "Ord") == (term["scale"] == "Ord")
    for word in one.specimen.split():
        assert word == "or" or word in one.display.lower(), "the specimen that the row assumes is not that of its term"
    kinds = kinds_of(mapping_path(None))
    assert kinds is not None
    if one.unit_in and term["dimension"]:
        assert kinds.sent({"unit_in": one.unit_in}) in term["dimension"].split()
        assert kinds.made({"ucum": one.ucum}) in term["dimension"].split()
    assert doubt(one, kinds) == ""


def test_each_has_its_source_and_none_is_confirmed() -> None:
    assert len(EVERY) > 50
    for one in EVERY:
        assert one.status == "suggested"
        assert all((one.source, one.assumes, one.specimen, one.link.startswith("http"))), f"{one.analyzer}:{one.line}"


@pytest.mark.parametrize("pack", SHIPPED, ids=lambda pack: pack.name)
def test_a_pack_suggests_what_its_table_leaves_open(pack: Pack) -> None:
    mapped = {(row.cells["code"], row.cells.get("unit_in", "").casefold()) for row in codes_of(pack) if row.code}
    columns = {name for row in codes_of(pack) for name in row.cells}
    for one in suggestions_of(pack):
        assert (one.code, one.unit_in.casefold()) not in mapped, f"line {one.line}: the pack's table has this code"
        assert not one.scale or "scale" in columns, "the table of this pack cannot keep a number from an ordinal term"


def test_the_gaps_of_every_pack_are_named_with_or_without_a_suggestion() -> None:
    found = {pack.name: loinc_gaps(pack) for pack in SHIPPED}
    assert (found["roche-cobas-c311"].suggested, found["roche-cobas-c311"].unknown) == (
        ["685/", "712/", "158/"],
        ["687/", "735/", "717/", "690/"],
    )
    none = {name for name, gaps in found.items() if gaps.unknown and not gaps.suggested}
    assert {"abbott-m2000", "erba-em200", "roche-cobas-e411"} <= none
    assert not any(found["horiba-yumizen-h500"][1:])


# -- the reader ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"code": ""}, "the cell under 'code' is empty"),
        ({"analyte": ""}, "the cell under 'analyte' is empty"),
        ({"specimen": ""}, "the cell under 'specimen' is empty"),
        ({"assumes": ""}, "the cell under 'assumes' is empty"),
        ({"source": ""}, "the cell under 'source' is empty"),
        ({"link": ""}, "the cell under 'link' is empty"),
        ({"link": "javascript:alert(1)"}, "link: an address begins with https:// or http://"),
        ({"status": ""}, "the cell under 'status' is empty"),
        ({"status": "confirmed"}, "status 'confirmed': a person confirms it at a site"),
        ({"by": ""}, "the cell under 'by' is empty"),
        ({"by": "a friend"}, "by 'a friend': write maker or published"),
        ({"code": "*"}, "* would match anything"),
        ({"unit_in": "*"}, "* would match anything"),
        ({"loinc": "6768-7"}, "'6768-7' is no LOINC code: its form or its check digit is wrong"),
        ({"loinc": "ALP"}, "'ALP' is no LOINC code"),
        ({"display": ""}, "the cell under 'display' is empty; a LOINC code needs it"),
        ({"type": ""}, "the cell under 'type' is empty; a LOINC code needs it"),
        ({"type": "number"}, "'number' is no type of value"),
        ({"property": ""}, "the cell under 'property' is empty; a LOINC code needs it"),
        ({"scale": "Qn"}, "scale 'Qn': write Ord, or nothing"),
        ({"ucum": "U/litre"}, "'U/litre' is no UCUM unit"),
        ({"loinc": ""}, "display, type, property, ucum without a LOINC code"),
        ({"analyte": "a\u202eb"}, "analyte: a cell has at most 500 visible characters"),
        ({"source": "x" * 501}, "source: a cell has at most 500 visible characters"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(change: dict[str, str], problem: str) -> None:
    (found,) = problems(GOOD | change)
    assert found.startswith(f"s.csv:3:1: {problem}"), found


def test_sound_rows_and_candidates() -> None:
    other = GOOD | {"loinc": "1742-6", "analyte": "another"}
    found, wrong = read_suggestions(text(GOOD, other, GOOD | ANALYTE_ALONE), "acme")
    assert wrong == []
    assert [(one.analyzer, one.line, one.loinc) for one in found] == [
        ("acme", 3, "6768-6"),
        ("acme", 4, "1742-6"),
        ("acme", 5, ""),
    ]
    assert found[0].draft() == {
        "loinc": "6768-6",
        "display": GOOD["display"],
        "type": "NM",
        "ucum": "U/L",
        "note": f"suggested: {GOOD['source']}",
    }
    assert found[2].draft() == {}
    assert found[0].is_for("158/", "U/L")
    assert not found[0].is_for("158/", "")
    assert not found[0].is_for("158", "U/l")


def test_the_same_row_twice_is_refused() -> None:
    assert problems(GOOD, GOOD | {"unit_in": "U/L"}) == [
        "s.csv:4:1: the same code, unit and LOINC code as in line 3; remove one of the two rows"
    ]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "1:1: the header is not"),
        ("code,unit_in,loinc\nA,,718-7\n", "1:1: the header is not"),
        (f"{','.join(COLUMNS)}\nA,B\n", f"2:1: 2 cells under {len(COLUMNS)} columns"),
        (f'{",".join(COLUMNS)}\n"A,B\n', "2:1: quotes do not match"),
    ],
)
def test_a_file_that_is_none_is_refused(given: str, problem: str) -> None:
    found, wrong = read_suggestions(given, "acme")
    assert found == []
    assert wrong[0].at("").startswith(f":{problem}")


def test_more_rows_than_the_limit_are_refused() -> None:
    found, wrong = read_suggestions(text(*(GOOD | {"code": str(at)} for at in range(MAX_ROWS + 1))), "acme")
    assert len(found) == MAX_ROWS
    assert [one.text for one in wrong] == [f"more than {MAX_ROWS} rows"]


def test_printed_rows_read_as_the_same_and_none_is_a_formula() -> None:
    found, _ = read_suggestions(text(GOOD, GOOD | {"code": "712/", "analyte": "=1+1"}), "acme")
    lines = list(csv_lines(found))
    assert "'=1+1" in lines[2]
    again, wrong = read_suggestions("\n".join(lines), "acme")
    assert wrong == []
    assert again[0].cells() == found[0].cells()
    assert list(csv_lines([])) == []


# -- of a site -------------------------------------------------------------------------------------------------------


def pack_with(folder: Path, given: str) -> Path:
    made = folder / "analyzers" / "sysmex-xp"
    shutil.copytree(CHECKOUT / "analyzers" / "sysmex-xp", made)
    (made / "suggestions.csv").write_text(given, encoding="utf-8")
    return made


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"status": "yes"}, "3:1: status 'yes'"),
        (
            {"unit_in": "mg/dl", "ucum": "mg/dL"},
            "3:1: LOINC 6768-6 is a term for catalytic, and mg/dL is one of mass/volume",
        ),
        (
            {"loinc": "55432-9", "display": "x"},
            "3:1: the table of terms (tables/loinc.csv) does not have LOINC 55432-9",
        ),
    ],
)
def test_check_names_file_and_line(tmp_path: Path, change: dict[str, str], problem: str) -> None:
    (found,) = check_pack(read_pack(pack_with(tmp_path, text(GOOD | change))))
    assert found.startswith(f"analyzers/sysmex-xp/suggestions.csv:{problem}"), found


def test_of_a_file_that_is_wrong_nothing_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        suggestions_of(read_pack(pack_with(tmp_path, text(GOOD | {"link": ""}))))
    assert error.value.problems == (
        "analyzers/sysmex-xp/suggestions.csv:3:1: the cell under 'link' is empty; a suggestion needs it",
    )


def test_a_channel_has_the_suggestions_of_the_pack_that_it_names(tmp_path: Path) -> None:
    channel = (CHECKOUT / "analyzers/{}/channel.yaml").as_posix()
    site = (CHECKOUT / "config" / "labrelay.yaml").read_text("utf-8")
    named = {
        "a.yaml": Path(channel.format("sysmex-xp")).read_text("utf-8"),
        "b.yaml": Path(channel.format("roche-cobas-pro")).read_text("utf-8").replace("5600", "5601"),
    }
    pack_with(tmp_path, text(GOOD))
    loaded = load_site(make_site(tmp_path, site=site, channels=named))
    assert [one.analyzer for one in suggested(loaded, "sysmex-xp")] == ["sysmex-xp"]  # the site's own pack
    assert [one.code for one in suggested(loaded, "roche-cobas-pro")] == ["10042"]
    assert [one.analyzer for one in suggested(loaded, None)] == ["roche-cobas-pro", "sysmex-xp"]
    assert suggested(loaded, "no such channel") == []
    shutil.rmtree(tmp_path / "analyzers")
    assert suggested(loaded, "sysmex-xp") == []  # the shipped pack has none


# -- none is applied -------------------------------------------------------------------------------------------------


def judged_with(pack: Pack, folder: Path) -> list[tuple[str, list[bytes]]]:
    """What becomes of a pack's samples at a site whose own folder has the pack."""
    site = (CHECKOUT / "config" / "labrelay.yaml").read_text("utf-8")
    loaded = load_site(make_site(folder, site=site, channels={"one.yaml": pack.template}))
    assert find_pack(pack.name, folder).folder == folder / "analyzers" / pack.name
    built = build_site(loaded, identity_key=KEY, clock=SystemClock()).channels[pack.name]
    files = sorted((CHECKOUT / "samples" / pack.name.replace("-", "_")).iterdir())
    payloads = [one for file in files if file.suffix in MESSAGES for one in payloads_of(built, file.read_bytes())]
    told = [judged(built, payload) for payload in payloads]
    return [(one.outcome, [document.body for document, _ in one.verdict.documents]) for one in told]


@pytest.mark.parametrize("pack", [one for one in SHIPPED if one.suggestions], ids=lambda pack: pack.name)
def test_documents_are_the_same_bytes_with_and_without_suggestions(pack: Pack, tmp_path: Path) -> None:
    for name in ("with", "without"):
        shutil.copytree(pack.folder, tmp_path / name / "analyzers" / pack.name)
    (tmp_path / "without" / "analyzers" / pack.name / "suggestions.csv").unlink()
    found = judged_with(pack, tmp_path / "with")
    assert found == judged_with(pack, tmp_path / "without")
    assert any(bodies for _, bodies in found)
