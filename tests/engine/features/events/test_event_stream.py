"""The stream of events over real connections: who may read which, where a reader goes on, heartbeats, limits, readers
that are slow, cut or not allowed any more."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.features.events import pages as event_stream
from engine.features.events import rows as events
from engine.features.events.rules import KINDS
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.operations import audit
from engine.store.operations.outbox import attempts
from tests.support import api as persons
from tests.support.api import Client, served
from tests.support.journals import queue, running, store
from tests.support.waiting import WITHIN_S

LOOK = {"": 401, "wall": 403, "viewer": 200, "operator": 200, "admin": 200}
ACTS = {"": 401, "wall": 403, "viewer": 403, "operator": 403, "engineer": 403, "seeing viewer": 403, "admin": 200}
# Kind -> what each person gets who asks for it.
ORACLE = {
    "message": LOOK,
    "delivery": LOOK,
    "alert": LOOK,
    "channel": LOOK,
    "destination": LOOK,
    "act": ACTS,
    "qc": LOOK,
    "reflex": LOOK,
}


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path) as opened:
        yield opened


@pytest.fixture
async def api(journal: Journal) -> AsyncIterator[Client]:
    async with served(journal) as client:
        yield client


class Stream:
    """A reader, as a program has it: blocks of lines."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.last_id = ""
        self.comments = 0

    async def block(self) -> dict[str, str]:
        found: dict[str, str] = {}
        async with asyncio.timeout(WITHIN_S):
            async for line in self.answer.content:
                text = line.decode().rstrip("\n")
                if not text:
                    self.last_id = found.get("id", self.last_id)
                    return found
                name, _, value = text.partition(": ")
                found[name] = value
        raise EOFError

    async def next(self) -> dict[str, Any]:
        while True:
            block = await self.block()
            if "data" in block:
                said: dict[str, Any] = json.loads(block["data"])
                assert said["type"] == block["event"]
                return said
            self.comments += "" in block

    async def types(self, count: int) -> list[str]:
        return [(await self.next())["type"] for _ in range(count)]


