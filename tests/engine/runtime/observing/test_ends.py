"""Both ends of the lines of a running site: real connections, a serial name, servers with and without TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from engine.monitoring import ends as far_end
from engine.monitoring.ends import ChannelEnds, DestinationEnds, DeviceEnd, FarEnd
from engine.runtime.app import App
from engine.runtime.observing import ends
from engine.runtime.observing.ends import SeenEnds
from tests.support.certificates import Authority
from tests.support.running import astm_channel, channel, running_site
from tests.support.waiting import until

OUT = {"kind": "file", "folder": "out"}
PAUSE = ("--yes", "--reason", "a trial")


def seen_by(app: App) -> SeenEnds:
    return SeenEnds(app.parts, app.clock)


@asynccontextmanager
async def server(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[int]]]:
    """A server that answers nothing: its port, and the connections that it had."""
    had: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        had.append(1)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await reader.read()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1], had


async def test_a_connection_has_both_addresses_and_its_time(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"cbc": astm_channel()}) as site:
        look = seen_by(site.app)
        assert await look.channel("cbc") == ChannelEnds(transport="tcp")
        assert await look.channel("nobody") == ChannelEnds()
        before = datetime.now(UTC)
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port("cbc"))
        channel_of = site.app.parts.sources["cbc"].channel
        await until(lambda: bool(channel_of.connections))
        (one,) = (await look.channel("cbc")).connections
        assert one.own == f"127.0.0.1:{site.port('cbc')}"
        assert one.peer == "{}:{}".format(*writer.get_extra_info("sockname"))
        assert before - timedelta(seconds=5) <= one.since <= datetime.now(UTC) + timedelta(seconds=5)
        writer.close()
        assert await reader.read() == b""
        await until(lambda: not channel_of.connections)
        assert await look.channel("cbc") == ChannelEnds(transport="tcp")


# a serial source, and what is known of it where nothing is plugged in
DEVICES: list[tuple[dict[str, Any], DeviceEnd]] = [
    (
        {"device": "usb:dead:beef", "baud": 19200, "bytesize": 7, "parity": "even", "stopbits": 2, "flow": "rtscts"},
        DeviceEnd(
            device="usb:dead:beef", settings="19200 7E2 rtscts", fault="no USB adapter with this number is plugged in"
        ),
    ),
    (
        {"device": "rfc2217://127.0.0.1:1", "baud": 4800},
        DeviceEnd(device="rfc2217://127.0.0.1:1", settings="4800 8N1", is_remote=True),
    ),
    ({"device": "socket://127.0.0.1:1"}, DeviceEnd(device="socket://127.0.0.1:1", is_remote=True)),
]


@pytest.mark.parametrize(("source", "expected"), DEVICES)
async def test_a_serial_line_says_what_it_is(tmp_path: Path, source: dict[str, Any], expected: DeviceEnd) -> None:
    made = channel({"kind": "astm-serial", **source}, {"to": "out"})
    async with running_site(tmp_path, {"cbc": made}, {"out": OUT}) as site:
        assert (await seen_by(site.app).channel("cbc")).device == expected


async def test_a_port_that_is_plugged_in_is_described(tmp_path: Path) -> None:
    port = mock.Mock(
        device="/dev/ttyUSB0", names=("/dev/serial/by-id/usb-FTDI",), description="FTDI FT232R", usb="0403:6001",
        serial_number="A50285BI", driver="ftdi_sio",
    )  # fmt: skip
    made = channel({"kind": "astm-serial", "device": "usb:0403:6001"}, {"to": "out"})
    async with running_site(tmp_path, {"cbc": made}, {"out": OUT}) as site:
        with mock.patch("adapters.transports.serial.look", return_value=port):
            device = (await seen_by(site.app).channel("cbc")).device
    assert device == DeviceEnd(
        device="usb:0403:6001", settings="9600 8N1", path="/dev/ttyUSB0", names=("/dev/serial/by-id/usb-FTDI",),
        description="FTDI FT232R", usb="0403:6001", serial_number="A50285BI", driver="ftdi_sio",
    )  # fmt: skip


async def test_a_server_without_tls_is_not_connected_to(tmp_path: Path) -> None:
    async with server() as (port, had):
        windows = [{"start": "02:00", "end": "04:30"}, {"days": ["sat", "sun"], "start": "22:00", "end": "01:00"}]
        out = {"kind": "http", "url": f"http://127.0.0.1:{port}/in", "expected_downtime": windows}
        async with running_site(tmp_path, {"a": channel({"kind": "mllp", "listen": "127.0.0.1:0"}, {"to": "out"})},
                                {"out": out, "folder": OUT}) as site:  # fmt: skip
            look = seen_by(site.app)
            assert await look.destination("out") == DestinationEnds(
                host="127.0.0.1",
                port=port,
                far=FarEnd(addresses=("127.0.0.1",)),
                windows=("02:00-04:30", "sat sun 22:00-01:00"),
            )
            assert await look.destination("folder") == DestinationEnds()
            assert await look.destination("nobody") == DestinationEnds()
        assert had == []


@pytest.mark.parametrize("kind", ["http", "mllp"])
async def test_a_server_shows_when_its_certificate_ends_and_is_asked_once(tmp_path: Path, kind: str) -> None:
    authority = Authority(tmp_path / "ca")
    ours = authority.sign("us")
    tls = {"ca": str(authority.ca), "cert": str(ours.cert), "key": str(ours.key)}
    async with server(authority.server_context()) as (port, had):
        place = {"url": f"https://localhost:{port}/in"} if kind == "http" else {"connect": f"localhost:{port}"}
        source = {"kind": "mllp", "listen": "127.0.0.1:0"}
        async with running_site(
            tmp_path / "site", {"a": channel(source, {"to": "out"})}, {"out": {"kind": kind, "tls": tls, **place}}
        ) as site:
            look = seen_by(site.app)
            first = await look.destination("out")
            again = await look.destination("out")
    assert first == again
    assert first.far is not None
    assert first.far.trouble == ""
    assert first.far.certificate_until is not None
    assert timedelta(0) < first.far.certificate_until - datetime.now(UTC) < timedelta(days=2)
    assert "(destination out) ends in" in first.own_certificate
    assert len(had) == 1


async def test_a_paused_destination_gets_no_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with server(authority.server_context()) as (port, had):
        out = {"kind": "http", "url": f"https://localhost:{port}/in", "tls": {"ca": str(authority.ca)}}
        source = {"kind": "mllp", "listen": "127.0.0.1:0"}
        async with running_site(tmp_path / "site", {"a": channel(source, {"to": "out"})}, {"out": out}) as site:
            assert (await site.labrelay("pause", "destination", "out", *PAUSE)).code == 0
            seen = await seen_by(site.app).destination("out")
    assert seen.far is not None
    assert seen.far.addresses
    assert (seen.far.certificate_until, seen.far.trouble, had) == (None, "", [])


async def test_a_look_that_takes_long_holds_up_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "PATIENCE_S", 0.01)
    answer: asyncio.Future[FarEnd] = asyncio.get_running_loop().create_future()
    looks: list[object] = []
    monkeypatch.setattr(ends, "in_thread", lambda work: looks.append(work) or answer)
    out = {"kind": "http", "url": "http://lab.example/in"}
    source = {"kind": "mllp", "listen": "127.0.0.1:0"}
    async with running_site(tmp_path, {"a": channel(source, {"to": "out"})}, {"out": out}) as site:
        look = seen_by(site.app)
        assert (await look.destination("out")).far is None
        assert (await look.destination("out")).far is None
        answer.set_result(FarEnd(addresses=("192.0.2.7",)))
        assert (await look.destination("out")).far == FarEnd(addresses=("192.0.2.7",))
        assert len(looks) == 1
        monkeypatch.setattr(ends, "KEPT_S", 0.0)
        await look.destination("out")
        assert len(looks) == 2


async def test_trouble_is_looked_at_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [FarEnd(trouble="refused"), FarEnd(trouble="refused"), FarEnd(addresses=("192.0.2.7",))]
    begun = iter(found)

    def look_now(work: object) -> asyncio.Future[FarEnd]:
        answer: asyncio.Future[FarEnd] = asyncio.get_running_loop().create_future()
        answer.set_result(next(begun))
        return answer

    monkeypatch.setattr(ends, "in_thread", look_now)
    source = {"kind": "mllp", "listen": "127.0.0.1:0"}
    out = {"kind": "http", "url": "http://lab.example/in"}
    async with running_site(tmp_path, {"a": channel(source, {"to": "out"})}, {"out": out}) as site:
        look = seen_by(site.app)
        assert (await look.destination("out")).far == found[0]
        assert (await look.destination("out")).far == found[0]
        monkeypatch.setattr(ends, "KEPT_TROUBLE_S", 0.0)
        assert (await look.destination("out")).far == found[1]
        assert (await look.destination("out")).far == found[2]
        assert (await look.destination("out")).far == found[2]


async def test_trouble_on_the_way_is_said(tmp_path: Path) -> None:
    strangers = Authority(tmp_path / "a", "another authority")
    async with server(Authority(tmp_path / "b").server_context()) as (port, _):
        wrong = await asyncio.to_thread(far_end.look, "localhost", port, tls=True, ca=strangers.ca)
    assert wrong.certificate_until is None
    assert "certificate" in wrong.trouble or "issuer" in wrong.trouble
    gone = await asyncio.to_thread(far_end.look, "127.0.0.1", 1, tls=True)
    assert (gone.addresses, gone.certificate_until) == (("127.0.0.1",), None)
    assert gone.trouble
    for name in ("no-such-name.invalid", "a" * 300, "\udce9"):
        nothing = await asyncio.to_thread(far_end.look, name, 1, tls=False)
        assert nothing.addresses == ()
        assert nothing.trouble


async def test_a_thread_that_outlives_the_loop_is_no_trouble() -> None:
    began = ends.in_thread(lambda: FarEnd(trouble="x"))
    assert (await began).trouble == "x"
    given_up = ends.in_thread(FarEnd)
    given_up.cancel()
    await ends.in_thread(FarEnd)
