"""The daemon is killed while a person notes maintenance: what was confirmed is there, with its act, and never half."""

import asyncio
import contextlib
import random
from contextlib import AsyncExitStack
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.actions.control import SOCKET_NAME, call
from engine.config.load import load_site
from engine.features.quality_control.rows.reading import list_jobs
from engine.features.quality_control.rules.maintenance import jobs_of
from engine.model.errors import LabRelayError
from engine.model.process.clock import SystemClock
from engine.store.integrity.verify import run as verify
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support.killed import Daemon
from tests.support.ports import quiet_ports
from tests.support.waiting import until

KILLS = 4
SITE = """\
site: {name: Test Lab, timezone: Asia/Kolkata}
web: {enabled: false}
destinations:
  out: {kind: file, folder: out}
"""
CHANNEL = """\
channel: chem
source: {kind: mllp, listen: "127.0.0.1:PORT"}
maintenance:
  Clean the needle: {every: 7}
  Yearly service: {dates: [2020-01-01, 2099-01-01]}
routes:
  - to: out
"""
ASKED = {"channel": "chem", "job": "Clean the needle", "reason": "weekly"}


async def test_what_was_confirmed_is_noted_however_often_the_daemon_is_killed(tmp_path: Path) -> None:
    rng = random.Random(4711)
    (port,) = quiet_ports(1)
    for name, file, text in (("config", "labrelay", SITE), ("channels", "chem", CHANNEL.replace("PORT", str(port)))):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{file}.yaml").write_text(text)
    confirmed: list[int] = []
    data, daemon, ending = tmp_path / "var", Daemon(tmp_path), asyncio.Event()

    def note() -> None:
        with contextlib.suppress(LabRelayError, OSError):  # killed meanwhile
            confirmed.append(call(data / SOCKET_NAME, "quality_done", ASKED, timeout=5.0)["act"])

    async def person() -> None:
        while not ending.is_set():
            await asyncio.to_thread(note)
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        stack.push_async_callback(daemon.kill)
        await daemon.start()
        noting = asyncio.create_task(person())
        for _ in range(KILLS):
            before = len(confirmed)
            await until(lambda: len(confirmed) > before + 2, 240.0)  # noqa: B023 - awaited in this round
            await asyncio.sleep(rng.uniform(0.0, 0.05))  # the moment of the kill is meant to be any moment
            await daemon.kill()
            await daemon.start()
        ending.set()
        await noting
    journal = Reader.beside(data)
    try:
        noted = {row[0] for row in journal.rows("SELECT act FROM qc_event WHERE job = ?", (ASKED["job"],))}
        acts = {one.id for one in acts_page(journal, limit=100_000) if one.verb == "quality-event"}
        site = load_site(tmp_path)
        found = list_jobs(journal, jobs_of(site.channels), SystemClock().now_us(), ZoneInfo("Asia/Kolkata"))
    finally:
        journal.close()
    assert set(confirmed) <= noted
    assert noted == acts
    assert [(one.job, one.state) for one in found] == [("Clean the needle", "later"), ("Yearly service", "late")]
    assert verify(data, deep=True) == []
