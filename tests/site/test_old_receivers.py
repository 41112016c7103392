"""An analyzer's ASTM records to an old laboratory system, to a folder and to a web service: over real sockets.

ASTM over TCP -> journal -> astm-to-hl7 -> MLLP, answered AA, AE, AR, or not at all
                         -> astm-to-csv -> a file a message
                         -> astm-to-json -> HTTP
"""

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.command_line import labrelay
from tests.support.mllp_peer import CLOSE, MllpPeer, ack, mllp_peer
from tests.support.running import ASTM, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import AstmAnalyzer
from workbench.sandbox import Sandbox

RECORDS = (
    b"H|\\^&|||C1000|||||||P|1|20260302101500\r"
    b"P|1|MR-1|||M\xc3\xbcller^Zo\xc3\xab||19830719|F\r"
    b"O|1|S26-0001||^^^GLU||||||||||||||||||||||F\r"
    b"R|1|^^^GLU|5.40|mmol/L|3.9-5.6|N||F||||20260302101100\r"
    b"R|2|^^^PRO|++|||A||F||||20260302101100\r"
    b"L|1|N\r"
)
CORRECTED = RECORDS.replace(b"5.40", b"5.60").replace(b"|N||F", b"|N||C")


async def send(site: RunningSite, records: bytes = RECORDS) -> None:
    played = await AstmAnalyzer(site.port("c1000")).play(session(*one_record_a_frame(records)))
    assert not played.gave_up


@asynccontextmanager
async def relaying(folder: Path, mapping: str, destination: dict[str, Any]) -> AsyncIterator[RunningSite]:
    """A site whose one route translates for one receiver."""
    route = {"mapping": mapping, "to": "receiver"}
    make_running_site(folder, {"c1000": channel(ASTM, route)}, {"receiver": {**QUICK, **destination}})
    async with running_app(folder) as app:
        yield RunningSite(folder, app, Sandbox())


@asynccontextmanager
async def to_an_old_lis(folder: Path, peer: MllpPeer) -> AsyncIterator[RunningSite]:
    async with relaying(folder, "astm-to-hl7", {"kind": "mllp", "connect": f"127.0.0.1:{peer.port}"}) as site:
        yield site


def fields(message: bytes, name: str) -> list[list[str]]:
    return [line.split("|") for line in message.decode().split("\r") if line.startswith(name)]


async def test_what_an_analyzer_sends_in_astm_arrives_as_hl7(tmp_path: Path) -> None:
    async with mllp_peer(ack()) as peer, to_an_old_lis(tmp_path, peer) as site:
        await send(site)
        await site.settled()
        assert site.ends() == ["delivered"]
    (message,) = peer.messages
    (msh,) = fields(message, "MSH")
    assert (msh[8], msh[11], msh[17]) == ("ORU^R01^ORU_R01", "2.5.1", "UNICODE UTF-8")
    assert [pid[5] for pid in fields(message, "PID")] == ["Müller^Zoë"]
    assert [(obx[1], obx[2], obx[5], obx[6]) for obx in fields(message, "OBX")] == [
        ("1", "NM", "5.40", "mmol/L"),
        ("2", "ST", "++", ""),
    ]
    assert message.endswith(b"\r")


async def test_every_attempt_has_the_same_bytes_and_so_the_same_control_id(tmp_path: Path) -> None:
    async with mllp_peer(ack("AE"), CLOSE, ack("AA", "another"), ack()) as peer, to_an_old_lis(tmp_path, peer) as site:
        await send(site)
        await site.settled()
        assert site.ends() == ["delivered"]
    assert len(peer.messages) == 4
    assert len(set(peer.messages)) == 1


async def test_a_refused_message_is_dead_and_a_retry_sends_the_same_bytes(tmp_path: Path) -> None:
    async with mllp_peer(ack("AR"), ack()) as peer, to_an_old_lis(tmp_path, peer) as site:
        await send(site)
        await site.settled()
        assert site.ends() == ["REFUSED"]
        await site.retry(site.messages()[0].id)
        assert site.ends() == ["delivered"]
    assert len(set(peer.messages)) == 1


