"""The chart of a test: each point's place and shape, the file of the same points, the month, and a point left out."""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest

from engine.actions.declaring import Verb
from engine.actions.verbs import verbs_of
from engine.features.quality_control.pages.chart import _of_lots
from engine.features.quality_control.pages.levey import EDGE, HEIGHT, levey, short
from engine.features.quality_control.rows import closing, deciding, points, reading
from engine.features.quality_control.rows.reading import EventView, list_points
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.model.content.quality_controls import ControlResult
from engine.model.process.clock import from_us
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from tests.support import access
from tests.support.access import Browser
from tests.support.journals import NOW_US, opened
from tests.support.status_server import Element

BY = {"actor": "Asha", "reason": "the insert"}
HOUR = 3_600_000_000
CHART = "/quality/chart?channel=chem&test=GLU&lang=en"


def control(value: str, hours_ago: int, test: str = "GLU", lot: str = "A7") -> ControlResult:
    return ControlResult(test=test, codes=(test,), number="QC", value=value, lot=lot, at_us=NOW_US - hours_ago * HOUR)


def fill(
    journal: Journal, values: Sequence[str], test: str = "GLU", mean: str = "100", sd: str = "5", lot: str = "A7"
) -> None:
    lots, rows = (
        [Lot("chem", "QC", "Chemtrol", "L1", "A7", "2027-08-31")],
        [TargetRow("chem", "", test, "L1", lot, "", mean, sd, "lab")],
    )
    journal.run_alone(lambda batch: deciding.load(batch, lots, rows, file="c.csv", **BY))
    ids = [one.id for one in reading.list_targets(journal) if one.state == "proposed"]
    journal.run_alone(lambda batch: deciding.accept(batch, ids, IN_FORCE, 1, **BY))

    def measured(batch: Batch) -> None:
        for place, value in enumerate(values):
            message, hours = crc32(f"{test} {lot}".encode()) * 100 + place, (90 if lot == "A7" else 20) - 2 * place
            points.note(batch, message, "chem", NOW_US, [control(value, hours, test, lot)])

    journal.run_alone(measured)


def verbs(journal: Journal) -> dict[str, Verb]:
    site: Any = SimpleNamespace(journal=journal, loaded=lambda: SimpleNamespace(channels={"chem": None}))
    return {name: verb for name, verb in verbs_of(site).items() if name.startswith("quality_")}


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Browser]:
    journal = opened(tmp_path)
    sent = {"GLU": NOW_US - 85 * HOUR}  # in message 9, between the last accepted control and the failed one
    journal.run_alone(lambda batch: closing.note_results(batch, 9, "chem", sent))
    fill(journal, ["100", "111", "<60", "140", "95"])
    fill(journal, ["neg", "POS"], "HIV", "NEG|negative", "")
    fill(journal, ["139", "141"] * 10 + ["190"], "NA", "140", "2")
    fill(journal, ["140", "142"], "K", "140", "2", "B8")
    fill(journal, ["139", "141"] * 10, "K", "140", "2")
    journal.close()
    async with access.site(tmp_path, verbs=verbs) as made, made.browser() as browser:
        assert (await browser.log_in("operator"))[0] == 200
        yield browser


def states(page: Element) -> list[str]:
    """Of the table beside the chart: value, z, state and rules, the newest first."""
    return [" ".join(cell.text for cell in row.all("td")[1:5]) for row in page.all("tbody")[-1].all("tr")]


async def test_each_point_is_a_mark_and_a_row_and_a_line_of_the_file(operator: Browser) -> None:
    status, page = await operator.get(CHART)
    assert status == 200
    assert states(page) == [
        "95 -1.00 accepted -",
        "140 8.00 rejected 1-2s 1-3s 2-2s",
        "<60 - not evaluated no number",
        "111 2.20 warning 1-2s",
        "100 0.00 accepted -",
    ]
    (chart,) = [one for one in page.all("div") if one.attributes.get("class") == "chart levey"]
    assert "↑ 140" in chart.text
    (card,) = [one for one in page.all("section") if "levey" in str([div.attributes for div in one.all("div")])]
    assert [one.text for one in card.all("strong")][:2] == ["4", "111.5"]
    async with operator.client.get(CHART.replace("/chart", "/chart.csv")) as answer:
        lines = (await answer.text()).splitlines()
    assert len(lines) == 6
    assert [line.split(",")[6] for line in lines[1:]] == ["95", "140", "<60", "111", "100"]


