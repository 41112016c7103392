"""Orders on the page: lists by harm, the query log, one tube's time line, acts of a person; over a real line."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from engine.features.orders.exchange.download import PUT_OFF
from engine.features.orders.pages import acts as order_acts
from engine.features.orders.pages import words as order_words
from engine.features.orders.rows import reading
from engine.features.orders.rows.answering import UNCONFIRMED
from engine.features.orders.rows.holding import TWIN
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rules.order_rules import ENOUGH, ItemEvent, Standing, step
from engine.model.link_events import NOT_SENT
from engine.model.orders import ItemReason, ItemState, NoOrder, Question
from engine.store.queries.acts import acts_page
from engine.store.queries.line import line_of
from tests.support.access import Browser
from tests.support.acting_pages import ActingSite, acting_site, alert, form_of, offers
from tests.support.asking import asking, question, result
from tests.support.running import astm_channel
from tests.support.status_server import Element
from tests.support.waiting import until

TUBE, PATIENT, FAMILY = "0042A", "P-170", "SHARMA"
SECRETS = (TUBE, PATIENT, FAMILY)
ORDERS = {"answer": "query", "codes": {"TSH": "TSH3", "FERR": "Ferritin"}, "deadline": "60s"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"chemistry": astm_channel(orders=ORDERS)}) as site:
        yield site


@pytest.fixture
async def operator(here: ActingSite) -> AsyncIterator[Browser]:
    async with here.browser("operator") as browser:
        yield browser


async def ordered(
    here: ActingSite, specimen: str = TUBE, *tests: str, patient: str = PATIENT, priority: str = "routine"
) -> None:
    arguments = ("--patient", patient, "--family", FAMILY, "--priority", priority)
    ran = await here.site.labrelay("orders", "add", specimen, *(tests or ("TSH",)), *arguments)
    assert ran.code == 0, ran.err


def state(here: ActingSite, number: int = 1) -> str:
    found = reading.item(here.site.journal, number)
    return found.item.state.value if found is not None else ""


def counts(page: Element) -> dict[str, int]:
    """The lists that the page leads to, each with its count."""
    links = page.one("nav", **{"aria-label": "Lists of orders"}).all("a")
    words = {text: one.one("strong").text for one in links for text in [one.text.removesuffix(one.one("strong").text)]}
    return {text.strip(): int(count) for text, count in words.items()}


def rows(page: Element) -> list[str]:
    return [row.text for body in page.one("main").all("tbody") for row in body.all("tr")]


async def asked(here: ActingSite, specimen: str) -> None:
    async with asking(here.site.port("chemistry")) as analyzer:
        await analyzer.ask(question(specimen))


def assert_no_secret(page: Element) -> None:
    assert [one for one in SECRETS if one in page.text] == []


async def test_an_order_moves_through_the_lists_and_its_tube_tells_it(here: ActingSite, operator: Browser) -> None:
    await ordered(here, TUBE, "TSH", "FERR")
    _, page = await operator.get("/orders?lang=en")
    assert counts(page) == {"Waiting": 2}
    assert len(rows(page)) == 2
    await asked(here, TUBE)
    await until(lambda: state(here) == "offered")
    async with asking(here.site.port("chemistry")) as analyzer:
        await analyzer.send(result(TUBE, PATIENT, "TSH3", "1.20"))
    await until(lambda: state(here) == "resulted")
    _, page = await operator.get("/orders?tab=done&lang=en")
    assert counts(page) == {"At the analyzer": 1, "Ended": 1}
    (row,) = rows(page)
    assert "measured" in row
    measured = page.one("tbody").one("tr").all("a")[-1]

    status, tube = await operator.get("/order?item=W1&lang=en")
    assert status == 200
    assert [
        step in tube.text
        for step in (
            "W1 TSH: ordered",
            "W2 FERR: given to the analyzer",
            "chemistry asked: orders given: 2",
            "W1 TSH: the result came",
        )
    ] == [True] * 4
    links = {one.attributes["href"] for one in tube.one("ol").all("a")}
    assert measured.attributes["href"] in links
    assert any(link.startswith("/order?question=1") for link in links)
    for link in links:
        assert (await operator.get(link))[0] == 200, link
    _, by_question = await operator.get("/order?question=1&lang=en")
    assert rows(by_question) == rows(tube)
    for seen in (page, tube, by_question):
        assert_no_secret(seen)


async def test_the_query_log_says_what_was_given_or_why_nothing(here: ActingSite, operator: Browser) -> None:
    await ordered(here)
    await asked(here, TUBE)
    await until(lambda: state(here) == "offered")
    await asked(here, "unknown-9")
    await until(lambda: [one.outcome for one in queries(here.site.journal)] == ["sent", "sent"])
    _, page = await operator.get("/questions?lang=en")
    none, given = rows(page)
    assert ("none: no order has this number" in none, "sent" in none, none.count("no order")) == (True, False, 2)
    assert ("TSH3" in given, "sent" in given) == (True, True)
    _, page = await operator.get("/questions?tab=questions&lang=en")
    assert (len(rows(page)), counts(page)["Questions unanswered"]) == (1, 1)
    assert "unknown-9" not in page.text
    status, tube = await operator.get("/order?question=2&lang=en")
    assert (status, "No order is there for this tube." in tube.text, "no order has this number" in tube.text) == (
        200,
        True,
        True,
    )
    (entry,) = [
        one for one in (await here.site.labrelay("todo", "list", "-o", "json")).json["todo"] if "orders" in one["key"]
    ]
    assert (entry["words"], entry["count"]) == ("Questions of analyzers without an answer: 1", 1)


async def test_a_result_without_an_order_leads_to_its_tube(here: ActingSite, operator: Browser) -> None:
    async with asking(here.site.port("chemistry")) as analyzer:
        await analyzer.send(result(TUBE, PATIENT, "TSH3", "1.20"))
    await here.site.settled()
    _, page = await operator.get("/orders?lang=en")
    assert counts(page)["Results without order"] == 1
    _, page = await operator.get("/orders?tab=without&lang=en")
    (row,) = page.one("tbody").all("tr")
    message, tube = (one.attributes["href"] for one in row.all("a"))
    assert (await operator.get(message))[0] == 200
    _, page = await operator.get(tube)
    assert "Results without order: 1" in page.text
    assert_no_secret(page)


async def test_a_result_is_matched_with_an_order_of_its_tube_and_that_is_undone(
    here: ActingSite, operator: Browser
) -> None:
    assert (await here.site.labrelay("pause", "destination", "lab-fhir", "--reason", "first", "--yes")).code == 0
    async with asking(here.site.port("chemistry")) as analyzer:
        await analyzer.send(result(TUBE, PATIENT, "TSH3", "1.20"))
    await until(lambda: bool(reading.without_order(here.site.journal)))
    (without,) = reading.without_order(here.site.journal)
    await ordered(here)  # it comes after its result
    await ordered(here, "another-tube")
    _, page = await operator.get(f"/order?message={without.message_id}&lang=en")
    assert len(rows(page)) == 1
    text = f"Match with message {without.message_id}"
    status, page = await operator.get(offers(page)[text])
    facts = dict(zip([one.text for one in page.all("dt")], [one.text for one in page.all("dd")], strict=True))
    shown = [facts[name] for name in ("Test", "Result in message", "Codes of results without order")]
    assert (status, shown) == (200, ["TSH", str(without.message_id), "TSH3"])
    assert_no_secret(page)
    action, fields = form_of(page, "/order/match")
    status, refused = await operator.post(action.replace("W1", "W2"), {**fields, "reason": "same tube"})
    assert (status, "of the specimen number of W2" in alert(refused), state(here, 2)) == (403, True, "waiting")
    _, page = await operator.post(action, {**fields, "reason": "same tube", "once": "9"})
    assert (state(here), "A person says that this result is of this order." in page.text) == ("resulted", True)

    undo = offers(page)["Undo the match"]
    _, page = await operator.get(undo)
    action, fields = form_of(page, "/order/unmatch")
    await operator.post(action, {**fields, "reason": "wrong test"})
    assert state(here) == "waiting"

    _, page = await operator.get(f"/order?message={without.message_id}&lang=en")
    _, page = await operator.get(offers(page)[text])
    action, fields = form_of(page, "/order/match")
    await operator.post(action, {**fields, "reason": "same tube"})
    assert state(here) == "resulted"
    assert (await here.site.labrelay("resume", "destination", "lab-fhir", "--reason", "go on", "--yes")).code == 0
    await until(lambda: here.site.end_of(without.message_id) == "delivered")
    _, page = await operator.get(undo)
    action, fields = form_of(page, "/order/unmatch")
    status, page = await operator.post(action, {**fields, "reason": "wrong test"})
    assert (status, "cannot be undone" in alert(page), state(here)) == (403, True, "resulted")


@pytest.mark.parametrize(("name", "before", "after"), [
    ("cancel", "waiting", "cancelled"),
    ("release", "held", "waiting"),
    ("resend", "offered", "waiting"),
])  # fmt: skip
async def test_an_act_asks_first_and_is_done_once(
    here: ActingSite, operator: Browser, name: str, before: str, after: str
) -> None:
    await ordered(here)
    if before == "held":
        await ordered(here, TUBE, "FERR", patient="another")
        assert (await here.site.labrelay("orders", "cancel", "W2", "--reason", "wrong tube")).code == 0
    if before == "offered":
        await asked(here, TUBE)
    await until(lambda: state(here) == before)
    _, page = await operator.get("/order?item=W1&lang=en")
    deed = order_acts.DEEDS[name]
    address = offers(page)[deed.button]
    status, page = await operator.get(address)
    assert (status, deed.what.format(order="W1") in page.text, deed.then in page.text) == (200, True, True)
    assert ("measure it twice" in alert(page)) == (name == "resend")
    assert_no_secret(page)
    assert state(here) == before

    action, fields = form_of(page, f"/order/{name}")
    for changed, refused in (({"reason": ""}, 403), ({"form": "0"}, 403), ({"once": ""}, 400)):
        assert (await operator.post(action, {**fields, "reason": "x", **changed}))[0] == refused, changed
        assert state(here) == before, changed
    for _ in range(2):  # a second press
        status, page = await operator.post(action, {**fields, "reason": "because"})
        assert (status, operator.path, state(here)) == (200, "/order?item=W1", after)
    (act,) = [
        one for one in acts_page(here.site.journal) if one.verb == f"order-{name}" and str(one.actor) == "operator"
    ]
    assert act.what["reason"] == "because"
    assert "because" not in page.text  # this person may not read reasons
    async with here.browser("ravi") as ravi:
        _, page = await ravi.get("/order?item=W1&lang=en")
        assert "by operator: because" in page.text


async def test_orders_in_conflict_stand_beside_each_other_with_the_answers(here: ActingSite, operator: Browser) -> None:
    """Of two patients under one number: which fields differ, persons for a purpose alone, and whose the tube is."""
    await ordered(here)
    await ordered(here, TUBE, "FERR", patient="another")
    async with here.browser("viewer") as viewer:
        _, page = await viewer.get("/order?item=W1&lang=en")
        assert (len(page.all("table", class_="compare")), page.one("main").all("form", class_="")) == (1, [])
    _, page = await operator.get("/order?item=W2&lang=en")
    assert_no_secret(page)
    differing = [row.one("th").text for row in page.one("table", class_="compare").all("tr", class_="differs")]
    assert {"Patient", "Test"} <= set(differing)
    assert offers(page) == {}  # they are the answers
    async with here.browser("asha") as asha:
        _, page = await asha.get("/order?item=W2&lang=en")
        action, fields = form_of(page, "/order")
        _, page = await asha.post(action, {**fields, "purpose": "whose is it"})
        assert all(one in page.one("table", class_="compare").text for one in (PATIENT, "another", TUBE))
    _, page = await operator.get("/order?item=W2&lang=en")
    action, fields = form_of(page, "/order/cancel")
    await operator.post(action, {**fields, "reason": "wrong tube"})
    assert (state(here, 2), state(here)) == ("cancelled", "held")
    _, page = await operator.get("/order?item=W1&lang=en")
    assert (page.all("table", class_="compare"), "Release" in offers(page)) == ([], True)


async def test_what_its_state_does_not_allow_is_refused(here: ActingSite, operator: Browser) -> None:
    await ordered(here)
    for address, said in (
        ("/order/release?item=W1", "does not allow this: waiting"),
        ("/order/resend?item=W1", "does not allow this: waiting"),
        ("/order/cancel?item=W9", "no order W9"),
        ("/order/cancel?item=<b>", "no order"),
    ):
        got, page = await operator.get(f"{address}&lang=en")
        assert (got >= 400, said in alert(page)) == (True, True), (address, got, alert(page))
        assert page.one("main").all("form") == []
    for address in ("/order?item=W9", "/order?item=nothing", "/order?question=7", "/order?message=1", "/order"):
        assert (await operator.get(address))[0] == 404, address
    for address in ("/orders?tab=none", "/questions?tab=none"):
        assert (await operator.get(address))[0] == 400, address
    async with here.browser("viewer") as viewer:
        _, page = await viewer.get("/order?item=W1&lang=en")
        assert offers(page) == {}
        assert (await viewer.get("/order/cancel?item=W1"))[0] == 403


async def test_tube_and_patient_are_shown_for_a_purpose_alone(here: ActingSite, operator: Browser) -> None:
    await ordered(here)
    _, page = await operator.get("/order?item=W1&lang=en")
    assert page.one("main").all("form", method="post") == []
    async with here.browser("asha") as asha:
        _, page = await asha.get("/order?item=W1&lang=en")
        assert_no_secret(page)
        action, fields = form_of(page, "/order")
        status, page = await asha.post(action, {**fields, "purpose": ""})
        assert (status, "Say what you look at it for." in alert(page)) == (400, True)
        assert_no_secret(page)
        status, page = await asha.post(action, {**fields, "purpose": "asked by the ward"})
        assert (status, [one in page.text for one in SECRETS]) == (200, [True] * 3)
    (act,) = [one for one in acts_page(here.site.journal) if one.verb == "unmask"]
    assert (str(act.actor), act.what) == ("asha", {"order": "W1", "purpose": "asked by the ward"})


async def test_the_column_of_specimens_is_for_those_who_may_see_patients_and_is_noted(
    here: ActingSite, operator: Browser
) -> None:
    await ordered(here)
    address = "/orders?tab=waiting&columns=specimen,test&lang=en"
    _, page = await operator.get(address)
    assert ("you may not see it: Specimen" in page.text, TUBE in page.text) == (True, False)
    async with here.browser("asha") as asha:
        _, page = await asha.get("/orders?tab=waiting&lang=en")
        assert_no_secret(page)
        _, page = await asha.get(address)
        assert (TUBE in page.text, FAMILY in page.text) == (True, False)
    (act,) = [one for one in acts_page(here.site.journal) if one.verb == "unmask"]
    assert act.what["export"] == {"list": "/orders", "column": "specimen"}


async def test_a_worklist_for_paper_has_tubes_patients_and_the_codes_of_the_analyzer(
    here: ActingSite, operator: Browser
) -> None:
    await ordered(here, TUBE, "TSH", "FERR")
    await ordered(here, "0001", "TSH", patient="P-171", priority="stat")
    _, page = await operator.get("/orders?lang=en")
    assert not [one for one in page.all("a") if one.text == "Worklist to print"]
    assert (await operator.get("/orders/worklist"))[0] == 403
    async with here.browser("asha") as asha:
        for path in ("/orders?lang=en", "/analyzer?name=chemistry&lang=en"):
            _, page = await asha.get(path)
            (link,) = [one.attributes["href"] for one in page.all("a") if one.text == "Worklist to print"]
            status, page = await asha.get(link)
            assert status == 200
            assert [
                (row.one("th").text, [one.text for one in row.all("td")]) for row in page.one("tbody").all("tr")
            ] == [
                ("0001 urgent", [f"P-171, {FAMILY}", "TSH3 TSH", ""]),
                (TUBE, [f"{PATIENT}, {FAMILY}", "TSH3 TSHFerritin FERR", ""]),
            ]
        status, page = await asha.get("/orders/worklist?channel=none&lang=en")
        assert (status, "No channel with orders has the name" in alert(page)) == (403, True)
    acts = [one.what["export"] for one in acts_page(here.site.journal) if one.verb == "unmask"]
    assert acts[::-1] == [{"worklist": "all"}, {"worklist": ["chemistry"]}]


async def test_the_tube_has_the_bytes_that_answered_for_those_who_may_see_them(here: ActingSite) -> None:
    await ordered(here)
    async with asking(here.site.port("chemistry")) as analyzer:
        await analyzer.ask(question("another-tube"))
        await analyzer.ask(question(TUBE))
    await until(lambda: state(here) == "offered")
    until_kept = partial(line_of, here.site.journal, "chemistry")
    await until(
        lambda: any(TUBE.encode() in entry.data for one in until_kept() for entry in one.entries if entry.way == 2)
    )
    async with here.browser("asha") as asha:
        _, page = await asha.get("/order?item=W1&lang=en")
        assert_no_secret(page)
        passed = [one.text for one in page.one("section", **{"aria-labelledby": "line"}).one("details").all("code")]
        assert [text for text in passed if "O|9|9999x||^^^xxx9" in text] != [], passed
        action, fields = form_of(page, "/order")
        _, page = await asha.post(action, {**fields, "purpose": "asked by the ward"})
        passed = [one.text for one in page.one("section", **{"aria-labelledby": "line"}).one("details").all("code")]
    asked = [n for n, text in enumerate(passed) if f"^{TUBE}" in text and "Q|1|" in text]
    answered = [n for n, text in enumerate(passed) if f"O|1|{TUBE}" in text and "TSH3" in text]
    assert (len(asked), len(answered), asked < answered) == (1, 1, True), passed
    assert "another-tube" not in "".join(passed)
    times = [
        one.all("span")[0].text.partition(" chemistry")[0].partition(" LabRelay")[0]
        for one in page.one("section", **{"aria-labelledby": "line"}).one("details").all("li")
    ]
    assert times == sorted(times)


async def test_an_order_that_an_analyzer_has_says_since_when_and_what_is_usual(
    here: ActingSite, operator: Browser
) -> None:
    await ordered(here)
    await asked(here, TUBE)
    await until(lambda: state(here) == "offered")
    _, page = await operator.get("/orders?tab=analyzer&lang=en")
    (row,) = rows(page)
    assert "its usual time is not known yet, late after 2 h" in row
    for n in range(ENOUGH):
        await ordered(here, f"9{n}")
        async with asking(here.site.port("chemistry")) as analyzer:
            await analyzer.ask(question(f"9{n}"))
            await analyzer.send(result(f"9{n}", PATIENT, "TSH3", "1.20"))
        await until(lambda n=n: state(here, n + 2) == "resulted")  # type: ignore[misc]
    _, page = await operator.get("/order?item=W1&lang=en")
    assert "late after 10 min" in next(row for row in rows(page) if "W1" in row)


async def test_the_search_finds_an_order_and_a_tube(here: ActingSite, operator: Browser) -> None:
    await ordered(here)
    await asked(here, TUBE)
    await asked(here, "77-unknown")

    async def found(number: str) -> Element:
        return (await operator.send("/orders?lang=en", to="/messages", q=number))[1]

    await found("w1")
    assert operator.path == "/order?item=W1"
    for number, heading in ((TUBE, "Order W1"), ("77-unknown", "Tube of question 2")):
        page = await found(number)
        (link,) = [one for one in page.all("a") if one.text == "Orders and questions of this tube"]
        status, page = await operator.get(link.attributes["href"])
        assert (status, heading in page.one("h1").text) == (200, True)
    assert not [one for one in (await found("W99")).all("a") if one.text == "Orders and questions of this tube"]


async def test_the_page_of_an_analyzer_has_the_orders_that_wait_for_it(here: ActingSite, operator: Browser) -> None:
    _, page = await operator.get("/analyzer?name=chemistry&lang=en")
    assert not [one for one in page.all("h2") if one.text == "Orders"]
    await ordered(here)
    _, page = await operator.get("/analyzer?name=chemistry&lang=en")
    (link,) = [
        one for one in page.all("a") if one.attributes["href"].startswith("/orders?tab=waiting&channel=chemistry")
    ]
    assert link.text == "1"
    _, page = await operator.get(link.attributes["href"])
    assert len(rows(page)) == 1


def test_each_reason_and_each_none_has_words() -> None:
    assert set(order_words.REASONS) == set(ItemReason) - {ItemReason.NONE}
    assert set(order_words.NONE) == set(NoOrder)


def test_each_end_of_an_answer_has_words() -> None:
    """Of the link, of the desk of questions, of LabRelay's own connection, of the worklist."""
    of_desk = {"late", "fault", "silent", "closed", "cancelled", "asked_again", "left_out", PUT_OFF, UNCONFIRMED}
    of_desk |= {"no_connection", "taken_back"}
    assert (NOT_SENT | of_desk | {"sent", "accepted", "refused", "asked again", TWIN}) - set(
        order_words.OUTCOMES
    ) == set()


def test_each_kind_of_question_has_words() -> None:
    assert set(order_words.KINDS) == {*get_args(get_type_hints(Question)["kind"]), "download"}


RULES = {
    "cancel": ItemEvent.CANCEL,
    "release": ItemEvent.FREE,
    "resend": ItemEvent.RESEND,
    "match": ItemEvent.FINAL,
}


def test_each_act_is_offered_where_the_rules_allow_it() -> None:
    """As the worklist refuses it elsewhere. A match is undone by its own history."""
    assert {*RULES, "unmatch"} == set(order_acts.DEEDS)
    for name, event in RULES.items():
        for one in order_acts.DEEDS[name].states:
            meant = ItemEvent.CLOSE if name == "cancel" and one is ItemState.REFUSED else event
            assert step(Standing(one, ItemReason.NONE, True), meant).done, (name, one)
