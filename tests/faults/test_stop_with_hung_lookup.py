"""A name server that does not answer keeps no daemon from ending."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from engine.commands.daemon.run import FATAL_STORE
from engine.commands.shared.output import ExitCode
from tests.support.live import Daemon
from tests.support.waiting import until

WITHIN_S = 60.0  # far less than the look-up takes

# The event loop has names looked up in threads that it waits for at its end; one of them has one that takes its time.
HUNG = """\
import asyncio, threading
from engine.runtime.app import App
from engine.__main__ import main

run = App.run

async def run_with_hung_lookup(self, started):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 600.0)
    await run(self, started)

App.run = run_with_hung_lookup
main()
"""


# The same, and once it runs a sync of the journal has failed.
FAILED = HUNG.replace(
    "    await run(self, started)",
    """\
    def failed(app):
        started(app)
        app._store_failed(StoreError("the journal failed: no sync", fatal=True))

    await run(self, failed)""",
).replace("import asyncio, threading", "import asyncio, threading\nfrom engine.model.errors import StoreError")


async def test_after_a_failed_sync_nothing_waits_for_a_hung_look_up(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "site", ["mllp"], "{kind: file, folder: out}", mapped=False)
    with daemon.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FAILED, "--site", str(daemon.folder), "run", "--log", "json", stdout=log, stderr=log
        )
    try:
        await until(lambda: '"ready"' in daemon.log.read_text(), 240.0)
        async with asyncio.timeout(WITHIN_S):
            assert await process.wait() == ExitCode.INTEGRITY
        assert FATAL_STORE in daemon.log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_stop_does_not_wait_for_a_hung_look_up(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "site", ["mllp"], "{kind: file, folder: out}", mapped=False)
    with daemon.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HUNG, "--site", str(daemon.folder), "run", "--log", "json", stdout=log, stderr=log
        )
    try:
        await until(lambda: '"ready"' in daemon.log.read_text(), 240.0)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WITHIN_S):
            assert await process.wait() == 0
        told = [json.loads(line) for line in daemon.log.read_text().splitlines() if '"labrelay.run"' in line]
        assert [(one["msg"], one.get("detail")) for one in told[-2:]] == [("stopping", "SIGTERM"), ("stopped", None)]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
