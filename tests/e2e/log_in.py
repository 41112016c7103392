"""Log-in at a real identity provider: oidc-provider, certified by the OpenID Foundation."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from engine.config.reading.secrets import Secret
from engine.config.web import WebConfig
from engine.features.access.config import AccessConfig, OidcConfig
from engine.features.access.examine import examine
from engine.model.process.clock import SystemClock
from engine.model.site.health import Health
from engine.model.texts.units import HostPort
from tests.e2e.chromium import chromium
from tests.e2e.counterparts import node
from tests.support.access import Browser, Site, site
from tests.support.ports import quiet_ports
from tests.support.status_server import Element, read_html
from tests.support.waiting import WITHIN_S

SECRET = "a secret of more than 32 characters: /+&=%"
GROUPS = {"asha": ["lab"], "meena": ["lab", "chiefs"], "ravi": ["kitchen"]}


PAGE = "localhost"  # the provider is 127.0.0.1, which browsers take for another site


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    monkeypatch.setenv("OIDC", SECRET)
    (port,) = quiet_ports(1)
    method: str = request.param
    client: dict[str, Any] = {
        "client_id": "labrelay",
        "redirect_uris": [f"http://{PAGE}:{port}/log-in/oidc/back"],
        "post_logout_redirect_uris": [f"http://{PAGE}:{port}/log-in/oidc/out"],
        "backchannel_logout_uri": f"http://{PAGE}:{port}/log-in/oidc/ended",
        "response_types": ["code"],
        "grant_types": ["authorization_code"],
        "token_endpoint_auth_method": method,
    }
    if method != "none":
        client["client_secret"] = SECRET
    with node("log_in.mjs", {"clients": [client], "groups": GROUPS}) as provider:
        async with site(tmp_path, config=WebConfig(listen=HostPort("127.0.0.1", port), names=(PAGE,))) as made:
            made.base = f"http://{PAGE}:{port}"
            made.clock.advance((SystemClock().now_us() - made.clock.now_us()) / 1e6)
            oidc = OidcConfig(
                issuer=f"http://127.0.0.1:{provider}",
                client_id="labrelay",
                client_secret=None if method == "none" else Secret("OIDC"),
                roles={"lab": "operator", "chiefs": "admin"},
                see_patients=("chiefs",),
            )
            made.accounts._rules = made.accounts.provider._rules = lambda: AccessConfig(oidc=oidc)
            yield made


async def log_in(here: Site, browser: Browser, name: str) -> tuple[int, Element]:
    """Through the provider's own pages, until one of ours is there."""
    address, form = f"{here.base}/log-in/oidc?next=/messages", None
    for _ in range(6):
        method = "POST" if form is not None else "GET"
        async with browser.client.request(method, address, data=form, headers={"Accept": "text/html"}) as answer:
            status, page = answer.status, read_html(await answer.text())
            if URL(here.base).port == answer.url.port:
                browser.path = answer.url.path
                return status, page
        shown = page.one("form")
        form = {one.attributes["name"]: one.attributes.get("value", "") for one in shown.all("input")}
        form |= {"login": name, "password": "any"} if "login" in form else {}
        address = str(answer.url.join(URL(shown.attributes["action"])))
    raise AssertionError("the provider leads nowhere")


@pytest.mark.parametrize("here", ["client_secret_basic", "client_secret_post", "none"], indirect=True)
async def test_people_come_in_as_their_groups_say(here: Site) -> None:
    for name, role, sees in (("asha", "operator", False), ("meena", "admin", True)):
        async with here.browser() as browser:
            status, _ = await log_in(here, browser, name)
            assert (status, browser.path) == (200, "/messages")
            user = await here.accounts.users.named(name)
            assert (user.role, user.sees_patients) == (role, sees)
            await browser.send("/", to="/log-out")
            status, _ = await log_in(here, browser, name)
            assert (status, browser.path) == (200, "/messages"), "a second time, too"
    async with here.browser() as browser:
        status, page = await log_in(here, browser, "ravi")
        assert (status, "have no role here" in page.text) == (403, True)
    assert sorted(one.name for one in await here.accounts.users.list() if one.issuer) == ["asha", "meena"]


