"""Keeping the source of a channel open: what cannot be opened is shown and tried again, and the rest goes on."""

import asyncio
import errno
from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.model.process.clock import ManualClock, SystemClock
from engine.receiving.channel import Channel
from engine.runtime.build import BuiltChannel, build_site
from engine.runtime.sources import ChannelSource, why_not_open
from tests.support.certificates import Authority
from tests.support.channels import ScriptedStore, block, hl7
from tests.support.sites import make_site
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.model.process.back_off.FIRST_S", 0.01)


def built(folder: Path, source: str, *, more: str = "") -> BuiltChannel:
    channel = f"channel: chem\n{more}source: {{kind: mllp, {source}}}\nroutes:\n  - to: archive\n"
    site = load_site(make_site(folder, channels={"chem.yaml": channel}))
    return build_site(site, identity_key=bytes(32), clock=ManualClock()).channels["chem"]


def source_of(made: BuiltChannel, store: ScriptedStore) -> ChannelSource:
    channel = Channel(
        made.settings,
        new_link=made.new_link,
        message_format=made.message_format,
        answer=made.answer,
        journal=store,
        stored=lambda stored: None,
        clock=SystemClock(),
    )
    return ChannelSource(made, channel)


async def test_a_listener_is_open_when_start_returns(tmp_path: Path) -> None:
    store = ScriptedStore()
    source = source_of(built(tmp_path, 'listen: "127.0.0.1:0"'), store)
    await source.start()
    assert source.listens
    assert source.fault == ""
    reader, writer = await asyncio.open_connection("127.0.0.1", source.port)
    writer.write(block(hl7("1")))
    assert b"MSA|AA|1" in await reader.readuntil(b"\x1c\r")
    assert [connection.peer.split(":")[0] for connection in source.channel.connections.values()] == ["127.0.0.1"]
    await source.stop()
    assert await reader.read() == b""
    assert source.idle
    writer.close()


async def test_a_certificate_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    files = tmp_path / "tls"
    tls = f'listen: "127.0.0.1:0", tls: {{cert: "{files}/server.pem", key: "{files}/server.key"}}'
    source = source_of(built(tmp_path / "site", tls), ScriptedStore())
    await source.start()
    assert "No such file" in source.fault
    assert not source.idle
    authority = Authority(files)
    authority.sign("server")
    await until(lambda: source.port is not None)
    assert source.fault == ""
    _, writer = await asyncio.open_connection("127.0.0.1", source.port, ssl=authority.trust())
    writer.close()
    await source.stop()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "label" * 20 + ".invalid", "192.0.2.1"])
async def test_an_address_that_is_not_ours_is_a_fault_of_the_channel(tmp_path: Path, host: str) -> None:
    source = source_of(built(tmp_path, f'listen: "{host}:2575"'), ScriptedStore())
    await source.start()
    assert source.fault
    assert source.port is None
    await asyncio.wait_for(source.stop(), 240.0)  # while it keeps trying
    assert source.idle


async def test_a_disabled_channel_opens_nothing(tmp_path: Path) -> None:
    source = source_of(built(tmp_path, 'listen: "127.0.0.1:0"', more="enabled: false\n"), ScriptedStore())
    await source.start()
    assert source.port is None
    assert source.idle
    assert source.fault == ""


async def test_an_analyzer_that_is_the_server_is_called_and_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr("engine.model.process.back_off.FIRST_S", 0.01)
    store = ScriptedStore()
    answers: list[bytes] = []

    async def analyzer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(block(hl7(str(len(answers)))))
        answers.append(await reader.readuntil(b"\x1c\r"))
        writer.close()

    server = await asyncio.start_server(analyzer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = source_of(built(tmp_path, f'connect: "127.0.0.1:{port}"'), store)
    await source.start()
    assert not source.listens
    await until(lambda: len(answers) >= 3)
    await source.stop()
    server.close()
    assert all(f"MSA|AA|{number}\r".encode() in answer for number, answer in enumerate(answers))


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EADDRINUSE, "in use by another program"), (errno.EADDRNOTAVAIL, "no such address"), (errno.EIO, "as told")],
)
def test_an_address_that_cannot_be_had_says_what_to_do(number: int, said: str) -> None:
    assert said in why_not_open(OSError(number, "as told"))
