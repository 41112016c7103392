"""Alerts of a site: a real journal, real sinks on loopback, and a clock that the test moves."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from engine.config.load import Site, load_site
from engine.features.alerts import service as alerting
from engine.features.alerts.rows import changes as alerts
from engine.features.alerts.rows import critical
from engine.features.alerts.rows import reading as rows
from engine.features.alerts.rules.critical import Word
from engine.features.alerts.service import REFUSALS, Alerting
from engine.features.todo.service import TodoList
from engine.model.errors import OvertakenError, RefusedError, StoreError
from engine.model.process.clock import ManualClock
from engine.model.site.alerts import Line, What
from engine.model.texts.phrases import Phrase, Span
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from engine.web.languages import catalogue
from tests.support.certificates import Authority
from tests.support.copies import Place
from tests.support.journals import queue, running, store
from tests.support.mqtt_peer import ACK, mqtt_peer
from tests.support.scripted_http import Request, ScriptedServer, http, scripted
from tests.support.sites import SITE_YAML, make_site
from tests.support.smtp_peer import MailServer, mail_server
from tests.support.status_sites import quiet_site
from tests.support.syslog_peer import udp
from tests.support.todo_entries import entries
from tests.support.waiting import until

LAST = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(\. .+)?$")
AWAY = Entry(key="away/lis", level=Level.PROBLEM, phrase=Phrase("lis not reachable"), step="", subject="lis")
QUICK: dict[str, Any] = {"rules": {"destination": {"after": "0s", "keep": "0s"}}, "group": "0s", "remind": "0s"}
TAKEN = http(200, b"{}")
ACCEPTED = http(200, b'{"messages": [{"id": "wamid.1"}]}')


def mail_sink(peer: MailServer, **more: Any) -> dict[str, Any]:
    server = f"127.0.0.1:{peer.port}"
    return {
        "kind": "email", "server": server, "security": "none", "sender": "l@x.example", "to": "a@x.example", **more,
    }  # fmt: skip


def chat_sink(server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return {"kind": "http", "url": server.url, "body": '{"text": "{text}"}', **more}


def texts(server: ScriptedServer) -> list[str]:
    return [without_step(json.loads(one.body)["text"]) for one in server.requests]


def without_step(text: str) -> str:
    """A message without its last line, which has the time and the step."""
    said, _, last = text.rpartition("\n")
    assert LAST.match(last), text
    return said


@dataclass
class House:
    """A site with alerts. The list of entries is the test's."""

    folder: Path
    site: Site
    clock: ManualClock
    journal: Journal
    alerting: Alerting
    found: list[Entry]

    async def look(self, *found: Entry, seconds: float = 0.0) -> None:
        """A look, and an attempt at each sink for everything that is due."""
        self.found[:] = found
        self.clock.advance(seconds)
        await self.alerting.look()
        await self.send_due()

    async def send_due(self) -> None:
        assert self.alerting.config is not None
        for name in self.alerting.config.sinks:
            while await self.alerting.send_due(name):
                pass


def site_with(folder: Path, alerting: dict[str, Any], web: str = "") -> Site:
    make_site(folder, site=SITE_YAML + web + yaml.safe_dump({"alerts": alerting}))
    return load_site(folder)


@asynccontextmanager
async def house(
    folder: Path, alerting: dict[str, Any], clock: ManualClock | None = None, *, web: str = ""
) -> AsyncIterator[House]:
    site, clock = site_with(folder, alerting, web), clock or ManualClock(datetime(2026, 3, 2, 6, 0, tzinfo=UTC))
    async with running(folder / "var", clock=clock) as journal, AsyncExitStack() as opened:
        found: list[Entry] = []
        snapshot = replace(quiet_site(), channels=(), destinations=(), started_at=clock.now())

        async def listed() -> Sequence[Entry]:
            return [*found, *(one for one in await criticals() if one.kind in ("critical", "alert-sink"))]

        async def criticals() -> list[Entry]:
            values, sinks = rows.critical_values(journal), rows.failing_sinks(journal, clock.now_us())
            return entries(snapshot, [], [], str, criticals=values, sinks=sinks)

        made = Alerting(journal, listed, lambda: snapshot, lambda: site, clock)
        assert made.config is not None
        await made.open(made.config, opened)
        journal.upkeep.notes_critical = made.config.wants_critical
        yield House(folder, site, clock, journal, made, found)


