"""`labrelay sandbox`: starts, says where it is, serves, and stops when told; wrong options are explained."""

import asyncio
import os
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

ROOT = Path(__file__).parents[3]
RESOURCE = {"resourceType": "Specimen", "id": "s"}


@asynccontextmanager
async def sandbox(*options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The command in a process of its own; yields its base address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "engine",
        "sandbox",
        "--listen",
        "127.0.0.1:0",
        *options,
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        said = (await asyncio.wait_for(process.stderr.readline(), 240.0)).decode()
        address = re.search(r"http://\S+/fhir", said)
        assert address is not None, said
        yield address[0], process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    async with sandbox("--data", str(tmp_path / "data")) as (url, process):
        async with aiohttp.ClientSession() as session, session.put(f"{url}/Specimen/s", json=RESOURCE) as response:
            assert response.status == 201
        assert process.stderr is not None
        process.send_signal(number)
        assert (await asyncio.wait_for(process.stderr.readline(), 240.0)).decode() == "stopped; kept 1 Specimen\n"
        assert await asyncio.wait_for(process.wait(), 240.0) == ExitCode.OK
    assert os.listdir(tmp_path / "data") == ["sandbox.sqlite3"]


async def test_faults_of_the_command_line_are_in_force() -> None:
    options = ["--fail", "100%", "--fault", "429", "--retry-after", "7", "--latency", "1ms", "--seed", "1"]
    async with sandbox(*options) as (url, _), aiohttp.ClientSession() as session:
        async with session.put(f"{url}/Specimen/s", json=RESOURCE) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "7"
        async with session.get(url.removesuffix("/fhir") + "/$faults") as response:
            faults = await response.json()
    assert (faults["fail"], faults["kinds"], faults["latency"]) == (1.0, ["429"], 0.001)


@pytest.mark.parametrize(
    ("options", "explanation"),
    [
        (["--fail", "130%"], "expected a percentage from 0% to 100%"),
        (["--fail", "some"], "expected a percentage from 0% to 100%"),
        (["--fault", "200"], "--fault: expected a status from 400 to 599, or one of reset"),
        (["--latency", "200"], "expected a duration with its unit"),
        (["--retry-after", "-1"], "--retry-after: "),
        (["--listen", "8581"], "host:port"),
    ],
)
def test_wrong_options_are_explained(capsys: pytest.CaptureFixture[str], options: list[str], explanation: str) -> None:
    assert run(["sandbox", *options]) == ExitCode.USAGE
    assert explanation in capsys.readouterr().err


async def test_a_taken_address_is_said_plainly() -> None:
    async with sandbox() as (url, _):
        address = url.removeprefix("http://").removesuffix("/fhir")
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine", "sandbox", "--listen", address),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(second.communicate(), 240.0)
    assert second.returncode == ExitCode.FAILED
    assert said.decode().startswith(f"cannot listen on {address}: ")
    assert len(said.splitlines()) == 1
