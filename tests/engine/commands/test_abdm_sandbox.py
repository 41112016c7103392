"""`labrelay abdm sandbox`: starts, says where it is, stops by itself or when told; wrong options are explained."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from engine.__main__ import run
from engine.commands.shared.output import ExitCode
from tests.support.waiting import WITHIN_S

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def simulator(*options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The command in a process of its own; yields its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine", "abdm", "sandbox", "--port", "0", *options),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        said = (await asyncio.wait_for(process.stderr.readline(), WITHIN_S)).decode()
        address = re.search(r"http://127\.0\.0\.1:[0-9]+", said)
        assert address is not None, said
        await asyncio.wait_for(process.stderr.readline(), WITHIN_S)
        yield address[0], process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def rest(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    _, said = await asyncio.wait_for(process.communicate(), WITHIN_S)
    return process.returncode, said.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    async with simulator("--facility", "IN0000000007=Another", "--fault", "certs=429-after") as (url, process):
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/faults") as answer:
                assert (await answer.json())["calls"] == {"certs": ["429-after"]}
            async with session.get(f"{url}/violations") as answer:
                assert await answer.json() == []
        process.send_signal(number)
        assert await rest(process) == (ExitCode.OK, "stopped; 0 violations\n")


async def test_violations_are_shown_at_the_end() -> None:
    async with simulator() as (url, process):
        async with aiohttp.ClientSession() as session, session.post(f"{url}/gateway/v0.5/sessions") as answer:
            assert answer.status == 404
        process.send_signal(signal.SIGTERM)
        code, said = await rest(process)
        assert code == ExitCode.PARTLY
        assert "old-interface" in said
        assert said.endswith("stopped; 1 violation\n")


async def test_it_stops_by_itself() -> None:
    async with simulator("--stop-after", "100ms") as (_, process):
        assert (await rest(process))[0] == ExitCode.OK


async def test_a_port_that_is_taken() -> None:
    async with simulator() as (url, _):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine", "abdm", "sandbox", "--port", url.rpartition(":")[2]),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        code, said = await rest(process)
        assert code == ExitCode.FAILED
        assert "--port" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fault", "link"], "CALL=KIND"),
        (["--fault", "link=nonsense"], "--fault"),
        (["--fault", "lnik=503"], "--fault"),
        (["--callback-fault", "on-link=503"], "--callback-fault"),
        (["--push-fault", "ABDM-1000"], "--push-fault"),
        (["--reader", "away"], "--reader"),
        (["--stop-after", "5"], "--stop-after"),
        (["--token-life", "0s"], "--token-life"),
    ],
)
def test_wrong_options_are_explained(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["abdm", "sandbox", *options]) == ExitCode.USAGE
    assert words in capsys.readouterr().err
