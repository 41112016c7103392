"""A message whose processing ends the whole process: it is found, put aside, and nothing else is."""

import asyncio
import contextlib
import random
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.journal.starting import recover, unprocessed
from engine.store.operations import append, poison_message
from engine.store.operations.poison_message import DETAIL, GIVE_UP_AFTER
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader
from tests.support.journals import WINDOW_S, received, running
from tests.support.live import Server
from tests.support.ports import quiet_ports
from tests.support.waiting import until
from workbench.bench.messages import oru

DEADLY = b"DEADLY"
# The real daemon, but for a mapping that takes the process with it.
DAEMON = f"""
import os, signal, sys
from engine.processing import process as processing
from engine.__main__ import run

real = processing.process

def process(stored, channel):
    if {DEADLY!r} in stored.payload:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(stored, channel)

processing.process = process
sys.exit(run(["--site", sys.argv[1], "run", "--log", "json"]))
"""


def numbered(number: int) -> bytes:
    return oru(0, number, random.Random(number))


def write_site(folder: Path, to: Server, port: int) -> None:
    (folder / "config").mkdir(parents=True)
    (folder / "channels").mkdir()
    (folder / "config" / "labrelay.yaml").write_text(
        "site: {name: Lab, timezone: UTC}\nweb: {enabled: false}\n"
        f'destinations:\n  server: {{kind: http, url: "http://127.0.0.1:{to.port}/in"}}\n'
    )
    (folder / "channels" / "c0.yaml").write_text(
        f'channel: c0\nsource: {{kind: mllp, listen: "127.0.0.1:{port}"}}\nroutes:\n'
        "  - {to: server, doubtful: pass}\n"
    )


@contextlib.asynccontextmanager
async def daemon(site: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, str(site), stdout=PIPE, stderr=PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def stored_by_a_killed_process(data: Path, payloads: list[bytes]) -> list[int]:
    """What a daemon leaves that took messages and was killed before it looked at any."""
    journal = Journal.open(data, clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    made = [
        (await journal.run(append.store_message, received(payload, channel="c0"), repeat_window_s=WINDOW_S)).id
        for payload in payloads
    ]
    journal.recovered = False  # so that stopping says nothing of having stopped in order
    await journal.stop()
    return made


async def test_a_message_that_ends_the_process_is_put_aside_and_no_other(tmp_path: Path) -> None:
    to = Server()
    await to.start()
    site = tmp_path / "site"
    write_site(site, to, quiet_ports(1)[0])
    payloads = [numbered(number) for number in range(1, 9)]
    payloads[4] = payloads[4] + b"NTE|1||" + DEADLY + b"\r"
    ids = await stored_by_a_killed_process(site / "var", payloads)
    ends = 0
    async with contextlib.AsyncExitStack() as ending:
        ending.push_async_callback(to.stop)
        while True:
            async with daemon(site) as process:
                ended = asyncio.create_task(process.wait())
                others = asyncio.create_task(until(lambda: len(to.keys) == len(payloads) - 1, 240.0))
                await asyncio.wait({ended, others}, return_when=asyncio.FIRST_COMPLETED)
                others.cancel()
                if not ended.done():
                    process.terminate()
                    assert await ended == 0
                    break
                ends += 1
                assert ends < 10, "it ends the process for ever"
    # Once as the message among others, and then as often as it was noted.
    assert GIVE_UP_AFTER <= ends <= GIVE_UP_AFTER + 1
    reader = Reader.beside(site / "var")
    states = {view.id: (view.state, view.reason) for view in messages_page(reader)}
    trace = trace_of(reader, ids[4])
    reader.close()
    assert states.pop(ids[4]) == ("dead", ReasonCode.MAPPING_FAULT.value)
    assert set(states.values()) == {("mapped", "")}
    assert trace is not None
    assert trace.detail == DETAIL
    assert to.arrived[0] == [1, 2, 3, 4, 6, 7, 8]


async def test_nothing_is_given_up_for_kills_that_no_message_was_noted_for(tmp_path: Path) -> None:
    for _ in range(GIVE_UP_AFTER + 2):
        await stored_by_a_killed_process(tmp_path, [])
    ids = await stored_by_a_killed_process(tmp_path, [b"MSH|1"])
    async with running(tmp_path) as journal:
        assert [stored.id for stored in unprocessed(journal)] == ids


@pytest.mark.parametrize("killed", [True, False])
async def test_only_starts_after_kills_count(tmp_path: Path, killed: bool) -> None:
    ids = await stored_by_a_killed_process(tmp_path, [b"MSH|1", b"MSH|2"])
    for _ in range(GIVE_UP_AFTER):
        journal = Journal.open(tmp_path, clock=SystemClock())
        assert recover(journal).given_up == 0
        journal.start(asyncio.get_running_loop())
        await journal.run(poison_message.note, ids[0])
        if killed:
            journal.recovered = False
        await journal.stop()
    journal = Journal.open(tmp_path, clock=SystemClock())
    recovery = recover(journal)
    journal.close()
    assert (recovery.killed, recovery.given_up) == ((True, ids[0]) if killed else (False, 0))
    assert recovery.unprocessed == (1 if killed else 2)
