"""The overview for a screen on a wall: large, with nothing to press."""

from tests.support.status_server import read_html, running
from tests.support.status_sites import troubled_site


async def test_a_wall_shows_the_overview_and_nothing_to_press() -> None:
    async with running(troubled_site()) as page:
        _, text = await page.get("/?wall")
        _, plain = await page.get("/")
    wall, desk = read_html(text), read_html(plain)
    assert wall.one("body").attributes["class"] == "wall"
    assert "class" not in desk.one("body").attributes
    assert [one.one("html").attributes.get("class") for one in (wall, desk)] == ["across", None]
    for tag in ("nav", "form", "button", "input", "select"):
        assert wall.all(tag) == []
    assert wall.one("h1", class_="headline").text == desk.one("h1", class_="headline").text
    assert [row.text for row in wall.all("tr")] == [row.text for row in desk.all("tr")]


async def test_a_wall_keeps_up_to_date_with_scripts_and_without() -> None:
    async with running(troubled_site()) as page:
        _, text = await page.get("/?wall&lang=hi")
    assert 'content="10;url=/?lang=hi&amp;auto&amp;wall"' in text
    wall = read_html(text)
    assert wall.one("p", id="link").attributes["data-lost"]
    assert wall.one("time", id="as-of").text
