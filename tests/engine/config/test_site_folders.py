"""Where shipped data is found: the site's own first, then the checkout, then the wheel."""

import contextlib
import sysconfig
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

from engine.config import site
from tests.support.packages import PACKAGES

CHECKOUT = Path(__file__).parents[3]


def test_the_checkout_comes_before_an_installed_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labrelay_data" / "mappings").mkdir(parents=True)
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))

    assert site.shipped("mappings") == CHECKOUT / "mappings"


def test_an_installed_package_finds_its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "__file__", str(tmp_path / "engine" / "config" / "site.py"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path / "elsewhere"))
    assert site.shipped("mappings") is None
    (tmp_path / "labrelay_data" / "mappings").mkdir(parents=True)
    assert site.shipped("mappings") == tmp_path / "labrelay_data" / "mappings"


def test_a_site_replaces_what_ships(tmp_path: Path) -> None:
    assert site.search_path(tmp_path, "mappings") == (CHECKOUT / "mappings",)
    (tmp_path / "mappings").mkdir()
    assert site.search_path(tmp_path, "mappings") == (tmp_path / "mappings", CHECKOUT / "mappings")
    assert site.search_path(CHECKOUT, "mappings") == (CHECKOUT / "mappings",)
    assert site.search_path(None, "mappings") == (CHECKOUT / "mappings",)


def test_the_wheel_carries_code_and_data(tmp_path: Path) -> None:
    """What is force-included and what the look-up expects are two texts; here they meet."""
    with contextlib.chdir(CHECKOUT):
        name = build_wheel(str(tmp_path))
    names = set(zipfile.ZipFile(tmp_path / name).namelist())

    for folder in ("analyzers", "channels", "config", "docs", "mappings", "samples", "systemd"):
        assert any(entry.startswith(f"labrelay_data/{folder}/") for entry in names), folder
    assert {"engine/__main__.py", "engine/config/load.py", "adapters/codecs/hl7v2/mllp.py"} <= names
    assert {"engine/store/schema/0001_journal.sql", "engine/features/orders/0001_tables.sql"} <= names
    tables = {str(path.relative_to(CHECKOUT)) for room in PACKAGES for path in (CHECKOUT / room).rglob("*.txt")}
    tables = {table for table in tables if not table.startswith("workbench/bench/")}  # run from a checkout
    assert {"engine/mapping/data/r4.txt", "adapters/codecs/hl7v2/grammar.txt"} <= tables <= names
    assert {
        "engine/commands/topics/json_names.txt",
        "engine/commands/topics/json_notes.yaml",
    } <= names  # `labrelay help commands`
    assert not any(entry.startswith(("tests/", "tools/", "var/")) for entry in names)
