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
