"""Whose a held result is: both persons beside each other, for whom, what an answer on the page does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.codecs.astm.sender import frames_of
from engine.features.access.service.service import AccessService
from tests.engine.features.results.test_decision import looks, main, send
from tests.results.test_order_moved import SETTINGS
from tests.results.test_two_persons import e1394, oru
from tests.results.test_two_persons import person as records
from tests.support.access import GOOD, ROOT
from tests.support.acting_pages import ActingSite, acting_site
from tests.support.running import Json, astm_channel, hl7_channel
from tests.support.senders import AstmAnalyzer, session
from tests.support.status_server import Element
from tests.support.waiting import until

NUMBER, KNOWN, SENT = "48213^^^LAB^MR", "KUMAR^Anil", "KUMARI^Sunita"
SENT_TEXT, KNOWN_TEXT = "KUMARI Sunita", "KUMAR Anil"
FIRST = oru("M01", NUMBER, KNOWN, "101", "5.5", birth="19600203", sex="M")
SECOND = oru("M02", NUMBER, SENT, "102", "11.4", birth="19950817", sex="F")
# person -> sees both persons, may answer
ORACLE = {
    "plain": (False, False),  # a viewer
    "viewer": (True, False),  # who sees patients besides
    "operator": (False, False),
    "asha": (True, True),  # an operator who sees patients besides
    "ravi": (True, True),
}
FIELDS = [
    {"field": "number", "sent": "48213", "known": "48213", "compared": "same"},
    {"field": "name", "sent": SENT_TEXT, "known": KNOWN_TEXT, "compared": "differs"},
    {"field": "born", "sent": "1995-08-17", "known": "1960-02-03", "compared": "differs"},
    {"field": "sex", "sent": "F", "known": "M", "compared": "differs"},
]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"lab": hl7_channel(settings=SETTINGS)}) as site:
        await site.site.app.service(AccessService).accounts.users.add("plain", "viewer", GOOD, by=ROOT)
        yield site


async def two_persons(site: ActingSite) -> tuple[int, int]:
    """The message of the person who is known, and that of another one under the number."""
    known, sent = await send(site, FIRST, SECOND)
    assert site.site.ends() == ["delivered", "held"]
    return known, sent


def compared(page: Element) -> list[list[str]]:
    return [
        [cell.text for cell in (row.one("th"), *row.all("td"))]
        for table in page.one("main").all("table", class_="compare")
        for row in table.one("tbody").all("tr")
    ]


def answers(page: Element) -> list[Element]:
    return [one for one in page.one("main").all("form") if one.attributes.get("id", "").startswith("answer-")]


async def test_both_persons_are_beside_each_other_for_who_may_see_them(here: ActingSite) -> None:
    known, sent = await two_persons(here)
    for person, (sees, may_answer) in ORACLE.items():
        async with here.browser(person) as browser:
            for _ in range(2):
                status, page = await browser.get(f"/held/{sent}?lang=en")
                assert status == 200
                assert compared(page) == (
                    [
                        ["Number", "48213", "48213", "the same"],
                        ["Name", SENT_TEXT, KNOWN_TEXT, "differs"],
                        ["Born", "1995-08-17", "1960-02-03", "differs"],
                        ["Sex", "F", "M", "differs"],
                    ]
                    if sees
                    else []
                )
                assert ("3 of 4 differ." in main(page)) is sees, person
                assert (f"Message {known}" in main(page)) is sees, person
                assert ("hidden from you. Ask a person" in main(page)) is not sees, person
                assert bool(answers(page)) is may_answer, person
                assert not page.one("main").all("form", class_="release")
        assert looks(here, person) == [(sent, "decision")] * (person != "plain")
    async with here.browser("viewer") as browser:
        _, page = await browser.get("/held?lang=en")
        assert page.one("main").all("a", class_="offer")[0].text == "Compare"


@pytest.mark.parametrize(("act", "people"), [("other", 2), ("same", 1)])
async def test_an_answer_on_the_page_sends_it(here: ActingSite, act: str, people: int) -> None:
    _, sent = await two_persons(here)
    async with here.browser("asha") as browser:
        _, page = await browser.get(f"/held/{sent}?lang=en")
        form = answers(page)[0]
        fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
        status, page = await browser.post(f"/held/{sent}?lang=en", {**fields, "act": act, "reason": " "})
        assert status == 403
        assert "needs a reason" in main(page)
        _, page = await browser.get(f"/held/{sent}?lang=en")
        form = answers(page)[0]
        fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
        answer = {**fields, "act": act, "reason": "asked the register"}
        assert (await browser.post(f"/held/{sent}?lang=en", answer))[0] == 200
    await until(lambda: here.site.end_of(sent) == "delivered")
    subjects = {one["subject"]["reference"] for one in here.site.sandbox.resources("Observation")}
    assert len(subjects) == people


async def test_who_may_not_see_both_does_not_answer_on_the_page(here: ActingSite) -> None:
    _, sent = await two_persons(here)
    async with here.browser("operator") as browser:
        _, page = await browser.get(f"/held/{sent}?lang=en")
        (form,) = page.one("main").all("form", class_="reject")
        fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
        answer = {**fields, "act": "same", "reason": "guessed"}
        assert (await browser.post(f"/held/{sent}?lang=en", answer))[0] == 403
    assert here.site.end_of(sent) == "held"


async def test_the_command_and_the_api_say_the_same(here: ActingSite) -> None:
    known, sent = await two_persons(here)
    wanted: list[Json] = [{"known_message": known, "fields": FIELDS}]
    show = ("held", "show", str(sent))
    assert (await here.site.labrelay(*show, "-o", "json")).json["whose"] is None
    unmasked = (*show, "--unmask", "--purpose", "a test")
    assert (await here.site.labrelay(*unmasked, "-o", "json")).json["whose"] == wanted
    text = (await here.site.labrelay(*unmasked)).out
    assert f"name: {SENT_TEXT}; {KNOWN_TEXT}: DIFFERS" in text
    given = {"message": sent, "purpose": "a program asks"}
    for person, found in (("operator", None), ("asha", wanted)):
        async with (
            here.browser(person) as browser,
            browser.client.post("/api/v1/held-results", json=given) as answer,
        ):
            assert answer.status == 200
            assert (await answer.json())["whose"] == found


async def test_a_person_who_was_erased_is_not_shown(here: ActingSite) -> None:
    await send(here, FIRST)
    ran = await here.site.labrelay("erase", "--patient", "48213", "--reason", "asked for", "--force", "--yes")
    assert ran.code == 0, ran.err
    *_, sent = await send(here, SECOND)
    async with here.browser("asha") as browser:
        _, page = await browser.get(f"/held/{sent}?lang=en")
    assert next(row[1:] for row in compared(page)) == ["48213", "-", "not compared"]
    assert [row[2] for row in compared(page)] == ["-"] * len(FIELDS)


async def test_an_order_that_goes_to_another_patient_shows_both(here: ActingSite) -> None:
    first = oru("M01", "4711^^^LAB^MR", "IYER^Meena", "101", "5.5", birth="19550302")
    moved = oru("M02", "4712^^^LAB^MR", "SHARMA^Anita", "101", "5.5", birth="19800302").replace(b"|F|||", b"|C|||")
    known, sent = await send(here, first, moved)
    async with here.browser("asha") as browser:
        _, page = await browser.get(f"/held/{sent}?lang=en")
        assert compared(page) == [
            ["Number", "4712", "4711", "differs"],
            ["Name", "SHARMA Anita", "IYER Meena", "differs"],
            ["Born", "1980-03-02", "1955-03-02", "differs"],
            ["Sex", "F", "F", "the same"],
        ]
        buttons = [form.one("button").attributes.get("value") for form in answers(page)]
        assert buttons == ["withdraw", "both"]
    assert here.site.end_of(known) == "delivered"


async def test_one_answer_joins_no_second_person_of_a_message(here: ActingSite) -> None:
    other, gita, tapan = "5150^^^LAB^MR", "SEN^Gita", "ROY^Tapan"
    one, two = FIRST, oru("M02", other, "KHAN^Imran", "102", "6.5", sex="M")
    second = oru("M03", other, tapan, "104", "8.5").partition(b"\r")[2]
    *_, sent = await send(here, one, two, oru("M03", NUMBER, gita, "103", "7.5") + second)
    assert here.site.ends() == ["delivered", "delivered", "held"]
    async with here.browser("asha") as browser:
        _, page = await browser.get(f"/held/{sent}?lang=en")
        names = [row[1:] for row in compared(page) if row[0] == "Name"]
        assert sorted(names) == [["ROY Tapan", "KHAN Imran", "differs"], ["SEN Gita", KNOWN_TEXT, "differs"]]
        assert [form.one("button").attributes.get("value") for form in answers(page)] == ["other"]
    held = ("held", "answer", str(sent))
    ran = await here.site.labrelay(*held, "same", "--reason", "it is of one of them", "--yes")
    assert "asks about several persons" in ran.err
    assert here.site.end_of(sent) == "held"
    ran = await here.site.labrelay(*held, "other", "--reason", "asked both wards", "--yes")
    assert ran.code == 0, ran.err
    await until(lambda: here.site.end_of(sent) == "delivered")
    await here.site.settled()
    subjects = [one["subject"]["reference"] for one in here.site.sandbox.resources("Observation")]
    assert len(subjects) == len(set(subjects)) == 4


async def test_who_is_known_from_another_channel_is_read_as_that_says(tmp_path: Path) -> None:
    channels = {"lab": hl7_channel(settings=SETTINGS), "astm": astm_channel(settings=SETTINGS)}
    async with acting_site(tmp_path, channels) as site:
        known = e1394(*records(1, "48213", "KUMAR^Anil", "101", "5.5"))
        played = await AstmAnalyzer(site.site.port("astm")).play(session(b"".join(frames_of(known, 240, "record"))))
        assert not played.gave_up
        await site.site.settled()
        await send(site, SECOND.replace(NUMBER.encode(), b"48213"))
        async with site.browser("asha") as browser:
            _, page = await browser.get(f"/held/{site.site.messages('lab')[-1].id}?lang=en")
        assert ["Name", SENT_TEXT, KNOWN_TEXT, "differs"] in compared(page)
