"""Documents that cannot lie: what they say of verbs and packages is what the code has.

Each example of configuration is read by the code that reads real ones; each link leads somewhere. Keys and codes are in
the topics of the help: `tests/engine/commands/topics/test_topics.py`.
"""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from engine.commands.shared.verb_list import verbs
from engine.config.load import load_site
from engine.model.errors import ConfigError
from tests.support.sites import make_site

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
EXAMPLE = re.compile(r"^```yaml\n# ((?:config|channels)/\S+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_no_page_names_a_verb_that_does_not_exist() -> None:
    known = set(verbs())
    named = {
        (path.name, verb)
        for path in PAGES
        for verb in re.findall(r"`labrelay(?: --site \S+)? ([a-z][a-z-]+)\b", path.read_text("utf-8"))
    }

    assert {(page, verb) for page, verb in named if verb not in known} == set()


def test_every_dependency_has_its_reason() -> None:
    """One line each, no more and no less, in both tables."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    run, develop = read("dependencies.md").split("## What building and testing needs")

    def listed(text: str) -> list[str]:
        rows = re.findall(r"^\| ([A-Za-z0-9_.-]+) \| (.+) \|$", text, re.MULTILINE)
        return [name for name, reason in rows if name != "package" and len(reason) > 10]

    assert listed(run) == [re.split(r"[><=;\s]", line)[0] for line in project["dependencies"]]
    for_tests = (CHECKOUT / "requirements" / "dev.in").read_text(encoding="utf-8").splitlines()
    assert listed(develop) == [line for line in for_tests if line and not line.startswith("#")]


# -- examples ----------------------------------------------------------------------------------------------------

EXAMPLES = {path.relative_to(CHECKOUT).as_posix(): EXAMPLE.findall(path.read_text("utf-8")) for path in PAGES}


@pytest.mark.parametrize("page", [page for page, found in EXAMPLES.items() if found])
def test_the_sites_in_the_documents_are_sound(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ABDM_CLIENT_SECRET", "FHIR_TOKEN", "FHIR_PASSWORD", "HIS_TOKEN"):
        monkeypatch.setenv(name, "x")
    files = dict(EXAMPLES[page])
    channels = {Path(name).name: text for name, text in files.items() if name.startswith("channels/")}
    site = files.get("config/labrelay.yaml", (CHECKOUT / "config" / "labrelay.yaml").read_text(encoding="utf-8"))
    try:
        loaded = load_site(make_site(tmp_path, site=site, channels=channels))
    except ConfigError as error:
        pytest.fail(f"{page}: {error}")
    assert len(loaded.channels) == len(channels)


def test_every_piece_of_yaml_is_yaml() -> None:
    for path in PAGES:
        for text in re.findall(r"^```yaml\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            list(yaml.parse(text, Loader=yaml.SafeLoader))


# -- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in _anchors(there), f"{path.name}: {target}"


def _anchors(path: Path) -> set[str]:
    """As the usual renderers make them of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_has_every_page() -> None:
    assert {path.name for path in DOCS.glob("*.md")} - set(LINK.findall(read("README.md"))) == {"README.md"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_paths_named_in_backticks_exist(path: Path) -> None:
    """`engine/x.py`, `tests/y`, `docs/z.md`: whoever looks must find them."""
    rooms = "engine|adapters|tests|docs|tools|requirements|systemd"
    for name in re.findall(rf"`((?:{rooms})/[\w./-]+)`", path.read_text("utf-8")):
        assert (CHECKOUT / name).exists(), f"{path.name} names {name}"


SHOWN_BY = re.compile(r"^- .+\. `([^`:]+)(?:::|: )([^`]+)`$", re.MULTILINE)


def test_every_test_that_a_danger_names_exists() -> None:
    page = read("quality.md")
    section = page[page.index("## What can hurt a patient") : page.index("LabRelay does not guard these")]
    dangers = [line for line in section.splitlines() if line.startswith("- ")]
    named = SHOWN_BY.findall(section)

    assert len(named) == len(dangers) > 130, "a danger that names no test"
    assert [one for one in named if one[1] not in _tests_in(CHECKOUT / one[0])] == []


def _tests_in(path: Path) -> set[str]:
    """Names of the tests of a module, or titles of those of a mapping."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return {one["test"] for one in yaml.safe_load(text)}
    return set(re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE))


def test_no_file_has_the_marks_of_a_merge() -> None:
    marks = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)
    folders = [one for one in CHECKOUT.iterdir() if not one.name.startswith(".")]
    texts = [path for one in folders for path in (one.rglob("*") if one.is_dir() else (one,)) if path.is_file()]
    assert len(texts) > 1000
    assert [path for path in texts if marks.search(path.read_bytes())] == []