async def test_the_head_says_the_verdict_what_waits_and_which_tests_are_beside(operator: Browser) -> None:
    _, page = await operator.get(CHART)
    (waits,) = [one.text for one in page.all("p") if "banner" in one.attributes.get("class", "")]
    assert waits.startswith("1-2s 1-3s 2-2s (L1): results of this test wait since ")
    assert "; 1 went out before." in waits
    assert steps(page) == ["Next: HIV", "2026-03"]
    _, page = await operator.get(CHART.replace("GLU", "K"))
    assert steps(page) == ["Before: HIV", "Next: NA", "2026-03"]
    assert not [one for one in page.all("p") if "banner" in one.attributes.get("class", "")]


def steps(page: Element) -> list[str]:
    """To the tests and months beside the one that is shown."""
    return [one.text for one in page.all("a") if one.attributes.get("rel") in ("prev", "next")]


@pytest.mark.parametrize("page", ["/chart", "/month"])
async def test_each_month_leads_to_those_beside_it(operator: Browser, page: str) -> None:
    asked = CHART.replace("/chart", page)
    _, shown = await operator.get(f"{asked}&month=2026-01")  # without a point
    (before, after) = [one for one in shown.all("a") if one.attributes.get("rel") in ("prev", "next")]
    assert (before.text, after.text) == ("2025-12", "2026-02")
    _, shown = await operator.get(f"{after.attributes['href']}&lang=en")
    assert steps(shown)[-2:] == ["2026-01", "2026-03"]
    _, shown = await operator.get(f"{asked}&month=2026-03")
    assert steps(shown)[-1] == "2026-02"  # none is to come


async def test_a_level_says_its_lot_with_its_end_and_its_target_with_its_source(operator: Browser) -> None:
    _, page = await operator.get(CHART)
    assert "lot A7, mean 100, SD 5 · Expires: 2027-08-31 · Source: lab, 1970-01-01" in page.text


async def test_results_that_went_out_before_a_failure_are_looked_at_one_by_one(operator: Browser) -> None:
    _, page = await operator.get("/quality?lang=en")
    assert "/messages/9?lang=en" in [one.attributes["href"] for one in page.all("a")]
    (look,) = [one for one in page.all("button") if one.attributes.get("value", "").startswith("look ")]
    asked = look.attributes["value"]
    assert (await operator.send("/quality?lang=en", asked, reason="seen"))[0] >= 400  # none has its tick
    assert (await operator.send("/quality?lang=en", asked, m9="yes"))[0] >= 400  # it has no reason
    assert (await operator.send("/quality?lang=en", asked, m9="yes", reason="seen with the doctor"))[0] == 200
    _, page = await operator.get("/quality?lang=en")
    assert asked not in [one.attributes.get("value") for one in page.all("button")]


async def test_points_that_need_a_look_come_first_and_all_of_many_are_folded(operator: Browser) -> None:
    _, page = await operator.get(CHART)
    looks = [row.all("td")[1].text for row in page.all("tbody")[0].all("tr")]
    assert looks == ["140", "<60", "111"]
    assert "open" in page.one("details", **{"class": "fold"}).attributes
    _, page = await operator.get(CHART.replace("GLU", "NA"))
    fold = page.one("details", **{"class": "fold"})
    assert "open" not in fold.attributes
    assert fold.one("summary").text == "All 21 points as a table"
    assert len(fold.all("tbody")[0].all("tr")) == 21


async def test_a_point_is_left_out_with_a_reason_and_that_is_taken_back(operator: Browser) -> None:
    status, _ = await operator.send(CHART, "exclude 4", cause="air")
    assert status >= 400  # it has no reason
    assert (await operator.send(CHART, "exclude 4", cause="air", reason="a bubble"))[0] == 200
    assert states((await operator.get(CHART))[1])[1] == "140 8.00 left out air 1-2s 1-3s 2-2s"
    assert (await operator.send(CHART, "include 4", reason="it was none"))[0] == 200
    assert states((await operator.get(CHART))[1])[1] == "140 8.00 rejected 1-2s 1-3s 2-2s"


async def test_the_month_is_a_sheet_to_sign(operator: Browser) -> None:
    month = from_us(NOW_US - 90 * HOUR).strftime("&month=%Y-%m")
    status, page = await operator.get(CHART.replace("/chart", "/month") + month)
    assert status == 200
    assert "rejected 1-2s 1-3s 2-2s" in page.text
    assert [one.text for one in page.one("dl").all("dt")] == ["Looked at by, date", "Head of laboratory, date"]
    assert (await operator.get(CHART.replace("/chart", "/month") + "&month=2031-01"))[0] == 404
    for wrong in ("march", "9999-12", "0001-01", "2026-13"):
        for page in ("/chart", "/chart.csv", "/month"):
            assert (await operator.get(CHART.replace("/chart", page) + f"&month={wrong}"))[0] == 400, (wrong, page)