async def test_a_mail_and_a_webhook_come_once_at_start_and_once_at_end(tmp_path: Path) -> None:
    async with mail_server() as mails, scripted(TAKEN) as chat:
        sinks = {"mail": mail_sink(mails), "chat": chat_sink(chat)}
        async with house(tmp_path, {"sinks": sinks, **QUICK}) as home:
            for _ in range(5):
                await home.look(AWAY, seconds=60)
            for _ in range(5):
                await home.look(seconds=60)
    wanted = ["Test Lab: lis not reachable", "Test Lab: Over, after 5 min: lis not reachable"]
    assert texts(chat) == wanted
    assert [without_step(one.text) for one in mails.mails] == wanted


async def test_a_machine_that_is_not_active_says_that_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "FIRST_S", 0.01)
    monkeypatch.setattr(alerting, "LOOK_S", 0.01)
    asked: list[bool] = []
    is_active = False

    async def proof() -> None:
        asked.append(is_active)
        if not is_active:
            raise OvertakenError("incarnation 2 on spare")

    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        home.found[:] = [AWAY]
        await home.alerting.look()  # before it was replaced
        made = home.alerting
        running_on = Alerting(home.journal, made._entries, made._snapshot, made._site, home.clock, proof)
        task = asyncio.create_task(running_on.run())
        try:
            await until(lambda: bool(texts(chat)))
            before = len(asked)
            await until(lambda: len(asked) > before + 10)
            assert texts(chat) == ["Test Lab: This machine is not active: its journal goes on elsewhere. Stop it"]
            is_active = True  # a person has said that it goes on here
            await until(lambda: len(texts(chat)) == 2)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert texts(chat)[1:] == ["Test Lab: lis not reachable"]


NAMED = 'web: {listen: "0.0.0.0:8443", names: lab.example, tls: {cert: c.pem, key: k.pem}}\n'


@pytest.mark.parametrize(
    ("web", "step"),
    [
        (NAMED, "गंतव्य देखें: https://lab.example:8443/destinations/lis"),
        ("", "गंतव्य देखें"),  # a page that only its own machine reaches
    ],
)
async def test_a_message_has_the_time_the_next_step_and_its_address(tmp_path: Path, web: str, step: str) -> None:
    async with scripted(TAKEN) as chat:
        alerting = {"sinks": {"chat": chat_sink(chat)}, "language": "hi", **QUICK}
        async with house(tmp_path, alerting, web=web) as home:
            await home.look(AWAY)
            await home.look(seconds=60)
            await home.look(AWAY, replace(AWAY, key="away/his"), seconds=60)
    (start, over, both) = [json.loads(one.body)["text"].split("\n")[-1] for one in chat.requests]
    assert start == f"2026-03-02 11:30. {step}"
    assert over == "2026-03-02 11:31"
    assert both.startswith("2026-03-02 11:32. करने के काम")


async def test_each_kind_of_sink_gets_one_start_and_one_end(tmp_path: Path) -> None:
    """A real server for each; the destination flaps for an hour in between."""
    whatsapp = {
        "kind": "http", "auth": {"bearer": {"token": "${WHATSAPP_TOKEN}"}}, "taken": '"messages"',
        "body": '{"messaging_product": "whatsapp", "to": "919800000000", "type": "template", "template": {"name":'
        ' "lab_alert", "components": [{"type": "body", "parameters": [{"type": "text", "text": "{subject}"}]}]}}',
    }  # fmt: skip
    async with AsyncExitStack() as servers:
        enter = servers.enter_async_context
        mails, chat, meta = await enter(mail_server()), await enter(scripted(TAKEN)), await enter(scripted(ACCEPTED))
        broker, log = await enter(mqtt_peer(ACK)), await enter(udp())
        sinks = {
            "mail": mail_sink(mails),
            "chat": chat_sink(chat),
            "whatsapp": {**whatsapp, "url": meta.url},
            "bus": {"kind": "mqtt", "connect": f"127.0.0.1:{broker.port}", "client_id": "l", "topic": "lab/alerts"},
            "log": {"kind": "syslog", "connect": f"127.0.0.1:{log.port}"},
        }
        with mock.patch.dict(os.environ, {"WHATSAPP_TOKEN": "secret"}):
            slow = {**QUICK, "rules": {"destination": {"after": "1m"}}}
            async with house(tmp_path, {"sinks": sinks, **slow}) as home:
                for minute in range(70):
                    await home.look(*([AWAY] if minute % 4 and minute < 60 else []), seconds=60)
                for _ in range(60):
                    await home.look(seconds=60)
        await until(lambda: len(log.lines) == 2)
    assert len(mails.mails) == len(chat.requests) == len(meta.requests) == len(broker.published) == 2
    template = json.loads(meta.requests[0].body)["template"]["components"][0]["parameters"][0]["text"]
    assert template == "Test Lab: lis not reachable"
    assert meta.requests[0].headers["authorization"] == "Bearer secret"
    assert [json.loads(one.payload)["state"] for one in broker.published] == ["start", "end"]
    assert [b'state="start"' in one for one in log.lines] == [True, False]


