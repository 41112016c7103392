"""The daemon is killed while a stream and a webhook read events, and both are cut by chance: by what the journal has,
no event is missing, the order is kept, and only the webhook has repeats, under their ids."""

import asyncio
import contextlib
import itertools
import json
import random
import sqlite3
from base64 import b64encode
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import yaml

from engine.features.events import rows as events
from engine.features.events.rules import position_of, wanted
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.queries.reader import Reader
from tests.faults.harness.trial import seeds
from tests.support.killed import Daemon
from tests.support.ports import quiet_ports
from tests.support.running import HL7_ROUTE, channel, make_running_site
from tests.support.scripted_http import RESET, Request, http, scripted
from tests.support.senders import send_blocks
from tests.support.waiting import WITHIN_S, until
from workbench.bench.messages import oru

MESSAGES, KILLS = 60, 4
DESTINATIONS = {"archive": {"kind": "file", "folder": "var/archive"}}
KINDS = ("message", "delivery")


@dataclass
class Stream:
    """A reader of the stream that comes again behind the last id, and is cut by chance."""

    port: int
    chance: random.Random
    ids: list[str] = field(default_factory=list)
    begin: str = ""
    last: str = ""

    async def run(self) -> None:
        async with aiohttp.ClientSession() as http_client:
            while True:
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    await self._read(http_client)
                await asyncio.sleep(0.05)

    async def _read(self, http_client: aiohttp.ClientSession) -> None:
        headers = {"Last-Event-ID": self.last} if self.last else {}
        url = f"http://127.0.0.1:{self.port}/api/v1/events?types={','.join(KINDS)}"
        async with http_client.get(url, headers=headers) as answer:
            answer.raise_for_status()
            number = ""
            async for line in answer.content:
                text = line.decode().rstrip("\n")
                if text.startswith("id: "):
                    number = text.removeprefix("id: ")
                    self.begin = self.begin or number
                elif text.startswith("data: "):
                    self.ids.append(number)
                elif not text and number:
                    self.last = number
                    if self.chance.random() < 0.05:
                        answer.close()
                        return


async def _send_all(port: int, sent: list[int]) -> None:
    """Each message until it is acknowledged."""
    for number in range(1, MESSAGES + 1):
        while not sent or sent[-1] != number:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                if any(
                    b"MSA|AA" in one or b"MSA|CA" in one
                    for one in await send_blocks(port, [oru(1, number, random.Random(number))])
                ):
                    sent.append(number)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("seed", seeds(1, 2))
async def test_no_event_is_missing_after_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setenv("HOOK", f"whsec_{b64encode(b'k' * 24).decode()}")
    chance = random.Random(seed)
    hl7, page = quiet_ports(2)

    def answer(_: Request) -> bytes | object:
        return RESET if chance.random() < 0.05 else http(503) if chance.random() < 0.05 else http(200)

    async with scripted(answer) as receiver, AsyncExitStack() as ending:  # type: ignore[arg-type]
        source = {"kind": "mllp", "listen": f"127.0.0.1:{hl7}"}
        make_running_site(
            tmp_path, {"chem": channel(source, {**HL7_ROUTE, "to": "archive"})}, DESTINATIONS, web=f"127.0.0.1:{page}"
        )
        config = tmp_path / "config" / "labrelay.yaml"
        hook = {"url": receiver.url, "secret": "${HOOK}", "events": list(KINDS)}
        config.write_text(config.read_text() + yaml.safe_dump({"webhooks": {"erp": hook}}))
        daemon = Daemon(tmp_path)
        ending.push_async_callback(daemon.kill)
        await daemon.start()
        stream, sent = Stream(page, chance), list[int]()
        reading = asyncio.create_task(stream.run())
        await until(lambda: bool(stream.last))
        sending = asyncio.create_task(_send_all(hl7, sent))
        for n in range(KILLS):
            await until(lambda n=n: len(sent) >= (n + 1) * MESSAGES // (KILLS + 2) or sending.done())  # type: ignore[misc]
            await daemon.kill()
            await daemon.start()
        await asyncio.wait_for(sending, WITHIN_S)
        await until(lambda: _all_delivered(tmp_path))
        expected = _events(tmp_path, stream.begin)
        await until(lambda: stream.ids[-1] == expected[-1])
        await until(lambda: receiver.requests[-1].headers["webhook-id"] == expected[-1])
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await daemon.kill()
    assert stream.ids == expected
    came = [one.headers["webhook-id"] for one in receiver.requests]
    order = [*dict.fromkeys(came)]  # the webhook begins before the stream
    assert order[-len(expected) :] == expected
    bodies = {(one.headers["webhook-id"], one.body) for one in receiver.requests}
    assert len(bodies) == len(order)
    rewinds = sum(order.index(after) < order.index(before) for before, after in itertools.pairwise(came))
    assert rewinds <= KILLS
    told = [json.loads(body) for _, body in bodies]
    with closing(sqlite3.connect(f"file:{tmp_path / 'var' / JOURNAL_NAME}?mode=ro", uri=True)) as connection:
        delivered = {row[0] for row in connection.execute("SELECT id FROM delivery WHERE state = 'delivered'")}
        received = {row[0] for row in connection.execute("SELECT id FROM journal WHERE kind = 1")}
    assert {one["data"]["delivery"] for one in told if one["type"] == "delivery.delivered"} == delivered
    assert {one["data"]["message"] for one in told if one["type"] == "message.received"} == received
    assert len(received) >= len(sent) == MESSAGES


def _events(site: Path, begin: str) -> list[str]:
    """The ids of all events behind a position, by the journal."""
    reader, found, position = Reader.beside(site / "var"), list[str](), position_of(begin)
    with closing(reader):
        while True:
            page = events.page(reader, position, wanted(KINDS))
            found += [str(one.position) for one in page.events]
            position = page.position
            if page.is_last:
                return found


def _all_delivered(site: Path) -> bool:
    with closing(Reader.beside(site / "var")) as reader:
        open_ones = reader.row("SELECT count(*) FROM delivery WHERE state IN ('waiting', 'sending')")[0]
        unread = reader.row(
            "SELECT count(*) FROM journal j WHERE kind = 1 AND NOT EXISTS (SELECT 1 FROM message_state WHERE id = j.id)"
        )[0]
        return not open_ones and not unread
