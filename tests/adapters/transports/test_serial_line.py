"""Serial ports of this machine, on real ptys: bytes both ways, what breaks, what comes back, and what it may cost."""

import asyncio
import errno
import fcntl
import logging
import os
import pty
import termios
import threading
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from adapters.transports import serial as serial_module
from adapters.transports.errors import LineError
from adapters.transports.serial import LineStream, SerialLine, build
from adapters.transports.serial_lines import serial_device, serial_ports
from adapters.transports.serial_lines.serial_device import DeviceStream, LineHealth, counters, open_device
from adapters.transports.serial_lines.serial_ports import not_as_asked, open_port, why_not
from tests.support.serial_peers import Cable, Settings
from tests.support.waiting import until


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    made = Cable(tmp_path / "analyzer")
    yield made
    made.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is worth waiting for."""
    monkeypatch.setattr(serial_module, "REOPEN_FIRST_S", 0.01)
    monkeypatch.setattr(serial_module, "REOPEN_MAX_S", 0.02)
    monkeypatch.setattr(serial_module, "STABLE_S", 0.05)
    monkeypatch.setattr(serial_module, "LOOK_S", 0.02)


class Heard:
    """A handler that keeps what came, stream by stream, and answers each ``?``."""

    def __init__(self) -> None:
        self.streams: list[LineStream] = []
        self.came: list[bytes] = []
        self.errors: list[str] = []

    async def __call__(self, stream: LineStream) -> None:
        self.streams.append(stream)
        self.came.append(b"")
        try:
            while data := await stream.read():
                self.came[-1] += data
                await stream.write(b"!" * data.count(b"?"))
        except OSError as error:
            self.errors.append(str(error))
            raise


@asynccontextmanager
async def line(source: Settings, handler: serial_module.Handler) -> AsyncIterator[SerialLine]:
    made = build(source, handler)
    assert await made.start() == 0
    try:
        yield made
    finally:
        await made.stop(1.0)


@asynccontextmanager
async def opened(cable: Cable, settings: Settings | None = None) -> AsyncIterator[DeviceStream]:
    stream = await open_device(cable.path, settings or Settings())
    try:
        yield stream
    finally:
        await stream.close()


# -- reading and writing -----------------------------------------------------------------------------------------------


async def test_bytes_come_through_both_ways_whatever_they_are(cable: Cable) -> None:
    everything = bytes(range(256)) * 8
    async with opened(cable) as stream:
        await cable.send(everything)
        came = b""
        while len(came) < len(everything):
            came += await stream.read(5.0)
        assert came == everything
        await stream.write(everything)
        assert await cable.receive(len(everything)) == everything
        assert stream.peer == cable.path


async def test_a_line_of_seven_bits_hands_on_bytes_without_bit_7(cable: Cable) -> None:
    async with opened(cable, Settings(bytesize=7, parity="even")) as stream:
        await cable.send(b"\x85\x82\xb1H|")
        assert await stream.read(5.0) == b"\x05\x021H|"


async def test_a_pty_is_opened_with_seven_bits_and_parity_as_often_as_one_likes(cable: Cable) -> None:
    for _ in range(3):  # glibc refuses the second time what a pty did not take the first time
        async with opened(cable, Settings(bytesize=7, parity="even")) as stream:
            await cable.send(b"\x85")
            assert await stream.read(5.0) == b"\x05"


async def test_a_read_that_times_out_leaves_the_line_as_it_is(cable: Cable) -> None:
    async with opened(cable) as stream:
        with pytest.raises(TimeoutError):
            await stream.read(0.01)
        await cable.send(b"later")
        assert await stream.read(5.0) == b"later"


async def test_what_ends_in_a_control_character_is_handed_on_at_once_and_the_rest_after_a_silence(
    cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.transports.serial_lines.serial_device.REST_MAX_S", 3.0)
    async with opened(cable, Settings(baud=240)) as stream:  # a rest of a second
        await cable.send(b"\x05")
        assert await stream.read(1.0) == b"\x05"
        reading = asyncio.create_task(stream.read(10.0))
        await cable.send(b"\x021H|")
        await until(lambda: bool(stream._chunks))
        assert not reading.done()
        assert await reading == b"\x021H|"


async def test_a_read_that_times_out_gives_what_has_come_so_far(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link whose timer is due must know of every byte that came in time."""
    monkeypatch.setattr("adapters.transports.serial_lines.serial_device.REST_MAX_S", 30.0)
    async with opened(cable, Settings(baud=50)) as stream:
        reading = asyncio.create_task(stream.read(0.2))
        await asyncio.sleep(0)
        await cable.send(b"\x021H|")
        assert await reading == b"\x021H|"


