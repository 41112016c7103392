"""A message and its document lead to each other: field, rule, element; and what today's mapping would make of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from engine.config.site import mapping_path
from engine.mapping.trying.inputs import Mapper
from engine.mapping.trying.testing import Runner, read_tests
from engine.model.message import FormatOptions, MapContext, Received
from engine.model.routes import ChannelRoutes, Route, routed_by
from engine.processing.process import process
from engine.store.core.writing.batch import Batch
from engine.store.operations import append, record_outcome
from engine.web.pages import contents
from tests.support import access, shipped
from tests.support.access import Browser, Site
from tests.support.journals import NOW_US, opened
from tests.support.revealed import Known, reveal
from tests.support.status_server import Element

CHANNEL, CONFIG = "xn", "3f9ac1d20000"
MAPPED, DEAD, LATER = 1, 2, 3
MESSAGE = (
    "MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|C1|P|2.5\r"
    "PID|1||77^^^HOSP^MR||SHARMA^ANITA\r"
    "OBR|1|O1|F1|CBC\r"
    "OBX|1|NM|718-7^Hemoglobin^LN||14.1|g/dL|||||F\r"
)
# What a person asks for -> a field, an element and the start of a rule that are marked.
ASKED = {
    "PID-3": ("PID-3", '"value": "77"', "lab.yaml:"),
    "OBX-5": ("OBX-5", '"value": 14.1', "lab.yaml:"),
    "Patient[1].identifier[0].value": ("PID-3", '"value": "77"', "lab.yaml:"),
    "Observation[1].valueQuantity.value": ("OBX-5", '"value": 14.1', "lab.yaml:"),
}


@pytest.fixture
def routes() -> dict[str, ChannelRoutes]:
    context = MapContext(channel=CHANNEL, key=b"k" * 32, timezone="Asia/Kolkata", patient_numbers="lasting")
    route = Route(when=None, program=shipped.program("hl7-results"), to=("archive",))
    made = ChannelRoutes(
        channel=CHANNEL, message_format=hl7v2, media_type="", options=FormatOptions(charsets=("utf-8",)),
        routes=(route,), context=context,
    )  # fmt: skip
    return {CHANNEL: made}


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def here(tmp_path: Path, known: Known, routes: dict[str, ChannelRoutes]) -> AsyncIterator[Site]:
    def planted(batch: Batch) -> None:
        batch.config = int(CONFIG, 16)
        for payload in (MESSAGE, MESSAGE.replace("|14.1|", "|14.1;2|").replace("O1", "O2"), MESSAGE):
            received = Received(
                channel=CHANNEL, payload=payload.encode(), received_us=NOW_US, control_id="", message_type="ORU^R01"
            )
            stored = append.store_message(batch, received, repeat_window_s=0.0)
            outcome = process(stored, routes[CHANNEL])
            record_outcome.record(
                batch, stored.id, outcome, [routed_by(route, one) for one, route in outcome.documents]
            )

    def plant() -> None:
        journal = opened(tmp_path)
        journal.run_alone(planted)
        journal.close()

    await asyncio.to_thread(plant)
    async with access.site(tmp_path, verbs=known.verbs, channels=lambda: routes) as made:
        await made.add("seer", "viewer", sees_patients=True)
        yield made


def marked(page: Element) -> tuple[list[str], list[str], list[str]]:
    """The fields, the lines of the document and the rules that are marked."""
    fields = [row.one("code").text for row in page.all("tr", class_="marked")]
    lines = page.all("li", class_="marked")
    return fields, [line.one("code").text for line in lines], [line.all("span")[0].text for line in lines]


async def test_a_field_has_its_name_its_value_and_what_came_of_it(seer: Browser) -> None:
    _, page = await reveal(seer, MAPPED, part="fields")
    row = page.one("tr", id="f-PID-1-5-1")
    assert [row.one("code").text, row.one("th").text, row.one("bdi").text] == [
        "PID-5.1",
        "PID-5.1 Family name",
        "SHARMA",
    ]
    value = page.one("tr", id="f-OBX-1-5")
    link = next(one for one in value.all("a") if one.text == "Observation[1].valueQuantity.value")
    line = await target(seer, link, "li")
    assert '"value": 14.1' in line.text
    back = next(one for one in line.all("a") if one.text == "OBX-5")
    assert (await target(seer, back, "tr")).text == value.text


async def target(seer: Browser, link: Element, tag: str) -> Element:
    """What a link leads to, on another part."""
    path, _, anchor = link.attributes["href"].partition("#")
    _, page = await seer.get(path)
    return page.one(tag, id=anchor)


async def test_a_field_of_the_text_is_named_with_its_rule(seer: Browser) -> None:
    """Hover shows the title; focus shows it by the style sheet."""
    _, page = await reveal(seer, MAPPED)
    name = next(one for one in page.one("pre", class_="raw").all("a") if one.text == "14.1")
    assert "OBX-5" in (await target(seer, name, "tr")).text
    assert name.attributes["title"].startswith("OBX-5 · Observation value · lab.yaml:")


@pytest.mark.parametrize("at", ASKED)
async def test_what_is_asked_for_is_marked_both_ways(seer: Browser, at: str) -> None:
    field, element, rule = ASKED[at]
    _, page = await reveal(seer, MAPPED, part="fields", at=at)
    assert field in marked(page)[0]
    assert page.one("input", id="at").attributes["value"] == at
    _, page = await seer.get(page.one("nav", class_="tabs").all("a")[-1].attributes["href"])
    _, lines, rules = marked(page)
    assert any(element in line for line in lines)
    assert any(rule in one for one in rules)


async def test_what_is_not_there_is_said(seer: Browser) -> None:
    _, page = await reveal(seer, MAPPED, at="OBX-77")
    assert marked(page) == ([], [], [])
    assert "OBX-77: nothing was sent there" in page.one("main").text
    assert [one.text for one in page.all("span", lang="en") if "OBX-77" in one.text]


async def test_the_address_of_a_field_can_be_sent(seer: Browser) -> None:
    _, page = await reveal(seer, MAPPED)
    _, page = await seer.get(f"/messages/{MAPPED}?lang=en&part=fields&at=OBX-5")
    assert page.one("input", id="at").attributes["value"] == "OBX-5"
    assert "OBX-5" in marked(page)[0]


async def test_a_dead_message_says_where_the_mapping_stops(seer: Browser, routes: dict[str, ChannelRoutes]) -> None:
    strict = replace(routes[CHANNEL].context, settings={}, timezone="Asia/Kolkata")
    route = replace(routes[CHANNEL].routes[0], program=shipped.program("hl7-patients"))
    routes[CHANNEL] = replace(routes[CHANNEL], context=strict, routes=(route,))
    status, page = await reveal(seer, MAPPED, part="fields")
    assert status == 200
    assert "The mapping stops here:" in page.text
    assert page.one("tr", id="f-PID-1-5")


async def test_the_mapping_and_its_configuration_are_named(seer: Browser, routes: dict[str, ChannelRoutes]) -> None:
    program = routes[CHANNEL].routes[0].program
    _, page = await seer.get(f"/messages/{MAPPED}?lang=en")
    facts = {one.one("dt").text: one.one("dd").text for one in page.one("dl", class_="facts").all("div")}
    assert facts["Mapping"] == f"{program.name}@{program.content_hash[:12]}"
    assert facts["Configuration"] == f"{CONFIG}, not the one in force"
    assert "The mapping has changed since" not in page.text


async def test_another_mapping_since_is_said_and_its_document_compared(
    seer: Browser, routes: dict[str, ChannelRoutes]
) -> None:
    _, page = await reveal(seer, MAPPED, part="document")
    assert page.one("p", id="now").text == "Today's mapping makes the same document."
    program = replace(routes[CHANNEL].routes[0].program, content_hash="0" * 64)
    route = replace(routes[CHANNEL].routes[0], program=program)
    other = replace(routes[CHANNEL].context, timezone="UTC")
    routes[CHANNEL] = replace(routes[CHANNEL], routes=(route,), context=other)
    _, page = await seer.get(f"/messages/{MAPPED}?lang=en")
    assert "The mapping has changed since." in page.text
    _, page = await reveal(seer, MAPPED, part="document")
    assert "today it would make another document" in page.one("p", id="now").text
    rows = page.all("tbody")[-1].all("tr")
    changed = {row.one("code").text: [one.text for one in row.all("bdi")] for row in rows}
    assert changed["Bundle.timestamp"] == ["2026-03-01T10:15:30+05:30", "2026-03-01T10:15:30+00:00"]


@pytest.mark.parametrize(("form", "charset", "names"), [
    ("", "", ["PID-5.1"]), ("hl7v2", "latin-1", ["PID-5.1"]), ("astm", "", []), ("json", "", []),
    ("x", "x", ["PID-5.1"]),
])  # fmt: skip
async def test_it_can_be_read_as_something_else(seer: Browser, form: str, charset: str, names: list[str]) -> None:
    status, page = await reveal(seer, MAPPED, part="fields", charset=charset, **{"as": form})
    assert status == 200
    found = [row.one("code").text for row in page.all("tr", class_="part")]
    assert [name for name in names if name not in found] == []
    assert bool(names) is not ("Its fields cannot be shown" in page.text)
    _, page = await reveal(seer, MAPPED, charset=charset, **{"as": form})
    assert "4d 53 48 7c" in page.text


def links(page: Element, rel: str) -> list[str]:
    return [one.attributes["href"] for one in page.all("a", rel=rel)]


async def test_neighbours_in_the_list_are_links_that_keep_it(seer: Browser) -> None:
    """The list that led here is in the address; a message that came later is not in it."""
    _, page = await seer.get("/messages?since=all&channel=xn&lang=en")
    first = page.one("tbody").all("tr")[0].one("a").attributes["href"]
    walked = []
    href = [first]
    while href:
        _, page = await seer.get(href[0])
        walked.append((page.one("h1").text.split()[1], page.one("main").all("p")[0].text))
        last, href = page, links(page, "next")
    assert [number for number, _ in walked] == ["3", "2", "1"]
    assert "1 of 3" in walked[0][1]
    assert "3 of 3" in walked[2][1]
    _, page = await seer.get(links(last, "prev")[0])
    assert "2 of 3" in page.text
    back = page.one("main").all("a")[0].attributes["href"]
    assert "channel=xn" in back
    _, page = await seer.get("/messages/2?lang=en")
    assert page.all("a", rel="next") == []


@pytest.mark.parametrize("query", ["sealed=x&bears=77", "bears=77", "sealed="])
async def test_no_neighbours_confirm_a_patient(seer: Browser, query: str) -> None:
    """A list by a patient's number asks who may see it each time, and notes it: the page of one message does not."""
    _, plain = await seer.get("/messages/2?since=all&top=3&lang=en")
    _, page = await seer.get(f"/messages/2?since=all&top=3&lang=en&{query}")
    found = page.one("main").all("p")[0].text
    assert found == ("To the messages" if query.startswith("sealed=x") else plain.one("main").all("p")[0].text)