async def test_a_sink_that_fails_for_ten_minutes_is_told_the_start_and_the_end_once(tmp_path: Path) -> None:
    answers = [http(503)] * 3
    async with scripted(*answers, TAKEN) as chat, mail_server() as mails:
        sinks = {"mail": mail_sink(mails), "chat": chat_sink(chat)}
        rules = {**QUICK["rules"], "sink": {"after": "0s", "keep": "0s", "to": "mail"}}  # type: ignore[dict-item]
        async with house(tmp_path, {"sinks": sinks, **QUICK, "rules": rules}) as home:
            failing = http(503)
            chat.script[:] = [failing]
            for minute in range(20):
                if minute == 10:
                    chat.script[:] = [TAKEN]
                await home.look(*([AWAY] if minute < 5 else []), seconds=60)
    taken = texts(chat)[-2:]
    assert taken == ["Test Lab: lis not reachable", "Test Lab: Over, after 5 min: lis not reachable"]
    assert len({one.headers["idempotency-key"] for one in chat.requests}) == 2
    assert [without_step(one.text) for one in mails.mails if "chat" in one.text] == [
        "Test Lab: Alerts do not reach chat",
        "Test Lab: Over, after 10 min: Alerts do not reach chat",
    ]


async def test_each_sink_is_sent_its_language_at_start_end_and_test(tmp_path: Path) -> None:
    """Also once a restart has come in between: the journal keeps the sentence, and no language."""
    away = replace(AWAY, phrase=Phrase("{name} {state}", {"name": "lis", "state": Phrase("not reachable")}))
    clock = ManualClock()
    async with scripted(TAKEN) as plain, scripted(TAKEN) as tamil, scripted(TAKEN) as hindi:
        sinks = {
            "plain": chat_sink(plain, language="en"), "tamil": chat_sink(tamil, language="ta"),
            "hindi": chat_sink(hindi),
        }  # fmt: skip
        alerting = {"sinks": sinks, "language": "hi", **QUICK}
        async with house(tmp_path, alerting, clock) as home:
            await home.look(away)
        async with house(tmp_path, alerting, clock) as home:
            await home.look(seconds=60)
            await home.alerting.test()
        for server, language in ((plain, "en"), (tamil, "ta"), (hindi, "hi")):
            said = catalogue(language)
            there = away.phrase.say(said)
            over = Phrase("Over, after {age}: {what}", {"age": Span(60), "what": there}).say(said)
            test = said("A test of alerts: all is well")
            assert texts(server) == [f"Test Lab: {one}" for one in (there, over, test)]
    assert len({*texts(plain), *texts(tamil), *texts(hindi)}) == 9


async def test_a_refused_address_is_named_where_the_others_have_the_mail(tmp_path: Path) -> None:
    async with mail_server() as mails:
        sinks = {"mail": mail_sink(mails, to=["a@x.example", "b@x.example"])}
        async with house(tmp_path, {"sinks": sinks, **QUICK}) as home:
            mails.answers = {"RCPT": ["550 Asha Rao", "", "250 ok", "450 Asha Rao"]}
            (message,) = await queue(home.journal, CRITICAL_BODY, critical=(1,))
            await home.look(AWAY)
            await home.look(AWAY, seconds=1)
            sent = {one.line.key: (one.is_sent, one.refused) for one in rows.sent(home.journal)}
            assert sent == {
                f"critical/{message}": (True, "a@x.example: SMTP 550"),
                "away/lis": (True, "b@x.example: SMTP 450"),
            }
            (said,) = [one.what for one in acts_page(home.journal) if one.verb == "alert-sent"]
            assert (said["to"], said["refused"]) == ("a@x.example, b@x.example", ["a@x.example: SMTP 550"])
            mails.answers = {"RCPT": ["550 no"]}
            (tested,) = await home.alerting.test()
            assert tested.detail == "refused for a@x.example: SMTP 550"


