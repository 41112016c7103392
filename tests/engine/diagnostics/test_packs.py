"""Analyzer packs: every shipped one is sound, a site's own come first, and problems name file and line."""

import shutil
from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.config.pack import Pack, find_pack, packs, read_pack
from engine.diagnostics.packs import check_pack, codes_of, recognise
from engine.mapping.trying.inputs import Mapper, messages_in
from engine.model.errors import ConfigError
from tests.support.sites import make_site

CHECKOUT = Path(__file__).parents[3]
SHIPPED = packs()
CHANNEL = """\
channel: one
analyzer: sysmex-xn
timezone: UTC
source: {kind: astm, listen: "127.0.0.1:0"}
routes: [{mapping: astm-results, to: lab-fhir}]
"""
each_pack = pytest.mark.parametrize("pack", SHIPPED, ids=lambda pack: pack.name)


def channel(tmp_path: Path, text: str) -> dict[str, object]:
    site = (CHECKOUT / "config" / "labrelay.yaml").read_text(encoding="utf-8")
    loaded = load_site(make_site(tmp_path, site=site, channels={"one.yaml": text}))
    return loaded.channels["one"].model_dump()


@each_pack
def test_each_pack_is_sound(pack: Pack) -> None:
    assert list(check_pack(pack)) == [], f"each line names what is wrong in analyzers/{pack.name}/, and where"


@each_pack
def test_each_pack_has_a_channel_that_loads(pack: Pack, tmp_path: Path) -> None:
    site = (CHECKOUT / "config" / "labrelay.yaml").read_text(encoding="utf-8")
    loaded = load_site(make_site(tmp_path, site=site, channels={"one.yaml": pack.template}))
    made = loaded.channels[pack.name]
    assert made.analyzer == pack.name
    assert made.source.reads_as == pack.config.format
    if pack.codes is not None:
        assert made.tables == {"analytes": (f"{pack.name}/codes.csv",)}


@each_pack
def test_each_pack_has_samples(pack: Pack) -> None:
    folder = CHECKOUT / "samples" / pack.name.replace("-", "_")
    assert any(folder.glob("*.expected.json")), f"samples/{folder.name}/ needs a message; see samples/README.md"


def test_a_channel_takes_over_what_its_pack_gives_and_keeps_what_it_says(tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(CHECKOUT / "analyzers" / "sysmex-xn", own / "analyzers" / "sysmex-xn")
    path = own / "analyzers" / "sysmex-xn" / "pack.yaml"
    text = path.read_text("utf-8").replace("gives:\n", "gives:\n  charset: [cp1252]\n")
    path.write_text(
        text.replace("  settings:\n", "  settings:\n    test_code: 4/5\n    lab: Theirs\n"), encoding="utf-8"
    )
    plain = channel(own, CHANNEL)
    assert (plain["charset"], plain["dialect"]) == (("cp1252",), "sysmex")
    assert plain["settings"] == {
        "test_code": "4/5",
        "lab": "Theirs",
        "computed": {"MCV": ["HCT", "RBC"]},
        "tables": {"analytes": "sysmex-xn/codes.csv"},
    }
    said = channel(
        own,
        CHANNEL + "dialect: horiba-pentra\ncharset: utf-8\n"
        "settings: {lab: Mine, tables: {ucum: tables/x.csv}, "
        "computed: {EGFR: [CRE]}}\n",
    )
    assert (said["charset"], said["dialect"]) == (("utf-8",), "horiba-pentra")
    assert said["settings"] == {
        "test_code": "4/5",
        "lab": "Mine",
        "computed": {"MCV": ["HCT", "RBC"], "EGFR": ["CRE"]},
        "tables": {"analytes": "sysmex-xn/codes.csv", "ucum": "tables/x.csv"},
    }


def test_a_sites_own_pack_hides_the_shipped_one_and_may_be_new(tmp_path: Path) -> None:
    for name in ("sysmex-xn", "mine"):
        shutil.copytree(CHECKOUT / "analyzers" / "sysmex-xn", tmp_path / "analyzers" / name)
    path = tmp_path / "analyzers" / "mine" / "pack.yaml"
    path.write_text(path.read_text("utf-8").replace("analyzer: sysmex-xn", "analyzer: mine"), encoding="utf-8")

    assert find_pack("sysmex-xn", tmp_path).folder == tmp_path / "analyzers" / "sysmex-xn"
    assert {pack.name for pack in packs(tmp_path)} == {"mine", *(pack.name for pack in SHIPPED)}


def test_an_unknown_analyzer_is_refused_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        channel(tmp_path, CHANNEL.replace("sysmex-xn", "sysmex-xnn"))
    assert error.value.problems == (
        "channels/one.yaml:2:11: analyzer: no analyzer is called 'sysmex-xnn'; did you mean sysmex-xn?",
    )


def broken(tmp_path: Path, old: str, new: str) -> Path:
    folder = tmp_path / "analyzers" / "sysmex-xn"
    shutil.copytree(CHECKOUT / "analyzers" / "sysmex-xn", folder)
    text = (folder / "pack.yaml").read_text("utf-8")
    assert old in text
    (folder / "pack.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("maker: Sysmex", "makre: Sysmex", "pack.yaml:2:1: makre: unknown key; did you mean maker?"),
        ("what: capture", "what: rumour", "pack.yaml:9:11: seen.0.what: unknown value 'rumour'"),
        (
            "  settings:\n",
            "  settings:\n    r4: value^-^units\n",
            "pack.yaml:42:9: gives.settings.r4: 'value^-^units'",
        ),
        (
            "[HCT, RBC]",
            "[HCT, MCV]",
            "pack.yaml:42:15: gives.settings.computed: MCV would be made of itself",
        ),
        ("{MCV: [HCT, RBC]}", "{MCV: HCT}", "pack.yaml:42:15: gives.settings.computed: computed names the tests"),
        ("analyzer: sysmex-xn", "analyzer: other", "pack.yaml:1:11: analyzer: 'other' is not the name of its folder"),
        ("  - when: =H-5", "  - when: H-5", "when is an expression and starts with ="),
    ],
)
def test_what_is_wrong_in_a_pack_names_its_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_pack(broken(tmp_path, old, new))
    assert any(problem in one for one in error.value.problems), error.value.problems
    assert all(one.startswith("analyzers/sysmex-xn/pack.yaml:") for one in error.value.problems)


