"""Each mistake in a call or an answer: the status and code that it gets, and the violation that is noted."""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.abdm_habits import Habits, utc
from tests.support.abdm_world import FACILITY, Heard, World, abdm_world, record
from tests.support.waiting import until
from workbench.abdm import server
from workbench.abdm.people import PEOPLE

Json = dict[str, Any]


@dataclass
class Call:
    """What the laboratory does wrong in one call, and what must come of it: status, code, rule."""

    act: Callable[[World], Awaitable[Heard]]
    status: int
    code: str
    rule: str
    habits: Habits | None = None


def changed(**other: Any) -> Callable[[str, Json], Json]:
    """The body with these fields on top; None takes one away."""
    return lambda name, body: {key: value for key, value in (body | other).items() if value is not None}


def in_patient(**other: Any) -> Callable[[str, Json], Json]:
    """As `changed`, of the first patient of a link."""

    def change(name: str, body: Json) -> Json:
        body = copy.deepcopy(body)
        if name == "link":
            body["patient"][0] |= other
        return body

    return change


async def token(world: World) -> Heard:
    return (await world.hip.ask_token(record()))[0]


async def linked(world: World) -> Heard:
    """A link with a right token; the habits begin with it."""
    habits, world.hip.habits = world.hip.habits, Habits()
    _, asked = await world.hip.ask_token(record())
    await world.hip.result(asked)
    world.hip.habits = habits
    return (await world.hip.link(record()))[0]


async def noticed(world: World) -> Heard:
    habits, world.hip.habits = world.hip.habits, Habits()
    await linked(world)
    await until(lambda: bool(world.sandbox.state.linked))
    world.hip.habits = habits
    return (await world.hip.notify(record()))[0]


async def link_of_other_token(world: World) -> Heard:
    _, asked = await world.hip.ask_token(record(person=1))
    await world.hip.result(asked)
    return (await world.hip.link(record(), X_LINK_TOKEN=world.hip.tokens[PEOPLE[1].address]))[0]


async def link_without_number(world: World) -> Heard:
    _, asked = await world.hip.ask_token(record())
    await world.hip.result(asked)
    world.hip.habits.body = changed(abhaNumber=None)
    return (await world.hip.link(record()))[0]


async def link_of_another(world: World) -> Heard:
    await world.hip.publish(record("LR-1"))
    _, asked = await world.hip.ask_token(record(person=1))
    await world.hip.result(asked)
    return (await world.hip.link(record("LR-1", person=1)))[0]


async def twice(world: World) -> Heard:
    _, asked = await world.hip.ask_token(record())
    await world.hip.result(asked)
    await until(lambda: all(one.delivered for one in world.sandbox.state.tokens.values()))
    return await token(world)


async def old(world: World) -> Heard:
    return await world.hip.call("POST", "/gateway/v0.5/users/auth/init", {"requestId": "x"})


async def unknown(world: World) -> Heard:
    return await world.hip.call("POST", "/api/hiecm/v3/nothing", {})


async def with_get(world: World) -> Heard:
    return await world.hip.call("GET", "/api/hiecm/v3/token/generate-token")


async def answer_to_nothing(world: World) -> Heard:
    said = {"acknowledgement": {"status": "OK", "consentId": "c"}, "response": {"requestId": record_id()}}
    return await world.hip.say("consent-on-notify", "/consent/v3/request/hip/on-notify", said)


async def notify_of_nothing(world: World) -> Heard:
    status = {"sessionStatus": "FAILED", "hipId": FACILITY}
    line = {"careContextReference": "LR-1", "hiStatus": "ERRORED", "description": ""}
    done = {
        "consentId": "c", "transactionId": "t", "doneAt": utc(), "notifier": {"type": "HIP", "id": FACILITY},
        "statusNotification": {**status, "statusResponses": [line]},
    }  # fmt: skip
    return await world.hip.say("data-notify", "/data-flow/v3/health-information/notify", {"notification": done})


async def early_notice(world: World) -> Heard:
    return (await world.hip.notify(record()))[0]


async def wrong_secret(world: World) -> Heard:
    return await world.hip.session(clientSecret="another")


async def elsewhere(world: World) -> Heard:
    return await world.hip.call("PATCH", "/api/hiecm/gateway/v3/bridge/url", {"url": "https://lab.example/callbacks"})


