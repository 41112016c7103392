"""Log-in at an identity provider, over real connections: what a right answer opens, and that each wrong one is refused.

`REFUSED` is the oracle: one line for each thing that a hostile or broken provider, or a person between, may do.
"""

import base64
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.web import WebConfig
from engine.features.access.client import provider as provider_module
from engine.features.access.config import AccessConfig, OidcConfig
from engine.features.access.rules.accounts import FREE_OF_ADDRESS
from engine.model.site.permissions import ROLES
from engine.model.texts.units import HostPort
from engine.monitoring.counters import Counters
from engine.monitoring.logs import RepeatFilter
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.acts import acts_page
from tests.support import identity_provider
from tests.support.access import GOOD, ROOT, Browser
from tests.support.certificates import Authority
from tests.support.command_line import labrelay
from tests.support.identity_provider import CLIENT, SECRET, Provider, by_public_key, ec, rsa, unsigned
from tests.support.single_sign_on import Place, place
from tests.support.sites import SITE_YAML, make_site

Case = tuple[Callable[[Provider], object], str]
MISSING = None


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setenv("OIDC", SECRET)
    async with place(tmp_path) as made:
        yield made


# -- who comes in ------------------------------------------------------------------------------------------------------


async def test_a_person_comes_in_with_the_role_of_the_groups(here: Place) -> None:
    async with here.site.browser() as browser:
        _, page = await browser.get("/log-in?next=/messages")
        (link,) = (one for one in page.all("a") if one.attributes["href"].startswith("/log-in/oidc"))
        assert (link.text, dict(parse_qsl(urlsplit(link.attributes["href"]).query))["next"]) == (
            "Single sign-on",
            "/messages",
        )
        status, _ = await here.log_in(browser)
        assert (status, browser.path) == (200, "/messages")
        (session,) = (one for name, one in await here.site.accounts.sessions() if name == "asha")
        assert session.how == "identity provider"
        user = await here.site.accounts.users.named("asha")
        assert (user.role, user.sees_patients, user.issuer) == ("operator", False, here.provider.issuer)
        _, page = await browser.get("/account")
        acts = [one.attributes["value"] for one in page.all("button", name="act")]
        assert acts == ["language"], "password, PIN and second factor are the provider's"
        assert (await browser.get("/users"))[0] == 403
        await browser.send("/", to="/log-out")
        assert (await browser.get("/messages"), browser.path)[1].startswith("/log-in")


async def test_each_log_in_has_todays_groups(here: Place) -> None:
    async with here.site.browser() as browser, here.site.browser() as admin:
        for groups, role, sees in (
            (["lab"], "operator", False),
            (["lab", "lab-admins", "doctors"], "admin", True),
            ("lab", "operator", False),
        ):
            here.provider.claims = {"groups": groups, "preferred_username": f"asha {role}"}
            assert (await here.log_in(browser))[0] == 200
            user = await here.site.accounts.users.named("asha operator")
            assert (user.role, user.sees_patients) == (role, sees), "the name is that of the first log-in"
        roles = [act.what for act in acts_page(here.site.journal, limit=50) if act.verb == "user-role"]
        assert [(one["before"], one["role"]) for one in roles] == [("admin", "operator"), ("operator", "admin")]
        await admin.log_in("admin")
        _, page = await admin.get("/users")
        assert "identity provider" in page.text
        _, page = await admin.get("/user?name=asha+operator")
        assert here.provider.issuer in page.text
        assert {one.attributes["value"] for one in page.all("button", name="act")} == {"disable", "remove", "end"}
        for act, typed in (("role", {"role": "admin"}), ("patients", {"sees": "yes"}), ("password", {"new": GOOD})):
            action, fields = await admin.fields("/user?name=asha+operator", "disable")
            status, page = await admin.post(action, fields | {"act": act} | typed)
            assert (status, "identity provider" in page.one("p", class_="problem").text) == (403, True), act


