"""A real process for large messages: what it answers, what it holds, and what becomes of it."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from engine.config.load import load_site
from engine.model.content.facts import stored
from engine.model.routes import Processed
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.runtime.large import frames
from engine.runtime.large import process as large_process
from engine.runtime.large.wire import Decoder
from tests.support.forking import forked_large
from tests.support.large import KEY, make_large_site, running_large, whole
from tests.support.waiting import until
from workbench.bench.messages import astm, oru

SAMPLES = Path(__file__).parents[4] / "samples"
HOSTILE = [
    b"",
    b"\x00",
    b"MSH",
    b"MSH|^~\\&\r",
    b"MSH|^~\\&|a|b|c|d|20260301||ORU^R01|1|P|9.9\rOBX|\xff\xfe",
    b"H|\\^&\rL|1",
]

# A new interpreter, as an installation starts it; every other one is forked.
STARTED = {
    "test_it_opens_neither_journal_nor_listener_and_its_key_stands_nowhere_to_be_read",
    "test_where_no_process_can_be_started_the_main_process_does_the_work",
}


@pytest.fixture(autouse=True)
def forked(request: pytest.FixtureRequest) -> Iterator[None]:
    with contextlib.nullcontext() if request.node.name in STARTED else forked_large():
        yield


def files_of(pid: int) -> list[str]:
    return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def read(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def sockets(pid: int, table: str, column: int) -> set[str]:
    return {line.split()[column] for line in read(pid, f"net/{table}").decode().splitlines()[1:]}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def as_sent(outcome: Processed) -> Processed:
    """As it comes from another process: of the facts what is stored, which says the same."""
    read = outcome.read
    if read is None:
        return outcome
    assert stored(orjson.loads(read.facts)) == read.known
    return replace(outcome, read=read._replace(known=None))


async def test_it_judges_as_the_main_process_does(tmp_path: Path) -> None:
    rng = random.Random(4711)
    payloads = [("hl7", oru(1, number, rng)) for number in range(40)]
    payloads += [("astm", b"".join(astm(2, number, rng))) for number in range(40)]
    payloads += [("hl7", path.read_bytes()) for path in sorted(SAMPLES.glob("*/*.hl7"))]
    payloads += [("astm", path.read_bytes()) for path in sorted(SAMPLES.glob("*/*.astm"))]
    payloads += [(channel, payload) for channel in ("hl7", "astm", "raw") for payload in HOSTILE]
    async with running_large(make_large_site(tmp_path / "site")) as large:
        messages = [large.stored(channel, payload) for channel, payload in payloads]
        answers = await asyncio.gather(*(large.ask(message) for message in messages))
        expected = [process(message, large.built.channels[message.channel].routes) for message in messages]
        assert [whole(answer) for answer in answers] == [as_sent(one) for one in expected]
        assert any(one.read for one in expected)
        states = {verdict.state for verdict in expected}
        assert states >= {"mapped", "dead"}
        packed = [document.packed for answer in answers for document, _ in answer.documents]
        assert any(packed)


async def test_it_opens_neither_journal_nor_listener_and_its_key_stands_nowhere_to_be_read(tmp_path: Path) -> None:
    async with running_large(make_large_site(tmp_path / "site")) as large:
        await large.ask(large.stored("raw", oru(1, 1, random.Random(1))))
        files = files_of(large.pid)
        assert not [name for name in files if "var" in name or name.endswith((".db", ".key", ".anchor", ".lock"))]
        own = {name[8:-1] for name in files if name.startswith("socket:[")}
        assert own & sockets(large.pid, "unix", 6)  # the pipe
        assert not own & (sockets(large.pid, "tcp", 9) | sockets(large.pid, "tcp6", 9))
        arguments, environment = read(large.pid, "cmdline"), read(large.pid, "environ")
        for told in (arguments, environment):
            assert KEY not in told
            assert KEY.hex().encode() not in told
        assert str(tmp_path).encode() not in arguments


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_for_the_whole_group_are_the_main_processs_to_act_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with running_large(make_large_site(tmp_path / "site")) as large:
        pid = large.pid
        os.kill(pid, number)
        verdict = await large.ask(large.stored("raw", oru(1, 1, random.Random(1))))
        assert verdict.state == "mapped"
        assert (large.pid, large.restarts) == (pid, 0)


async def test_one_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_process, "PING_S", 0.05)
    monkeypatch.setattr(large_process, "HUNG_S", 5.0)
    async with running_large(make_large_site(tmp_path / "site")) as large:
        pid = large.pid
        await asyncio.sleep(1.2 * large_process.HUNG_S)  # an idle one is none that hangs
        assert large.restarts == 0
        os.kill(pid, signal.SIGSTOP)
        verdict = await asyncio.wait_for(large.ask(large.stored("raw", oru(1, 1, random.Random(1)))), 240.0)
        assert verdict.state == "mapped"
        assert large.pid != pid
        assert not alive(pid)


async def test_one_that_answers_late_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message would be dead after three that are replaced."""
    monkeypatch.setattr(large_process, "PING_S", 0.05)
    async with running_large(make_large_site(tmp_path / "site")) as large:
        pid = large.pid
        os.kill(pid, signal.SIGSTOP)
        asked = large.ask(large.stored("raw", oru(1, 1, random.Random(1))))
        await until(lambda: large.process._silent_s > 1.0, 240.0)
        os.kill(pid, signal.SIGCONT)
        assert (await asyncio.wait_for(asked, 240.0)).state == "mapped"
        assert (large.pid, large.restarts) == (pid, 0)
    assert large_process.HUNG_S >= 12 * 10, "ten seconds of processor time, on a machine with as much else to do"


