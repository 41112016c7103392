"""Results from serial lines through a running site: real ptys and sockets, a real journal, a sandbox that receives."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.transports import serial as serial_module
from engine.config.load import load_site
from engine.model.errors import ConfigError
from tests.support.astm_peer import cut_every, one_record_a_frame, session
from tests.support.channels import hl7
from tests.support.running import RunningSite, astm_channel, hl7_channel, running_site
from tests.support.senders import ENQ, blocks_of
from tests.support.serial_peers import AnalyzerEnd, Cable, DeviceServer
from tests.support.sites import make_site
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_module, "REOPEN_FIRST_S", 0.01)
    monkeypatch.setattr(serial_module, "REOPEN_MAX_S", 0.02)
    monkeypatch.setattr(serial_module, "REOPEN_SERVER_MAX_S", 0.02)
    monkeypatch.setattr(serial_module, "STABLE_S", 0.05)
    monkeypatch.setattr(serial_module, "LOOK_S", 0.02)


def astm(specimen: str, value: str = "5.4") -> bytes:
    return (
        b"H|\\^&|||XN-550^1^S1|||||||P|1394-97|20261120101500\rP|1|||4711|Doe^Jane||19800101|F\r"
        b"O|1|" + specimen.encode() + b"||^^^GLU|R||20261120101000\r"
        b"R|1|^^^GLU|" + value.encode() + b"|mmol/L||N||F||||20261120101400\rL|1|N\r"
    )


def play_of(message: bytes) -> bytes:
    return session(*one_record_a_frame(message))


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    made = Cable(tmp_path / "usb-analyzer")
    yield made
    made.close()


@asynccontextmanager
async def site_on(folder: Path, source: dict[str, Any]) -> AsyncIterator[RunningSite]:
    make = astm_channel if source["kind"] == "astm-serial" else hl7_channel
    async with running_site(folder / "site", {"chem": make(source=source)}) as site:
        yield site


def fault(site: RunningSite) -> str:
    return site.app.parts.sources["chem"].fault


def connections(site: RunningSite) -> int:
    return len(site.app.parts.sources["chem"].channel.connections)


async def shown(site: RunningSite) -> dict[str, Any]:
    """The channel as people see it."""
    ran = await site.labrelay("status", "-o", "json")
    (row,) = ran.json["channels"]
    found: dict[str, Any] = row
    return found


def values(site: RunningSite) -> list[str]:
    """Specimen and value of everything that was sent on, in order."""
    found = []
    for message in site.messages("chem"):
        for bundle in site.bundles(message.id):
            for entry in bundle["entry"]:
                resource = entry["resource"]
                if resource["resourceType"] == "Observation" and "valueQuantity" in resource:
                    found.append(str(resource["valueQuantity"]["value"]))
    return found


@asynccontextmanager
async def some_line(kind: str, folder: Path) -> AsyncIterator[tuple[AnalyzerEnd, str]]:
    if kind == "port":
        cable = Cable(folder / "usb-analyzer")
        yield cable, cable.path
        cable.close()
        return
    server = DeviceServer(bare=kind == "socket")
    await server.start()
    yield server, server.device
    await server.stop()


@pytest.mark.parametrize("kind", ["port", "rfc2217", "socket"])
async def test_astm_results_come_over_every_kind_of_line(tmp_path: Path, kind: str) -> None:
    async with (
        some_line(kind, tmp_path) as (analyzer, device),
        site_on(tmp_path, {"kind": "astm-serial", "device": device}) as site,
    ):
        await until(lambda: connections(site) == 1)
        for number in range(3):
            played = await analyzer.play(play_of(astm(f"S-{number}", f"5.{number}")))
            assert played.acknowledged == 5
        await site.settled()
        assert site.ends("chem") == ["delivered"] * 3
        assert values(site) == ["5.0", "5.1", "5.2"]
        assert [message.peer for message in site.messages("chem")] == [device] * 3
        assert fault(site) == ""


@pytest.mark.parametrize("kind", ["port", "rfc2217", "socket"])
async def test_hl7_results_come_over_every_kind_of_line(tmp_path: Path, kind: str) -> None:
    async with (
        some_line(kind, tmp_path) as (analyzer, device),
        site_on(tmp_path, {"kind": "hl7-serial", "device": device}) as site,
    ):
        await until(lambda: connections(site) == 1)
        await analyzer.send(b"\x0b" + hl7("77") + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            answer += await analyzer.receive()
        assert b"MSA|AA|77" in blocks_of(answer)[0]
        assert len(site.messages("chem")) == 1


async def test_a_line_of_seven_bits_and_even_parity_without_a_uart(tmp_path: Path) -> None:
    """A device server at 8N1: the analyzer's parity comes as bit 7, and our NAKs and ACKs carry theirs."""
    server = DeviceServer(bare=True)
    await server.start()

    def even(data: bytes) -> bytes:
        return bytes(byte | (byte.bit_count() % 2) << 7 for byte in data)

    source = {"kind": "astm-serial", "device": server.device, "bytesize": "7", "parity": "even"}
    async with site_on(tmp_path, source) as site:
        await until(lambda: connections(site) == 1 and server.connected)
        for piece in (ENQ, *one_record_a_frame(astm("S-1"))):
            await server.send(even(piece))
            assert await server.receive() == b"\x06"
        await server.send(even(b"\x04"))
        await site.settled()
        assert site.ends("chem") == ["delivered"]
    await server.stop()