async def test_a_person_is_known_by_issuer_and_subject_and_takes_no_users_name(here: Place) -> None:
    async with here.site.browser() as browser:
        for subject, name in (
            ("1", "admin"),
            ("2", "ADMIN"),
            ("3", "token:his"),
            ("4", "x" * 90),
            ("5", "a\u202eb"),
            ("6", ""),
        ):
            here.provider.claims = {"sub": subject, "preferred_username": name, "email": "admin@lab.example"}
            assert (await here.log_in(browser))[0] == 200
            (session, *_) = [one for one in await here.site.accounts.sessions() if one[1].how == "identity provider"]
            mine = await here.site.accounts.users.named(session[0])
            assert (mine.issuer, mine.role) == (here.provider.issuer, "operator")
            here.provider.claims["preferred_username"] = "another"
            await here.log_in(browser)
        names = [one.name for one in await here.site.accounts.users.list() if one.issuer]
        assert len(set(names)) == 6
        assert not set(names) & set(ROLES)
        assert not any(":" in name or "\u202e" in name for name in names)


async def test_a_user_who_is_kept_out_here_does_not_come_in(here: Place) -> None:
    async with here.site.browser() as browser:
        await here.log_in(browser)
        await here.site.accounts.users.disable("asha", True, by=ROOT)
        assert (await browser.get("/messages"), browser.path)[1].startswith("/log-in")
        status, page = await here.log_in(browser)
        assert (status, "You are kept out" in page.text) == (403, True)
        await here.site.accounts.users.disable("asha", False, by=ROOT)
        await here.site.accounts.users.remove("asha", by=ROOT)
        assert (await here.log_in(browser))[0] == 200, "the provider decides who is a user"


async def test_a_session_ends_when_the_site_has_the_provider_no_more(here: Place) -> None:
    async with here.site.browser() as browser:
        await here.log_in(browser)
        here.site.accounts._rules = here.site.accounts.provider._rules = AccessConfig
        assert (await browser.get("/messages"), browser.path)[1].startswith("/log-in")
        for path in ("/log-in/oidc", "/log-in/oidc/back?code=1"):
            assert (await browser.get(path))[0] == 404


async def test_an_open_session_goes_on_to_its_end_whatever_the_provider_says(here: Place) -> None:
    """It is asked at log-ins alone; an admin here ends a session at once."""
    async with here.site.browser() as browser:
        await here.log_in(browser)
        here.provider.answers = {"/token": identity_provider.silent, "/keys": identity_provider.silent}
        here.site.clock.advance(29 * 60)
        assert (await browser.get("/messages"), browser.path)[1] == "/messages"
        for _ in range(24 * 2):
            here.site.clock.advance(29 * 60)
            await browser.get("/messages")
        assert browser.path.startswith("/log-in"), "12 hours at the latest"


async def test_without_an_admin_who_has_a_password_no_one_comes_in_by_the_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OIDC", SECRET)
    async with place(tmp_path) as here, here.site.browser() as browser:
        here.provider.claims = {"groups": ["lab-admins"]}
        await here.log_in(browser)
        refused = await browser.send("/user?name=admin", "disable")
        assert "last admin" in refused[1].text, "one of the provider does not count"
        await here.site.accounts._directory.run(_without_admin)
        here.provider.claims["sub"] = "another"
        status, page = await here.log_in(browser)
        assert (status, "First an admin with a password" in page.text) == (403, True)


@operation(priority=Priority.SETTLE)
def _without_admin(batch: Batch) -> None:
    batch.execute("DELETE FROM app_user WHERE name = 'admin'")


