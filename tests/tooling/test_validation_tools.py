"""What `make validate` leans on, as far as it can be looked at without Node.js: the lock, the list of explanations."""

import json
import re
from pathlib import Path

import pytest

from tests.validation.issues import Explained, explained, place
from tools.figures import FIGURES, parsed

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


def test_explanations_are_read_from_their_list_each_with_its_reason() -> None:
    rows = explained()
    assert {row.validator for row in rows} == {"own check", "hapi"}
    assert all(row.code and row.place and len(row.why) > 10 for row in rows)
    assert len({(row.validator, row.code, row.place) for row in rows}) == len(rows)


@pytest.mark.parametrize("text", ["", "validator\tkind\tplace\twhy\n", "a\tb\tc\td\nhapi\tdom-6\n"])
def test_a_list_without_rows_or_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "explained.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"explained\.tsv: headings and rows"):
        explained(path)


def test_the_kept_figures_have_each_warning_that_stays() -> None:
    """`make validate VALIDATE=--write` and `make validate-hapi VALIDATE=--write` renew them."""
    rows, *_ = parsed(
        (FIGURES / "figures-documents.md").read_text(encoding="utf-8").partition("## Warnings that stay")[2]
    )
    kept = [(kind, why) for kind, _, why, _ in rows[1:]]
    assert kept == [(f"{row.validator}: {row.code}, {row.place}", row.why) for row in explained()]


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