async def test_a_thousand_causes_at_once_are_one_message(tmp_path: Path) -> None:
    many = [replace(AWAY, key=f"away/lis{n}", phrase=Phrase(f"lis{n} not reachable")) for n in range(1000)]
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        await home.look(*many)
        await home.look(seconds=60)
    start, end = texts(chat)
    assert start.startswith("Test Lab: lis0 not reachable\nlis1 not reachable\n")
    assert start.endswith("\n... and 980 more")
    assert end.count("Over, after 1 min") == 20


async def test_causes_of_half_a_minute_go_together(tmp_path: Path) -> None:
    other = replace(AWAY, key="away/his", phrase=Phrase("his not reachable"))
    async with (
        scripted(TAKEN) as chat,
        house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK, "group": "30s"}) as home,
    ):
        await home.look(AWAY)
        await home.look(AWAY, other, seconds=20)
        assert chat.requests == []
        await home.look(AWAY, other, seconds=10)
        assert len(chat.requests) == 1
        await home.look(AWAY, other, seconds=20)
    assert texts(chat) == ["Test Lab: lis not reachable", "Test Lab: his not reachable"]


CRITICAL_BODY = (
    b'{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Observation","status":'
    b'"final","code":{"coding":[{"code":"K"}]},"valueQuantity":{"value":7.9},"subject":{"display":"Asha"},'
    b'"interpretation":[{"coding":[{"code":"HH"}]}]}}]}'
)


async def test_a_critical_value_is_told_at_once_and_the_record_says_to_whom_and_who_took_it(tmp_path: Path) -> None:
    """In a quiet window, while others are held, and beside a message that waits for its next attempt."""
    night = ManualClock(datetime(2026, 3, 2, 20, 0, tzinfo=UTC))  # 01:30 there
    window = [{"start": "22:00", "end": "06:00"}]

    def answer(request: Request) -> bytes:
        return TAKEN

    async with scripted(answer) as chat, mail_server() as mails:
        sinks = {"mail": mail_sink(mails), "chat": chat_sink(chat, quiet=window)}
        async with house(tmp_path, {"sinks": sinks, **QUICK, "group": "30s"}, night) as home:
            await home.look(AWAY)
            (message,) = await queue(home.journal, CRITICAL_BODY, critical=(1,))
            await home.look(AWAY, seconds=1)
            sent = f"Test Lab: chem: message {message} has a critical value"
            assert texts(chat) == [sent]
            assert [without_step(one.text) for one in mails.mails] == [sent]
            await home.look(AWAY, seconds=600)
            assert len(mails.mails) == 2
            key, act = await home.alerting.acknowledge(f"critical/{message}", "asha", "phoned the ward")
            await home.look(AWAY, seconds=60)
            assert texts(chat) == [sent, f"Test Lab: Over, after 11 min: chem: message {message} has a critical value"]
            await home.look(AWAY, seconds=4.5 * 3600)
            assert texts(chat)[2:] == ["Test Lab: lis not reachable"]
            acts = {one.id: one for one in acts_page(home.journal)}
            assert (acts[act].actor, acts[act].what) == ("asha", {"alert": key, "reason": "phoned the ward"})
            who = [one.what for one in acts.values() if one.verb == "alert-sent"]
            assert {(one["sink"], one["sent"], one["to"]) for one in who} == {
                ("mail", "start", "a@x.example"), ("chat", "start", chat.url.split("/")[2]),
                ("mail", "end", "a@x.example"), ("chat", "end", chat.url.split("/")[2]),
            }  # fmt: skip
    sent = b"".join(one.body for one in chat.requests) + b"".join(one.raw for one in mails.mails)
    assert b"Asha" not in sent
    assert b"7.9" not in sent


