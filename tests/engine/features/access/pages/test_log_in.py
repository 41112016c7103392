"""Log in and out, over real connections: with a code, by PIN, by the set-up link, on a wall; and when it ends."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import pyotp
import pytest

from engine.config.tls import ServerTls
from engine.config.web import WebConfig
from engine.model.site.permissions import ROLES, WATCHING
from engine.model.texts.units import HostPort
from engine.web.server import MAX_OF_ONE_LOG_IN
from tests.support.access import GOOD, ROOT, Browser, Site, site
from tests.support.certificates import Authority

WRONG = "The name, the password or the code is wrong."
PIN = "274913"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as made:
        yield made


async def test_a_person_logs_in_to_the_page_that_was_asked_for_and_out_again(here: Site) -> None:
    async with here.browser() as browser:
        assert (await browser.get("/reagents?lot=7"))[1].one("h1").text == "Log in"
        status, page = await browser.send(browser.path, name="operator", password=GOOD)
        assert (status, browser.path) == (200, "/reagents?lot=7")
        assert "operator" in page.one(class_="who").text
        await browser.send("/", to="/log-out")
        assert browser.path == "/log-in"
        assert (await browser.get("/"))[1].one("h1").text == "Log in"


async def test_the_answer_is_the_same_for_a_wrong_name_and_a_wrong_password(here: Site) -> None:
    async with here.browser() as browser:
        for name in ("operator", "no such user"):
            status, page = await browser.log_in(name, "not the password")
            assert (status, page.one("main").one(role="alert").text) == (403, WRONG)
            assert page.one("input", name="name").attributes["value"] == name, "what was typed is not typed again"
            assert page.one("input", name="password").attributes.get("value") is None


async def second_factor(here: Site, browser: Browser) -> tuple[str, list[str]]:
    """Set one up; its secret and the recovery codes."""
    _, page = await browser.send("/account", "offer", password=GOOD)
    key = page.one("code", class_="key").text
    assert page.one("main").one("svg").attributes["width"]
    given = {"act": "confirm", "password": GOOD}
    status, page = await browser.post("/account", browser.hidden(page) | given | {"code": "000000"})
    assert (status, page.one("code", class_="key").text) == (403, key), "the picture stays after a wrong code"
    form = browser.hidden(page) | given | {"code": pyotp.TOTP(key).at(int(here.clock.now_us() / 1e6))}
    status, page = await browser.post("/account", form)
    assert status == 200
    codes = [one.text for one in page.one("ol", class_="codes").all("code")]
    _, page = await browser.post("/account", form)
    assert [one.text for one in page.one("ol", class_="codes").all("code")] == codes, "a repeat shows the same codes"
    return key, codes


async def test_the_code_follows_the_password(here: Site) -> None:
    async with here.browser() as browser, here.browser() as other:
        await browser.log_in("engineer")
        _, codes = await second_factor(here, browser)
        status, page = await other.log_in("engineer")
        assert (status, page.one("h1").text) == (200, "Code from your phone")
        assert other.cookie("labrelay") == "", "nothing is open yet"
        assert page.one("input", name="code").attributes["autocomplete"] == "one-time-code"
        hidden = browser.hidden(page)
        status, page = await other.post("/log-in/code", hidden | {"code": "123456"})
        assert (status, page.one("main").one(role="alert").text) == (403, WRONG)
        hidden = browser.hidden(page)
        status, page = await other.post("/log-in/code", hidden | {"code": f" {codes[3].upper()} "})
        assert (status, other.path) == (200, "/")
        _, page = await other.get("/account")
        assert "left: 9" in page.text


async def test_the_first_admin_comes_in_by_the_link(tmp_path: Path) -> None:
    async with site(tmp_path, users=False) as here, here.browser() as browser:
        link = await here.accounts.set_up.offer(here.base)
        path = link.removeprefix(here.base)
        assert (await browser.get("/"))[0] == 200, "each user of this machine may look"
        status, page = await browser.send(path, name="Asha", password=GOOD, again="other")
        assert (status, page.one("main").one(role="alert").text) == (403, "The two passwords are not the same.")
        status, page = await browser.send(path, name="Asha", password="short", again="short")
        assert (status, page.one("input", name="name").attributes["value"]) == (403, "Asha")
        status, page = await browser.send(path, name="Asha", password=GOOD, again=GOOD)
        assert (status, browser.path) == (200, "/account")
        assert "Asha" in page.one(class_="who").text
        async with here.browser() as other:
            assert (await other.get(path))[0] == 403
            assert "/log-in" in (await other.get("/"), other.path)[1], "a user is there, so a log-in is needed"
        assert (await browser.get("/set-up?code=" + quote("\u00e4" * 500)))[0] == 403


async def test_people_change_by_pin_at_a_shared_computer(here: Site) -> None:
    async with here.browser() as browser:
        for name in ("operator", "engineer"):
            await browser.log_in(name)
            await browser.send("/account", "pin", password=GOOD, pin=PIN)
            await browser.send("/", to="/log-out")
        await browser.log_in("operator")
        before = browser.cookie("labrelay")
        _, page = await browser.get("/change-user")
        assert [one.text for one in page.one("select").all("option")] == ["engineer"]
        status, page = await browser.send("/change-user", name="engineer", pin="111222")
        assert (status, "PIN is wrong" in page.one("main").one(role="alert").text) == (403, True)
        status, page = await browser.send("/change-user", name="engineer", pin=PIN)
        assert (status, browser.path) == (200, "/")
        assert "engineer" in page.one(class_="who").text
        assert await here.accounts.principal_of_session(before, address="") is None, "the one before has ended"
        async with here.browser() as other:
            _, page = await other.get("/change-user")
            assert page.all("select") == [], "no browser but this one"


async def test_a_user_has_the_pages_in_the_own_language_at_each_log_in(here: Site) -> None:
    async with here.browser() as browser, here.browser() as elsewhere:
        await browser.log_in("operator")
        status, page = await browser.send("/account", "language", language="hi")
        assert (status, browser.path) == (200, "/account?done=language")
        assert page.one("html").attributes["lang"] == "hi"
        await elsewhere.log_in("operator")
        assert (await elsewhere.get("/"))[1].one("html").attributes["lang"] == "hi"
        assert (await elsewhere.get("/?lang=en"))[1].one("html").attributes["lang"] == "en"
        assert (await browser.send("/account?lang=en", "language", language="xx"))[0] == 404
        _, page = await browser.send("/account?lang=en", "language", language="")
        assert (await elsewhere.get("/"))[1].one("html").attributes["lang"] == "en"


async def test_a_wall_screen_comes_in_once_by_its_link_and_watches(here: Site) -> None:
    secret = await here.accounts.tokens.create("lobby", WATCHING, ends_us=0, by=ROOT)
    async with here.browser() as screen, here.browser() as thief:
        status, _ = await screen.send(f"/wall?token={secret}")
        assert (status, screen.path) == (200, "/?wall")
        async with screen.client.get("/?wall") as answer:
            assert answer.cookies["labrelay-wall"]["max-age"] == str(400 * 86_400), "from each page on"
        assert (await screen.get("/"))[1].all(class_="who") == []
        assert (await screen.get("/reagents"))[0] == 403
        assert (await screen.get("/account"))[0] == 403
        assert (await thief.send(f"/wall?token={secret}"))[0] == 403
        assert (await thief.get("/"))[1].one("h1").text == "Log in"
        await here.accounts.tokens.revoke("lobby", by=ROOT)
        assert (await screen.get("/"))[1].one("h1").text == "Log in"


async def test_a_token_with_more_than_watching_makes_no_wall_screen(here: Site) -> None:
    ends_us = here.clock.now_us() + 86_400_000_000
    secret = await here.accounts.tokens.create("program", ROLES["viewer"], ends_us=ends_us, by=ROOT)
    async with here.browser() as browser:
        assert (await browser.send(f"/wall?token={secret}"))[0] == 403


async def test_a_program_asks_with_its_token(here: Site) -> None:
    ends_us = here.clock.now_us() + 86_400_000_000
    secret = await here.accounts.tokens.create("prometheus", ROLES["viewer"], ends_us=ends_us, by=ROOT)
    async with here.browser() as browser:
        for header, status in {
            f"Bearer {secret}": 200,
            f"bearer {secret}": 200,
            "Bearer wrong": 401,
            f"Basic {secret}": 401,
            "": 401,
        }.items():
            for path in ("/metrics", "/status.json"):
                async with browser.client.get(path, headers={"Authorization": header}) as answer:
                    assert answer.status == status, header
                    assert (answer.headers.get("WWW-Authenticate") == "Bearer") is (status == 401)
        async with browser.client.get("/account", headers={"Authorization": f"Bearer {secret}"}) as answer:
            assert answer.status == 403, "a program has no account"


async def test_a_program_with_made_up_cookies_has_no_more_live_updates_than_its_token_has(here: Site) -> None:
    ends_us = here.clock.now_us() + 86_400_000_000
    secret = await here.accounts.tokens.create("watcher", ROLES["viewer"], ends_us=ends_us, by=ROOT)
    async with here.browser() as browser, AsyncExitStack() as streams:
        statuses = []
        for number in range(MAX_OF_ONE_LOG_IN + 2):
            headers = {"Authorization": f"Bearer {secret}", "Cookie": f"labrelay=made-up-{number}"}
            stream = await streams.enter_async_context(browser.client.get("/events", headers=headers))
            statuses.append(stream.status)
        assert statuses == [200] * MAX_OF_ONE_LOG_IN + [503, 503]


async def test_an_idle_session_ends_and_one_that_a_person_uses_goes_on(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("viewer")
        for _ in range(3):
            here.clock.advance(20 * 60)
            assert (await browser.get("/"))[1].all(class_="who") != []
        here.clock.advance(26 * 60)
        async with browser.client.get("/session.json") as answer:
            left = await answer.json()
        assert (left["left_s"], left["is_last"]) == (240, False)
        _, page = await browser.get("/?auto")
        assert "hidden" not in page.one(id="ending").attributes, "a page that renews itself warns"
        status, page = await browser.send("/?auto", to="/stay")
        assert (status, "hidden" in page.one(id="ending").attributes) == (200, True)
        for path in (
            "/live.json",
            "/messages.json",
            "/api/v1/status",
            "/session.json",
            "/analyzer?name=chemistry&auto",
        ):
            here.clock.advance(7 * 60)
            await browser.client.get(path)
        assert (await browser.get("/"))[1].one("h1").text == "Log in", "asking by itself does not keep it open"


async def test_a_session_ends_after_twelve_hours_however_busy(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("viewer")
        for _ in range(35):
            here.clock.advance(20 * 60)
            assert (await browser.get("/"))[1].all(class_="who") != []
        here.clock.advance(16 * 60)
        page = (await browser.get("/"))[1]
        assert "hidden" not in page.one(id="ending").attributes
        assert "hidden" in page.one(id="stay").attributes, "there is no more time"
        here.clock.advance(5 * 60)
        assert (await browser.get("/"))[1].one("h1").text == "Log in"


async def test_live_updates_end_with_the_session(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("viewer")
        async with browser.client.get("/events") as answer:
            assert await answer.content.readline()
            ((_, session),) = await here.accounts.sessions("viewer")
            await here.accounts.revoke(session.number, by=ROOT)
            async for _ in answer.content:  # the rest of what was under way, and then the end
                pass


@pytest.mark.parametrize("path", ["/users", "/reagents"])
async def test_the_menu_marks_the_page_that_is_shown(here: Site, path: str) -> None:
    async with here.browser() as browser:
        await browser.log_in("admin")
        _, page = await browser.get(path)
        (marked,) = page.all("a", **{"aria-current": "page"})
        assert marked.attributes["href"] == f"{path}?lang=en"


async def test_three_windows_of_one_log_in_get_live_updates_and_others_still_do(here: Site) -> None:
    """A browser opens six connections to one server: with six live updates it could load no page."""
    async with here.browser() as browser, here.browser() as other, AsyncExitStack() as windows:
        await browser.log_in("viewer")
        await other.log_in("engineer")
        for _ in range(3):
            answer = await windows.enter_async_context(browser.client.get("/events"))
            assert answer.status == 200
        async with browser.client.get("/events") as fourth:
            assert fourth.status == 503
        async with browser.client.get("/live.json") as polled:
            assert polled.status == 200
        async with other.client.get("/events") as answer:
            assert answer.status == 200


async def test_cookies_over_tls_are_of_this_host_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.sign("relay")
    config = WebConfig(listen=HostPort("127.0.0.1", 0), tls=ServerTls(cert=pair.cert, key=pair.key))
    async with site(tmp_path / "site", config=config, trust=authority.trust()) as here, here.browser() as browser:
        action, fields = await browser.fields("/log-in")
        typed = fields | {"name": "viewer", "password": GOOD}
        async with browser.client.post(action, data=typed, allow_redirects=False) as answer:
            assert answer.status == 303
            cookies = answer.headers.getall("Set-Cookie")
        assert sorted(one.partition("=")[0] for one in cookies) == ["__Host-labrelay", "__Host-labrelay-browser"]
        for one in cookies:
            assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(one.split("; ")), one
            assert "Domain" not in one
        assert (await browser.get("/account"))[0] == 200
        for seconds in (365 * 86_400, 0):
            here.page.server.follow(config.model_copy(update={"hsts": float(seconds)}))
            async with browser.client.get("/healthz") as answer:
                assert answer.headers["Strict-Transport-Security"] == f"max-age={seconds}"


async def test_cookies_on_loopback_without_tls_reach_no_script_and_no_other_site(here: Site) -> None:
    async with here.browser() as browser:
        async with browser.client.get("/log-in") as answer:
            (one,) = answer.headers.getall("Set-Cookie")
            assert "Strict-Transport-Security" not in answer.headers
        assert one.startswith("labrelay-browser=")
        assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=7776000"} <= set(one.split("; "))