async def test_a_replay_sends_the_same_bytes_and_a_correction_another_control_id(tmp_path: Path) -> None:
    async with mllp_peer(ack()) as peer, to_an_old_lis(tmp_path, peer) as site:
        await send(site)
        await site.settled()
        await site.replay(site.messages()[0].id)
        await send(site, CORRECTED)
        await site.settled()
        assert site.ends() == ["delivered", "delivered"]
    first, again, corrected = peer.messages
    assert first == again
    assert fields(first, "MSH")[0][9] != fields(corrected, "MSH")[0][9]
    assert fields(corrected, "OBX")[0][11] == "C"


async def test_a_number_reused_for_another_patient_is_noticed_here_too(tmp_path: Path) -> None:
    other = RECORDS.replace(b"MR-1", b"MR-2").replace(b"M\xc3\xbcller", b"Meier").replace(b"19830719", b"19500101")
    async with mllp_peer(ack()) as peer, to_an_old_lis(tmp_path, peer) as site:
        await send(site)
        await send(site, other)
        await site.settled()
        assert site.ends() == ["delivered", "IDENTITY_CONFLICT"]
    assert len(peer.messages) == 1


async def test_lines_go_into_a_folder_one_whole_file_a_message(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    async with relaying(tmp_path / "site", "astm-to-csv", {"kind": "file", "folder": str(folder)}) as site:
        await send(site)
        await send(site, CORRECTED)
        await site.settled()
        assert site.ends() == ["delivered", "delivered"]
    found = sorted(folder.iterdir())
    assert [path.suffix for path in found] == [".csv", ".csv"]
    rows = list(csv.DictReader(found[0].read_text(encoding="utf-8").splitlines()))
    assert [(row["person"], row["test"], row["value"]) for row in rows] == [
        ("Müller Zoë", "GLU", "5.40"),
        ("Müller Zoë", "PRO", "'++"),
    ]


async def test_json_is_posted_under_its_own_media_type_with_the_delivery_key(tmp_path: Path) -> None:
    requests: list[tuple[dict[str, str], bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
        requests.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/results"
    async with server, relaying(tmp_path, "astm-to-json", {"kind": "http", "url": address}) as site:
        await send(site)
        await site.settled()
        assert site.ends() == ["delivered"]
    ((headers, body),) = requests
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"]
    document = json.loads(body, parse_float=str)
    assert [result.get("value") for result in document["patients"][0]["orders"][0]["results"]] == ["5.40", None]


@pytest.mark.parametrize(
    ("mapping", "destination", "said"),
    [
        (
            "astm-to-hl7",
            {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"},
            "writes hl7v2/ORU_R01, and receiver takes fh",
        ),
        ("astm-to-csv", {"kind": "mllp", "connect": "127.0.0.1:9"}, "writes csv, and receiver takes hl7v2 only"),
        ("astm-results", {"kind": "mllp", "connect": "127.0.0.1:9"}, "writes fhir/R4, and receiver takes hl7v2 only"),
    ],
)
def test_a_receiver_that_cannot_take_what_is_written_is_found_before_it_runs(
    tmp_path: Path, mapping: str, destination: dict[str, Any], said: str
) -> None:
    route = {"mapping": mapping, "to": "receiver"}
    make_running_site(tmp_path, {"c1000": channel(ASTM, route)}, {"receiver": destination})
    ran = labrelay("check", site=tmp_path)
    assert ran.code == ExitCode.CONFIG
    assert said in ran.err + ran.out
    assert "channels/c1000.yaml:" in ran.err + ran.out


def test_a_setting_that_means_nothing_is_found_before_it_runs(tmp_path: Path) -> None:
    content = channel(ASTM, {"mapping": "astm-to-csv", "to": "receiver"}, settings={"csv_delimiter": "#"})
    make_running_site(tmp_path, {"c1000": content}, {"receiver": {"kind": "file", "folder": "out"}})
    ran = labrelay("check", site=tmp_path)
    assert ran.code == ExitCode.CONFIG
    assert "settings.csv_delimiter: is one of , ; | tab" in ran.err + ran.out
