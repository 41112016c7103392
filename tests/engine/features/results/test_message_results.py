"""The results at the beginning of a message's page: who sees them, how often the audit trail has that, and where each
went; what is said where there are none.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.features.access.service.service import AccessService
from tests.engine.features.results.test_decision import critical, looks, main, send
from tests.results.test_held_results import held_route, message
from tests.support.access import GOOD, ROOT, Browser
from tests.support.acting_pages import ActingSite, acting_site, with_persons
from tests.support.running import MLLP, QUICK, Json, RunningSite, channel, make_running_site, running_app
from tests.support.status_server import Element
from workbench.sandbox import Sandbox

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


OWN = """\
mapping: {name}
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: {to}
policies: {{unread_segment: ignore}}
steps:
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            filter: {{when: "{drops}", as: unwanted}}
            {writes}
"""
MAPPINGS = {
    "some": OWN.format(name="some", to="csv", drops="=OBX-3.1 == 'HGB'", writes="row: {test: =OBX-3.1, value: =OBX-5}"),
    "second": OWN.format(
        name="second",
        to="fhir/R4",
        drops="=OBR-3.1 == 'F1'",
        writes="create: Observation\n            key: =[OBR-3.1 | '-', OBX-3.1]\n            body:"
        " {status: final, code: {text: =OBX-3.1}, valueString: =OBX-5}",
    ).replace("policies:", "bundle: transaction\npolicies:", 1),
}
ORU = {"when": "=MSH-9.1 == 'ORU'"}
TO = {"lab-fhir": "hl7-results", "lines": "hl7-to-csv", "json": "hl7-to-json", "own-csv": "some", "own-fhir": "second"}
ORDER = (
    "PID|{n}||{patient}^^^HOSP^MR||{name}||19800412|F\rOBR|1|O{n}|{tube}|CBC^Blood count^L|||20260301091500"
    "||||||||||||||20260301101500||HM|F\rOBX|1|NM|HGB^Hemoglobin^L||{value}|g/dL||{flag}|||F|||{at}\r"
)


def of_two(*, value: str = "5.0", tubes: Sequence[str] = ("F1", "F2")) -> bytes:
    """One test of two patients: the first has 5.0, at another time."""
    head = "MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01|M9|P|2.5\r"
    one = ORDER.format(n=1, patient="A1", name="Doe^Jane", tube=tubes[0], value="5.0", flag="L", at="20260301094500")
    two = ORDER.format(n=2, patient="B2", name="Roe^Ana", tube=tubes[1], value=value, flag="HH", at="20260301104500")
    return (head + one + two).encode()


def went(page: Element) -> list[tuple[str, str]]:
    """Of each result in its order: what the row above its group says, and where it went."""
    group, found = "", []
    for row in page.one("main").all("table")[0].one("tbody").all("tr"):
        cells = row.all("td")
        group = group if cells else row.one("th").text
        found += [(group, cells[-1].text)] if cells else []
    return found


@asynccontextmanager
async def with_own_mappings(folder: Path, routes: Sequence[Json]) -> AsyncIterator[ActingSite]:
    (folder / "mappings").mkdir()
    for name, text in MAPPINGS.items():
        (folder / f"mappings/{name}.yaml").write_text(text)
    folders = {name: {"kind": "file", "folder": name} for name in ("lines", "json", "own-csv", "own-fhir", "raw")}
    sandbox = Sandbox()
    await sandbox.start()
    try:
        server = {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}}
        make_running_site(folder, {"lab": channel(MLLP, *routes)}, server | folders, web="127.0.0.1:0")
        async with running_app(folder, own_tables=True) as app:
            yield await with_persons(RunningSite(folder, app, sandbox))
    finally:
        await sandbox.stop()


async def test_a_result_went_where_its_document_surely_has_it(tmp_path: Path) -> None:
    """Lists, raw copies, mappings of the site that leave some out, and what was accepted before."""
    routes = [ORU | {"mapping": mapping, "to": to} for to, mapping in TO.items()] + [{"to": "raw"}]
    async with with_own_mappings(tmp_path, routes) as site:
        changed = message(2, "13.9", order="A", patient="9", status="C")
        _, again, two = await send(site, message(1, VALUE, order="A", patient="9"), changed, of_two())
        async with site.browser("viewer") as browser:
            (_, haemoglobin), (_, colour) = went(await shown(browser, again))
            (_, first), (_, second) = went(await shown(browser, two))
        (written,) = [one.read_text() for one in (tmp_path / "own-fhir").glob(f"*-{again:010}-*")]
    assert ('"status":"corrected"' in written, "yellow" in written) == (True, False), "though its mapping says final"
    assert haemoglobin == "delivered lab-fhir, lines, json, own-fhir, raw"  # own-csv has the colour alone
    assert colour == "left out lab-fhir, lines, json, own-fhir delivered raw"
    assert first == second == "delivered lab-fhir, lines, json, raw"  # own-fhir has one of both, without a patient


async def test_a_decision_names_no_specimen_that_may_be_of_another_patient(tmp_path: Path) -> None:
    rule = {"when": "=code == 'HGB'", "reason": "look at each"}
    route = ORU | {"mapping": "second", "to": "own-fhir", "hold": [rule]}
    async with with_own_mappings(tmp_path, [route]) as site:
        same, other = await send(site, of_two(), of_two(value="6.5").replace(b"|M9|", b"|M10|"))
        async with site.browser("operator") as browser:
            for number, value, specimen in ((same, "5.0", False), (other, "6.5", True)):
                _, page = await browser.get(f"/held/{number}?lang=en")
                assert value in main(page)
                assert ("F1" in main(page), "F2" in main(page)) == (False, specimen), number


async def test_results_of_two_patients_are_apart(here: ActingSite) -> None:
    (number,) = await send(here, of_two(value="50", tubes=("", "")).replace(b"|O1|", b"||").replace(b"|O2|", b"||"))
    async with here.browser("viewer") as browser:
        groups = [group for group, _ in went(await shown(browser, number))]
    assert groups == ["Patient 1 of 2 · Specimen - 2026-03-01 09:45", "Patient 2 of 2 · Specimen - 2026-03-01 10:45"]


async def test_a_time_is_said_of_its_results_alone(here: ActingSite) -> None:
    (number,) = await send(here, message(1, VALUE, order="A"))
    async with here.browser("viewer") as browser:
        groups = [group for group, _ in went(await shown(browser, number))]
    assert groups == ["Specimen F-A 2026-03-01 09:45", "Specimen F-A 2026-03-01 09:15"]


async def test_who_may_only_decide_sees_only_what_is_held(here: ActingSite) -> None:
    """The colour was accepted before, so no decision is about it."""
    sent = message(1, VALUE, order="A", patient="9"), critical(2, LOW, order="A", patient="9", status="C")
    _, number = await send(here, *sent)
    for person, sees in {"operator": False, "viewer": True}.items():
        async with here.browser(person) as browser:
            page = await shown(browser, number)
        assert LOW in main(page)
        assert ("yellow" in main(page), "hidden from you" in main(page)) == (sees, not sees), person


async def test_a_held_message_leads_to_its_decision_and_is_of_the_messages(here: ActingSite) -> None:
    (number,) = await send(here, critical(1, LOW))
    async with here.browser("operator") as browser:
        page = await shown(browser, number)
        acts = page.one("main").one("div", class_="acts")
        assert [(one.text, one.attributes["href"]) for one in acts.all("a")] == [("Decide", f"/held/{number}?lang=en")]
        now = [
            one.attributes["href"]
            for one in page.one("nav", class_="pages").all("a")
            if "aria-current" in one.attributes
        ]
        assert now == ["/messages?lang=en"]
        assert (await browser.get(f"/held/{number}?lang=en"))[0] == 200
    async with here.browser("plain") as browser:
        assert not (await shown(browser, number)).one("main").all("div", class_="acts")


async def test_a_long_value_wraps_and_a_number_does_not(here: ActingSite) -> None:
    (number,) = await send(here, message(1, VALUE).replace(b"yellow", b"y" * 400))
    async with here.browser("viewer") as browser:
        rows = (await shown(browser, number)).one("main").all("table")[0].one("tbody").all("tr")
    kinds = [row.all("td")[0].attributes["class"].split() for row in rows if row.all("td")]
    assert kinds == [["number", "b"], ["wrap", "b"]]


async def test_results_of_a_long_message_come_in_pages(here: ActingSite) -> None:
    head, *_ = message(1, VALUE).split(b"OBX|1")
    many = b"".join(b"OBX|%d|NM|T%d^Test %d^L||%d|g/dL|||||F|||20260301094500\r" % ((n,) * 4) for n in range(1, 602))
    (number,) = await send(here, head + many)
    async with here.browser("viewer") as browser:
        pages, page = [], await shown(browser, number)
        while len(pages) < 4:
            pages.append([name.removeprefix("Test ").split()[0] for name in results(page)])
            found = [one.attributes for one in page.one("main").all("a")]
            links = {one["rel"]: one["href"] for one in found if "rel" in one}
            if "next" not in links:
                break
            _, page = await browser.get(links["next"])
        assert "501-601 of 601" in main(page)
        assert [len(one) for one in pages] == [500, 101]
        assert [name for one in pages for name in one] == [str(n) for n in range(1, 602)]
        _, page = await browser.get(links["prev"])
        assert [name.removeprefix("Test ").split()[0] for name in results(page)] == pages[0]
        page = await shown(browser, number, "&first=99999")  # an old address
        assert len(results(page)) == 500
