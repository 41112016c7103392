"""Following a running site: lines of a tap, and the end of one that is not read."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.actions.control import SOCKET_NAME
from engine.commands.shared.output import ExitCode
from engine.model.process.clock import ManualClock
from engine.monitoring import taps as taps_module
from engine.runtime.app import App
from engine.store.queries.acts import acts_page, open_acts
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import CANARY, payload
from tests.support.running import running_app
from tests.support.sites import make_site
from tests.support.waiting import until

SITE = """\
site: {name: Test Lab, timezone: Asia/Kolkata}
web: {enabled: false}
destinations:
  archive: {kind: file, folder: var/archive}
"""
CHANNEL = """\
channel: haematology
source: {kind: mllp, listen: "127.0.0.1:0"}
routes:
  - to: archive
"""


class Site:
    def __init__(self, folder: Path, app: App) -> None:
        self.folder = folder
        self.app = app

    async def labrelay(self, *arguments: str) -> Ran:
        return await asyncio.to_thread(labrelay, *arguments, site=self.folder)

    async def send(self, *numbers: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.app.parts.sources["haematology"].port)
        for number in numbers:
            writer.write(b"\x0b" + payload(number) + b"\x1c\r")
            assert b"MSA|AA" in await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 240.0)
        writer.close()
        await writer.wait_closed()

    async def following(self, *arguments: str, messages: int = 1, first: int = 1) -> Ran:
        """A tap that is open before messages are sent."""
        ran = asyncio.create_task(self.labrelay("tap", "haematology", *arguments))
        await until(lambda: bool(self.app.parts.taps._open) or ran.done())
        await self.send(*range(first, first + messages))
        return await asyncio.wait_for(ran, 240.0)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    folder = make_site(tmp_path, site=SITE, channels={"a.yaml": CHANNEL})
    async with running_app(folder) as app:
        yield Site(folder, app)


async def test_every_stage_of_a_message_is_told_in_its_order(site: Site) -> None:
    ran = await site.following("--count", "4", "-o", "ndjson")
    assert ran.code == ExitCode.OK
    raw, parsed, mapped, delivery = ran.lines
    assert [line["stage"] for line in ran.lines] == ["raw", "parsed", "mapped", "delivery"]
    assert {line["message"] for line in ran.lines} == {1}
    assert (raw["type"], raw["bytes"]) == ("ORU^R01", len(payload(1)))
    assert parsed["segments"] == {"MSH": 1, "PID": 1, "OBR": 1, "OBX": 1}
    assert (mapped["state"], mapped["documents"], mapped["destinations"]) == ("mapped", 1, ["archive"])
    assert (delivery["outcome"], delivery["attempt"], delivery["destination"]) == ("delivered", 1, "archive")
    assert CANARY not in ran.out + ran.err


async def test_people_see_the_same_in_lines(site: Site) -> None:
    ran = await site.following("--count", "4")
    assert "contents are masked" in ran.err
    for words in ("ORU^R01", "PID|9||9^^^xxxx^xx||xxxxxx^xxxxx", "MSH PID OBR OBX", "mapped; 1 document for archive"):
        assert words in ran.out
    assert "delivered: archive (1), attempt 1" in ran.out
    assert CANARY not in ran.out


async def test_a_name_that_stands_for_a_segment_or_a_type_is_masked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a line end in a text was not escaped, or a field is missing in the header."""
    broken = payload(1).replace(b"|ORU^R01|", b"|RAO^ANITA|") + b"RAO\r"
    monkeypatch.setattr(__name__ + ".payload", lambda number: broken)
    ran = await site.following("--stage", "raw,parsed", "--count", "2", "-o", "ndjson")
    raw, parsed = ran.lines
    assert (raw["type"], parsed["structure"]) == ("", "")  # MSH-9 is cut to codes of its table
    assert parsed["segments"] == {"MSH": 1, "PID": 1, "OBR": 1, "OBX": 1, "xxx": 1}
    assert "RAO" not in ran.out + ran.err


async def test_contents_are_shown_only_after_a_row_of_the_audit_trail(site: Site) -> None:
    ran = await site.following("--unmask", "--purpose", "a test", "--stage", "raw,mapped", "--count", "2")
    assert CANARY in ran.out
    await until(lambda: not site.app.parts.taps._open)
    await until(lambda: not open_acts(site.app.journal))
    end, begin = acts_page(site.app.journal, limit=2)
    assert (begin.verb, begin.what["export"]["tap"]) == ("unmask", "haematology")
    assert begin.what["purpose"] == "a test"
    assert (end.ended, end.what) == (begin.id, {"first": 2, "last": 2})  # the act is row 1


async def test_a_failing_delivery_is_told_with_its_reason(site: Site) -> None:
    archive = site.folder / "var" / "archive"
    await until(archive.is_dir)
    archive.rmdir()
    archive.write_text("in the way")
    ran = await site.following("--stage", "delivery", "--count", "1", "-o", "ndjson")
    (line,) = ran.lines
    assert (line["outcome"], line["code"], line["attempt"]) == ("postponed", "STORAGE", 1)


async def test_it_ends_after_the_time_that_is_given(site: Site) -> None:
    ran = await site.labrelay("tap", "haematology", "--for", "200ms")
    assert (ran.code, ran.out) == (ExitCode.OK, "")


