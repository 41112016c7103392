"""Each mistake of a laboratory's program: the answer that it gets, and the violation that is noted."""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.codecs.abdm import fidelius
from engine.devtools.abdm import server
from engine.devtools.abdm.people import PEOPLE
from tests.support.abdm_hip import Habits, utc
from tests.support.abdm_world import FACILITY, Heard, World, abdm_world, record
from tests.support.waiting import until

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


def key(page: Json, **other: Any) -> Json:
    page["keyMaterial"] |= other
    return page


def public(page: Json, **other: Any) -> Json:
    page["keyMaterial"]["dhPublicKey"] |= other
    return page


def entry(page: Json, **other: Any) -> Json:
    page["entries"][0] |= other
    return page


def flipped(page: Json) -> Json:
    content = page["entries"][0]["content"]
    return entry(page, content=("B" if content[0] == "A" else "A") + content[1:])


def dated(document: Json, issued: str) -> Json:
    document["entry"][2]["resource"]["issued"] = issued
    return document


def of_another(document: Json) -> Json:
    number = PEOPLE[1].number or ""
    dashed = f"{number[:2]}-{number[2:6]}-{number[6:10]}-{number[10:]}"
    document["entry"][1]["resource"]["identifier"].append({"value": dashed})
    return document


# What is wrong with a transfer -> the rules that are noted. Nothing of a wrong page is kept.
PAGES: dict[str, tuple[Habits, set[str]]] = {
    "no token": (Habits(push_headers={"Authorization": None}), {"page-authorization"}),
    "the token of another": (Habits(push_headers={"Authorization": "Bearer x.y.z"}), {"page-authorization"}),
    "another Content-Type": (Habits(push_headers={"Content-Type": "application/fhir+json"}), {"content-type"}),
    "page 0": (Habits(page=lambda page: page | {"pageNumber": 0}), {"page-body"}),
    "a page above the count": (Habits(page=lambda page: page | {"pageNumber": 9}), {"page-body"}),
    "another transaction": (Habits(page=lambda page: page | {"transactionId": "t"}), {"page-unknown-transfer"}),
    "no entry": (Habits(page=lambda page: page | {"entries": []}), {"page-body"}),
    "two entries under one key": (Habits(page=lambda page: page | {"entries": page["entries"] * 2}), {"page-body"}),
    "no key": (
        Habits(page=lambda page: {name: value for name, value in page.items() if name != "keyMaterial"}),
        {"page-body"},
    ),
    "a nonce of 16 bytes": (Habits(page=lambda page: key(page, nonce="AAAAAAAAAAAAAAAAAAAAAA==")), {"page-keys"}),
    "another curve": (Habits(page=lambda page: key(page, curve="P-256")), {"page-body"}),
    "a key that has ended": (Habits(page=lambda page: public(page, expiry="2020-01-01T00:00:00.000Z")), {"page-keys"}),
    "a key that is none": (Habits(page=lambda page: public(page, keyValue="AAAA")), {"page-keys"}),
    "another media type": (Habits(page=lambda page: entry(page, media="application/json")), {"page-body"}),
    "a checksum that is none": (Habits(page=lambda page: entry(page, checksum="string")), {"page-body"}),
    "another checksum": (Habits(page=lambda page: entry(page, checksum="0" * 32)), {"page-checksum"}),
    "a bit flipped": (Habits(page=flipped), {"page-sealed"}),
    "a context of another consent": (
        Habits(page=lambda page: entry(page, careContextReference="LR-9")),
        {"page-not-granted"},
    ),
    "no FHIR": (Habits(document=lambda document: b"%PDF-1.4"), {"page-document"}),
    "no document": (Habits(document=lambda document: document | {"type": "collection"}), {"page-document"}),
    "no Composition first": (
        Habits(document=lambda document: document | {"entry": document["entry"][1:]}),
        {"page-document"},
    ),
    "of another person": (Habits(document=of_another), {"page-of-another-person"}),
    "of a time that was not granted": (
        Habits(document=lambda document: dated(document, "2001-01-01T00:00:00Z")),
        {"page-outside-dates"},
    ),
    "no on-request": (
        Habits(skips_acknowledgement=True),
        {"page-before-on-request", "notify-before-on-request"},
    ),
    "delivered, it says": (
        Habits(push_headers={"Authorization": None}, says_delivered=True),
        {"page-authorization", "notify-dishonest"},
    ),
}


@pytest.mark.parametrize("name", PAGES)
async def test_a_wrong_page(name: str) -> None:
    habits, rules = PAGES[name]
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant()
        world.hip.habits = habits
        transfer = await world.pull(consent)
        assert (transfer["pages"], transfer["arrived"], len(world.sandbox.state.documents)) == (0, [], 0)
        assert await world.rules() == rules


@pytest.mark.parametrize(
    ("habits", "rules"),
    [
        (Habits(same_keys=True), {"page-key-reused"}),
        (Habits(same_nonce=True), {"page-nonce-reused"}),
        (Habits(more=("LR-9",)), {"page-not-granted"}),
    ],
    ids=["one key for all pages", "one nonce for all pages", "more than was granted"],
)
async def test_pages_that_are_wrong_together(habits: Habits, rules: set[str]) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"), record("LR-2"))
        world.hip.records["LR-9"] = record("LR-9")
        consent = await world.grant()
        world.hip.habits = habits
        transfer = await world.pull(consent)
        assert await world.rules() == rules
        assert transfer["pages"] == (1 if not habits.more else 2)


