"""A channel with too much that is not mapped yet, on real sockets: each kind of port slows down, and then refuses."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from engine.monitoring.snapshot.states import ChannelState
from engine.receiving import admission
from engine.receiving.admission import BACKLOG_BYTES
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, one_record_a_frame
from tests.support.channels import block
from tests.support.doors import ORU, RECORDS, ports
from tests.support.http_sender import HOST, post
from tests.support.ordering_lis import order
from tests.support.running import RunningSite, channel, running_site
from tests.support.todo_entries import entries
from tests.support.waiting import WITHIN_S, until

ORDER = block(order("M1", ("NW", "P1", "TSH")))
FRAME = one_record_a_frame(RECORDS)[0]
REFUSED: dict[str, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {  # what is sent, one after the other's answer
    "mllp": ((block(ORU),), (b"",)),
    "mllp-ae": ((block(ORU),), (b"MSA|AE",)),
    "astm": ((ENQ, FRAME), (ACK, NAK)),
    "auto": ((block(ORU),), (b"",)),
    "lis": ((ORDER,), (b"",)),
    "http": ((post(ORU),), (b"HTTP/1.1 503",)),
}


def fill(site: RunningSite, size: int) -> None:
    site.journal.tail.unjudged.update(dict.fromkeys(site.app.parts.sources, size))


async def answers(port: int, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    reader, writer = await asyncio.open_connection(HOST, port)
    found = []
    for part in parts:
        writer.write(part)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN_S):
                found.append(await reader.read(1 if part[:1] in (ENQ, b"\x02") else 4096))
    writer.close()
    return tuple(found)


async def test_each_kind_of_port_refuses_and_takes_again_what_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "SLOWEST_S", 0.001)
    made = ports(tmp_path)
    channels = {name: made[name] for name in ("mllp", "astm", "auto", "lis", "text-lines", "bare-records")}
    channels["mllp-ae"] = {**channels["mllp"], "on_store_fault": "ae"}
    channels["http"] = channel(
        {"kind": "http", "listen": f"{HOST}:0", "format": "hl7v2"},
        {"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-results", "to": "lab-fhir"},
    )
    async with running_site(tmp_path, channels) as site:
        fill(site, BACKLOG_BYTES)
        for name, (parts, expected) in REFUSED.items():
            found = await answers(site.port(name), parts)
            assert all(one.startswith(begin) if begin == b"HTTP/1.1 503" else begin in one if begin else not one
                       for one, begin in zip(found, expected, strict=True)), (name, found)  # fmt: skip
            counts = site.app.parts.sources[name].channel.counts
            assert counts.faults["backlog"] == 1, name
            assert counts.store_fault is None
        assert not [one for one in site.messages() if one.state != "incomplete"]
        assert {one.state for one in site.app.observer.take().channels} == {ChannelState.REFUSING}
        assert site.app.observer.obstacles() == []

        # No answer is waited for: nothing is lost.
        for name, sent in {"text-lines": b"5.4\r", "bare-records": ENQ + RECORDS + EOT}.items():
            _, writer = await asyncio.open_connection(HOST, site.port(name))
            writer.write(sent)
            await until(lambda name=name: len(site.messages(name)) == 1)
            writer.close()

        fill(site, BACKLOG_BYTES // 2 - 1)
        for name, (parts, _) in REFUSED.items():
            assert all(await answers(site.port(name), parts)), name
        for name in ("mllp", "mllp-ae", "auto", "lis", "http"):
            await until(lambda name=name: len(site.messages(name)) == 1)


async def test_the_list_says_why_a_channel_is_slow_and_why_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_site(tmp_path, {"chem": ports(tmp_path)["mllp"]}) as site:

        def listed() -> list[str]:
            return [str(one.phrase) for one in entries(site.app.observer.take(), letters=(), gaps=(), token=str)]

        assert not [text for text in listed() if "mapped" in text]
        fill(site, BACKLOG_BYTES * 3 // 4)
        assert "chem: 48 MiB are not mapped yet, so answers are slow" in listed()
        fill(site, BACKLOG_BYTES)
        assert "chem not taking messages" in listed()
        assert "chem: 64 MiB are not mapped yet, so nothing more is taken until some of them are" in listed()
        monkeypatch.setattr(site.app.parts.intake, "oldest_us", lambda: {"chem": site.app.clock.now_us() - 180_500_000})
        assert [text for text in listed() if "not mapped yet, the oldest for 3 min, so nothing more is taken" in text]
        monkeypatch.undo()
        fill(site, 0)
        assert not [text for text in listed() if "mapped" in text or "not taking" in text]
