"""The OpenAPI document: generated, served, complete; and the page about it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.actions.verbs import of_api
from engine.web.api.lists import CONTENTS, EVENTS, QUESTIONS, resources
from engine.web.api.service import OPENAPI
from tests.support.api import Client, acting_site
from tests.support.status_server import read_html
from tools import generate_openapi

DOCUMENT = json.loads(OPENAPI.read_text("utf-8"))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Client]:
    async with acting_site(tmp_path) as site:
        yield site.api


def test_the_document_is_what_the_code_says() -> None:
    assert generate_openapi.document() == DOCUMENT, "run make docs"


def test_it_has_every_address_and_no_other() -> None:
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {
        *(("POST" if one.of_post else "GET", one.path) for one in resources()),
        *(("POST", f"/acts/{name}") for name in of_api()),
        ("POST", CONTENTS),
        ("GET", EVENTS),
        *(("GET", one.path) for one in QUESTIONS),
    }


async def test_it_is_served_compressed_to_those_who_may_look(api: Client) -> None:
    for person, status in {"": 401, "wall": 403, "viewer": 200}.items():
        assert (await api.ask("/openapi.json", person)).status == status
    found = await api.ask("/openapi.json", Accept_Encoding="gzip")
    assert (found.body, found.headers["Content-Encoding"]) == (DOCUMENT, "gzip")
    again = await api.ask("/openapi.json", If_None_Match=found.headers["ETag"])
    assert again.status == 304


async def test_the_page_has_every_operation_and_no_script(api: Client) -> None:
    async with api.http.get("/api", headers={"X-Person": "viewer"}) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "style-src 'self'" in answer.headers["Content-Security-Policy"]
        tree = read_html(await answer.text())
    names = {said["operationId"] for methods in DOCUMENT["paths"].values() for said in methods.values()}
    assert {heading.attributes["id"] for heading in tree.all("h2")} == names | {"problems"}
    assert tree.all("script") == [] == [one for one in tree.all() if "style" in one.attributes]
    for link in tree.all("a"):
        address = link.attributes["href"]
        if address.startswith("/api/v1"):
            status = 503 if address.endswith("/todo") else 200  # no daemon runs here
            assert (await api.ask(address.removeprefix("/api/v1"), "admin")).status == status, address
    async with api.http.get("/api") as answer:
        assert answer.status == 401
