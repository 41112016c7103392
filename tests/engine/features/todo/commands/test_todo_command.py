"""`labrelay todo` of a running site: what is to be done, who does it, and that all is well."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.codes import todo as codes
from engine.features.rework import todo as letters
from engine.features.todo import service
from engine.features.todo.rows import todo_states
from engine.features.todo.rules import FORGET_AFTER_US
from engine.features.todo.service import TodoList
from engine.model.errors import StoreError
from engine.model.process.clock import ManualClock
from engine.model.site.actor import of_this_process
from engine.monitoring.snapshot.site import SiteSnapshot
from tests.support.command_line import labrelay
from tests.support.journals import running
from tests.support.mapping_texts import HL7
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, channel, hl7_channel, running_site
from tests.support.senders import send_blocks
from tests.support.status_sites import quiet_site, troubled_site
from tests.support.waiting import until

KEY = "paused/haematology"
PAUSE = ("pause", "channel", "haematology", "--reason", "new firmware", "--yes")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, {"haematology": hl7_channel()}) as made:
        yield made


async def listed(site: RunningSite, *more: str) -> dict[str, dict[str, Any]]:
    ran = await site.labrelay("todo", "list", "-o", "json", *more)
    assert ran.code == ExitCode.OK
    return {one["key"]: one for one in ran.json["todo"]}


async def said(site: RunningSite, *words: str) -> Any:
    ran = await site.labrelay("todo", *words, "-o", "json")
    assert ran.code == ExitCode.OK, ran.err
    return ran.json


async def test_an_entry_is_taken_noted_put_off_and_gone_with_its_cause(site: RunningSite) -> None:
    assert (await site.labrelay(*PAUSE)).code == ExitCode.OK
    assert {(one["level"], one["step"], one["taken_by"]) for one in (await listed(site)).values()} >= {
        ("attention", "labrelay resume channel haematology --reason TEXT", None)
    }
    assert (await said(site, "take", "paused/haem"))["key"] == KEY, "its beginning is enough"
    await said(site, "note", KEY, "firmware is ordered")
    entry = (await listed(site))[KEY]
    me = str(of_this_process())
    assert (entry["taken_by"], entry["note"], entry["note_by"]) == (me, "firmware is ordered", me)
    table = (await site.labrelay("todo", "list")).out
    assert "firmware is ordered" in table
    assert entry["step"] in table

    await said(site, "snooze", KEY, "--for", "4h", "--reason", "Monday")
    assert KEY not in await listed(site)
    assert "--all shows these, too" in (await site.labrelay("todo", "list")).err
    entry = (await listed(site, "--all"))[KEY]
    assert (entry["snoozed"], entry["snoozed_for"]) == (True, "Monday")

    assert (await said(site, "drop", KEY))["act"] is not None
    assert (await said(site, "drop", KEY))["act"] is None
    entry = (await listed(site))[KEY]
    assert (entry["taken_by"], entry["note"], entry["snoozed"]) == (None, None, False)

    assert (await site.labrelay("resume", "channel", "haematology", "--reason", "done", "--yes")).code == ExitCode.OK
    assert KEY not in await listed(site)
    acts = (await site.labrelay("audit", "list", "-o", "json")).json["acts"]
    words = [(one["act"], one["what"]["entry"]) for one in acts if one["act"].startswith("todo-")]
    assert words == [(f"todo-{verb}", KEY) for verb in ("drop", "snooze", "note", "take")]


async def test_a_key_that_is_wrong_is_answered_with_those_that_there_are(site: RunningSite) -> None:
    await site.labrelay(*PAUSE)
    ran = await site.labrelay("todo", "take", "nothing")
    assert (ran.code, "no entry is nothing" in ran.err, KEY in ran.err) == (ExitCode.REFUSED, True, True)
    await site.labrelay("pause", "lane", "haematology/lab-fhir", "--reason", "x", "--yes")
    ran = await site.labrelay("todo", "take", "paused/haematology/lab-fhir")
    assert ran.code == ExitCode.OK
    ran = await site.labrelay("todo", "take", "paused/")
    assert (ran.code, "several entries begin with" in ran.err) == (ExitCode.REFUSED, True)
    assert (await site.labrelay("todo", "take", KEY)).code == ExitCode.OK, "the exact one, though another begins so"
    assert (await site.labrelay("todo", "snooze", KEY, "--for", "90d", "--reason", "x")).code == ExitCode.FAILED


async def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"haematology": hl7_channel()}):
        pass
    assert (await asyncio.to_thread(labrelay, "todo", "list", site=tmp_path)).code == ExitCode.UNREACHABLE


async def test_all_is_well_when_nothing_is_to_be_done(site: RunningSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.app.service(TodoList), "snapshot", quiet_site)
    for words in (("todo", "list"), ("todo",)):
        ran = await site.labrelay(*words)
        assert (ran.code, ran.out, ran.err.strip()) == (ExitCode.OK, "", "All is well: nothing is to be done")


async def test_the_daemon_follows_what_goes_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOOK_EVERY_S", 0.01)
    clock = ManualClock()
    shown: list[SiteSnapshot] = [troubled_site()]
    async with running(tmp_path, clock=clock) as journal:
        todo = TodoList(journal, lambda: shown[0], clock)
        key = next(one.entry.key for one in await todo.look() if one.entry.key.startswith("silent/"))
        await todo.take(key, "asha")
        task = asyncio.create_task(todo.run())
        try:
            for there in (False, True, False):
                shown[0] = troubled_site() if there else quiet_site()
                await until(lambda: bool(todo_states(journal)[key].gone_us) is not there)  # noqa: B023 - awaited here
            clock.advance(FORGET_AFTER_US / 1_000_000 + 1)
            await until(lambda: not todo_states(journal))
        finally:
            task.cancel()


def result(number: int, code: str, value: str) -> bytes:
    """HL7 v2 with one result of another patient and order each."""
    text = (
        HL7.replace("|M1|", f"|M{number}|").replace("4711", f"47{number}").replace("|O1|F1|", f"|O{number}|F{number}|")
    )
    text = text.replace("HGB^Hemoglobin", code).replace("|14.8|", f"|{value}|")
    return text.replace("\n", "\r").encode()


async def test_messages_that_wait_for_a_person_are_entries_until_they_are_decided(tmp_path: Path) -> None:
    rule = {"when": "=code == 'HGB' and value < 7", "reason": "haemoglobin is critical"}
    async with running_site(tmp_path, {"haematology": channel(MLLP, {**HL7_ROUTE, "hold": [rule]})}) as site:
        messages = [b"rubbish", b"other rubbish", result(1, "HGB^Hemoglobin", "5.1"), result(2, "ZZ9^New", "5")]
        await send_blocks(site.port("haematology"), messages)
        await site.settled()
        site.app.observer.expire()
        found = await listed(site)
        dead = next(key for key in found if key.startswith("dead/UNREADABLE/"))
        held, unmapped = "held/haematology/lab-fhir", "unmapped/haematology"
        assert {held, unmapped} <= set(found)
        assert (found[dead]["count"], found[dead]["cause"], found[dead]["step"]) == (
            2, "no MSH segment", "labrelay dlq show 2",
        )  # fmt: skip
        assert (found[held]["count"], found[unmapped]["subject"]) == (1, "haematology")
        await said(site, "take", dead)

        await send_blocks(site.port("haematology"), [b"rubbish again"])
        await site.settled()
        site.app.observer.expire()
        again = (await listed(site))[dead]
        assert (again["count"], again["taken_by"]) == (3, str(of_this_process())), "the same cause is the same entry"
        for act in (("dlq", "dismiss", "--code", "UNREADABLE"), ("held", "reject", "3")):
            assert (await site.labrelay(*act, "--reason", "not ours", "--yes")).code == ExitCode.OK
        site.app.observer.expire()
        assert not {dead, held} & set(await listed(site))


async def test_a_journal_that_cannot_be_read_or_written_leaves_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[SiteSnapshot] = [troubled_site()]

    def unreadable(_reader: Any) -> Any:
        raise StoreError("the disk does not answer")

    async def full(*_: Any, **__: Any) -> None:
        raise StoreError("no room")

    async with running(tmp_path) as journal:
        todo = TodoList(journal, lambda: shown[0], ManualClock())
        keys = [one.entry.key for one in await todo.look()]
        await todo.take(keys[0], "asha")
        with monkeypatch.context() as patch:
            patch.setattr(letters, "letter_groups", unreadable)
            patch.setattr(service, "todo_states", unreadable)
            patch.setattr(codes, "unmapped_by_channel", unreadable)
            without = [one.entry.key for one in await todo.look()]
        assert [key for key in without if key not in ("dead", "unmapped")] == keys
        assert len(without) == len(keys) + 2, "what cannot be read is there by its count"
        shown[0] = quiet_site()
        with monkeypatch.context() as patch:
            patch.setattr(journal, "run", full)
            assert await todo.look() == []
        assert not todo_states(journal)[keys[0]].gone_us
        await todo.look()
        assert todo_states(journal)[keys[0]].gone_us
