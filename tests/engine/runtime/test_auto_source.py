"""Two analyzers of different kinds on one port: each connection is read as what it is, each message goes its way."""

import asyncio
from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.model.errors import ConfigError
from engine.model.process.clock import ManualClock
from engine.runtime.build import build_site
from tests.support.astm_peer import one_record_a_frame
from tests.support.running import RunningSite, make_running_site, running_app
from tests.support.sites import make_site
from workbench.sandbox import Sandbox

ORU = (
    b"MSH|^~\\&|XP|LAB|||20260301101500||ORU^R01|17|P|2.3.1\rPID|1||4711||Doe^Jane||19800101|F\r"
    b"OBR|1||S1|CBC\rOBX|1|NM|6690-2^WBC^LN||5.1|10*9/L|||||F\r"
)
RECORDS = (
    b"H|\\^&|||XP|||||||P|1|20260301101500\rP|1||4712||Doe^Jane||19800101|F\r"
    b"O|1|S2||^^^WBC|||||||N\rR|1|^^^WBC|5.2|10*9/L||||F\rL|1|N\r"
)
AUTO = {"source": {"kind": "auto", "listen": "127.0.0.1:0"}}
ARCHIVE = {"kind": "file", "folder": "var/archive"}


async def block(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x0b" + ORU + b"\x1c\r")
    answer = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 240.0)
    writer.close()
    return answer


async def session(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = b""
    for part in (b"\x05", *one_record_a_frame(RECORDS)):
        writer.write(part)
        answers += await asyncio.wait_for(reader.readexactly(1), 240.0)
    writer.write(b"\x04")
    await writer.drain()
    writer.close()
    return answers


async def test_both_come_in_at_one_port_and_each_goes_its_way(tmp_path: Path) -> None:
    routes = [
        {"when": "=MSH-9.1 == 'ORU'", "to": "hl7"},
        {"when": "=R[1]-3.4 == 'WBC'", "to": "astm"},
        {"to": "all"},
    ]
    to = {name: {**ARCHIVE, "folder": f"var/{name}"} for name in ("hl7", "astm", "all")}
    make_running_site(tmp_path, {"port": {**AUTO, "routes": routes}}, to)
    async with running_app(tmp_path) as app:
        site = RunningSite(tmp_path, app, Sandbox())
        answer, answers = await asyncio.gather(block(site.port("port")), session(site.port("port")))
        await site.settled()

        assert b"MSA|AA|17" in answer
        assert answers == b"\x06" * 6
        went = {view.message_type: {one.destination for one in site.deliveries(view.id)} for view in site.messages()}
        assert went == {"ORU^R01": {"hl7", "all"}, "R": {"astm", "all"}}
        media = {view.message_type: site.trace(view.id).documents[0].media_type for view in site.messages()}
        assert media == {"ORU^R01": "x-application/hl7-v2+er7", "R": "text/x-astm-e1394"}


def channel(folder: Path, *routes: str) -> Path:
    listed = "".join(f"  - {route}\n" for route in routes)
    text = f'channel: port\nsource: {{kind: auto, listen: "127.0.0.1:0"}}\nroutes:\n{listed}'
    return make_site(folder, channels={"port.yaml": text})


def build(folder: Path) -> None:
    build_site(load_site(folder), identity_key=bytes(32), clock=ManualClock())


def test_a_mapping_takes_messages_of_its_own_format_only(tmp_path: Path) -> None:
    folder = channel(tmp_path, "{mapping: results, to: archive}")
    (route,) = build_site(load_site(folder), identity_key=bytes(32), clock=ManualClock()).channels["port"].routes.routes
    read = build_site(load_site(folder), identity_key=bytes(32), clock=ManualClock()).channels["port"].message_format
    options = build_site(load_site(folder), identity_key=bytes(32), clock=ManualClock()).channels["port"].routes.options

    assert route.when is not None
    assert route.when(read.parse(ORU, options))
    assert not route.when(read.parse(RECORDS, options))


def test_a_condition_that_fits_neither_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"port\.yaml:4:"):
        build(channel(tmp_path, "{when: =ZZZZ-9 == 'X', to: archive}"))


def test_a_condition_in_another_language_than_the_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"port\.yaml:4:"):
        build(channel(tmp_path, "{when: =Q-2 == '1', mapping: results, to: archive}"))
