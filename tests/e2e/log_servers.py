"""rsyslog and syslog-ng send the real daemon's log to a server, with the settings of docs/operations.md.

Each is skipped where it is absent. ``.ci/run`` unpacks syslog-ng into ``.syslog-ng`` (``LABRELAY_SYSLOG_NG`` names
another folder), for its package cannot be installed beside rsyslog's.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.live import Analyzer, Daemon, Mood, Server
from tests.support.waiting import until
from workbench.bench.messages import oru

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SHIPPERS = ("rsyslog", "syslog-ng")


def settings(first_line: str, log: Path, port: int) -> str:
    """Those of the page, for this file and this server."""
    text = PAGE.split(f"# {first_line}\n")[1].split("```")[0]
    text = text.replace("/var/log/labrelay/labrelay.log", str(log)).replace("logs.example.org", "127.0.0.1")
    made = text.replace('Port="514"', f'Port="{port}"').replace("port(514)", f"port({port})")
    assert str(port) in made
    assert str(log) in made
    return made


def rsyslog(folder: Path, log: Path, port: int) -> tuple[list[str], dict[str, str]]:
    program = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no rsyslogd; on Debian or Ubuntu: apt install rsyslog")
    file = folder / "rsyslog.conf"
    file.write_text(f'global(workDirectory="{folder}")\n' + settings("/etc/rsyslog.d/labrelay.conf", log, port))
    return [program, "-n", "-f", str(file), "-i", str(folder / "rsyslog.pid")], {}


def syslog_ng(folder: Path, log: Path, port: int) -> tuple[list[str], dict[str, str]]:
    unpacked = Path(os.environ.get("LABRELAY_SYSLOG_NG") or ROOT / ".syslog-ng")
    program = unpacked / "usr" / "sbin" / "syslog-ng"
    modules = sorted(one for one in unpacked.glob("usr/lib/syslog-ng/[0-9]*") if one.is_dir())
    if not program.is_file() or not modules:
        pytest.skip("there is no syslog-ng in .syslog-ng; .ci/run unpacks it")
    file = folder / "syslog-ng.conf"
    text = settings("/etc/syslog-ng/conf.d/labrelay.conf", log, port)
    file.write_text(f"@version: {modules[-1].name}\n" + text.replace("reliable(yes)", f'reliable(yes) dir("{folder}")'))
    libraries = {str(one.parent) for one in unpacked.rglob("*.so.*")}
    own = ["--persist-file", folder / "persist", "--control", folder / "control", "--pidfile", folder / "ng.pid"]
    command = [program, "-F", "--no-caps", f"--module-path={modules[-1]}", "-f", file, *own]
    return [str(one) for one in command], {"LD_LIBRARY_PATH": ":".join(sorted(libraries))}


@contextmanager
def running(command: list[str], variables: dict[str, str], said: Path) -> Iterator[None]:
    with said.open("ab") as output:
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=output, stderr=output)
    try:
        yield
        assert process.poll() is None, said.read_text()
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class LogServer:
    """A server of syslog over TCP."""

    port: int = 0
    came: bytearray = field(default_factory=bytearray)

    def lines(self) -> list[dict[str, Any]]:
        whole = bytes(self.came).split(b"\n")[:-1]
        assert all(re.match(rb"<[0-9]+>1 ", one) for one in whole), "RFC 5424, one message a line"
        return [json.loads(one[one.index(b"{") :]) for one in whole if b"{" in one]


@asynccontextmanager
async def log_server() -> AsyncIterator[LogServer]:
    made, tasks = LogServer(), set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            while data := await reader.read(65536):
                made.came += data
        except ConnectionError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("name", SHIPPERS)
async def test_each_line_arrives_with_its_fields_over_stops_and_a_new_file(name: str, tmp_path: Path) -> None:
    target = Server(mood=Mood.BUSY)
    await target.start()
    daemon = Daemon(
        tmp_path / "site", ["mllp"], f'{{kind: fhir, url: "http://127.0.0.1:{target.port}/fhir"}}', interpreter=True
    )
    written: list[str] = []
    try:
        async with log_server() as server:
            made = {"rsyslog": rsyslog, "syslog-ng": syslog_ng}[name]
            command, variables = made(tmp_path, daemon.log, server.port)

            def all_arrived() -> bool:
                came = server.lines()
                return all(json.loads(line) in came for line in written)

            with running(command, variables, tmp_path / "shipper.log"):
                await daemon.start()
                analyzer = Analyzer(0, daemon.port_of[0], "mllp", last_number=3)
                await analyzer.run()
                await until(lambda: "delivery postponed" in daemon.log.read_text())
                written += daemon.log.read_text().splitlines()
                await until(all_arrived)
            assert await daemon.terminate() == 0  # nothing ships: the file has it
            written += daemon.log.read_text().splitlines()[len(written) :]
            with running(command, variables, tmp_path / "shipper.log"):
                await until(all_arrived)
                daemon.log.rename(daemon.log.with_suffix(".1"))
                await daemon.start()
                assert await daemon.terminate() == 0
                written += daemon.log.read_text().splitlines()
                await until(all_arrived)
            assert len(written) > 8
            messages = [line["msg"] for line in map(json.loads, written)]
            assert messages.count("stopped") == 2
            sent = [oru(0, number, random.Random(number)).decode() for number in (1, 2, 3)]  # as `Analyzer` sends them
            people = {word for text in sent for word in re.split(r"[|^]", text.split("\rPID|")[1].split("\r")[0])}
            known = {word.encode() for word in people if len(word) >= 4 and word != "CITYLAB"}
            assert len(known) > 5
            assert {word for word in known if word in server.came} == set()
    finally:
        await daemon.end()
        await target.stop()
