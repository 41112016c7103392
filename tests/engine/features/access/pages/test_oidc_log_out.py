"""Log-out at an identity provider, both ways: a person logs out here and there, and the provider ends a log-in.

`REFUSED` is the oracle of its notices: one line for each that ends nothing.
"""

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from engine.features.access.client import flow
from engine.features.access.config import AccessConfig
from engine.model.errors import StoreError
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.acts import acts_page
from tests.support.access import Browser
from tests.support.identity_provider import CLIENT, SECRET, Provider, by_public_key, no_json, rsa, unsigned
from tests.support.single_sign_on import Place, place

EVENT = flow.EVENT


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setenv("OIDC", SECRET)
    async with place(tmp_path) as made:
        yield made


# -- a person logs out -------------------------------------------------------------------------------------------------


async def left(browser: Browser) -> tuple[str, dict[str, str]]:
    """Log out; the address of the provider that the page leads to, and its parameters."""
    status, page = await browser.send("/", to="/log-out")
    assert status == 200
    assert "asha" not in page.text
    assert page.all("form") == [], "for a stranger: no name, no menu, no log-out"
    refresh = [one.attributes["content"] for one in page.all("meta", **{"http-equiv": "refresh"})]
    links = [one.attributes["href"] for one in page.one("main").all("a")]
    if not refresh:
        assert len(links) == 1
        return "", {}
    assert refresh == [f"0; url={links[0]}"], "with scripts and refreshes off there is the link"
    return links[0], dict(parse_qsl(urlsplit(links[0]).query))


async def test_a_person_logs_out_here_and_then_at_the_provider(here: Place) -> None:
    async with here.site.browser() as browser:
        await here.log_in(browser)
        address, asked = await left(browser)
        assert browser.cookie("labrelay") == ""
        assert (await browser.get("/messages"), browser.path)[1].startswith("/log-in"), "first of all here"
        assert address.startswith(f"{here.provider.issuer}/end?tenant=1&")
        assert asked["id_token_hint"].count(".") == 2
        assert (asked["client_id"], asked["logout_hint"]) == (CLIENT, "248289761001")
        assert asked["post_logout_redirect_uri"] == f"{here.site.base}/log-in/oidc/out"
        status, page = await browser.get(f"/log-in/oidc/out?state={asked['state']}")
        assert (status, "here and at the identity provider" in page.text) == (200, True)
        assert browser.cookie("labrelay-oidc-out") == ""
        await browser.get(f"/log-in/oidc/out?state={asked['state']}&again=1")
        assert browser.path.startswith("/log-in"), "once"


async def test_the_way_back_is_believed_in_the_browser_that_went_and_in_time(here: Place) -> None:
    async with here.site.browser() as browser, here.site.browser() as other:
        await here.log_in(browser)
        _, asked = await left(browser)
        way = f"/log-in/oidc/out?state={asked['state']}"
        _, page = await other.get(way)
        assert page.all("meta", **{"http-equiv": "refresh"}), (
            "a browser sends no cookie with the request of another site"
        )
        _, page = await other.get("/log-in/oidc/out")
        assert page.one("main").one("a").attributes["href"] == "/log-in/oidc/out?again=1"
        for wrong, one in (
            (f"{way}&again=1", other),
            ("/log-in/oidc/out?state=x", browser),
            ("/log-in/oidc/out", browser),
        ):
            await one.get(wrong)
            assert one.path == "/log-in"
        here.site.clock.advance(601)
        await browser.get(way)
        assert browser.path == "/log-in"


async def test_a_log_out_of_a_session_with_a_password_asks_no_provider(here: Place) -> None:
    async with here.site.browser() as browser:
        await browser.log_in("admin")
        await browser.send("/", to="/log-out")
        assert browser.path == "/log-in"
    assert here.provider.asked == []


@pytest.mark.parametrize(
    "change",
    [
        lambda provider: provider.document.update(end_session_endpoint=None),
        lambda provider: provider.document.update(end_session_endpoint="http://login.example/end"),
        lambda provider: provider.document.update(end_session_endpoint="javascript:alert(1)"),
        lambda provider: provider.document.update(end_session_endpoint="https://a:b@login.example/end"),
    ],
)
async def test_without_an_address_that_can_be_followed_the_log_out_here_is_said_to_be_all(
    here: Place, change: Callable[[Provider], object]
) -> None:
    change(here.provider)
    async with here.site.browser() as browser:
        await here.log_in(browser)
        assert await left(browser) == ("", {})
        assert (await browser.get("/messages"), browser.path)[1].startswith("/log-in")


async def test_a_provider_that_is_down_delays_no_log_out(here: Place) -> None:
    async with here.site.browser() as browser:
        await here.log_in(browser)
        here.rule(title="Another")  # nothing is kept of the provider's document
        here.provider.answers = {"/.well-known/openid-configuration": no_json}
        assert await left(browser) == ("", {})
        assert browser.cookie("labrelay") == ""