@pytest.mark.parametrize("here", ["client_secret_basic"], indirect=True)
async def test_a_browser_comes_back_from_another_site_with_its_cookies(here: Site) -> None:
    """Chromium sends no cookie with a request that another site causes; the next one, from our own page, has them."""
    async with chromium() as browser, await browser.new_page() as page:
        page.set_default_timeout(WITHIN_S * 1000)
        await page.goto(f"{here.base}/log-in?next=/account&lang=en")
        before = {one["name"]: one["value"] for one in await page.context.cookies(here.base)}
        await page.click("text=Single sign-on")
        await page.fill("[name=login]", "asha")
        await page.fill("[name=password]", "any")
        await page.click("button[type=submit]")
        await page.click("button[type=submit]")  # consent
        await page.wait_for_url(f"{here.base}/account**")
        assert await page.text_content("h1") == "My account"
        after = {one["name"]: one for one in await page.context.cookies(here.base)}
        assert set(after) == {"labrelay", "labrelay-browser"}
        assert {one["sameSite"] for one in after.values()} == {"Strict"}
        assert before["labrelay-browser"]


@pytest.mark.parametrize("here", ["client_secret_basic"], indirect=True)
async def test_a_person_logs_out_here_and_at_the_provider(here: Site) -> None:
    """By the page alone: the policy for forms lets no form lead to the provider."""
    async with chromium() as browser, await browser.new_page() as page:
        page.set_default_timeout(WITHIN_S * 1000)
        await page.goto(f"{here.base}/log-in?next=/account&lang=en")
        await page.click("text=Single sign-on")
        await page.fill("[name=login]", "asha")
        await page.fill("[name=password]", "any")
        await page.click("button[type=submit]")
        await page.click("button[type=submit]")  # consent
        await page.wait_for_url(f"{here.base}/account**")
        await page.evaluate("document.querySelector('form[action^=\"/log-out\"] button').click()")
        await page.click("button[name=logout]")  # the provider's question
        await page.wait_for_url(f"{here.base}/log-in/oidc/out**")
        await page.wait_for_selector("text=here and at the identity provider")
        assert await here.accounts.sessions() == []
        assert {one["name"] for one in await page.context.cookies(here.base)} == {"labrelay-browser"}


@pytest.mark.parametrize("here", ["client_secret_basic"], indirect=True)
async def test_a_person_who_logs_out_at_the_provider_is_out_here(here: Site) -> None:
    async with here.browser() as browser, here.browser() as other:
        await log_in(here, browser, "asha")
        await log_in(here, other, "meena")
        oidc = here.accounts.provider._rules().oidc
        assert oidc is not None
        async with browser.client.get(f"{oidc.issuer}/session/end") as answer:
            (form,) = (one for one in read_html(await answer.text()).all("form") if one.all("input", name="xsrf"))
        fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input")} | {"logout": "yes"}
        async with browser.client.post(form.attributes["action"], data=fields) as answer:
            assert answer.status == 200
        assert (await browser.get("/messages"), browser.path)[1].startswith("/log-in")
        assert [name for name, _ in await here.accounts.sessions()] == ["meena"]


@pytest.mark.parametrize("here", ["client_secret_basic", "none"], indirect=True)
async def test_an_examination_finds_it_right(here: Site) -> None:
    oidc = here.accounts.provider._rules().oidc
    assert oidc is not None
    right = [one async for one in examine(oidc, f"{here.base}/log-in/oidc/back", SystemClock())]
    assert [one for one in right if one.health is not Health.OK] == []
    wrong = [one async for one in examine(oidc, f"{here.base}/elsewhere", SystemClock())]
    assert [one.text for one in wrong if one.health is Health.FAIL] == [
        f"it does not send browsers back to {here.base}/elsewhere"
    ]
