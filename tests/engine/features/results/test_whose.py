"""Whose a held result is: both persons beside each other, for whom, what an answer on the page does."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
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
from tests.support.questions import marks
from tests.support.running import MLLP, Json, astm_channel, hl7_channel
from tests.support.senders import AstmAnalyzer, lines, send_blocks, session
from tests.support.status_server import Element
from tests.support.waiting import until

NUMBER, KNOWN, SENT = "48213^^^LAB^MR", "KUMAR^Anil", "KUMARI^Sunita"
SENT_TEXT, KNOWN_TEXT = "KUMARI Sunita", "KUMAR Anil"
FIRST = oru("M01", NUMBER, KNOWN, "101", "5.5", birth="19600203", sex="M")
SECOND = oru("M02", NUMBER, SENT, "102", "11.4", birth="19950817", sex="F")


def aged(born: str) -> str:
    """A birth date as the page says it."""
    day, today = date.fromisoformat(born), datetime.now(UTC).date()
    return f"{born} ({today.year - day.year - ((today.month, today.day) < (day.month, day.day))} years)"


BORN = aged("1995-08-17"), aged("1960-02-03")
# person -> sees both persons, may answer; by page, API and command
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
                        ["Born", BORN[0], BORN[1], "differs"],
                        ["Sex", "female", "male", "differs"],
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
    (mark,) = marks(here.site.journal, sent)
    told = {"mark": mark, "answers": ["same", "other"]}
    wanted: list[Json] = [{**told, "known_message": known, "fields": FIELDS}]
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


UNASKED, ASKED = b"|" * 15, b"|||||||||1^Rao^P^^^Dr.||||||"  # from OBR-7 to OBR-22


@pytest.mark.parametrize(
    ("by", "said", "compares"),
    [
        (ASKED, "Dr. P Rao", "the same"),
        (ASKED.replace(b"Rao", b"Sen"), "Dr. P Sen", "not compared"),
        (UNASKED, "-", "not compared"),
    ],
    ids=["the same", "another", "not said"],
)
async def test_an_order_that_goes_to_another_patient_shows_both(
    here: ActingSite, by: bytes, said: str, compares: str
) -> None:
    """The number that both bear, too, and who asked: another doctor makes no other person."""
    first = oru("M01", "4711^^^LAB^MR", "IYER^Meena", "101", "5.5", birth="19550302")
    moved = oru("M02", "4712^^^LAB^MR", "SHARMA^Anita", "101", "5.5", birth="19800302").replace(b"|F|||", b"|C|||")
    known, sent = await send(here, first.replace(UNASKED, ASKED), moved.replace(UNASKED, by))
    async with here.browser("asha") as browser:
        _, page = await browser.get(f"/held/{sent}?lang=en")
        assert compared(page) == [
            ["Order number", "101", "101", "the same"],
            ["Number", "4712", "4711", "differs"],
            ["Name", "SHARMA Anita", "IYER Meena", "differs"],
            ["Born", aged("1980-03-02"), aged("1955-03-02"), "differs"],
            ["Sex", "female", "female", "the same"],
            ["Asked by", said, "Dr. P Rao", compares],
        ]
        buttons = [form.one("button").attributes.get("value") for form in answers(page)]
        assert buttons == ["withdraw", "both"]
    assert here.site.end_of(known) == "delivered"


async def test_who_may_not_see_both_answers_by_no_door(here: ActingSite) -> None:
    """The same rule for the page, the API and a command: who answers may act and see patients."""
    _, sent = await two_persons(here)
    (mark,) = marks(here.site.journal, sent)
    given = {"message": sent, "answer": "other", "mark": mark, "reason": "asked", "dry_run": True}
    for person, (_, may_answer) in ORACLE.items():
        async with here.browser(person) as browser:
            headers = {"Idempotency-Key": person}
            async with browser.client.post("/api/v1/acts/tell_apart", json=given, headers=headers) as answer:
                assert answer.status == (200 if may_answer else 403), person
            _, page = await browser.get(f"/held/{sent}?lang=en")
            assert bool(answers(page)) is may_answer, person


# what has changed since the persons were compared -> whether the answer is refused
CHANGES: dict[str, tuple[bytes, bool]] = {
    "nothing of them": (oru("M03", "5150^^^LAB^MR", "ROY^Tapan", "103", "7.5"), False),
    "the known person as before": (oru("M03", NUMBER, KNOWN, "103", "5.7", birth="19600203", sex="M"), False),
    "the known person has a middle name": (
        oru("M03", NUMBER, f"{KNOWN}^Dev", "103", "5.7", birth="19600203", sex="M"), True),
    "the register has another person for the number": (
        b"MSH|^~\\&|HIS|LAB|LIS|H|20260302091503||ADT^A08|M03|P|2.5.1\rEVN|A08|20260302091503\r"
        b"PID|1||48213^^^LAB^MR||DAS^Rohit||19810203|M\rPV1|1|I\r", True),
}  # fmt: skip


@pytest.mark.parametrize(("change", "refused"), CHANGES.values(), ids=CHANGES)
async def test_an_answer_to_an_old_look_is_refused(tmp_path: Path, change: bytes, refused: bool) -> None:
    his = {"source": MLLP, "routes": [{"mapping": "hl7-patients", "to": "lab-fhir"}], "settings": SETTINGS}
    channels = {"lab": hl7_channel(settings=SETTINGS), "his": his}
    async with acting_site(tmp_path, channels) as here:
        _, sent = await send(here, FIRST, SECOND)
        async with here.browser("asha") as browser:
            _, page = await browser.get(f"/held/{sent}?lang=en")
            fields = {one.attributes["name"]: one.attributes["value"]
                      for one in answers(page)[0].all("input", type="hidden")}  # fmt: skip
            (answer,) = await send_blocks(here.site.port("his" if b"ADT" in change else "lab"), [change])
            assert lines(answer)["MSA"][1] == "AA"
            await here.site.settled()
            given = {**fields, "act": "same", "reason": "asked"}
            status, page = await browser.post(f"/held/{sent}?lang=en", given)
            assert ("are not those that were compared" in main(page)) is refused, main(page)
            assert (status == 200) is not refused
        await here.site.settled()
        assert here.site.end_of(sent) == ("held" if refused else "delivered")


# of two persons of one message: what is said of the known number's, and of the other's -> the Patients of its results
TWO_OF_ONE = {
    ("other", "other"): {"KUMAR": 1, "KHAN": 1, "SEN": 1, "ROY": 1},
    ("same", "other"): {"KUMAR": 2, "KHAN": 1, "ROY": 1},
    ("other", "same"): {"KUMAR": 1, "KHAN": 2, "SEN": 1},
    ("same", "same"): {"KUMAR": 2, "KHAN": 2},
}


@pytest.mark.parametrize("door", ["page", "command"])
@pytest.mark.parametrize("said", TWO_OF_ONE)
async def test_each_person_of_a_message_is_answered_for_itself(
    here: ActingSite, said: tuple[str, str], door: str
) -> None:
    other, gita, tapan = "5150^^^LAB^MR", "SEN^Gita", "ROY^Tapan"
    one, two = FIRST, oru("M02", other, "KHAN^Imran", "102", "6.5", sex="M")
    second = oru("M03", other, tapan, "104", "8.5").partition(b"\r")[2]
    *_, sent = await send(here, one, two, oru("M03", NUMBER, gita, "103", "7.5") + second)
    assert here.site.ends() == ["delivered", "delivered", "held"]
    if door == "command":
        ran = await here.site.labrelay("held", "answer", str(sent), "same", "--reason", "of one of them", "--yes")
        assert "asks about 2 persons" in ran.err
    for family, answer in zip(("SEN", "ROY"), said, strict=True):
        assert here.site.end_of(sent) == "held"
        await _answer(here, door, sent, family, answer)
    await until(lambda: here.site.end_of(sent) == "delivered")
    await here.site.settled()
    assert (
        Counter(_family(here, one["subject"]["reference"]) for one in here.site.sandbox.resources("Observation"))
        == (TWO_OF_ONE[said])
    )


async def _answer(site: ActingSite, door: str, message: int, family: str, said: str) -> None:
    """What a person says of the one with this family name."""
    async with site.browser("asha") as browser:
        _, page = await browser.get(f"/held/{message}?lang=en")
        tables = page.one("main").all("table", class_="compare")
        place = next(nth for nth, table in enumerate(tables, start=1) if f"{family} " in table.text)
        form = next(one for one in answers(page) if one.attributes["id"] == f"answer-{said}{place}")
        fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
        if door == "page":
            status, _ = await browser.post(f"/held/{message}?lang=en", {**fields, "act": said, "reason": "asked"})
            assert status == 200
            return
    answer = ("held", "answer", str(message), said, "--mark", fields["mark"], "--reason", "asked", "--yes")
    assert (await site.site.labrelay(*answer)).code == 0


def _family(site: ActingSite, reference: str) -> str:
    patient: Json = site.site.sandbox.read("Patient", reference.removeprefix("Patient/")) or {}
    family: str = patient["name"][0]["family"]
    return family


async def test_who_seems_to_be_the_same_is_listed_and_compared(here: ActingSite) -> None:
    married = oru("M02", NUMBER, "VERMA^Anita", "102", "6.5")
    _, sent = await send(here, oru("M01", NUMBER, "SHARMA^Anita", "101", "5.5"), married)
    assert here.site.ends() == ["delivered", "delivered"]
    for person, (sees, may_answer) in ORACLE.items():
        async with here.browser(person) as browser:
            _, page = await browser.get("/held?lang=en")
            assert f"Message {sent}" in main(page), person
            status, page = await browser.get(f"/held/{sent}?lang=en")
            assert status == 200
            assert bool(compared(page)) is sees, person
            assert bool(answers(page)) is may_answer, person
            assert not page.one("main").all("form", class_="release")
    await _answer(here, "page", sent, "VERMA", "same")
    async with here.browser("asha") as browser:
        assert f"Message {sent}" not in main((await browser.get("/held?lang=en"))[1])
        assert (await browser.get(f"/held/{sent}?lang=en"))[0] == 404


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
