"""Each mistake with a consent, a page, or the report of a transfer: nothing of it is kept, and a violation is noted."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.features.abdm.wire import fidelius
from tests.support.abdm_habits import Habits
from tests.support.abdm_world import World, abdm_world, record
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE

Json = dict[str, Any]


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
