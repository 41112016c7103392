"""The gate of the page's server: each route is open for a reason, or needs permissions that are checked."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from engine.actions.verbs import FOLLOWED, all_acts
from engine.model.site.actor import Actor
from engine.model.site.permissions import (
    ACTING,
    ALL,
    EDITING,
    LOOKING,
    ROLES,
    SEEING_PATIENTS,
    WATCHING,
    Permission,
    Principal,
)
from engine.web.routes import OPEN_TO_ALL, PRINCIPAL, Route, add_routes, gate
from tests.support import oracle

# What each role may do, as a person who gives out roles understands it.
MAY = {
    "viewer": {"watch", "look"},
    "operator": {"watch", "look", "act"},
    "engineer": {"watch", "look", "act", "change"},
    "admin": {"watch", "look", "act", "change", "administer"},
}
ANSWERS = {  # path -> who gets what
    "/healthz": {"": 200, "wall": 200, "viewer": 200, "operator": 200},
    "/watch": {"": 401, "wall": 200, "viewer": 200, "operator": 200},
    "/look": {"": 401, "wall": 403, "viewer": 200, "operator": 200},
    "/act": {"": 401, "wall": 403, "viewer": 403, "operator": 200},
    "/contents": {"": 401, "wall": 403, "viewer": 403, "operator": 403, "seeing viewer": 200},
    "/edit": {"": 401, "viewer": 403, "operator": 403, "seeing viewer": 403, "seeing operator": 200},
    "/elsewhere": {"": 404, "operator": 404},
    "/beside": {"": 403, "operator": 403},
}
PERSONS = {
    "wall": WATCHING,
    "seeing viewer": ROLES["viewer"] | SEEING_PATIENTS,
    "seeing operator": ROLES["operator"] | SEEING_PATIENTS,
    **ROLES,
}


def test_roles_are_what_the_table_says() -> None:
    assert {role: set(permissions) for role, permissions in ROLES.items()} == MAY
    assert set().union(*ROLES.values()) == ALL - {Permission.PATIENTS}


def test_each_verb_of_the_control_socket_needs_permissions() -> None:
    assert all(verb.needs for verb in all_acts().values())
    for verb in ("retry", "dismiss", "release", "reject", "pause", "resume", "replay"):
        assert all_acts()[verb].needs == ACTING, verb
    assert all_acts()["edit"].needs == EDITING
    of_viewers = {name for name, verb in all_acts().items() if verb.needs <= ROLES["viewer"]}
    assert of_viewers == {name for name, may in oracle.gathered("ACTS").items() if may is oracle.LOOK} - FOLLOWED.keys()


def test_a_route_without_permissions_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="/page"):
        add_routes(web.Application(), [Route("/page", _name, OPEN_TO_ALL)])


async def _name(request: web.Request) -> web.Response:
    return web.Response(text=request[PRINCIPAL].actor if PRINCIPAL in request else "")


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async def identify(request: web.Request) -> Principal | None:
        person = request.headers.get("X-Person", "")
        return Principal(Actor(person), PERSONS[person]) if person else None

    app = web.Application()
    routes = [
        Route("/healthz", _name, OPEN_TO_ALL),
        Route("/watch", _name, WATCHING),
        Route("/look", _name, LOOKING),
        Route("/act", _name, ACTING, method="POST"),
        Route("/contents", _name, SEEING_PATIENTS),
        Route("/edit", _name, EDITING, method="POST"),
    ]
    app.router.add_get("/beside", _name)  # past `add_routes`
    app.middlewares.append(gate(identify, add_routes(app, routes)))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_each_person_reaches_what_the_table_says(address: str) -> None:
    async with aiohttp.ClientSession() as client:
        for path, who in ANSWERS.items():
            methods = ["POST"] if path in ("/act", "/edit") else ["GET", "HEAD"]
            for person, status in who.items():
                for method in methods:
                    headers = {"X-Person": person} if person else {}
                    async with client.request(method, address + path, headers=headers) as answer:
                        assert answer.status == status, (method, path, person)
                        if answer.status == 200 and method != "HEAD":
                            assert await answer.text() == person
