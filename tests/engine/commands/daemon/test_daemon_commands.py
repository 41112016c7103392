"""Commands that talk to the running daemon over its socket."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.actions.control import SOCKET_NAME
from engine.commands.shared.output import ExitCode
from engine.features.access.service.service import AccessService
from engine.model.site.permissions import ROLES
from engine.runtime.app import App
from engine.store.operations import bulk
from engine.store.queries.acts import acts_page
from engine.store.queries.messages import messages_page, trace_of
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import CANARY, fill_journal, payload
from tests.support.journals import replaced
from tests.support.sites import make_site
from tests.support.waiting import until

RAW_CHANNEL = """\
channel: haematology
source: {{kind: mllp, listen: "127.0.0.1:{port}"}}
routes:
  - to: archive
"""
SITE = """\
site: {{name: Test Lab, timezone: Asia/Kolkata}}
web: {{enabled: false}}
destinations:
  archive: {{kind: file, folder: var/archive}}
"""


class Running:
    """A daemon in this process, and the command line beside it."""

    def __init__(self, folder: Path, app: App, port: int) -> None:
        self.folder = folder
        self.app = app
        self.port = port

    async def labrelay(self, *arguments: str) -> Ran:
        return await asyncio.to_thread(labrelay, *arguments, site=self.folder)

    async def send(self, message: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"\x0b" + message + b"\x1c\r")
            async with asyncio.timeout(240.0):
                return await reader.readuntil(b"\x1c\r")
        finally:
            writer.close()
            await writer.wait_closed()

    async def delivered(self, message: int, times: int = 1) -> None:
        """Wait until the message's deliveries are so many, all delivered."""
        await until(lambda: self._states(message) == ["delivered"] * times)

    def _states(self, message: int) -> list[str]:
        trace = trace_of(self.app.journal, message)
        assert trace is not None
        return [delivery.state for delivery in trace.deliveries]