async def test_a_page_again_with_other_bytes() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"), record("LR-2"))
        consent = await world.grant()
        world.hip.habits = Habits(page=lambda page: page | {"pageNumber": 1})
        assert (await world.pull(consent))["pages"] == 1
        assert await world.rules() == {"page-changed"}


async def revoked(world: World, consent: str) -> None:
    await world.ask("/app/revoke", {"consentId": consent})
    await until(lambda: world.sandbox.state.consents[consent].ended_at is not None)


async def test_records_sent_under_a_consent_that_was_revoked() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant()
        await revoked(world, consent)
        world.hip.habits = Habits(checks_nothing=True, forgets_revocation=True)
        transfer = await world.pull(consent)
        assert transfer["pages"] == 0
        assert await world.rules() == {"acknowledged-against-consent", "page-against-consent"}


async def test_a_page_after_the_revocation() -> None:
    """The revocation is taken between the first page and the second one."""
    async with abdm_world(revoke_grace_s=0.0) as world:
        await world.hip.publish(record("LR-1"), record("LR-2"))
        consent = await world.grant()

        def page(page: Json) -> Json:
            if page["pageNumber"] == 2:
                world.sandbox.state.consents[consent].ended_at = datetime.now(UTC) - timedelta(seconds=1)
            return page

        world.hip.habits = Habits(forgets_revocation=True, page=page)
        transfer = await world.pull(consent)
        assert (transfer["arrived"], await world.rules()) == (["LR-1"], {"page-after-end"})


@pytest.mark.parametrize(("begin", "rule"), [("2001-01-01T00:00:00Z", "acknowledged-against-consent")])
async def test_a_request_that_is_not_looked_at(begin: str, rule: str) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant()
        world.hip.habits = Habits(checks_nothing=True)
        await world.pull(consent, begin=begin)
        assert await world.rules() == {rule, "page-against-consent"}


async def test_a_report_of_a_time_that_was_not_asked_for() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant()
        asked = datetime.now(UTC) - timedelta(days=30)
        transfer = await world.pull(consent, end=asked.isoformat())
        assert (transfer["mustRefuse"], transfer["pages"]) == ("", 0)
        assert await world.rules() == {"page-outside-dates"}


async def test_a_request_refused_with_another_code() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant()

        def other(name: str, body: Json) -> Json:
            return body | {"error": {"code": "ABDM-9999", "message": "no"}} if "error" in body else body

        world.hip.habits = Habits(body=other)
        await world.pull(consent, begin="2001-01-01T00:00:00Z")
        assert await world.rules() == {"refused-with-another-code"}


def lines(change: Callable[[list[Json]], list[Json]]) -> Callable[[str, Json], Json]:
    def of(name: str, body: Json) -> Json:
        body = copy.deepcopy(body)
        if name == "data-notify":
            status = body["notification"]["statusNotification"]
            status["statusResponses"] = change(status["statusResponses"])
        return body

    return of


def done(**other: Any) -> Callable[[str, Json], Json]:
    def of(name: str, body: Json) -> Json:
        return {"notification": body["notification"] | other} if name == "data-notify" else body

    return of


@pytest.mark.parametrize(
    ("habits", "rules"),
    [
        (Habits(body=lines(lambda said: said[:1])), {"notify-contexts", "notify-dishonest"}),
        (Habits(body=lines(lambda said: said * 2)), {"notify-contexts"}),
        (Habits(body=done(consentId="another")), {"notify-ids"}),
        (Habits(body=done(notifier={"type": "HIP", "id": "IN0000000002"})), {"notify-ids"}),
    ],
    ids=["a context is missing", "each twice", "another consent", "another facility"],
)
async def test_a_wrong_report_of_a_transfer(habits: Habits, rules: set[str]) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"), record("LR-2"))
        consent = await world.grant()
        world.hip.habits = habits
        await world.pull(consent)
        assert await world.rules() == rules


async def test_a_status_that_is_the_readers_word() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant()
        world.hip.habits = Habits(body=lines(lambda said: [one | {"hiStatus": "OK"} for one in said]))
        transaction = (await world.ask("/app/pull", {"consentId": consent}))["transactionId"]
        await until(lambda: bool(world.sandbox.state.violations))
        assert await world.rules() == {"body"}
        assert [one["subject"] for one in await world.ask("/pending")] == [transaction]


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


async def test_another_count_of_pages() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"), record("LR-2"))
        consent = await world.grant()
        world.hip.habits = Habits(page=lambda page: page | {"pageCount": page["pageNumber"] + 1})
        assert (await world.pull(consent))["pages"] == 1
        assert await world.rules() == {"page-count"}


@pytest.mark.parametrize("end", ["done", "refused"])
async def test_a_page_after_the_end(end: str) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"))
        consent = await world.grant()
        transaction = (await world.ask("/app/pull", {"consentId": consent}))["transactionId"]
        transfer = world.sandbox.state.transfers[transaction]
        await until(lambda: transfer.state == "done")
        transfer.state = end
        asked = next(body for path, body in world.hip.heard if path.endswith("/health-information/request"))
        peer = fidelius.read_key_material(asked["hiRequest"]["keyMaterial"], datetime.now(UTC))
        page = world.hip._page("LR-1", 2, 2, transaction, peer)
        assert not await world.hip._push(asked["hiRequest"]["dataPushUrl"], page)
        assert await world.rules() == {{"done": "page-after-notify", "refused": "page-after-refusal"}[end]}


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
