"""Webhooks against real servers: each answer and its result as a table, signatures, order, positions over stops, one
that is away, deleted events, a new configuration."""

import asyncio
import json
import re
import shutil
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from engine.config.load import load_site
from engine.delivery.retry import RetryPolicy
from engine.features.events import rows, service
from engine.features.events.config import WebhookConfig, webhooks_of
from engine.features.events.rows import FailingWebhook, stored_webhooks
from engine.features.events.service import Webhooks
from engine.model.errors import ConfigError, OvertakenError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core import notes
from engine.store.journal import Journal
from engine.store.operations.outbox import attempts
from tests.support.certificates import Authority
from tests.support.journals import queue, running, store
from tests.support.running import hl7_channel, make_running_site
from tests.support.scripted_http import CLOSE, RESET, SILENCE, Request, ScriptedServer, http, scripted
from tests.support.waiting import until

PAGE = Path(__file__).parents[4] / "docs" / "events.md"
SECRETS = {
    "HOOK": f"whsec_{b64encode(b'k' * 24).decode()}",
    "FORMER": f"whsec_{b64encode(b'f' * 32).decode()}",
    "WRONG": "password",
}
OK = http(200)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(service, "RETRY", RetryPolicy(first=0.001, max=0.001))
    monkeypatch.setattr(service, "CONFIGURED_S", 0.01)
    monkeypatch.setattr(service, "LOOK_S", 0.01)
    monkeypatch.setattr(service, "AGAIN_S", 0.01)
    monkeypatch.setattr(service, "KEPT_S", 0.0)


def hook(server: ScriptedServer | str, **more: Any) -> WebhookConfig:
    url = server if isinstance(server, str) else server.url
    given = {"url": url, "secret": "${HOOK}", "events": ["message", "delivery"], **more}
    return WebhookConfig.model_validate(given)


@asynccontextmanager
async def sending(journal: Journal, configured: Mapping[str, WebhookConfig]) -> AsyncIterator[Webhooks]:
    made = Webhooks(journal, lambda: configured, ManualClock())
    task = asyncio.create_task(made.run())
    try:
        await until(lambda: {one.name for one in stored_webhooks(journal)} == configured.keys() or task.done())
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ids(server: ScriptedServer) -> list[str]:
    return [one.headers["webhook-id"] for one in server.requests]


async def taken(journal: Journal, server: ScriptedServer, count: int) -> None:
    """So many requests came, and the answer to the last one is durable."""
    await until(lambda: len(server.requests) == count)
    await until(lambda: ids(server)[-1] in [one.position for one in stored_webhooks(journal)])


def told(server: ScriptedServer) -> list[tuple[str, int]]:
    """Type and message of each request."""
    said = [json.loads(one.body) for one in server.requests]
    return [(one["type"], one["data"].get("message", 0)) for one in said]