async def test_when_it_is_killed_messages_are_judged_again(tmp_path: Path) -> None:
    async with running_large(make_large_site(tmp_path / "site")) as large:
        pid = large.pid
        os.kill(pid, signal.SIGSTOP)  # so that what is asked now is not answered before it dies
        asked = [large.ask(large.stored("raw", oru(1, number, random.Random(number)))) for number in range(20)]
        os.kill(pid, signal.SIGKILL)
        verdicts = await asyncio.wait_for(asyncio.gather(*asked), 240.0)
        assert not alive(pid)  # nothing of it can come after what is asked from now on
        assert {verdict.state for verdict in verdicts} == {"mapped"}
        assert large.pid != pid
        assert large.restarts == 1


async def test_one_that_is_ready_as_it_is_ended_gets_nothing(tmp_path: Path) -> None:
    """Its word comes while its end is waited for: a message that was handed over then would wait for ever."""
    process = large_process.LargeProcess(KEY)
    process.configure(load_site(make_large_site(tmp_path / "site")))
    (ready,) = Decoder().feed(b"".join(frames.ready(1)))
    process._received(ready)
    assert not process.ready
    assert not process.processor._ready


async def test_files_that_changed_behind_our_back_are_not_taken_for_the_configuration(tmp_path: Path) -> None:
    folder = make_large_site(tmp_path / "site")
    channel = folder / "channels" / "raw.yaml"
    async with running_large(folder) as large:
        before = channel.read_text()
        channel.write_text(before + "description: half of a thought\n")
        os.kill(large.pid, signal.SIGKILL)  # the next one finds other files than the main process has read
        await until(lambda: large.process.here, 240.0)
        message = large.stored("raw", oru(1, 1, random.Random(1)))
        verdict = await asyncio.wait_for(large.ask(message), 240.0)
        assert verdict == process(message, large.built.channels["raw"].routes)

        large.process.configure(load_site(folder))  # as a reload does
        await until(lambda: large.process.ready, 240.0)
        assert not large.process.here


async def test_it_leaves_in_order_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_process, "STOP_S", 60.0)  # then it would be killed
    async with running_large(make_large_site(tmp_path / "site")) as large:
        pid = large.pid
        began = asyncio.get_running_loop().time()
    assert not alive(pid)
    assert asyncio.get_running_loop().time() - began < large_process.STOP_S


async def test_a_new_configuration_is_taken_between_two_messages(tmp_path: Path) -> None:
    folder = make_large_site(tmp_path / "site")
    channel = folder / "channels" / "raw.yaml"
    async with running_large(folder) as large:
        pid = large.pid
        channel.write_text(channel.read_text().replace("to: server", "filter: not wanted"))
        large.process.processor.forget()
        site = load_site(folder)
        large.process.configure(site)
        verdict = await asyncio.wait_for(large.ask(large.stored("raw", oru(1, 1, random.Random(1)))), 240.0)
        assert (verdict.state, verdict.reason) == ("filtered", ReasonCode.FILTERED)
        assert large.pid == pid


async def test_where_no_process_can_be_started_the_main_process_does_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    folder = make_large_site(tmp_path / "site")
    async with running_large(folder, wait=False) as large:
        asked = [large.ask(large.stored("raw", oru(1, number, random.Random(number)))) for number in range(5)]
        verdicts = await asyncio.wait_for(asyncio.gather(*asked), 240.0)
        assert {verdict.state for verdict in verdicts} == {"mapped"}
        assert large.process.here
        monkeypatch.undo()
        await until(lambda: large.process.ready, 240.0)
        assert not large.process.here
