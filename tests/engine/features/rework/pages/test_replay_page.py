"""Sending again on the page: the preview is what is done, and nothing selected is never everything."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.rework.pages import replay
from engine.store.queries.acts import acts_page
from engine.web.forms import Answers
from tests.results.test_reprocessing import message
from tests.support.access import Browser
from tests.support.acting_pages import ActingSite, acting_site, alert, form_of, offers
from tests.support.running import hl7_channel
from tests.support.senders import send_blocks
from tests.support.status_server import Element


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"one": hl7_channel(), "two": hl7_channel()}) as site:
        await send_blocks(site.site.port("one"), [message(1), message(2), message(3)])
        await send_blocks(site.site.port("two"), [message(4)])
        await site.site.settled()
        assert site.site.ends() == ["delivered"] * 4
        yield site


@pytest.fixture
async def operator(here: ActingSite) -> AsyncIterator[Browser]:
    async with here.browser("operator") as browser:
        yield browser


def facts(page: Element) -> dict[str, str]:
    return dict(zip([one.text for one in page.all("dt")], [one.text for one in page.all("dd")], strict=True))


def replays(here: ActingSite) -> list[tuple[str, object]]:
    return [(str(act.actor), act.what.get("count")) for act in acts_page(here.site.journal) if act.verb == "replay"]


async def test_a_filter_is_previewed_and_then_sent(here: ActingSite, operator: Browser) -> None:
    _, page = await operator.get("/?lang=en")
    assert [one for one in page.one("nav", id="pages").all("a") if one.attributes["href"] == "/replay?lang=en"]
    status, page = await operator.get("/replay?lang=en")
    assert (status, page.all("form", class_="fields")) == (200, [])

    status, page = await operator.get("/replay?channel=one&lang=en")
    assert (status, facts(page)) == (200, {"Messages": "3", "Destination lab-fhir": "3"})
    assert replays(here) == []
    action, fields = form_of(page, "/replay")
    status, page = await operator.post(action, {**fields, "reason": "the server lost a day", "act": "begin"})
    assert (status, operator.path.startswith("/operations/")) == (200, True)
    assert "Send again" in page.one("h1").text
    again, _ = await operator.post(action, {**fields, "reason": "the server lost a day", "act": "begin"})  # twice
    await until_said(operator, operator.path, "3 queued again")
    assert (again, replays(here)) == (200, [("operator", 3)])


async def test_patients_are_counted_for_those_who_may_see_them(here: ActingSite) -> None:
    async with here.browser("asha") as asha:
        _, page = await asha.get("/replay?channel=one&lang=en")
        assert facts(page)["Patients"] == "3"
    async with here.browser("operator") as operator:
        _, page = await operator.get("/replay?channel=one&lang=en")
        assert "Patients" not in page.text


async def test_one_message_is_sent_again_from_its_page(here: ActingSite, operator: Browser) -> None:
    number = here.site.messages("two")[0].id
    _, page = await operator.get(f"/messages/{number}?lang=en")
    _, page = await operator.get(offers(page)["Send again"])
    assert facts(page)["Messages"] == "1"
    async with here.browser("viewer") as viewer:
        _, page = await viewer.get(f"/messages/{number}?lang=en")
        assert "Send again" not in offers(page)
        assert (await viewer.get("/replay"))[0] == 403


@pytest.mark.parametrize("query", ["ids=x", "state=nothing", "to=lab-fhir", "since=soon&channel=one"])
async def test_nothing_selected_is_never_everything(operator: Browser, query: str) -> None:
    status, page = await operator.get(f"/replay?{query}&lang=en")
    assert (status, alert(page) != "") == (400, True)
    assert page.one("main").all("form", class_="fields") == []


async def test_what_changed_since_the_preview_is_shown_anew(here: ActingSite, operator: Browser) -> None:
    _, page = await operator.get("/replay?channel=one&lang=en")
    action, fields = form_of(page, "/replay")
    await send_blocks(here.site.port("one"), [message(5)])  # later than the preview: it is not of this
    await here.site.settled()
    status, page = await operator.post(action, {**fields, "counted": "2 0", "act": "begin"})
    assert (status, replays(here)) == (200, [])
    assert facts(page)["Messages"] == "4"
    for changed, expected in (
        ({"selection": "x"}, 400),
        ({"selection": "[]"}, 403),
        ({"act": "y"}, 400),
        ({"form": "0"}, 403),
    ):
        status, _ = await operator.post(action, {**fields, "act": "begin", **changed})
        assert (status, replays(here)) == (expected, []), changed
    status, _ = await operator.post(action, {**fields, "act": "begin"})
    assert (status, replays(here)) == (200, [("operator", 3)])


async def test_one_that_has_begun_is_answered_again_after_a_restart_whatever_changed(
    here: ActingSite, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, page = await operator.get("/replay?channel=one&lang=en")
    action, fields = form_of(page, "/replay")
    await operator.post(action, {**fields, "act": "begin"})
    began = operator.path
    assert (began.startswith("/operations/"), replays(here)) == (True, [("operator", 3)])
    server = here.site.app.page
    assert server is not None
    assert server._desk is not None
    server._desk._answers = {known: Answers() for known in (True, False)}  # a restart forgets them
    monkeypatch.setattr(replay, "_counted", lambda told: "9 9")  # what would be sent now is something else
    status, _ = await operator.post(action, {**fields, "act": "begin"})
    assert (status, operator.path, replays(here)) == (200, began, [("operator", 3)])


async def test_one_that_is_under_way_says_why_it_waits_and_is_cancelled(here: ActingSite, operator: Browser) -> None:
    await here.site.labrelay("pause", "destination", "lab-fhir", "--reason", "x", "--yes")
    _, page = await operator.get("/replay?channel=one&lang=en")
    action, fields = form_of(page, "/replay")
    _, page = await operator.post(action, {**fields, "act": "begin"})
    place = operator.path
    await until_said(operator, place, "It waits: lab-fhir is paused")
    _, page = await operator.get(place)
    action, fields = form_of(page, place)
    status, page = await operator.post(action, fields)
    assert (status, operator.path, "cancelled" in page.one("h1").text) == (200, place, True)


async def until_said(browser: Browser, address: str, text: str) -> None:
    async with asyncio.timeout(240.0):
        while text not in (await browser.get(address))[1].text:  # noqa: ASYNC110 - it is asked of the daemon
            await asyncio.sleep(0.05)
