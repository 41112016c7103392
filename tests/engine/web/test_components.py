"""The parts of the pages: each is drawn once, pages are made of them alone, and the style sheet knows their names."""

import re
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest

from engine.views.charts import curves
from engine.web import render
from engine.web.cells import Badge, Fact
from engine.web.identity import Person
from engine.web.languages import LANGUAGES
from engine.web.menu import menu_of
from engine.web.render import STATIC, TEMPLATES
from tests.support.status_server import Element, read_html

SHEET = Path(__file__).with_name("components.html")
CSS = "".join(path.read_text(encoding="utf-8") for path in STATIC.glob("*.css"))
GOOD, BAD = Badge("ok", "ok", "delivering"), Badge("problem", "problem", "silent")
FACTS = (Fact("Waiting", "12", "attention", "/waiting"), Fact("Disk", "41 days"))
NOT_LOOKS = {"icons.svg", "components"}
# Marks for scripts and tests, and words that only a rule beside them needs.
UNSTYLED = {
    "offer", "headline", "what", "big", "dead", "account", "device", "bare", "same", "offers", "step",
    "calm", "name", "contents", "release", "tools",
}  # fmt: skip


def environment() -> jinja2.Environment:
    made = render._load_templates().environment
    return made.overlay(loader=jinja2.ChoiceLoader([jinja2.FileSystemLoader(SHEET.parent), made.loader]))


@pytest.fixture(scope="module")
def sheet() -> Element:
    person = Person(name="asha", role="operator", looks=True, acts=True, address="/")
    drawn = environment().get_template(SHEET.name).render(
        {"language": "en", "languages": LANGUAGES, "site_name": "City Lab", "person": person, "menu": menu_of(person)},
        menu_counts={"/held": (3, "problem")}, bell=2, _=str, good=GOOD, bad=BAD, facts=FACTS,
        lines=curves("chart", ("Day", "Median", "90 %"), ("1", "2"), ((26, 35), (41, None))),
    )  # fmt: skip
    return read_html(drawn)


def test_the_sheet_has_each_part() -> None:
    ui: SimpleNamespace = environment().globals["ui"]
    drawn = set(re.findall(r"\bui\.(\w+)\(", SHEET.read_text(encoding="utf-8")))
    assert {name for name in vars(ui) if not name.startswith("_")} == drawn


def test_a_part_needs_no_style_and_no_script_of_its_own(sheet: Element) -> None:
    for one in sheet.all():
        assert "style" not in one.attributes
        assert not any(name.startswith("on") for name in one.attributes)
    assert all("src" in one.attributes for one in sheet.all("script"))


def test_a_state_is_an_icon_and_a_word(sheet: Element) -> None:
    for badge in sheet.all(class_="badge"):
        assert badge.text
        assert badge.one("svg").attributes["aria-hidden"] == "true"


def test_each_icon_is_there(sheet: Element) -> None:
    there = {f"#{one.attributes['id']}" for one in sheet.all("symbol")}
    used = {one.attributes["href"] for one in sheet.all("use")}
    assert used <= there
    for folder in TEMPLATES:
        for path in folder.rglob("*.html"):
            named = re.findall(r'ui\.icon\("(\w+)"\)', path.read_text(encoding="utf-8"))
            assert {f"#i-{name}" for name in named} <= there, path.name


def test_what_the_frame_shows_can_be_reached_without_a_script(sheet: Element) -> None:
    for menu in sheet.one("header", class_="bar").all("details"):
        assert menu.one("summary").text
    assert [link.text for link in sheet.one("nav", id="pages").all("a", **{"aria-current": "page"})] == ["Overview"]
    assert "Held results 3" in sheet.one("nav", id="pages").text
    assert "Alerts: 2" in sheet.one("header", class_="bar").text


@pytest.mark.parametrize(
    "path", sorted(path for folder in TEMPLATES for path in folder.glob("*.html")), ids=lambda path: path.name
)
def test_a_page_has_no_layout_of_its_own(path: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.S)
    if path.name != "help.html":  # its table is of the documents' kind
        assert "<table" not in text
    assert " style=" not in text
    if path.name != "parts.html":  # the rows of the overview: a thousand of them cost no calls
        assert "<td role" not in text.replace('<td role="cell" colspan="3"', "")
    for found in re.findall(r' class="([^"]*)"', re.sub(r"\{\{.*?\}\}|\{%.*?%\}", " ", text)):
        for name in found.split():
            assert name in UNSTYLED or re.search(rf"\.{re.escape(name)}\b", CSS), name


def test_an_empty_value_of_a_message_is_not_drawn_as_one() -> None:
    """For "-" may be a result: negative."""
    (folder,) = (one for one in TEMPLATES if (one / "contents.html").exists())
    text = (folder / "contents.html").read_text(encoding="utf-8")
    shown = re.findall(r"ui\.text\(.*?\) \}\}", text)
    assert len(shown) == 3
    drawn = environment().from_string("{{ " + shown[0]).render(_=str, one={"value": ""})
    assert read_html(f"<table><tr>{drawn}</tr></table>").one("td").text == ""
    assert all('blank=""' in one for one in shown)


def test_each_worklist_begins_a_sheet_of_paper() -> None:
    text = '{% call ui.rows(["x"], kind="sheet") %}{% endcall %}' * 2
    root = read_html(environment().from_string(text).render(_=str))
    assert [one.attributes["class"] for one in root.all("section")] == ["card sheet", "card sheet"]
    assert re.search(r"\.card\.sheet ~ \.card\.sheet \{ break-before: page; \}", CSS)
