"""A technician at the page, by clicks alone: maintenance is noted as done, one proposed test is ordered and one is
declined. With scripts, and with scripts off."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from engine.features.orders.rows import reading, reflex
from engine.store.queries.acts import acts_page
from tests.e2e.chromium import Visitor, chromium, visitor
from tests.engine.features.orders.exchange.test_orders_of_a_lis import lis
from tests.engine.features.orders.exchange.test_reflex import HIGH, ORDERS
from tests.support.access import GOOD
from tests.support.acting_pages import acting_site
from tests.support.asking import asking, question, result
from tests.support.ordering_lis import order, ordering
from tests.support.running import ASTM, RunningSite, channel
from tests.support.waiting import until

ROUTE = {"mapping": "astm-results", "to": "lab-fhir", "hold": [HIGH]}
JOBS = {"Change the lamp": {"every": 90}, "Clean the needle": {"every": 7}}


class At:
    """Where the page of a site is."""

    def __init__(self, site: RunningSite) -> None:
        assert site.app.page is not None
        self.base = f"http://127.0.0.1:{site.app.page.port}"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def decide(one: Visitor, row: str, button: str, reason: str) -> None:
    """Write a reason, and press the button of a row."""
    await one.page.get_by_label("Reason").fill(reason)
    async with one.page.expect_navigation():
        await one.page.get_by_role("row", name=row).get_by_role("button", name=button).click()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "with scripts off"])
async def test_maintenance_and_proposed_tests_by_clicks(tmp_path: Path, browser: Browser, *, scripts: bool) -> None:
    channels = {"chemistry": channel(ASTM, ROUTE, orders=ORDERS, maintenance=JOBS), "his": lis()}
    async with (
        acting_site(tmp_path, channels) as here,
        ordering(here.site.port("his")) as his,
        asking(here.site.port("chemistry")) as peer,
        visitor(browser, At(here.site), java_script_enabled=scripts) as asha,
    ):
        journal = here.site.journal
        for number, tube in enumerate(("00042", "00043"), start=1):
            await his.ask(order(f"M{number}", ("NW", f"P{number}", "TSH"), tube=tube, patient=f"P-{tube}"))
            await peer.ask(question(tube))
            await peer.send(result(tube, f"P-{tube}", "TSH3", f"6{number}.0", "F"))
        await until(lambda: [one.state for one in reflex.proposals(journal)] == ["proposed"] * 2)
        await asha.log_in("asha", GOOD)

        await asha.open("/analyzer?name=chemistry&lang=en")
        main = asha.page.locator("main")
        await decide(asha, "Clean the needle", "Note as done", "weekly")
        await expect(main.get_by_role("row", name="Clean the needle")).to_contain_text("in time")
        await expect(main.get_by_role("row", name="Change the lamp")).to_contain_text("never noted")

        await asha.open("/reflexes?lang=en")
        await expect(main.get_by_role("row", name="FT4")).to_have_count(2)
        await decide(asha, "TSH3 61.0", "Order it", "seen with the doctor")
        await expect(main.get_by_role("row", name="FT4")).to_have_count(1)
        await decide(asha, "TSH3 62.0", "Decline", "known patient")
        await expect(main).to_contain_text("No test is proposed.")

        assert {one.parent: one.state for one in reflex.proposals(journal, all_of_them=True)} == {
            1: "confirmed",
            2: "declined",
        }
        made = reading.item(journal, 3)
        assert made is not None
        assert (made.item.line.test, made.item.line.specimen, made.item.parent) == ("FT4", "00042", 1)
        said = [(one.verb, one.what["reason"]) for one in acts_page(journal) if "reason" in one.what]
        assert sorted(said) == [
            ("quality-event", "weekly"),
            ("reflex-confirm", "seen with the doctor"),
            ("reflex-decline", "known patient"),
        ]
        assert asha.faults == []
