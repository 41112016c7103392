"""The disk of a running daemon is lost after people have decided: the site made of its backup keeps to what they
said."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from engine.commands.shared.output import ExitCode
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.integrity import verify
from tests.support.command_line import Ran, labrelay
from tests.support.live import Analyzer, Daemon, Server
from tests.support.waiting import until

REFUSED = (0, 2)  # the second message of the first analyzer


async def said(folder: Path, *arguments: str) -> Ran:
    ran = await asyncio.to_thread(labrelay, *arguments, site=folder)
    assert ran.code == ExitCode.OK, ran.err
    return ran


def deliveries(folder: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(f"{(folder / 'var' / JOURNAL_NAME).as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT message_id, state FROM delivery ORDER BY message_id").fetchall()


async def test_what_people_stopped_before_the_disk_was_lost_is_stopped_on_the_restored_site(tmp_path: Path) -> None:
    copies, new = tmp_path / "copies", tmp_path / "new"
    copies.mkdir()
    server = Server(refuse={REFUSED})
    await server.start()
    daemon = Daemon(tmp_path / "site", ["mllp"], f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir"}}')
    configuration = daemon.folder / "config" / "labrelay.yaml"
    configuration.write_text(f"{configuration.read_text()}backup: {{folder: '{copies}', rows: 10s}}\n")
    try:
        await daemon.start()
        await daemon.commanded()
        await said(daemon.folder, "backup", "now")
        await Analyzer(0, daemon.port_of[0], "mllp", last_number=3).run()
        await until(lambda: [state for _, state in deliveries(daemon.folder)] == ["delivered", "dead", "delivered"])
        dead = next(message for message, state in deliveries(daemon.folder) if state == "dead")
        await said(daemon.folder, "dlq", "dismiss", str(dead), "--reason", "known", "--yes")
        await said(daemon.folder, "pause", "destination", "server", "--reason", "wrong patients there", "--yes")
        await Analyzer(0, daemon.port_of[0], "mllp", last_number=5).run()  # three that came before, and two
        with closing(sqlite3.connect(daemon.folder / "var" / JOURNAL_NAME)) as connection:
            (last,) = connection.execute("SELECT max(id) FROM journal").fetchone()
        await until(lambda: any(int(path.name.split("-")[1]) >= last for path in copies.rglob("0*.state")), 240.0)
        before = deliveries(daemon.folder)
        await daemon.kill()
        (daemon.folder / "var" / JOURNAL_NAME).unlink()  # the disk

        ran = await said(daemon.folder, "restore", "--to", str(new), "--reason", "disk lost")
        assert "paused, as before: server" in ran.out + ran.err
        assert deliveries(new) == before
        assert verify.run(new / "var", deep=True) == []
        taken = {number: len(keys) for number, keys in server.keys.items()}
        daemon.folder = new
        await daemon.start()
        await daemon.commanded()
        assert (await said(new, "status", "-o", "json")).json["destinations"][0]["paused"]
        assert {number: len(keys) for number, keys in server.keys.items()} == taken, "not one attempt"
        await said(new, "resume", "destination", "server", "--reason", "they are right", "--yes")
        await until(lambda: server.arrived[0] == [1, 3, 4, 5])
        assert not any(number == REFUSED for number in server.keys)
        assert await daemon.terminate() == 0
    finally:
        await daemon.end()
        await server.stop()
