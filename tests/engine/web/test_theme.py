"""Light, dark, or as the device has it: a choice in the menu, kept by the browser, drawn by the server."""

import pytest

from engine.web.api.service import page as explorer
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site


async def theme(page: Page, path: str, kept: str = "") -> tuple[str, str, Element]:
    """The theme that a page is drawn in, the cookie that it sets, and the page."""
    answer, text = await page.get(path, headers={"Cookie": f"labrelay-theme={kept}"} if kept else {})
    assert answer.status == 200
    set_now = answer.cookies["labrelay-theme"].value if "labrelay-theme" in answer.cookies else "-"
    root = read_html(text)
    return root.one("html").attributes.get("data-theme", ""), set_now, root


@pytest.mark.parametrize("chosen", ["light", "dark"])
async def test_a_choice_is_drawn_at_once_and_kept(chosen: str) -> None:
    async with running(quiet_site()) as page:
        assert (await theme(page, f"/?theme={chosen}"))[:2] == (chosen, chosen)
        assert (await theme(page, "/", kept=chosen))[:2] == (chosen, "-")


async def test_the_device_is_followed_again() -> None:
    async with running(quiet_site()) as page:
        assert (await theme(page, "/?theme=device", kept="dark"))[:2] == ("", "")
        assert (await theme(page, "/"))[:2] == ("", "-")


@pytest.mark.parametrize("wrong", ["x", '"><script>', "Dark"])
async def test_what_is_no_theme_is_none(wrong: str) -> None:
    async with running(quiet_site()) as page:
        assert (await theme(page, f"/?theme={wrong}"))[0] == ""
        assert (await theme(page, "/", kept="x"))[0] == ""


async def test_the_menu_marks_the_choice_and_leads_back_to_the_page() -> None:
    async with running(quiet_site()) as page:
        _, _, root = await theme(page, "/?lang=hi", kept="dark")
        links = [one for one in root.all("a", class_="chip") if "theme=" in one.attributes["href"]]
        assert [one.attributes["href"] for one in links] == [
            f"/?lang=hi&theme={name}" for name in ("device", "light", "dark")
        ]
        assert ["aria-current" in one.attributes for one in links] == [False, False, True]


async def test_the_cookie_is_for_no_script_and_no_other_site() -> None:
    async with running(quiet_site()) as page:
        answer, _ = await page.get("/?theme=dark")
    kept = answer.cookies["labrelay-theme"]
    assert (kept["httponly"], kept["samesite"], kept["path"]) == (True, "Strict", "/")


async def test_an_error_page_is_in_the_chosen_colours() -> None:
    async with running(quiet_site()) as page:
        answer, text = await page.get("/nothing", headers={"Cookie": "labrelay-theme=dark"})
        _, plain = await page.get("/nothing")
    assert answer.status == 404
    assert read_html(text).one("html").attributes["data-theme"] == "dark"
    assert "data-theme" not in read_html(plain).one("html").attributes


@pytest.mark.parametrize("chosen", ["", "light"])
def test_the_explorer_of_the_api_is_in_the_chosen_colours_and_letters(chosen: str) -> None:
    root = read_html(explorer(chosen))
    assert root.one("html").attributes.get("data-theme", "") == chosen
    assert "/static/fonts.css" in {one.attributes["href"] for one in root.all("link")}
