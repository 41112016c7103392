"""docs/page.md, and the log in docs/operations.md, say what the code does."""

import re
from dataclasses import replace
from pathlib import Path

from engine.model.process.log_limits import REPEAT_WINDOW_S
from engine.model.texts.link_words import FAULT_WORDS
from engine.monitoring.logs import describe
from engine.monitoring.snapshot.channels import LinkState
from engine.monitoring.snapshot.states import SILENT_AFTER_GAPS, ChannelState, DestinationState
from engine.views.help import library
from engine.web.cells import Cells
from engine.web.languages import catalogue
from engine.web.server import MAX_EVENT_READERS
from tests.support.status_sites import troubled_site

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "page.md").read_text(encoding="utf-8")
LOGGING = (DOCS / "operations.md").read_text(encoding="utf-8")


def test_every_link_fault_is_explained() -> None:
    table = PAGE.partition("## The page of one analyzer")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `([a-z-]+)` \| (.+?) \| .+ \|$", table, re.MULTILINE))
    assert set(told) == set(FAULT_WORDS), "docs/page.md: each link fault has one row in the table of faults"
    for kind, words in told.items():
        assert FAULT_WORDS[kind].removeprefix("tee: ") in words


def test_every_state_is_named_with_its_word() -> None:
    topic = library.topic("status")
    for state in (*ChannelState, *DestinationState, *LinkState):
        assert f"`{state.value}`" in topic
    for state in (*ChannelState, *DestinationState):
        assert f"`{state.value}`" in PAGE
    site = troubled_site()
    for words in (*(one.words for one in site.channels), *(one.words for one in site.destinations)):
        assert str(words).partition(":")[0] in PAGE


def test_the_numbers_are_the_codes() -> None:
    assert SILENT_AFTER_GAPS == 3
    assert "three times the `usual_gap`" in PAGE
    assert f"At most {MAX_EVENT_READERS} browsers" in PAGE
    assert REPEAT_WINDOW_S == 60
    assert "within a minute" in LOGGING


def test_fields_of_an_error_are_described() -> None:
    table = LOGGING.partition("## Fields of an error")[2].partition("\n#")[0]
    assert set(describe(ValueError())) <= set(re.findall(r"`(\w+)`", table))


def test_each_state_has_the_colour_of_the_page() -> None:
    colours = {"ok": "green", "calm": "none", "attention": "amber", "problem": "red"}
    site = troubled_site()
    cells = Cells(site, catalogue("en"))
    for row, states in ((site.channels[0], ChannelState), (site.destinations[0], DestinationState)):
        for state in states:
            lines = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{state.value}`" in line]
            said = {line.split("|")[2].strip(" *") for line in lines if "(`" in line}
            assert colours[cells.badge(replace(row, state=state)).level] in said, state