@operation(priority=Priority.SETTLE)
def corrects(batch: Any, by: int, *messages: int) -> None:
    critical.note(batch, by, "chem", [Word((message, 1), critical=False) for message in messages])


async def test_who_was_told_of_a_critical_value_is_told_when_it_is_so_no_more(tmp_path: Path) -> None:
    """Under its key, to the same sinks, once; a person takes it all the same. What was taken begins anew."""
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        first, second = await queue(home.journal, b"1", b"2", critical=(1,))
        await home.look()
        await home.alerting.acknowledge(f"critical/{second}", "asha", "phoned the ward")
        await home.look(seconds=60)
        (third,) = await queue(home.journal, b"3")
        await home.journal.run(corrects, third, first, second)
        for _ in range(2):
            await home.look(seconds=60)
        lines = {number: [] for number in (first, second)}
        for one in reversed(rows.sent(home.journal)):
            lines[int(one.line.key.partition("/")[2])].append((one.line.what.value, one.line.phrase.say()))
        begun = "chem: message {} has a critical value"
        over = f"chem: message {{}} is critical no more: message {third} says another"
        assert lines == {
            first: [("start", begun.format(first)), ("no-more", over.format(first))],
            second: [(one, begun.format(second)) for one in ("start", "end")] + [("start", over.format(second))],
        }
        assert len(texts(chat)) == 5
        await home.alerting.acknowledge(f"critical/{first}", "asha", "")
        await home.look(seconds=60)
        assert [one.message for one in rows.critical_values(home.journal)] == [second]


async def test_a_value_that_is_over_right_behind_its_taking_is_for_a_person_again(tmp_path: Path) -> None:
    """Before any look: its alert is still the one that was taken."""
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        (first,) = await queue(home.journal, b"1", critical=(1,))
        await home.look()
        await home.alerting.acknowledge(f"critical/{first}", "asha", "phoned the ward")
        (second,) = await queue(home.journal, b"2")
        await home.journal.run(corrects, second, first)
        await home.look(seconds=60)
        (alert,) = rows.kept(home.journal, home.clock.now_us())[0].values()
        assert (alert.key, alert.taken, alert.taken_us) == (f"critical/{first}", 0, 0)
        assert texts(chat)[-1].endswith("says another")


@operation(priority=Priority.SETTLE)
def rejected(batch: Any, message: int) -> None:
    batch.execute("UPDATE delivery SET state = 'rejected' WHERE message_id = ?", (message,))
    critical.decided(batch, message)


async def test_a_site_that_wants_no_critical_values_gets_none_back_by_a_rejection(tmp_path: Path) -> None:
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        first, second = await queue(home.journal, b"1", b"2", critical=(1,))
        await home.journal.run(rejected, first)
        assert [bool(one.over_us) for one in rows.critical_values(home.journal)] == [True, False]
        home.journal.upkeep.notes_critical = False
        await home.journal.run(alerts.close_critical)
        await home.journal.run(rejected, second)
        assert rows.critical_values(home.journal) == []


async def test_a_message_that_is_processed_again_rings_no_second_time(tmp_path: Path) -> None:
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        (message,) = await queue(home.journal, CRITICAL_BODY, critical=(1,))
        await home.look()
        await home.alerting.acknowledge(f"critical/{message}", "asha", "")

        await home.journal.run(noted_again, message)
        await home.look(seconds=60)
        assert [one.line.what.value for one in rows.sent(home.journal)] == ["end", "start"]


@operation(priority=Priority.SETTLE)
def noted_again(batch: Any, message: int) -> None:
    alerts.note_critical(batch, message, "chem")


async def test_what_was_under_way_at_a_kill_is_sent_again_and_marked(tmp_path: Path) -> None:
    """The process ended after the sink had taken it, and before the journal heard of that."""
    alerting = {"sinks": {"chat": {"kind": "http", "url": "http://127.0.0.1:1", "body": "{text}", "type": "text"}}}
    clock = ManualClock()
    async with house(tmp_path, {**alerting, **QUICK}, clock) as home:
        home.found[:] = [AWAY]
        await home.alerting.look()
        first = await home.journal.run(alerts.claim, "chat", held=False)
        assert first is not None
    async with scripted(TAKEN) as chat:
        alerting["sinks"]["chat"]["url"] = chat.url
        async with house(tmp_path, {**alerting, **QUICK}, clock) as home:
            await home.look(AWAY, seconds=60)
            await home.look(AWAY, seconds=60)
            assert chat.requests[0].headers["idempotency-key"].split("-")[2] == str(first.number)
    assert [one.body.decode() for one in chat.requests] == [
        "Test Lab: lis not reachable\n2026-03-01 11:30. Look at the destination\nThis may have been sent before."
    ]


