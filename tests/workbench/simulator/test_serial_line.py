"""A simulated analyzer on a real pty: at the pace of the line, with parity made in software, and a cable pulled."""

import asyncio
import os
import tty
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.support.astm_host import StrictHost
from tests.support.waiting import until
from workbench.simulator.astm import Habits
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.faults import ALL
from workbench.simulator.packs import find_model
from workbench.simulator.play import Analyzer, PlaySettings
from workbench.simulator.shift import shift
from workbench.simulator.wires import Serial, SerialLine

START = datetime(2026, 3, 2, 8, 0)
FAST = 10_000_000


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """The host's end, and the analyzer's device."""
    host, device = os.openpty()
    tty.setraw(host)
    yield host, os.ttyname(device)
    os.close(device)
    os.close(host)


class PtyHost:
    def __init__(self, descriptor: int, parity: bool = False) -> None:
        self.host = StrictHost()
        self.raw = bytearray()
        self._descriptor = descriptor
        self._parity = parity
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        data = os.read(self._descriptor, 4096)
        self.raw += data
        seven = bytes(byte & 0x7F for byte in data) if self._parity else data
        os.write(self._descriptor, self.host.take(seven))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)


async def test_sessions_with_every_fault_arrive_over_a_pty(
    pty: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.simulator.wires.SILENCE_S", 0.1)
    descriptor, device = pty
    host = PtyHost(descriptor)
    wire = SerialLine(device, Serial(baud=115_200))
    dialogue = Dialogue()
    how = PlaySettings(
        faults=ALL, seed=4, habits=Habits(answer_within=5.0, holds=0.002), again_after=0.001, trickle=0.0
    )
    sendings = list(shift(find_model("sysmex-xp"), seed=1, start=START, specimens=8, again=False))
    await Analyzer("e1381", wire, dialogue, how).work(sendings)
    await until(lambda: host.host.sessions[-1:] == [sendings[-1].payload])
    assert {sending.payload for sending in sendings} <= set(host.host.sessions)
    assert dialogue.tally.violations == []
    host.close()
    await wire.close()


async def test_the_eighth_bit_is_the_parity_of_seven(pty: tuple[int, str]) -> None:
    descriptor, device = pty
    host = PtyHost(descriptor, parity=True)
    wire = SerialLine(device, Serial(baud=115_200, parity="even"))
    sendings = list(shift(find_model("sysmex-xp"), seed=1, start=START, specimens=1, again=False))
    await Analyzer("e1381", wire, Dialogue()).work(sendings)
    await until(lambda: bool(host.host.sessions))
    assert host.host.sessions == [sendings[0].payload]
    assert all(byte.bit_count() % 2 == 0 for byte in host.raw)
    assert any(byte > 0x7F for byte in host.raw)
    host.close()
    await wire.close()


@pytest.mark.parametrize(
    ("parity", "a", "c"), [("none", 0x61, 0x63), ("even", 0xE1, 0x63), ("odd", 0x61, 0xE3), ("mark", 0xE1, 0xE3)]
)
def test_each_parity(parity: str, a: int, c: int) -> None:
    line = Serial(parity=parity)  # type: ignore[arg-type]  # one of its words
    assert line.encode(b"ac") == bytes([a, c])
    assert line.decode(bytes([a, c])) == b"ac"


async def test_a_line_carries_no_more_than_its_rate(pty: tuple[int, str]) -> None:
    """480 bytes at 9600 baud take half a second: never less, however fast the machine is."""
    descriptor, device = pty
    wire = SerialLine(device, Serial(baud=9600))
    await wire.open()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await wire.write([b"x" * 480])
    assert loop.time() - began >= 0.49
    came = b""
    while len(came) < 480:
        came += os.read(descriptor, 4096)
    await wire.close()


async def test_a_device_that_is_gone_breaks_the_line() -> None:
    far, near = os.openpty()
    wire = SerialLine(near)
    await wire.open()
    os.close(far)
    with pytest.raises(ConnectionError, match="the line broke"):
        await wire.read(5.0)
    assert not wire.is_open
    await wire.close()
    os.close(near)


def test_an_unusual_rate_is_named(pty: tuple[int, str]) -> None:
    with pytest.raises(ValueError, match="no rate of 12345 baud"):
        asyncio.run(SerialLine(pty[1], Serial(baud=12345)).open())
