"""The page of proposed tests: who sees them, who decides, and what a decision needs."""

from pathlib import Path

import pytest

from engine.features.orders.rows import reading, reflex
from engine.store.queries.acts import acts_page
from tests.engine.features.orders.exchange.test_orders_of_a_lis import lis
from tests.engine.features.orders.exchange.test_reflex import HIGH, ORDERS
from tests.support.acting_pages import acting_site, form_of
from tests.support.asking import asking, question, result
from tests.support.ordering_lis import order, ordering
from tests.support.running import ASTM, channel
from tests.support.waiting import until

ROUTE = {"mapping": "astm-results", "to": "lab-fhir", "hold": [HIGH]}


@pytest.mark.parametrize(("verb", "state", "orders"), [("confirm", "confirmed", 2), ("decline", "declined", 1)])
async def test_a_person_decides_with_a_reason_and_a_viewer_only_looks(
    tmp_path: Path, verb: str, state: str, orders: int
) -> None:
    channels = {"chemistry": channel(ASTM, ROUTE, orders=ORDERS), "his": lis()}
    async with (
        acting_site(tmp_path, channels) as here,
        ordering(here.site.port("his")) as his,
        asking(here.site.port("chemistry")) as peer,
    ):
        journal = here.site.journal
        async with here.browser("operator") as browser:
            assert "No test is proposed." in (await browser.get("/reflexes?lang=en"))[1].text
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        await peer.ask(question("00042"))
        await peer.send(result("00042", "P-17", "TSH3", "60.0", "F"))
        await until(lambda: [one.state for one in reflex.proposals(journal)] == ["proposed"])
        async with here.browser("viewer") as browser:
            status, page = await browser.get("/reflexes?lang=en")
            assert (status, "FT4" in page.one("main").text) == (200, True)
            assert page.one("main").all("button") == []
            assert "TSH3 60.0" in page.one("main").text, "this one sees patients"
            assert "TSH3 60.0" in (await browser.get("/reflexes?lang=en"))[1].text
            (look,) = [act for act in acts_page(journal) if act.verb == "unmask"]
            assert [look.what["message"]] == [one.message for one in reflex.proposals(journal)]
        async with here.browser("operator") as browser:
            _, page = await browser.get("/reflexes?lang=en")
            assert "60.0" not in page.one("main").text, "this one does not"
            assert "hidden" in page.one("main").text
            assert "00042" not in page.text, "numbers of tubes are not shown without a purpose"
            action, fields = form_of(page, "/reflexes")
            status, page = await browser.post(action, {**fields, "act": f"reflex_{verb} 1", "reason": " "})
            assert (status, "FT4" in page.one("main").text) == (403, True)
            action, fields = form_of(page, "/reflexes")
            given = {**fields, "act": f"reflex_{verb} 1", "reason": "seen"}
            assert (await browser.post(action, given))[0] == 200
            assert (await browser.post(action, {**given, "act": "reflex_other 1"}))[0] in (400, 409)
        (one,) = reflex.proposals(journal, all_of_them=True)
        assert one.state == state
        assert (reading.item(journal, 2) is not None) is (orders == 2)
