"""Start what destinations are tested against, on free ports of 127.0.0.1, and end it again.

``make e2e`` installs the programs of Node.js into a folder of its own and names it in ``LABRELAY_E2E``. Mosquitto is
the system's (``LABRELAY_MOSQUITTO`` names another one).
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
STARTS_WITHIN_S = 20.0


def modules() -> Path:
    folder = os.environ.get("LABRELAY_E2E")
    if folder is None:
        pytest.fail("run this with: make e2e")
    return Path(folder).resolve()


@contextmanager
def node(script: str, argument: dict[str, Any]) -> Iterator[int]:
    """A script of this folder, run among the installed modules; gives its port."""
    installed = modules().parent / f"{os.getpid()}-{script}"  # beside the modules, so that its imports are found
    shutil.copyfile(HERE / script, installed)
    process = subprocess.Popen(
        ["node", str(installed), json.dumps(argument)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            pytest.fail(f"{script} did not start: {process.communicate(timeout=5)[1][-2000:]}")
        yield int(json.loads(first)["port"])
    finally:
        _end(process)
        installed.unlink(missing_ok=True)


@contextmanager
def mosquitto(
    folder: Path, port: int, settings: str, *, tls_port: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The broker with this configuration; skips where there is none."""
    program = os.environ.get("LABRELAY_MOSQUITTO") or shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("there is no mosquitto; on Debian or Ubuntu: apt install mosquitto")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mosquitto.conf"
    file.write_text(settings)
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(file)], stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            for each in (port, tls_port):
                if each is not None:
                    listening(each, process, folder / "mosquitto.log")
            yield process
        finally:
            _end(process)


def fetched(url: str, method: str = "GET") -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:  # loopback only
        return json.loads(answer.read())


def listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the process takes connections there."""
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as sock:
            sock.settimeout(1)
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"it did not start: {log.read_text()[-2000:]}")


def _end(process: "subprocess.Popen[Any]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=5)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
