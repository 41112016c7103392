"""What many readers ask for is made once, and sent again only to those who do not have it."""

import asyncio
import dataclasses
import gzip
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from engine.web.bodies import Body, KeptBodies
from tests.support import journals
from tests.support.status_server import Page, running
from tests.support.status_sites import quiet_site

OF_THE_SITE = ["/", "/?wall", "/?lang=hi", "/live.json", "/status.json"]


async def fetched(page: Page, path: str, **headers: str) -> tuple[int, str, bytes]:
    """Status, ETag, and the bytes as they came."""
    async with page.http.get(path, headers=headers, auto_decompress=False) as answer:  # type: ignore[call-arg]
        return answer.status, answer.headers.get("ETag", ""), await answer.read()


@pytest.mark.parametrize("path", OF_THE_SITE)
async def test_a_reader_that_has_it_is_not_sent_it_again(path: str) -> None:
    async with running(quiet_site()) as page:
        status, etag, body = await fetched(page, path)
        assert (status, bool(etag), bool(body)) == (200, True, True)
        assert await fetched(page, path, **{"If-None-Match": etag}) == (304, etag, b"")
        page.site = dataclasses.replace(page.site, now=page.site.now + timedelta(hours=3))
        status, changed, body = await fetched(page, path, **{"If-None-Match": etag})
        assert (status, bool(body)) == (200, True)
        assert changed != etag


@pytest.mark.parametrize("path", [*OF_THE_SITE, "/reagents"])
async def test_it_is_compressed_for_those_who_take_that(path: str, tmp_path: Path) -> None:
    async with journals.running(tmp_path) as journal, running(quiet_site(), reader=journal) as page:
        async with page.http.get(path, headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert "Accept-Encoding" in answer.headers["Vary"]
            shown = await answer.read()
        async with page.http.get(path, headers={"Accept-Encoding": "identity"}) as answer:
            assert "Content-Encoding" not in answer.headers
            assert len(await answer.read()) == len(shown)


def test_compressed_is_the_same_content() -> None:
    body = Body(b"of the laboratory " * 1000)
    assert gzip.decompress(body.compressed) == body.content
    assert Body(body.content).etag == body.etag != Body(body.content + b" ").etag


async def test_ten_who_ask_at_once_get_one_body_made_outside_of_the_loop() -> None:
    made: list[int] = []

    def make() -> Body:
        made.append(threading.get_ident())
        return Body(b"the site")

    kept, site = KeptBodies(), object()
    bodies = await asyncio.gather(*(kept.of("overview", site, make) for _ in range(10)))
    assert len(made) == 1
    assert made[0] != threading.get_ident()
    assert all(one is bodies[0] for one in bodies)
    await kept.of("overview", object(), make)
    await kept.of("status", site, make)
    assert len(made) == 3


async def test_a_failure_is_not_kept() -> None:
    def fail() -> Body:
        raise OSError

    kept, site = KeptBodies(), object()
    with pytest.raises(OSError):
        await kept.of("overview", site, fail)
    assert (await kept.of("overview", site, lambda: Body(b"x"))).content == b"x"


async def test_only_the_last_ones_asked_for_are_kept() -> None:
    kept, site, made = KeptBodies(most=2), object(), list[str]()

    def making(name: str) -> Body:
        made.append(name)
        return Body(name.encode())

    for name in ("a", "b", "a", "c", "a", "b"):
        await kept.of(name, site, lambda name=name: making(name))  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]
