"""`labrelay check --online` and `labrelay doctor` look at the identity provider. `FOUND` is the oracle: what is wrong
there, and the words that an engineer reads.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from engine.commands.shared.output import ExitCode
from engine.config.reading.secrets import Secret
from engine.features.access import examine as examination
from engine.features.access.client import provider as provider_module
from engine.features.access.config import OidcConfig
from engine.model.process.clock import ManualClock, SystemClock
from engine.model.site.health import Health, Line
from tests.support import identity_provider
from tests.support.command_line import labrelay
from tests.support.identity_provider import CLIENT, SECRET, Provider, rsa
from tests.support.sites import SITE_YAML, make_site

BACK = "https://page.example/log-in/oidc/back"
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    monkeypatch.setenv("OIDC", SECRET)
    async with identity_provider.running(SystemClock()) as made:
        yield made


async def found(provider: Provider, **more: object) -> list[Line]:
    given = {"client_id": CLIENT, "client_secret": Secret("OIDC"), "roles": {"lab": "viewer"}}
    config = OidcConfig.model_validate({"issuer": provider.issuer, **given, **more})
    lines = [line async for line in examination.examine(config, BACK, SystemClock())]
    said = " ".join(f"{line.text} {line.advice}" for line in lines)
    assert SECRET not in said
    return lines


async def test_a_right_provider(provider: Provider) -> None:
    provider.registered = BACK
    lines = await found(provider)
    assert {line.health for line in lines} == {Health.OK}
    said = " / ".join(line.text for line in lines)
    for word in ("names itself so", "agree to 60 s", "keys for signatures: 2", BACK, "client_secret"):
        assert word in said
    assert provider.codes == {}, "no log-in has begun"


def answered(path: str, answer: Callable[[web.Request], object]) -> Callable[[Provider], object]:
    return lambda provider: provider.answers.update({path: answer})


def says(**document: object) -> Callable[[Provider], object]:
    return lambda provider: provider.document.update(document)


def sets(**attributes: object) -> Callable[[Provider], object]:
    def change(provider: Provider) -> None:
        for name, value in attributes.items():
            setattr(provider, name, value)

    return change


FOUND: dict[str, tuple[Callable[[Provider], object], Health, str]] = {
    "no document": (answered(DISCOVERY, identity_provider.no_json), Health.FAIL, "JSON"),
    "a document elsewhere": (answered(DISCOVERY, identity_provider.redirect), Health.FAIL, "HTTP 302"),
    "a silent one": (answered(DISCOVERY, identity_provider.silent), Health.FAIL, "does not answer in time"),
    "another issuer": (says(issuer="https://evil.example"), Health.FAIL, "names itself otherwise"),
    "an endpoint in clear": (says(token_endpoint="http://login.example"), Health.FAIL, "no https:// address"),
    "no keys": (sets(keys=[]), Health.FAIL, "no key that is taken here"),
    "a weak key": (sets(keys=[rsa(0, 1024)]), Health.FAIL, "no key that is taken here"),
    "a secret key": (sets(keys=[{"kty": "oct", "k": "eA"}]), Health.FAIL, "no key that is taken here"),
    "HS256 alone": (says(id_token_signing_alg_values_supported=["HS256"]), Health.FAIL, "signs ID tokens by HS256"),
    "algorithms that are a text": (says(id_token_signing_alg_values_supported="RS256"), Health.FAIL, "by nothing"),
    "no PKCE": (says(code_challenge_methods_supported=["plain"]), Health.WARN, "PKCE"),
    "no log-out": (says(end_session_endpoint=None), Health.OK, "no address for log-out"),
    "another way back": (sets(registered="https://other.example/x"), Health.FAIL, f"back to {BACK}"),
    "another secret": (sets(secret="another"), Health.FAIL, "refuses client_id or client_secret"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
async def test_a_thing_that_is_wrong(provider: Provider, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "silent" in case:
        monkeypatch.setattr(provider_module, "WITHIN_S", 0.2)
    change, health, words = FOUND[case]
    change(provider)
    (line,) = [one for one in await found(provider) if words in one.text]
    assert (line.health, bool(line.advice)) == (health, health is not Health.OK)


async def test_a_secret_that_is_not_set(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC")
    assert "client_secret is not set in this shell" in (await found(provider))[-1].text


@pytest.mark.parametrize(
    ("apart_s", "health"), [(0, Health.OK), (59, Health.OK), (-90, Health.FAIL), (90, Health.FAIL)]
)
def test_clocks_that_differ(apart_s: int, health: Health) -> None:
    clock = ManualClock()
    clock.advance(-(clock.now_us() % 1_000_000) / 1e6)
    dated = clock.now()
    clock.advance(-apart_s)
    line = examination._clock(f"{dated:%a, %d %b %Y %H:%M:%S} GMT", clock)
    assert (line.health, "NTP" in line.advice) == (health, health is Health.FAIL)
    if apart_s in (90, -90):
        assert f"90 s {'ahead of' if apart_s > 0 else 'behind'} this one" in line.text


@pytest.mark.parametrize("dated", ["", "soon", "Mon, 99 Xyz 99999 00:00:00 GMT"])
def test_a_clock_that_is_not_said(dated: str) -> None:
    assert examination._clock(dated, ManualClock()).health is Health.WARN


async def test_the_commands_say_it(provider: Provider, tmp_path: Path) -> None:
    oidc = f"{{issuer: '{provider.issuer}', client_id: {CLIENT}, client_secret: '${{OIDC}}', roles: {{lab: viewer}}}}"
    folder = make_site(tmp_path, site=f"{SITE_YAML}access: {{oidc: {oidc}}}\n")
    provider.registered = "https://other.example/x"
    checked = await asyncio.to_thread(labrelay, "check", "--online", site=folder)
    assert checked.code == ExitCode.CONFIG
    assert "identity provider: it does not send browsers back to http" in checked.out
    examined = await asyncio.to_thread(labrelay, "doctor", site=folder)
    assert "register this address for the client labrelay" in examined.out
    assert SECRET not in checked.out + checked.err + examined.out + examined.err