async def test_the_numbers_of_alerts_are_those_that_sinks_and_journal_have(tmp_path: Path) -> None:
    broken, refusing = http(503, b"{}"), http(400, b"{}")
    async with scripted(broken, broken, TAKEN) as chat, scripted(*[refusing] * (REFUSALS + 1)) as deaf:
        sinks = {
            "chat": chat_sink(chat),
            "deaf": chat_sink(deaf),
            "night": chat_sink(chat, quiet=[{"start": "00:00", "end": "23:59"}]),
        }
        rules = {**QUICK["rules"], "sink": {"enabled": False}}
        async with house(tmp_path, {"sinks": sinks, **QUICK, "rules": rules}) as home:
            begun_us = home.clock.now_us()
            await home.look(AWAY)
            await home.look(AWAY)
            seen = home.alerting.seen
            assert seen is not None
            assert (seen.open["destination", "problem"], seen.open["dead", "attention"]) == (1, 0)
            assert seen.unsent_since_us == {"chat": begun_us, "deaf": begun_us, "night": None}, "the window holds it"
            for _ in range(REFUSALS):
                await home.look(AWAY, seconds=61)
            await home.look(AWAY)
            assert home.alerting.notifications == {
                ("chat", "failed"): 2, ("chat", "taken"): 1, ("deaf", "failed"): REFUSALS - 1, ("deaf", "refused"): 1,
            }  # fmt: skip
            seen = home.alerting.seen
            assert seen is not None
            assert seen.unsent_since_us == {"chat": None, "deaf": None, "night": None}
            await home.look()
            await home.look()
            assert seen is not home.alerting.seen
            assert home.alerting.seen is not None
            assert home.alerting.seen.open["destination", "problem"] == 0
            assert ("sink", "problem") not in home.alerting.seen.open, "its rule is off"


async def test_a_refused_message_does_not_keep_the_next_one_back_for_ever(tmp_path: Path) -> None:
    async with (
        scripted(*[http(400)] * REFUSALS, TAKEN) as chat,
        house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home,
    ):
        for _ in range(REFUSALS):
            await home.look(AWAY, seconds=60)
        await home.look(seconds=60)
        assert [(one.line.what.value, one.is_sent) for one in rows.sent(home.journal, key="away/lis")] == [
            ("end", True),
            ("start", False),
        ]


async def test_an_alert_of_yesterday_rings_no_bell(tmp_path: Path) -> None:
    async with scripted(http(503)) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        await home.look(AWAY)
        home.clock.advance(25 * 3600)
        await home.alerting.look()
        chat.script[:] = [TAKEN]
        before = len(chat.requests)
        await home.send_due()
        assert len(chat.requests) == before


async def test_what_a_quiet_weekend_held_comes_at_its_end(tmp_path: Path) -> None:
    saturday = ManualClock(datetime(2026, 3, 6, 19, 0, tzinfo=UTC))  # 00:30 there
    window = [{"days": ["sat", "sun"], "start": "00:00", "end": "24:00"}]
    async with scripted(TAKEN) as chat:
        sinks = {"chat": chat_sink(chat, quiet=window)}
        async with house(tmp_path, {"sinks": sinks, **QUICK}, saturday) as home:
            for _ in range(47):
                await home.look(AWAY, seconds=3600)
            assert texts(chat) == []
            await home.look(AWAY, seconds=1900)
    assert texts(chat) == ["Test Lab: lis not reachable"]


