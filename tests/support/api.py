"""The API of a filled journal on a free port, and a client for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
from aiohttp import web

from engine.model.actor import Actor
from engine.model.permissions import ROLES, SEEING_PATIENTS, WATCHING, Principal
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.queries.reader import Reader
from engine.web.api import problems
from engine.web.api.service import Api
from engine.web.api.sources import Present, Sources
from engine.web.guard import add_headers, wall
from engine.web.routes import add_routes, gate
from tests.support.status_sites import quiet_site

ZONE = ZoneInfo("Asia/Kolkata")
PERSONS = {
    "wall": WATCHING,
    "seeing viewer": ROLES["viewer"] | SEEING_PATIENTS,
    "seeing operator": ROLES["operator"] | SEEING_PATIENTS,
    **ROLES,
}


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any  # parsed, where it is JSON


class Client:
    """A client for the API; tests change ``site`` while it runs."""

    def __init__(self, http: aiohttp.ClientSession, site: SiteSnapshot) -> None:
        self.http = http
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
    person = request.headers.get("X-Person", "")
    return Principal(Actor(person, role=person), PERSONS[person]) if person else None


@asynccontextmanager
async def served(journal: Reader, *, backups: Path | None = None, **more: Any) -> AsyncIterator[Client]:
    """``more``: of `Api`."""
    client: Client
    sources = Sources(
        journal=journal,
        site=Present(lambda: client.site),
        zone=ZONE,
        backups=lambda: backups,
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
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            client = Client(http, quiet_site())
            yield client
    finally:
        await runner.cleanup()