async def as_test(seer: Browser, number: int, purpose: str = "a question") -> tuple[int, Element]:
    _, page = await reveal(seer, number)
    form = next(one for one in page.all("form") if one.attributes["action"].startswith(f"/messages/{number}/test"))
    fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
    return await seer.post(form.attributes["action"], fields | {"purpose": purpose})


@pytest.mark.parametrize("number", [MAPPED, DEAD])
async def test_a_message_is_copied_as_a_mapping_test_that_passes(
    seer: Browser, known: Known, routes: dict[str, ChannelRoutes], tmp_path: Path, number: int
) -> None:
    status, page = await as_test(seer, number)
    assert status == 200
    assert known.reveals()[0] == ("seer", number, "a question")
    text = "".join(page.one("textarea").pieces).removeprefix("\n")
    assert [one for one in ("SHARMA", "ANITA", "77^^^", "O1|F1") if one in text] == []
    assert "OBX|1|NM|718-7^" in text
    assert ("|14.1|" in text) is (number == MAPPED)
    path = tmp_path / "copied.yaml"
    path.write_text(text, encoding="utf-8")
    (test,) = read_tests(path)

    def as_channel(name: str, mapping: str) -> Mapper:
        assert name == CHANNEL
        return Mapper(mapping_path(None), mapping, options=routes[name].options, context=routes[name].context)

    outcome = Runner(as_channel=as_channel).run(test, mapping_path(None))
    assert outcome.failures == []
    assert test.expect is not None
    assert {key.value for key, _ in test.expect.pairs} >= {"counts", "issues", "unmapped"}


async def test_what_cannot_be_a_test_is_said(seer: Browser, known: Known, routes: dict[str, ChannelRoutes]) -> None:
    assert (await as_test(seer, MAPPED, ""))[0] == 400
    assert known.reveals()[0][2] == "a call"  # of the contents before
    routes.clear()
    _, page = await as_test(seer, MAPPED)
    assert (
        page.one("main").one("p", role="alert").text
        == "No test can be made of it: Its analyzer is not configured any more."
    )


async def test_a_large_message_is_shown_without_its_rules(seer: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_EXPLAINED", len(MESSAGE) - 1)
    status, page = await reveal(seer, MAPPED, part="fields")
    assert status == 200
    assert f"`labrelay explain {MAPPED}` does it" in page.text
    assert page.one("tr", id="f-PID-1-5-1").one("bdi").text == "SHARMA"
    _, page = await reveal(seer, MAPPED)
    assert [one for one in page.all("a") if one.attributes["href"].endswith("#f-PID-1-3-1")]
