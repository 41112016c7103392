"""The daemon is killed again and again while it takes files: each is taken, each message is delivered once."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from engine.model.journal.journal_views import Filter
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from tests.support.killed import Daemon
from tests.support.waiting import until
from workbench.bench.messages import control_id, oru

FILES = 240
MESSAGES_A_FILE = 3
KILLS = 4

SITE = """\
site: {name: Test Lab, timezone: Asia/Kolkata}
web: {enabled: false}
destinations:
  archive: {kind: file, folder: out}
"""
CHANNEL = """\
channel: his
source: {kind: folder, folder: in, pattern: "*.hl7", format: hl7v2, settle: 0s, every: 50ms}
routes:
  - to: archive
"""


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


async def test_files_are_taken_once_however_often_the_daemon_is_killed(tmp_path: Path) -> None:
    rng = random.Random(815)
    inbox = tmp_path / "in"
    for name in ("config", "channels", "in"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "labrelay.yaml").write_text(SITE)
    (tmp_path / "channels" / "his.yaml").write_text(CHANNEL)
    for number in range(FILES):
        messages = [oru(0, number * MESSAGES_A_FILE + inner, rng) for inner in range(MESSAGES_A_FILE)]
        (inbox / f"{number:04}.hl7").write_bytes(b"".join(messages))
    finished = inbox / "finished"
    daemon = Daemon(tmp_path)
    async with AsyncExitStack() as ending:
        ending.push_async_callback(daemon.kill)
        await daemon.start()
        for _ in range(KILLS):
            before = len(names(finished))
            await until(lambda before=before: len(names(finished)) > before + 5, 240.0)
            await asyncio.sleep(rng.uniform(0.0, 0.05))  # the moment of the kill is meant to be any moment
            await daemon.kill()
            assert len(names(finished)) < FILES, "there must be something left to be killed in"
            await daemon.start()
        await until(lambda: len(names(finished)) == FILES, 240.0)
        await until(lambda: len(names(tmp_path / "out")) == FILES * MESSAGES_A_FILE, 240.0)
        await daemon.kill()

    assert names(inbox / ".claimed") == names(inbox / "failed") == []
    assert sorted(names(finished)) == [f"{number:04}.hl7" for number in range(FILES)]
    kept = _control_ids(tmp_path / "var")
    assert kept == {control_id(0, number): 1 for number in range(FILES * MESSAGES_A_FILE)}


def _control_ids(data: Path) -> Counter[str]:
    """How often each message is in the journal, without those that were known to be repeats."""
    journal = Reader.beside(data)
    found: Counter[str] = Counter()
    before: int | None = None
    try:
        while page := messages_page(journal, Filter(), before_id=before, limit=500):
            found.update(view.control_id for view in page if view.reason != "REPEAT")
            before = page[-1].id
    finally:
        journal.close()
    return found
