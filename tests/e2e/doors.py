"""A page of another site in Chromium, which sends results and orders to each kind of port of this machine.

Beside the ports there is one that takes everything, to see that the browser does send the bytes.
"""

import asyncio
from pathlib import Path

from aiohttp import web

from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from tests.e2e.chromium import chromium
from tests.support.channels import block
from tests.support.doors import BODY, ORU, ports
from tests.support.running import running_site
from tests.support.waiting import WITHIN_S, until

HOST, ELSEWHERE = "127.0.0.1", "127.0.0.2"
# Each gives a promise that is kept once the browser is done with it, however that went.
ATTACKS = """
(at, body) => {
  const settled = promise => promise.then(() => null, () => null);
  const event = (element, ...names) => new Promise(done => names.forEach(name => element.addEventListener(name, done)));
  const form = document.body.appendChild(document.createElement("form"));
  const frame = document.body.appendChild(document.createElement("iframe"));
  const field = form.appendChild(document.createElement("textarea"));
  const image = new Image();
  const socket = new WebSocket(`ws://${at}/`);
  frame.name = form.target = `frame-${at}`;
  Object.assign(form, { method: "post", enctype: "text/plain", action: `http://${at}/form` });
  Object.assign(field, { name: "x", value: body });
  const all = [
    settled(fetch(`http://${at}/fetch`, { method: "POST", mode: "no-cors", body })),
    settled(fetch(`https://${at}/`, { mode: "no-cors" })),
    event(image, "load", "error"),
    event(socket, "open", "error", "close"),
  ];
  form.submit();
  image.src = `http://${at}/image`;
  return Promise.all(all).then(() => null);
}
"""
SENT = (b"POST /fetch HTTP/1.1", b"POST /form HTTP/1.1", b"GET /image HTTP/1.1", b"Upgrade: websocket", b"\x16\x03\x01")


async def test_a_page_in_a_browser_puts_nothing_into_any_port(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def takes_everything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(64 * 1024))
        writer.close()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>a page</title><body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    elsewhere = web.AppRunner(app, access_log=None)
    await elsewhere.setup()
    await web.TCPSite(elsewhere, ELSEWHERE, 0).start()
    witness = await asyncio.start_server(takes_everything, HOST, 0)
    channels = ports(tmp_path)
    async with running_site(tmp_path, channels) as site, chromium() as browser:
        visit = await browser.new_page()
        await visit.goto(f"http://{ELSEWHERE}:{elsewhere.addresses[0][1]}/")
        for port in (witness.sockets[0].getsockname()[1], *map(site.port, channels)):
            async with asyncio.timeout(WITHIN_S):
                await visit.evaluate(
                    f"([at, body]) => ({ATTACKS})(at, body)", [f"{HOST}:{port}", BODY.decode("latin-1")]
                )
        await until(lambda: all(any(sent in one for one in heard) for sent in SENT))
        assert any(block(ORU) in one for one in heard), "the browser sends a block as it is"
        counts = {name: site.app.parts.sources[name].channel.counts for name in channels}
        await until(lambda: all(one.faults["stranger"] >= len(SENT) for one in counts.values()))
        assert {name: dict(one.faults) for name, one in counts.items()} == {
            name: {"stranger": one.faults["stranger"]} for name, one in counts.items()
        }
        assert site.messages() == []
        assert read_items(site.journal, ItemFilter()) == []
        listed = [str(one.phrase) for one in site.app.observer.take()._findings() if "first bytes" in str(one.phrase)]
        assert sorted(one.partition(":")[0] for one in listed) == sorted(channels), listed
    witness.close()
    await elsewhere.cleanup()
