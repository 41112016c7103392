"""The picture of a channel's last 24 hours: its shape, its words, its weight."""

import re
from dataclasses import replace

from engine.web.render import Renderer
from engine.web.rows import BAR, HEIGHT, WIDTH, sparkline
from tests.support.status_server import Page, read_html, running
from tests.support.status_sites import quiet_site

BUSY = (0, 0, 0, 0, 0, 0, 2, 30, 60, 58, 61, 0, 44, 39, 80, 12, 9, 1, 0, 0, 0, 0, 0, 0)
DEAD = (*[0] * 14, 3, *[0] * 9)
CHEMISTRY = replace(quiet_site().channels[0], received_by_hour=BUSY, dead_by_hour=DEAD)


def heights(path: str) -> dict[int, int]:
    """Hour -> the height of its bar."""
    return {int(hour): int(tall) for hour, tall in re.findall(r"M(\d+) 8h1v-(\d+)h-1z", path)}


def test_each_hour_with_a_message_has_a_bar_in_proportion() -> None:
    drawn = sparkline(BUSY, DEAD)
    assert heights(drawn.received) == {n: max(1, round(BAR * one / 80)) for n, one in enumerate(BUSY) if one}
    assert max(heights(drawn.received).values()) == BAR
    assert drawn.dead == f"M14 {BAR}h1v{HEIGHT - BAR}h-1z"
    assert len(BUSY) == WIDTH


def test_an_empty_day_has_no_bar_and_what_is_taken_back_neither() -> None:
    assert sparkline((0,) * 24, (0,) * 24) == ("", "")
    assert sparkline((-1, *[0] * 23), (-1, *[0] * 23)) == ("", "")
    assert sparkline((), ()) == ("", "")


async def test_the_page_draws_it_with_words_and_without_style_or_script() -> None:
    site = replace(quiet_site(), channels=(CHEMISTRY, quiet_site().channels[1]))
    async with running(site) as page:
        _, text = await page.get("/")
        _, hindi = await page.get("/?lang=hi")
    (picture,) = re.findall(r'<svg class="spark".*?</svg>', text, re.DOTALL)
    assert 'role="img"' in picture
    assert f"last 24 hours: {sum(BUSY)} received, at most 80 in an hour, 3 dead" in picture
    assert "style" not in picture
    assert len(picture) < 900
    assert "पिछले 24 घंटे" in hindi
    cell = read_html(text).one("tr", id="c-urinalysis")
    assert cell.all("svg", class_="spark") == []


async def test_a_row_is_drawn_anew_only_when_an_hour_changes() -> None:
    site = replace(quiet_site(), channels=(CHEMISTRY,))
    shown = [site]
    renderer = Renderer(lambda: shown[0], Page(site).todo)
    await renderer.prepare()
    first = (await renderer.live("en")).parts["c-chemistry"]
    shown[0] = replace(site)
    assert (await renderer.live("en")).parts["c-chemistry"] is first
    shown[0] = replace(site, channels=(replace(CHEMISTRY, received_by_hour=(*BUSY[:-1], 7)),))
    assert (await renderer.live("en")).parts["c-chemistry"] is not first
