"""A page whose connection takes its time: all is looked at once more before its first byte is written."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.flows import pages, requests
from engine.features.abdm.rows import contexts
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.lifecycle import erasure
from engine.store.queries.acts import acts_page
from tests.support import abdm_records as records
from tests.support.abdm_site import AbdmSite, abdm_site, destination
from tests.support.certificates import Authority
from tests.support.clocks import MovedClock
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE

PATIENT = partial(destination, timeout="5m")  # with a connection
TAKEN = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class SlowReader:
    """Takes connections, and begins TLS once it is told to. ``heard``: what came then on each."""

    url: str = ""
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    stands: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def slow_reader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowReader]:
    authority = Authority(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))  # of the system's authorities
    made, context, loop = SlowReader(), authority.server_context(), asyncio.get_running_loop()

    async def take(server: socket.socket) -> None:
        while True:
            connection, _ = await loop.sock_accept(server)
            made.connected.set()
            await made.go_on.wait()
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(lambda of=protocol: of, connection, ssl=context)
            made.stands.set()
            made.heard.append(await reader.read(65536))
            if made.heard[-1]:
                transport.write(TAKEN)
            transport.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        made.url = f"https://127.0.0.1:{server.getsockname()[1]}/push"
        task = asyncio.create_task(take(server))
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def revoked(site: AbdmSite, consent: str, context: int) -> None:
    await records.act(site, "revoke", {"consentId": consent})
    await until(lambda: site.ours.rows("abdm_consent WHERE state = 'REVOKED'"))


async def left(site: AbdmSite, consent: str, context: int) -> None:
    await records.act(site, "status", {"patient": PEOPLE[0].address, "status": "DELETED"})
    await until(lambda: site.ours.states() == ["dropped"])


async def erased(site: AbdmSite, consent: str, context: int) -> None:
    await site.ours.journal.run(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})


async def withdrawn(site: AbdmSite, consent: str, context: int) -> None:
    @operation(priority=Priority.SETTLE)
    def act(batch: Batch) -> None:
        contexts.withdraw(batch, context, "made-up")

    await site.ours.journal.run(act)


async def expired(site: AbdmSite, consent: str, context: int) -> None:
    assert isinstance(site.clock, MovedClock)
    site.clock.passed_s += 601


ENDS: dict[Callable[..., Any], str] = {
    revoked: requests.WORDS["revoked"],
    left: requests.WORDS["left"],
    erased: pages.LEFT["absent"],
    withdrawn: pages.LEFT["withdrawn"],
    expired: requests.WORDS["expired"],
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_what_ends_while_the_connection_is_made_stops_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    clock = MovedClock()
    both: dict[str, Any] = {"clock": clock, "gateway_clock": clock, "config": PATIENT}
    async with (
        slow_reader(tmp_path / "tls", monkeypatch) as reader,
        abdm_site(tmp_path, monkeypatch, **both) as site,
    ):
        (number,) = await records.published(site, "A-1")
        erase_at = (clock.now() + timedelta(minutes=10)).isoformat()
        consent = await records.granted(site, eraseAt=erase_at)
        transaction = await records.asked(site, consent, pushUrl=reader.url)
        await reader.connected.wait()
        await end(site, consent, number)
        reader.go_on.set()
        await until(lambda: bool(reader.heard))
        assert reader.heard == [b""]
        done = await records.done(site, transaction)
        await site.ours.is_quiet()

        (line,) = done["outcome"]["statusResponses"]
        assert (line["hiStatus"], line["description"]) == ("ERRORED", ENDS[end])
        assert not [act.verb for act in acts_page(site.ours.journal) if "disclosed" in act.verb]
        assert await site.ask("/violations") == []


async def test_a_revocation_that_is_not_folded_yet_stops_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        slow_reader(tmp_path / "tls", monkeypatch) as reader,
        abdm_site(tmp_path, monkeypatch, config=PATIENT) as site,
    ):
        await records.published(site, "A-1")
        consent = await records.granted(site)
        await records.asked(site, consent, pushUrl=reader.url)
        await reader.connected.wait()
        folding = site.ours.tasks[0]
        folding.cancel()
        await until(folding.done)
        await records.act(site, "revoke", {"consentId": consent})
        await until(lambda: site.ours.rows("abdm_callback WHERE state = 'stored'"))
        reader.go_on.set()
        await reader.stands.wait()
        await site.ours.dispatcher.fold_all()
        await until(lambda: bool(reader.heard))
        assert reader.heard == [b""]
        await until(lambda: site.ours.rows("abdm_transfer WHERE state = 'ended' AND reason = 'revoked'"))


async def test_a_page_goes_by_the_slow_connection_where_nothing_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        slow_reader(tmp_path / "tls", monkeypatch) as reader,
        abdm_site(tmp_path, monkeypatch, config=PATIENT) as site,
    ):
        await records.published(site, "A-1")
        transaction = await records.asked(site, await records.granted(site), pushUrl=reader.url)
        await reader.connected.wait()
        reader.go_on.set()
        await until(lambda: site.ours.rows("abdm_page WHERE state = 'delivered'"))
        assert reader.heard[0].startswith(b"POST /push HTTP/1.1\r\n")
        assert site.ours.rows(f"abdm_transfer WHERE transaction_id = '{transaction}'")


def page(site: AbdmSite) -> tuple[int, bytes]:
    """Document and bytes of the only page."""
    found: tuple[int, bytes] = site.ours.rows("abdm_page", "document_id, body")[0]
    return found


async def test_a_report_that_is_amended_while_the_connection_is_made_goes_in_its_newest_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        slow_reader(tmp_path / "tls", monkeypatch) as reader,
        abdm_site(tmp_path, monkeypatch, config=PATIENT) as site,
    ):
        await records.published(site, "A-1")
        await records.asked(site, await records.granted(site), pushUrl=reader.url)
        await reader.connected.wait()
        before, _ = page(site)
        await records.published(site, "A-1", value="151.00", minute=5)
        reader.go_on.set()
        await until(lambda: site.ours.rows("abdm_page WHERE state = 'delivered'"))
        assert page(site)[0] > before
        assert [heard[:4] for heard in reader.heard] == [b"", b"POST"]


async def test_a_report_that_is_amended_while_its_reader_cannot_be_reached_is_sealed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, "A-1")
        with socket.socket() as nobody:  # bound, and does not listen
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}/push"
            await records.asked(site, await records.granted(site), pushUrl=url)
            await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0 AND attempt = unsent"))
            before, body = page(site)
            await records.published(site, "A-1", value="151.00", minute=5)
            await until(lambda: page(site)[0] > before)
            assert page(site)[1] != body
