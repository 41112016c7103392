"""The daemon is killed around an alert: it is sent at least once, a repeat is marked and has the same number, and a
restart begins nothing anew."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import yaml

from engine.features.alerts.rows import reading as rows
from engine.store.queries.reader import Reader
from tests.support.command_line import labrelay
from tests.support.killed import Daemon
from tests.support.running import make_running_site
from tests.support.scripted_http import SILENCE, http, scripted
from tests.support.waiting import until

# No backup is configured, which is an alert at once.
DESTINATIONS = {"archive": {"kind": "file", "folder": "var/archive"}}


async def test_an_alert_whose_answer_was_lost_by_a_kill_comes_again_marked_and_then_no_more(tmp_path: Path) -> None:
    async with scripted(SILENCE, http(200)) as chat, AsyncExitStack() as ending:
        make_running_site(tmp_path, {}, DESTINATIONS, practice=False)
        config = tmp_path / "config" / "labrelay.yaml"
        sink = {"kind": "http", "url": chat.url, "type": "text", "body": "{state} {text}"}
        config.write_text(config.read_text() + yaml.safe_dump({"alerts": {"sinks": {"chat": sink}, "group": "0s"}}))
        daemon = Daemon(tmp_path)
        ending.push_async_callback(daemon.kill)
        await daemon.start()
        await until(lambda: len(chat.requests) == 1, 240.0)
        await daemon.kill()
        await daemon.start()
        await until(lambda: sent(tmp_path) == [("start", True)], 240.0)
        await daemon.kill()
        await daemon.start()
        await until(lambda: (tmp_path / "daemon.log").read_text().count("audit head") == 3, 240.0)
        assert (await asyncio.to_thread(labrelay, "alert", "test", site=tmp_path)).code == 0
        await daemon.kill()
    first, again, _ = chat.requests
    assert first.body.startswith(b"start Test Lab: No backup is configured")
    assert again.body == first.body + b"\nThis may have been sent before."
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert sent(tmp_path) == [("start", True)]


def sent(site: Path) -> list[tuple[str, bool]]:
    reader = Reader.beside(site / "var")
    try:
        return [(one.line.what.value, one.is_sent) for one in rows.sent(reader)]
    finally:
        reader.close()
