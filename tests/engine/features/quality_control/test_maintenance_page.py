"""Maintenance is noted on the page of its analyzer: by whom, for which job, with a reason; a viewer only looks."""

from pathlib import Path

from engine.store.queries.acts import acts_page
from tests.support.acting_pages import acting_site, form_of
from tests.support.running import ASTM, channel

ROUTE = {"mapping": "astm-results", "to": "lab-fhir"}
JOBS = {"Change the lamp": {"every": 90}, "Clean the needle": {"every": 7}}
PAGE, TO = "/analyzer?name=chemistry&lang=en", "/quality/maintenance"


async def test_a_job_is_noted_with_a_reason_and_a_viewer_only_looks(tmp_path: Path) -> None:
    async with acting_site(tmp_path, {"chemistry": channel(ASTM, ROUTE, maintenance=JOBS)}) as here:
        journal = here.site.journal
        async with here.browser("viewer") as browser:
            _, page = await browser.get(PAGE)
            assert "Clean the needle never noted" in page.text
            assert not [one for one in page.all("form") if TO in one.attributes["action"]]
        async with here.browser("operator") as browser:
            _, page = await browser.get(PAGE)
            action, fields = form_of(page, TO)
            status, _ = await browser.post(action, {**fields, "act": "Clean the needle", "reason": " "})
            assert status == 403
            action, fields = form_of((await browser.get(PAGE))[1], TO)
            for _ in range(2):  # pressed twice
                status, page = await browser.post(action, {**fields, "act": "Clean the needle", "reason": "weekly"})
                assert status == 200
            assert "Clean the needle in time" in page.text
            assert "Change the lamp never noted" in page.text
            status, _ = await browser.post(
                action, {**form_of(page, TO)[1], "act": "Polish the lid", "reason": "weekly"}
            )
            assert status == 403
        (act,) = [one for one in acts_page(journal) if one.verb.startswith("quality")]
        assert (act.actor.split()[0], act.what["job"], act.what["reason"]) == ("operator", "Clean the needle", "weekly")
