"""The page of a running site before and after its first user, over TLS: the whole daemon, as a browser meets it."""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest
import yaml

from engine.features.access.rows import reading as accounts
from engine.features.access.rules.accounts import Known
from engine.features.access.service.service import AccessService
from engine.features.access.service.tokens import FILE_NAME
from engine.model.errors import StoreError
from engine.model.site.actor import Actor
from engine.model.site.permissions import ROLES
from engine.runtime.app import App
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support.access import GOOD, HTML, Browser
from tests.support.certificates import Authority
from tests.support.running import hl7_channel, make_running_site, running_app

ROOT = Actor("root", role="root")


def client_of(app: App, trust: ssl.SSLContext, **headers: str) -> aiohttp.ClientSession:
    assert app.page is not None
    return aiohttp.ClientSession(
        f"https://127.0.0.1:{app.page.port}",
        connector=aiohttp.TCPConnector(ssl=trust),
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        headers=headers,
    )


async def test_the_first_user_closes_the_page_for_all_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.sign("relay")
    nowhere = {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"}}
    folder = make_running_site(tmp_path / "site", {"lab": hl7_channel()}, nowhere, web="127.0.0.1:0")
    config = folder / "config" / "labrelay.yaml"
    whole = yaml.safe_load(config.read_text("utf-8"))
    whole["web"]["tls"] = {"cert": str(pair.cert), "key": str(pair.key)}
    config.write_text(yaml.safe_dump(whole), "utf-8")
    trust = authority.trust()
    async with running_app(folder) as app, client_of(app, trust) as anyone, client_of(app, trust) as first:
        code = app.set_up_link.partition("/set-up")[2]
        assert (folder / "var" / FILE_NAME).read_text("ascii").strip().endswith(code)
        async with anyone.get("/status.json") as answer:
            assert answer.status == 200
        live = await anyone.get("/events")
        assert await live.content.readline()

        browser = Browser(first)
        status, _ = await browser.send(f"/set-up{code}", name="Asha", password=GOOD, again=GOOD)
        assert (status, browser.path) == (200, "/account")
        assert not (folder / "var" / FILE_NAME).exists()

        await asyncio.wait_for(live.content.read(), 240.0)  # it ends, for its reader is not known any more
        for path in ("/status.json", "/metrics", "/api/v1/status"):
            async with anyone.get(path) as answer:
                assert answer.status == 401, path
        async with anyone.get("/", headers=HTML, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/log-in?next=%2F")
        async with anyone.get("/healthz") as answer:
            assert answer.status == 200

        ends_us = app.clock.now_us() + 86_400_000_000
        secret = await app.service(AccessService).accounts.tokens.create(
            "prometheus", ROLES["viewer"], ends_us=ends_us, by=ROOT
        )
        async with client_of(app, trust, Authorization=f"Bearer {secret}") as program:
            for path in ("/status.json", "/metrics", "/api/v1/status"):
                async with program.get(path) as answer:
                    assert answer.status == 200, path
        acts = [(act.verb, str(act.actor)) for act in acts_page(app.journal)]
    assert ("log-in", "Asha") in acts
    for kept in (code.partition("=")[2], GOOD, secret):
        assert kept not in caplog.text


async def test_accounts_that_cannot_be_read_keep_the_page_closed_and_not_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page opens once they can be read."""
    nowhere = {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"}}
    folder = make_running_site(tmp_path / "site", {"lab": hl7_channel()}, nowhere, web="127.0.0.1:0")
    known = accounts.known

    def unreadable(reader: Reader) -> Known:
        raise StoreError("a page of the file is damaged")

    monkeypatch.setattr(accounts, "known", unreadable)
    async with running_app(folder) as app:
        assert app.page is not None
        assert "a page of the file is damaged" in app.observer.page_fault
        assert list(app.page.listener.places) == []
        monkeypatch.setattr(accounts, "known", known)
        await app._open_page(app.page)
        assert app.observer.page_fault == ""
        assert len(app.page.listener.places) == 1
