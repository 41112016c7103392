"""The style sheet keeps its promises: contrast in both themes, and nothing from elsewhere."""

import gzip
import re

import pytest

from engine.web.render import STATIC
from engine.web.server import _static_body

CSS = (STATIC / "page.css").read_text(encoding="utf-8")
LEVELS = ("ok", "attention", "problem")


def themes() -> dict[str, dict[str, str]]:
    light, dark = block(":root"), block(':root[data-theme="dark"]')
    assert block(':root:not([data-theme="light"])') == dark, "as the device has it, and as a person chose it"
    assert set(light) == set(dark)
    return {"light": light, "dark": dark}


def block(of: str) -> dict[str, str]:
    (text,) = re.findall(rf"^ *{re.escape(of)} \{{(.*?)\}}", CSS, re.S | re.M)
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", text))


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


# Text on ground as the page combines them.
PAIRS = [
    *(("text", ground) for ground in ("ground", "surface", "ok-ground", "attention-ground", "problem-ground")),
    *(("soft", ground) for ground in ("ground", "surface", "ok-ground", "attention-ground", "problem-ground")),
    *((level, f"{level}-ground") for level in LEVELS),
    *((level, "surface") for level in LEVELS),
    ("attention", "problem-ground"),
    ("accent", "ground"),
    ("accent", "surface"),
    ("accent-2", "accent-ground"),
    ("on-accent", "accent"),
    ("on-accent", "accent-2"),
    ("on-critical", "critical"),
    ("soft", "sunken"),
    ("text", "sunken"),
    ("text", "accent-ground"),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_can_be_read(theme: str, text: str, ground: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[text], colours[ground]) >= 4.5


def on_paper(theme: str) -> dict[str, str]:
    """The colours that a printer gets of a page that is drawn in a theme."""
    of_screens = "".join(re.findall(r"^@media screen[^{]*\{.*?^\}", CSS, re.S | re.M))
    printed = CSS[CSS.index("@media print {") :]
    (own,) = re.findall(r"^ *(?:html)?:root[^{]*\{(.*?)\}", printed, re.S | re.M)
    shines = {} if of_screens.count("    color-scheme: dark;") == 2 else themes()[theme]
    full = re.sub(r"(#[0-9a-f])([0-9a-f])([0-9a-f]);", lambda of: f"{of[1]}{of[1][1]}{of[2] * 2}{of[3] * 2};", own)
    return themes()["light"] | shines | dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", full))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_paper_can_be_read_whatever_the_theme(theme: str, text: str, ground: str) -> None:
    colours = on_paper(theme)
    assert contrast(colours[text], colours[ground]) >= 4.5


def test_paper_says_of_when_it_is_and_what_was_put_off() -> None:
    gone = re.findall(r"([^{}]*)\{ display: none( !important)?; \}", CSS[CSS.index("@media print {") :])
    hidden = {one.strip() for names, _ in gone for one in names.split(",")}
    assert {".bar", ".menu", "#ending"} <= hidden, "what stands over a page would cover each sheet"
    assert hidden.isdisjoint({".foot", ".fold", "footer", "details"})


def test_no_rule_needs_has() -> None:
    """Firefox 115 has it not: a worklist of each analyzer begins a sheet of its own there, too."""
    assert ":has(" not in re.sub(r"/\*.*?\*/", "", CSS, flags=re.S)


def test_no_single_letter_is_a_command() -> None:
    """A scanner types a number that may hold any sign; WCAG 2.1.4."""
    for path in STATIC.glob("*.js"):
        keys = re.findall(r"""\bkey [!=]== "([^"]+)\"""", path.read_text(encoding="utf-8"))
        assert all(len(key) > 1 for key in keys), path.name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("part", ["edge", "data-1", "data-2"])
def test_the_edge_of_a_control_and_a_mark_of_a_chart_can_be_seen(theme: str, part: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[part], colours["surface"]) >= 3


def test_colours_are_named_once() -> None:
    """Outside the two themes and the print style there is no colour that a theme could miss."""
    rest = re.sub(r":root[^{]*\{.*?\}|@media print \{.*", "", CSS, flags=re.S)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rest) == []


def test_nothing_is_fetched_from_elsewhere_and_nothing_moves() -> None:
    for path in (*STATIC.glob("*.css"), *STATIC.glob("*.js"), *STATIC.glob("*.svg")):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"(^|\s)// .*$", "", text, flags=re.M), path.name
        assert "@import" not in text
    assert not re.search(r"\b(animation|transition)\b", CSS)


def test_each_font_that_is_named_is_there_and_is_served() -> None:
    named = re.findall(r'url\("([^"?]+)\?v=', (STATIC / "fonts.css").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(path.name for path in STATIC.glob("*.woff2"))
    for name in named:
        body = _static_body(name)
        assert (body.content[:4], body.content_type) == (b"wOF2", "font/woff2")


def test_the_style_sheet_stays_small() -> None:
    assert len(gzip.compress(CSS.encode())) <= 10_000


def test_the_scripts_stay_small_enough_to_read() -> None:
    scripts = [path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")]
    for script in scripts:
        assert len([line for line in script.splitlines() if line.strip()]) <= 80
        assert "eval" not in script
    whole = "".join(scripts)
    assert "innerHTML" in whole  # of a template element only: what the server escaped
    assert whole.count("innerHTML") == 1
    assert len(gzip.compress(whole.encode())) <= 5_000