@pytest.mark.parametrize(
    ("rule", "claims", "may"),
    [
        ({"groups": "realm_access.roles"}, {"groups": MISSING, "realm_access": {"roles": ["lab"]}}, True),
        ({"groups": "https://x/roles"}, {"https://x/roles": ["lab"]}, True),
        ({}, {"groups": MISSING}, False),
        ({}, {"groups": []}, False),
        ({}, {"groups": ["LAB"]}, False),
        ({}, {"groups": {"lab": True}}, False),
        ({}, {"groups": [["lab"]]}, False),
        ({"subjects": ("1",)}, {"sub": "1"}, True),
        ({"subjects": ("1",)}, {"sub": "2"}, False),
        ({"domains": ("Lab.example",)}, {"hd": "lab.example"}, True),
        ({"domains": ("lab.example",)}, {"email": "a@LAB.example", "email_verified": True}, True),
        ({"domains": ("lab.example",)}, {"email": "a@lab.example"}, False),
        ({"domains": ("lab.example",)}, {"email": "a@lab.example", "email_verified": "true"}, False),
        ({"domains": ("lab.example",)}, {"email": "a@lab.example.evil", "email_verified": True}, False),
        ({"domains": ("lab.example",)}, {}, False),
        ({"roles": {"west-lab": "west:viewer"}}, {}, False),
        ({"roles": {"west-lab": "west:viewer", "lab-admins": "admin"}}, {"groups": ["lab-admins"]}, True),
    ],
)
async def test_who_may_come_in(here: Place, rule: dict[str, Any], claims: dict[str, Any], may: bool) -> None:
    here.rule(**rule)
    here.provider.claims = claims
    async with here.site.browser() as browser:
        status, page = await here.log_in(browser)
    assert status == (200 if may else 403)
    if not may:
        said = page.one("p", role="alert").text
        assert ("may not log in here" if "subjects" in rule or "domains" in rule else "have no role here") in said


async def test_groups_give_roles_in_units_at_each_log_in(here: Place) -> None:
    for roles, found in (
        ({"lab": "east:operator", "b": "west:viewer,north:viewer", "c": "south:viewer"},
         "east:operator,west:viewer,north:viewer"),
        ({"b": "west:viewer"}, "west:viewer"),
        ({"b": "west:operator", "lab": "viewer"}, "viewer"),
    ):  # fmt: skip
        here.rule(roles=roles)
        here.provider.claims = {"groups": ["lab", "b"]}
        async with here.site.browser() as browser:
            await here.log_in(browser)
        (user,) = [one for one in await here.site.accounts.users.list() if one.issuer]
        assert user.role == found


@pytest.mark.parametrize("how", ["basic", "post", "public"])
async def test_the_ways_to_show_the_secret(here: Place, how: str) -> None:
    if how == "post":
        here.provider.document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    if how == "public":
        here.provider.secret = None
        here.rule(client_secret=None)
    async with here.site.browser() as browser:
        assert ((await here.log_in(browser))[0], browser.path) == (200, "/messages")


@pytest.mark.parametrize("key", [ec(), rsa(1)])
async def test_a_key_that_was_changed_is_asked_for(here: Place, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "KEYS_ANEW_S", 0.0)
    here.provider.keys = [rsa()]
    async with here.site.browser() as browser:
        await here.log_in(browser)
        here.provider.key, here.provider.keys = key, [key]
        here.provider.header = {"alg": "ES256" if key.key_type == "EC" else "PS512"}
        assert ((await here.log_in(browser))[0], browser.path) == (200, "/messages")
        assert here.provider.asked.count("/keys") == 2
        assert here.provider.asked.count("/.well-known/openid-configuration") == 1


async def test_unknown_keys_are_asked_for_once_a_minute(here: Place) -> None:
    here.provider.header = {"kid": "unknown"}
    async with here.site.browser() as browser:
        for _ in range(5):
            assert (await here.log_in(browser))[0] == 403
    assert here.provider.asked.count("/keys") == 1


# -- what is refused ---------------------------------------------------------------------------------------------------


def token(**claims: Any) -> Callable[[Provider], object]:
    return lambda provider: provider.claims.update(claims)


def head(**header: Any) -> Callable[[Provider], object]:
    return lambda provider: provider.header.update(header)


