"""One waiting delivery, set aside on the page so that those behind it are sent; then sent after all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.model.texts.reasons import ReasonCode
from engine.store.queries.acts import acts_page
from tests.results.test_reprocessing import message
from tests.support.access import Browser
from tests.support.acting_pages import ActingSite, acting_site, alert, form_of, offers
from tests.support.running import hl7_channel
from tests.support.senders import send_blocks
from tests.support.status_server import Element
from tests.support.waiting import until

CHOKES = "472"  # the patient's number of the second message


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"one": hl7_channel()}) as site:
        site.site.sandbox.faults.choke = frozenset({CHOKES})
        yield site


@pytest.fixture
async def operator(here: ActingSite) -> AsyncIterator[Browser]:
    async with here.browser("operator") as browser:
        yield browser


async def stuck(here: ActingSite, status: str = "F") -> list[int]:
    """The numbers of three messages: the second one holds its lane, with the third behind it."""
    await send_blocks(here.site.port("one"), [message(1), message(2, status=status), message(3)])
    numbers = [one.id for one in here.site.messages()]
    await until(lambda: any(one.attempts for one in here.site.deliveries(numbers[1])))
    await until(lambda: len(here.site.deliveries(numbers[2])) == 1)
    return numbers


def page_of(message: int) -> str:
    return f"/messages/{message}/set-aside?destination=lab-fhir&lang=en"


def facts(page: Element) -> dict[str, str]:
    return dict(zip([one.text for one in page.all("dt")], [one.text for one in page.all("dd")], strict=True))


async def test_those_behind_it_are_sent_and_it_can_be_sent_after_all(here: ActingSite, operator: Browser) -> None:
    _, second, third = await stuck(here)
    for address in (f"/messages/{second}?lang=en", "/waiting?lang=en"):
        _, page = await operator.get(address)
        assert offers(page) == {"Set aside": page_of(second)}, address
    status, page = await operator.get(page_of(second))
    assert (status, alert(page)) == (200, "")
    assert facts(page) == {"Analyzer": "one", "Destination": "lab-fhir", "Deliveries behind it": "1"}
    assert "SHARMA" not in page.text

    action, fields = form_of(page, "/set-aside")
    status, page = await operator.post(action, {**fields, "reason": "the server resets the connection"})
    assert (status, operator.path) == (200, f"/messages/{second}")
    await until(lambda: here.site.end_of(third) == "delivered")
    assert here.site.end_of(second) == ReasonCode.SET_ASIDE.value
    again, _ = await operator.post(action, {**fields, "reason": "the server resets the connection"})  # a second press
    assert again == 200
    (act,) = [act for act in acts_page(here.site.journal) if act.verb == "set-aside"]
    assert (str(act.actor), act.what["reason"]) == ("operator", "the server resets the connection")

    here.site.sandbox.faults.choke = frozenset()
    _, page = await operator.get(f"/messages/{second}?lang=en")
    assert "Set aside" not in offers(page)
    _, page = await operator.get(offers(page)["Try again"])
    action, fields = form_of(page, "/do/retry")
    assert (await operator.post(action, {**fields, "reason": ""}))[0] == 200
    await here.site.settled()
    assert here.site.end_of(second) == "delivered"


async def test_a_correction_is_said_loudly(here: ActingSite, operator: Browser) -> None:
    _, second, _ = await stuck(here, "C")
    _, page = await operator.get(page_of(second))
    assert "shows what was wrong" in alert(page)
    assert form_of(page, "/set-aside")


async def test_what_has_not_failed_or_is_not_there_is_refused(here: ActingSite, operator: Browser) -> None:
    first, second, third = await stuck(here)
    for number, query, status, said in (
        (third, "", 403, "waits behind another one"),
        (first, "", 403, f"othing of message {first} waits"),
        (second, "destination=other&", 403, f"othing of message {second} waits for other"),
        (99, "", 404, "There is no message 99."),
    ):
        got, page = await operator.get(f"/messages/{number}/set-aside?{query}lang=en")
        assert (got, said in alert(page)) == (status, True), (number, query)
        assert page.one("main").all("form") == []
    _, page = await operator.get(page_of(second))
    action, fields = form_of(page, "/set-aside")
    for changed, status in (({"reason": " "}, 403), ({"form": "0"}, 403), ({"once": ""}, 400)):
        assert (await operator.post(action, {**fields, "reason": "x", **changed}))[0] == status
    assert here.site.end_of(second) in ("waiting", "sending")


async def test_who_may_not_act_sees_no_button(here: ActingSite) -> None:
    _, second, _ = await stuck(here)
    async with here.browser("viewer") as viewer:
        for address in (f"/messages/{second}?lang=en", "/waiting?lang=en"):
            _, page = await viewer.get(address)
            assert offers(page) == {}
        assert (await viewer.get(page_of(second)))[0] == 403