async def test_on_a_line_of_seven_bits_no_order_has_a_letter_beyond_ascii(tmp_path: Path) -> None:
    """Bit 7 is lost there: a u with an umlaut would be a bar in Latin-1, which parts two fields."""
    server = DeviceServer(bare=True)
    await server.start()
    channel = astm_channel(
        source={"kind": "astm-serial", "device": server.device, "bytesize": "7"},
        charset=["latin-1"],
        orders={"codes": {"TSH": "10", "FT4": "Gr\xfcn"}, "demographics": True},
    )
    async with running_site(tmp_path / "site", {"chem": channel}) as site:
        added = await site.labrelay(
            "orders", "add", "S-1", "TSH", "FT4", "--patient", "7", "--family", "J\xfcrgen M\xfc"
        )
        assert added.code == 0, added.err
        await until(lambda: connections(site) == 1 and server.connected)
        question = b"H|\\^&|||XN-550^1\rQ|1|^S-1||ALL||||||||O\rL|1|N\r"
        for piece in (ENQ, *one_record_a_frame(question)):
            await server.send(piece)
            assert await server.receive() == b"\x06"
        await server.send(b"\x04")
        said = b""
        while not said.endswith(b"\x04"):
            said += await server.receive()
            await server.send(b"\x06")
        records = [frame.split(b"|") for frame in said.split(b"\x02")]
        assert [(one[0][1:], len(one)) for one in records[2:4]] == [(b"P", 3), (b"O", 26)], said
        assert records[2][2].startswith(b"7\r")
        assert records[3][4] == b"^^^10"
    await server.stop()


# -- the cable ---------------------------------------------------------------------------------------------------------


async def test_a_cable_pulled_in_mid_frame_and_back(tmp_path: Path, cable: Cable) -> None:
    """What was acknowledged stays as incomplete, what is sent again comes once, and nothing is made up."""
    source = {"kind": "astm-serial", "device": cable.path}
    async with site_on(tmp_path, source) as site:
        await until(lambda: connections(site) == 1)
        await cable.play(play_of(astm("S-1", "5.1")))
        frames = one_record_a_frame(astm("S-2", "5.2"))
        for piece in (ENQ, *frames[:3]):
            await cable.send(piece)
            assert await cable.receive() == b"\x06"
        await cable.send(frames[3][:11])
        cable.pull()
        await until(lambda: "no such device" in fault(site))
        cable.plug()
        await until(lambda: fault(site) == "" and connections(site) == 1)
        await cable.send(frames[3][11:])  # the analyzer ends the frame, gets no answer, and begins again
        played = await cable.play(play_of(astm("S-2", "5.2")))
        assert played.acknowledged == 5
        await site.settled()
        assert site.ends("chem") == ["delivered", "INCOMPLETE", "delivered"]
        assert values(site) == ["5.1", "5.2"]


async def test_an_adapter_that_comes_back_under_another_number(tmp_path: Path, cable: Cable) -> None:
    """Its name of by-id leads to the new one."""
    source = {"kind": "astm-serial", "device": cable.path}
    async with site_on(tmp_path, source) as site:
        await until(lambda: connections(site) == 1)
        await cable.play(play_of(astm("S-1", "5.1")))
        for number in range(2, 5):
            cable.pull()
            cable.plug()
            played = await cable.play(play_of(astm(f"S-{number}", f"5.{number}")))
            assert played.acknowledged == 5
        await site.settled()
        assert values(site) == ["5.1", "5.2", "5.3", "5.4"]


async def test_a_port_that_is_not_there_yet_is_waited_for(tmp_path: Path, cable: Cable) -> None:
    cable.pull()
    async with site_on(tmp_path, {"kind": "astm-serial", "device": cable.path}) as site:
        await until(lambda: "no such device" in fault(site))
        async with asyncio.timeout(240.0):
            while (row := await shown(site))["state"] != "faulted":  # noqa: ASYNC110  # a snapshot comes now and then
                await asyncio.sleep(0.05)
        assert "no such device" in row["fault"]
        cable.plug()
        await until(lambda: fault(site) == "")
        await cable.play(play_of(astm("S-1")))
        await site.settled()
        assert site.ends("chem") == ["delivered"]