async def test_the_id_token_is_kept_sealed_with_its_session_and_goes_with_it(
    here: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with here.site.browser() as browser:
        await here.log_in(browser)
        ((_, session),) = await here.site.accounts.sessions()
        stored = b"".join(one.read_bytes() for one in here.site.journal.path.parent.glob("*") if one.is_file())
        assert session.kept[:100].encode() in stored
        _, asked = await left(browser)
        assert await here.site.accounts.sessions() == []
    token = asked["id_token_hint"]
    assert all(part[:60].encode() not in stored for part in token.split(".")), "no part of it in clear"
    assert not any(token in f"{one.getMessage()} {one.__dict__}" for one in caplog.records if "labrelay" in one.name)


async def test_a_token_that_is_too_long_for_an_address_is_not_kept(here: Place) -> None:
    here.provider.claims = {"groups": ["lab", *(f"group {number}" for number in range(600))], "login_hint": "asha@lab"}
    async with here.site.browser() as browser:
        await here.log_in(browser)
        address, asked = await left(browser)
    assert len(address) < 1000
    assert ("id_token_hint" in asked, asked["logout_hint"]) == (False, "asha@lab")


async def test_a_site_that_has_the_provider_no_more_logs_out_here(here: Place) -> None:
    async with here.site.browser() as browser:
        assert (await browser.get("/log-in/oidc/out?state=x&again=1"))[0] == 200
        here.site.accounts._rules = here.site.accounts.provider._rules = AccessConfig
        assert (await browser.get("/log-in/oidc/out?state=x"))[0] == 404
        assert (await end(here, "x"))[0] == 404


# -- the provider ends a log-in ----------------------------------------------------------------------------------------


async def end(here: Place, token: str) -> tuple[int, str]:
    async with (
        here.site.browser() as provider,
        provider.client.post("/log-in/oidc/ended", data={"logout_token": token}) as answer,
    ):
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.text()


async def open_sessions(here: Place) -> list[str]:
    return sorted(name for name, _ in await here.site.accounts.sessions())


async def test_the_provider_ends_the_log_ins_of_a_person(here: Place) -> None:
    async with here.site.browser() as one, here.site.browser() as two, here.site.browser() as other:
        await here.log_in(one)
        await here.log_in(two)
        here.provider.claims = {"sub": "7", "preferred_username": "meena"}
        await here.log_in(other)
        assert await end(here, here.provider.notice()) == (200, "")
        assert await open_sessions(here) == ["meena"]
        assert (await one.get("/messages"), one.path)[1].startswith("/log-in")
    ended = [act for act in acts_page(here.site.journal, limit=50) if act.verb == "log-out-by-provider"]
    assert [(str(act.actor), act.what["user"]) for act in ended] == [("labrelay", "asha")] * 2
    assert all(act.by["from"] == "127.0.0.1" for act in ended)


async def test_the_provider_ends_one_session_of_its_own(here: Place) -> None:
    async with here.site.browser() as one, here.site.browser() as two:
        for browser, session in ((one, "first"), (two, "second")):
            here.provider.claims = {"sid": session}
            await here.log_in(browser)
        assert (await end(here, here.provider.notice(sub=None, sid="second")))[0] == 200
        assert (await one.get("/messages"), one.path)[1] == "/messages"
        assert (await two.get("/messages"), two.path)[1].startswith("/log-in")
        assert (await end(here, here.provider.notice(sub="another", sid="first")))[0] == 200
        assert await open_sessions(here) == ["asha"], "both have to fit"


async def test_a_notice_is_good_once_and_ends_no_later_log_in(here: Place) -> None:
    async with here.site.browser() as browser:
        await here.log_in(browser)
        notice = here.provider.notice()
        assert (await end(here, notice))[0] == 200
        await here.log_in(browser)
        assert (await end(here, notice))[0] == 400
        here.site.clock.advance(61)
        late = here.provider.notice(iat=here.provider.now_s() - 62 - 60)
        assert (await end(here, late))[0] == 200
        assert await open_sessions(here) == ["asha"]


async def test_sessions_with_a_password_do_not_end(here: Place) -> None:
    async with here.site.browser() as browser:
        await browser.log_in("admin")
        assert (await end(here, here.provider.notice(sub="")))[0] == 400
        assert (await end(here, here.provider.notice(sub="admin")))[0] == 200
        assert await open_sessions(here) == ["admin"]


def says(**claims: Any) -> Callable[[Provider], str]:
    return lambda provider: provider.notice(**claims)


def signs(sign: Callable[[dict[str, Any], dict[str, Any]], str]) -> Callable[[Provider], str]:
    def made(provider: Provider) -> str:
        provider.sign = sign
        return provider.notice()

    return made


def head(**header: Any) -> Callable[[Provider], str]:
    def made(provider: Provider) -> str:
        provider.header = header
        return provider.notice()

    return made


def foreign(header: dict[str, Any], claims: dict[str, Any]) -> str:
    from joserfc import jwt

    return jwt.encode(header, claims, rsa(7), algorithms=["RS256"])


def id_token(provider: Provider) -> str:
    return provider.token({"nonce": "x"})


def late(name: str, by_s: int) -> Callable[[Provider], str]:
    return lambda provider: provider.notice(**{name: provider.now_s() + by_s})


REFUSED: dict[str, tuple[Callable[[Provider], str], str]] = {
    "no token": (lambda provider: "", "no token"),
    "no notice": (lambda provider: "a.b.c", "no token"),
    "another issuer": (says(iss="https://evil.example"), "issuer"),
    "another audience": (says(aud="another"), "audience"),
    "expired": (late("exp", -61), "expired"),
    "no end": (says(exp=None), "times"),
    "of long ago": (late("iat", -3600), "issued at another time"),
    "of the future": (late("iat", 120), "issued at another time"),
    "no events": (says(events=None), "events"),
    "another event": (says(events={"http://schemas.openid.net/event/other": {}}), "events"),
    "an event that is a text": (says(events={EVENT: "yes"}), "events"),
    "a list of events": (says(events=[EVENT]), "events"),
    "a nonce": (says(nonce="x"), "nonce"),
    "no jti": (says(jti=None), "jti"),
    "a jti that is a list": (says(jti=["x"]), "jti"),
    "of no person": (says(sub=None), "subject"),
    "of an empty session": (says(sub=None, sid=""), "subject"),
    "of a session that is a number": (says(sid=7), "subject"),
    "an ID token": (id_token, "events"),
    "an access token": (head(typ="at+jwt"), "header"),
    "alg none": (signs(unsigned), "algorithm"),
    "HS256 with the public key": (signs(by_public_key), "algorithm"),
    "another key of the same name": (signs(foreign), "signature"),
    "an unknown key": (head(kid="unknown"), "key"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_wrong_notice_ends_nothing(here: Place, case: str, caplog: pytest.LogCaptureFixture) -> None:
    make, reason = REFUSED[case]
    async with here.site.browser() as browser:
        await here.log_in(browser)
        assert await end(here, make(here.provider)) == (400, '{"error": "invalid_request"}')
    assert await open_sessions(here) == ["asha"]
    refused = [one for one in caplog.records if one.getMessage() == "notice of an ended log-in refused"]
    assert [one.__dict__["reason"] for one in refused] == [reason]


async def test_a_notice_within_its_limits_or_none(here: Place) -> None:
    async with here.site.browser() as stranger:
        async with stranger.client.post("/log-in/oidc/ended", data={"logout_token": "x" * 20_000}) as answer:
            assert answer.status == 413
        async with stranger.client.post("/log-in/oidc/ended", json={"logout_token": "x"}) as answer:
            assert answer.status == 415
        data, headers = {"logout_token": here.provider.notice()}, {"Origin": "https://evil.example"}
        async with stranger.client.post("/log-in/oidc/ended", data=data, headers=headers) as answer:
            assert answer.status == 403, "a browser sends it"


async def test_many_notices_cost_little_memory(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "MOST_NOTICES", 3)
    for _ in range(5):
        assert (await end(here, here.provider.notice()))[0] == 200
    assert len(here.site.accounts.provider._flow._notices) == 3  # type: ignore[union-attr]


async def test_a_damaged_log_in_keeps_no_other_from_ending_and_ends_itself(here: Place) -> None:
    async with here.site.browser() as one, here.site.browser() as two:
        here.provider.claims = {"sid": "first"}
        await here.log_in(one)
        here.provider.claims = {"sid": "second"}
        await here.log_in(two)
        first = min(await here.site.accounts.sessions(), key=lambda found: found[1].number)[1]

        @operation(priority=Priority.SETTLE)
        def damage(batch: Batch) -> None:
            batch.execute("UPDATE log_in_session SET kept = 'AAAA' WHERE number = ?", (first.number,))

        await here.site.accounts._directory.run(damage)
        assert await end(here, here.provider.notice(sub=None, sid="second")) == (200, "")
        assert await open_sessions(here) == [], "whose session the damaged one is, is not known"


async def test_a_notice_that_could_not_be_followed_is_followed_when_it_comes_again(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with here.site.browser() as browser:
        await here.log_in(browser)
        notice = here.provider.notice()
        with monkeypatch.context() as full:
            full.setattr(here.site.accounts, "end_by_provider", refuse)
            assert (await end(here, notice))[0] >= 500
        assert await end(here, notice) == (200, "")
        assert await open_sessions(here) == []


async def refuse(*given: object, **named: object) -> int:
    raise StoreError("the disk is full")
