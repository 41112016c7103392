"""`labrelay detect`: from a capture or a line to a channel file that the site starts with."""

import asyncio
import os
import termios
import tty
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.diagnostics.packs import packs
from engine.model.process.clock import ManualClock
from engine.runtime.build import build_site
from tests.support.astm_peer import ENQ, one_record_a_frame, session
from tests.support.command_line import Ran, labrelay
from tests.support.corpus import CORPUS
from tests.support.ports import quiet_ports
from tests.support.running import make_running_site
from tests.support.samples import sample_files
from tests.support.uart import at_speed, with_parity

RECORDS = b"H|\\^&|||Some One^1\rP|1||77||Doe^Jane\rO|1|S1\rR|1|^^^WBC|5.1\rL|1|N\r"
XN = RECORDS.replace(b"Some One^1", b"XN-350^11")
SESSION = session(*one_record_a_frame(RECORDS))
ORU = b"MSH|^~\\&|LAB||||20260301||ORU^R01|17|P|2.5\rPID|1||4711||Doe^Jane\r"
OUL = ORU.replace(b"ORU^R01", b"OUL^R22")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    make_running_site(folder, {}, {"lab-fhir": {"kind": "file", "folder": "var/out"}})
    return folder


def capture(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "capture"
    path.write_bytes(data)
    return str(path)


def values(ran: Ran) -> dict[str, str]:
    return {part["name"]: part["value"] for part in ran.json["parts"]}


def starts(site: Path, name: str) -> None:
    """The site loads and compiles with the channel."""
    built = build_site(load_site(site), identity_key=bytes(32), clock=ManualClock())
    assert name in built.channels


def test_every_part_has_its_reason(tmp_path: Path) -> None:
    ran = labrelay("detect", capture(tmp_path, SESSION))

    assert ran.code == 0
    assert "link      e1381                    sure      5 of 5 frames with a right checksum" in ran.out
    assert "analyzer  -                        not sure  no pack recognises it" in ran.out
    assert "Doe" not in ran.out


def test_what_is_not_known_is_said_and_fails(tmp_path: Path) -> None:
    ran = labrelay("detect", capture(tmp_path, at_speed(SESSION, 0.5)))

    assert ran.code == 1
    assert "not sure:" in ran.out
    assert "try another baud" in ran.out


@pytest.mark.parametrize("data", [SESSION, b"\x0b" + ORU + b"\x1c\r", OUL, RECORDS, session(*one_record_a_frame(XN))])
def test_the_channel_file_is_one_that_the_site_starts_with(tmp_path: Path, site: Path, data: bytes) -> None:
    ran = labrelay("detect", capture(tmp_path, data), "--write", str(site / "channels" / "found.yaml"), site=site)

    assert ran.code == 0, ran.err
    starts(site, "found")
    text = (site / "channels" / "found.yaml").read_text()
    assert "# Written by labrelay detect" in text
    assert text.startswith("# yaml-language-server: $schema=../config/schema/channel.json\n")
    assert (site / "config/schema/channel.json").is_file()


def test_a_known_analyzer_gets_the_channel_of_its_pack(tmp_path: Path, site: Path) -> None:
    path = site / "channels" / "found.yaml"
    labrelay("detect", capture(tmp_path, session(*one_record_a_frame(XN))), "--write", str(path), site=site)

    assert "\nanalyzer: sysmex-xn" in path.read_text()
    assert "\n    to: lab-fhir" in path.read_text()


def test_what_is_written_maps_what_was_seen_for_the_server(tmp_path: Path) -> None:
    """A new site has a FHIR server and an archive: what the mapping of this message makes is for the server."""
    site = tmp_path / "new"
    assert labrelay("init", site=site).code == 0
    adt = ORU.replace(b"ORU^R01", b"ADT^A08^ADT_A01")
    for data, name, mapping in ((ORU, "lab", "hl7-results"), (adt, "ward", "hl7-patients"), (RECORDS, "ise", "astm-")):
        path = site / "channels" / f"{name}.yaml"
        assert labrelay("detect", capture(tmp_path, data), "--write", str(path), site=site).code == 0
        text = path.read_text()
        assert f"    mapping: {mapping}" in text
        assert "\n    to: lab-fhir" in text
        assert "\n  - to: archive" in text
        assert f"local_system: urn:labrelay:codes:{name} " in text  # codes of two analyzers are never those of one
        starts(site, name)


def test_without_a_place_for_anything_only_what_is_mapped_has_a_route(tmp_path: Path) -> None:
    site = tmp_path / "site"
    fhir = {"kind": "fhir", "url": "http://127.0.0.1:1/fhir"}
    make_running_site(site, {}, {"old-lis": {"kind": "mllp", "connect": "127.0.0.1:1"}, "server": fhir})
    path = site / "channels" / "found.yaml"
    assert labrelay("detect", capture(tmp_path, RECORDS), "--write", str(path), site=site).code == 0
    assert "\n    to: server\n" in path.read_text()
    assert "as it came" not in path.read_text()
    starts(site, "found")


def test_a_broker_takes_what_has_no_mapping(tmp_path: Path) -> None:
    site = tmp_path / "site"
    fhir = {"kind": "fhir", "url": "http://127.0.0.1:1/fhir"}
    feed = {"kind": "mqtt", "connect": "127.0.0.1:1", "client_id": "lab", "topic": "lab/{channel}"}
    make_running_site(site, {}, {"server": fhir, "feed": feed})
    path = site / "channels" / "found.yaml"
    assert labrelay("detect", capture(tmp_path, RECORDS), "--write", str(path), site=site).code == 0
    assert "\n    to: server\n" in path.read_text()
    assert "\n  - to: feed" in path.read_text()
    starts(site, "found")


def test_a_parity_becomes_the_setting_of_a_serial_line(tmp_path: Path, site: Path) -> None:
    path = site / "channels" / "found.yaml"
    data = with_parity(session(*one_record_a_frame(XN)), "even")
    ran = labrelay("detect", capture(tmp_path, data), "--write", str(path), site=site)

    assert "bytesize 7, parity even" in ran.out
    assert "kind: astm-serial" in path.read_text()
    starts(site, "found")
    source = load_site(site).channels["found"].source
    assert (getattr(source, "bytesize", 0), getattr(source, "parity", "")) == (7, "even")


def test_two_channels_do_not_get_one_port(tmp_path: Path, site: Path) -> None:
    for name in ("one", "two"):
        ran = labrelay(
            "detect", capture(tmp_path, SESSION), "--write", str(site / "channels" / f"{name}.yaml"), site=site
        )
        assert ran.code == 0, ran.err
    starts(site, "two")


def test_a_file_that_is_there_is_left_alone(tmp_path: Path, site: Path) -> None:
    path = site / "channels" / "found.yaml"
    path.write_text("mine")
    ran = labrelay("detect", capture(tmp_path, SESSION), "--write", str(path), site=site)

    assert ran.code != 0
    assert path.read_text() == "mine"


def test_a_file_beside_the_channels_is_said_to_be_read_by_nobody(tmp_path: Path, site: Path) -> None:
    given = ("--site", str(site), "detect", capture(tmp_path, SESSION), "--write")
    beside = labrelay(*given, str(tmp_path / "mine.yaml"))
    assert f"The site reads channels from {site / 'channels'} only" in beside.err
    assert "reads channels from" not in labrelay(*given, str(site / "channels" / "mine.yaml")).err


def test_too_little_writes_nothing(tmp_path: Path, site: Path) -> None:
    path = site / "channels" / "found.yaml"
    ran = labrelay("detect", capture(tmp_path, ENQ), "--write", str(path), site=site)

    assert ran.code == 3
    assert "too little is known" in ran.err
    assert not path.exists()


FIRST = {sample.folder: sample.path for sample in reversed(sample_files("hl7v2", "astm", "text"))}
SEEN = [
    *((pack.name, FIRST[pack.name]) for pack in packs()),
    *(pytest.param(pack.name, CORPUS / pack.config.seen[0].file, marks=pytest.mark.corpus) for pack in packs()),
]


@pytest.mark.parametrize(("pack", "file"), SEEN, ids=lambda value: getattr(value, "name", value))
def test_a_message_of_each_pack_leads_to_a_channel_that_starts(pack: str, file: Path, site: Path) -> None:
    ran = labrelay("detect", str(file), "--write", str(site / "channels" / "found.yaml"), site=site)

    assert ran.code == 0, ran.err
    starts(site, "found")
    assert load_site(site).channels["found"].analyzer == pack


async def heard(*arguments: str, port: int, send: bytes) -> Ran:
    """`labrelay detect` at an address, and an analyzer that connects there."""
    command = asyncio.create_task(asyncio.to_thread(labrelay, "detect", f"127.0.0.1:{port}", *arguments))
    async with asyncio.timeout(240.0):
        while not command.done():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.01)
    writer.write(send)
    ran = await command
    writer.close()
    return ran


