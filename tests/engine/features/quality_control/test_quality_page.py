"""The page of controls: a failed one with its next step, each test with its verdict and its last points."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from engine.features.quality_control.pages import marks
from engine.features.quality_control.rows import closing, deciding, points
from engine.features.quality_control.rows.reading import list_points
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.model.content.quality_controls import ControlResult
from engine.model.site.todo import TodoState
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Todo
from engine.store.journal import Journal
from tests.support import journals
from tests.support.journals import NOW_US
from tests.support.status_server import read_html, running
from tests.support.status_sites import quiet_site

BY = {"actor": "Asha", "reason": "the insert"}
HOUR = 3_600_000_000


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with journals.running(tmp_path) as made:
        lots = [Lot("chem", "QC", "Chemtrol", "L1", "A7")]
        await made.run(
            deciding.load, lots, [TargetRow("chem", "", "GLU", "L1", "A7", "", "100", "5", "lab")], file="c.csv", **BY
        )
        await made.run(deciding.accept, [1], IN_FORCE, 1, **BY)
        yield made


async def measure(journal: Journal, *values: str) -> None:
    for number, value in enumerate(values, 1):
        one = ControlResult(test="GLU", codes=("GLU",), number="QC", value=value, at_us=NOW_US - (90 - number) * HOUR)
        await journal.writer.submit(
            lambda batch, one=one, number=number: points.note(batch, number, "chem", NOW_US, [one])
        )


async def test_a_failed_control_comes_first_with_its_next_step(journal: Journal) -> None:
    await measure(journal, "101")
    await journal.writer.submit(lambda batch: closing.note_results(batch, 9, "chem", {"GLU": NOW_US - 88 * HOUR}))
    await measure(journal, "101", "130")
    async with running(quiet_site(), reader=journal) as page:
        _, text = await page.get("/quality")
        failed, sent, tests = (one.text for one in read_html(text).all("tbody"))
        assert sent.startswith("9 ")
        assert "chem GLU" in failed
        assert failed.endswith("missing 1 labrelay quality sent-before 1")
        assert "rejected its results wait" in tests
        (chart,) = [one for one in read_html(text).all("svg") if "small-lj" in one.attributes.get("class", "")]
        assert chart.attributes["aria-label"] == "0.2000, 6.0000"
        _, hindi = await page.get("/quality?lang=hi")
        assert read_html(hindi).one("h1").text == "क्वालिटी कंट्रोल"


async def test_a_site_without_controls_says_so(tmp_path: Path) -> None:
    async with journals.running(tmp_path) as journal, running(quiet_site(), reader=journal) as page:
        _, text = await page.get("/quality")
        assert "No control was measured yet." in read_html(text).text


async def test_points_have_their_shapes_and_the_edge_takes_what_is_far_out(journal: Journal) -> None:
    await measure(journal, "100", "111", "<60", "140", "60", "100")
    await journal.run(deciding.exclude, 1, "clot", **BY)
    found = marks(list_points(journal)[::-1])
    assert [(kind, y) for kind, _, y in found] == [
        ("gone", 14.0), ("warn", 4.1), ("none", 26.0), ("out", 2.0), ("out", 26.0), ("dot", 14.0),
    ]  # fmt: skip
    assert [x for _, x, _ in found] == [4.0, 24.4, 44.8, 65.2, 85.6, 106.0]
    assert marks([]) == []


async def test_the_marks_of_a_test_are_those_of_its_module(journal: Journal) -> None:
    for number, (module, value) in enumerate((("m1", "101"), ("m2", "130")), 1):
        one = ControlResult(test="GLU", number="QC", value=value, module=module, at_us=NOW_US - number * HOUR)
        await journal.writer.submit(lambda batch, one=one, at=number: points.note(batch, at, "chem", NOW_US, [one]))
    async with running(quiet_site(), reader=journal) as page:
        _, text = await page.get("/quality")
    charts = [one for one in read_html(text).all("svg") if "small-lj" in one.attributes.get("class", "")]
    assert [one.attributes["aria-label"] for one in charts] == ["6.0000", "0.2000"]  # a failed one is first


async def test_controls_that_are_due_and_lots_come_first_of_analyzers_that_one_may_see(journal: Journal) -> None:
    async def todo() -> Sequence[Todo]:
        entries = [
            Entry(key=key, level=Level.ATTENTION, phrase=Phrase(f"about {key}"), step="", subject=subject)
            for key, subject in (
                ("control-due/chemistry", "chemistry"),
                ("control-lot//QC/A7", ""),
                ("control-due/elsewhere", "elsewhere"),
                ("silent/chemistry", "chemistry"),
            )
        ]
        return [Todo(one, TodoState(key=one.key), is_snoozed=False) for one in entries]

    async with running(quiet_site(), reader=journal, todo=todo) as page:
        _, text = await page.get("/quality")
    banners = [one.text for one in read_html(text).all("p") if "banner" in one.attributes.get("class", "")]
    assert banners == ["about control-due/chemistry", "about control-lot//QC/A7"]
