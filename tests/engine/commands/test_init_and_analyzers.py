"""`labrelay analyzers` and `labrelay init`: what is known, and a channel of it that works."""

import json
import shutil
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.config.pack import find_pack, packs
from engine.diagnostics.packs import suggestions_of
from engine.mapping.code_tables.suggestions import read_suggestions
from tests.support.command_line import labrelay

NAMES = [pack.name for pack in packs()]


def test_the_list_says_what_was_seen_of_each(tmp_path: Path) -> None:
    ran = labrelay("analyzers", "-o", "json")
    assert ran.code == ExitCode.OK
    rows = {row["analyzer"]: row for row in json.loads(ran.out)["analyzers"]}
    assert list(rows) == NAMES
    assert rows["sysmex-xn"]["seen"] == ["capture x3", "modelled x2"]
    assert rows["sysmex-xn"]["codes"] > 20
    assert rows["siemens-rapidlab-348"]["codes"] == 0


def test_one_is_shown_with_its_evidence_its_codes_and_the_licence_notice() -> None:
    ran = labrelay("analyzers", "show", "horiba-pentra-xlr")
    assert ran.code == ExitCode.OK
    for text in ("capture, ABX Pentra XLR", "senaite.astm/blob/", "6690-2", "sends 804-5", "loinc.org/license"):
        assert text in ran.out
    assert "horiba-pentra-xlr/codes.csv" in ran.out.splitlines()[-1]
    document = json.loads(labrelay("analyzers", "show", "sysmex-xn", "-o", "json").out)
    assert "loinc.org/license" in document["notice"]
    assert {"code": "MACROR", "loinc": ""}.items() <= next(
        row.items() for row in document["code_table"] if row["code"] == "MACROR"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("erba-em200", "no code of this table has a LOINC code"),
        ("sysmex-xn", "5 codes without a LOINC code"),
        ("mindray-bs200", "1 code without a LOINC code"),
        ("cepheid-genexpert-hl7", "none: no code of this analyzer is known well enough"),
        ("abbott-architect", None),
    ],
)
def test_a_pack_says_which_codes_have_no_loinc_code(name: str, said: str | None) -> None:
    codes = labrelay("analyzers", "show", name).out.partition("\nCodes\n")[2]
    assert codes.startswith(f"  {said}" if said else "  CODE")
    assert ("labrelay gaps\n  prints the rows" in codes) is (said is not None and "LOINC code" in said)


def test_suggestions_are_printed_as_rows_that_read_back() -> None:
    ran = labrelay("tables", "suggest", "roche-cobas-c311")
    assert ran.code == ExitCode.OK
    assert ran.out.startswith("# Suggested, not confirmed: no mapping uses these rows.")
    found, wrong = read_suggestions(ran.out, "roche-cobas-c311")
    assert wrong == []
    assert [one.cells() for one in found] == [one.cells() for one in suggestions_of(find_pack("roche-cobas-c311"))]
    assert "no published source was found: 687/, 735/, 717/, 690/" in ran.err
    rows = labrelay("tables", "suggest", "roche-cobas-c311", "-o", "json").json["suggestions"]
    assert (rows[0]["code"], rows[0]["loinc"], rows[0]["status"]) == ("685/", "1742-6", "suggested")
    assert "TRUE ONLY IF" in labrelay("tables", "suggest", "roche-cobas-c311", "-o", "table").out


@pytest.mark.parametrize("name", ["abbott-m2000", "erba-em200", "roche-cobas-e411"])
def test_where_no_source_was_found_that_is_said(name: str) -> None:
    ran = labrelay("tables", "suggest", name)
    assert (ran.code, ran.out) == (ExitCode.OK, "")
    assert "no published source was found" in ran.err
    assert "no published source was found" in labrelay("analyzers", "show", name).out
    assert labrelay("tables", "suggest", name, "-o", "json").json["suggestions"] == []


def test_suggestions_for_a_channel_are_those_of_its_pack(tmp_path: Path) -> None:
    more = ("--analyzer", "hologic-panther", "--name", "hpv", "--listen", "127.0.0.1:4711")
    assert labrelay("--site", str(tmp_path), "init", *more).code == ExitCode.OK
    (row,) = labrelay("tables", "suggest", "hpv", "-o", "ndjson", site=tmp_path).lines
    assert (row["analyzer"], row["loinc"]) == ("hologic-panther", None)  # the analyte alone
    bare = tmp_path / "channels" / "bare.yaml"
    text = (tmp_path / "channels" / "hpv.yaml").read_text("utf-8").replace("channel: hpv", "channel: bare")
    bare.write_text(text.replace("analyzer: hologic-panther", "").replace("4711", "4712"), encoding="utf-8")
    refused = labrelay("tables", "suggest", "bare", site=tmp_path)
    assert refused.code == ExitCode.USAGE
    assert "channel bare names no analyzer" in refused.err
    unknown = labrelay("tables", "suggest", "hologic-pantherr", site=tmp_path)
    assert unknown.code == ExitCode.USAGE
    assert "did you mean hologic-panther?" in unknown.err