async def test_a_line_is_listened_to_until_all_is_known() -> None:
    (port,) = quiet_ports(1)
    ran = await heard("-o", "json", port=port, send=session(*one_record_a_frame(XN)))

    assert values(ran)["analyzer"] == "sysmex-xn"


async def test_a_line_that_only_asks_is_told_so_when_the_time_is_over() -> None:
    (port,) = quiet_ports(1)
    ran = await heard("--for", "1s", port=port, send=ENQ)

    assert ran.code == 1
    assert "--answer --save FILE" in ran.out


async def test_a_serial_line_leads_to_a_channel_with_its_device(site: Path) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs, termios.TCSANOW)
    device, path = os.ttyname(theirs), site / "channels" / "found.yaml"
    try:
        command = asyncio.create_task(
            asyncio.to_thread(labrelay, "detect", device, "--baud", "4800", "--write", str(path), site=site)
        )
        async with asyncio.timeout(240.0):
            while not command.done():  # what came before the line was opened is gone: send again, as analyzers do
                os.write(ours, session(*one_record_a_frame(XN)))
                await asyncio.wait({command}, timeout=0.4)
        ran = command.result()
    finally:
        os.close(ours)
        os.close(theirs)

    assert ran.code == 0, ran.err + ran.out
    text = path.read_text()
    assert f'device: "{device}"' in text
    assert "baud: 4800" in text