async def test_neither_a_claim_nor_a_look_reads_what_was_sent_in_90_days(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        asked: list[str] = []
        with journal.snapshot() as execute:

            def explained(text: str, values: Sequence[object] = ()) -> Any:
                asked.extend(row[3] for row in execute(f"EXPLAIN QUERY PLAN {text}", values))
                return execute(text, values)

            explained(f"SELECT id FROM alert_line WHERE {alerts.OF_MESSAGE}", (1, 1))
            explained(rows.FAILING, (1,))
            explained(f"SELECT id FROM alert_line l WHERE {alerts.URGENT}", ("chat",))
        assert "SEARCH alert_line USING INTEGER PRIMARY KEY (rowid>?)" in asked
        assert not [one for one in asked if one == "SCAN alert_line" or "CORRELATED" in one]


async def test_a_test_says_for_each_sink_whether_it_was_taken(tmp_path: Path) -> None:
    async with scripted(http(401)) as chat, mail_server() as mails:
        sinks = {"mail": mail_sink(mails), "chat": chat_sink(chat)}
        async with house(tmp_path, {"sinks": sinks, **QUICK}) as home:
            found = await home.alerting.test()
            assert sorted((one.sink, one.detail) for one in found) == [
                ("chat", "NOT_AUTHORIZED: HTTP 401"),
                ("mail", ""),
            ]
            with pytest.raises(RefusedError, match="there are chat, mail"):
                await home.alerting.test("sms")
            assert rows.sent(home.journal) == []
    assert without_step(mails.mails[0].text) == "Test Lab: A test of alerts: all is well"


async def test_a_silence_has_an_owner_a_reason_and_an_end(tmp_path: Path) -> None:
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        number = await home.alerting.silence("away/*", "asha", "they move", 3600)
        await home.look(AWAY, seconds=60)
        (silence,) = rows.silences(home.journal, home.clock.now_us())
        assert (silence.act, silence.by, silence.reason, silence.pattern) == (number, "asha", "they move", "away/*")
        assert chat.requests == []
        for pattern in ("critical/*", "*", "c*", "critical/7"):
            with pytest.raises(RefusedError, match="never silenced"):
                await home.alerting.silence(pattern, "asha", "no", 60)
        await home.alerting.unsilence(number, "asha")
        await home.look(AWAY, seconds=60)
        assert texts(chat) == ["Test Lab: lis not reachable"]
        with pytest.raises(RefusedError, match="no silence"):
            await home.alerting.unsilence(number, "asha")


async def test_without_alerts_only_critical_values_stay_open(tmp_path: Path) -> None:
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        (message,) = await queue(home.journal, CRITICAL_BODY, critical=(1,))
        await home.look(AWAY)
        await home.journal.run(alerts.forget)
        assert not rows.anything_kept(home.journal)
        assert [one.message for one in rows.critical_values(home.journal)] == [message]
        assert [one.verb for one in acts_page(home.journal) if one.verb == "critical-closed"] == []


async def test_a_critical_value_is_taken_by_its_whole_number_alone(tmp_path: Path) -> None:
    """`critical/1` that a page still shows, while the only open one is another patient's `critical/12`."""
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        await home.journal.run(noted_again, 12)
        await home.look(AWAY)
        for key in ("critical/1", "critical/", "c"):
            with pytest.raises(RefusedError, match="no open alert is"):
                await home.alerting.acknowledge(key, "asha", "phoned")
        assert [one.message for one in rows.critical_values(home.journal)] == [12]
        assert (await home.alerting.acknowledge("away", "asha", ""))[0] == AWAY.key


async def test_the_newest_critical_values_are_told_where_thousands_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_CRITICAL", 3)
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        for number in range(1, 6):
            await home.journal.run(noted_again, number)
        assert [one.message for one in rows.critical_values(home.journal)] == [3, 4, 5]


async def test_a_new_critical_value_is_told_before_the_reminders_of_others(tmp_path: Path) -> None:
    alerting = {**QUICK, "remind": "4h"}
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **alerting}) as home:
        for number in (1, 2, 3):
            await home.journal.run(noted_again, number)
        await home.look()
        home.clock.advance(4 * 3600)
        await home.alerting.look()  # the reminders are queued, and not sent yet
        await home.journal.run(noted_again, 9)
        await home.look()
    said = [(text.startswith("Test Lab: Still"), "message 9 " in text) for text in texts(chat)[3:]]
    assert said == [(False, True), (True, False), (True, False), (True, False)]


async def test_a_clock_that_was_set_back_keeps_no_alert_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        chat = await opened.enter_async_context(scripted(http(503), TAKEN))
        alerting = {"sinks": {"chat": chat_sink(chat)}, **QUICK, "group": "30s"}
        home = await opened.enter_async_context(house(tmp_path, alerting))
        await home.journal.run(noted_again, 7)
        await home.look(AWAY)
        home.clock.advance(-2 * 86_400)
        await home.send_due()
    assert ["critical value" in text for text in texts(chat)] == [True, True, False]


