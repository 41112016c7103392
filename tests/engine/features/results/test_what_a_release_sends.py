"""What a person sees before a release is what it sends, and the value before is of the same result."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.features.results.test_decision import critical, here, looks, main, releases, send
from tests.results.test_held_results import held_route, message, without_colour
from tests.support.acting_pages import ActingSite, acting_site, form_of, with_persons
from tests.support.running import MLLP, QUICK, Json, RunningSite, channel, make_running_site, running_app
from tests.support.status_server import Element
from tests.support.waiting import until
from workbench.sandbox import Sandbox

__all__ = ["here"]  # a fixture
FOLDERS: dict[str, Json] = {name: {"kind": "file", "folder": name} for name in ("archive", "second")}
TABLE = "code,unit_in,loinc,display,type,unit,ucum,factor,digits,scale,source,note\n"
GRAMS = "HGB,g/L,718-7,Hemoglobin,NM,g/dL,g/dL,0.1,,,,\n"
OTHERWISE = "HGB,g/L,20509-6,Hemoglobin,NM,g/dL,g/dL,0.01,,,,\n"
LOW: Json = {"when": "=value < 7", "reason": "low"}
JUMP: Json = {"when": "=code == 'HGB' and (abs(delta('7d')) | 99) > 2", "reason": "jump"}
TAKEN = b"20260301"


@contextlib.asynccontextmanager
async def with_table(folder: Path, *routes: Json) -> AsyncIterator[ActingSite]:
    """A site with a code table of its own, which converts."""
    (folder / "mappings/tables").mkdir(parents=True)
    (folder / "mappings/tables/mine.csv").write_text(TABLE + GRAMS)
    sandbox = Sandbox()
    await sandbox.start()
    lab = channel(MLLP, *routes, settings={"tables": {"analytes": ["tables/mine.csv", "tables/analytes.csv"]}})
    destinations = {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}, **FOLDERS}
    try:
        make_running_site(folder, {"lab": lab}, destinations, web="127.0.0.1:0")
        async with running_app(folder, own_tables=True) as app:
            yield await with_persons(RunningSite(folder, app, sandbox))
    finally:
        await sandbox.stop()


@pytest.fixture
async def jumps(tmp_path: Path) -> AsyncIterator[ActingSite]:
    route = held_route((JUMP,))
    async with acting_site(tmp_path, {"lab": channel(MLLP, {"to": "archive"}, route)}, FOLDERS) as site:
        yield site


async def page_of(site: ActingSite, number: int, person: str = "operator", **query: str) -> Element:
    async with site.browser(person) as browser:
        status, page = await browser.get(f"/held/{number}", params={"lang": "en", "destination": "lab-fhir", **query})
    assert status == 200
    return page


def button(page: Element) -> str:
    (form,) = releases(page)
    return form.one("button").text


def before(page: Element) -> list[str]:
    """The value before the first result."""
    return [
        one.text for one in page.one("tbody").all("tr")[0].all("td") if one.attributes.get("data-label") == "Before"
    ]


async def newest(site: ActingSite, *messages: bytes) -> int:
    return (await send(site, *messages))[-1]


async def test_each_output_is_shown_as_it_goes_out_also_when_the_code_table_is_another_one(tmp_path: Path) -> None:
    outputs: Json = {"lab-fhir": "hl7-results", "second": "hl7-to-csv", "archive": None}
    routes = [{"to": to, "hold": [dict(LOW)], **({"mapping": name} if name else {})} for to, name in outputs.items()]
    async with with_table(tmp_path, *routes) as site:
        number = await newest(site, without_colour(message(1, "51")).replace(b"g/dL", b"g/L"))
        sent = {"lab-fhir": "5.1 g/dL", "second": "51 g/L", "archive": "51 g/L"}
        for _ in range(2):
            for destination, said in sent.items():
                page = await page_of(site, number, destination=destination)
                assert button(page) == f"Release: Hemoglobin {said}", destination
            async with site.browser("operator") as browser:
                _, page = await browser.get(f"/held/{number}?lang=en")  # for all destinations at once
            rows = ["5.1 g/dL" in row.text for row in page.one("tbody").all("tr")]
            assert rows == [True, False]
            (tmp_path / "mappings/tables/mine.csv").write_text(TABLE + OTHERWISE)
            assert (await site.site.labrelay("reload")).code == 0
        assert "718-7" in main(await page_of(site, number))
        assert (await site.site.labrelay("held", "release", str(number), "--reason", "x", "--yes")).code == 0
        await site.site.settled()
        values = [one["valueQuantity"]["value"] for one in site.site.sandbox.resources("Observation")]
    archived = b"".join(path.read_bytes() for path in (tmp_path / "archive").rglob("*") if path.is_file())
    assert (values, b"|51|g/L|" in archived) == ([5.1], True)


@pytest.mark.parametrize("mapping", ["hl7-results", "hl7-to-csv", "hl7-to-json"])
async def test_what_was_accepted_before_is_not_counted(tmp_path: Path, mapping: str) -> None:
    route: Json = {"mapping": mapping, "hold": [{"when": "=code == 'HGB' and value < 7", "reason": "low"}]}
    to = "lab-fhir" if mapping == "hl7-results" else "second"
    async with acting_site(tmp_path, {"lab": channel(MLLP, {**route, "to": to})}, FOLDERS) as site:
        given = (message(1, "14.0", order="A", patient="9"), message(2, "5.1", order="A", patient="9", status="C"))
        page = await page_of(site, await newest(site, *given), destination=to)
        assert button(page) == "Release: Hemoglobin 5.1 g/dL"
        assert "yellow" not in main(page)


async def test_the_value_before_is_the_newest_one_that_was_accepted_also_in_another_unit(here: ActingSite) -> None:
    grams = message(2, "140", order="A", patient="9", status="C").replace(b"g/dL", b"g/L")
    first = message(1, "13.0", order="A", patient="9")
    page = await page_of(here, await newest(here, first, grams, message(3, "5.1", order="A", patient="9", status="C")))
    assert before(page)[0].startswith("140 g/L")
    assert "13.0" not in main(page)
    assert "%" not in main(page)


async def test_a_withdrawn_value_is_no_value_before(here: ActingSite) -> None:
    gone = message(2, "13.0", order="A", patient="9", status="W")
    said = (message(1, "13.0", order="A", patient="9"), gone, message(3, "5.1", order="A", patient="9", status="C"))
    page = await page_of(here, await newest(here, *said))
    assert before(page) == []
    assert "13.0" not in main(page)


async def test_a_rejected_value_is_no_value_before(tmp_path: Path) -> None:
    """It went to the archive all the same."""
    lab = channel(MLLP, {"to": "archive"}, held_route(({"when": "=code == 'HGB' and value < 20", "reason": "x"},)))
    async with acting_site(tmp_path, {"lab": lab}, FOLDERS) as site:
        first = await newest(site, message(1, "13.0", order="A", patient="9"))
        assert (await site.site.labrelay("held", "reject", str(first), "--reason", "x", "--yes")).code == 0
        page = await page_of(site, await newest(site, message(2, "5.1", order="A", patient="9", status="C")))
        assert "13.0" not in main(page)


async def test_a_number_that_is_given_again_brings_no_other_persons_value(here: ActingSite) -> None:
    """Of neither is a patient told, as analyzers without a worklist send it."""

    def unnamed(number: int, value: str, day: bytes) -> bytes:
        said = message(number, value, order="A", patient="9").replace(TAKEN, day)
        return said.replace(b"9^^^HOSP^MR", b"").replace(b"Canary9^Jane^Q||19800412|F", b"")

    number = await newest(here, unnamed(1, "13.0", TAKEN), unnamed(2, "5.1", b"20260305"))
    assert "13.0" not in main(await page_of(here, number))


async def test_no_value_before_is_shown_until_it_is_known_whose_the_result_is(jumps: ActingSite) -> None:
    first = await newest(jumps, message(1, "14.0", order="A", patient="9"))
    assert (await jumps.site.labrelay("held", "release", str(first), "--reason", "x", "--yes")).code == 0
    await jumps.site.settled()
    second = message(2, "6.0", order="B", patient="9", at="20260302094500")
    assert before(await page_of(jumps, await newest(jumps, second)))[0].startswith("14.0")
    other = message(3, "6.0", order="C", patient="9", at="20260303094500")
    other = other.replace(b"Canary9^Jane", b"Other^Max").replace(b"19800412|F", b"19501212|M")
    page = await page_of(jumps, await newest(jumps, other))
    assert "two persons" in main(page)
    assert "14.0" not in main(page)
    assert releases(page) == []


async def test_times_are_those_of_the_laboratory_and_states_are_in_the_readers_language(jumps: ActingSite) -> None:
    first = await newest(jumps, message(1, "14.0", order="A", patient="9", at="20260301094500"))
    assert (await jumps.site.labrelay("held", "release", str(first), "--reason", "x", "--yes")).code == 0
    await jumps.site.settled()
    told = message(2, "6.0", order="B", patient="9", at="20260302094500").replace(b"|||F", b"|||P")
    second = await newest(jumps, told)
    assert before(await page_of(jumps, second)) == ["14.0 2026-03-01 09:45"]
    page = await page_of(jumps, second, lang="hi")
    assert "preliminary" not in main(page)
    assert "प्रारंभिक" in main(page)
    assert "बदलें" not in main(page)  # the button of the same English word


async def test_the_worst_flag_stands_at_the_value_and_a_long_name_hides_none(here: ActingSite) -> None:
    said = message(1, "5.1", test=f"HGB^{'x' * 300}").replace(b"|N|||", b"|N~H~LL|||", 1)
    page = await page_of(here, await newest(here, said))
    shown = page.one("main").all("p", class_="value")[0].text
    assert shown.split() == ["5.1", "g/dL", "LL", "critically", "low"]
    assert button(page).endswith("… 5.1 g/dL, critically low ... and 1 more")


async def test_a_long_value_is_shown_to_its_end_and_as_text(here: ActingSite) -> None:
    long = f"<b>नहीं</b> {'no growth, ' * 60}but MRSA"
    said = message(1, "5.1").replace(b"yellow", long.encode()).replace(b"|P|2.5\r", b"|P|2.5||||||UNICODE UTF-8\r")
    page = await page_of(here, await newest(here, said))
    assert long in main(page)
    assert page.one("main").all("b", class_="") == [] or "नहीं" not in [one.text for one in page.one("main").all("b")]


async def test_a_bound_has_no_change(here: ActingSite) -> None:
    bound = message(2, "<5.1", order="A", patient="9", status="C").replace(b"|NM|HGB", b"|SN|HGB").replace(b"<", b"<^")
    page = await page_of(here, await newest(here, message(1, "14.0", order="A", patient="9"), bound))
    assert "%" not in main(page)


async def test_pages_that_are_opened_at_once_are_one_look(here: ActingSite) -> None:
    number = await newest(here, critical(1, "5.1"))
    async with here.browser("operator") as browser:
        found = await asyncio.gather(*(browser.get(f"/held/{number}?lang=en") for _ in range(6)))
    assert {status for status, _ in found} == {200}
    assert looks(here, "operator") == [(number, "decision")]


async def test_what_newer_messages_have_delivered_is_not_offered_for_release(here: ActingSite) -> None:
    said = (message(1, "5.1", order="A", patient="9"), message(2, "9.9", order="A", patient="9", status="C"))
    first, second = await send(here, *said)
    ends = [here.site.end_of(number) for number in (first, second)]
    assert ends == ["held", "delivered"]
    page = await page_of(here, first)
    assert releases(page) == []
    assert "newer messages had" in main(page)
    assert form_of(page, "/do/reject")


async def test_two_who_release_at_once_send_it_once(here: ActingSite) -> None:
    number = await newest(here, critical(1, "5.1"))
    async with here.browser("operator") as one, here.browser("asha") as other:
        forms = [form_of((await who.get(f"/held/{number}?lang=en"))[1], "/do/release") for who in (one, other)]
        given = [who.post(to, {**fields, "reason": "x"}) for who, (to, fields) in zip((one, other), forms, strict=True)]
        assert {status for status, _ in await asyncio.gather(*given)} <= {200, 403, 409}
        await until(lambda: here.site.end_of(number) == "delivered")
        status, page = await one.get(f"/held/{number}?lang=en")
        assert (status, "Nothing of message" in main(page)) == (404, True)
    assert [attempt.destination for attempt in here.site.deliveries(number)] == ["lab-fhir"]
    assert len([one for one in here.site.sandbox.resources("Observation") if "valueQuantity" in one]) == 1


async def test_an_erased_message_shows_nothing(here: ActingSite) -> None:
    number = await newest(here, critical(1, "5.1", patient="9"))
    ran = await here.site.labrelay("erase", "--patient", "9", "--reason", "asked for", "--force", "--yes")
    assert ran.code == 0, ran.err
    async with here.browser("asha") as browser:
        _, page = await browser.get(f"/held/{number}?lang=en")
    assert "5.1" not in main(page)
    assert releases(page) == []


async def test_no_more_than_a_hundred_are_released_together(here: ActingSite) -> None:
    numbers = await send(here, *(without_colour(message(number, "5.1")) for number in range(1, 102)))
    async with here.browser("operator") as browser:
        _, page = await browser.get("/do/release?all=1&lang=en")
        assert page.one("main").all("form") == []
        assert "More than 100" in main(page)
        assert looks(here, "operator") == []
        some = ",".join(map(str, numbers[:100]))
        _, page = await browser.get(f"/do/release?ids={some}&lang=en")
        assert len(page.one("main").all("form")) == 1
        assert len(page.one("tbody").all("tr")) == 100
    ran = await here.site.labrelay("held", "release", "--all", "--reason", "x", "--yes")
    assert (ran.code != 0, "more than 100" in ran.err) == (True, True)


async def test_a_program_that_releases_writes_no_value(here: ActingSite) -> None:
    number = await newest(here, critical(1, "5.1"))
    for more in ((), ("--yes",)):
        ran = await here.site.labrelay("held", "release", str(number), "--reason", "measured twice", *more)
        assert "5.1" not in ran.out + ran.err
    assert looks(here, "root") == []
    await until(lambda: here.site.end_of(number) == "delivered")


async def test_results_that_cannot_be_read_are_released_by_the_api_for_who_sees_contents(tmp_path: Path) -> None:
    rule: Any = [{"when": "=MSH-9.1 == 'ADT'", "reason": "x"}]
    async with acting_site(tmp_path, {"lab": channel(MLLP, {"to": "archive", "hold": rule})}, FOLDERS) as site:
        said = b"MSH|^~\\&|A|B|C|D|20260301101530||ADT^A08|M1|P|2.5\rEVN|A08|20260301101530\rPID|1||9||Canary^Jane\r"
        number = await newest(site, said)
        assert site.site.end_of(number) == "held"
        given: Json = {"selection": {"ids": [number]}, "reason": "seen"}
        for person, status in (("operator", 409), ("asha", 200)):
            async with site.browser(person) as browser:
                made = browser.client.post("/api/v1/acts/release", json=given, headers={"Idempotency-Key": person})
                async with made as answer:
                    assert answer.status == status, await answer.text()
