"""Results that a change of a code table affects: found a step at a time, listed, and sent again where they differ."""

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.rework.acts import affected_look
from engine.store.queries.acts import acts_page
from tests.results.test_reprocessing import LAB, TABLE, change_channel, give_table, hemoglobins, message
from tests.support.access import Browser
from tests.support.acting_pages import ActingSite, acting_site, alert, form_of
from tests.support.senders import send_blocks
from tests.support.status_server import Element
from tests.support.values import mentions

LOOK = "/affected?channel=lab&lang=en"
FORMULA = "=1+1"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"lab": LAB}, {"archive": {"kind": "file", "folder": "archive"}}) as site:
        second = message(2, "13.1", order=FORMULA).replace(b"F-=", b"=")
        await send_blocks(site.site.port("lab"), [message(1, "14.8"), second])
        await site.site.settled()
        assert site.site.ends() == ["delivered"] * 2
        yield site


@pytest.fixture
async def corrected(here: ActingSite) -> ActingSite:
    """The laboratory adds the code that no table had."""
    give_table(here.site.folder)
    assert (await here.site.labrelay("reload")).code == 0
    return here


@pytest.fixture
async def engineer(here: ActingSite) -> AsyncIterator[Browser]:
    async with here.browser("engineer") as browser:
        yield browser


@pytest.fixture
async def ravi(here: ActingSite) -> AsyncIterator[Browser]:
    """An engineer who sees patients."""
    async with here.browser("ravi") as browser:
        yield browser


def verbs(here: ActingSite) -> list[tuple[str, str]]:
    return [(act.verb, str(act.actor)) for act in acts_page(here.site.journal) if act.verb in ("unmask", "reprocess")]


async def ended(browser: Browser, address: str = LOOK) -> Element:
    """The page once all was looked at, as a browser draws it again and again."""
    for _ in range(50):
        status, page = await browser.get(address)
        assert status == 200, page.text
        if "All was looked at." in page.text:
            assert page.all("meta", **{"http-equiv": "refresh"}) == []
            return page
        assert page.one("meta", **{"http-equiv": "refresh"}).attributes["content"] == "1"
    raise AssertionError("it never ends")


async def test_nothing_differs_while_nothing_has_changed(here: ActingSite, engineer: Browser) -> None:
    _, page = await engineer.get("/?lang=en")
    assert [one for one in page.one("nav", id="pages").all("a") if one.attributes["href"] == "/affected?lang=en"]
    _, page = await engineer.get("/affected?lang=en")
    assert "looked at" not in page.text
    page = await ended(engineer)
    assert "Messages looked at: 2" in page.text
    assert "No result differs." in page.text
    assert page.one("main").all("form", class_="fields") == []


async def test_results_are_found_and_sent_again(corrected: ActingSite, engineer: Browser) -> None:
    page = await ended(engineer)
    (row,) = [row for row in page.one("tbody").all("tr") if row.children[0].text == "HGB"]
    assert [cell.text for cell in row.children][:6] == ["HGB", "-", "718-7", "loinc, value, unit", "2", "2"]
    for hidden in ("14.8", "148", "131", "Canary", FORMULA):
        assert hidden not in page.one("main").text, hidden
    assert verbs(corrected) == []

    action, fields = form_of(page, "/affected")
    for changed in ({"reason": " "}, {"counted": "1"}, {"form": "0"}):
        await engineer.post(action, {**fields, "reason": "x", **changed})
        assert verbs(corrected) == [], changed
    status, page = await engineer.post(action, {**fields, "reason": "the table knows HGB now"})
    assert (status, "Send what differs" in page.one("h1").text) == (200, True)
    again, _ = await engineer.post(action, {**fields, "reason": "the table knows HGB now"})  # a second press
    assert again == 200
    await corrected.site.settled()
    assert [one["valueQuantity"]["value"] for one in hemoglobins(corrected.site.sandbox)] == [131, 148]
    assert ("reprocess", "engineer") in verbs(corrected)
    assert "No result differs." in (await ended(engineer)).text


async def test_one_code_alone_is_chosen(corrected: ActingSite, engineer: Browser) -> None:
    assert "No result differs." in (await ended(engineer, f"{LOOK}&test=WBC")).text
    page = await ended(engineer, f"{LOOK}&test=718-7")
    action, fields = form_of(page, "/affected")
    assert "Send what differs: 2" in page.text
    status, _ = await engineer.post(action, {**fields, "reason": "x"})
    assert status == 200
    (act,) = [act for act in acts_page(corrected.site.journal) if act.verb == "reprocess"]
    assert act.what["selection"]["ids"] == [one.id for one in corrected.site.messages()]