async def test_a_qualitative_control_is_expected_or_not_and_has_no_z(operator: Browser) -> None:
    _, page = await operator.get(CHART.replace("GLU", "HIV"))
    assert states(page) == ["POS - rejected not expected", "neg - accepted -"]
    (chart,) = [one for one in page.all("div") if one.attributes.get("class") == "chart levey"]
    assert [one.text for one in chart.all("text", **{"class": "x bad-text"})] == ["POS"]  # and not "expected"
    assert "Mean" not in page.text


async def test_uncertainty_has_its_points_and_dates_and_a_far_value_is_named(operator: Browser) -> None:
    _, page = await operator.get(CHART.replace("GLU", "NA"))
    assert "Uncertainty (k = 2): 15.39 %, from a CV of 7.695 %, n = 21, " in page.text
    assert [state.partition(" ")[0] for state in states(page) if "far from the others" in state] == ["190"]


async def test_a_new_lot_has_the_sd_that_the_lot_before_gives(operator: Browser) -> None:
    _, page = await operator.get(CHART.replace("GLU", "K"))
    assert "Interim SD by the CV of lot A7: 1.033" in page.text


async def test_a_failed_run_is_closed_with_its_cause_once_a_repeat_was_accepted(operator: Browser) -> None:
    typed = {"cause": "old reagent", "action": "changed it", "reason": "the repeat is fine"}
    _, page = await operator.get("/quality?lang=en")
    (button,) = [one for one in page.all("button") if one.attributes.get("value", "").startswith("close ")]
    assert (await operator.send("/quality?lang=en", button.attributes["value"], **typed))[0] == 200
    _, page = await operator.get("/quality?lang=en")
    assert button.attributes["value"] not in [one.attributes.get("value") for one in page.all("button")]


async def test_a_control_is_entered_by_hand_and_judged_as_all_others(operator: Browser) -> None:
    typed = {"channel": "chem", "test": "HIV", "number": "QC", "value": "POS", "reason": "lateral flow"}
    assert (await operator.send("/quality?lang=en", "enter", **typed))[0] == 200
    _, page = await operator.get(CHART.replace("GLU", "HIV"))
    assert states(page)[0] == "POS - rejected not expected"


@pytest.mark.parametrize(
    ("z", "shown"),
    [
        ("2.1987", "2.20"),
        ("-1.9950", "-2.00"),
        ("3.0049", "3.00"),
        ("-0.0049", "0.00"),
        ("0.0000", "0.00"),
        ("12.3450", "12.35"),
        ("", ""),
    ],
)
def test_z_is_rounded_for_people(z: str, shown: str) -> None:
    assert short(z) == shown


def test_the_border_is_at_four_and_a_half_sd(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, ["100", "122.5", "122.6", "50", "100"])
    found = list_points(journal, by_time=True)[::-1]
    event = EventView(found[2].measured_us - 1, "reagent lot", "", resets=False)
    drawn = levey("words", found, [event], str, str)
    journal.close()
    marks = [one for one in drawn.marks if not one.flag]
    assert [one.kind for one in marks] == ["dot", "out", "out", "out", "dot"]
    assert [one.y for one in marks] == [HEIGHT / 2, 0, 0, HEIGHT, HEIGHT / 2]
    assert [one.x for one in marks] == [10, 30, 50, 70, 90]
    assert [(one.flag, one.x) for one in drawn.marks if one.flag] == [("R", 40)]
    assert [one.text for one in drawn.labels if one.text[0] in "↑↓"] == ["↑ 122.6", "↓ 50"]
    assert Decimal(2) * EDGE == 9


def test_each_lot_has_figures_of_its_own_and_a_value_of_zero_counts(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, ["0", "2"], "BLK", "1", "1")
    words: Any = SimpleNamespace(say=str)
    assert [_of_lots(list_points(journal)[::-1], words)[0][:2]] == [[("n", "2"), ("Mean", "1")]]
    fill(journal, ["10", "12"], "BLK", "11", "1", "B8")
    found = _of_lots(list_points(journal, by_time=True)[::-1], words)
    journal.close()
    assert [one[:3] for one in found] == [
        [("Lot", "B8"), ("n", "2"), ("Mean", "11")],
        [("Lot", "A7"), ("n", "2"), ("Mean", "1")],
    ]
