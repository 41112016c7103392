"""`labrelay listen`: what a person sees of a line, over real sockets, ptys and a real process."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import termios
import tty
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import click
import pytest

from engine.commands.shared.line_options import line_at
from engine.commands.shared.listening import Listener, Save, Screen, only_copy
from engine.commands.shared.output import Form
from engine.model.errors import LabRelayError
from tests.support.astm_peer import ACK, ENQ, NAK, one_record_a_frame, session
from tests.support.command_line import labrelay
from tests.support.sites import make_site
from tests.support.uart import with_parity
from tests.support.values import mentions
from tests.support.waiting import until

RECORDS = b"H|\\^&|||ACME^1\rP|1||77||Doe^Jane\rO|1|S1\rR|1|^^^WBC|5.1\rL|1|N\r"
SESSION = session(*one_record_a_frame(RECORDS))
ORU = b"MSH|^~\\&|LAB||||20260301||ORU^R01|17|P|2.5\rPID|1||4711||Doe^Jane\r"
HERE = "127.0.0.1:0"


@contextlib.asynccontextmanager
async def listener(
    place: str = HERE, *, save: Path | None = None, answer: bool = False, masked: bool = True, form: Form = Form.TABLE
) -> AsyncIterator[Listener]:
    kept = Save(save) if save else None
    screen = Screen(form, masked=masked, zone=UTC)
    async with Listener(line_at(place, connect=False), screen, save=kept, answer=answer).opened() as made:
        yield made
    if kept is not None:
        kept.close()


class Shown:
    """What was written so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    @property
    def text(self) -> str:
        self._text += self._capsys.readouterr().out
        return self._text

    async def has(self, *wanted: str) -> None:
        await until(lambda: all(one in self.text for one in wanted))


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(capsys)


async def send(port: int, *parts: bytes, answered: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = b""
    for part in parts:
        writer.write(part)
        await writer.drain()
        if answered:
            answers += await asyncio.wait_for(reader.read(4096), 240.0)
    writer.close()
    return answers


async def test_an_unanswered_enq_is_explained(shown: Shown) -> None:
    async with listener() as line:
        await send(line.port, ENQ)

        await shown.has("in   05", "ENQ: the analyzer asks to send (ASTM E1381)", "--answer --save FILE")


async def test_frames_are_shown_judged_and_masked(shown: Shown) -> None:
    async with listener() as line:
        await send(line.port, SESSION)

        await shown.has("frame 5,", "5 frames of ASTM E1381, all checksums right", "ASTM E1394 records: H P O R L")
        assert "Doe" not in shown.text
        assert "2P|9||99||xxx^x" in shown.text


async def test_unmasked_shows_what_came(shown: Shown) -> None:
    async with listener(masked=False) as line:
        await send(line.port, SESSION)

        await shown.has("2P|1||77||Doe^J")


async def test_a_7_bit_line_is_told_in_the_words_of_the_settings(shown: Shown) -> None:
    async with listener() as line:
        await send(line.port, with_parity(SESSION, "even"))

        await shown.has("ENQ, then 7-bit even parity data: set bytesize 7, parity even")


async def test_a_wrong_checksum_shows_both(shown: Shown) -> None:
    frames = one_record_a_frame(RECORDS)
    frames[1] = frames[1].replace(b"Doe", b"Dof")
    async with listener() as line:
        await send(line.port, session(*frames))

        await shown.has("computed", ": wrong", "1 wrong checksum in 5 frames")


async def test_nothing_is_sent_without_being_told_to(shown: Shown) -> None:
    async with listener() as line:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        writer.write(ENQ)
        writer.write_eof()
        await shown.has("has closed the connection")

        assert await asyncio.wait_for(reader.read(), 240.0) == b""
        writer.close()


async def test_with_answer_a_session_runs_to_its_end_and_is_saved(tmp_path: Path, shown: Shown) -> None:
    saved = tmp_path / "line.bin"
    frames = one_record_a_frame(RECORDS)
    async with listener(answer=True, save=saved) as line:
        answers = await send(line.port, ENQ, *frames, answered=True)
        await shown.has("out  06", "ASTM E1394 records: H P O R L")

    assert answers == ACK * 6
    assert saved.read_bytes() == ENQ + b"".join(frames)
    assert saved.stat().st_mode & 0o777 == 0o600


async def test_with_answer_a_bad_frame_is_refused_with_its_reason(tmp_path: Path, shown: Shown) -> None:
    frames = one_record_a_frame(RECORDS)
    bad = frames[0].replace(b"ACME", b"ACMF")
    async with listener(answer=True, save=tmp_path / "line.bin") as line:
        assert await send(line.port, ENQ, bad, frames[0], answered=True) == ACK + NAK + ACK

        await shown.has("not taken (bad-checksum): checksum", "number 1, expected 1")


async def test_with_answer_hl7_is_acknowledged(tmp_path: Path, shown: Shown) -> None:
    async with listener(answer=True, save=tmp_path / "line.bin") as line:
        answer = await send(line.port, b"\x0b" + ORU + b"\x1c\r", answered=True)

        assert b"\rMSA|AA|17" in answer
        await shown.has("1 MLLP block", "HL7 v2: ORU^R01 2.5")
        assert not mentions(shown.text, "4711")


def full_disk(save: Save) -> None:
    """From now on, what is saved goes to a disk without room."""
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, save._file.fileno())
    os.close(full)


