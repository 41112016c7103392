"""The pages of the help: each is drawn, its links lead somewhere, and nothing in it is a tag of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

import pytest

from engine.views.help import library
from engine.web import help as rendered
from engine.web.pages import help as pages
from engine.web.pages.help import matches
from tests.support.access import Site, site
from tests.support.status_server import Element

SHELF: list[dict[str, pages.Kept]] = []  # made once: it takes seconds


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    if not SHELF:
        SHELF.append(dict(await pages.Shelf().pages()))
    with mock.patch.object(pages, "_made", mock.AsyncMock(return_value=SHELF[0])):
        async with site(tmp_path, users=False) as made:
            yield made


async def test_another_process_makes_every_page_and_topic(here: Site) -> None:
    assert list(SHELF[0]) == [library.INDEX, *library.names()]
    assert set(library.TOPICS) <= set(SHELF[0])


async def test_each_page_is_drawn_and_each_link_leads_somewhere(here: Site) -> None:
    found: dict[str, Element] = {}
    async with here.browser() as browser:
        for name in ("", *library.names()):
            status, found[name] = await browser.get(f"/help/{name}".rstrip("/") + "?lang=hi")
            assert status == 200, name
            assert found[name].one("article").attributes["lang"] == "en"
            assert found[name].one("article").all("script") == []
    ids = {name: {one.attributes["id"] for one in page.all() if "id" in one.attributes} for name, page in found.items()}
    for name, page in found.items():
        for link in page.one("article").all("a"):
            to = urlsplit(link.attributes["href"])
            if to.scheme:
                continue
            assert to.path in ("", "/help") or to.path.startswith("/help/"), (name, to)
            there = to.path.removeprefix("/help").lstrip("/") if to.path else name
            assert there in found, (name, to)
            assert not to.path or to.query == "lang=hi", "the reader's language stays"
            assert not to.fragment or to.fragment in ids[there], (name, to)


async def test_a_search_shows_headings_that_have_the_words(here: Site) -> None:
    async with here.browser() as browser:
        status, page = await browser.get("/help?q=no_route&lang=en")
        assert status == 200
        links = [one.attributes["href"] for one in page.one("ul", class_="matches").all("a")]
        assert "/help/reasons?lang=en#reason-codes" in links
        status, page = await browser.get("/help?q=<b>nothing-of-this</b>&lang=en")
        assert (status, page.all("b")) == (200, [])
        assert page.one("p", class_="empty").text == "There is none."


async def test_an_unknown_page_and_a_help_that_cannot_be_made(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with here.browser() as browser:
        status, page = await browser.get("/help/none?lang=en")
        assert (status, page.one("p", role="alert").text) == (404, "There is no such page.")
    with mock.patch.object(pages, "_made", mock.AsyncMock(side_effect=TimeoutError)) as making:
        shelf = pages.Shelf()
        assert await asyncio.gather(*(shelf.pages() for _ in range(20))) == [{}] * 20
        assert making.await_count == 1, "readers do not begin one process after the other"
    assert await shelf.pages() == {}
    monkeypatch.setattr(pages, "AGAIN_S", 0.0)
    with mock.patch.object(pages, "_made", mock.AsyncMock(side_effect=TimeoutError)):
        shelf = pages.Shelf()
        assert await shelf.pages() == {}
    assert await shelf.pages() == SHELF[0], "a later reader tries again"


async def test_a_reader_who_goes_leaves_no_process() -> None:
    begun: list[asyncio.subprocess.Process] = []
    begin = asyncio.create_subprocess_exec

    async def kept(*words: str, **more: object) -> asyncio.subprocess.Process:
        begun.append(await begin(*words, **more))
        making.cancel()
        return begun[0]

    with mock.patch.object(asyncio, "create_subprocess_exec", kept):
        making = asyncio.create_task(pages._made())
        with pytest.raises(asyncio.CancelledError):
            await making
    assert begun[0].returncode is not None


def test_tags_in_a_text_are_text() -> None:
    drawn = rendered.html("# A <b>b</b>\n\n<script>alert(1)</script>\n\n`<i>` [x](javascript:alert(1)) &amp; <b>\n")
    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert "<i>" not in drawn
    assert "href" not in drawn


def test_headings_come_before_texts() -> None:
    sections = [("a", "Cables", "long"), ("b", "Other", "of a cables and more\nof CABLES"), ("c", "None", "")]
    found = matches("cables", [("page", "Page", sections)])
    assert [(one.anchor, bool(one.line)) for one in found] == [("a", False), ("b", True)]
    assert matches("", [("page", "Page", sections)]) == []
