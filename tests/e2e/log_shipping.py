"""Litestream beside the real daemon under load: what it has copied is restored, and proven row by row.

Runs where ``litestream`` (0.3) is on the PATH (or ``LABRELAY_LITESTREAM`` names it); else it is skipped. The settings
are those of docs/backup.md.
"""

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.integrity import verify
from engine.store.journal.upkeep import WAL_CAP_BYTES
from tests.support.command_line import labrelay
from tests.support.live import Analyzer, Daemon, Server
from tests.support.waiting import until

DOCS = Path(__file__).parents[2] / "docs" / "backup.md"
MESSAGES = 400


def program() -> str:
    found = os.environ.get("LABRELAY_LITESTREAM") or shutil.which("litestream")
    if found is None:
        pytest.skip("there is no litestream on the PATH; LABRELAY_LITESTREAM may name one")
    return found


def settings(database: Path, replica: Path) -> str:
    """Those that the documentation recommends, for this database."""
    text = DOCS.read_text().split("# /etc/litestream.yml\n")[1].split("```")[0]
    return text.replace("/var/lib/labrelay/journal.db", str(database)).replace("/mnt/second/litestream", str(replica))


@contextmanager
def litestream(configuration: Path) -> Iterator[None]:
    with configuration.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen([program(), "replicate", "-config", str(configuration)], stdout=log, stderr=log)
    try:
        yield
        process.terminate()
    finally:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def test_what_litestream_has_copied_is_restored_whole(tmp_path: Path) -> None:
    program()
    server = Server()
    await server.start()
    daemon = Daemon(
        tmp_path / "site", ["mllp"] * 3, f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir"}}', interpreter=True
    )
    data, configuration = daemon.folder / "var", tmp_path / "litestream.yml"
    configuration.write_text(settings(data / JOURNAL_NAME, tmp_path / "replica"))
    largest = 0
    try:
        await daemon.start()
        analyzers = [Analyzer(n, daemon.port_of[n], "mllp", last_number=MESSAGES) for n in daemon.port_of]
        tasks = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]

        def acked() -> int:
            nonlocal largest
            largest = max(largest, (data / f"{JOURNAL_NAME}-wal").stat().st_size)
            return sum(len(analyzer.acked) for analyzer in analyzers)

        with litestream(configuration):
            await until(lambda: acked() > MESSAGES, 60.0)
        await until(lambda: acked() > 2 * MESSAGES, 60.0)  # without it
        with litestream(configuration):
            await until(lambda: acked() == 3 * MESSAGES, 60.0)
            await asyncio.gather(*tasks)
            newest = (tmp_path / "replica" / "generations").rglob("*.lz4")
            before = len(list(newest))
            await until(lambda: len(list((tmp_path / "replica" / "generations").rglob("*.lz4"))) > before, 30.0)
            assert await daemon.terminate() == 0
            await asyncio.sleep(3.0)  # three of its own beats
    finally:
        await daemon.end()
        await server.stop()
    assert largest < WAL_CAP_BYTES, "no alarm: it lets the log be emptied"

    restored = tmp_path / "restored" / "var"
    restored.mkdir(parents=True)
    found = subprocess.run(  # noqa: ASYNC221 - nothing else goes on by now
        [program(), "restore", "-config", str(configuration), "-o", str(restored / JOURNAL_NAME),
         str(data / JOURNAL_NAME)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    for name in (KEY_NAME, ANCHOR_NAME):
        shutil.copy(data / name, restored / name)
    assert verify.run(restored, deep=True) == []
    with closing(sqlite3.connect(restored / JOURNAL_NAME)) as connection:
        (messages,) = connection.execute("SELECT count(*) FROM journal WHERE kind = 1").fetchone()
    assert messages == 3 * MESSAGES
    assert labrelay("journal", "compact", "--yes", site=daemon.folder).code == 0, "nobody reads it any more"