async def test_what_cannot_be_followed_is_told(site: Site) -> None:
    unknown = await site.labrelay("tap", "nowhere")
    assert (unknown.code, "known: haematology" in unknown.err) == (ExitCode.FAILED, True)
    assert (await site.labrelay("tap", "haematology", "--stage", "row")).code == ExitCode.USAGE
    unstated = await site.labrelay("tap", "haematology", "--unmask")
    assert (unstated.code, "--purpose TEXT is missing" in unstated.err) == (ExitCode.USAGE, True)


async def test_the_end_of_the_daemon_is_the_end_of_the_tap(tmp_path: Path) -> None:
    folder = make_site(tmp_path, site=SITE, channels={"a.yaml": CHANNEL})
    async with running_app(folder) as app:
        ran = asyncio.create_task(asyncio.to_thread(labrelay, "tap", "haematology", site=folder))
        await until(lambda: bool(app.parts.taps._open))
    assert (await asyncio.wait_for(ran, 240.0)).code == ExitCode.UNREACHABLE
    assert (await asyncio.to_thread(labrelay, "tap", "haematology", site=folder)).code == ExitCode.UNREACHABLE


async def test_a_reader_that_stands_still_loses_lines_and_holds_nobody_up(site: Site) -> None:
    """Its lines do not fit into the socket: what came meanwhile is counted, in its place."""
    stuck = socket.socket(socket.AF_UNIX)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stuck, str(site.folder / "var" / SOCKET_NAME))
    args = json.dumps({"channel": "haematology", "stages": ["raw"]}).encode()
    head = b"POST /v1/tap HTTP/1.1\r\nHost: labrelay\r\nContent-Length: %d\r\n\r\n" % len(args)
    await loop.sock_sendall(stuck, head + args)
    await until(lambda: bool(site.app.parts.taps._open))
    (tap,) = site.app.parts.taps._open

    sent = 0
    while not any(isinstance(event, int) for event in tap.queue):
        await site.send(*range(sent + 1, sent + 101))
        sent += 100
        assert len(tap.queue) <= taps_module.QUEUED + 1
        assert tap.queued_bytes <= taps_module.QUEUED_BYTES
    # Every message was acknowledged above, and each is now told or counted, in its place.
    told: list[int] = []
    lost, rest = 0, b""
    while len(told) + lost < sent:
        rest += await asyncio.wait_for(loop.sock_recv(stuck, 65536), 240.0)
        *lines, rest = rest.split(b"\n")
        # Between the items are the head of the answer and the lengths of its chunks.
        for line in (json.loads(line)["item"] for line in lines if line.startswith(b"{")):
            lost += line.get("lost", 0)
            told += [line["message"]] if "message" in line else []
    stuck.close()
    assert told == sorted(set(told))
    assert lost > 0
    await until(lambda: not site.app.parts.taps._open)  # and its place is free


async def test_more_lines_a_second_than_anybody_can_read_are_left_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taps_module, "PER_S", 3)
    monkeypatch.setattr(taps_module, "QUEUED", 4)
    clock = ManualClock()
    monkeypatch.setattr(
        site.app.parts.taps, "_clock", clock
    )  # the second of the first three lines never ends by itself
    following = asyncio.create_task(site.labrelay("tap", "haematology", "--stage", "raw", "--count", "8"))
    await until(lambda: bool(site.app.parts.taps._open))
    (tap,) = site.app.parts.taps._open
    await site.send(1, 2, 3)
    await until(lambda: not tap.queue)
    await site.send(*range(4, 61))
    assert [event if isinstance(event, int) else "a line" for event in tap.queue] == ["a line"] * 4 + [53]
    clock.advance(1.0)
    await until(lambda: len(tap.queue) == 2)
    clock.advance(1.0)
    await until(lambda: not tap.queue)
    await site.send(61)
    shown = (await following).out
    assert shown.count("ORU^R01") == 8
    assert "53 left out: more than can be shown" in shown


async def test_a_message_that_is_larger_than_all_that_may_wait_is_told_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taps_module, "QUEUED_BYTES", 10)
    monkeypatch.setattr(taps_module, "SHOWN_BYTES", 40)
    ran = await site.following("--stage", "raw", "--count", "1", "-o", "ndjson")
    (line,) = ran.lines
    assert line["bytes"] == len(payload(1))
    assert line["not_shown"] == len(payload(1)) - 40


async def test_only_so_many_follow_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps_module, "FOLLOWERS", 1)
    first = asyncio.create_task(site.labrelay("tap", "haematology", "--count", "1"))
    await until(lambda: bool(site.app.parts.taps._open))
    second = await site.labrelay("tap", "haematology", "--for", "1s")
    assert (second.code, "open already" in second.err) == (ExitCode.FAILED, True)
    await site.send(1)
    assert (await first).code == ExitCode.OK


async def test_ctrl_c_ends_it(site: Site) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "--site", str(site.folder), "tap", "haematology", stdout=PIPE, stderr=PIPE,
        env=environment,
    )  # fmt: skip
    await until(lambda: bool(site.app.parts.taps._open), 240.0)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 240.0)
    assert process.returncode == ExitCode.INTERRUPTED
    assert b"interrupted" in err
    assert b"Traceback" not in err