def record_id() -> str:
    return "6d1f8b2e-31f7-4a5e-9a77-0d7f5b9d0c11"


def headers(**other: str | None) -> Habits:
    return Habits(headers={name.replace("_", "-"): value for name, value in other.items()})


INDIAN = "2026-11-20T11:40:00.587+05:30"
LONG_AGO = utc(datetime.now(UTC) - timedelta(minutes=10))
CALLS: dict[str, Call] = {
    "no Authorization": Call(token, 401, "900902", "header-authorization", headers(Authorization=None)),
    "a token of another": Call(token, 401, "900901", "header-authorization", headers(Authorization="Bearer x.y.z")),
    "no bearer": Call(token, 401, "900901", "header-authorization", headers(Authorization="Basic eDp5")),
    "no REQUEST-ID": Call(token, 400, "ABDM-2404", "header-request-id", headers(REQUEST_ID=None)),
    "a REQUEST-ID that is no UUID": Call(token, 400, "ABDM-2404", "header-request-id", headers(REQUEST_ID="17")),
    "one REQUEST-ID for all": Call(token, 400, "ABDM-1064", "request-id-reused", Habits(same_request_id=True)),
    "no TIMESTAMP": Call(token, 400, "ABDM-2402", "header-timestamp", headers(TIMESTAMP=None)),
    "Indian time": Call(token, 400, "ABDM-2402", "header-timestamp", headers(TIMESTAMP=INDIAN)),
    "no milliseconds": Call(token, 400, "ABDM-2402", "header-timestamp", headers(TIMESTAMP="2026-11-20T06:10:00Z")),
    "a clock ten minutes off": Call(token, 400, "ABDM-2402", "header-timestamp", headers(TIMESTAMP=LONG_AGO)),
    "no X-CM-ID": Call(token, 400, "ABDM-2403", "header-x-cm-id", headers(X_CM_ID=None)),
    "X-CM-ID of production": Call(token, 400, "ABDM-2403", "header-x-cm-id", headers(X_CM_ID="abdm")),
    "no X-HIP-ID": Call(token, 400, "ABDM-1035", "header-x-hip-id", headers(X_HIP_ID=None)),
    "X-HIP-ID of another": Call(token, 400, "ABDM-1035", "header-x-hip-id", headers(X_HIP_ID="IN0000000002")),
    "a link token elsewhere": Call(token, 202, "", "header-x-link-token", headers(X_LINK_TOKEN="x")),
    "no Content-Type": Call(token, 415, "415", "content-type", headers(Content_Type=None)),
    "another Content-Type": Call(token, 415, "415", "content-type", headers(Content_Type="text/plain")),
    "no JSON": Call(token, 400, "ABDM-1006", "body-json", Habits(raw=b"{")),
    "no body": Call(token, 400, "ABDM-1064", "body", Habits(raw=b"")),
    "no name": Call(token, 400, "ABDM-1006", "body", Habits(body=changed(name=None))),
    "a year as text": Call(token, 400, "ABDM-1006", "body", Habits(body=changed(yearOfBirth="1986"))),
    "a field of the old interface": Call(token, 400, "ABDM-1006", "body", Habits(body=changed(requestId="x"))),
    "an address without its domain": Call(token, 400, "ABDM-1170", "body", Habits(body=changed(abhaAddress="meera"))),
    "a number with dashes": Call(token, 400, "", "body", Habits(body=changed(abhaNumber="91-1000-0000-0016"))),
    "a token asked for twice": Call(twice, 400, "ABDM-1092", "link-token-asked-twice"),
    "hiType as a list": Call(linked, 400, "ABDM-1006", "body", Habits(body=in_patient(hiType=["DiagnosticReport"]))),
    "an unknown hiType": Call(linked, 400, "ABDM-1006", "body", Habits(body=in_patient(hiType="LabReport"))),
    "hiTypes in place of hiType": Call(linked, 400, "ABDM-1006", "body", Habits(body=in_patient(hiTypes="x"))),
    "another count": Call(linked, 400, "ABDM-1037", "body", Habits(body=in_patient(count=2))),
    "a count of 21": Call(linked, 400, "ABDM-1006", "body", Habits(body=in_patient(count=21))),
    "a reference with a bar": Call(
        linked, 400, "ABDM-1057", "body",
        Habits(body=in_patient(careContexts=[{"referenceNumber": "LR|1", "display": "Lab report"}])),
    ),
    "no link token": Call(linked, 400, "ABDM-1026", "link-token", headers(X_LINK_TOKEN=None)),
    "the link token of another patient": Call(link_of_other_token, 400, "ABDM-1038", "link-token"),
    "no number, the token has one": Call(link_without_number, 400, "ABDM-1062", "link-token"),
    "the report of another patient": Call(link_of_another, 400, "ABDM-1057", "context-of-another-patient"),
    "a notice before the link": Call(early_notice, 202, "", "notice-before-link"),
    "hip.id of another": Call(noticed, 400, "ABDM-1035", "header-x-hip-id", headers(X_HIP_ID="IN0000000002")),
    "the old interface": Call(old, 404, "ABDM-1150", "old-interface"),
    "an unknown address": Call(unknown, 404, "404", "unknown-call"),
    "another method": Call(with_get, 405, "405", "unknown-call"),
    "an answer to nothing": Call(answer_to_nothing, 400, "ABDM-1052", "answer-to-nothing"),
    "a report of nothing": Call(notify_of_nothing, 400, "ABDM-1017", "transaction"),
    "another secret": Call(wrong_secret, 401, "900901", "client"),
    "a bridge on another machine": Call(elsewhere, 400, "ABDM-1006", "bridge-url"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_a_wrong_call(name: str) -> None:
    case = CALLS[name]
    async with abdm_world() as world:
        world.hip.habits = case.habits or Habits()
        heard = await case.act(world)
        if case.rule == "request-id-reused":
            heard = await case.act(world)
        assert (heard.status, heard.code) == (case.status, case.code), heard.text
        assert await world.rules() == {case.rule}
        if case.status >= 400:
            assert world.sandbox.state.linked.keys() <= {(PEOPLE[0].address, FACILITY, "LR-1")}


async def test_a_number_with_dashes_has_an_answer_without_a_body() -> None:
    async with abdm_world() as world:
        world.hip.habits = Habits(body=changed(abhaNumber="91-1000-0000-0016"))
        assert (await token(world)).text == ""


async def test_an_answer_that_is_given_twice() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        world.hip.habits = Habits(answers_twice=True)
        await world.grant()
        await until(lambda: bool(world.sandbox.state.violations))
        assert await world.rules() == {"answered-twice"}


async def test_callbacks_answered_with_another_status() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        world.hip.habits = Habits(status=201)
        await world.grant()
        await until(lambda: bool(world.sandbox.state.violations))
        assert await world.rules() == {"callback-answer"}


async def test_a_link_with_a_wrong_otp() -> None:
    async with abdm_world() as world:
        world.hip.records["LR-1"] = record("LR-1")
        world.hip.habits = Habits(links_any_otp=True)
        await world.linked_by_patient("111111")
        assert await world.rules() == {"wrong-otp-linked"}


async def test_siblings_are_offered_each_others_reports() -> None:
    async with abdm_world() as world:
        world.hip.records |= {"LR-1": record("LR-1", 1), "LR-2": record("LR-2", 2)}
        world.hip.habits = Habits(matches_mobile_alone=True)
        mobile = [{"type": "MOBILE", "value": PEOPLE[1].mobile}]
        said = {"patient": PEOPLE[1].address, "facility": FACILITY, "identifiers": mobile}
        await world.ask("/app/discover", said)
        await until(lambda: bool(world.sandbox.state.violations))
        assert await world.rules() == {"ambiguous-match"}


async def test_a_linked_report_is_offered_again() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        world.hip.linked.clear()
        await world.discovered()
        assert await world.rules() == {"linked-context-offered"}


async def test_context_that_was_not_chosen_is_linked() -> None:
    async with abdm_world() as world:
        world.hip.records |= {"LR-1": record("LR-1"), "LR-2": record("LR-2")}
        transaction, _ = await world.discovered()
        await world.ask("/app/init", {"transactionId": transaction, "references": ["LR-1"]})
        await world.moved(transaction, "chosen")
        for link in world.hip.links.values():
            link["chosen"] = ["LR-1", "LR-2"]
        await world.ask("/app/confirm", {"transactionId": transaction, "otp": "042137"})
        await until(lambda: bool(world.sandbox.state.violations))
        assert (await world.rules(), world.sandbox.state.linked) == ({"context-not-chosen"}, {})


async def test_a_mismatch_that_is_asked_again_is_blocked() -> None:
    async with abdm_world() as world:
        codes = []
        for _ in range(4):
            _, asked = await world.hip.ask_token(record(), yearOfBirth=1987)
            codes.append((await world.hip.result(asked))["error"]["code"])
        assert codes == ["ABDM-1036", "ABDM-1036", "ABDM-1027", "ABDM-1027"]
        assert await world.rules() == {"mismatch-asked-again", "asked-while-blocked"}


async def test_two_renewals_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SESSION_TAKES_S", 1.0)
    async with abdm_world() as world:
        await asyncio.gather(world.hip.session(), world.hip.session())
        assert await world.rules() == {"session-twice-at-once"}


async def test_the_list_of_violations_is_bounded() -> None:
    async with abdm_world() as world:
        for number in range(1_200):
            world.sandbox.state.violated("rule", str(number))
        said = await world.ask("/violations")
        assert (len(said), said[-1]["where"]) == (1_000, "1199")
        assert (await world.ask("/stats"))["counts"]["violations"] == 1_200
        await world.ask("/clear", {})
        assert await world.ask("/violations") == []


async def test_a_page_of_another_site_changes_nothing() -> None:
    async with abdm_world() as world:
        for path, said, status in [
            ("/faults", {"Origin": "http://evil.example"}, 403),
            ("/clear", {"Host": "evil.example"}, 421),
            ("/faults", {"Content-Type": "text/plain"}, 415),
        ]:
            body = json.dumps({"reader": "down"})
            async with world.http.post(world.sandbox.url + path, data=body, headers=said) as answer:
                assert answer.status == status
        assert world.sandbox.faults.reader == "up"


async def test_a_body_that_is_too_long() -> None:
    async with abdm_world() as world:
        world.hip.habits = Habits(raw=b" " * (1024 * 1024 + 1))
        assert (await token(world)).status == 413
        assert await world.rules() == {"body-size"}


async def test_a_mobile_that_is_shown_in_the_hint() -> None:
    async with abdm_world() as world:
        world.hip.records["LR-1"] = record()

        def hint(name: str, body: Json) -> Json:
            body = copy.deepcopy(body)
            if name == "on-init":
                body["link"]["meta"]["communicationHint"] = "sent to 9000000001"
            return body

        world.hip.habits = Habits(body=hint)
        await world.linked_by_patient("042137")
        assert await world.rules() == {"mobile-shown"}


async def test_a_notice_that_names_another_patient_number() -> None:
    async with abdm_world() as world:
        await linked(world)
        await until(lambda: bool(world.sandbox.state.linked))
        other = record()
        other.patient = "PID-9"
        heard, _ = await world.hip.notify(other)
        assert (heard.code, await world.rules()) == ("ABDM-1060", {"patient-reference"})


async def test_a_token_that_changes_within_its_time() -> None:
    async with abdm_world() as world:
        for count in (1, 2):
            await world.ask("/app/share", {"patient": PEOPLE[0].address, "facility": FACILITY})
            await until(lambda count=count: len(world.sandbox.state.notices.get(PEOPLE[0].address, ())) == count)
            world.hip.shares = {("another", "1"): "9"}
        assert await world.rules() == {"token-changed"}


async def test_an_answer_of_another_facility() -> None:
    facilities = {FACILITY: "Made-up Laboratory", "IN0000000002": "Its branch"}
    async with abdm_world(facilities=facilities) as world:
        await world.hip.publish(record())
        world.hip.habits = Habits(headers={"X-HIP-ID": "IN0000000002"})
        await world.ask("/app/grant", {"patient": PEOPLE[0].address, "facility": FACILITY})
        await until(lambda: bool(world.sandbox.state.violations))
        assert await world.rules() == {"another-facility"}
        assert len(await world.ask("/pending")) == 1


async def test_the_bridge_is_not_moved_to_another_machine() -> None:
    async with abdm_world() as world:
        for url in ("https://lab.example/", "http://10.0.0.1/", "nonsense"):
            async with world.http.post(f"{world.sandbox.url}/bridge", json={"url": url}) as answer:
                assert answer.status == 400
        assert world.sandbox.state.bridge_url == world.hip.url
