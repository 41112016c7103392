"""The API of a filled journal on a free port, and a client for it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
from aiohttp import web

from engine.actions.control import Request
from engine.actions.declaring import Verb
from engine.actions.kept import KeptActs
from engine.actions.pause_resume import Switches
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import verbs_of
from engine.mapping.code_tables.suggestions import Suggestion
from engine.model.site.actor import Actor
from engine.model.site.permissions import ALL, ROLES, SEEING_PATIENTS, WATCHING, Principal
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from engine.web.api import problems
from engine.web.api.lists import Present, Sources
from engine.web.api.service import Api, Buckets
from engine.web.guard import add_headers, wall
from engine.web.routes import add_routes, gate
from tests.support import journals
from tests.support.bare_channels import bare_channels
from tests.support.filled_journal import CHANNEL, DESTINATION
from tests.support.status_sites import quiet_site

ZONE = ZoneInfo("Asia/Kolkata")
PERSONS = {
    "wall": WATCHING,
    "seeing viewer": ROLES["viewer"] | SEEING_PATIENTS,
    "seeing operator": ROLES["operator"] | SEEING_PATIENTS,
    "everybody": ALL,
    **ROLES,
}


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any  # parsed, where it is JSON


class Client:
    """A client for the API at ``url``; tests change ``site`` while it runs."""

    def __init__(self, http: aiohttp.ClientSession, url: str, site: SiteSnapshot) -> None:
        self.http = http
        self.url = url
        self.site = site

    async def ask(
        self, path: str, person: str = "viewer", *, method: str = "GET", body: Any = None, **headers: str
    ) -> Answer:
        """``path``: below ``/api/v1``. Underscores in ``headers`` are dashes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if person:
            sent["X-Person"] = person
        async with self.http.request(method, f"/api/v1{path}", headers=sent, json=body) as answer:
            text = await answer.read()
            is_json = answer.content_type.endswith("json") and text
            return Answer(answer.status, answer.headers, await answer.json(content_type=None) if is_json else text)


async def identify(request: web.Request) -> Principal | None:
    """By a header, or by a token that is the person's name."""
    person = request.headers.get("X-Person", request.headers.get("Authorization", "").removeprefix("Bearer "))
    return Principal(Actor(person, role=person), PERSONS[person]) if person in PERSONS else None


@asynccontextmanager
async def served(
    journal: Reader,
    *,
    backups: Path | None = None,
    suggestions: Callable[[str | None], Sequence[Suggestion]] = lambda channel: (),
    **more: Any,
) -> AsyncIterator[Client]:
    """``more``: of `Api`."""
    client: Client
    sources = Sources(
        journal=journal,
        present=Present(lambda: client.site),
        zone=ZONE,
        backups=lambda: backups,
        routes=lambda: bare_channels(CHANNEL),
        suggestions=suggestions,
    )
    app = web.Application(client_max_size=4096)
    table = add_routes(app, Api(sources, **more).routes())
    app.middlewares.extend([wall(problems.page, lambda request: 0), gate(identify, table)])
    app.on_response_prepare.append(add_headers)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(url) as http:
            client = Client(http, url, quiet_site())
            yield client
    finally:
        await runner.cleanup()


class Site:
    """A running site without a daemon; counts the calls of each verb."""

    def __init__(self, journal: Journal, api: Client, called: list[str]) -> None:
        self.journal = journal
        self.api = api
        self.called = called

    async def act(self, verb: str, person: str = "operator", key: str = "", **args: Any) -> Answer:
        headers = {"Idempotency_Key": key} if key else {}
        return await self.api.ask(f"/acts/{verb}", person, method="POST", body=args, **headers)

    def trail(self) -> list[tuple[str, str]]:
        return [(act.actor, act.verb) for act in acts_page(self.journal) if act.verb]


@asynccontextmanager
async def acting_site(data: Path, **instead: Any) -> AsyncIterator[Site]:
    """``instead``: of the work of some verbs."""
    journal = await journals.started(data)
    called: list[str] = []
    site = RunningSite(
        acts=Acts(journal, channels=dict),
        switches=Switches(journal),
        data=data,
        loaded=lambda: SimpleNamespace(channels={}, config=SimpleNamespace(destinations={DESTINATION: None})),  # type: ignore[arg-type, return-value]  # names
    )

    async def counted(work: Any, request: Request) -> dict[str, Any]:
        called.append(request.verb)
        return await work(request)

    verbs = {
        name: Verb(verb.needs, verb.arguments, partial(counted, instead.get(name, verb.work)))
        for name, verb in verbs_of(site).items()
    }
    acts = KeptActs(verbs, journal)
    try:
        async with served(journal, acts=acts, buckets=Buckets(1e6, 1e6)) as api:
            yield Site(journal, api, called)
    finally:
        await acts.stop()
        await journal.stop()