def test_a_slip_in_the_name_gets_the_one_that_may_be_meant() -> None:
    ran = labrelay("analyzers", "show", "sysmex-xnn")
    assert ran.code == ExitCode.USAGE
    assert "did you mean sysmex-xn?" in ran.err
    assert "did you mean sysmex-xn or sysmex-xp?" in labrelay("analyzers", "show", "sysmex").err


def test_a_new_site_is_sound_and_says_the_next_step(tmp_path: Path) -> None:
    ran = labrelay("--site", str(tmp_path / "lab"), "init", "--timezone", "Asia/Kolkata")
    assert ran.code == ExitCode.OK, ran.err
    assert "labrelay init --analyzer NAME" in ran.err
    site = load_site(tmp_path / "lab")
    assert (site.config.site.name, site.config.site.timezone) == ("lab", "Asia/Kolkata")
    again = labrelay("--site", str(tmp_path / "lab"), "init")
    assert again.code == ExitCode.USAGE
    assert "is a site already" in again.err


def test_editors_find_a_schema_for_each_file(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    for more in (("--timezone", "Asia/Kolkata"), ("--analyzer", "sysmex-xp")):
        assert labrelay("--site", str(folder), "init", *more).code == ExitCode.OK
    for file in ("config/labrelay.yaml", "channels/sysmex-xp.yaml"):
        first = (folder / file).read_text(encoding="utf-8").splitlines()[0]
        named = (folder / file).parent / first.removeprefix("# yaml-language-server: $schema=")
        assert json.loads(named.read_text(encoding="utf-8"))["title"].startswith("A ")
    assert load_site(folder).channels, "it is a comment"

    schema = folder / "config/schema/site.json"
    schema.write_text("old", encoding="utf-8")
    assert labrelay("--site", str(folder), "init", "--schemas").code == ExitCode.OK
    assert schema.read_bytes() == (Path(__file__).parents[3] / "config/schema/site.json").read_bytes()
    assert labrelay("--site", str(folder), "init", "--schemas", "--analyzer", "sysmex-xp").code == ExitCode.USAGE
    assert labrelay("--site", str(tmp_path), "init", "--schemas").code == ExitCode.CONFIG


def test_a_new_site_asks_whether_its_patient_numbers_last(tmp_path: Path) -> None:
    for more in (("--timezone", "Asia/Kolkata"), ("--analyzer", "sysmex-xp")):
        assert labrelay("--site", str(tmp_path), "init", *more).code == ExitCode.OK
    text = (tmp_path / "config/labrelay.yaml").read_text(encoding="utf-8")
    assert "\n# patient_numbers: lasting or counter\n" in text
    assert "does a patient number stay with one person for good?" in labrelay("check", site=tmp_path).out


def test_a_zone_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    ran = labrelay("--site", str(tmp_path / "lab"), "init", "--timezone", "Mars/Phobos")
    assert ran.code == ExitCode.USAGE
    assert "unknown time zone" in ran.err
    assert not (tmp_path / "lab").exists()


def test_a_channel_of_a_pack_with_a_broken_code_table_is_refused(tmp_path: Path) -> None:
    assert labrelay("--site", str(tmp_path), "init", "--timezone", "Asia/Kolkata").code == ExitCode.OK
    own = tmp_path / "analyzers" / "sysmex-xp"
    shutil.copytree(find_pack("sysmex-xp").folder, own)
    (own / "codes.csv").write_text("code,unit_in,loinc,source\nWBC,10*3/uL,6690-3,x\n", encoding="utf-8")
    ran = labrelay("--site", str(tmp_path), "init", "--analyzer", "sysmex-xp")
    assert ran.code == ExitCode.CONFIG
    assert "analyzers/sysmex-xp/codes.csv:2" in ran.err
    assert not (tmp_path / "channels" / "sysmex-xp.yaml").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("option", "value"),
    [("--listen", "127.0.0.1:4711"), ("--connect", "10.0.0.7:4711"), ("--device", "/dev/serial/by-id/usb-X")],
)
def test_a_channel_of_each_analyzer_on_each_line_passes_the_check(
    name: str, option: str, value: str, tmp_path: Path
) -> None:
    ran = labrelay("--site", str(tmp_path), "init", "--analyzer", name, "--name", "mine", option, value)
    assert ran.code == ExitCode.OK, ran.err
    assert "Next: labrelay check" in ran.err
    channel = load_site(tmp_path).channels["mine"]
    assert channel.analyzer == name
    assert channel.source.place == value
    text = (tmp_path / "channels" / "mine.yaml").read_text(encoding="utf-8")
    assert "#" in text  # commented
    checked = labrelay("--site", str(tmp_path), "check")
    assert checked.code == ExitCode.OK, checked.err


