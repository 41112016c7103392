"""Events of a whole site: by a token over the real page's server, until the token is revoked or the site stops; and the
webhooks of a site's file."""

import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.config.load import load_site
from engine.features.access.service.service import AccessService
from engine.features.events.config import webhooks_of
from engine.features.events.rows import stored_webhooks
from engine.model.errors import ConfigError
from engine.model.site.actor import Actor
from engine.model.site.permissions import LOOKING
from engine.runtime.app import App
from engine.runtime.sources import ChannelSource
from engine.store.queries.reader import Reader
from tests.support.running import HL7_ROUTE, MLLP, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.sites import SITE_YAML, make_site
from tests.support.waiting import WITHIN_S
from workbench.bench.messages import oru

PAGE = Path(__file__).parents[4] / "docs" / "events.md"
ROOT = Actor("tester")
ARCHIVE = {"kind": "file", "folder": "var/archive"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    channels = {"chem": channel(MLLP, {**HL7_ROUTE, "to": "archive"})}
    async with running_app(make_running_site(tmp_path, channels, {"archive": ARCHIVE}, web="127.0.0.1:0")) as running:
        yield running


@asynccontextmanager
async def stream(app: App, token: str, query: str = "") -> AsyncIterator[aiohttp.StreamReader]:
    assert app.page is not None
    url = f"http://127.0.0.1:{app.page.port}/api/v1/events{query}"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
        http.get(url, timeout=aiohttp.ClientTimeout(total=WITHIN_S)) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert (await answer.content.readline()).startswith(b"retry: ")
        yield answer.content


async def events(content: aiohttp.StreamReader, *until: str) -> list[dict[str, Any]]:
    """Events up to the first of each of these types."""
    found: list[dict[str, Any]] = []
    while not set(until) <= {one["type"] for one in found}:
        line = await content.readline()
        if not line:
            raise EOFError
        if line.startswith(b"data: "):
            found.append(json.loads(line[6:]))
    return found


async def token_of(app: App) -> str:
    return await app.service(AccessService).accounts.tokens.create(
        "his", LOOKING, ends_us=app.clock.now_us() + 3_600_000_000, by=ROOT
    )


async def test_a_message_from_its_analyzer_to_its_end(app: App) -> None:
    token = await token_of(app)
    port = app.parts.sources["chem"].port
    assert port is not None
    async with stream(app, token, "?types=message,delivery") as content:
        await send_blocks(port, [oru(1, 1, random.Random(1))])
        received, delivered = await events(content, "message.received", "delivery.delivered")
    assert (received["data"]["channel"], received["data"]["message_type"]) == ("chem", "ORU^R01")
    assert delivered["data"]["message"] == received["data"]["message"]
    assert delivered["data"]["destination"] == "archive"


async def test_a_stream_ends_when_its_token_is_revoked(app: App) -> None:
    token = await token_of(app)
    async with stream(app, token) as content:
        await app.service(AccessService).accounts.tokens.revoke("his", by=ROOT)
        with pytest.raises((EOFError, aiohttp.ClientPayloadError)):
            await events(content, "never")


async def test_a_stream_ends_when_the_site_stops(app: App) -> None:
    token = await token_of(app)
    async with stream(app, token) as content:
        app.stop()
        with pytest.raises((EOFError, aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await events(content, "never")


async def test_a_webhook_begins_before_the_first_message_can_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "whsec_")
    begun: list[list[str]] = []
    start = ChannelSource.start

    async def started(source: ChannelSource) -> None:
        with closing(Reader.beside(tmp_path / "var")) as reader:
            begun.append([one.name for one in stored_webhooks(reader)])
        await start(source)

    monkeypatch.setattr(ChannelSource, "start", started)
    site = make_running_site(
        tmp_path, {"chem": channel(MLLP, {**HL7_ROUTE, "to": "archive"})}, {"archive": ARCHIVE}, web="127.0.0.1:0"
    )
    config = site / "config" / "labrelay.yaml"
    text = config.read_text("utf-8")
    hook = {"url": "http://127.0.0.1:9/", "secret": "${HOOK}", "events": ["message"]}
    config.write_text(text + json.dumps({"webhooks": {"erp": hook}})[1:-1] + "\n", "utf-8")
    async with running_app(site) as app:
        assert begun == [["erp"]]
        config.write_text(text + json.dumps({"webhooks": {"erp": hook, "his": hook}})[1:-1] + "\n", "utf-8")
        await app.reload()
        assert [one.name for one in stored_webhooks(app.journal)] == ["erp", "his"]


def test_the_example_of_the_page_is_a_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_HOOK", "whsec_")
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    site = load_site(make_site(tmp_path, site=SITE_YAML + example))
    (webhook,) = webhooks_of(site.config).values()
    assert (webhook.place, webhook.events) == ("erp.example.org", ("delivery.dead", "delivery.held", "alert"))


WRONG = {
    "events: [deliveries]": "webhooks.erp.events: there are no events 'deliveries'",
    "secret: password": "webhooks.erp.secret: a secret is never written here",
    "url: http://erp.example.org/": "webhooks.erp: url: events would go to erp.example.org in clear",
    "tls: {cert: a.pem}": "webhooks.erp.tls: cert and key go together",
    "every: 5s": "webhooks.erp.every",
}


@pytest.mark.parametrize("key", WRONG)
def test_wrong_keys_are_named_with_their_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("HOOK", "whsec_")
    right = {"url": "https://erp.example.org/", "secret": "${HOOK}", "events": "[alert]"}
    name, _, value = key.partition(": ")
    lines = "\n".join(f"    {one}: {text}" for one, text in {**right, name: value}.items())
    with pytest.raises(ConfigError) as refused:
        load_site(make_site(tmp_path, site=f"{SITE_YAML}webhooks:\n  erp:\n{lines}\n"))
    (problem,) = refused.value.problems
    assert WRONG[key] in problem
    assert re.match(r"config/labrelay\.yaml:\d+:\d+: ", problem)
