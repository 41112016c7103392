"""The results at the beginning of a message's page: who sees them, how often the audit trail has that, and where each
went; what is said where there are none.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.access.service.service import AccessService
from tests.engine.features.results.test_decision import critical, looks, main, send
from tests.results.test_held_results import held_route, message
from tests.support.access import GOOD, ROOT, Browser
from tests.support.acting_pages import ActingSite, acting_site
from tests.support.running import MLLP, channel
from tests.support.status_server import Element

LOW, VALUE, NAME = "5.1", "14.0", "Canary9"
# person -> sees the values of a delivered message, and of one that is held
ORACLE: dict[str, tuple[bool, bool]] = {
    "plain": (False, False),  # a viewer
    "viewer": (True, True),  # who sees patients besides
    "operator": (False, True),
    "engineer": (False, True),
    "ravi": (True, True),  # an engineer who sees patients besides
}
RULE = {"when": "=code == 'HGB' and value < 7", "reason": "haemoglobin is critical"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    route = held_route((RULE,), to=["lab-fhir", "archive"])
    more = {"archive": {"kind": "file", "folder": "archive"}}
    async with acting_site(tmp_path, {"lab": channel(MLLP, route)}, more) as site:
        accounts = site.site.app.service(AccessService).accounts
        await accounts.users.add("plain", "viewer", GOOD, by=ROOT)
        yield site


async def shown(browser: Browser, number: int, query: str = "") -> Element:
    status, page = await browser.get(f"/messages/{number}?lang=en{query}")
    assert status == 200
    return page


def results(page: Element) -> dict[str, list[str]]:
    """Test -> the other cells of its row."""
    rows = page.one("main").all("table")[0].one("tbody").all("tr")
    return {row.one("th").text: [one.text for one in row.all("td")] for row in rows if row.all("td")}


async def test_who_sees_results_and_each_look_is_known_once(here: ActingSite) -> None:
    delivered, held = await send(here, message(1, VALUE, patient="9"), critical(2, LOW, patient="8"))
    for person, sees in ORACLE.items():
        async with here.browser(person) as browser:
            for number, value, may in zip((delivered, held), (VALUE, LOW), sees, strict=True):
                for query in ("", "&part=bytes"):
                    page = await shown(browser, number, query)
                    assert (value in main(page)) is may, (person, number)
                    assert ("hidden from you" in main(page)) is not may, (person, number)
                    assert NAME not in main(page), person
                    assert "final" in main(page)
        expected = [(number, "results") for number, may in ((held, sees[1]), (delivered, sees[0])) if may]
        assert looks(here, person) == expected, person


async def test_a_decision_and_the_page_of_the_message_are_one_look(here: ActingSite) -> None:
    (number,) = await send(here, critical(1, LOW))
    async with here.browser("operator") as browser:
        await browser.get(f"/held/{number}?lang=en")
        assert LOW in main(await shown(browser, number))
    assert looks(here, "operator") == [(number, "decision")]


async def test_each_result_has_its_value_and_where_it_went(here: ActingSite) -> None:
    first, again = await send(
        here, message(1, VALUE, order="A", patient="9"), message(2, "13.9", order="A", patient="9", status="C")
    )
    async with here.browser("viewer") as browser:
        page = await shown(browser, first)
        (haemoglobin, *_) = results(page).values()
        assert haemoglobin[:2] == [f"{VALUE} g/dL", "N normal"]
        assert haemoglobin[3] == "final"
        assert sorted(haemoglobin[-1].replace(",", "").split()) == ["archive", "delivered", "lab-fhir"]
        assert page.one("main").all("tr", class_="group")[0].text.startswith("Specimen F-A")
        other = results(await shown(browser, again))
        assert other["Hemoglobin HGB"][3] == "corrected"
        assert "left out" in other["Color COL"][-1]
        assert "left out" not in other["Hemoglobin HGB"][-1]


async def test_a_coded_answer_and_a_titre_are_read_as_words(here: ActingSite) -> None:
    coded = message(1, VALUE).replace(
        b"NM|HGB^Hemoglobin^L||14.0|g/dL", b"CWE|HBS^HBsAg^L||260415000^Not detected^SCT|"
    )
    (number,) = await send(here, coded.replace(b"ST|COL^Color^L||yellow", b"SN|TIT^Titre^L||^1^:^8"))
    async with here.browser("viewer") as browser:
        found = results(await shown(browser, number))
    assert [cells[0] for cells in found.values()] == ["Not detected", "1:8"]


async def test_the_result_of_a_control_is_marked(here: ActingSite) -> None:
    (number,) = await send(here, message(1, VALUE, order="X").replace(b"F-X", b"#77Q1#"))
    async with here.browser("viewer") as browser:
        assert list(results(await shown(browser, number))) == ["Hemoglobin HGB control", "Color COL control"]


async def test_a_message_tells_its_way_with_times(here: ActingSite) -> None:
    (number,) = await send(here, critical(1, LOW))
    async with here.browser("plain") as browser:
        way = (await shown(browser, number)).one("ol", class_="way").all("li")
    assert [one.one("strong").text for one in way] == ["Received and stored", "Mapping", "lab-fhir", "archive"]
    assert [one.attributes.get("class", "") for one in way] == ["", "", "attention", "attention"]
    assert all("+ " in one.text for one in way[1:])
    assert "held back" in way[-1].text


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (message(1, VALUE).partition(b"OBX")[0], "This message has no results."),
        (message(1, VALUE).replace(b"ORU^R01", b"QRY^Q01"), "cannot be read here"),
    ],
    ids=["none", "not read"],
)
async def test_a_message_without_results_says_so(here: ActingSite, payload: bytes, said: str) -> None:
    (number,) = await send(here, payload)
    async with here.browser("viewer") as browser:
        page = await shown(browser, number)
    assert said in main(page)


async def test_an_erased_message_says_so(here: ActingSite) -> None:
    (number,) = await send(here, message(1, VALUE, patient="9"))
    ran = await here.site.labrelay("erase", "--patient", "9", "--reason", "asked", "--yes", "--force")
    assert ran.code == 0, ran.err
    async with here.browser("viewer") as browser:
        page = await shown(browser, number)
    assert "erased" in page.one("main").one("p", role="status").text
    assert VALUE not in main(page)