@pytest.mark.parametrize(
    ("device", "baud"), [("/dev/ttyS0", True), ("rfc2217://10.1.2.3:4001", True), ("socket://10.1.2.3:4001", False)]
)
def test_the_speed_of_a_line_stands_there_to_be_set(device: str, baud: bool, tmp_path: Path) -> None:
    ran = labrelay("--site", str(tmp_path), "init", "--analyzer", "sysmex-xn", "--device", device)
    assert ran.code == ExitCode.OK, ran.err
    text = (tmp_path / "channels" / "sysmex-xn.yaml").read_text(encoding="utf-8")
    assert ("\n  baud: 9600 " in text) is baud


def test_nothing_is_overwritten_and_nothing_broken_is_left(tmp_path: Path) -> None:
    given = ("--site", str(tmp_path), "init", "--analyzer", "sysmex-xn", "--listen", "127.0.0.1:4711")
    assert labrelay(*given).code == ExitCode.OK
    path = tmp_path / "channels" / "sysmex-xn.yaml"
    before = path.read_text(encoding="utf-8")

    again = labrelay(*given)
    assert (again.code, "has a channel sysmex-xn already" in again.err) == (ExitCode.USAGE, True)
    assert path.read_text(encoding="utf-8") == before
    stray = tmp_path / "channels" / "stray.yaml"
    stray.write_text(before.replace("\nchannel: sysmex-xn\n", "\nchannel: other\n").replace("4711", "4712"), "utf-8")
    onto = labrelay(*given[:3], "--analyzer", "sysmex-xp", "--name", "stray", "--listen", "127.0.0.1:4713")
    assert (onto.code, "is there already" in onto.err) == (ExitCode.USAGE, True)

    taken = labrelay(*given, "--name", "second")
    assert taken.code == ExitCode.CONFIG
    assert "127.0.0.1:4711 is taken by channel" in taken.err
    assert not (tmp_path / "channels" / "second.yaml").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--analyzer", "sysmex-xn", "--listen", "127.0.0.1:1", "--connect", "h:1"), "exclude each other"),
        (("--listen", "127.0.0.1:1"), "name its --analyzer"),
        (("--analyzer", "nobody-at-all"), "no analyzer is called 'nobody-at-all'"),
        (("--analyzer", "sysmex-xn", "--name", "a b"), "expected letters"),
    ],
)
def test_wrong_use_is_said_and_writes_nothing(given: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ran = labrelay("--site", str(tmp_path / "lab"), "init", *given)
    assert ran.code == ExitCode.USAGE
    assert said in ran.err
    assert not (tmp_path / "lab").exists()


def test_results_go_to_destinations_that_the_site_has(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "labrelay.yaml").write_text(
        "site: {name: Lab, timezone: UTC}\ndestinations:\n  hospital: {kind: file, folder: var/out}\n", encoding="utf-8"
    )
    ran = labrelay("--site", str(tmp_path), "init", "--analyzer", "mindray-bc5380")
    assert ran.code == ExitCode.OK, ran.err
    assert "The address is the pack's own" in ran.err
    assert load_site(tmp_path).channels["mindray-bc5380"].routes[0].to == ("hospital",)


def test_a_site_without_channels_of_its_own_uses_its_own_pack(tmp_path: Path) -> None:
    assert labrelay("--site", str(tmp_path), "init").code == ExitCode.OK
    shipped = next(pack for pack in packs() if pack.name == "sysmex-xn").folder
    mine = tmp_path / "analyzers" / "mine"
    mine.mkdir(parents=True)
    for name in ("pack.yaml", "channel.yaml", "codes.csv"):
        text = (shipped / name).read_text(encoding="utf-8")
        (mine / name).write_text(text.replace("analyzer: sysmex-xn", "analyzer: mine"), encoding="utf-8")
    assert labrelay("--site", str(tmp_path), "init", "--analyzer", "mine").code == ExitCode.OK
    assert labrelay("--site", str(tmp_path), "check").code == ExitCode.OK
    (mine / "codes.csv").write_text("code,unit_in,loinc,source\nWBC,,6690-2,\n", encoding="utf-8")
    broken = labrelay("--site", str(tmp_path), "check")
    assert broken.code == ExitCode.CONFIG
    assert "analyzers/mine/codes.csv:2:1: without a source" in broken.out