async def test_an_analyzer_that_does_not_read_slows_the_writer_and_gets_every_byte(cable: Cable) -> None:
    data = os.urandom(200_000)
    async with opened(cable, Settings(baud=115_200)) as stream:
        writing = asyncio.create_task(stream.write(data))
        await asyncio.sleep(0)
        assert not writing.done()
        got = b""
        while len(got) < len(data):
            got += await cable.receive(min(4096, len(data) - len(got)))
        await writing
        assert got == data


async def test_a_reader_that_does_not_read_slows_the_analyzer(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.transports.serial_lines.serial_device.READ_HIGH_WATER", 10_000)
    async with opened(cable, Settings(baud=115_200)) as stream:
        sending = asyncio.create_task(cable.send(b"x" * 500_000))
        await until(lambda: stream._buffered > 10_000)
        before = stream._buffered
        await asyncio.sleep(0.05)  # many times the rest between two looks
        assert stream._buffered == before
        assert not sending.done()
        total = 0
        while total < 500_000:
            total += len(await stream.read(5.0))
        await sending


async def test_ending_a_stream_gives_what_has_come_and_then_the_end(cable: Cable) -> None:
    async with opened(cable) as stream:
        await cable.send(b"last")
        await until(lambda: bool(stream._chunks))
        stream.end()
        assert await stream.read() == b"last"
        assert await stream.read() == b""


async def test_ending_wakes_a_reader_and_a_writer_that_waits_for_the_analyzer(cable: Cable) -> None:
    async with opened(cable) as stream:
        reading = asyncio.create_task(stream.read())
        writing = asyncio.create_task(stream.write(b"x" * 100_000))
        await asyncio.sleep(0)
        stream.end()
        assert await reading == b""
        with pytest.raises(LineError):
            await writing


async def test_a_writer_that_waits_for_dsr_writes_to_no_file_that_has_the_number_since(
    cable: Cable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(fd: int) -> bool:
        asked.set()
        return answer.wait(10.0)

    monkeypatch.setattr(serial_device, "_data_set_ready", slow)
    stream = await open_device(cable.path, Settings(flow="dsrdtr"))
    number = stream._fd
    writing = asyncio.create_task(stream.write(b"a result"))
    await until(asked.is_set)
    await stream.close()
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
    if other != number:
        os.dup2(other, number)
        os.close(other)
    answer.set()
    with pytest.raises(LineError):
        await writing
    os.close(number)
    assert (tmp_path / "other").read_bytes() == b""


async def test_what_was_written_last_goes_out_before_the_line_is_closed(cable: Cable) -> None:
    stream = await open_device(cable.path, Settings())
    await stream.write(b"\x06")
    await stream.close()
    assert await cable.receive() == b"\x06"
    with pytest.raises(LineError):
        await stream.write(b"more")


# -- breaking and coming back ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon")
async def test_a_pulled_cable_ends_the_stream_and_a_new_adapter_is_a_new_one(
    cable: Cable, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labrelay")
    heard = Heard()
    async with line(Settings(cable.path), heard) as made:
        await cable.send(b"one?")
        assert await cable.receive() == b"!"
        cable.pull()
        await until(lambda: "no such device" in made.fault)
        assert "pulled out" in heard.errors[0]
        cable.plug()
        await until(lambda: made.fault == "")
        await cable.send(b"two?")
        assert await cable.receive() == b"!"
        assert heard.came == [b"one?", b"two?"]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["serial line does not work", "serial line does not work", "serial line works again"]


@pytest.mark.usefixtures("soon")
async def test_a_name_that_leads_to_another_device_is_followed(cable: Cable) -> None:
    """Some drivers never tell that a device is gone."""
    heard = Heard()
    async with line(Settings(cable.path), heard):
        await cable.send(b"?")
        assert await cable.receive() == b"!"
        old = (cable._analyzer, cable._keeper)  # stays open: no hang-up
        try:
            cable.plug()
            await until(lambda: len(heard.streams) == 2)
            await cable.send(b"new?")
            assert await cable.receive() == b"!"
        finally:
            for end in old:
                os.close(end)
    assert heard.came == [b"?", b"new?"]
    assert "leads to another" in heard.errors[0]


@pytest.mark.usefixtures("soon")
async def test_a_name_that_is_made_anew_costs_nothing(cable: Cable) -> None:
    """udev may take a name away and put it back."""
    async with opened(cable) as stream:
        assert cable.link is not None
        cable.link.unlink()
        assert stream.look() == ""
        cable.link.symlink_to(cable.device)
        stream.look()
        cable.link.unlink()
        stream.look()
        assert stream.fault == ""
        stream.look()
        assert "the device is gone" in stream.fault


@pytest.mark.usefixtures("soon")
async def test_a_line_that_opens_and_breaks_at_once_stays_a_fault(
    cable: Cable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serial_module, "STABLE_S", 30.0)
    faults: set[str] = set()

    async def handler(stream: LineStream) -> None:
        faults.add(made.fault)
        assert isinstance(stream, DeviceStream)
        stream._broke("hung up")
        await stream.read()

    async with line(Settings(cable.path), handler) as made:
        await until(lambda: made.opened >= 5)
    assert made.fault == "hung up"
    assert faults == {"", "hung up"}  # only the first time it was worth a try
    assert [record.detail for record in caplog.records if record.name.startswith("labrelay")] == ["hung up"]  # type: ignore[attr-defined]  # what the log gets


@pytest.mark.usefixtures("soon")
async def test_a_handler_that_fails_costs_one_stream(cable: Cable, caplog: pytest.LogCaptureFixture) -> None:
    handled = 0

    async def handler(stream: LineStream) -> None:
        nonlocal handled
        handled += 1
        if handled == 1:
            raise RuntimeError("a fault of ours")
        await stream.read()

    async with line(Settings(cable.path), handler) as made:
        await until(lambda: handled == 2)
        assert made.fault == ""
    assert "connection handler failed" in caplog.text


async def test_stopping_a_line_lets_the_handler_finish(cable: Cable) -> None:
    done = asyncio.Event()

    async def handler(stream: LineStream) -> None:
        assert await stream.read() == b""
        await stream.write(b"bye")
        done.set()

    made = build(Settings(cable.path), handler)
    await made.start()
    await until(lambda: made.opened == 1)
    await made.stop()
    assert done.is_set()
    assert await cable.receive(3) == b"bye"


async def test_a_driver_that_hangs_is_said_until_the_port_opens(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_module, "LATE_S", 0.02)
    let = asyncio.Event()
    handler = Heard()

    async def open_late() -> DeviceStream:
        await let.wait()
        return await open_device(cable.path, Settings())

    made = SerialLine(cable.path, open_late, handler)
    await made.start()
    await until(lambda: "its driver hangs" in made.fault)
    let.set()
    await until(lambda: bool(handler.streams))
    assert made.fault == ""
    await made.stop(1.0)


async def test_stopping_a_line_that_cannot_be_opened_is_quick(tmp_path: Path) -> None:
    made = build(Settings(str(tmp_path / "nothing")), Heard())
    await made.start()
    await until(lambda: "no such device" in made.fault)
    await asyncio.wait_for(made.stop(), 240.0)


async def test_a_port_that_was_opened_too_late_is_closed_again(cable: Cable) -> None:
    """A driver may take seconds to open; meanwhile the daemon stops."""
    opening = asyncio.create_task(open_device(cable.path, Settings()))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    def is_free() -> bool:
        try:
            open_port(cable.path, Settings()).shut()
        except LineError:
            return False
        return True

    await until(is_free)


# -- what it costs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baud", [1200, 9600, 115_200])
async def test_noise_costs_a_bounded_number_of_looks(cable: Cable, baud: int) -> None:
    """As many bytes as come: between two looks lies half a rest or more, and on average a whole one."""
    loop = asyncio.get_running_loop()
    async with opened(cable, Settings(baud=baud)) as stream:
        assert 0.005 <= stream._rest_s <= 0.025
        began, looks, came = loop.time(), stream.wakeups, 0
        sending = asyncio.create_task(cable.send(os.urandom(1_000_000)))
        while came < 100_000:
            came += len(await stream.read(5.0))
            # Each rest is followed by one look, and by another where that found nothing and something comes at once.
            # A slow machine only makes the rests longer.
            assert stream.wakeups - looks <= 2 * ((loop.time() - began) / stream._rest_s + 2)
        sending.cancel()


async def test_a_silent_line_costs_nothing(cable: Cable) -> None:
    async with opened(cable) as stream:
        await cable.send(b"x")
        await stream.read(5.0)
        await until(lambda: stream._watching)
        before = stream.wakeups
        with pytest.raises(TimeoutError):
            await stream.read(0.1)
        assert stream.wakeups == before


async def test_a_line_is_watched_again_at_once_behind_a_character_and_later_behind_a_frame(cable: Cable) -> None:
    """Between two frames it is silent for a moment; behind an EOT or an answer, what comes next is answered at once."""
    async with opened(cable) as stream:
        await cable.send(b"\x05")
        assert await stream.read(5.0) == b"\x05"
        await until(lambda: stream._watching)
        assert stream.wakeups == 2
        await cable.send(b"\x021H|\x03E5\r\n")
        assert await stream.read(5.0) == b"\x021H|\x03E5\r\n"
        await until(lambda: stream._watching)
        assert stream.wakeups - 2 >= 1 + serial_device.SILENT_RESTS
        await cable.send(b"\x04")
        assert await stream.read(5.0) == b"\x04"
        looks = stream.wakeups
        await until(lambda: stream._watching)
        assert stream.wakeups <= looks + 1


async def test_lines_of_one_speed_rest_together_and_a_fault_at_one_leaves_the_others_awake(
    cable: Cable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

    def fail(_: int) -> None:
        raise RuntimeError("a fault of ours")

    other = Cable(tmp_path / "other")
    async with opened(cable) as first, opened(other) as second:
        assert first._rests is second._rests
        monkeypatch.setattr(first, "rested", fail)
        await cable.send(b"\x021H|")
        await until(lambda: bool(first._resting))
        await other.send(b"\x021H|")
        assert await second.read(5.0) == b"\x021H|"
        await until(lambda: bool(told))
        assert told == [f"looking at {first.peer} failed"]
    other.close()


async def test_a_line_that_is_closed_leaves_the_rests_of_the_others(cable: Cable) -> None:
    async with opened(cable) as stream:
        await cable.send(b"\x05")
        await stream.read(5.0)
        await until(lambda: stream._watching)
        stream._ready()  # it rests now
        assert any(stream in lines for lines in stream._rests._resting.values())
    assert not any(stream in lines for lines in stream._rests._resting.values())


async def test_a_dead_descriptor_is_looked_at_once(cable: Cable) -> None:
    """It is readable for ever, and every read says that it has ended."""
    async with opened(cable) as stream:
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        cable.pull()
        with pytest.raises(LineError, match="pulled out"):
            await reading
        assert stream.wakeups == 1
        await asyncio.sleep(0.1)
        assert stream.wakeups == 1
        for _ in range(3):
            with pytest.raises(LineError):
                await stream.read()
            with pytest.raises(LineError):
                await stream.write(b"x")


async def test_a_descriptor_that_lies_is_left_alone_for_a_while(cable: Cable) -> None:
    """Readable, and nothing there: another program reads the same port."""
    loop = asyncio.get_running_loop()
    thief = os.open(cable.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    async with opened(cable) as stream:
        began, looks = loop.time(), stream.wakeups
        for _ in range(200):
            await cable.send(b"x")
            with suppress(BlockingIOError):
                os.read(thief, 10)
            await asyncio.sleep(0)
        assert stream.wakeups - looks <= 2 * ((loop.time() - began) / stream._rest_s + 2)
    os.close(thief)


# -- opening -----------------------------------------------------------------------------------------------------------


def test_one_port_has_one_reader(cable: Cable) -> None:
    port = open_port(cable.path, Settings())
    with pytest.raises(LineError, match="another program has it open"):
        open_port(cable.device, Settings())
    other = os.open(cable.device, os.O_RDWR | os.O_NOCTTY)  # as root may, in spite of TIOCEXCL
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    port.shut()
    open_port(cable.path, Settings()).shut()


def test_an_open_port_is_set_as_asked(cable: Cable) -> None:
    port = open_port(cable.path, Settings(baud=19200, flow="xonxoff"))
    iflag, _, cflag, lflag, speed, _, control = termios.tcgetattr(port.fd)
    assert speed == termios.B19200
    assert iflag & (termios.IXON | termios.IXOFF) == termios.IXON | termios.IXOFF
    assert not iflag & (termios.BRKINT | termios.ISTRIP | termios.INPCK | termios.ICRNL)
    assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert cflag & termios.CLOCAL
    assert (control[termios.VMIN], control[termios.VTIME]) == (1, 0)
    port.shut(drop=True)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (Settings(), ""),
        (Settings(bytesize=7), "7 data bits"),
        (Settings(parity="odd"), "parity odd"),
        (Settings(stopbits=2), "2 stop bits"),
    ],
)
def test_settings_that_a_driver_took_back_are_noticed(settings: Settings, wrong: str) -> None:
    assert not_as_asked(termios.CS8 | termios.CREAD, settings) == wrong
    assert not_as_asked(termios.CS7 | termios.PARENB, Settings(bytesize=7, parity="even")) == ""


async def test_what_is_no_port_is_said_in_words(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    (tmp_path / "port-a").symlink_to("/dev/null")
    (tmp_path / "port-b").symlink_to("/dev/zero")
    for device, words in {
        str(tmp_path / "nothing"): "no such device",
        str(file): "no serial port",
        "/dev/null": "no serial port",
        str(tmp_path / "no-*"): "nothing fits this pattern",
        str(tmp_path / "port-*"): "2 ports fit",
        "usb:ffff:ffff/none": "no USB adapter with this number",
    }.items():
        with pytest.raises(LineError, match=words):
            await open_device(device, Settings())


def test_a_pattern_that_fits_one_port_opens_it(cable: Cable) -> None:
    assert cable.link is not None
    port = open_port(str(cable.link.with_name("anal*")), Settings())
    assert port.path == cable.path
    port.shut()


def test_every_refusal_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path)
    assert "DeviceAllow=" in why_not(path, OSError(errno.EPERM, ""))
    assert "powered" in why_not(path, OSError(errno.EIO, ""))
    assert "do not take" in why_not(path, ValueError("baud")).replace("does not take", "do not take")
    monkeypatch.setattr(serial_ports, "group_of", lambda path: "dialout")
    assert "usermod -aG dialout USER" in why_not(path, PermissionError(errno.EACCES, ""))
    monkeypatch.setattr(serial_ports, "group_of", lambda path: "")
    assert "usually dialout" in why_not(path, PermissionError(errno.EACCES, ""))


# -- health ------------------------------------------------------------------------------------------------------------


def test_a_line_with_many_errors_says_what_to_check() -> None:
    health = LineHealth()
    assert health.look(1000, 2) == ""  # noise
    assert "40 errors in 100 bytes" in health.look(1100, 42)
    assert "check baud" in health.look(1100, 42)  # silence proves nothing
    assert health.look(1500, 43) == ""


def test_a_port_without_counters_is_never_in_trouble() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    assert counters(slave) is None
    os.close(master)
    os.close(slave)