def signed(sign: Callable[[dict[str, Any], dict[str, Any]], str]) -> Callable[[Provider], object]:
    return lambda provider: setattr(provider, "sign", sign)


def answered(path: str, answer: Any) -> Callable[[Provider], object]:
    return lambda provider: provider.answers.update({path: answer})


def says(**document: Any) -> Callable[[Provider], object]:
    return lambda provider: provider.document.update(document)


def back(**query: Any) -> Callable[[Provider], object]:
    return lambda provider: provider.query.update(query)


def keys(*given: Any) -> Callable[[Provider], object]:
    return lambda provider: setattr(provider, "keys", list(given))


def weak(provider: Provider) -> None:
    provider.key, provider.keys = rsa(0, 1024), [rsa(0, 1024)]


def foreign(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Signed by another key, under the name of a right one."""
    from joserfc import jwt

    return jwt.encode(header, claims, rsa(7), algorithms=["RS256"])


def inside(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """With the key in the token itself."""
    from joserfc import jwt

    return jwt.encode(header | {"jwk": rsa(7).as_dict(private=False)}, claims, rsa(7), algorithms=["RS256"])


def changed(header: dict[str, Any], claims: dict[str, Any]) -> str:
    from joserfc import jwt

    first, _, last = jwt.encode(header, claims, rsa(), algorithms=["RS256"]).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims | {"groups": ["lab-admins"]}).encode()).decode().rstrip("=")
    return f"{first}.{body}.{last}"


def late(name: str, by_s: int) -> Callable[[Provider], object]:
    return lambda provider: provider.claims.update({name: provider.now_s() + by_s})


DISCOVERY = "/.well-known/openid-configuration"
REFUSED: dict[str, Case] = {
    # the token
    "another nonce": (token(nonce="another"), "nonce"),
    "no nonce": (token(nonce=MISSING), "nonce"),
    "a nonce that is no text": (token(nonce=5), "nonce"),
    "another audience": (token(aud="another"), "audience"),
    "no audience": (token(aud=MISSING), "audience"),
    "several audiences and no authorized party": (token(aud=[CLIENT, "another"]), "audience"),
    "another authorized party": (token(aud=[CLIENT, "another"], azp="another"), "authorized party"),
    "another issuer": (token(iss="https://evil.example"), "issuer"),
    "no subject": (token(sub=MISSING), "subject"),
    "an empty subject": (token(sub=""), "subject"),
    "a subject of 300 signs": (token(sub="1" * 300), "subject"),
    "a subject that is a number": (token(sub=7), "subject"),
    "expired": (late("exp", -61), "expired"),
    "no end": (token(exp=MISSING), "times"),
    "an end that is a text": (token(exp="soon"), "times"),
    "issued in the future": (late("iat", 120), "issued at another time"),
    "issued long ago": (late("iat", -3600), "issued at another time"),
    "good later": (late("nbf", 120), "issued at another time"),
    "proven an hour before": (late("auth_time", -3600), "auth_time"),
    "proven some time before this log-in": (late("auth_time", -61), "auth_time"),
    "proven in the future": (late("auth_time", 120), "auth_time"),
    "not said when it was proven": (token(auth_time=MISSING), "no auth_time"),
    "proven at a time that is a text": (token(auth_time="now"), "no auth_time"),
    "proven at a time that is a flag": (token(auth_time=True), "no auth_time"),
    "proven at no number": (token(auth_time=float("nan")), "auth_time"),
    # its signature
    "alg none": (signed(unsigned), "algorithm"),
    "HS256 with the public key": (signed(by_public_key), "algorithm"),
    "no algorithm": (signed(lambda header, claims: "e30.e30.x"), "algorithm"),
    "another key of the same name": (signed(foreign), "signature"),
    "a key inside the token": (signed(inside), "signature"),
    "changed after signing": (signed(changed), "signature"),
    "an unknown critical header": (head(crit=["x"], x=1), "header"),
    "an access token": (head(typ="at+jwt"), "header"),
    "no token": (signed(lambda header, claims: "x"), "no token"),
    "an encrypted token": (signed(lambda header, claims: "e30.e30.e30.e30.e30"), "no token"),
    "an unknown key": (head(kid="unknown"), "key"),
    "a weak key": (weak, "key"),
    "a key for encryption": (keys({**rsa().as_dict(private=False), "use": "enc"}), "key"),
    "two keys of one name": (keys(rsa(), rsa()), "key"),
    "keys that are none": (keys({"kty": "RSA", "kid": "rsa-2048-0", "n": "!", "e": 5}), "key"),
    # the way back
    "no iss, though the provider names itself": (back(iss=MISSING), "iss of the answer"),
    "the iss of another": (back(iss="https://evil.example"), "iss of the answer"),
    "another state": (back(state="another"), "state"),
    "no state": (back(state=MISSING), "state"),
    "an error": (back(error="access_denied", code=MISSING), "no code"),
    "no code": (back(code=MISSING), "no code"),
    "a made-up code": (back(code="made up"), "code refused"),
    # the provider
    "a token endpoint that redirects": (answered("/token", identity_provider.redirect), "HTTP 302"),
    "a token endpoint with a large answer": (answered("/token", identity_provider.large), "too large"),
    "a token endpoint with a packed answer": (answered("/token", identity_provider.packed), "JSONDecodeError"),
    "a token endpoint that is silent": (answered("/token", identity_provider.silent), "TimeoutError"),
    "a token endpoint without JSON": (answered("/token", identity_provider.no_json), "JSONDecodeError"),
    "keys elsewhere": (answered("/keys", identity_provider.redirect), "HTTP 302"),
    "large keys": (answered("/keys", identity_provider.large), "too large"),
    "too many keys": (keys(*[{"kty": "RSA"}] * 101), "keys"),
    "a document elsewhere": (answered(DISCOVERY, identity_provider.redirect), "HTTP 302"),
    "a large document": (answered(DISCOVERY, identity_provider.large), "too large"),
    "a silent document": (answered(DISCOVERY, identity_provider.silent), "TimeoutError"),
    "the document of another": (says(issuer="https://evil.example"), "issuer of the document"),
    "an endpoint in clear": (says(token_endpoint="http://login.example/token"), "address of the document"),
    "an endpoint that is a file": (says(jwks_uri="file:///etc/passwd"), "address of the document"),
    "an endpoint with a user": (says(jwks_uri="https://a:b@login.example/keys"), "address of the document"),
    "no endpoint": (says(authorization_endpoint=MISSING), "address of the document"),
    "an endpoint that is no address": (says(token_endpoint="https://["), "address of the document"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_a_wrong_answer_opens_nothing(
    here: Place, case: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "silent" in case:
        monkeypatch.setattr(provider_module, "WITHIN_S", 0.2)
    change, reason = REFUSED[case]
    change(here.provider)
    async with here.site.browser() as browser:
        status, page = await here.log_in(browser)
        assert status in (403, 503)
        assert page.one("p", role="alert").text
        assert browser.cookie("labrelay") == ""
        assert (await browser.get("/messages"), browser.path)[1].startswith("/log-in")
    assert [one for one in await here.site.accounts.users.list() if one.issuer] == []
    refused = [one for one in caplog.records if one.getMessage() == "log-in at the identity provider refused"]
    assert {one.__dict__["reason"] for one in refused} == {reason}
    assert "/elsewhere" not in here.provider.asked
    (act,) = (act for act in acts_page(here.site.journal, limit=50) if act.verb == "log-in-refused")
    assert act.what["user"] is None


async def test_an_address_that_tries_many_answers_has_to_wait(here: Place) -> None:
    async with here.site.browser() as browser:
        for _ in range(FREE_OF_ADDRESS):
            address, _ = await begun(here, browser)
            assert (await browser.get(here.provider.approve(address).replace("code-", "x")))[0] == 403
        asked = here.provider.asked.count("/token")
        status, page = await here.log_in(browser)
        assert (status, "Too many wrong log-ins" in page.text) == (429, True)
        assert here.provider.asked.count("/token") == asked
        here.site.clock.advance(16)
        assert (await here.log_in(browser))[0] == 200


async def test_after_a_refusal_the_right_answer_comes_in(here: Place) -> None:
    async with here.site.browser() as browser:
        here.provider.claims = {"nonce": "another"}
        assert (await here.log_in(browser))[0] == 403
        here.provider.claims = {}
        assert ((await here.log_in(browser))[0], browser.path) == (200, "/messages")


async def test_the_passwords_of_the_page_work_without_the_provider(here: Place) -> None:
    here.provider.answers = {DISCOVERY: identity_provider.no_json}
    async with here.site.browser() as browser:
        status, page = await here.log_in(browser)
        assert (status, "cannot be reached" in page.text) == (503, True)
        assert (await browser.log_in("admin"))[0] == 200
        assert (await browser.get("/users"), browser.path)[1] == "/users"


# -- the way between ---------------------------------------------------------------------------------------------------


async def begun(here: Place, browser: Browser, **query: str) -> tuple[str, dict[str, str]]:
    async with browser.client.get("/log-in/oidc", params=query, allow_redirects=False) as answer:
        address = answer.headers["Location"]
    return address, dict(parse_qsl(urlsplit(address).query))


async def test_what_the_provider_is_asked(here: Place) -> None:
    async with here.site.browser() as browser:
        address, first = await begun(here, browser, redirect_uri="https://evil.example", client_id="another")
        _, second = await begun(here, browser)
        here.rule(single_sign_on=True, scope="groups openid")
        _, third = await begun(here, browser)
    assert address.startswith(f"{here.provider.issuer}/authorize?tenant=1&")
    assert first["redirect_uri"] == f"{here.site.base}/log-in/oidc/back"
    assert (first["prompt"], first["max_age"], first["scope"]) == ("login", "0", "openid profile")
    assert (third.keys() & {"prompt", "max_age"}, third["scope"]) == (set(), "openid groups")
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 43
        assert first[name] != second[name]


@pytest.mark.parametrize("taken_out", [{"prompt"}, {"max_age"}, {"prompt", "max_age"}])
async def test_the_next_person_at_a_computer_does_not_come_in_by_the_log_in_of_the_one_before(
    here: Place, taken_out: set[str]
) -> None:
    """The browser carries the request for a new proof, so its person can take it out of the address."""
    here.provider.claims = {"groups": ["lab-admins"]}
    if "max_age" not in taken_out:
        here.provider.claims["auth_time"] = here.provider.now_s() - 20 * 3600
    async with here.site.browser() as browser:
        address, asked = await begun(here, browser)
        left = {name: value for name, value in asked.items() if name not in taken_out}
        changed = f"{address.partition('?')[0]}?{urlencode(left)}"
        status, page = await browser.get(here.provider.approve(changed))
        assert status == 403
        assert ("single_sign_on" in page.one("p", role="alert").text) == ("max_age" in taken_out)
        assert (await browser.get("/users"), browser.path)[1].startswith("/log-in")
        here.rule(single_sign_on=True)
        assert (await here.log_in(browser, "/users"))[0] == 200, "where the site wants it so"


async def test_a_new_proof_may_be_as_old_as_clocks_differ_and_as_long_as_a_log_in_takes(here: Place) -> None:
    async with here.site.browser() as browser:
        address, _ = await begun(here, browser)
        here.provider.claims = {"auth_time": here.provider.now_s() - 59}
        here.site.clock.advance(590)
        assert (await browser.get(here.provider.approve(address)))[0] == 200


async def test_strangers_fill_neither_journal_nor_log_and_delay_no_log_in(
    here: Place, caplog: pytest.LogCaptureFixture
) -> None:
    way, times = "/log-in/oidc/back?again=1", 2 * FREE_OF_ADDRESS
    repeats = RepeatFilter(Counters())
    caplog.handler.addFilter(repeats)
    with mock.patch.object(here.site.journal, "run", wraps=here.site.journal.run) as run:
        async with here.site.browser() as stranger:
            for wait_s in (61, 61, 601):
                for _ in range(times):
                    assert (await stranger.get(way))[0] == 403
                here.site.clock.advance(wait_s)
            assert run.call_count == 3
            assert (await stranger.get(way))[0] == 403
    caplog.handler.removeFilter(repeats)
    assert [one.getMessage() for one in caplog.records].count("log-in at the identity provider refused") == 1
    counted = [act.what["times"] for act in acts_page(here.site.journal, limit=50) if act.verb == "log-in-refused"]
    assert sum(counted) == 3 * times + 1
    async with here.site.browser() as browser, here.site.browser() as admin:
        assert (await here.log_in(browser))[0] == 200
        assert (await admin.log_in("admin"))[0] == 200


async def test_a_provider_that_is_down_delays_no_log_in_with_a_password(here: Place) -> None:
    here.provider.answers = {DISCOVERY: identity_provider.no_json}
    async with here.site.browser() as browser:
        for _ in range(2 * FREE_OF_ADDRESS):
            assert (await browser.get("/log-in/oidc"))[0] == 503
        assert (await browser.log_in("admin"))[0] == 200


async def test_an_answer_is_good_in_the_browser_that_has_begun_and_once(here: Place) -> None:
    async with here.site.browser() as browser, here.site.browser() as thief:
        address, _ = await begun(here, browser)
        way = here.provider.approve(address)
        status, page = await thief.get(f"{way}&again=1")
        assert (status, "in another browser" in page.text) == (403, True)
        await begun(here, thief)
        assert (await thief.get(way))[0] == 403, "another log-in of the thief's own"
        assert ((await browser.get(way))[0], browser.path) == (200, "/")
        await browser.send("/", to="/log-out")
        assert (await browser.get(f"{way}&again=1"))[0] == 403

        address, _ = await begun(here, browser)
        here.site.clock.advance(601)
        assert (await browser.get(here.provider.approve(address)))[0] == 403, "it has to be soon"


async def test_the_first_request_back_has_no_cookie_and_is_asked_for_again(here: Place) -> None:
    """A browser sends no cookie of ours with a request that another site causes."""
    async with here.site.browser() as browser, here.site.browser() as other:
        address, _ = await begun(here, browser)
        way = here.provider.approve(address)
        async with other.client.get(way, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert "Set-Cookie" not in answer.headers
        assert 'http-equiv="refresh"' in text
        assert "&amp;again=1" in text
        assert ((await browser.get(f"{way}&again=1"))[0], browser.path) == (200, "/")


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example/", "/\\evil.example", "/log-in", "javascript:1"]
)
async def test_a_log_in_there_leads_to_no_other_site(here: Place, to: str) -> None:
    async with here.site.browser() as browser:
        assert (await here.log_in(browser, to))[0] == 200
        assert browser.path == "/"


async def test_under_another_name_it_begins_under_the_one_that_the_provider_knows(here: Place) -> None:
    async with here.site.browser() as browser:
        headers = {"Host": f"localhost:{here.site.page.server.port}"}
        async with browser.client.get("/log-in/oidc", headers=headers, allow_redirects=False) as answer:
            assert answer.headers["Location"].startswith(f"{here.site.base}/log-in/oidc?")


async def test_a_name_twice_in_the_way_back_is_refused(here: Place) -> None:
    async with here.site.browser() as browser:
        address, _ = await begun(here, browser)
        assert (await browser.get(f"{here.provider.approve(address)}&code=another"))[0] == 403


async def test_a_new_session_is_begun_and_the_one_before_ends(here: Place) -> None:
    async with here.site.browser() as browser:
        await browser.log_in("viewer")
        before = browser.cookie("labrelay")
        await here.log_in(browser)
        assert browser.cookie("labrelay") != before
        assert await here.site.accounts.principal_of_session(before, address="") is None
        assert browser.cookie("labrelay-oidc") == ""


async def test_no_code_token_or_secret_is_in_the_log(here: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with here.site.browser() as browser:
        for claims in ({}, {"nonce": "another"}, {"groups": []}):
            here.provider.claims = claims
            await here.log_in(browser)
    text = " ".join(f"{one.getMessage()} {one.__dict__}" for one in caplog.records if one.name.startswith("labrelay"))
    assert not any(word in text for word in (SECRET, "code-0", "eyJ", "248289761001"))


def test_a_site_without_a_provider_reads_nothing_of_it() -> None:
    code = (
        "import sys, engine.web.server; print(sorted({'joserfc', 'engine.features.access.client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- the configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"issuer": "http://login.example"}, "https"),
        ({"issuer": "https://login.example/?a=1"}, "without"),
        ({"client_secret": "in clear"}, "client_secret"),
        ({"roles": {}}, "roles"),
        ({"roles": {"lab": "root"}}, "roles"),
    ],
)
def test_a_configuration_that_is_refused(given: dict[str, Any], wrong: str) -> None:
    right = {"issuer": "https://login.example", "client_id": "a", "roles": {"lab": "viewer"}}
    assert OidcConfig.model_validate(right)
    with pytest.raises(ValueError, match=wrong):
        OidcConfig.model_validate(right | given)


def test_a_public_provider_leads_to_no_address_of_this_machine() -> None:
    config = OidcConfig.model_validate(
        {"issuer": "https://login.example", "client_id": "a", "roles": {"lab": "viewer"}}
    )
    asked = provider_module.Provider(config)
    assert asked._followed("https://other.example/token") == "https://other.example/token"
    for address in ("https://127.0.0.1/token", "https://localhost:8443/", "http://127.0.0.1/", "https://[::1]/"):
        with pytest.raises(Exception, match="cannot be reached"):
            asked._followed(address)


PUBLIC = [
    ("127.0.0.1:8580", (), "http://127.0.0.1:8580"),
    ("127.0.0.1:8580", ("*.lab.example", "Relay.lab.example"), "http://Relay.lab.example:8580"),
    ("127.0.0.1:80", ("relay.lab.example",), "http://relay.lab.example"),
]


@pytest.mark.parametrize(("listen", "names", "address"), PUBLIC)
def test_the_provider_knows_the_address_of_the_configuration(listen: str, names: tuple[str, ...], address: str) -> None:
    config = WebConfig.model_validate({"listen": listen, "names": names})
    assert config.public_address.lower() == address.lower()
    with mock.patch.object(HostPort, "is_every_interface", True):
        assert (WebConfig.model_construct(listen=config.listen, names=()).public_address) == ""


def test_a_page_that_has_no_name_has_no_provider(tmp_path: Path) -> None:
    oidc = "access: {oidc: {issuer: 'https://login.example', client_id: a, roles: {lab: viewer}}}\n"
    pair = Authority(tmp_path / "tls").sign("relay")
    web = f"web: {{listen: '0.0.0.0:8443', tls: {{cert: '{pair.cert}', key: '{pair.key}'}}MORE}}\n"
    for more, code in (("", ExitCode.CONFIG), (", names: relay.lab.example", ExitCode.OK)):
        folder = make_site(tmp_path / f"site{code}", site=SITE_YAML + oidc + web.replace("MORE", more))
        ran = labrelay("check", site=folder)
        assert (ran.code, "add names to web" in ran.out + ran.err) == (code, code != ExitCode.OK), ran.out
