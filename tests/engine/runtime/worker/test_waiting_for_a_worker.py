"""Deliveries while the worker process is not ready: what a person orders meanwhile holds for those that wait for it."""

import os
import signal
from pathlib import Path

import yaml

from engine.model.journal.records import Target
from engine.runtime.app import App
from engine.runtime.switching import Switchboard
from engine.store.operations import pauses
from engine.store.queries.lanes import list_channels, list_pauses
from tests.support.filled_journal import payload
from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

SERVER = Target(destination="lab-fhir")


async def switch(app: App, *, paused: bool) -> None:
    """As `labrelay pause` and `resume` do."""
    change = pauses.pause if paused else pauses.resume
    await app.journal.run(change, SERVER, actor="ann", reason="a test")
    await Switchboard(app.parts, app.observer.expire).switched(SERVER, next(iter(list_pauses(app.journal)), None))


async def test_no_attempt_begins_after_a_pause_because_a_worker_was_waited_for(tmp_path: Path) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    route = {"mapping": "hl7-results", "to": "lab-fhir"}
    make_running_site(
        tmp_path, {"chem": channel(MLLP, route)}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}}
    )
    settings = tmp_path / "config" / "labrelay.yaml"
    settings.write_text(yaml.safe_dump({**yaml.safe_load(settings.read_text()), "workers": 1}))
    try:
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, sandbox)
            process, server = app.parts.worker_process, app.parts.delivery_workers["lab-fhir"]
            assert process is not None
            await until(lambda: process.ready, 240.0)
            await switch(app, paused=True)
            await send_blocks(site.port("chem"), [payload(1), payload(2)])
            await until(lambda: not any(view.stored for view in list_channels(app.journal)))
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
            try:
                await app.reload()  # the worker is given the configuration anew, and does not answer
                await switch(app, paused=False)
                await until(lambda: server.attempts.in_flight == 1)
                await switch(app, paused=True)
            finally:
                os.kill(process.pid, signal.SIGCONT)
            await until(lambda: process.ready, 240.0)
            await until(lambda: not server.attempts.in_flight)
            assert not sandbox.accepted
            assert server.memory.deliveries == 0
            await switch(app, paused=False)
            await site.settled()
            assert site.ends() == ["delivered", "delivered"]
            assert len(sandbox.accepted) == 2
    finally:
        await sandbox.stop()