def test_what_is_neither_capture_nor_line_is_told_so(tmp_path: Path) -> None:
    ran = labrelay("detect", str(tmp_path.name) + ".bin")
    assert ran.code == ExitCode.USAGE
    assert "nor an address" in ran.err
    assert "there is no such file" in ran.err


def test_settings_of_a_line_are_not_for_a_capture(tmp_path: Path) -> None:
    ran = labrelay("detect", capture(tmp_path, SESSION), "--baud", "9600")

    assert ran.code == 2
    assert "a capture is just read" in ran.err


ROWS = (
    b"Sample;Assay;Result;Unit;Run at\r\nS-1;GLU;5,4;mmol/L;2026-03-01 10:15\r\nS-1;CREA;88;umol/L;2026-03-01 10:15\r\n"
)


def test_rows_of_cells_get_a_layout_that_reads_them(tmp_path: Path, site: Path) -> None:
    file, channel = capture(tmp_path, ROWS), site / "channels" / "elisa.yaml"
    ran = labrelay("detect", file, "--write", str(channel), "--column", "time=Run at", site=site)

    assert ran.code == 0, ran.err
    assert "column    Run at: -" in ran.out
    assert "layout: elisa" in channel.read_text()
    starts(site, "elisa")
    mapped = labrelay("explain", file, "--channel", "elisa", "--show-values", site=site)
    assert "5.4" in mapped.out
    assert "2026-03-01T10:15:00" in mapped.out


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (ROWS.replace(b"Assay", b"What"), "test"),
        (ROWS.replace(b"5,4", b"5,400").replace(b"88", b"88,000"), "full stop or a comma"),
    ],
)
def test_what_a_column_has_is_never_guessed(tmp_path: Path, site: Path, rows: bytes, why: str) -> None:
    ran = labrelay("detect", capture(tmp_path, rows), "--write", str(site / "channels" / "elisa.yaml"), site=site)

    assert ran.code == ExitCode.CONFIG
    assert why in ran.err
    assert not list((site / "channels").glob("*")) + list(site.glob("layouts/*"))


def test_a_decimal_comma_beyond_doubt_becomes_a_setting(tmp_path: Path, site: Path) -> None:
    wire = session(*one_record_a_frame(RECORDS.replace(b"|5.1", b"|5,1")))
    ran = labrelay("detect", capture(tmp_path, wire), "--write", str(site / "channels" / "found.yaml"), site=site)

    assert ran.code == 0, ran.err
    assert 'decimal_comma: "yes"' in (site / "channels" / "found.yaml").read_text()


def test_a_channel_that_is_there_keeps_its_file_and_gets_no_layout(tmp_path: Path, site: Path) -> None:
    (site / "channels" / "elisa.yaml").write_text("# mine\n")
    (site / "config" / "labrelay.yaml").read_text()
    ran = labrelay("detect", capture(tmp_path, ROWS), "--write", str(site / "channels" / "elisa.yaml"), site=site)

    assert ran.code != 0
    assert (site / "channels" / "elisa.yaml").read_text() == "# mine\n"
    assert not list(site.glob("layouts/*"))


def test_a_layout_never_takes_the_place_of_a_shipped_one(tmp_path: Path, site: Path) -> None:
    channel = site / "channels" / "arkray-spotchem-el.yaml"
    ran = labrelay("detect", capture(tmp_path, ROWS), "--write", str(channel), "--column", "time=Run at", site=site)

    assert ran.code == ExitCode.CONFIG
    assert "has the name arkray-spotchem-el already" in ran.err
    assert not list((site / "channels").glob("*")) + list(site.glob("layouts/*"))
