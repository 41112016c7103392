"""A page with accounts, for tests: a journal of its own, users of each kind, and browsers that keep cookies."""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp

from engine.actions.declaring import Verb
from engine.actions.kept import KeptActs
from engine.config.web import WebConfig
from engine.features.access.service import passwords
from engine.features.access.service.accounts import Accounts
from engine.model.process.clock import ManualClock
from engine.model.site.actor import Actor
from engine.model.site.permissions import ROLES
from engine.store.journal import Journal
from engine.web.routes import Route
from tests.support import journals
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site

ROOT = Actor("root", role="root")
GOOD = "correct horse battery"
HTML = {"Accept": "text/html"}
_hashed_once = cache(passwords.hash_of)


class Browser:
    """Keeps cookies, fills in forms, and follows where it is led."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self.client = client
        self.path = ""

    async def get(self, path: str, **more: Any) -> tuple[int, Element]:
        async with self.client.get(path, headers=HTML | more.pop("headers", {}), **more) as answer:
            self.path = str(answer.url.without_query_params("lang").relative()).removesuffix("=")
            return answer.status, read_html(await answer.text())

    async def fields(self, path: str, act: str = "", to: str = "") -> tuple[str, dict[str, str]]:
        """The address and the hidden fields of a form of a page.

        Args:
            act: the value of its button.
            to: how its address begins.
        """
        _, page = await self.get(path)
        for form in page.all("form", method="post"):
            buttons = form.all("button", value=act) if act else [form]
            if buttons and form.attributes["action"].startswith(to or path.partition("?")[0]):
                hidden = form.all("input", type="hidden")
                found = {one.attributes["name"]: one.attributes["value"] for one in hidden}
                return form.attributes["action"], found | ({"act": act} if act else {})
        raise AssertionError(f"{path} has no form {act}")

    async def post(self, to: str, fields: dict[str, str], **more: Any) -> tuple[int, Element]:
        async with self.client.post(to, data=fields, headers=HTML | more.pop("headers", {}), **more) as answer:
            self.path = str(answer.url.without_query_params("lang").relative()).removesuffix("=")
            return answer.status, read_html(await answer.text() or "<p></p>")

    async def send(self, path: str, act: str = "", to: str = "", **typed: str) -> tuple[int, Element]:
        """Fill in a form of a page, and send it."""
        action, fields = await self.fields(path, act, to)
        return await self.post(action, fields | typed)

    @staticmethod
    def hidden(page: Element) -> dict[str, str]:
        """The hidden fields of the one form below the top of a page."""
        return {
            one.attributes["name"]: one.attributes["value"]
            for one in page.one("main").one("form").all("input", type="hidden")
        }

    async def log_in(self, name: str, password: str = GOOD, **typed: str) -> tuple[int, Element]:
        return await self.send("/log-in", name=name, password=password, **typed)

    def cookie(self, name: str) -> str:
        found = [one.value for one in self.client.cookie_jar if one.key == name]
        return found[0] if found else ""


class Site:
    """A running page with accounts."""

    def __init__(
        self, page: Page, accounts: Accounts, journal: Journal, clock: ManualClock, trust: ssl.SSLContext | None
    ) -> None:
        self.page = page
        self.accounts = accounts
        self.journal = journal
        self.clock = clock
        self.base = f"{'https' if trust else 'http'}://127.0.0.1:{page.server.port}"
        self._trust = trust

    @asynccontextmanager
    async def browser(self, **headers: str) -> AsyncIterator[Browser]:
        connector = aiohttp.TCPConnector(ssl=self._trust or True)
        jar = aiohttp.CookieJar(unsafe=True)  # it keeps cookies of an address, too
        async with aiohttp.ClientSession(self.base, connector=connector, cookie_jar=jar, headers=headers) as client:
            yield Browser(client)

    async def add(self, name: str, role: str, *, sees_patients: bool = False) -> None:
        await self.accounts.users.add(name, role, GOOD, by=ROOT, sees_patients=sees_patients)


@asynccontextmanager
async def site(
    folder: Path,
    *,
    users: bool = True,
    config: WebConfig | None = None,
    trust: ssl.SSLContext | None = None,
    api: Sequence[Route] = (),
    verbs: Callable[[Journal], Mapping[str, Verb]] = lambda journal: {},
    **more: Any,
) -> AsyncIterator[Site]:
    """``users``: one of each role, named as it; ``verbs``: of the socket; ``more``: of `running`."""
    clock = ManualClock()
    async with journals.running(folder, clock=clock) as journal:
        accounts = Accounts(journal, clock)
        with mock.patch.object(passwords, "hash_of", _hashed_once):  # of one password: a hash is slow on purpose
            for role in ROLES if users else ():
                await accounts.users.add(role, role, GOOD, by=ROOT)
        acts = KeptActs(verbs(journal), journal)
        async with running(
            quiet_site(),
            config=config,
            trust=trust,
            accounts=accounts,
            clock=clock,
            reader=journal,
            api=api,
            acts=acts,
            **more,
        ) as page:
            try:
                yield Site(page, accounts, journal, clock, trust)
            finally:
                await acts.stop()
