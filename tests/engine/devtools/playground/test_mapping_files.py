"""The mapping's files: found, named, and saved without ever taking an edit away."""

import os
from pathlib import Path

import pytest

from engine.devtools.errors import SavingError
from engine.devtools.playground.files import Folders
from engine.devtools.playground.samples import Samples

MAPPING = """\
mapping: small
format: labrelay-mapping/1
import: [labrelay/hl7v2, lib]
tables: {analytes: {csv: tables/t.csv, key: [code]}, others: {csv: u, key: [code]}}
"""


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    for name, text in (
        ("site/mappings/small.yaml", MAPPING),
        ("site/mappings/tables/t.csv", "code,loinc\n"),
        ("shipped/lib.yaml", "mapping-library: lib\n"),
        ("shipped/tables/u.csv", "code\n"),
        ("shipped/other.yaml", "mapping: other\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Folders((tmp_path / "site/mappings",), (tmp_path / "shipped",), tmp_path / "site/mappings")


def test_a_mapping_has_its_libraries_and_tables(folders: Folders) -> None:
    names = [file.name for file in folders.of_mapping("small")]
    assert names == ["small.yaml", "lib.yaml", "tables/t.csv", "tables/u.csv"]
    assert folders.mappings() == ["other", "small"]
    assert folders.of_mapping("nothing") == []


@pytest.mark.parametrize("name", ["../site/mappings/small.yaml", "/etc/passwd", "x/../../t.csv", "notes.txt", ""])
def test_a_name_never_leaves_the_folders(folders: Folders, name: str) -> None:
    assert folders.open(name) is None
    with pytest.raises(SavingError):
        folders.save(name, "x", "")


def test_a_file_is_saved_in_its_place_with_its_rights(folders: Folders, tmp_path: Path) -> None:
    path = tmp_path / "site/mappings/small.yaml"
    path.chmod(0o640)
    opened = folders.open("small.yaml")
    assert opened is not None
    saved = folders.save("small.yaml", MAPPING + "# more\n", opened.digest)
    assert path.read_text(encoding="utf-8") == MAPPING + "# more\n"
    assert path.stat().st_mode & 0o777 == 0o640
    again = folders.save("small.yaml", "mapping: small\n", saved.digest)
    assert again.text == "mapping: small\n"
    assert sorted(os.listdir(path.parent)) == ["small.yaml", "tables"]


def test_an_edit_made_elsewhere_is_never_overwritten(folders: Folders, tmp_path: Path) -> None:
    opened = folders.open("small.yaml")
    assert opened is not None
    path = tmp_path / "site/mappings/small.yaml"
    path.write_text("mapping: somebody else's\n", encoding="utf-8")
    with pytest.raises(SavingError, match="was changed elsewhere"):
        folders.save("small.yaml", "mine", opened.digest)
    assert path.read_text(encoding="utf-8") == "mapping: somebody else's\n"


def test_a_shipped_file_is_saved_as_the_sites_own(folders: Folders, tmp_path: Path) -> None:
    opened = folders.open("lib.yaml")
    assert opened is not None
    assert (opened.shipped, opened.target) == (True, str(tmp_path / "site/mappings/lib.yaml"))
    saved = folders.save("lib.yaml", "mapping-library: lib\n# ours\n", opened.digest)
    assert not saved.shipped
    assert (tmp_path / "shipped/lib.yaml").read_text(encoding="utf-8") == "mapping-library: lib\n"
    found = folders.open("lib.yaml")
    assert found is not None
    assert found.text.endswith("# ours\n")


def test_without_a_site_a_shipped_file_is_nobodys_to_save(folders: Folders) -> None:
    alone = Folders((), folders.shipped)
    opened = alone.open("lib.yaml")
    assert opened is not None
    assert opened.target == ""
    with pytest.raises(SavingError, match="labrelay init"):
        alone.save("lib.yaml", "x", opened.digest)


def test_line_ends_and_marks_stay_as_they_were(folders: Folders, tmp_path: Path) -> None:
    path = tmp_path / "site/mappings/small.yaml"
    path.write_bytes(b"\xef\xbb\xbfmapping: a\r\nx: 1\r\n")
    opened = folders.open("small.yaml")
    assert opened is not None
    assert opened.text == "mapping: a\nx: 1\n"
    folders.save("small.yaml", "mapping: a\nx: 2\n", opened.digest)
    assert path.read_bytes() == b"\xef\xbb\xbfmapping: a\r\nx: 2\r\n"


def test_a_sample_that_is_not_listed_is_not_read(tmp_path: Path) -> None:
    for name in ("samples/one.hl7", "samples/.hidden/two.hl7", "three.hl7"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"MSH|")
    samples = Samples((tmp_path / "samples",))
    assert samples.names() == [("0/one.hl7", "one.hl7")]
    assert samples.read("0/one.hl7") == b"MSH|"
    assert [samples.read(f"0/{name}") for name in (".hidden/two.hl7", "../three.hl7", "none.hl7")] == [None] * 3
    assert samples.read(f"0/{tmp_path}/three.hl7") is None
    assert samples.read("1/one.hl7") is None