async def test_a_reload_with_other_settings_opens_the_line_anew(tmp_path: Path, cable: Cable) -> None:
    async with site_on(tmp_path, {"kind": "astm-serial", "device": cable.path}) as site:
        await until(lambda: connections(site) == 1)
        await cable.play(play_of(astm("S-1", "5.1")))
        file = site.folder / "channels" / "chem.yaml"
        file.write_text(file.read_text().replace("kind: astm-serial", "kind: astm-serial\n  baud: 19200"))
        ran = await site.labrelay("reload")
        assert ran.code == 0, ran.err
        await until(lambda: connections(site) == 1 and fault(site) == "")
        await cable.play(play_of(astm("S-2", "5.2")))
        await site.settled()
        assert values(site) == ["5.1", "5.2"]


async def test_a_device_server_that_restarts(tmp_path: Path) -> None:
    server = DeviceServer()
    await server.start()
    async with site_on(tmp_path, {"kind": "astm-serial", "device": server.device}) as site:
        await until(lambda: connections(site) == 1)
        frames = cut_every(astm("S-1", "5.1"), 60)
        for piece in (ENQ, *frames[:2]):
            await server.send(piece)
            assert await server.receive() == b"\x06"
        await server.stop()
        await until(lambda: fault(site) != "")
        await server.start()
        await until(lambda: fault(site) == "" and connections(site) == 1 and server.connected)
        await server.play(session(*frames))
        await site.settled()
        assert site.ends("chem") == ["INCOMPLETE", "delivered"]
        assert values(site) == ["5.1"]
    await server.stop()


# -- noise -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_noise_never_becomes_a_result_and_never_keeps_one_away(tmp_path: Path, cable: Cable, seed: int) -> None:
    """As at a wrong speed: any bytes, control characters more often than by chance."""
    rng = random.Random(seed)
    noise = bytes(
        rng.choice(b"\x00\x80\xf8\xff\xfe\x02\x03\x04\x06\x15\r\nHR|") if rng.random() < 0.5 else rng.randrange(256)
        for _ in range(20_000)
    ).replace(ENQ, b"\x85")
    async with site_on(tmp_path, {"kind": "astm-serial", "device": cable.path}) as site:
        await until(lambda: connections(site) == 1)
        await cable.send(noise)
        played = await cable.play(play_of(astm("S-1", "5.1")))
        assert played.acknowledged == 5
        await site.settled()
        assert site.ends("chem") == ["delivered"]
        assert values(site) == ["5.1"]
        assert site.app.parts.sources["chem"].channel.counts.connections == 1  # the line was never given up


async def test_noise_in_a_frame_is_refused_and_the_frame_comes_again(tmp_path: Path, cable: Cable) -> None:
    async with site_on(tmp_path, {"kind": "astm-serial", "device": cable.path}) as site:
        await until(lambda: connections(site) == 1)
        await cable.send(ENQ)
        assert await cable.receive() == b"\x06"
        for frame in one_record_a_frame(astm("S-1", "5.1")):
            hurt = frame[:6] + bytes([frame[6] ^ 0x10]) + frame[7:]
            await cable.send(hurt)
            assert await cable.receive() == b"\x15"
            await cable.send(frame)
            assert await cable.receive() == b"\x06"
        await cable.send(b"\x04")
        await site.settled()
        assert values(site) == ["5.1"]


# -- one line, one channel ---------------------------------------------------------------------------------------------

SERIAL_YAML = "channel: {name}\nsource: {{kind: astm-serial, device: {device}}}\nroutes: [{{to: archive}}]\n"


def two_channels(folder: Path, first: str, second: str, *, more: str = "") -> Path:
    return make_site(
        folder / "site",
        channels={
            "a.yaml": SERIAL_YAML.format(name="a", device=first),
            "b.yaml": SERIAL_YAML.format(name="b", device=second) + more,
        },
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/dev/labrelay-x", "/dev/labrelay-x"),
        ('"rfc2217://10.0.0.9:4001"', '"socket://10.0.0.9:4001"'),
        ("usb:0403:6001/AB", "usb:0403:6001/AB"),
    ],
)
def test_two_channels_cannot_share_a_line(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_site(two_channels(tmp_path, first, second))
    (problem,) = caught.value.problems
    assert problem.startswith("channels/b.yaml:2:")
    assert problem.endswith(
        "source.device: is the line of channel a (channels/a.yaml) too; a line belongs to one channel"
    )


def test_two_names_of_one_port_are_one_line(tmp_path: Path, cable: Cable) -> None:
    with pytest.raises(ConfigError):
        load_site(two_channels(tmp_path, cable.path, cable.device))
    load_site(two_channels(tmp_path, cable.path, cable.device, more="enabled: false\n"))


def test_a_number_of_an_adapter_is_warned_of(tmp_path: Path) -> None:
    site = load_site(two_channels(tmp_path, "/dev/ttyUSB0", "/dev/serial/by-id/usb-X-if00-port0"))
    (warning,) = [text for text in site.warnings if "device" in text]
    assert warning.startswith("channels/a.yaml:2:")
    assert "/dev/serial/by-id" in warning