@asynccontextmanager
async def stream(api: Client, person: str = "admin", last_id: str = "", query: str = "") -> AsyncIterator[Stream]:
    headers = {"X-Person": person, "Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
    async with api.http.get(f"/api/v1/events{query}", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        made = Stream(answer)
        assert (await made.block())["retry"]
        yield made
        answer.close()


async def _happen(journal: Journal) -> None:
    """One of each: a message, its delivery, an act."""
    await queue(journal, b"{}", claimed=True)
    await journal.run(attempts.bury, 1, ReasonCode.REFUSED, "MRS SHARMA")
    await journal.run(audit.note, "anita", "dismiss", {"reason": "MRS SHARMA"})


def test_the_table_has_every_kind() -> None:
    assert ORACLE.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", ORACLE)
async def test_each_person_reads_the_kinds_of_the_table(api: Client, kind: str) -> None:
    for person, status in ORACLE[kind].items():
        found = await api.ask(f"/events?types={kind}", person, method="HEAD")
        assert found.status == status, person


async def test_without_types_a_reader_gets_all_that_it_may_read(api: Client, journal: Journal) -> None:
    async with stream(api, "admin") as all_of_it, stream(api, "viewer") as most:
        await _happen(journal)
        assert await all_of_it.types(3) == ["message.received", "delivery.dead", "act.begun"]
        await store(journal, b"MSH|2")
        assert await most.types(3) == ["message.received", "delivery.dead", "message.received"]


async def test_an_event_has_numbers_names_and_codes(api: Client, journal: Journal) -> None:
    async with stream(api, query="?types=delivery.dead,act") as reader:
        await _happen(journal)
        dead, act = await reader.next(), await reader.next()
    assert dead["data"] == {
        "delivery": 1, "message": 1, "channel": "chem", "destination": "fhir", "reason": "REFUSED",
    }  # fmt: skip
    assert dead["timestamp"].endswith("Z")
    assert act["data"] == {"act": 2, "verb": "dismiss", "actor": "anita"}


async def test_a_reader_goes_on_behind_the_last_id_that_it_had(api: Client, journal: Journal) -> None:
    async with stream(api) as reader:
        await store(journal, b"1", b"2", b"3")
        assert (await reader.next())["data"]["message"] == 1
        last = reader.last_id
    await store(journal, b"4")
    for how in ({"last_id": last}, {"query": f"?after={last}"}, {"last_id": last, "query": "?after=1-1-00000000"}):
        async with stream(api, **how) as again:
            assert [(await again.next())["data"]["message"] for _ in range(3)] == [2, 3, 4]


async def test_a_reader_that_had_no_event_yet_misses_none(api: Client, journal: Journal) -> None:
    async with stream(api) as reader:
        begun = reader.last_id
    await store(journal, b"1")
    async with stream(api, last_id=begun) as again:
        assert await again.types(1) == ["message.received"]


async def test_a_reader_passes_events_that_it_does_not_want(
    api: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGE", 2)
    async with stream(api, query="?types=alert") as reader:
        begun = reader.last_id
        await queue(journal, b"1", b"2", b"3", claimed=True)
        await journal.run(attempts.settle, 1, 1)
        while "id" not in await reader.block():
            pass
        assert reader.last_id != begun
        assert str(events.newest(journal)) == reader.last_id


@pytest.mark.parametrize(
    ("query", "last_id", "wrong"),
    [
        ("?types=deliveries", "", "types"),
        ("?types=", "", "types"),
        ("?after=5", "", "after"),
        ("", "5", "Last-Event-ID"),
        ("?since=2h", "", "since"),
    ],
)
async def test_wrong_arguments_are_named(api: Client, query: str, last_id: str, wrong: str) -> None:
    found = await api.ask(f"/events{query}", **({"Last_Event_ID": last_id} if last_id else {}))
    assert (found.status, found.body["errors"][0]["parameter"]) == (422, wrong)


async def test_an_unknown_place_is_a_gap(api: Client, journal: Journal) -> None:
    await store(journal, b"1")
    place = events.newest(journal)._replace(check="00000000")
    async with stream(api, last_id=str(place), query="?types=delivery") as reader:
        said = await reader.next()
        assert (said["type"], said["data"]["reason"]) == ("gap", "another-history")


async def test_a_quiet_stream_has_heartbeats(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    async with stream(api) as reader:
        assert [await reader.block() for _ in range(3)] == [{"": "nothing new"}] * 3


async def test_a_caller_and_all_together_have_so_many_streams(
    api: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "MOST_OF_ONE", 2)
    monkeypatch.setattr(event_stream, "MOST_STREAMS", 3)
    async with stream(api, "viewer"), stream(api, "viewer"):
        refused = await api.ask("/events", "viewer")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
        async with stream(api, "admin"):
            assert (await api.ask("/events", "operator")).status == 429
    async with asyncio.timeout(WITHIN_S):  # a stream that ended makes room
        while (await api.ask("/events", "viewer", method="HEAD")).status == 429:
            pass
    async with stream(api, "viewer") as reader:
        await store(journal, b"1")
        assert await reader.types(1) == ["message.received"]


@pytest.mark.parametrize("now", [frozenset(), persons.PERSONS["viewer"]], ids=["revoked", "less"])
async def test_a_reader_that_is_not_allowed_any_more_is_cut(
    api: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch, now: frozenset[Any]
) -> None:
    monkeypatch.setattr(event_stream, "ALLOWED_S", 0.0)
    monkeypatch.setitem(persons.PERSONS, "auditor", persons.PERSONS["admin"])
    async with stream(api, "auditor") as reader:
        await store(journal, b"1")
        assert await reader.types(1) == ["message.received"]
        persons.PERSONS["auditor"] = now
        with pytest.raises((EOFError, aiohttp.ClientPayloadError)):
            await reader.next()


async def test_a_reader_that_does_not_read_is_cut_and_delays_nothing(
    api: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "SEND_TIMEOUT_S", 0.2)
    monkeypatch.setattr(event_stream, "MOST_OF_ONE", 1)
    host, port = api.url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nX-Person: admin\r\n\r\n")
        assert await asyncio.to_thread(slow.recv, 15) == b"HTTP/1.1 200 OK"
        for n in range(10):  # more than sockets and buffers take
            await asyncio.gather(*(journal.run(audit.note, "x" * 20_000, "pause", {"n": n}) for _ in range(50)))
        async with stream(api, "viewer") as reader:  # another one reads meanwhile
            await store(journal, b"1")
            assert await reader.types(1) == ["message.received"]
        async with asyncio.timeout(WITHIN_S):
            while (await api.ask("/events", "admin", method="HEAD")).status == 429:
                pass  # its place is taken until it is cut
        slow.settimeout(WITHIN_S)
        assert await asyncio.to_thread(_rest, slow) < 10_000_000


def _rest(slow: socket.socket) -> int:
    """The bytes that came before the connection was cut."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while part := slow.recv(65536):
            count += len(part)
    return count
