"""A real worker process: what it answers, what it holds, and what becomes of it."""

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
from engine.model.errors import DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.packing import Packer
from engine.model.routes import Processed
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.runtime.worker import frames
from engine.runtime.worker import process as worker_process
from engine.runtime.worker.wire import Decoder
from tests.support.forking import forked_workers
from tests.support.waiting import until
from tests.support.workers import KEY, delivery, http_server, make_worker_site, response, running_worker, whole
from workbench.bench.messages import astm, oru

SAMPLES = Path(__file__).parents[4] / "samples"
FOLDER = "{kind: file, folder: out}"
HOSTILE = [
    b"",
    b"\x00",
    b"MSH",
    b"MSH|^~\\&\r",
    b"MSH|^~\\&|a|b|c|d|20260301||ORU^R01|1|P|9.9\rOBX|\xff\xfe",
    b"H|\\^&\rL|1",
]

# A new interpreter, as an installation starts it; every other worker is forked.
STARTED = {
    "test_it_opens_neither_journal_nor_listener_and_its_key_stands_nowhere_to_be_read",
    "test_where_no_process_can_be_started_the_main_process_does_the_work",
}


@pytest.fixture(autouse=True)
def workers(request: pytest.FixtureRequest) -> Iterator[None]:
    with contextlib.nullcontext() if request.node.name in STARTED else forked_workers():
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
    async with running_worker(make_worker_site(tmp_path / "site", FOLDER)) as worker:
        messages = [worker.stored(channel, payload) for channel, payload in payloads]
        answers = await asyncio.gather(*(worker.ask(message) for message in messages))
        expected = [process(message, worker.built.channels[message.channel].routes) for message in messages]
        assert [whole(answer) for answer in answers] == [as_sent(one) for one in expected]
        assert any(one.read for one in expected)
        states = {verdict.state for verdict in expected}
        assert states >= {"mapped", "dead"}
        packed = [document.packed for answer in answers for document, _ in answer.documents]
        assert any(packed)


async def test_it_opens_neither_journal_nor_listener_and_its_key_stands_nowhere_to_be_read(tmp_path: Path) -> None:
    async with running_worker(make_worker_site(tmp_path / "site", FOLDER)) as worker:
        await worker.ask(worker.stored("raw", oru(1, 1, random.Random(1))))
        files = files_of(worker.pid)
        assert not [name for name in files if "var" in name or name.endswith((".db", ".key", ".anchor", ".lock"))]
        own = {name[8:-1] for name in files if name.startswith("socket:[")}
        assert own & sockets(worker.pid, "unix", 6)  # the pipe
        assert not own & (sockets(worker.pid, "tcp", 9) | sockets(worker.pid, "tcp6", 9))
        arguments, environment = read(worker.pid, "cmdline"), read(worker.pid, "environ")
        for told in (arguments, environment):
            assert KEY not in told
            assert KEY.hex().encode() not in told
        assert str(tmp_path).encode() not in arguments


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_for_the_whole_group_are_the_main_processs_to_act_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with running_worker(make_worker_site(tmp_path / "site", FOLDER)) as worker:
        pid = worker.pid
        os.kill(pid, number)
        verdict = await worker.ask(worker.stored("raw", oru(1, 1, random.Random(1))))
        assert verdict.state == "mapped"
        assert (worker.pid, worker.restarts) == (pid, 0)


async def test_it_delivers_and_says_how_that_went(tmp_path: Path) -> None:
    requests: list[bytes] = []
    answers = iter(
        [
            response("200 OK"),
            response("422 Unprocessable Entity", b"no such code"),
            response("503 Service Unavailable"),
            response("401 Unauthorized"),
            response("200 OK"),
        ]
    )

    async def answer(request: bytes) -> bytes:
        requests.append(request)
        return next(answers)

    async with http_server(answer) as port:
        site = make_worker_site(tmp_path / "site", f'{{kind: http, url: "http://127.0.0.1:{port}/in"}}')
        async with running_worker(site) as worker:
            destination = worker.destination()
            await destination.start()
            await destination.deliver(delivery(1, b'{"n": 1}'))
            with pytest.raises(RefusedDeliveryError) as refused:
                await destination.deliver(delivery(2))
            assert (refused.value.reason, refused.value.answer) == (ReasonCode.REFUSED, b"no such code")
            with pytest.raises(TransientDeliveryError) as busy:
                await destination.deliver(delivery(3))
            assert busy.value.reason is ReasonCode.BUSY
            with pytest.raises(DestinationDownError):
                await destination.deliver(delivery(4))
            body = b'{"resourceType": "Bundle"}' * 100
            smaller, packed = Packer().pack(body)
            assert packed
            await destination.deliver(delivery(5, smaller, packed=True))
            assert requests[0].endswith(b'{"n": 1}')
            assert f"{1:032x}".encode() in requests[0]
            assert requests[4].endswith(body)


