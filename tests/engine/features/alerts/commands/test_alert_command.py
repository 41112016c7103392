"""`labrelay alert` beside a running site, with a web service on loopback."""

from pathlib import Path

import pytest
import yaml

from engine.commands.shared.output import ExitCode
from tests.support.running import RunningSite, make_running_site, running_app
from tests.support.scripted_http import ScriptedServer, http, scripted
from tests.support.waiting import until

# No backup is configured, which is an alert at once.
DESTINATIONS = {"archive": {"kind": "file", "folder": "var/archive"}}


def alerting(server: ScriptedServer) -> dict[str, object]:
    sink = {"kind": "http", "url": server.url, "type": "text", "body": "{state} {text}"}
    return {"alerts": {"sinks": {"chat": sink}, "group": "0s"}}


async def test_the_life_of_an_alert_by_commands(tmp_path: Path) -> None:
    async with scripted(http(200)) as chat:
        make_running_site(tmp_path, {}, DESTINATIONS, practice=False)
        config = tmp_path / "config" / "labrelay.yaml"
        config.write_text(config.read_text() + yaml.safe_dump(alerting(chat)))
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, None)  # type: ignore[arg-type]  # nothing is received

            tested = await site.labrelay("alert", "test", "-o", "json")
            assert (tested.code, tested.json["tested"][0]["detail"]) == (ExitCode.OK, "")
            await until(lambda: any(b"No backup" in one.body for one in chat.requests))
            (start,) = [one.body.decode() for one in chat.requests if b"No backup" in one.body]
            assert start.startswith("start Test Lab: No backup is configured")

            (shown,) = (await site.labrelay("alert", "list", "-o", "json")).json["alerts"]
            assert (shown["key"], shown["state"], shown["sent_to"]) == ("backup", "firing", ["chat"])
            taken = await site.labrelay("alert", "acknowledge", "back", "--note", "disk is ordered", "-o", "json")
            assert taken.json["key"] == "backup"
            (shown,) = (await site.labrelay("alert", "list", "-o", "json")).json["alerts"]
            assert shown["state"] == "acknowledged"
            assert shown["taken_by"]

            silenced = await site.labrelay(
                "alert", "silence", "away/*", "--for", "1h", "--reason", "they move", "-o", "json"
            )
            (silence,) = (await site.labrelay("alert", "silences", "-o", "json")).json["silences"]
            assert (silence["silence"], silence["reason"]) == (silenced.json["silence"], "they move")
            ended = await site.labrelay("alert", "unsilence", str(silence["silence"]))
            assert ended.code == ExitCode.OK
            sent = (await site.labrelay("alert", "sent", "backup", "-o", "json")).json["sent"]
            assert [(one["what"], one["sink"], one["state"]) for one in sent] == [("start", "chat", "sent")]
            wrong = await site.labrelay("alert", "silence", "critical/*", "--for", "1h", "--reason", "no")
            assert wrong.code == ExitCode.REFUSED


@pytest.mark.parametrize("arguments", [("list",), ("test",)])
async def test_without_alerts_the_commands_say_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    make_running_site(tmp_path, {}, DESTINATIONS)
    async with running_app(tmp_path) as app:
        ran = await RunningSite(tmp_path, app, None).labrelay("alert", *arguments)  # type: ignore[arg-type]
    assert "no alerts are configured" in ran.err.lower()