async def test_what_cannot_be_saved_is_not_answered(tmp_path: Path) -> None:
    save = Save(tmp_path / "line.bin")
    full_disk(save)
    screen = Screen(Form.TABLE, masked=True, zone=UTC)
    with pytest.raises(LabRelayError, match="nothing is answered"):
        async with Listener(line_at(HERE, connect=False), screen, save=save, answer=True).opened() as line:
            assert await send(line.port, ENQ, answered=True) == b""
            await line.until(asyncio.Event(), 5)
    save.close()


async def test_a_capture_with_times_keeps_both_sides(tmp_path: Path, shown: Shown) -> None:
    saved = tmp_path / "line.ndjson"
    async with listener(answer=True, save=saved) as line:
        await send(line.port, ENQ, answered=True)
        await shown.has("out  06")

    kept = [json.loads(text) for text in saved.read_text().splitlines()]
    assert [(one["from"], one["hex"]) for one in kept] == [("them", "05"), ("us", "06")]


async def test_lines_for_scripts(shown: Shown) -> None:
    async with listener(form=Form.NDJSON) as line:
        await send(line.port, SESSION)
        await shown.has('"about":"content"')

    objects = [json.loads(text) for text in shown.text.splitlines()]
    assert {one["schema_version"] for one in objects} == {1}
    (run,) = [one for one in objects if "hex" in one]
    assert (run["way"], run["bytes"]) == ("in", len(SESSION))
    assert run["hex"].startswith("05 02 31 48 7C")


async def test_a_serial_line_is_watched(shown: Shown) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs, termios.TCSANOW)
    try:
        async with listener(os.ttyname(theirs)) as line:
            await asyncio.sleep(0)
            await until(lambda: bool(line.watches))
            os.write(ours, SESSION)
            await shown.has("5 frames of ASTM E1381, all checksums right")
    finally:
        os.close(ours)
        os.close(theirs)


async def test_a_device_that_is_not_there_is_said(tmp_path: Path, shown: Shown) -> None:
    async with listener(str(tmp_path / "ttyUSB7")):
        await shown.has("ttyUSB7", "trying again")


async def test_the_whole_command_until_ctrl_c(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "engine", "listen", HERE),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "PYTHONUNBUFFERED": "1"},
        cwd=tmp_path,
    )
    try:
        assert process.stderr is not None
        assert process.stdout is not None
        first = (await asyncio.wait_for(process.stderr.readline(), 240.0)).decode()
        assert "messages are masked" in first
        await send(int(first.split(";")[0].rpartition(":")[2]), SESSION)
        text = ""
        while "records: H P O R L" not in text:
            text += (await asyncio.wait_for(process.stdout.readline(), 240.0)).decode()
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 240.0) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_answering_without_saving_is_refused() -> None:
    ran = labrelay("listen", HERE, "--answer")

    assert ran.code == 2
    assert "--answer needs --save FILE" in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "neither a serial device"),
        ([HERE, "--baud", "9600"], "--baud are for a serial line"),
        (["/dev/ttyUSB0", "--connect"], "--connect is for an address"),
        (["/dev/ttyUSB0", "--parity", "evn"], "--parity"),
        (["/dev/ttyUSB0", "--bytesize", "9"], "--bytesize"),
        (["rfc2217://nohost"], "device server"),
        ([HERE, "--for", "10"], "duration"),
    ],
)
def test_a_wrong_line_is_told_in_words(arguments: list[str], says: str) -> None:
    ran = labrelay("listen", *arguments)

    assert ran.code == 2
    assert says in ran.err


def test_a_capture_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "line.bin").write_bytes(b"old")

    ran = labrelay("listen", HERE, "--save", str(tmp_path / "line.bin"), "--for", "1s")

    assert ran.code == 1
    assert "never overwritten" in ran.err
    assert (tmp_path / "line.bin").read_bytes() == b"old"


def test_silence_is_a_failure_for_scripts() -> None:
    assert labrelay("listen", HERE, "--for", "50ms").code == 1


def test_unmasking_where_there_is_no_journal_says_so(tmp_path: Path) -> None:
    ran = labrelay("listen", HERE, "--for", "50ms", "--unmask", "--purpose", "a test", site=make_site(tmp_path))

    assert "nothing is noted" in ran.err


def test_who_has_answered_is_told_where_the_only_copy_is() -> None:
    assert "labrelay send a.bin astm://" in only_copy(Path("a.bin"))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("null", "'null': a serial device needs its whole path: /dev/null"),
        ("usb:0403", "Invalid value for PLACE: expected vendor and product"),
        ("analyzer", "'analyzer' is neither a serial device"),
    ],
)
def test_a_place_that_is_none_is_told_what_it_may_look_like(place: str, said: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        line_at(place, connect=False)
    assert said in refused.value.format_message()


async def test_a_port_in_use_is_said_to_be_one() -> None:
    async with listener() as line:
        with pytest.raises(LabRelayError, match="the address is in use by another program"):
            async with listener(f"127.0.0.1:{line.port}"):
                pass


async def test_an_analyzer_that_does_not_let_us_connect_is_named_as_such(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.commands.shared.listening.SILENCE_S", 0.1)
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        screen = Screen(Form.TABLE, masked=True, zone=UTC)
        async with Listener(line_at(place, connect=True), screen).opened():
            await shown.has(f"{place} cannot be connected to: is the analyzer on")