def verified(request: Request, secret: str) -> bool:
    """By the code for receivers in docs/events.md, at the time of the test's clock."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    names["time"] = SimpleNamespace(time=lambda: ManualClock().now().timestamp() + 299)
    result: bool = names["is_ours"](request.headers, request.body, secret)
    return result


async def test_a_machine_that_is_not_active_sends_no_event_and_goes_on_where_it_was(tmp_path: Path) -> None:
    asked: list[bool] = []
    is_active = True

    async def proof() -> None:
        asked.append(is_active)
        if not is_active:
            raise OvertakenError("incarnation 2 on spare")

    async with running(tmp_path) as journal, scripted(OK) as server:
        hooks = Webhooks(journal, lambda: {"erp": hook(server)}, ManualClock(), proof)
        task = asyncio.create_task(hooks.run())
        try:
            await until(lambda: bool(stored_webhooks(journal)))
            await store(journal, b"1")
            await taken(journal, server, 1)
            is_active = False
            await store(journal, b"2")
            await until(lambda: asked.count(False) > 5)
            assert not await hooks.failing()
            assert len(server.requests) == 1
            is_active = True
            await taken(journal, server, 2)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert [message for _, message in told(server)] == [1, 2]


# Answer -> how often the first event is sent, and whether it is taken or given up then.
TAKEN, AGAIN, REFUSED = (1, "taken"), (3, "taken"), (service.REFUSALS, "given up")
ORACLE: dict[str, tuple[Any, tuple[int, str]]] = {
    "200": (http(200), TAKEN),
    "204": (http(204), TAKEN),
    "202 with a body": (http(202, b"thanks"), TAKEN),
    "200 with a body without end": (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + bytes(70_000), TAKEN),
    "200 that is cut in its body": ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", CLOSE), TAKEN),
    "200 in no coding that is known": (http(200, b"ok", "Content-Encoding: br"), TAKEN),
    "200 that is cut in its head": ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n", CLOSE), AGAIN),
    "500 that is cut in its body": ((b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nok", CLOSE), AGAIN),
    "500": (http(500), AGAIN),
    "503": (http(503), AGAIN),
    "429": (http(429), AGAIN),
    "408": (http(408), AGAIN),
    "409": (http(409), AGAIN),
    "401": (http(401), AGAIN),
    "404": (http(404), AGAIN),
    "410": (http(410), AGAIN),
    "302": (http(302, b"", "Location: http://127.0.0.1:9/"), AGAIN),
    "no HTTP": (b"hello\r\n\r\n", AGAIN),
    "reset": (RESET, AGAIN),
    "closed": (CLOSE, AGAIN),
    "400": (http(400), REFUSED),
    "413": (http(413), REFUSED),
    "422": (http(422), REFUSED),
}


@pytest.mark.parametrize("answer", ORACLE)
async def test_each_answer_has_the_result_of_the_table(tmp_path: Path, answer: str) -> None:
    script, (times, result) = ORACLE[answer]
    before = [script] * (times - 1 if ORACLE[answer][1] is AGAIN else times)
    async with running(tmp_path) as journal, scripted(*before, OK) as server:
        async with sending(journal, {"erp": hook(server)}) as hooks:
            await store(journal, b"1", b"2")
            await taken(journal, server, times + 1)
            assert not hooks._failing
        last = "refused" if result == "given up" else "taken"
        assert hooks.attempts == Counter(
            [("erp", "failed")] * (times - 1) + [("erp", last), ("erp", "taken")],
        )
        first, *rest = [*dict.fromkeys(ids(server))]
        assert ids(server) == [first] * times + rest
        assert told(server) == [("message.received", 1)] * times + [("message.received", 2)]
        (kept,) = stored_webhooks(journal)
        assert kept.given_up == (result == "given up")
        assert kept.position == rest[0]


async def test_an_answer_that_does_not_end_holds_up_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebhookConfig, "timeout", 1.0)
    answer = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", SILENCE)
    async with (
        running(tmp_path) as journal,
        scripted(answer) as server,
        sending(journal, {"erp": hook(server)}),
    ):
        await store(journal, b"1", b"2")
        await until(lambda: ("message.received", 2) in told(server))


async def test_a_request_is_signed_json_without_patient_data(tmp_path: Path) -> None:
    async with running(tmp_path) as journal, scripted(OK) as server:
        async with sending(journal, {"erp": hook(server, former_secret="${FORMER}")}):
            await queue(journal, b"MRS SHARMA", claimed=True)
            await journal.run(attempts.bury, 1, ReasonCode.REFUSED, "MRS SHARMA")
            await until(lambda: len(server.requests) == 2)
        last = server.requests[-1]
        assert (last.line, last.headers["content-type"]) == ("POST /fhir HTTP/1.1", "application/json")
        assert json.loads(last.body)["data"] == {
            "delivery": 1, "message": 1, "channel": "chem", "destination": "fhir", "reason": "REFUSED",
        }  # fmt: skip
        assert b"SHARMA" not in last.body
        assert last.headers["webhook-timestamp"] == str(int(ManualClock().now().timestamp()))
        assert verified(last, SECRETS["HOOK"])
        assert verified(last, SECRETS["FORMER"])
        assert not verified(last, f"whsec_{b64encode(b'x' * 24).decode()}")


async def test_a_webhook_goes_on_where_it_was_after_a_stop(tmp_path: Path) -> None:
    async with scripted(OK) as server:
        configured = {"erp": hook(server)}
        async with running(tmp_path) as journal:
            await store(journal, b"before there was a webhook")
            async with sending(journal, configured):
                await store(journal, b"2")
                await taken(journal, server, 1)
            await store(journal, b"3")
        async with running(tmp_path) as journal, sending(journal, configured):
            await until(lambda: len(server.requests) == 2)
            await store(journal, b"4")
            await taken(journal, server, 3)
        assert told(server) == [("message.received", n) for n in (2, 3, 4)]


async def test_a_webhook_gets_all_that_happens_after_its_begin(tmp_path: Path) -> None:
    async with running(tmp_path) as journal, scripted(OK) as server:
        configured = {"erp": hook(server)}
        await Webhooks(journal, lambda: configured, ManualClock()).begin(configured)
        await store(journal, b"before it can send")
        async with sending(journal, configured):
            await taken(journal, server, 1)
        assert told(server) == [("message.received", 1)]


async def test_a_webhook_of_a_unit_gets_what_a_viewer_of_that_unit_sees(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal, scripted(OK) as server, scripted(OK) as whole:

        def configured(*channels: str) -> Mapping[str, WebhookConfig]:
            hooks = {
                "erp": {"url": server.url, "secret": "${HOOK}", "events": ["message", "channel"], "unit": "east"},
                "all": {"url": whole.url, "secret": "${HOOK}", "events": ["message"]},
            }
            names, out = ("chem", "heme"), {"lab-fhir": {"kind": "file", "folder": "out"}}
            folder = make_running_site(tmp_path / f"site{len(channels)}", {one: hl7_channel() for one in names}, out)
            path = folder / "config" / "labrelay.yaml"
            said = yaml.safe_load(path.read_text())
            said["site"]["units"] = {"east": list(channels)} if channels else {"west": ["chem"]}
            said["webhooks"] = hooks
            path.write_text(yaml.safe_dump(said))
            return webhooks_of(load_site(folder).config)

        now = configured("chem")
        made = Webhooks(journal, lambda: now, ManualClock())
        task = asyncio.create_task(made.run())
        try:
            await until(lambda: len(stored_webhooks(journal)) == 2)
            for channel in ("chem", "heme", "chem"):
                await store(journal, b"1", channel=channel)
            states = [rows.StateChange("channel", one, "down", "up") for one in ("heme", "chem")]
            await journal.run(rows.note, states)
            await until(lambda: len(server.requests) == len(whole.requests) == 3)
            with pytest.raises(ConfigError, match=r"webhooks\.erp\.unit: unknown unit 'east'"):
                configured()
            now = configured("chem", "heme")  # as a reload has it
            ran = [one for one in asyncio.all_tasks() if one.get_name() == "to erp"]
            await until(lambda: all(one.done() for one in ran))
            await store(journal, b"2", channel="heme")
            await until(lambda: len(server.requests) == len(whole.requests) == 4)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    said = [json.loads(one.body) for one in server.requests]
    assert [(one["type"], one["data"]["channel"]) for one in said] == [
        ("message.received", "chem"),
        ("message.received", "chem"),
        ("channel.state", "chem"),
        ("message.received", "heme"),
    ]


def test_a_webhook_of_a_unit_gets_no_acts() -> None:
    with pytest.raises(ValueError, match="acts of people are the whole site's; leave out act, or unit"):
        hook("https://x.example.org/", unit="east", events=["alert", "act.begun"])


async def test_what_was_taken_is_kept_while_the_next_event_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "KEPT_S", 0.1)
    async with (
        running(tmp_path) as journal,
        scripted(OK, http(503)) as server,
        sending(journal, {"erp": hook(server)}),
    ):
        await store(journal, b"1", b"2")
        await until(lambda: [one.position for one in stored_webhooks(journal)] == ids(server)[:1])


async def test_a_receiver_that_refuses_one_event_after_the_other_loses_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets: list[str] = []
    async with running(tmp_path) as journal, scripted(lambda _: OK if secrets else http(400)) as server:
        async with sending(journal, {"erp": hook(server)}):
            await store(journal, b"1", b"2", b"3")
            await until(lambda: len(server.requests) >= 3 * service.REFUSALS)
            assert len({*ids(server)}) == 2
            assert stored_webhooks(journal)[0].given_up == 1
            secrets.append("the right one")
            await until(lambda: told(server)[-1] == ("message.received", 3))
        assert stored_webhooks(journal)[0].given_up == 1
        secrets.clear()
        monkeypatch.setattr(service, "REFUSING_S", 0.1)
        async with sending(journal, {"erp": hook(server)}):
            await store(journal, b"4", b"5", b"6")
            await until(lambda: stored_webhooks(journal)[0].given_up == 4)  # it does not stop for ever


async def test_a_kill_sends_again_under_the_same_ids_what_was_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "KEPT_S", 1e9)
    async with running(tmp_path) as journal, scripted(OK) as server:
        task = asyncio.create_task(Webhooks(journal, lambda: {"erp": hook(server)}, ManualClock()).run())
        await until(lambda: bool(stored_webhooks(journal)))
        await store(journal, b"1", b"2", b"3")
        await until(lambda: len(server.requests) == 3)
        with monkeypatch.context() as killed:
            killed.setattr(service._Place, "keep", lambda place: asyncio.sleep(0))  # as if nothing ran any more
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with sending(journal, {"erp": hook(server)}):
            await until(lambda: len(server.requests) == 6)
        assert ids(server)[:3] == ids(server)[3:]
        assert [one.body for one in server.requests[:3]] == [one.body for one in server.requests[3:]]


async def test_a_receiver_that_is_away_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "AWAY_S", 0.0)
    monkeypatch.setattr(notes, "MOST_EVENTS", 10)
    answers: list[bytes] = []
    async with (
        running(tmp_path) as journal,
        scripted(lambda _: OK if answers else http(503)) as away,
        scripted(OK) as here,
    ):
        configured = {"away": hook(away, events=["delivery.delivered"]), "here": hook(here, events=["delivery"])}
        async with sending(journal, configured) as hooks:
            for n in range(30):
                await queue(journal, b"%d" % n, claimed=True)
                await journal.run(attempts.settle, n + 1, 1)
                await until(lambda n=n: len(here.requests) == n + 1)  # type: ignore[misc]
            assert await hooks.failing() == [FailingWebhook("away", ManualClock().now_us())]
            assert hooks.untaken_since()["away"] is not None
            answers.append(OK)
            await until(lambda: told(away)[-1] == ("delivery.delivered", 30))
            await until(lambda: hooks.untaken_since() == {"away": None, "here": None})
            assert await hooks.failing() == []
        reached = [*dict.fromkeys(told(away))]
        assert reached[0] == ("delivery.delivered", 1)
        assert ("gap", 0) in reached
        after = reached[reached.index(("gap", 0)) + 1 :]
        assert after == [("delivery.delivered", n) for n in range(21, 31)]


async def test_events_that_were_given_up_are_for_a_person_for_a_day(tmp_path: Path) -> None:
    refused = [http(400)] * service.REFUSALS
    async with (
        running(tmp_path) as journal,
        scripted(*refused, OK) as server,
        sending(journal, {"erp": hook(server)}) as hooks,
    ):
        await store(journal, b"1", b"2")
        await until(lambda: len(server.requests) == len(refused) + 1)
        assert await hooks.failing() == [FailingWebhook("erp", ManualClock().now_us(), 1)]
        hooks._clock.advance(86_400.0)  # type: ignore[attr-defined]
        assert await hooks.failing() == []
        hooks._clock.advance(-10 * 86_400.0)  # type: ignore[attr-defined] # it was given up in a future by mistake
        assert await hooks.failing() == []


async def test_a_secret_that_is_none_sends_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running(tmp_path) as journal,
        scripted(OK) as server,
        sending(journal, {"erp": hook(server, secret="${WRONG}")}) as hooks,
    ):
        await store(journal, b"1")
        await until(lambda: bool(hooks._failing))
        assert server.requests == []
        monkeypatch.setenv("WRONG", SECRETS["HOOK"])  # a new value counts at once
        await until(lambda: len(server.requests) == 1)
    (said,) = [one.__dict__["detail"] for one in caplog.records if one.getMessage() == "events do not reach a webhook"]
    wrong = "its value is no secret of a webhook; give whsec_ and 24 to 64 bytes in base 64"
    assert said == f"NOT_AUTHORIZED: ${{WRONG}}: {wrong}"


async def test_one_whose_certificate_cannot_be_read_is_for_a_person_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AWAY_S", 0.0)
    authority = Authority(tmp_path / "authority")
    missing = tmp_path / "ca.pem"
    config = hook("https://127.0.0.1:9/hook", tls={"ca": str(missing)})
    async with running(tmp_path / "data") as journal:
        hooks = Webhooks(journal, lambda: {"erp": config}, ManualClock())
        task = asyncio.create_task(hooks.run())
        try:
            await until(lambda: hooks.untaken_since()["erp"] is not None)
            assert await hooks.failing() == [FailingWebhook("erp", ManualClock().now_us())]
            missing.write_bytes(authority.ca.read_bytes())
            await until(lambda: hooks.untaken_since()["erp"] is None)
            assert await hooks.failing() == []
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_new_configuration_ends_and_starts_webhooks(tmp_path: Path) -> None:
    async with running(tmp_path) as journal, scripted(OK) as first, scripted(OK) as second:
        configured = {"erp": hook(first)}
        async with sending(journal, configured):
            await store(journal, b"1")
            await taken(journal, first, 1)
            configured["erp"] = hook(second)  # it has the same name, so it goes on
            await store(journal, b"2")
            await until(lambda: ("message.received", 2) in told(first) + told(second))
            del configured["erp"]
            await until(lambda: stored_webhooks(journal) == [])
            await store(journal, b"3")
            configured["new"] = hook(second, events=["message"])
            await until(lambda: [one.name for one in stored_webhooks(journal)] == ["new"])
            await store(journal, b"4")
            await until(lambda: told(second)[-1:] == [("message.received", 4)])
        assert ("message.received", 3) not in told(first) + told(second)


async def test_a_reload_takes_renewed_certificates_over(tmp_path: Path) -> None:
    now, former = Authority(tmp_path / "now"), Authority(tmp_path / "former")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(former.ca, trusted)
    async with running(tmp_path / "var") as journal, scripted(OK, tls=now.server_context()) as server:
        sites = [{"erp": hook(server, tls={"ca": str(trusted)})}]
        made = Webhooks(journal, lambda: sites[-1], ManualClock())
        await made.begin(sites[-1])
        task = asyncio.create_task(made.run())
        await store(journal, b"1")
        await until(lambda: "erp" in made._failing)
        shutil.copy(now.ca, trusted)
        sites.append(dict(sites[-1]))
        await taken(journal, server, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "http://erp.example.org/hook"}, "url: events would go to erp.example.org in clear"),
        ({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "a secret is never written here"),
        ({"events": ["deliveries"]}, "there are no events 'deliveries'; there are message, "),
        ({"events": []}, "events"),
    ],
)
def test_wrong_keys_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="1 validation error") as refused:
        hook("https://erp.example.org/hook", **given)
    assert said in str(refused.value)