def test_a_condition_that_is_none_names_its_place(tmp_path: Path) -> None:
    pack = read_pack(broken(tmp_path, "=H-5.1 matches '^XN-[0-9]'", "=H-5.1 matchse '^XN-'"))
    (problem,) = check_pack(pack)
    assert problem.startswith("analyzers/sysmex-xn/pack.yaml:")


def test_rows_without_evidence_and_codes_without_a_reason_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "analyzers" / "sysmex-xn"
    shutil.copytree(CHECKOUT / "analyzers" / "sysmex-xn", folder)
    (folder / "codes.csv").write_text(
        "code,unit_in,loinc,display,source,note\nA,,718-7,Hemoglobin,,\nB,,,,capture,\nC,,718-7,,capture,\n",
        encoding="utf-8",
    )
    problems = list(check_pack(read_pack(folder)))
    assert [problem.partition(";")[0] for problem in problems] == [
        "analyzers/sysmex-xn/codes.csv:2:1: without a source",
        "analyzers/sysmex-xn/codes.csv:3:1: without a LOINC code and without a note",
        "analyzers/sysmex-xn/codes.csv:4:1: a LOINC code without its name",
    ]


SAMPLES = {
    (pack.name, path)
    for pack in SHIPPED
    for path in (CHECKOUT / "samples" / pack.name.replace("-", "_")).glob("*")
    if path.suffix in (".astm", ".hl7", ".txt")
}


@pytest.mark.parametrize(("name", "path"), sorted(SAMPLES), ids=lambda value: getattr(value, "stem", value))
def test_a_packs_samples_are_recognised_as_it_and_nothing_else(name: str, path: Path) -> None:
    data = path.read_bytes()
    if path.suffix == ".txt":
        assert [pack.name for pack, _ in recognise(data, SHIPPED)] == [name]
        return
    mapper = Mapper(())
    for found in messages_in(data):
        assert [pack.name for pack, _ in recognise(mapper.read(found), SHIPPED)] == [name]


def test_patterns_look_at_bytes(tmp_path: Path) -> None:
    pack = read_pack(broken(tmp_path, "  - when: =H-5.1 matches '^XN-[0-9]'", "  - bytes_match: '^\\x02HELLO'"))
    assert list(check_pack(pack)) == []
    assert [why for _, why in recognise(b"\x02HELLO", [pack])] == ["the analyzer names itself XN-... in H-5"]
    assert recognise(b"HELLO", [pack]) == []


def test_codes_are_read_with_their_lines() -> None:
    rows = codes_of(find_pack("sysmex-xn"))
    assert rows[0].cells["code"] == "WBC"
    assert any(row.code is None for row in rows)
