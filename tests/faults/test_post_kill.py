"""The daemon is killed while requests are under way: what was answered with 200 is in the journal, once."""

import asyncio
import contextlib
import random
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from engine.model.journal.journal_views import Filter
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from tests.support.http_sender import sender
from tests.support.killed import Daemon
from tests.support.ports import quiet_ports
from tests.support.waiting import until
from workbench.bench.messages import control_id, oru

SENDERS = 4
MESSAGES = 150  # of each sender
KILLS = 4

SITE = """\
site: {name: Test Lab, timezone: Asia/Kolkata}
web: {enabled: false}
destinations:
  archive: {kind: file, folder: out}
"""
CHANNEL = """\
channel: his
source: {kind: http, listen: "127.0.0.1:PORT"}
routes:
  - to: archive
"""


async def send_all(port: int, who: int, answered: Counter[str]) -> None:
    """Send each message until it is answered, as a sender of results does."""
    rng = random.Random(who)
    texts = [oru(who, number, rng) for number in range(MESSAGES)]
    at = 0
    while at < MESSAGES:
        with contextlib.suppress(OSError):
            async with sender(port) as one:
                while at < MESSAGES and (answer := await one.post(texts[at])) is not None:
                    assert answer.status == 200
                    answered[control_id(who, at)] += 1
                    at += 1
        await asyncio.sleep(0.02)  # while nothing listens


async def test_what_was_answered_is_kept_however_often_the_daemon_is_killed(tmp_path: Path) -> None:
    rng = random.Random(4711)
    (port,) = quiet_ports(1)
    for name in ("config", "channels"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "labrelay.yaml").write_text(SITE)
    (tmp_path / "channels" / "his.yaml").write_text(CHANNEL.replace("PORT", str(port)))
    answered: Counter[str] = Counter()
    daemon = Daemon(tmp_path)
    async with AsyncExitStack() as ending:
        ending.push_async_callback(daemon.kill)
        await daemon.start()
        async with asyncio.TaskGroup() as sending:
            for who in range(SENDERS):
                sending.create_task(send_all(port, who, answered))
            for _ in range(KILLS):
                before = answered.total()
                await until(lambda before=before: answered.total() > before + 40, 240.0)
                await asyncio.sleep(rng.uniform(0.0, 0.02))  # the moment of the kill is meant to be any moment
                await daemon.kill()
                assert answered.total() < SENDERS * MESSAGES, "there must be something left to be killed in"
                await daemon.start()
        await daemon.kill()
    everything = {control_id(who, number) for who in range(SENDERS) for number in range(MESSAGES)}
    assert answered == dict.fromkeys(everything, 1)
    kept = _control_ids(tmp_path / "var")
    assert kept.keys() == everything
    # Of each sender, at most the message under way at a kill came twice, and is marked.
    assert sum(count - 1 for count in kept.values()) <= SENDERS * KILLS


def _control_ids(data: Path) -> Counter[str]:
    """How often each message is in the journal."""
    journal = Reader.beside(data)
    found: Counter[str] = Counter()
    before: int | None = None
    try:
        while page := messages_page(journal, Filter(), before_id=before, limit=500):
            found.update(view.control_id for view in page)
            before = page[-1].id
    finally:
        journal.close()
    return found