async def test_too_many_messages_of_one_code_are_not_sent_by_their_numbers(
    corrected: ActingSite, engineer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affected_look, "MOST_MESSAGES", 1)
    page = await ended(engineer, f"{LOOK}&test=HGB")
    assert "Too many messages for one code" in page.text
    assert page.one("main").all("form", class_="fields") == []


async def test_it_is_looked_at_a_step_at_a_time_and_can_be_stopped(
    corrected: ActingSite, engineer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affected_look.step, "__defaults__", (0.0,))  # one message a step
    _, page = await engineer.get(LOOK)
    assert "Messages looked at: 1" in page.text
    assert page.one("main").all("form", class_="fields") == []
    for _ in range(2):
        _, page = await engineer.get(f"{LOOK}&stop=1")
        assert "Messages looked at: 1" in page.text
        assert page.all("meta", **{"http-equiv": "refresh"}) == []
    assert "Messages looked at: 2" in (await ended(engineer)).text
    _, page = await engineer.get(f"{LOOK}&again=1")
    assert "Messages looked at: 1" in page.text


async def test_values_are_shown_for_a_purpose(corrected: ActingSite, ravi: Browser) -> None:
    page = await ended(ravi)
    action, fields = form_of(page, "/affected/results")
    status, refused = await ravi.post(action, {**fields, "purpose": " "})
    assert (status, mentions(refused.text, "14.8"), verbs(corrected)) == (403, False, [])
    status, page = await ravi.post(action, {**fields, "purpose": "the wards ask"})
    assert status == 200
    rows = [[cell.text for cell in row.children] for row in page.all("tbody")[1].all("tr")]
    assert ["13.1 g/dL final", "131 g/L final"] in [row[4:] for row in rows], rows
    assert verbs(corrected) == [("unmask", "ravi")]


async def test_the_list_is_a_file_without_formulas(
    corrected: ActingSite, ravi: Browser, engineer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affected_look.rows, "__defaults__", (1,))  # each message is read by itself
    page = await ended(ravi)
    _, fields = form_of(page, "/affected/results")
    async with ravi.client.post("/affected.csv", data={**fields, "purpose": "the wards ask"}) as answer:
        assert (answer.status, answer.content_type) == (200, "text/csv")
        assert "attachment" in answer.headers["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(await answer.text())))
    hgb = {row["old_value"]: row for row in rows if row["code"] == "HGB"}
    assert {row["new_value"] for row in hgb.values()} == {"148", "131"}
    assert hgb["13.1"]["specimen"] == f"'{FORMULA}", hgb["13.1"]
    assert verbs(corrected) == [("unmask", "ravi")]
    async with engineer.client.get("/affected.csv?channel=lab") as answer:
        text = await answer.text()
    masked = list(csv.DictReader(io.StringIO(text)))
    assert len(masked) == len(rows)
    assert {row[name] for row in masked for name in ("specimen", "old_value", "new_value")} == {"***"}
    assert "Canary" not in text
    status, page = await engineer.post("/affected.csv", {**fields, "purpose": "x"})
    assert (status, mentions(page.text, "148")) == (403, False)
    assert verbs(corrected) == [("unmask", "ravi")]


@pytest.mark.parametrize(("query", "status"), [("channel=none", 404), ("channel=lab&since=soon", 400)])
async def test_what_cannot_be_looked_at_is_said(engineer: Browser, query: str, status: int) -> None:
    got, page = await engineer.get(f"/affected?{query}&lang=en")
    assert (got, alert(page) != "") == (status, True)


async def test_a_change_of_the_configuration_begins_anew(corrected: ActingSite, engineer: Browser) -> None:
    page = await ended(engineer)
    action, fields = form_of(page, "/affected")
    (corrected.site.folder / "mappings/tables/mine.csv").write_text(TABLE.replace("718-7", "20509-6"))
    change_channel(corrected.site.folder, settings={"tables": {"analytes": "tables/mine.csv"}}, description="x")
    assert (await corrected.site.labrelay("reload")).code == 0
    corrected.site.app.observer.expire()
    status, _ = await engineer.post(action, {**fields, "reason": "x"})
    assert (status, verbs(corrected)) == (200, [])  # it looks again first
    assert "20509-6" in (await ended(engineer)).text


async def test_others_are_refused(corrected: ActingSite) -> None:
    async with corrected.browser("asha") as asha:
        for path in ("/affected", "/affected.csv"):
            assert (await asha.get(path))[0] == 403
