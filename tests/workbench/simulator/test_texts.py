"""Analyzers with text of their own: what is played is read by the layout of their pack, to the number."""

import asyncio
from datetime import datetime

import pytest

from engine.model.link_events import Block, Frame, LinkEvent
from engine.model.texts.units import HostPort
from tests.support.packs import channel_of, judged
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.faults import ALL, Fault
from workbench.simulator.packs import find_model
from workbench.simulator.play import Analyzer, PlaySettings
from workbench.simulator.shift import PlannedMessage, shift
from workbench.simulator.texts import SHAPES
from workbench.simulator.wires import ClientWire

START = datetime(2026, 3, 2, 8, 0)


def work(name: str, count: int) -> list[PlannedMessage]:
    return list(shift(find_model(name), seed=7, start=START, specimens=count))


class Peer:
    """The link of a pack's own channel behind a socket; every text is durable at once."""

    def __init__(self, name: str) -> None:
        self.built = channel_of(name)
        self.messages: list[bytes] = []

    def _keep(self, event: LinkEvent) -> None:
        wholes = [event.payload] if isinstance(event, Block) else getattr(event, "completes", ())
        for whole in wholes:
            self.messages += self.built.message_format.split(whole)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link, loop = self.built.new_link(), asyncio.get_running_loop()
        try:
            while data := await reader.read(4096):
                events = link.receive(data, loop.time())
                while events:
                    for event in events:
                        self._keep(event)
                        if isinstance(event, Frame):
                            link.committed(loop.time())
                    writer.write(link.outgoing())
                    events = link.receive(b"", loop.time())
                writer.write(link.outgoing())
        except OSError:
            pass
        finally:
            writer.close()


async def play(name: str, sendings: list[PlannedMessage], faults: frozenset[Fault]) -> tuple[Peer, Dialogue]:
    peer, dialogue = Peer(name), Dialogue()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    wire = ClientWire(HostPort("127.0.0.1", server.sockets[0].getsockname()[1]))
    how = PlaySettings(faults=faults, seed=3, again_after=0.01, trickle=0.0)
    await Analyzer(find_model(name).link, wire, dialogue, how).work(sendings)
    await wire.close()
    async with asyncio.timeout(240.0):
        while len(set(peer.messages)) < len(sendings):  # noqa: ASYNC110 - a printer says nothing when it is done
            await asyncio.sleep(0.005)
    server.close()
    return peer, dialogue


@pytest.mark.parametrize("name", SHAPES)
async def test_each_text_is_a_new_result_that_the_pack_reads(name: str) -> None:
    sendings = work(name, 5)
    peer, dialogue = await play(name, sendings, frozenset())
    assert dialogue.tally.violations == []
    numbers = [judged(peer.built, message).all("Specimen")[0]["identifier"][0]["value"] for message in peer.messages]
    assert numbers == [sending.numbers[0] for sending in sendings]
    assert all(judged(peer.built, message).all("Observation") for message in peer.messages)


async def test_one_that_waits_for_answers_survives_every_fault() -> None:
    sendings = work("biomerieux-minividas", 25)
    peer, dialogue = await play("biomerieux-minividas", sendings, ALL - {Fault.DROP})
    assert dialogue.tally.violations == []
    assert dialogue.tally.failed == 0
    assert len(set(peer.messages)) == len(sendings)
    assert {"bad-checksum", "lost-ack"} <= set(dialogue.tally.faults)


def test_the_same_seed_gives_the_same_texts() -> None:
    assert work("siemens-rapidlab-348", 3) == work("siemens-rapidlab-348", 3)