async def test_a_restored_journal_gives_no_message_the_id_of_an_earlier_one(tmp_path: Path) -> None:
    """Its numbers go on from the backup's; a mailbox drops a mail with an id that it knows."""
    async with scripted(TAKEN) as chat:
        sink = chat_sink(chat, body='{"text": "{text} {id}"}')
        clock = ManualClock(datetime(2026, 3, 2, 6, 0, tzinfo=UTC))
        async with house(tmp_path, {"sinks": {"chat": sink}, **QUICK}, clock) as home:
            await home.look(AWAY)
            await home.journal.run(without_lines)
            await home.look(AWAY, replace(AWAY, key="away/his"), seconds=60)
    first, second = (json.loads(one.body)["text"].split()[-1] for one in chat.requests)
    assert first != second


@operation(priority=Priority.SETTLE)
def without_lines(batch: Any) -> None:
    batch.execute("DELETE FROM alert_line")


async def test_a_list_that_cannot_be_read_ends_no_critical_value(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await journal.run(noted_again, 7)
        todo = TodoList(journal, quiet_site, ManualClock())
        assert "critical/7" in [one.key for one in await todo.entries(certain=True)]
        await journal.run(without_criticals)
        assert await todo.entries() == []
        with pytest.raises(StoreError):
            await todo.entries(certain=True)


@operation(priority=Priority.SETTLE)
def without_criticals(batch: Any) -> None:
    batch.execute("DROP TABLE critical_value")


async def test_what_waited_in_a_backup_may_have_been_sent_since(tmp_path: Path) -> None:
    place = Place(tmp_path)
    line = Line(sink="chat", key=AWAY.key, what=What.START, level="problem", phrase=AWAY.phrase, at_us=1, due_us=1)
    async with running(place.data) as journal:
        await store(journal, b"x")
        await journal.run(alerts.queue, [line])
        copy = await place.copy(journal)
    place.restore(copy, tmp_path / "new")
    async with running(tmp_path / "new" / "var") as journal:
        message = await journal.run(alerts.claim, "chat", held=False)
        assert message is not None
        assert message.repeat


async def test_a_fault_in_the_list_keeps_back_nothing_that_waits(tmp_path: Path) -> None:
    """A sink that answers later than the look fails."""
    async with scripted(TAKEN) as chat, house(tmp_path, {"sinks": {"chat": chat_sink(chat)}, **QUICK}) as home:
        looked = asyncio.Event()

        async def broken() -> Sequence[Entry]:
            looked.set()
            raise KeyError("a fault")

        line = Line(sink="chat", key=AWAY.key, what=What.START, level="problem", phrase=AWAY.phrase, at_us=1, due_us=1)
        running_on = Alerting(home.journal, broken, quiet_site, lambda: home.site, home.clock)
        task = asyncio.create_task(running_on.run())
        try:
            await until(looked.is_set)
            await home.journal.run(alerts.queue, [replace(line, at_us=home.clock.now_us())])
            for due in running_on._due.values():  # as a look sets it
                due.set()
            await until(lambda: bool(chat.requests))
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_reload_takes_renewed_certificates_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerting, "LOOK_S", 0.01)
    now, former = Authority(tmp_path / "now"), Authority(tmp_path / "former")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(former.ca, trusted)
    async with scripted(TAKEN, tls=now.server_context()) as chat:
        sinks = {"chat": chat_sink(chat, tls={"ca": str(trusted)})}
        async with house(tmp_path / "site", {"sinks": sinks, **QUICK}) as home:
            sites = [home.site]
            made = Alerting(home.journal, home.alerting._entries, quiet_site, lambda: sites[-1], home.clock)
            task = asyncio.create_task(made.run())
            try:
                await until(lambda: bool(made._sinks))
                (tested,) = await made.test("chat")
                assert "not trusted" in tested.detail
                shutil.copy(now.ca, trusted)
                used = made._sinks["chat"]
                sites.append(load_site(home.folder))
                await until(lambda: made._sinks.get("chat", used) is not used)
                (tested,) = await made.test("chat")
                assert tested.detail == ""
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
