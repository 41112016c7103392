"""What `make e2e` leans on, as far as it can be looked at without Node.js: the lock, and that it names what it runs."""

import json
import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
FOLDER = Path(__file__).parents[1] / "e2e"
LOCK = json.loads((FOLDER / "package-lock.json").read_text(encoding="utf-8"))
MANIFEST = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))


def test_the_lock_names_no_host_and_pins_each_package_by_its_hash() -> None:
    packages = {name: package for name, package in LOCK["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        if package.get("inBundle"):
            continue  # it comes inside another package, under that one's hash
        assert re.fullmatch(r"sha512-[0-9A-Za-z+/]{86}==", package["integrity"]), name
        assert "resolved" not in package, name


def test_the_lock_is_that_of_the_manifest() -> None:
    assert LOCK["packages"][""]["dependencies"] == MANIFEST["dependencies"]
    for name, version in MANIFEST["dependencies"].items():
        assert LOCK["packages"][f"node_modules/{name}"]["version"] == version


def test_every_program_has_its_reason() -> None:
    page = (CHECKOUT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for name in MANIFEST["dependencies"]:
        assert f"| {name} (npm) | " in page


def test_every_file_of_tests_is_run_by_the_makefile() -> None:
    [listed] = re.findall(r"^E2E_TESTS := (.*)$", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    files = {path.relative_to(CHECKOUT).as_posix() for path in FOLDER.glob("*.py")}
    assert set(listed.split()) == files - {
        f"tests/e2e/{name}.py" for name in ("bidi", "chromium", "conftest", "counterparts", "laboratory")
    }
