"""A technician at the page, by clicks alone: maintenance is noted as done, one proposed test is ordered and one is
declined; a failed control is closed after its repeat, what waited is released, what went out before is looked at. With
scripts, and with scripts off."""

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
from tests.support.controls import message, set_up
from tests.support.controls import send as measured
from tests.support.ordering_lis import order, ordering
from tests.support.running import ASTM, HL7_ROUTE, MLLP, RunningSite, channel
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


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "with scripts off"])
async def test_a_morning_with_a_failed_control_by_clicks(tmp_path: Path, browser: Browser, *, scripts: bool) -> None:
    """31 results wait, and two that were sent before are looked at; the audit trail tells it."""
    channels = {"chem": channel(MLLP, HL7_ROUTE, settings={"control_numbers": ["QC*"]})}
    async with (
        acting_site(tmp_path, channels) as here,
        visitor(browser, At(here.site), java_script_enabled=scripts) as asha,
    ):
        site = here.site
        await set_up(site.journal)
        await measured(site, message("QC-L1", {"GLU": "101"}, "0600"))
        tubes = [message(f"E{n}", {"GLU": "88"}, "0630", patient=f"MR-E{n}") for n in range(2)]
        early = await measured(site, *tubes)
        await measured(site, message("QC-L1", {"GLU": "117"}, "0740"))
        tubes = [message(f"S{n}", {"GLU": "91"}, "0750", patient=f"MR{n}") for n in range(31)]
        late = await measured(site, *tubes)
        assert {site.end_of(one) for one in late} == {"held"}

        await asha.log_in("asha", GOOD)
        await asha.open("/quality?lang=en")
        main = asha.page.locator("main")
        failed = main.get_by_role("table", name="Failed controls")
        await expect(failed.get_by_role("row", name="GLU")).to_contain_text("missing")
        await failed.get_by_role("link", name="GLU").click()
        await expect(main).to_contain_text("2 went out before.")

        await measured(site, message("QC-L1", {"GLU": "99"}, "0910"))
        await asha.open("/quality?lang=en")
        await main.get_by_text("Close the failed run: GLU").click()
        await main.get_by_label("Cause of the failure").fill("old reagent")
        await main.get_by_label("What was done").fill("changed it")
        await main.get_by_role("group").filter(has_text="What was done").get_by_label("Reason").fill("repeat is fine")
        await asha.press("Close the failed run")
        await main.get_by_text("Sent before: GLU").click()
        for one in early:
            await main.get_by_label(f"Looked at: {one}", exact=True).check()
        await main.get_by_role("group").filter(has_text="Sent before").get_by_label("Reason").fill("both are plausible")
        await asha.press("Note as done")
        await expect(main.get_by_role("table", name="Failed controls")).to_have_count(0)

        await asha.open("/do/release?all=1&lang=en")
        await main.get_by_label("Reason").fill("repeat accepted")
        await main.locator("form button").first.click()
        await until(lambda: {site.end_of(one) for one in late} == {"delivered"})
        acts = [(one.actor, one.verb, one.what.get("reason")) for one in reversed(acts_page(site.journal, limit=100))]
        said = dict.fromkeys(one for one in acts if one[1].startswith(("quality", "release")))
        assert [*said][-3:] == [
            ("asha", "quality-close", "repeat is fine"),
            ("asha", "quality-look", "both are plausible"),
            ("asha", "release", "repeat accepted"),
        ]
        assert asha.faults == []