async def test_a_delivery_that_is_called_back_is_not_finished_behind_our_back(tmp_path: Path) -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.set()
        while await reader.read(1000):
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(closes, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    site = make_worker_site(tmp_path / "site", f'{{kind: http, url: "http://127.0.0.1:{port}/in"}}')
    async with running_worker(site) as worker:
        task = asyncio.create_task(worker.destination().deliver(delivery(1)))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(240.0):
            await gone.wait()
        assert not worker.process._under_way
    server.close()


async def test_when_it_is_killed_messages_are_judged_again_and_deliveries_may_have_been_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = asyncio.Event()

    async def answer(request: bytes) -> bytes:
        came.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with http_server(answer) as port:
        site = make_worker_site(tmp_path / "site", f'{{kind: http, url: "http://127.0.0.1:{port}/in"}}')
        async with running_worker(site) as worker:
            pid = worker.pid
            task = asyncio.create_task(worker.destination().deliver(delivery(1)))
            await came.wait()
            os.kill(pid, signal.SIGSTOP)  # so that what is asked now is not answered before it dies
            asked = [worker.ask(worker.stored("raw", oru(1, number, random.Random(number)))) for number in range(20)]
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(TransientDeliveryError) as lost:
                await task
            assert lost.value.reason is ReasonCode.MAYBE_DELIVERED
            assert not alive(pid)  # nothing of it can come after what is sent from now on
            verdicts = await asyncio.wait_for(asyncio.gather(*asked), 240.0)
            assert {verdict.state for verdict in verdicts} == {"mapped"}
            assert worker.pid != pid
            assert worker.restarts == 1
            assert "1 times" in worker.process.notice
            monkeypatch.setattr(worker_process, "NOTICE_S", 0.0)
            assert worker.process.notice == ""


async def test_one_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "PING_S", 0.05)
    monkeypatch.setattr(worker_process, "HUNG_S", 5.0)
    async with running_worker(make_worker_site(tmp_path / "site", FOLDER)) as worker:
        pid = worker.pid
        await asyncio.sleep(1.2 * worker_process.HUNG_S)  # an idle worker is none that hangs
        assert worker.restarts == 0
        os.kill(pid, signal.SIGSTOP)
        verdict = await asyncio.wait_for(worker.ask(worker.stored("raw", oru(1, 1, random.Random(1)))), 240.0)
        assert verdict.state == "mapped"
        assert worker.pid != pid
        assert not alive(pid)