@pytest_asyncio.fixture
async def running(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Running]:
    channels = {"a.yaml": RAW_CHANNEL.format(port=unused_tcp_port)}
    folder = make_site(tmp_path, site=SITE.format(), channels=channels)
    await asyncio.to_thread(fill_journal, folder / "var")
    app = App(folder)
    up = asyncio.Event()
    task = asyncio.create_task(app.run(lambda _: up.set()))
    await asyncio.wait({task, started := asyncio.create_task(up.wait())}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if task.done():
        task.result()
    yield Running(folder, app, unused_tcp_port)
    app.stop()
    async with asyncio.timeout(240.0):
        await task


async def test_a_change_of_a_user_works_at_once_in_the_daemon(running: Running) -> None:
    accounts = running.app.service(AccessService).accounts
    for name, role in (("Anna", "admin"), ("Vik", "operator")):
        await accounts.users.add(name, role, "correct horse battery", by="root")
    session = await accounts.log_in("Vik", "correct horse battery", address="10.0.0.5")
    assert (await running.labrelay("user", "role", "vik", "viewer")).code == ExitCode.OK
    who = await accounts.principal_of_session(session.secret, address="10.0.0.5")
    assert who is not None
    assert who.principal.permissions == ROLES["viewer"]

    assert "10.0.0.5" in (await running.labrelay("user", "show", "vik")).out
    assert (await running.labrelay("user", "disable", "vik")).code == ExitCode.OK
    assert await accounts.principal_of_session(session.secret, address="10.0.0.5") is None
    assert "last admin" in (await running.labrelay("user", "disable", "anna")).err

    made = await running.labrelay("token", "add", "his")
    assert await accounts.principal_of_token(made.out.strip(), address="") is not None
    assert (await running.labrelay("token", "revoke", "his")).code == ExitCode.OK
    assert await accounts.principal_of_token(made.out.strip(), address="") is None


async def test_status_comes_from_the_daemon(running: Running) -> None:
    scripts, people = await running.labrelay("status", "-o", "json"), await running.labrelay("status")

    assert scripts.code == people.code == ExitCode.OK
    assert scripts.json["daemon"] is True
    assert scripts.json["channels"][0]["name"] == "haematology"
    assert "haematology" in people.out
    assert "archive" in people.out
    assert CANARY not in scripts.out + people.out


async def test_a_message_is_found_beside_the_running_daemon(running: Running) -> None:
    assert b"MSA|AA|C9" in await running.send(payload(9))
    archive = running.folder / "var" / "archive"
    await until(lambda: any(CANARY.encode() in path.read_bytes() for path in archive.rglob("*") if path.is_file()))
    newest = (await running.labrelay("messages", "list", "--limit", "1", "-o", "json")).json["messages"][0]

    assert newest["id"] == 6
    assert newest["channel"] == "haematology"


async def test_a_retry_is_carried_out_by_the_daemon(running: Running) -> None:
    ran = await running.labrelay("dlq", "retry", "2", "--yes", "-o", "json")

    assert (ran.code, ran.json["done"]["requeued"]) == (ExitCode.OK, 1)
    await running.delivered(2)


async def test_a_dead_message_is_processed_again_by_the_daemon(running: Running) -> None:
    ran = await running.labrelay("dlq", "retry", "--code", "UNMAPPED_CODE", "--yes", "-o", "json")

    assert ran.json["done"]["processed"] == 1
    await running.delivered(3)


async def test_a_replay_is_carried_out_by_the_daemon(running: Running) -> None:
    ran = await running.labrelay("replay", "1", "--to", "archive", "--yes", "-o", "json")

    assert ran.json["done"] == {"requeued": 1}
    await running.delivered(1, times=2)
    assert (await running.labrelay("replay", "1", "--to", "nowhere", "--yes")).code == ExitCode.FAILED


async def test_a_dismissal_names_the_user_by_the_kernels_word(running: Running) -> None:
    ran = await running.labrelay("dlq", "dismiss", "--all", "--reason", "test", "--yes")

    assert ran.out == "3 selected: 3 dismissed\n"
    end, step, begun = acts_page(running.app.journal, limit=3)
    assert (end.ended, step.verb, begun.verb) == (begun.id, "dismiss", "dismiss")
    assert step.actor == begun.actor
    assert step.by == begun.by


async def test_showing_content_is_noted_by_the_daemon(running: Running) -> None:
    ran = await running.labrelay("messages", "show", "1", "--unmask", "--purpose", "a test")

    assert CANARY in ran.out
    newest = acts_page(running.app.journal, limit=1)[0]
    assert (newest.verb, newest.what) == ("unmask", {"message": 1, "purpose": "a test"})

    file = str(running.folder / "out.csv")
    assert (
        await running.labrelay("messages", "export", "--to", file, "--unmask", "--purpose", "a test")
    ).code == ExitCode.OK
    newest = acts_page(running.app.journal, limit=1)[0]
    up_to = messages_page(running.app.journal)[0].id
    assert (newest.verb, newest.what) == ("unmask", {"export": {"up_to": up_to}, "purpose": "a test"})


async def test_a_reload_takes_what_is_right_and_keeps_the_old_where_it_is_not(running: Running) -> None:
    before = running.app.parts.built.site.hash
    same = await running.labrelay("reload", "-o", "json")
    assert (same.code, same.json["changed"]) == (ExitCode.OK, False)

    channel = running.folder / "channels" / "a.yaml"
    good = channel.read_text(encoding="utf-8")
    channel.write_text(good + "colour: red\n", encoding="utf-8")
    refused = await running.labrelay("reload")
    assert refused.code == ExitCode.CONFIG
    assert "channels/a.yaml:5:1: colour: unknown key" in refused.err
    assert running.app.parts.built.site.hash == before

    channel.write_text(good + "description: new\n", encoding="utf-8")
    taken = await running.labrelay("reload", "-o", "json")
    assert (taken.code, taken.json["changed"]) == (ExitCode.OK, True)
    assert running.app.parts.built.site.hash == taken.json["config_hash"] != before


async def test_doctor_knows_the_daemons_own_ports(running: Running) -> None:
    ran = await running.labrelay("doctor", "-o", "json")
    ports = [line for line in ran.json["lines"] if line["subject"] == "port"]

    assert [line["health"] for line in ports] == ["ok"]
    assert ports[0]["text"].endswith("is open")


async def test_the_socket_is_gone_after_the_stop(running: Running) -> None:
    assert (running.folder / "var" / SOCKET_NAME).exists()
    running.app.stop()
    await until(lambda: not (running.folder / "var" / SOCKET_NAME).exists())


@pytest.mark.parametrize("selection", [None, {}, {"colour": "red"}])
async def test_a_selection_of_nothing_is_never_everything(running: Running, selection: object) -> None:
    from engine.actions.control import call
    from engine.model.errors import LabRelayError

    with pytest.raises(LabRelayError, match="selec"):
        await asyncio.to_thread(
            call, running.folder / "var" / SOCKET_NAME, "retry", {"selection": selection, "dry_run": False}
        )


async def test_status_says_how_a_site_without_channels_gets_one(tmp_path: Path) -> None:
    folder = make_site(tmp_path, site=SITE.format(), channels={})
    app = App(folder)
    up = asyncio.Event()
    task = asyncio.create_task(app.run(lambda _: up.set()))
    async with asyncio.timeout(240.0):
        await up.wait()
        said = await asyncio.to_thread(labrelay, "--site", str(folder), "status")
        app.stop()
        await task
    assert "No channel yet: labrelay init --analyzer NAME" in said.out


async def test_messages_are_found_by_the_numbers_they_bear(running: Running) -> None:
    async def ids(*arguments: str) -> list[int]:
        ran = await running.labrelay("messages", "list", *arguments, "-o", "json")
        assert ran.code == ExitCode.OK, ran.err
        return [row["id"] for row in ran.json["messages"]]

    for number in (7, 8):
        await running.send(payload(number))
    await running.delivered(7)
    assert await ids("--specimen", "f7") == await ids("--specimen", "O7") == [6]
    assert await ids("--patient", "8") == [7]
    assert await ids("--control-id", "c8") == await ids("--control-id", "C8", "--channel", "haematology") == [7]
    assert await ids("--specimen", "F7", "--state", "dead") == []
    ran = await running.labrelay("messages", "list", "--specimen", "F7", "--channel", "elsewhere", "-o", "json")
    assert (ran.code, "there is no channel elsewhere" in ran.err) == (ExitCode.FAILED, True)


async def test_the_trace_of_a_message_tells_what_people_did_about_it(running: Running) -> None:
    await running.labrelay("dlq", "retry", "2", "--yes")
    await running.delivered(2)
    await running.labrelay("messages", "show", "2", "--unmask", "--purpose", "a test")
    await running.labrelay("dlq", "dismiss", "3", "--reason", "a test by Anita", "--yes")
    shown = (await running.labrelay("messages", "show", "2", "-o", "json")).json
    assert [act["act"] for act in shown["acts"]] == ["retry", "unmask"]
    assert (await running.labrelay("messages", "show", "1", "-o", "json")).json["acts"] == []
    (dismissed,) = (await running.labrelay("messages", "show", "3", "-o", "json")).json["acts"]
    assert (dismissed["act"], dismissed["reason"]) == ("dismiss", "a test by Anita")
    assert "dismiss by" in (await running.labrelay("messages", "show", "3")).out


async def test_an_operation_is_listed_shown_and_cancelled(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verb that began it says how it ended."""
    held, go = asyncio.Event(), asyncio.Event()

    async def waits(run: Any, *given: Any, **named: Any) -> Any:
        held.set()
        await go.wait()
        return await run(*given, **named)

    replaced(monkeypatch, running.app.journal, bulk.step, by=waits)
    command = ("-m", "engine", "--site", str(running.folder), "dlq", "dismiss", "--all", "--reason", "a test", "--yes")
    begun = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE, stderr=PIPE)
    await held.wait()
    (row,) = (await running.labrelay("operations", "list", "-o", "json")).json["operations"]
    assert (row["verb"], row["stage"], row["total"], row["left"]) == ("dismiss", "running", 3, 3)
    number = str(row["number"])
    shown = (await running.labrelay("operations", "show", number, "-o", "json")).json
    assert {**row, "reason": "a test"}.items() <= shown.items()
    assert "running" in (await running.labrelay("operations", "show", number)).out

    ended = await running.labrelay("operations", "cancel", number, "--yes", "-o", "json")
    assert (ended.json["operation"], ended.json["left"]) == (int(number), 3)
    assert (await running.labrelay("operations", "cancel", number, "--yes")).code == ExitCode.FAILED
    assert (await running.labrelay("operations", "show", "9999")).code == ExitCode.FAILED
    go.set()
    out, err = await begun.communicate()
    assert (begun.returncode, out) == (ExitCode.PARTLY, b"3 selected\n")
    assert f"operation {number} was cancelled" in err.decode()
    assert "cancelled" in (await running.labrelay("operations", "list")).out
