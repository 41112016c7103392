"""The MLLP of python-hl7 at the other end: its client against a running site, its server against the simulator."""

import asyncio
from datetime import datetime
from pathlib import Path

import hl7
from hl7.client import MLLPClient
from hl7.mllp import start_hl7_server
from hl7.mllp.streams import HL7StreamReader, HL7StreamWriter

from engine.model.texts.units import HostPort
from engine.store.queries.reader import stored_payload
from tests.support.running import hl7_channel, running_site
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.faults import ALL, Fault
from workbench.simulator.packs import find_model
from workbench.simulator.play import Analyzer, PlaySettings
from workbench.simulator.shift import Kind, shift
from workbench.simulator.wires import ClientWire

START = datetime(2026, 3, 2, 8, 0)


async def test_its_client_gets_an_answer_to_each_message(tmp_path: Path) -> None:
    sendings = list(shift(find_model("mindray-bc5380"), seed=4, start=START, specimens=6))
    async with running_site(tmp_path / "site", {"haem": hl7_channel()}) as site:

        def send() -> list[bytes]:
            with MLLPClient("127.0.0.1", site.port("haem")) as client:
                return [client.send_message(sending.payload) for sending in sendings]

        answers = await asyncio.to_thread(send)
        await site.settled()
        kept = [stored_payload(site.journal, view.id) for view in site.messages("haem")]
        ends = set(site.ends("haem"))
    assert kept == [sending.payload for sending in sendings]
    assert ends == {"delivered"}
    for answer, sending in zip(answers, sendings, strict=True):
        told = hl7.parse(answer.decode().strip("\x0b\x1c\r"))
        asked = hl7.parse(sending.payload.decode())
        assert str(told.segment("MSA")[1]) == "AA"
        assert str(told.segment("MSA")[2]) == str(asked.segment("MSH")[10])


async def test_its_server_takes_every_message_with_every_fault_that_it_can_survive() -> None:
    """It takes a block that is begun twice for one, and noise for the end of the connection."""
    came: list[str] = []

    async def serve(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            while not reader.at_eof():
                message = await reader.readmessage()
                came.append(str(message))
                writer.writemessage(message.create_ack())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    sendings = list(shift(find_model("mindray-bc5380"), seed=4, start=START, specimens=12, again=False))
    server = await start_hl7_server(serve, host="127.0.0.1", port=0, encoding="utf-8")
    try:
        wire = ClientWire(HostPort("127.0.0.1", server.sockets[0].getsockname()[1]))
        dialogue = Dialogue()
        how = PlaySettings(faults=ALL - {Fault.BAD_CHECKSUM, Fault.GARBAGE}, seed=2, again_after=0.01, trickle=0.0)
        await Analyzer("mllp", wire, dialogue, how).work(sendings)
        await wire.close()
    finally:
        server.close()
    assert dialogue.tally.violations == []
    assert dialogue.tally.failed == 0
    sent = [sending.payload.decode() for sending in sendings if sending.kind is Kind.RESULT]
    assert list(dict.fromkeys(text.rstrip("\r") for text in came)) == [text.rstrip("\r") for text in sent]
