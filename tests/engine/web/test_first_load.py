"""How much a browser fetches to show a page for the first time: the page, its style, its scripts and its icon."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.monitoring.snapshot.site import SiteSnapshot
from tests.support.access import HTML, Browser, site
from tests.support.status_server import read_html
from tests.support.status_sites import large_site, quiet_site, troubled_site

MOST = 60_000  # bytes, compressed


async def first_load(browser: Browser, path: str) -> int:
    """Bytes of a page and of all that it names, each compressed by itself."""
    async with browser.client.get(path, headers=HTML) as answer:
        assert answer.status == 200
        body = await answer.read()
    page, sizes = read_html(body.decode()), [len(gzip.compress(body))]
    named = [one.attributes["href"] for one in page.all("link")] + [
        one.attributes["src"] for tag in ("script", "img") for one in page.all(tag) if "src" in one.attributes
    ]
    assert named, "a page without a style"
    for address in named:
        async with browser.client.get(address) as answer:
            assert answer.status == 200, address
            sizes.append(len(gzip.compress(await answer.read())))
    return sum(sizes)


@pytest.mark.parametrize("laboratory", [quiet_site, troubled_site, large_site])
async def test_the_first_page_of_a_person_is_small(tmp_path: Path, laboratory: Callable[[], SiteSnapshot]) -> None:
    async with site(tmp_path) as here, here.browser() as browser:
        here.page.site = laboratory()
        await browser.log_in("admin")
        for path in ("/", "/messages", "/users"):
            assert await first_load(browser, path) < MOST, path


async def test_the_first_page_of_a_stranger_is_small(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.browser() as browser:
        assert await first_load(browser, "/log-in") < MOST / 4
