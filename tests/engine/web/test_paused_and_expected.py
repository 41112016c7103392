"""What stands on the page about what a person has paused, and about a downtime that is expected."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from engine.model.texts.phrases import Phrase
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import PendingRetry
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level, Paused
from tests.support import access
from tests.support.status_server import read_html, running
from tests.support.status_sites import NOW, ago, quiet_site

PAUSED = Paused(by="anita", since=ago(3600), reason="new firmware")


def paused_site() -> SiteSnapshot:
    site = quiet_site()
    first, *others = site.channels
    (lane,) = first.lanes
    return replace(
        site,
        timezone="Asia/Kolkata",
        channels=(
            replace(first, state=ChannelState.PAUSED, paused=PAUSED, lanes=(replace(lane, waiting=3, paused=PAUSED),)),
            *others,
        ),
        destinations=(replace(site.destinations[0], state=DestinationState.PAUSED, paused=PAUSED, waiting=3),),
    )


def expected_site() -> SiteSnapshot:
    site = quiet_site()
    retrying = PendingRetry(attempt=7, code=ReasonCode.NO_ANSWER)
    first, *others = site.channels
    (lane,) = first.lanes
    return replace(
        site,
        timezone="Asia/Kolkata",
        channels=(replace(first, lanes=(replace(lane, waiting=3, retrying=retrying, expected=True),)), *others),
        destinations=(
            replace(
                site.destinations[0],
                state=DestinationState.EXPECTED,
                expected_until=NOW + timedelta(hours=1),
                retrying=retrying,
                waiting=3,
            ),
        ),
    )


async def test_who_paused_it_since_when_and_why_stands_beside_it(tmp_path: Path) -> None:
    async with access.site(tmp_path) as here, here.browser() as browser:
        here.page.site = paused_site()
        await browser.log_in("operator")
        _, root = await browser.get("/?lang=en")
        _, analyzer = await browser.get("/analyzer?name=chemistry&lang=en")
    channel, destination = root.one("tr", id="c-chemistry"), root.one("tr", id="d-lab-fhir")
    assert channel.one("td", class_="state").text == "paused"
    assert channel.one("th").text == "chemistry by anita since 09:12: new firmware"
    assert destination.one("td", class_="state").text == "paused 3 waiting by anita since 09:12: new firmware"
    facts = [fact.text for fact in analyzer.one("dl", class_="facts").all("div", class_="attention")]
    assert facts == ["Paused by anita since 09:12: new firmware", "Paused lab-fhir by anita since 09:12: new firmware"]


async def test_a_count_of_none_is_no_link(tmp_path: Path) -> None:
    site = paused_site()
    first, *others = site.channels
    (lane,) = first.lanes
    async with access.site(tmp_path) as here, here.browser() as browser:
        await browser.log_in("operator")
        here.page.site = replace(site, channels=(replace(first, lanes=(replace(lane, waiting=0),)), *others))
        _, root = await browser.get("/?lang=en")
    for cell in root.one("tr", id="c-chemistry").all("td"):
        if cell.attributes["data-label"] in ("Waiting", "Held back", "Dead"):
            assert (cell.text, cell.all("a")) == ("0", [])


def test_a_pause_is_something_to_look_at_and_no_alarm() -> None:
    site = paused_site()
    assert [(finding.level, str(finding.phrase)) for finding in site.findings()] == [
        (Level.ATTENTION, "chemistry paused by anita"),
        (Level.ATTENTION, "chemistry/lab-fhir paused by anita, 3 waiting"),
        (Level.ATTENTION, "lab-fhir paused by anita, 3 waiting"),
    ]
    said = site.to_json()
    assert said["channels"][0]["paused"]["by"] == "anita"
    assert said["destinations"][0]["paused"]["reason"] == "new firmware"
    assert said["destinations"][0]["state"] == "paused"
    json.dumps(said)


def test_who_paused_it_may_be_unknown() -> None:
    assert Paused().words == Phrase("paused")


async def test_an_expected_downtime_is_calm_and_says_until_when() -> None:
    site = expected_site()
    assert site.findings() == []
    assert site.channels[0].level is Level.OK
    async with running(site) as page:
        root = read_html((await page.get("/"))[1])
    row = root.one("tr", id="d-lab-fhir")
    assert row.one("td", class_="state").text == "expected downtime 3 waiting until 11:12"
    assert root.one("h1", class_="headline").text == "In order: Everything works"
    assert root.all(class_="problem") == []


@pytest.mark.parametrize("site", [paused_site(), expected_site()], ids=["paused", "expected"])
async def test_both_are_said_in_hindi(site: SiteSnapshot) -> None:
    async with running(site) as page:
        text = (await page.get("/?lang=hi"))[1]
    assert ("तय बंद समय" in text) is (site.destinations[0].expected_until is not None)
    assert ("anita द्वारा" in text) is (site.destinations[0].paused is not None)
