"""The result where a person decides: who sees it, how often the audit trail has that, what a release says before."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.codecs.astm.records import parse as parse_astm
from adapters.codecs.hl7v2.message import parse
from engine.commands.shared import acting, session
from engine.features.access.service.service import AccessService
from engine.features.results.lists import reading
from engine.features.results.pages import rows
from engine.model.message import FormatOptions
from engine.store.queries.acts import acts_page
from tests.results.test_held_results import held_route, message
from tests.support.access import GOOD, ROOT
from tests.support.acting_pages import ActingSite, acting_site, form_of, offers
from tests.support.command_line import labrelay
from tests.support.running import MLLP, channel
from tests.support.senders import lines, send_blocks
from tests.support.status_server import Element
from tests.support.waiting import until

VALUE, BEFORE = "5.1", "14.0"
# person -> sees the value, may release, looks that two visits of one log-in leave, sees whose it is
ORACLE: dict[str, tuple[bool, bool, int, bool]] = {
    "plain": (False, False, 0, False),  # a viewer
    "viewer": (True, False, 1, True),  # who sees patients besides
    "operator": (True, True, 1, False),
    "asha": (True, True, 1, True),  # an operator who sees patients besides
    "engineer": (True, True, 1, False),
}
RULE = {"when": "=code == 'HGB' and value < 7", "reason": "haemoglobin is critical"}


async def send(site: ActingSite, *messages: bytes) -> list[int]:
    """The numbers of the messages."""
    for one in messages:
        (answer,) = await send_blocks(site.site.port("lab"), [one])
        assert lines(answer)["MSA"][1] == "AA"
    await site.site.settled()
    return [view.id for view in site.site.messages("lab")]


def critical(number: int, value: str, **more: Any) -> bytes:
    return message(number, value, **more).replace(b"|N|||", b"|LL|||", 1)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    route = held_route((RULE,))
    async with acting_site(tmp_path, {"lab": channel(MLLP, route)}) as site:
        accounts = site.site.app.service(AccessService).accounts
        await accounts.users.add("plain", "viewer", GOOD, by=ROOT)
        yield site


def looks(site: ActingSite, person: str) -> list[tuple[int, str]]:
    return [
        (act.what["message"], act.what["purpose"])
        for act in acts_page(site.site.journal, limit=500)
        if act.verb == "unmask" and act.actor == person
    ]


def released(site: ActingSite) -> list[str]:
    return [
        act.what["reason"]
        for act in acts_page(site.site.journal, limit=500)
        if act.verb == "release" and "selection" in act.what
    ]


def main(page: Element) -> str:
    return page.one("main").text


def releases(page: Element) -> list[Element]:
    return page.one("main").all("form", class_="release")


async def test_who_sees_what_is_held_and_each_look_is_known_once(here: ActingSite) -> None:
    sent = (message(1, BEFORE, order="A", patient="9"), critical(2, VALUE, order="A", patient="9", status="C"))
    first, second = await send(here, *sent)
    for person, (sees, may_release, times, sees_patient) in ORACLE.items():
        async with here.browser(person) as browser:
            for _ in range(2):
                status, page = await browser.get(f"/held/{second}?lang=en")
                assert status == 200
                assert (VALUE in main(page)) is sees, person
                assert ("hidden from you" in main(page)) is not sees, person
                assert bool(releases(page)) is may_release, person
                assert "haemoglobin is critical" in main(page)
                assert ("Canary" in main(page)) is sees_patient, person
        assert looks(here, person) == [(second, "decision")] * times
    async with here.browser("operator") as browser:  # another log-in
        await browser.get(f"/held/{second}?lang=en")
        assert (await browser.get(f"/held/{first}?lang=en"))[0] == 404
    assert looks(here, "operator") == [(second, "decision")] * 2


async def test_the_decision_shows_value_range_flag_and_the_value_before(here: ActingSite) -> None:
    sent = (message(1, BEFORE, order="A", patient="9"), critical(2, VALUE, order="A", patient="9", status="C"))
    _, second = await send(here, *sent)
    async with here.browser("operator") as browser:
        _, page = await browser.get("/held?lang=en")
        assert (await browser.get(offers(page)["Decide"]))[0] == 200
        _, page = await browser.get(f"/held/{second}?lang=en")
        assert page.one("main").all("p", class_="value")[0].text.split() == [VALUE, "g/dL", "LL", "critically", "low"]
        for told in (BEFORE, "-8.9 (-64 %)", "HGB", "corrected"):
            assert told in main(page), told
        (form,) = releases(page)
        assert form.one("button").text == f"Release: Hemoglobin {VALUE} g/dL, critically low"
        assert "lab-fhir" in form.text


async def test_the_decision_shows_the_critical_limit_and_the_age_of_the_specimen(tmp_path: Path) -> None:
    (tmp_path / "mappings/tables").mkdir(parents=True)
    (tmp_path / "mappings/tables/critical.csv").write_text("code,unit,low,high\nHGB,g/dL,7,20\n")
    (tmp_path / "mappings/tables/hil.csv").write_text(
        "code,index,high\nHGB,g/dL,3\n"
    )  # of an index, and no limit of it
    rules = ("interference('hil')", "critical('critical')")
    route = held_route(tuple({"when": f"={rule}", "reason": "beyond the limit"} for rule in rules))
    async with acting_site(tmp_path, {"lab": channel(MLLP, route)}) as here:
        (number,) = await send(here, message(1, VALUE))
        async with here.browser("operator") as browser:
            facts = main((await browser.get(f"/held/{number}?lang=en"))[1])
    for told in ("Critical limit", "< 7, > 20 g/dL", "before the measurement"):
        assert told in facts, told
    assert "> 3" not in facts


async def test_who_may_see_patients_sees_the_curve_of_earlier_values(tmp_path: Path) -> None:
    """Of the same person and test, with its table; not of another person, and one look."""
    rule = {
        "when": "=code == 'HGB' and (value < 7 or (known(delta('7d')) and delta('7d') < -50))",
        "reason": "haemoglobin is critical",
    }
    async with acting_site(tmp_path, {"lab": channel(MLLP, held_route((rule,)))}) as here:
        sent = [("14.0", "9", "01"), ("13.25", "9", "02"), ("12.5", "8", "03"), (VALUE, "9", "04")]
        numbers = await send(here, *(
            message(n, value, patient=patient, at=f"202603{day}094500") for n, (value, patient, day) in enumerate(sent)
        ))  # fmt: skip
        for person, sees in (("asha", True), ("operator", False)):
            async with here.browser(person) as browser:
                _, page = await browser.get(f"/held/{numbers[-1]}?lang=en")
            charts = page.one("main").all("div", class_="chart")
            assert len(charts) == int(sees), main(page)
            titles = [one.text for chart in charts for one in chart.all("title")]
            ends = [title.rpartition(": ")[2] for title in titles]
            assert ends == (["14.00", "13.25", "5.10"] if sees else []), person
        assert looks(here, "asha") == [(numbers[-1], "decision")]


# ORC-12 and OBR-16 of the order, and who is shown.
ASKED = (
    ("77^Menon^Vikram^R^^Dr", "", "Dr Vikram R Menon"),
    ("", "77^Menon^Vikram^^^Dr", "Dr Vikram Menon"),
    ("12^Rao", "77^Menon", "Rao"),  # who placed the order, before whom the analyzer names
    ("", "77", "77"),
    ("", "~77^Menon", ""),  # nothing is made up of a further one
    ("", "^O\\T\\Neil~78^Rao", "O&Neil"),
    ("", "", ""),
)


@pytest.mark.parametrize(("placed", "named", "shows"), ASKED)
def test_who_asked_is_read_as_the_order_says_it(placed: str, named: str, shows: str) -> None:
    order = f"ORC|RE|O1|F1|||||||||{placed}\rOBR|1|O1|F1|CBC||||||||||||{named}\r"
    parsed = parse(
        f"MSH|^~\\&|A|B|C|D|20260301||ORU^R01|M1|P|2.5.1\rPID|1\r{order}OBX|1|NM|HGB||5|g/dL\r".encode(),
        FormatOptions(),
    )
    assert dict(reading._askers(parsed, parsed.root)) == ({1: shows} if shows else {})


@pytest.mark.parametrize(("said", "shows"), [("Dr.Who", "Dr.Who"), ("Menon^Vikram^^^Dr", "Dr Vikram Menon"), ("", "")])
def test_an_order_in_astm_says_who_asked_too(said: str, shows: str) -> None:
    order = f"O|2|S2||^^^K|R|||||||||||{said}\rR|1|^^^K|4.1|mmol/L\rL|1|N\r"
    parsed = parse_astm(f"H|\\^&|||X\rP|1\rO|1|S1||^^^GLU|R\rR|1|^^^GLU|5|mmol/L\r{order}".encode(), FormatOptions())
    assert dict(reading._askers(parsed, parsed.root)) == ({2: shows} if shows else {})


async def test_who_may_see_patients_sees_who_asked(here: ActingSite) -> None:
    (number,) = await send(
        here, critical(1, VALUE).replace(b"OBR|1|O1|F-O1|", b"ORC|RE|||||||||||77^Menon^Vikram\rOBR|1|O1|F-O1|")
    )
    for person, sees in (("asha", True), ("operator", False)):
        async with here.browser(person) as browser:
            _, page = await browser.get(f"/held/{number}?lang=en")
        assert VALUE in main(page)
        assert ("Asked by Vikram Menon" in main(page)) is sees, person


async def test_a_release_keeps_who_was_told_and_a_rejection_needs_a_reason(here: ActingSite) -> None:
    first, second = await send(here, critical(1, VALUE), critical(2, "5.2"))
    async with here.browser("operator") as browser:
        _, page = await browser.get(f"/held/{second}?lang=en")
        action, fields = form_of(page, "/do/reject")
        status, page = await browser.post(action, {**fields, "reason": " ", "informed": "Dr. Rao"})
        assert status == 403
        _, page = await browser.get(f"/held/{first}?lang=en")
        action, fields = form_of(page, "/do/release")
        given = {**fields, "reason": "measured twice", "informed": "Dr. Rao", "read_back": "yes"}
        assert (await browser.post(action, given))[0] == 200
    await until(lambda: here.site.end_of(first) == "delivered")
    assert released(here) == ["measured twice; informed: Dr. Rao; read back"]
    assert here.site.end_of(second) == "held"


async def test_a_release_of_many_shows_each_value(here: ActingSite) -> None:
    sent = await send(here, critical(1, VALUE), critical(2, "5.2"), message(3, "5.3"))
    async with here.browser("operator") as browser:
        _, page = await browser.get("/held?lang=en")
        _, page = await browser.get(offers(page)["Release"])
        for value in (VALUE, "5.2", "5.3"):
            assert f"{value} g/dL" in main(page)
        assert sorted(looks(here, "operator")) == [(number, "decision") for number in sent]
        action, fields = form_of(page, "/do/release")
        assert (await browser.post(action, {**fields, "reason": "controls are right"}))[0] == 200
    await until(lambda: {here.site.end_of(n) for n in sent} == {"delivered"})
    assert released(here) == ["controls are right"]


async def test_the_command_and_the_api_say_the_same(here: ActingSite, monkeypatch: pytest.MonkeyPatch) -> None:
    (number,) = await send(here, critical(1, VALUE, patient="9"))
    shown = (
        await here.site.labrelay("held", "show", str(number), "--unmask", "--purpose", "a test", "-o", "json")
    ).json
    (row,) = [one for one in shown["held"][0]["results"] if one["held"]]
    assert (row["value"], row["unit"], row["test"], row["critical"]) == (VALUE, "g/dL", "HGB", True)
    given = {"message": number, "purpose": "a program asks"}
    for person, status in (("plain", 403), ("operator", 200)):
        async with (
            here.browser(person) as browser,
            browser.client.post("/api/v1/held-results", json=given) as answer,
        ):
            assert answer.status == status
            found = await answer.json()
    assert next(iter(found["results"].values()))[0] == row
    for module in (acting, session):  # a person is there
        monkeypatch.setattr(module, "on_terminal", lambda: True)
    release = ("held", "release", str(number), "--reason", "measured twice")
    ran = await asyncio.to_thread(labrelay, *release, site=here.site.folder, given="y\n")
    assert ran.code == 0
    assert f"{VALUE} g/dL" in ran.err
    assert VALUE not in ran.out
    purposes = [act.what["purpose"] for act in acts_page(here.site.journal) if act.verb == "unmask"]
    assert purposes == ["decision", "a program asks", "a test"]


async def test_a_row_of_the_list_has_the_result_for_who_sees_patients(here: ActingSite) -> None:
    """Others see which test it is; a look of a row is known once, as that of the decision."""
    first, second = message(1, BEFORE, order="A", patient="9"), critical(2, VALUE, order="A", patient="9")
    _, held = await send(here, first, second)
    for person, (sees, *_) in {"plain": (False,), "operator": (False,), "asha": (True,), "viewer": (True,)}.items():
        async with here.browser(person) as browser:
            for _ in range(2):
                _, page = await browser.get("/held?lang=en")
                (row,) = [one for one in page.one("main").all("tr") if one.attributes.get("id", "").startswith("l-")]
                for told in (f"{VALUE} g/dL", f"{BEFORE}", "-8.9 (-64 %)"):
                    assert (told in row.text) is sees, (person, told)
                assert ("hidden" in row.text) is not sees, person
                assert "haemoglobin is critical" in row.text
            await browser.get(f"/held/{held}?lang=en")
        assert looks(here, person) == [(held, "decision")] * (person != "plain"), person


async def test_a_decision_about_many_results_is_read_in_parts(here: ActingSite) -> None:
    """Each of them is there once, what is decided about first; nothing says that it cannot be read."""
    head, obx = critical(1, VALUE).split(b"OBX|", 1)
    lines_ = [b"OBX|" + obx.partition(b"\r")[0]]
    for n in range(2, 1204):
        lines_.append(b"OBX|%d|NM|T%04d^Test %d^L||%d|g/dL|||||F" % (n, n, n, n))
    (number,) = await send(here, head + b"\r".join(lines_) + b"\r")
    assert here.site.end_of(number) == "held"
    found: list[str] = []
    async with here.browser("operator") as browser:
        address = f"/held/{number}?lang=en"
        while address:
            _, page = await browser.get(address)
            assert "cannot be read" not in main(page)
            rows = page.one("main").all("table", class_="rows")[0].one("tbody").all("tr")
            assert len(rows) <= 500
            found += [row.one("th").one("strong").text for row in rows]
            assert len(releases(page)) == 1
            after = page.one("main").all("a", rel="next")
            address = after[0].attributes["href"] if after else ""
    assert len(found) == len(set(found)) == 1203
    assert found[0] == "Hemoglobin"


async def test_decisions_are_walked_in_the_order_of_the_list(here: ActingSite) -> None:
    """Critical ones first. The list's own order is the oracle."""
    sent = [message(n, VALUE, order=f"O{n}", patient=f"P{n}") for n in (1, 2)]
    numbers = await send(here, critical(0, VALUE, order="O0", patient="P0"), *sent)
    async with here.browser("operator") as browser:
        rejected = numbers.pop(1)
        _, page = await browser.get(f"/held/{rejected}?lang=en")
        action, fields = form_of(page, "/do/reject")
        await browser.post(action, {**fields, "reason": "clotted"})
        await until(lambda: here.site.end_of(rejected) == "rejected")
        _, page = await browser.get("/held?lang=en")
        listed = [href.partition("?")[0] for href in hrefs(page) if href.startswith("/held/")]
        listed = list(dict.fromkeys(listed))
        beside = {}
        for path in listed:
            _, page = await browser.get(f"{path}?lang=en")
            links = page.one("main").one("span", class_="pair").all("a")
            beside[path] = {one.attributes["rel"]: one.attributes["href"].partition("?")[0] for one in links}
    assert listed == [f"/held/{numbers[0]}", f"/held/{numbers[1]}"]
    assert beside == {listed[0]: {"next": listed[1]}, listed[1]: {"prev": listed[0]}}


def hrefs(page: Element) -> list[str]:
    return [one.attributes["href"] for one in page.one("main").all("a")]


@pytest.mark.parametrize(
    ("value", "ends", "earlier", "shown"),
    [
        ("5", "4-6", None, (8.0, 92.0, 50.0, None, False)),
        ("8", "4 - 6", None, (8.0, 50.0, 92.0, None, True)),
        ("4", "4-6", "2", (50.0, 92.0, 50.0, 8.0, False)),
        ("-1.5", "-1--0.5", None, (50.0, 92.0, 8.0, None, True)),
        ("5", "6-4", None, None),
        ("5", "5-5", None, None),
        ("<5", "4-6", None, None),
        ("5,1", "4-6", None, None),
        ("5", "4,0-6,0", None, None),
        ("5", "<6", None, None),
        ("5", "", None, None),
        ("5", "4-6-8", None, None),
        ("5", "4-6", "<2", (8.0, 92.0, 50.0, None, False)),
    ],
)
def test_a_bar_is_drawn_of_plain_numbers_alone(
    value: str, ends: str, earlier: str | None, shown: tuple[float, float, float, float | None, bool] | None
) -> None:
    assert rows.bar({"value": value, "range": ends, "earlier": earlier}) == shown