async def test_one_for_large_messages_has_longer_for_one_on_a_busy_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message would be dead after three that are replaced."""
    monkeypatch.setattr(worker_process, "PING_S", 0.05)
    monkeypatch.setattr(worker_process, "HUNG_S", 0.2)
    async with running_worker(make_worker_site(tmp_path / "site", FOLDER), delivers=False) as worker:
        pid = worker.pid
        os.kill(pid, signal.SIGSTOP)
        asked = worker.ask(worker.stored("raw", oru(1, 1, random.Random(1))))
        await asyncio.sleep(5 * worker_process.HUNG_S)
        os.kill(pid, signal.SIGCONT)
        assert (await asyncio.wait_for(asked, 240.0)).state == "mapped"
        assert worker.pid == pid
        assert worker.restarts == 0


async def test_one_that_is_ready_as_it_is_ended_gets_nothing_to_deliver(tmp_path: Path) -> None:
    """Its word comes while its end is waited for: whatever was handed over then would wait for an answer for ever."""
    site = load_site(make_worker_site(tmp_path / "site", FOLDER))
    process = worker_process.WorkerProcess(KEY)
    process.configure(site)
    (ready,) = Decoder().feed(b"".join(frames.ready(1)))
    process._received(ready)
    assert not process.ready
    assert not process.has_room()


async def test_it_leaves_in_order_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "STOP_S", 60.0)  # then it would be killed
    async with running_worker(make_worker_site(tmp_path / "site", FOLDER)) as worker:
        pid = worker.pid
        began = asyncio.get_running_loop().time()
    assert not alive(pid)
    assert asyncio.get_running_loop().time() - began < worker_process.STOP_S


async def test_files_that_changed_behind_our_back_are_not_taken_for_the_configuration(tmp_path: Path) -> None:
    folder = make_worker_site(tmp_path / "site", FOLDER)
    channel = folder / "channels" / "raw.yaml"
    async with running_worker(folder) as worker:
        before = channel.read_text()
        channel.write_text(before + "description: half of a thought\n")
        os.kill(worker.pid, signal.SIGKILL)  # the next worker finds other files than the main process has read
        await until(lambda: worker.process.here, 240.0)
        assert "changed" in worker.process.notice
        message = worker.stored("raw", oru(1, 1, random.Random(1)))
        verdict = await asyncio.wait_for(worker.ask(message), 240.0)
        assert verdict == process(message, worker.built.channels["raw"].routes)
        await asyncio.wait_for(worker.destination().deliver(delivery(1, b"here")), 240.0)
        assert [path.read_bytes() for path in (folder / "out").iterdir()] == [b"here"]

        worker.process.configure(load_site(folder))  # as a reload does
        await until(lambda: worker.process.ready, 240.0)
        assert not worker.process.here
        assert "replaced" in worker.process.notice
        await worker.destination().deliver(delivery(2, b"there"))
        assert sorted(path.read_bytes() for path in (folder / "out").iterdir()) == [b"here", b"there"]


async def test_a_new_configuration_is_taken_between_two_messages(tmp_path: Path) -> None:
    folder = make_worker_site(tmp_path / "site", FOLDER)
    channel = folder / "channels" / "raw.yaml"
    async with running_worker(folder) as worker:
        pid = worker.pid
        channel.write_text(channel.read_text().replace("to: server", "filter: not wanted"))
        worker.process.processor.forget()
        site = load_site(folder)
        worker.process.configure(site)
        verdict = await asyncio.wait_for(worker.ask(worker.stored("raw", oru(1, 1, random.Random(1)))), 240.0)
        assert (verdict.state, verdict.reason) == ("filtered", ReasonCode.FILTERED)
        assert worker.pid == pid


async def test_where_no_process_can_be_started_the_main_process_does_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    folder = make_worker_site(tmp_path / "site", FOLDER)
    async with running_worker(folder, wait=False) as worker:
        asked = [worker.ask(worker.stored("raw", oru(1, number, random.Random(number)))) for number in range(5)]
        sent = asyncio.create_task(worker.destination().deliver(delivery(1, b"here")))
        verdicts = await asyncio.wait_for(asyncio.gather(*asked), 240.0)
        assert {verdict.state for verdict in verdicts} == {"mapped"}
        await asyncio.wait_for(sent, 240.0)
        assert "does not start" in worker.process.notice
        monkeypatch.undo()
        await until(lambda: worker.process.ready, 240.0)
        assert "does not start" not in worker.process.notice


async def test_no_more_deliveries_are_under_way_than_the_window_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "WINDOW_DELIVERIES", 2)
    most = 0

    async def answer(request: bytes) -> bytes:
        nonlocal most
        most = max(most, len(worker.process._under_way))
        await asyncio.sleep(0.01)
        return response("200 OK")

    async with http_server(answer) as port:
        site = make_worker_site(tmp_path / "site", f'{{kind: http, url: "http://127.0.0.1:{port}/in"}}')
        async with running_worker(site) as worker:
            destination = worker.destination()
            await asyncio.wait_for(asyncio.gather(*(destination.deliver(delivery(n)) for n in range(12))), 240.0)
    assert most == 2
