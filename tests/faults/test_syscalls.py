"""Commit before ACK, as the kernel saw it: the last write to the WAL before each answer was followed by a sync (P1).

Payloads are sealed, so their bytes cannot be looked for on their way to the disk. With one message in flight at a
time, every WAL write between its receive and its ACK is taken as its own: that can only make the test stricter. The
daemon itself notes states and downtime now and then. Such a transaction may begin between the sync of a message and its
ACK, which is right; a few of these are allowed.
"""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.reader import Reader
from tests.support.live import Analyzer, Daemon
from tests.support.syscalls import SYSCALLS, Exchange, exchanges, read

MESSAGES = 15
NOTES_OF_THE_DAEMON = 3

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


async def _traced(tmp_path: Path, protocol: str) -> list[str]:
    folder = tmp_path / "archive"
    daemon = Daemon(tmp_path / "site", [protocol], f"{{kind: file, folder: {folder}}}", mapped=False, interpreter=True)
    await daemon.start()
    log = tmp_path / "strace.log"
    tracer = await asyncio.create_subprocess_exec(
        "strace", "-f", "-y", "-s", "24", "-e", f"trace={SYSCALLS}", "-o", str(log), "-p", str(daemon.pid),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert tracer.stderr is not None
    assert b"attached" in await asyncio.wait_for(tracer.stderr.readline(), 240.0)
    analyzer = Analyzer(0, daemon.port_of[0], protocol)
    journal = Reader.beside(daemon.folder / "var")
    # The next message only when the last has been delivered and that noted: no other work writes to the WAL.
    analyzer.gate = lambda: (
        not any(c.stored for c in list_channels(journal)) and not any(v.open for v in list_lanes(journal))
    )
    playing = asyncio.create_task(analyzer.run())
    async with asyncio.timeout(240.0):
        while len(analyzer.acked) < MESSAGES:  # noqa: ASYNC110  # the analyzer has no event to set
            await asyncio.sleep(0.01)
    analyzer.stop()
    await playing
    journal.close()
    os.kill(tracer.pid, signal.SIGINT)
    await tracer.wait()
    await daemon.terminate()
    return log.read_text(errors="replace").splitlines()


def _check(found: list[Exchange], at_least: int) -> None:
    assert len(found) >= at_least
    assert all(exchange.wal_writes for exchange in found), "acknowledged without a write to the WAL"
    assert all(exchange.synced or exchange.began_anew for exchange in found), "acknowledged before the sync"
    assert sum(exchange.began_anew for exchange in found) <= NOTES_OF_THE_DAEMON, "not synced by its own transaction"


async def test_each_mllp_message_is_synced_before_its_ack(tmp_path: Path) -> None:
    calls = read(await _traced(tmp_path, "mllp"))
    _check(exchanges(calls, received="\\vMSH", answered="\\vMSH"), MESSAGES)


async def test_each_astm_frame_is_synced_before_its_ack(tmp_path: Path) -> None:
    calls = read(await _traced(tmp_path, "astm"))
    _check(exchanges(calls, received='"\\002', answered='"\\6"'), MESSAGES * 24)


def test_an_answer_before_the_sync_is_noticed() -> None:
    lines = [
        '1 read(9<TCP:[1]>, "\\vMSH|^~\\\\&|XN", 65536) = 900',
        '2 pwrite64(5</x/journal.db-wal>, "...", 4096, 0) = 4096',
        "2 fdatasync(5</x/journal.db-wal> <unfinished ...>",
        '1 write(9<TCP:[1]>, "\\vMSH|^~\\\\&|", 100) = 100',
        "2 <... fdatasync resumed>) = 0",
        '1 read(9<TCP:[1]>, "\\vMSH|^~\\\\&|XN", 65536) = 900',
        '2 pwrite64(5</x/journal.db-wal>, "...", 4096, 0) = 4096',
        "2 fdatasync(5</x/journal.db-wal>) = 0",
        '1 write(9<TCP:[1]>, "\\vMSH|^~\\\\&|", 100) = 100',
        '1 read(9<TCP:[1]>, "\\vMSH|^~\\\\&|XN", 65536) = 900',
        '1 write(9<TCP:[1]>, "\\vMSH|^~\\\\&|", 100) = 100',
        '1 read(9<TCP:[1]>, "\\vMSH|^~\\\\&|XN", 65536) = 900',
        '2 pwrite64(5</x/journal.db-wal>, "...", 4096, 0) = 4096',
        "2 fdatasync(5</x/journal.db-wal>) = 0",
        '2 pwrite64(5</x/journal.db-wal>, "...", 4096, 0) = 4096',
        '1 write(9<TCP:[1]>, "\\vMSH|^~\\\\&|", 100) = 100',
    ]
    found = exchanges(read(lines), received="\\vMSH", answered="\\vMSH")
    assert found == [
        Exchange(1, synced=False),
        Exchange(1, synced=True),
        Exchange(0, synced=False),
        Exchange(2, synced=False, began_anew=True),
    ]
