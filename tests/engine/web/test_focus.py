"""The answer to a form has the focus on what it says, without a script."""

import re
from typing import Any

import pytest

from engine.web import render

TEMPLATES = sorted(path for folder in render.TEMPLATES for path in folder.rglob("*.html"))
# They are there while a page renews itself, or before anything was done.
NO_ANSWER = {
    ("frame.html", "ending-says"),
    ("analyzer.html", "unread"),
    ("destination.html", "unread"),
    ("question.html", "text"),
}
BY_ITSELF = ("<input", "<textarea", "<select", "<button")


def test_a_template_has_one_name_among_the_folders() -> None:
    assert len({path.name for path in TEMPLATES}) == len(TEMPLATES)


def elements(pattern: str) -> list[tuple[str, str, str]]:
    """The name of the template, the tag with this in it, and some of what follows."""
    return [
        (path.name, found[1], found[2])
        for path in TEMPLATES
        for found in re.finditer(rf"(<[a-z][^<]*{pattern}(?:[^<>]|%}})*>)(.{{0,80}})", path.read_text(encoding="utf-8"))
    ]


def calls(pattern: str) -> list[tuple[str, str]]:
    """The name of the template, and the call of a part with this in it."""
    return [
        (path.name, found[1])
        for path in TEMPLATES
        for found in re.finditer(rf"[{{%] (?:call )?(ui\.{pattern}\(.*?) [%}}]}}", path.read_text(encoding="utf-8"))
    ]


def test_each_refusal_takes_the_focus() -> None:
    refusals = elements('role="alert"')
    without = [
        (name, text)
        for name, tag, text in refusals
        if "autofocus" not in tag and not any(name == of and word in text for of, word in NO_ANSWER)
    ]
    assert without == []
    banners = [(name, call) for name, call in calls("banner") if 'role="alert"' in call]
    unseen = [(name, call) for name, call in banners if "focus=true" not in call]
    assert [call for name, call in unseen if not any(name == of and word in call for of, word in NO_ANSWER)] == []
    assert len(banners) + len(calls("said")) > 20


def test_what_is_said_of_a_form_has_the_focus() -> None:
    ui: Any = render._load_templates().environment.globals["ui"]
    for drawn in (ui.said("wrong"), ui.said("", "done"), ui.banner("ok", "done", focus=True)):
        assert 'tabindex="-1" autofocus>' in drawn
    assert ui.said("") == ""
    assert "autofocus" not in ui.banner("ok", "known")


@pytest.mark.parametrize(("name", "tag", "text"), elements("autofocus"))
def test_what_takes_the_focus_can_have_it(name: str, tag: str, text: str) -> None:
    assert tag.startswith(BY_ITSELF) or 'tabindex="-1"' in tag
