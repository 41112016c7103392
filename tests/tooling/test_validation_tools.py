"""What `make validate` leans on, as far as it can be looked at without Node.js: the lock, the list of explanations."""

import json
import re
from pathlib import Path

import pytest

from tests.validation.__main__ import CONFORMANCE
from tests.validation.issues import Explained, explained, place

FOLDER = Path(__file__).parents[1] / "validation"
LOCK = json.loads((FOLDER / "package-lock.json").read_text(encoding="utf-8"))


def test_the_lock_names_no_host_and_pins_each_package_by_its_hash() -> None:
    packages = {name: package for name, package in LOCK["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        assert re.fullmatch(r"sha512-[0-9A-Za-z+/]{86}==", package["integrity"]), name
        assert "resolved" not in package, name
    assert "://" not in json.dumps(LOCK)


def test_the_lock_is_that_of_the_manifest() -> None:
    manifest = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
    assert LOCK["packages"][""]["dependencies"] == manifest["dependencies"]
    for name, version in manifest["dependencies"].items():
        assert LOCK["packages"][f"node_modules/{name}"]["version"] == version


def test_explanations_are_read_from_the_page_each_with_its_reason() -> None:
    rows = explained(CONFORMANCE)
    assert {row.validator for row in rows} == {"own check", "hapi"}
    assert all(row.code and row.place and len(row.why) > 10 for row in rows)
    assert len({(row.validator, row.code, row.place) for row in rows}) == len(rows)


def test_a_page_without_the_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no table below"):
        explained(page)


@pytest.mark.parametrize(
    ("code", "where", "covered"),
    [("dom-6", "Patient", True), ("dom-7", "Patient", False), ("dom-6", "Bundle.entry", True)],
)
def test_an_explanation_covers_its_code_and_place(code: str, where: str, covered: bool) -> None:
    assert Explained("hapi", "dom-?", "*", "because").covers(code.replace("7", "77"), where) == covered


def test_a_place_is_named_from_its_resource_on() -> None:
    bundle = {"entry": [{"resource": {"resourceType": "Patient"}}, {"resource": {"resourceType": "Observation"}}]}
    assert place("Bundle.entry[1].resource.component[2].code", bundle) == "Observation.component.code"
    assert place("Bundle.entry[0].fullUrl", bundle) == "Bundle.entry.fullUrl"
