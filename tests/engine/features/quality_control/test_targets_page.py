"""Targets and lots on the page: an engineer takes a table, puts targets in force from a day on, and ends them, each
with a reason; all others only look."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from engine.features.quality_control.rows.reading import list_lots, list_targets
from engine.store.queries.acts import acts_page
from tests.support.acting_pages import acting_site, alert
from tests.support.running import ASTM, channel

ROUTE = {"mapping": "astm-results", "to": "lab-fhir"}
KOLKATA = ZoneInfo("Asia/Kolkata")  # the site's
PAGE = "/quality/targets?channel=chemistry&lang=en"
TARGETS = """analyzer,module,test,level,lot,unit,mean,sd,source
chemistry,,GLU,L1,A7,mmol/L,5.60,0.15,maker
chemistry,,GLU,L2,A7,mmol/L,15.2,0.4,maker
chemistry,,HIV,NEG,H1,,NEG|negative,,maker
"""
LOTS = "analyzer,number,material,level,lot,expires\nchemistry,QC1,Chemtrol,L1,A7,2027-06-30\n"


def states(here: Any) -> list[tuple[str, str, str]]:
    found = list_targets(here.site.journal, closed=True)
    return sorted((one.test, one.level, one.state) for one in found)


async def press(browser: Any, button: str, **said: str | None) -> tuple[int, Any]:
    """A form of the page as a browser sends it: what is ticked and typed, and the button; None: unticked."""
    _, page = await browser.get(PAGE)
    (form,) = [
        one
        for one in page.all("form", method="post")
        if any(f.attributes.get("value") == button for f in one.all("button"))
    ]
    fields = {
        one.attributes["name"]: one.attributes.get("value", "")
        for one in form.all("input")
        if one.attributes.get("type") != "checkbox" or "checked" in one.attributes
    }
    fields = {name: value for name, value in {**fields, **said}.items() if value is not None}
    for _ in range(2):  # pressed twice
        answer = await browser.post(form.attributes["action"], {**fields, "act": button})
    return answer  # type: ignore[no-any-return]


async def test_a_table_is_proposed_put_in_force_from_a_day_on_and_ended(tmp_path: Path) -> None:
    async with acting_site(tmp_path, {"chemistry": channel(ASTM, ROUTE)}) as here, here.browser("engineer") as browser:
        journal = here.site.journal
        _, page = await browser.get(PAGE)
        assert "There is no target yet." in page.text

        wrong = TARGETS.replace("0.15", "-1").replace("chemistry,,HIV", "elsewhere,,HIV")
        status, page = await press(browser, "load", text=wrong, reason="the insert")
        assert status == 403
        assert "CSV:2:34: sd: above 0" in alert(page)
        assert "CSV:4:1: analyzer: there is no channel elsewhere" in alert(page)
        assert "elsewhere,,HIV" in page.one("textarea").text  # nothing has to be written again
        assert list_targets(journal) == []

        for text in (TARGETS, LOTS):
            status, page = await press(browser, "load", text=text, reason="the insert")
            assert status == 200, alert(page)
        assert states(here) == [("GLU", "L1", "proposed"), ("GLU", "L2", "proposed"), ("HIV", "NEG", "proposed")]
        assert [(one.number, one.lot, one.expires) for one in list_lots(journal)] == [("QC1", "A7", "2027-06-30")]

        # Of one analyzer all that is proposed is ticked; one is left out.
        _, page = await browser.get(PAGE)
        ticked = [one.attributes["name"] for one in page.all("input") if "checked" in one.attributes]
        assert ticked == ["t1", "t2", "t3"]
        status, page = await press(browser, "accept", **{"from": "2026-02-30", "reason": "compared"})
        assert (status, "It is no date" in alert(page)) == (403, True)
        nothing = {"t1": None, "t2": None, "t3": None, "reason": "compared"}
        status, page = await press(browser, "accept", **nothing)
        assert (status, "No target is chosen." in alert(page)) == (403, True)
        status, page = await press(browser, "accept", **{"t3": None, "from": "2026-01-15", "reason": "compared"})
        assert status == 200, alert(page)
        status, page = await press(browser, "interim", reason="compared")
        assert status == 200, alert(page)
        assert states(here) == [("GLU", "L1", "in force"), ("GLU", "L2", "in force"), ("HIV", "NEG", "interim")]
        first = next(one for one in list_targets(journal) if one.level == "L1")
        assert datetime.fromtimestamp(first.from_us / 1e6, UTC) == datetime(2026, 1, 15, tzinfo=KOLKATA)

        status, page = await press(browser, f"end {first.id}", **{"from": "2026-03-01", "reason": "a new lot"})
        assert status == 200, alert(page)
        (ended,) = [one for one in list_targets(journal, closed=True) if one.id == first.id]
        assert (ended.state, datetime.fromtimestamp(ended.until_us / 1e6, UTC)) == (
            "closed",
            datetime(2026, 3, 1, tzinfo=KOLKATA),
        )
        verbs = [
            (one.verb, one.actor.split()[0], one.what["reason"]) for one in acts_page(journal) if "quality" in one.verb
        ]
        assert verbs[::-1] == [
            ("quality-load", "engineer", "the insert"),
            ("quality-load", "engineer", "the insert"),
            ("quality-target", "engineer", "compared"),
            ("quality-target", "engineer", "compared"),
            ("quality-target", "engineer", "a new lot"),
        ]


async def test_all_others_only_look(tmp_path: Path) -> None:
    async with acting_site(tmp_path, {"chemistry": channel(ASTM, ROUTE)}) as here:
        for role in ("viewer", "operator"):
            async with here.browser(role) as browser:
                status, page = await browser.get(PAGE)
                assert status == 200
                assert page.all("textarea") == []
                assert not [one for one in page.all("form") if "/quality/targets" in one.attributes.get("action", "")]
